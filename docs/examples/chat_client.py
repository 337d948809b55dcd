"""A chat client over TCP: one thread sends what you type, another prints what arrives.

Start chat_server.py first, and several of these with different names. The line "bye" leaves.
"""

import argparse
import io
import os
import signal
import sys
import threading

import framing

leaving = threading.Event()


def main() -> None:
    """Send the lines of standard input, while a thread receives."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # whatever arrives can be printed
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=int)
    options = parser.parse_args()
    lines = framing.LineFramer(errors="replace")
    try:
        with framing.connect((options.host, options.port), lines) as conn:
            conn.send(options.name)
            receiver = threading.Thread(target=receive, args=(conn,), daemon=True)
            receiver.start()
            for line in sys.stdin:
                if line.rstrip("\n") == "bye":
                    break
                conn.send(line.rstrip("\n"))
            leaving.set()
            conn.send("bye")
            receiver.join()  # the server closes the connection when it has sent everything
    except (OSError, ValueError, EOFError) as error:
        sys.exit(f"{options.host}:{options.port}: {error}")


def receive(conn: framing.MessageSocket[str]) -> None:
    """Print what the others say until the connection ends."""
    reason = "the server has closed the connection"
    try:
        for text in conn:
            # Control characters could change what the terminal shows.
            print(text if text.isprintable() else repr(text), flush=True)
    except (OSError, ValueError, EOFError) as error:
        reason = str(error)
    if not leaving.is_set():
        print(reason, file=sys.stderr)
        os._exit(1)  # the main thread waits for the keyboard, and nothing else would end that


if __name__ == "__main__":
    main()

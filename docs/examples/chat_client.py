"""A chat client over TCP: one thread sends what is typed, another prints what comes.

Start chat_server.py before, and several of these with different names. The line "bye" leaves.
"""

import argparse
import os
import signal
import sys
import threading

import framing

leaving = threading.Event()


def main() -> None:
    """Send the lines of standard input, while a thread receives."""
    # Ctrl-C ends the program at once, whatever its threads are waiting for.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=port)
    options = parser.parse_args()
    try:
        with framing.connect((options.host, options.port), framing.LineFramer()) as messages:
            messages.send(options.name)
            receiver = threading.Thread(target=receive, args=(messages,), daemon=True)
            receiver.start()
            for line in sys.stdin:
                text = line.rstrip("\n")
                if text == "bye":
                    break
                messages.send(text)
            leaving.set()
            messages.send("bye")
            receiver.join()  # the server closes the connection when it has sent everything
    except (OSError, UnicodeError, framing.FramingError) as error:
        sys.exit(f"{options.host}:{options.port}: {error}")


def receive(messages: framing.MessageSocket[str]) -> None:
    """Print what the others say until the connection ends."""
    reason = "the server has closed the connection"
    try:
        for text in messages:
            # What others send must not steer this terminal, as control characters do.
            print(text if text.isprintable() else ascii(text), flush=True)
    except (OSError, framing.FramingError) as error:
        reason = str(error)
    if not leaving.is_set():
        print(reason, file=sys.stderr)
        os._exit(1)  # the main thread waits for the keyboard, and nothing else would end that


def port(text: str) -> int:
    """Return the port in *text*; argparse makes its message of a ValueError."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    main()

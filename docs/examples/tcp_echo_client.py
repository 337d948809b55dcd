"""A client of the TCP echo servers: it sends each line that you type, and prints the answer.

Start tcp_echo_server.py, asyncio_server.py or selectors_server.py in another terminal first.
Ctrl-D (on Windows Ctrl-Z and Enter) ends it, and so does Ctrl-C.
"""

import argparse
import signal
import sys

import framing

TIMEOUT = 30.0  # seconds, for the connection and for each answer


def main() -> None:
    """Send the lines of standard input, one after another."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=int)
    options = parser.parse_args()
    try:
        with framing.connect((options.host, options.port), timeout=TIMEOUT) as conn:
            for line in sys.stdin:
                conn.send(line.rstrip("\n").encode())
                text = conn.recv().decode(errors="replace")
                # Control characters could change what the terminal shows.
                print(text if text.isprintable() else repr(text), flush=True)
    except (OSError, ValueError, EOFError) as error:
        sys.exit(f"{options.host}:{options.port}: {error}")


if __name__ == "__main__":
    main()

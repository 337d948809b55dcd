"""A client of the TCP echo servers: it sends each line that is typed, and prints the answer.

Start tcp_echo_server.py, tcp_echo_threaded.py, asyncio_server.py or selectors_server.py in
another terminal before. Ctrl-D (on Windows Ctrl-Z and Enter) ends it, as does Ctrl-C.
"""

import argparse
import signal
import socket
import sys

import framing

TIMEOUT = 30.0  # seconds, for the connection and for each answer


def main() -> None:
    """Send the lines of standard input, one after another."""
    # Ctrl-C ends the program at once. On Windows, recv() would not notice it otherwise.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=port)
    options = parser.parse_args()
    try:
        with socket.create_connection((options.host, options.port), TIMEOUT) as sock:
            for line in sys.stdin:
                # A message is bytes: text is encoded to be sent, and decoded when it came.
                framing.send_msg(sock, line.rstrip("\n").encode())
                print(framing.recv_msg(sock).decode(errors="replace"), flush=True)
    except (OSError, UnicodeError, framing.FramingError) as error:
        sys.exit(f"{options.host}:{options.port}: {error}")


def port(text: str) -> int:
    """Return the port in *text*; argparse makes its message of a ValueError."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    main()

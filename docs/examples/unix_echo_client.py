"""A client of unix_echo_server.py: it sends each line that is typed, and prints the answer.

It is tcp_echo_client.py but for the address: above the socket, nothing is different.
"""

import argparse
import signal
import socket
import sys

import framing

TIMEOUT = 30.0  # seconds, for the connection and for each answer


def main() -> None:
    """Send the lines of standard input, one after another."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", default="echo.sock")
    path = parser.parse_args().path
    if not hasattr(socket, "AF_UNIX"):
        sys.exit("Python has no Unix-domain sockets on this system")
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(TIMEOUT)
            sock.connect(path)
            for line in sys.stdin:
                framing.send_msg(sock, line.rstrip("\n").encode())
                print(framing.recv_msg(sock).decode(errors="replace"), flush=True)
    except (OSError, UnicodeError, framing.FramingError) as error:
        sys.exit(f"{path}: {error}")


if __name__ == "__main__":
    main()

"""A client of udp_echo_server.py: it sends each line that you type, and prints the answer.

A datagram may get lost, on the way or on the way back. So the client asks again when no answer
comes in time, and gives up after the fourth time.
"""

import argparse
import signal
import socket
import sys

import framing


def main() -> None:
    """Send the lines of standard input, one after another."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=int)
    options = parser.parse_args()
    try:
        with framing.open_datagram() as sock:
            # This sends nothing. The system remembers the address: from now on it passes on only
            # what comes from there, and reports if nobody receives there.
            sock.connect((options.host, options.port))
            for number, line in enumerate(sys.stdin, 1):
                text = ask(sock, number, line.rstrip("\n"))
                # Control characters could change what the terminal shows.
                print(text if text.isprintable() else repr(text), flush=True)
    except (OSError, ValueError, OverflowError) as error:
        sys.exit(f"{options.host}:{options.port}: {error}")


def ask(sock: socket.socket, number: int, text: str) -> str:
    """Return the answer to *text*. Its number shows that it does not belong to an earlier line."""
    prefix = b"%d " % number
    request = prefix + text.encode()
    answer = framing.request_datagram(
        sock, request, None, timeout=1.0, retries=3, accept=lambda data: data.startswith(prefix)
    )
    return answer.data.removeprefix(prefix).decode(errors="replace")


if __name__ == "__main__":
    main()

"""A client of udp_echo_server.py: it sends each line that is typed, and prints the answer.

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
    # Ctrl-C ends the program at once. On Windows, recvfrom() would not notice it otherwise.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=port)
    options = parser.parse_args()
    try:
        with framing.open_datagram() as sock:
            # With UDP this sends nothing. The system remembers the address: from now on it
            # passes on what comes from there only, and tells if nobody receives there.
            sock.connect((options.host, options.port))
            for number, line in enumerate(sys.stdin, 1):
                print(ask(sock, number, line.rstrip("\n")), flush=True)
    except (OSError, UnicodeError, framing.FramingError) as error:
        sys.exit(f"{options.host}:{options.port}: {error}")


def ask(sock: socket.socket, number: int, text: str) -> str:
    """Return the answer to *text*.

    The number in front tells it from a late answer to an earlier line.
    """
    prefix = b"%d " % number
    request = prefix + text.encode()
    answer = framing.request_datagram(
        sock, request, None, timeout=1.0, retries=3, accept=lambda data: data.startswith(prefix)
    )
    return answer.data.removeprefix(prefix).decode(errors="replace")


def port(text: str) -> int:
    """Return the port in *text*; argparse makes its message of a ValueError."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    main()

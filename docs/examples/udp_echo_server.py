"""A UDP echo server: it answers each datagram in upper case, to its sender.

Start it, and udp_echo_client.py in other terminals. UDP has no connections, so it serves any
number of clients in turn, and none of them can stop it.
"""

import argparse
import signal
import sys

import framing


def main() -> None:
    """Answer datagrams until Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=int, help="0 for any free port")
    options = parser.parse_args()
    try:
        sock = framing.open_datagram((options.host, options.port))
    except (OSError, ValueError) as error:
        sys.exit(f"cannot receive at {options.host}:{options.port}: {error}")
    with sock:
        print("receiving at {}:{}, until Ctrl-C".format(*sock.getsockname()), flush=True)
        while True:
            # A plain recvfrom(1024) would truncate a longer datagram silently.
            data, address = framing.recv_datagram(sock)
            try:
                framing.send_datagram(sock, data.upper(), address)
            except OSError as error:  # there may be no way back to that address
                print(f"no answer to {address[0]}:{address[1]}: {error}", flush=True)


if __name__ == "__main__":
    main()

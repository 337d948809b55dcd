"""Receive what udp_broadcast_sender.py sends to everybody on the network.

Start several, on one machine or on many, before the sender.
"""

import argparse
import signal
import sys

import framing


def main() -> None:
    """Print datagrams until Ctrl-C."""
    # Ctrl-C ends the program at once. On Windows, recvfrom() would not notice it otherwise.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__)
    # Bound to one of its addresses, a machine does not receive what is sent to all of them.
    parser.add_argument("host", nargs="?", default="", help="default: all addresses")
    parser.add_argument("port", nargs="?", default=9000, type=port, help="0 for any free one")
    options = parser.parse_args()
    try:
        # Several programs on one machine can receive at the same port only if all ask for it.
        sock = framing.open_datagram((options.host, options.port), reuse_address=True)
    except (OSError, UnicodeError) as error:
        sys.exit(f"cannot receive at {options.host}:{options.port}: {error}")
    with sock:
        print("receiving at {}:{}, until Ctrl-C".format(*sock.getsockname()), flush=True)
        while True:
            data, (host, *_) = framing.recv_datagram(sock)
            text = data.decode(errors="replace")
            # What others send must not steer this terminal, as control characters do.
            print(f"{host}: {text if text.isprintable() else ascii(text)}", flush=True)


def port(text: str) -> int:
    """Return the port in *text*; argparse makes its message of a ValueError."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    main()

"""Receive what udp_broadcast_sender.py sends to everybody on the network.

Start several, on one machine or on many, before the sender.
"""

import argparse
import io
import signal
import sys

import framing


def main() -> None:
    """Print datagrams until Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # whatever arrives can be printed
    parser = argparse.ArgumentParser(description=__doc__)
    # Bound to one of its addresses, a machine does not receive what is sent to all of them.
    parser.add_argument("host", nargs="?", default="", help="default: all addresses")
    parser.add_argument("port", nargs="?", default=9000, type=int, help="0 for any free port")
    options = parser.parse_args()
    try:
        # Several programs on one machine can receive at the same port only if all ask for it.
        sock = framing.open_datagram((options.host, options.port), reuse_address=True)
    except (OSError, ValueError) as error:
        sys.exit(f"cannot receive at {options.host}:{options.port}: {error}")
    with sock:
        print("receiving at {}:{}, until Ctrl-C".format(*sock.getsockname()), flush=True)
        while True:
            data, (host, *_) = framing.recv_datagram(sock)
            text = data.decode(errors="replace")
            # Control characters could change what the terminal shows.
            print(f"{host}: {text if text.isprintable() else repr(text)}", flush=True)


if __name__ == "__main__":
    main()

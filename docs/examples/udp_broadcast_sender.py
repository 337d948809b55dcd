"""Send each line that you type to everybody on the network, by UDP broadcast.

Start some udp_broadcast_receiver.py first: the sender never learns whether anybody receives.
Broadcasts stay within the local network. On Linux, 127.255.255.255 is this machine alone.
"""

import argparse
import signal
import sys

import framing


def main() -> None:
    """Send the lines of standard input."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="255.255.255.255")
    parser.add_argument("port", nargs="?", default=9000, type=int)
    options = parser.parse_args()
    try:
        # Systems refuse to send to so many unless the program has asked for it.
        with framing.open_datagram(broadcast=True) as sock:
            for line in sys.stdin:
                text = line.rstrip("\n")
                framing.send_datagram(sock, text.encode(), (options.host, options.port))
    except (OSError, ValueError, OverflowError) as error:
        sys.exit(f"{options.host}:{options.port}: {error}")


if __name__ == "__main__":
    main()

"""Send a record of eleven bytes, a number, a name and a byte, over TCP or over UDP.

Start record_server.py first. The record is the same for both; only over TCP does it have to be
cut out of a stream.
"""

import argparse
import signal
import sys

import framing

# Two bytes, big-endian; eight bytes, filled up with zeros; a byte from -128 to 127.
RECORD = framing.StructFramer("!H8sb")


def over_tcp(address: tuple[str, int], record: tuple[int, bytes, int]) -> tuple[int, bytes, int]:
    """Send a record over a new connection, and return the answer."""
    with framing.connect(address, RECORD, timeout=30) as conn:
        conn.send(record)
        return conn.recv()


def over_udp(address: tuple[str, int], record: tuple[int, bytes, int]) -> tuple[int, bytes, int]:
    """Send a record as a datagram, again if necessary, and return the answer."""
    with framing.open_datagram() as sock:
        answer = framing.request_datagram(sock, RECORD.encode(record), address)
        return RECORD.decode(answer.data)


def main() -> None:
    """Send one record, and print the answer."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int, help="0 to 65535")
    parser.add_argument("name", help="at most 8 bytes")
    parser.add_argument("byte", type=int, help="-128 to 127")
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=int)
    parser.add_argument("--udp", action="store_true")
    options = parser.parse_args()
    record = (options.number, options.name.encode(errors="replace"), options.byte)
    exchange = over_udp if options.udp else over_tcp
    try:
        # Whatever struct would cut off or wrap around is an EncodeError, which is a ValueError.
        number, name, byte = exchange((options.host, options.port), record)
    except (OSError, ValueError, EOFError) as error:
        sys.exit(f"{options.host}:{options.port}: {error}")
    print(number, ascii(name.rstrip(b"\0").decode(errors="replace")), byte)


if __name__ == "__main__":
    main()

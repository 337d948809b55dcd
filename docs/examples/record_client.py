"""Send a record of eleven bytes, a number, a name and a byte, over TCP or over UDP.

Start record_server.py before. The record is the same for both; only over TCP has it to be cut
out of a stream.
"""

import argparse
import signal
import sys

import framing

# Two bytes, big-endian; eight bytes, filled up with zeros; a byte from -128 to 127.
RECORD = framing.StructFramer("!H8sb")


def main() -> None:
    """Send one record, and print the answer."""
    # Ctrl-C ends the program at once. On Windows, recv() would not notice it otherwise.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int, help="0 to 65535")
    parser.add_argument("name", help="at most 8 bytes")
    parser.add_argument("byte", type=int, help="-128 to 127")
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=port)
    parser.add_argument("--udp", action="store_true")
    options = parser.parse_args()
    record = (options.number, options.name.encode(errors="replace"), options.byte)
    try:
        RECORD.encode(record)
    except framing.EncodeError as error:  # what struct would cut off is an error too
        parser.error(str(error))
    exchange = over_udp if options.udp else over_tcp
    try:
        number, name, byte = exchange((options.host, options.port), record)
    except (OSError, UnicodeError, framing.FramingError) as error:
        sys.exit(f"{options.host}:{options.port}: {error}")
    print(number, name.rstrip(b"\0").decode(errors="replace"), byte)


def over_tcp(address: tuple[str, int], record: tuple[int, bytes, int]) -> tuple[int, bytes, int]:
    """Send a record over a new connection, and return the answer."""
    with framing.connect(address, RECORD, timeout=30) as records:
        records.send(record)
        return records.recv()


def over_udp(address: tuple[str, int], record: tuple[int, bytes, int]) -> tuple[int, bytes, int]:
    """Send a record as a datagram, again if need be, and return the answer."""
    with framing.open_datagram() as sock:
        sock.connect(address)  # so that the system tells if nobody receives there
        answer = framing.request_datagram(sock, RECORD.encode(record), None, timeout=1, retries=3)
        return RECORD.decode(answer.data)


def port(text: str) -> int:
    """Return the port in *text*; argparse makes its message of a ValueError."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    main()

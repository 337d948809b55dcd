"""Receive records of eleven bytes, a number, a name and a byte, over TCP or over UDP.

Start it, with --udp for UDP, and record_client.py in another terminal. Each record is answered
by one with its number, the name "ok" and the byte 0.
"""

import argparse
import signal
import socket
import sys

import framing

# Two bytes, big-endian; eight bytes, filled up with zeros; a byte from -128 to 127.
RECORD = framing.StructFramer("!H8sb")


def main() -> None:
    """Serve clients until Ctrl-C."""
    # Ctrl-C ends the program at once. On Windows, recv() would not notice it otherwise.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=port, help="0 for any free one")
    parser.add_argument("--udp", action="store_true")
    options = parser.parse_args()
    address = (options.host, options.port)
    try:
        sock = framing.open_datagram(address) if options.udp else socket.create_server(address)
    except (OSError, UnicodeError) as error:
        sys.exit(f"cannot receive at {options.host}:{options.port}: {error}")
    with sock:
        print("receiving at {}:{}, until Ctrl-C".format(*sock.getsockname()), flush=True)
        while True:
            # Whatever a client does, the next one comes.
            try:
                serve_datagram(sock) if options.udp else serve_connection(sock)
            except (OSError, framing.FramingError) as error:
                print(f"a client was lost: {error}", flush=True)


def serve_datagram(sock: socket.socket) -> None:
    """Answer one datagram, which is one record or an error."""
    data, address = framing.recv_datagram(sock)
    framing.send_datagram(sock, RECORD.encode(answer(RECORD.decode(data))), address)


def serve_connection(listener: socket.socket) -> None:
    """Answer the records of one client until it closes the connection."""
    conn, _ = listener.accept()
    conn.settimeout(30)  # the next client does not wait for ever
    with conn, framing.MessageSocket(conn, RECORD) as records:
        for record in records:
            records.send(answer(record))


def answer(record: tuple[int, bytes, int]) -> tuple[int, bytes, int]:
    """Print a record, and return the answer to it."""
    number, name, byte = record
    print(number, ascii(name.rstrip(b"\0").decode(errors="replace")), byte, flush=True)
    return number, b"ok", 0


def port(text: str) -> int:
    """Return the port in *text*; argparse makes its message of a ValueError."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    main()

"""Receive records of eleven bytes, a number, a name and a byte, over TCP or over UDP.

Start it, with --udp for UDP, and record_client.py in another terminal. Each record is answered
by one with its number, the name "ok" and the byte 0.
"""

import argparse
import logging
import signal
import sys

import framing

# Two bytes, big-endian; eight bytes, filled up with zeros; a byte from -128 to 127.
RECORD = framing.StructFramer("!H8sb")


def answer(record: tuple[int, bytes, int]) -> tuple[int, bytes, int]:
    """Print a record, and return the answer to it."""
    number, name, byte = record
    print(number, ascii(name.rstrip(b"\0").decode(errors="replace")), byte, flush=True)
    return number, b"ok", 0


def serve_connection(conn: framing.MessageSocket[tuple[int, bytes, int]]) -> None:
    """Answer the records of one client, in its own thread, until it closes the connection."""
    for record in conn:
        conn.send(answer(record))


def serve_datagrams(address: tuple[str, int]) -> None:
    """Answer datagrams, each of which is one record or an error."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
    with framing.open_datagram(address) as sock:
        print("receiving at {}:{}, until Ctrl-C".format(*sock.getsockname()), flush=True)
        while True:
            data, client = framing.recv_datagram(sock)
            try:
                framing.send_datagram(sock, RECORD.encode(answer(RECORD.decode(data))), client)
            except (OSError, ValueError, EOFError) as error:
                print(f"{client[0]} sent no record: {error}", flush=True)


def main() -> None:
    """Serve clients until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=int, help="0 for any free port")
    parser.add_argument("--udp", action="store_true")
    options = parser.parse_args()
    address = (options.host, options.port)
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # one line for a lost client
    try:
        if options.udp:
            serve_datagrams(address)
        with framing.serve(serve_connection, address, RECORD, timeout=300) as server:
            print("listening on {}:{}, until Ctrl-C".format(*server.address), flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        print("stopped")
    except (OSError, ValueError) as error:
        sys.exit(f"cannot receive at {options.host}:{options.port}: {error}")


if __name__ == "__main__":
    main()

"""A file server: it stores what clients upload in one directory, and serves it by name.

Start it, and file_client.py in other terminals, as many at a time as you like. A request is a
message with a header only; a file is a message too, with its name and size in the header.
"""

import argparse
import functools
import logging
import os
import sys
from pathlib import Path

import framing
from framing.files import recv_file, send_file

IDLE_TIMEOUT = 300.0  # seconds: a client that has vanished must not keep its thread forever
MAX_SIZE = 10 * 1024**3  # bytes of one upload

Connection = framing.MessageSocket[framing.HeaderMessage]


def serve_files(directory: Path, conn: Connection) -> None:
    """Answer the requests of one client, in its own thread, until it closes the connection."""
    for request in conn:
        store_or_send = store if request.header.get("command") == "put" else send
        try:
            store_or_send(conn, directory, request.header.get("file"))
        except (OSError, ValueError) as error:  # a bad name, no such file, a full disk
            reason = getattr(error, "strerror", None) or str(error)
            answer(conn, ok=False, reason=reason)


def store(conn: Connection, directory: Path, _: object) -> None:
    """Receive a file. Its name is in its own header, and recv_file refuses dangerous ones."""
    path = recv_file(conn, directory, max_size=MAX_SIZE)
    answer(conn, ok=True)
    print(f"stored {path.name!a}", flush=True)


def send(conn: Connection, directory: Path, name: object) -> None:
    """Send a file."""
    # What os.listdir has is in this directory: a name such as ../secret is not. A leading dot
    # hides a file, and begins the name of an upload until it is complete.
    names = [each for each in os.listdir(directory) if each[0] != "." and each == name]
    if not names or not (directory / names[0]).is_file():
        raise FileNotFoundError(f"there is no file {name!r:.100}")
    with open(directory / names[0], "rb") as file:
        answer(conn, ok=True)
        send_file(conn, file)


def answer(conn: Connection, **header: object) -> None:
    """Send a message with a header only."""
    conn.send(framing.HeaderMessage(header, b""))


def main() -> None:
    """Serve clients until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=int, help="0 for any free port")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # one line for a lost client
    handler = functools.partial(serve_files, options.directory)
    address, framer = (options.host, options.port), framing.HeaderBodyFramer()
    try:
        os.listdir(options.directory)
        with framing.serve(handler, address, framer, timeout=IDLE_TIMEOUT) as server:
            print("listening on {}:{}, until Ctrl-C".format(*server.address), flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        print("stopped")
    except (OSError, ValueError) as error:
        sys.exit(f"cannot serve {options.directory} on {options.host}:{options.port}: {error}")


if __name__ == "__main__":
    main()

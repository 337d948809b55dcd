"""A file server: it stores what clients upload in one directory, and serves it by name.

Start it, and file_client.py in other terminals, as many at a time as you like. A request is a
message with a header only; a file is a message too, with its name and size in the header.
"""

import argparse
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import framing
from framing.files import recv_file, send_file

IDLE_TIMEOUT = 300.0  # seconds: who has vanished must not keep a thread for ever
MAX_SIZE = 10 * 1024**3  # bytes of one upload

connections: set[socket.socket] = set()


def main() -> None:
    """Serve clients until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=directory)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=port, help="0 for any free one")
    options = parser.parse_args()
    try:
        listener = socket.create_server((options.host, options.port))
    except (OSError, UnicodeError) as error:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {error}")
    with listener, suppress(KeyboardInterrupt):
        listener.settimeout(0.5)  # on Windows, Ctrl-C does not wake accept()
        print("listening on {}:{}, until Ctrl-C".format(*listener.getsockname()), flush=True)
        while True:
            try:
                conn, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:  # it has left already, or there are too many: let some leave
                time.sleep(0.1)
                continue
            connections.add(conn)
            threading.Thread(target=serve, args=(conn, options.directory)).start()
    for conn in list(connections):  # so that their threads end, and remove unfinished uploads
        with suppress(OSError):
            conn.shutdown(socket.SHUT_RDWR)


def serve(conn: socket.socket, directory: Path) -> None:
    """Answer the requests of one client, in its own thread, until it leaves or is lost."""
    conn.settimeout(IDLE_TIMEOUT)
    try:
        with conn, framing.MessageSocket(conn, framing.HeaderBodyFramer()) as messages:
            for request in messages:
                command, name = request.header.get("command"), request.header.get("file")
                if command == "put":
                    store(messages, directory)
                # What is in the list is in this directory: a name such as ../secret is not.
                # (A dot begins the name of an upload until it is whole.)
                elif command == "get" and name in os.listdir(directory) and name[0] != ".":
                    messages.send(framing.HeaderMessage({"ok": True}, b""))
                    send_file(messages, directory / name)
                else:
                    refusal = {"ok": False, "reason": f"there is no file {name!r}"}
                    messages.send(framing.HeaderMessage(refusal, b""))
    except (OSError, ValueError, framing.FramingError) as error:
        print(f"a client was lost: {error}", flush=True)
    finally:
        connections.discard(conn)


def store(messages: framing.MessageSocket[framing.HeaderMessage], directory: Path) -> None:
    """Receive a file, and tell whether it is stored now."""
    answer: dict[str, object] = {"ok": True}
    try:
        path = recv_file(messages, directory, max_size=MAX_SIZE)
        print(f"stored {path}", flush=True)
    except (OSError, framing.DecodeError) as error:  # the name is taken or bad, the disk full
        answer = {"ok": False, "reason": getattr(error, "strerror", None) or str(error)}
    messages.send(framing.HeaderMessage(answer, b""))


def directory(text: str) -> Path:
    """Return the directory that *text* names; argparse makes its message of a ValueError."""
    path = Path(text)
    if not path.is_dir():
        raise ValueError(text)
    return path


def port(text: str) -> int:
    """Return the port in *text*; argparse makes its message of a ValueError."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    main()

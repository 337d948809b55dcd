"""A server of multiprocessing.connection that sends each message back, in a process of its own.

Prints a JSON object with its port, and runs until the standard input ends.
"""

from __future__ import annotations

import json
import sys
import threading
from multiprocessing.connection import Connection, Listener


def echo(connection: Connection) -> None:
    with connection:
        try:
            while True:
                connection.send_bytes(connection.recv_bytes())
        except (EOFError, OSError):  # between messages, or inside one
            pass


def serve(listener: Listener) -> None:
    while True:
        threading.Thread(target=echo, args=(listener.accept(),), daemon=True).start()


def main() -> None:
    listener = Listener(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    print(json.dumps({"Connection": listener.address[1]}), flush=True)
    sys.stdin.read()


main()

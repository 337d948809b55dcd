"""Receive files into the directory "received"."""

from contextlib import suppress
from pathlib import Path

import framing
from framing.files import recv_file


def store(conn: framing.MessageSocket[framing.HeaderMessage]) -> None:
    path = recv_file(conn, "received", max_size=10**9)
    print("stored", repr(path.name), flush=True)


Path("received").mkdir(exist_ok=True)
files = framing.HeaderBodyFramer()
with framing.serve(store, ("127.0.0.1", 9000), files) as server, suppress(KeyboardInterrupt):
    print("listening on {}:{}, until Ctrl-C".format(*server.address), flush=True)
    server.serve_forever()

"""Receive records of eleven bytes, and answer each with another."""

from contextlib import suppress

import framing

RECORD = framing.StructFramer("!H8sb")  # two bytes, eight bytes, one byte


def answer(conn: framing.MessageSocket[tuple[int, bytes, int]]) -> None:
    for number, name, byte in conn:
        print(number, name, byte, flush=True)
        conn.send((number, b"ok", 0))


with framing.serve(answer, ("127.0.0.1", 9000), RECORD) as server, suppress(KeyboardInterrupt):
    print("listening on {}:{}, until Ctrl-C".format(*server.address), flush=True)
    server.serve_forever()

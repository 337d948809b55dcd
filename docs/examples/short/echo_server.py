"""Answer each message in upper case."""

from contextlib import suppress

import framing


def echo(conn: framing.MessageSocket[bytes]) -> None:
    for message in conn:  # until the client closes the connection
        conn.send(message.upper())


with framing.serve(echo, ("127.0.0.1", 9000)) as server, suppress(KeyboardInterrupt):
    print("listening on {}:{}, until Ctrl-C".format(*server.address), flush=True)
    server.serve_forever()

"""Pass on each line that a client sends to all the others."""

from contextlib import suppress

import framing

clients: list[framing.MessageSocket[str]] = []


def chat(conn: framing.MessageSocket[str]) -> None:
    clients.append(conn)
    try:
        for line in conn:
            for other in clients.copy():
                if other is not conn:
                    with suppress(OSError):  # it has just left, or does not read
                        other.send(line, timeout=1)
    finally:
        clients.remove(conn)


lines = framing.LineFramer()
with framing.serve(chat, ("127.0.0.1", 9000), lines) as server, suppress(KeyboardInterrupt):
    print("listening on {}:{}, until Ctrl-C".format(*server.address), flush=True)
    server.serve_forever()

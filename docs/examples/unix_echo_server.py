"""The echo server over a Unix socket, for processes of one machine.

Start it, and unix_echo_client.py in another terminal. The address is a file. A process that may
write to the file may connect. Linux and macOS have such sockets.
"""

import sys
from contextlib import suppress

import framing


def echo(conn: framing.MessageSocket[bytes]) -> None:
    """Answer one client until it closes the connection."""
    for message in conn:
        conn.send(message.upper())


path = sys.argv[1] if len(sys.argv) > 1 else "echo.sock"
try:
    # A file that a killed server left behind is replaced; one that is in use is not.
    with framing.serve(echo, path, timeout=300) as server, suppress(KeyboardInterrupt):
        print(f"listening on {path}, until Ctrl-C", flush=True)
        server.serve_forever()
except OSError as error:
    sys.exit(f"cannot listen on {path}: {error}")

"""The echo server over a Unix-domain socket, for processes of one machine.

Start it, and unix_echo_client.py in another terminal. The address is a file, and who may write
to the file may connect. It needs a system whose Python has such sockets: Linux and macOS do.
"""

import argparse
import contextlib
import os
import pathlib
import socket
import sys

import framing

IDLE_TIMEOUT = 300.0  # seconds: a client that is stuck must not keep the next one waiting


def main() -> None:
    """Serve clients until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", default="echo.sock")
    path = parser.parse_args().path
    if not hasattr(socket, "AF_UNIX"):
        sys.exit("Python has no Unix-domain sockets on this system")
    try:
        listener = listen(path)
    except OSError as error:
        sys.exit(f"cannot listen on {path}: {error}")
    with listener, contextlib.suppress(KeyboardInterrupt):
        print(f"listening on {path}, until Ctrl-C", flush=True)
        while True:
            # Whatever a client does, the next one comes.
            try:
                conn, _ = listener.accept()
                with conn:
                    serve(conn)
            except (OSError, framing.FramingError) as error:
                print(f"a client was lost: {error}", flush=True)
    os.unlink(path)  # closing the socket leaves the file


def listen(path: str) -> socket.socket:
    """Return a socket that listens on *path*, also if a server that was killed left the file."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            pass
        except ConnectionRefusedError:
            if pathlib.Path(path).is_socket():  # and not a file with something in it
                os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def serve(conn: socket.socket) -> None:
    """Answer one client until it closes the connection."""
    conn.settimeout(IDLE_TIMEOUT)
    while True:
        try:
            message = framing.recv_msg(conn)
        except framing.EndOfStreamError:
            return
        framing.send_msg(conn, message.upper())  # of bytes, upper() changes a to z only


if __name__ == "__main__":
    main()

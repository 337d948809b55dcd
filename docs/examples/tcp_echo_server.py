"""A TCP echo server: it answers in upper case, and serves one client after another.

Start it, and tcp_echo_client.py in another terminal. While one client is served, the next one
waits: tcp_echo_threaded.py serves them at the same time.
"""

import argparse
import signal
import socket
import sys

import framing

IDLE_TIMEOUT = 300.0  # seconds: a client that has vanished must not keep the next one waiting


def main() -> None:
    """Serve clients until Ctrl-C."""
    # Ctrl-C ends the program at once. On Windows, accept() would not notice it otherwise.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=port, help="0 for any free one")
    options = parser.parse_args()
    try:
        listener = socket.create_server((options.host, options.port))
    except (OSError, UnicodeError) as error:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {error}")
    with listener:
        print("listening on {}:{}, until Ctrl-C".format(*listener.getsockname()), flush=True)
        while True:
            # Whatever a client does, even leaving before accept() returns, the next one comes.
            try:
                conn, _ = listener.accept()
                with conn:
                    serve(conn)
            except (OSError, framing.FramingError) as error:
                print(f"a client was lost: {error}", flush=True)


def serve(conn: socket.socket) -> None:
    """Answer one client until it closes the connection."""
    conn.settimeout(IDLE_TIMEOUT)
    while True:
        try:
            message = framing.recv_msg(conn)
        except framing.EndOfStreamError:  # it left between two messages, as it should
            return
        framing.send_msg(conn, message.upper())  # of bytes, upper() changes a to z only


def port(text: str) -> int:
    """Return the port in *text*; argparse makes its message of a ValueError."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    main()

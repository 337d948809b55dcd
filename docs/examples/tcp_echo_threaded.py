"""A TCP echo server that answers in upper case, with a thread for each client.

Start it, and tcp_echo_client.py in several terminals: they are served at the same time.
"""

import argparse
import os
import socketserver
import sys
from contextlib import suppress

import framing
from framing.server import MessageRequestHandler


class Echo(MessageRequestHandler[bytes]):
    """One client."""

    timeout = 300.0  # seconds: who has vanished must not keep a thread for ever

    def handle(self) -> None:
        """Answer until the client closes the connection."""
        for message in self.messages:
            self.messages.send(message.upper())  # of bytes, upper() changes a to z only


class Server(socketserver.ThreadingTCPServer):
    """The server of the standard library, with the settings that most servers want."""

    # So that it can be started again at once. On Windows, where that works anyway, the option
    # would let another program take the port over.
    allow_reuse_address = os.name != "nt"
    daemon_threads = True  # Ctrl-C does not wait for the clients
    request_queue_size = 128  # how many may wait for accept(): 5 otherwise

    def handle_error(self, request: object, client_address: object) -> None:
        """Tell of a lost client in one line, and of a mistake in this program as usual."""
        error = sys.exc_info()[1]
        if isinstance(error, (OSError, framing.FramingError)):
            print(f"a client was lost: {error}", flush=True)
        else:
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def main() -> None:
    """Serve clients until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=port, help="0 for any free one")
    options = parser.parse_args()
    try:
        server = Server((options.host, options.port), Echo)
    except (OSError, UnicodeError) as error:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {error}")
    with server, suppress(KeyboardInterrupt):
        print("listening on {}:{}, until Ctrl-C".format(*server.server_address), flush=True)
        server.serve_forever()


def port(text: str) -> int:
    """Return the port in *text*; argparse makes its message of a ValueError."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    main()

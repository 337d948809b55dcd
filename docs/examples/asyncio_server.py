"""The echo server with asyncio: one thread, a decoder for each client.

Start it, and asyncio_client.py or tcp_echo_client.py in several terminals.
"""

import argparse
import asyncio
import sys
from contextlib import suppress
from typing import cast

import framing

FRAMER = framing.LengthPrefixFramer()


class Echo(asyncio.Protocol):
    """One client."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with a decoder of its own."""
        self.transport = cast("asyncio.Transport", transport)
        self.decoder = FRAMER.decoder()

    def data_received(self, data: bytes) -> None:
        """Answer the messages that are whole now; the decoder keeps what is not."""
        try:
            for message in self.decoder.feed(data):
                self.transport.write(FRAMER.encode(message.upper()))
        except framing.DecodeError as error:
            print(f"a client was lost: {error}", flush=True)
            self.transport.close()

    def eof_received(self) -> None:
        """Tell if the client left inside a message; asyncio closes the connection."""
        try:
            self.decoder.feed_eof()
            list(self.decoder)
        except framing.FramingError as error:
            print(f"a client was lost: {error}", flush=True)

    # A client that sends and does not receive must not fill our memory with answers.
    def pause_writing(self) -> None:
        """Receive nothing more from a client that does not take its answers."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on: it has taken them."""
        self.transport.resume_reading()


async def serve(host: str, port: int) -> None:
    """Serve clients until Ctrl-C."""
    try:
        server = await asyncio.get_running_loop().create_server(Echo, host, port)
    except (OSError, ValueError, OverflowError) as error:
        sys.exit(f"cannot listen on {host}:{port}: {error}")
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        print(f"listening on {host}:{port}, until Ctrl-C", flush=True)
        await server.serve_forever()


def main() -> None:
    """Run the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=int, help="0 for any free port")
    options = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(options.host, options.port))
    print("stopped")


if __name__ == "__main__":
    main()

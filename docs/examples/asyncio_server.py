"""The echo server with asyncio: many clients in one thread.

Start it, and asyncio_client.py or tcp_echo_client.py in several terminals.
"""

import argparse
import asyncio
import logging
import sys

from framing import aio


async def echo(conn: aio.MessageStream[bytes]) -> None:
    """Answer one client until it closes the connection."""
    async for message in conn:
        await conn.send(message.upper())  # waits for a client that does not read its answers


async def serve(host: str, port: int) -> None:
    """Serve clients until Ctrl-C."""
    async with await aio.serve(echo, (host, port)) as server:
        print("listening on {}:{}, until Ctrl-C".format(*server.address), flush=True)
        await server.serve_forever()


def main() -> None:
    """Run the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=int, help="0 for any free port")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # one line for a lost client
    try:
        asyncio.run(serve(options.host, options.port))
    except KeyboardInterrupt:
        print("stopped")
    except (OSError, ValueError) as error:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {error}")


if __name__ == "__main__":
    main()

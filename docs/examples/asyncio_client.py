"""A client of the TCP echo servers with asyncio.

It sends all its messages at once, and prints the answers as they arrive.
"""

import argparse
import asyncio
import sys

from framing import aio

TIMEOUT = 30.0  # seconds, for everything


async def exchange(host: str, port: int, messages: list[str]) -> None:
    """Send messages, and print the answer to each."""
    async with await aio.connect((host, port)) as conn:
        await conn.send_many(message.encode() for message in messages)
        for _ in messages:
            text = (await conn.recv()).decode(errors="replace")
            # Control characters could change what the terminal shows.
            print(text if text.isprintable() else repr(text), flush=True)


def main() -> None:
    """Send the messages of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=int)
    parser.add_argument("messages", nargs="*", default=["hello", "how are you?", "bye"])
    options = parser.parse_args()
    talk = exchange(options.host, options.port, options.messages)
    try:
        asyncio.run(asyncio.wait_for(talk, TIMEOUT))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except asyncio.TimeoutError:  # which is TimeoutError itself from Python 3.11 on
        sys.exit(f"{options.host}:{options.port}: no answer in {TIMEOUT} seconds")
    except (OSError, ValueError, EOFError) as error:
        sys.exit(f"{options.host}:{options.port}: {error}")


if __name__ == "__main__":
    main()

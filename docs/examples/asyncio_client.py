"""A client of the TCP echo servers with the streams of asyncio, and a decoder.

It sends all its messages at once, and prints the answers as they come.
"""

import argparse
import asyncio
import sys
from contextlib import suppress

import framing

FRAMER = framing.LengthPrefixFramer()
TIMEOUT = 30.0  # seconds, for all


async def exchange(host: str, port: int, messages: list[str]) -> None:
    """Send messages, and print the answer to each."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        for message in messages:
            writer.write(FRAMER.encode(message.encode()))
        decoder = FRAMER.decoder()
        for _ in messages:
            answer = await recv(reader, decoder)
            print(answer.decode(errors="replace"))
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def recv(reader: asyncio.StreamReader, decoder: framing.Decoder[bytes]) -> bytes:
    """Receive one whole message: what framing.recv_msg does for a socket."""
    while (message := decoder.next_message()) is None:
        data = await reader.read(65_536)  # any piece of the stream, or b"" at its end
        if data:
            decoder.feed(data)
        else:
            decoder.feed_eof()  # next_message() tells what that means
    return message


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
        pass
    except asyncio.TimeoutError:  # which is TimeoutError itself from Python 3.11 on
        sys.exit(f"{options.host}:{options.port}: no answer in {TIMEOUT} seconds")
    except (OSError, ValueError, EOFError, OverflowError) as error:
        sys.exit(f"{options.host}:{options.port}: {error}")


if __name__ == "__main__":
    main()

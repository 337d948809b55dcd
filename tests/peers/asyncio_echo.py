"""Servers of asyncio's streams that send each message back, in a process of their own.

Prints a JSON object, from the name of each protocol to its port, and runs until the standard
input ends.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections.abc import Awaitable, Callable

MOST = 2 * 1024 * 1024

Read = Callable[[StreamReader], Awaitable[bytes]]


async def read_length_prefix(reader: StreamReader) -> bytes:
    prefix = await reader.readexactly(4)
    try:
        return prefix + await reader.readexactly(struct.unpack("!I", prefix)[0])
    except IncompleteReadError as error:
        raise IncompleteReadError(prefix + error.partial, error.expected) from None


async def read_line(reader: StreamReader) -> bytes:
    return await reader.readline()


async def read_until(reader: StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n")


async def read_record(reader: StreamReader) -> bytes:
    return await reader.readexactly(11)


def echo(read: Read) -> Callable[[StreamReader, StreamWriter], Awaitable[None]]:
    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            while message := await read(reader):
                writer.write(message)
                await writer.drain()
        except IncompleteReadError as error:
            writer.write(error.partial)  # what is no message goes back too
        writer.close()
        await writer.wait_closed()

    return serve


async def main() -> None:
    ports = {}
    servers = []
    for read in (read_length_prefix, read_line, read_until, read_record):
        server = await asyncio.start_server(echo(read), "127.0.0.1", 0, limit=MOST)
        ports[read.__name__] = server.sockets[0].getsockname()[1]
        servers.append(server)
    print(json.dumps(ports), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())

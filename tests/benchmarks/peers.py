"""The other libraries: what several contests need of them.

They are imported where they are used, and as ``Any``, so that the suite runs, and is type
checked, whether they are installed or not.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import Any

PREFIX = struct.Struct("!I")


# asyncio


async def read_lengths(reader: asyncio.StreamReader) -> bytes:
    """Read messages with a length before each, to the end, and return the last."""
    message = b""
    with suppress(EOFError):
        while True:
            try:
                prefix = await reader.readexactly(4)
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise ValueError("the stream was cut inside a message") from error
                raise
            (size,) = PREFIX.unpack(prefix)
            message = await reader.readexactly(size)
    return message


async def read_delimited(reader: asyncio.StreamReader, delimiter: bytes) -> bytes:
    """Read messages with a delimiter after each, to the end, and return the last."""
    message = b""
    try:
        while True:
            message = await reader.readuntil(delimiter)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
    return message.removesuffix(delimiter)


# Twisted


@lru_cache(maxsize=1)
def twisted_lengths() -> Callable[[], Any]:
    base: Any = import_module("twisted.protocols.basic").Int32StringReceiver

    class Receiver(base):  # type: ignore[misc]
        last = b""

        def stringReceived(self, string: bytes) -> None:  # noqa: N802
            self.last = string

    return Receiver


@lru_cache(maxsize=4)
def twisted_lines(line_end: bytes) -> Callable[[], Any]:
    base: Any = import_module("twisted.protocols.basic").LineReceiver

    class Receiver(base):  # type: ignore[misc]
        delimiter = line_end
        last = b""

        def lineReceived(self, line: bytes) -> None:  # noqa: N802
            self.last = line

    return Receiver


# EasyNetwork


@lru_cache(maxsize=1)
def easynetwork_lengths() -> Any:
    """Return its protocol for messages with a length before each: it has none of its own."""
    base: Any = import_module("easynetwork.serializers.abc").AbstractIncrementalPacketSerializer
    tools = import_module("easynetwork.serializers.tools")

    class Serializer(base):  # type: ignore[misc]
        def serialize(self, packet: bytes) -> bytes:
            return packet

        def deserialize(self, data: bytes) -> bytes:
            return data

        def incremental_serialize(self, packet: bytes) -> Generator[bytes, None, None]:
            yield PREFIX.pack(len(packet)) + packet

        def incremental_deserialize(self) -> Generator[None, bytes, tuple[bytes, bytes]]:
            reader = tools.GeneratorStreamReader()
            (size,) = PREFIX.unpack((yield from reader.read_exactly(4)))
            packet = yield from reader.read_exactly(size)
            return packet, reader.read_all()

    return import_module("easynetwork.protocol").StreamProtocol(Serializer())


@lru_cache(maxsize=4)
def easynetwork_delimited(delimiter: bytes) -> Any:
    base: Any = import_module("easynetwork.serializers.base_stream").AutoSeparatedPacketSerializer

    class Serializer(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(delimiter, incremental_serialize_check_separator=False)

        def serialize(self, packet: bytes) -> bytes:
            return packet

        def deserialize(self, data: bytes) -> bytes:
            return bytes(data)

    return import_module("easynetwork.protocol").StreamProtocol(Serializer())

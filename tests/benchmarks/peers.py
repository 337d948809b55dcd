"""What others make of a stream: coroutines for asyncio, and the receivers of Twisted."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import Any

PREFIX = struct.Struct("!I")


async def read_lengths(reader: asyncio.StreamReader) -> bytes:
    """Read messages with a length before each, to the end, and return the last."""
    message = b""
    with suppress(asyncio.IncompleteReadError):
        while True:
            (size,) = PREFIX.unpack(await reader.readexactly(4))
            message = await reader.readexactly(size)
    return message


async def read_delimited(reader: asyncio.StreamReader, delimiter: bytes) -> bytes:
    """Read messages with a delimiter after each, to the end, and return the last."""
    message = b""
    with suppress(asyncio.IncompleteReadError):
        while True:
            message = await reader.readuntil(delimiter)
    return message.removesuffix(delimiter)


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

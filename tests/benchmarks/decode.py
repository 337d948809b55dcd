"""Decoding without I/O: a stream of chunks, as a socket would give them, taken apart."""

from __future__ import annotations

import asyncio
import io
import json
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from framing import (
    DelimiterFramer,
    Framer,
    HeaderBodyFramer,
    HeaderMessage,
    LengthPrefixFramer,
    LineFramer,
    StructFramer,
)

from ..netstring import NetstringFramer
from . import peers
from .harness import OURS, Contest, Contestant, Goal, Scale, Watch, beats, cpu_clock
from .loads import loads
from .peers import PREFIX
from .sides import Side

CHUNK = 64 * 1024

# Takes chunks apart, times that, and returns the last message.
Decode = Callable[[list[bytes], Watch], object]


class Chunks(io.RawIOBase):
    """A raw stream that reads as the chunks it was made of, as a socket does."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self._rest or next(self._chunks, b"")
        size = min(len(chunk), len(buffer))
        self._rest = chunk[size:]
        buffer[:size] = chunk[:size]
        return size


def cut(wire: bytes, size: int = CHUNK) -> list[bytes]:
    return [wire[i : i + size] for i in range(0, len(wire), size)]


def with_framing(framer: Framer[Any], chunks: list[bytes], watch: Watch) -> object:
    message = None
    with watch:
        decoder = framer.decoder()
        for chunk in chunks:
            for message in decoder.feed(chunk):
                pass
        decoder.feed_eof()
    return message


# io.BufferedReader, which is written in C


def read_lengths(chunks: list[bytes], watch: Watch) -> object:
    payload = b""
    unpack = PREFIX.unpack
    with watch:
        read = io.BufferedReader(Chunks(chunks), CHUNK).read
        while prefix := read(4):
            (size,) = unpack(prefix)
            payload = read(size)
            if len(payload) < size:
                raise EOFError
    return payload


def iterate_lines(delimiter: bytes, chunks: list[bytes], watch: Watch) -> object:
    line = b""
    with watch:
        for line in io.BufferedReader(Chunks(chunks), CHUNK):
            pass
    return line.removesuffix(delimiter)


def read_headers(chunks: list[bytes], watch: Watch) -> object:
    header, body = {}, b""
    unpack = PREFIX.unpack
    with watch:
        read = io.BufferedReader(Chunks(chunks), CHUNK).read
        while prefix := read(4):
            (size,) = unpack(prefix)
            header = json.loads(read(size))
            body = read(header["size"])
    return header, body


def by_hand(chunks: list[bytes], watch: Watch) -> object:
    """Take messages off the front of a buffer, as it is done in most programs."""
    payload = b""
    unpack = PREFIX.unpack
    with watch:
        buffer = bytearray()
        for chunk in chunks:
            buffer += chunk
            while len(buffer) >= 4:
                (size,) = unpack(buffer[:4])
                if len(buffer) < 4 + size:
                    break
                payload = bytes(buffer[4 : 4 + size])
                del buffer[: 4 + size]
    return payload


def iter_unpack(format: str, chunks: list[bytes], watch: Watch) -> object:
    record: tuple[Any, ...] = ()
    with watch:
        for record in struct.iter_unpack(format, b"".join(chunks)):
            pass
    return record


def with_asyncio(
    take: Callable[[asyncio.StreamReader], Any], chunks: list[bytes], watch: Watch
) -> object:
    async def feed(reader: asyncio.StreamReader) -> None:
        for chunk in chunks:
            reader.feed_data(chunk)
            await asyncio.sleep(0)
        reader.feed_eof()

    async def main() -> object:
        with watch:
            reader = asyncio.StreamReader()
            feeding = asyncio.create_task(feed(reader))
            message = await take(reader)
            await feeding
        return message

    return asyncio.run(main())


def with_twisted(
    receiver: Callable[[], Callable[[], Any]], chunks: list[bytes], watch: Watch
) -> object:
    protocol = receiver()()
    with watch:
        for chunk in chunks:
            protocol.dataReceived(chunk)
    return protocol.last


# The contests


class Decoding:
    """One wire format's messages, and those that decode them."""

    def __init__(self, framer: Framer[Any], messages: list[Any]) -> None:
        self._framer = framer
        self._messages = messages
        self.contestants: list[Contestant] = []
        self.add(OURS, partial(with_framing, framer))

    def add(self, name: str, decode: Decode, *, needs: str = "") -> None:
        chunks = cut(self._wire(self._messages))

        def is_right(result: object, message: object) -> bool:
            # Others give lines as bytes.
            return result in (message, message.encode() if isinstance(message, str) else message)

        def run() -> float:
            watch = Watch(cpu_clock)
            assert is_right(decode(chunks, watch), self._messages[-1]), name
            return watch.seconds

        def check() -> None:
            for count in range(1, min(len(self._messages), 4)):
                messages = self._messages[:count]
                for size in (CHUNK, 7):
                    last = decode(cut(self._wire(messages), size), Watch())
                    assert is_right(last, messages[-1]), (name, size, last)

        self.contestants.append(Contestant(name, run, check, needs))

    def _wire(self, messages: list[Any]) -> bytes:
        return b"".join(map(self._framer.encode, messages))

    def contest(self, work: str, goals: list[Goal]) -> Contest:
        # CPU time is steady, so less of it is enough.
        return Contest("decode", work, self.contestants, goals, len(self._messages), share=0.7)


def line_contest(kind: str, framer: Framer[Any], messages: list[Any], delimiter: bytes) -> Contest:
    decoding = Decoding(framer, messages)
    decoding.add("BufferedReader", partial(iterate_lines, delimiter))
    take = partial(peers.read_delimited, delimiter=delimiter)
    decoding.add("asyncio", partial(with_asyncio, take))
    twisted = partial(peers.twisted_lines, delimiter)
    decoding.add("Twisted", partial(with_twisted, twisted), needs="twisted")
    return decoding.contest(kind, beats(OURS, BufferedReader=0.8, Twisted=1.5, asyncio=5))


def contests(scale: Scale, _side: Side) -> Iterator[Contest]:
    for load in loads(scale.count(4096), 64, 1024):
        decoding = Decoding(LengthPrefixFramer(), load.messages)
        decoding.add("BufferedReader", read_lengths)
        decoding.add("by hand", by_hand)
        decoding.add("asyncio", partial(with_asyncio, peers.read_lengths))
        decoding.add("Twisted", partial(with_twisted, peers.twisted_lengths), needs="twisted")
        goals = beats(OURS, BufferedReader=1, Twisted=2, asyncio=3)
        yield decoding.contest(f"length prefix, {load}", goals)
        for end in (b"\n", b"\r\n"):
            kind = f"delimiter {end!r}, {load}"
            yield line_contest(kind, DelimiterFramer(end), load.messages, end)
        texts = [each.decode() for each in load.messages]
        yield line_contest(f"lines, {load}", LineFramer(), texts, b"\n")
        # A format without a fast path, beside one that has it
        decoding = Decoding(NetstringFramer(), load.messages)
        yield decoding.contest(f"netstring of ten lines, {load}", [])
    load, *_others = loads(scale.count(1024), 1024)
    bodies = [
        HeaderMessage({"id": i, "size": len(body)}, body) for i, body in enumerate(load.messages)
    ]
    decoding = Decoding(HeaderBodyFramer(), bodies)
    decoding.add("BufferedReader", read_headers)
    yield decoding.contest(f"header and body, {load}", [])
    records = [(i % 65536, b"%08d" % i, i % 100) for i in range(scale.count(16_384))]
    decoding = Decoding(StructFramer("!H8sb"), records)
    decoding.add("struct.iter_unpack", partial(iter_unpack, "!H8sb"))
    yield decoding.contest("record !H8sb", [Goal(OURS, "struct.iter_unpack", least=0.5)])

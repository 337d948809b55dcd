"""Decoding without I/O: a stream of chunks, as a socket would give them, taken apart."""

from __future__ import annotations

import asyncio
import io
import json
import struct
from collections.abc import Callable, Generator, Iterator
from functools import partial
from importlib import import_module
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

from . import peers
from .harness import OURS, Contest, Contestant, Goal, Scale, Watch, beats, cpu_clock
from .loads import Load, loads
from .peers import PREFIX

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
    return payload


def read_checked_lengths(chunks: list[bytes], watch: Watch) -> object:
    payload = b""
    unpack = PREFIX.unpack
    with watch:
        read = io.BufferedReader(Chunks(chunks), CHUNK).read
        while prefix := read(4):
            if len(prefix) < 4:
                raise EOFError
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


def iterate_text(chunks: list[bytes], watch: Watch) -> object:
    line = ""
    with watch:
        for line in io.TextIOWrapper(io.BufferedReader(Chunks(chunks), CHUNK), "utf-8"):
            pass
    return line.removesuffix("\n")


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


# A hand-written loop on a buffer


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
        if buffer:
            raise EOFError
    return payload


def split(delimiter: bytes, chunks: list[bytes], watch: Watch) -> object:
    message = b""
    with watch:
        rest = b""
        for chunk in chunks:
            *messages, rest = (rest + chunk).split(delimiter)
            for message in messages:
                pass
        if rest:
            raise EOFError
    return message


# struct


def iter_unpack(format: str, chunks: list[bytes], watch: Watch) -> object:
    record: tuple[Any, ...] = ()
    with watch:
        for record in struct.iter_unpack(format, b"".join(chunks)):
            pass
    return record


def unpack_each(format: str, chunks: list[bytes], watch: Watch) -> object:
    record: tuple[Any, ...] = ()
    layout = struct.Struct(format)
    with watch:
        read = io.BufferedReader(Chunks(chunks), CHUNK).read
        while data := read(layout.size):
            record = layout.unpack(data)
    return record


# asyncio


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


# Twisted


def with_twisted(
    receiver: Callable[[], Callable[[], Any]], chunks: list[bytes], watch: Watch
) -> object:
    protocol = receiver()()
    with watch:
        for chunk in chunks:
            protocol.dataReceived(chunk)
    return protocol.last


# EasyNetwork


def with_easynetwork(protocol: Callable[[], Any], chunks: list[bytes], watch: Watch) -> object:
    message = b""
    begin = protocol().build_packet_from_chunks
    with watch:
        packets = begin()
        next(packets)
        for data in chunks:
            rest = data
            while rest:
                try:
                    packets.send(rest)
                    break
                except StopIteration as done:
                    message, rest = done.value
                packets = begin()
                next(packets)
    return message


# anyio


class Received:
    """A stream of anyio that gives chunks."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = iter(chunks)

    async def receive(self, _most: int = CHUNK) -> bytes:
        for chunk in self._chunks:
            return chunk
        raise import_module("anyio").EndOfStream


def with_anyio(chunks: list[bytes], watch: Watch) -> object:
    anyio = import_module("anyio")
    buffered = import_module("anyio.streams.buffered").BufferedByteReceiveStream
    unpack = PREFIX.unpack

    async def main() -> object:
        message = b""
        with watch:
            stream = buffered(Received(chunks))
            try:
                while True:
                    (size,) = unpack(await stream.receive_exactly(4))
                    message = await stream.receive_exactly(size)
            except anyio.IncompleteRead:
                if stream.buffer:
                    raise
        return message

    return anyio.run(main)


def lines_with_anyio(delimiter: bytes, chunks: list[bytes], watch: Watch) -> object:
    anyio = import_module("anyio")
    buffered = import_module("anyio.streams.buffered").BufferedByteReceiveStream

    async def main() -> object:
        message = b""
        with watch:
            stream = buffered(Received(chunks))
            try:
                while True:
                    message = await stream.receive_until(delimiter, CHUNK)
            except anyio.IncompleteRead:
                if stream.buffer:
                    raise
        return message

    return anyio.run(main)


# The reader of websockets


def with_websockets(chunks: list[bytes], watch: Watch) -> object:
    reader = import_module("websockets.streams").StreamReader()
    last = [b""]
    unpack = PREFIX.unpack

    def parse() -> Generator[None, None, None]:
        while not (yield from reader.at_eof()):
            (size,) = unpack((yield from reader.read_exact(4)))
            last[0] = yield from reader.read_exact(size)

    with watch:
        parsing = parse()
        for chunk in chunks:
            reader.feed_data(chunk)
            next(parsing)
        reader.feed_eof()
        next(parsing, None)
    return bytes(last[0])


def lines_with_websockets(chunks: list[bytes], watch: Watch) -> object:
    reader = import_module("websockets.streams").StreamReader()
    last = [b""]

    def parse() -> Generator[None, None, None]:
        while not (yield from reader.at_eof()):
            last[0] = yield from reader.read_line(CHUNK)

    with watch:
        parsing = parse()
        for chunk in chunks:
            reader.feed_data(chunk)
            next(parsing)
        reader.feed_eof()
        next(parsing, None)
    return bytes(last[0]).removesuffix(b"\n")


# The contests


class Decoding:
    """One wire format's messages, and who decodes them."""

    def __init__(self, framer: Framer[Any], messages: list[Any]) -> None:
        self._framer = framer
        self._messages = messages
        self.contestants: list[Contestant] = []
        self.add(OURS, partial(with_framing, framer))

    def add(
        self,
        name: str,
        decode: Decode,
        *,
        needs: str = "",
        expect: Callable[[Any], object] = lambda message: message,
    ) -> None:
        """Add a contestant that gives what *expect* makes of a message."""
        chunks = cut(self._wire(self._messages))

        def run() -> float:
            watch = Watch(cpu_clock)
            assert decode(chunks, watch) == expect(self._messages[-1]), name
            return watch.seconds

        def check() -> None:
            for count in range(1, min(len(self._messages), 4)):
                messages = self._messages[:count]
                for size in (CHUNK, 7):
                    last = decode(cut(self._wire(messages), size), Watch())
                    assert last == expect(messages[-1]), (name, size, last)

        self.contestants.append(Contestant(name, run, check, needs))

    def _wire(self, messages: list[Any]) -> bytes:
        return b"".join(map(self._framer.encode, messages))

    def contest(self, work: str, goals: list[Goal]) -> Contest:
        # CPU time is steady, so less of it is enough.
        return Contest("decode", work, self.contestants, goals, len(self._messages), share=0.7)


def length_contest(load: Load) -> Contest:
    decoding = Decoding(LengthPrefixFramer(), load.messages)
    decoding.add("BufferedReader", read_lengths)
    decoding.add("BufferedReader, checked", read_checked_lengths)
    decoding.add("by hand", by_hand)
    decoding.add("asyncio", partial(with_asyncio, peers.read_lengths))
    decoding.add("Twisted", partial(with_twisted, peers.twisted_lengths), needs="twisted")
    decoding.add(
        "EasyNetwork", partial(with_easynetwork, peers.easynetwork_lengths), needs="easynetwork"
    )
    decoding.add("anyio", with_anyio, needs="anyio")
    decoding.add("websockets", with_websockets, needs="websockets")
    return decoding.contest(
        f"length prefix, {load}", beats(OURS, BufferedReader=1, Twisted=2, asyncio=3)
    )


def delimiter_contest(load: Load, delimiter: bytes) -> Contest:
    decoding = Decoding(DelimiterFramer(delimiter), load.messages)
    add_line_peers(decoding, delimiter)
    decoding.add("by hand", partial(split, delimiter))
    if delimiter == b"\n":
        decoding.add("websockets", lines_with_websockets, needs="websockets")
    return decoding.contest(
        f"delimiter {delimiter!r}, {load}",
        beats(OURS, BufferedReader=0.8, Twisted=1.5, asyncio=5),
    )


def line_contest(load: Load) -> Contest:
    decoding = Decoding(LineFramer(), [each.decode() for each in load.messages])
    add_line_peers(decoding, b"\n", expect=str.encode)
    decoding.add("TextIOWrapper", iterate_text)
    return decoding.contest(
        f"lines, {load}", beats(OURS, BufferedReader=0.8, Twisted=1.5, asyncio=5)
    )


def add_line_peers(
    decoding: Decoding,
    delimiter: bytes,
    *,
    expect: Callable[[Any], object] = lambda message: message,
) -> None:
    def add(name: str, decode: Decode, *, needs: str = "") -> None:
        decoding.add(name, decode, needs=needs, expect=expect)

    add("BufferedReader", partial(iterate_lines, delimiter))
    add("asyncio", partial(with_asyncio, partial(peers.read_delimited, delimiter=delimiter)))
    twisted = partial(peers.twisted_lines, delimiter)
    add("Twisted", partial(with_twisted, twisted), needs="twisted")
    protocol = partial(peers.easynetwork_delimited, delimiter)
    add("EasyNetwork", partial(with_easynetwork, protocol), needs="easynetwork")
    add("anyio", partial(lines_with_anyio, delimiter), needs="anyio")


def header_contest(load: Load) -> Contest:
    messages = [
        HeaderMessage({"id": i, "size": len(body)}, body) for i, body in enumerate(load.messages)
    ]
    decoding = Decoding(HeaderBodyFramer(), messages)
    decoding.add("BufferedReader", read_headers)
    return decoding.contest(f"header and body, {load}", [])


def record_contest(count: int) -> Contest:
    format = "!H8sb"
    records = [(i % 65536, b"%08d" % i, i % 100) for i in range(count)]
    decoding = Decoding(StructFramer(format), records)
    decoding.add("struct.iter_unpack", partial(iter_unpack, format))
    decoding.add("BufferedReader", partial(unpack_each, format))
    goals = [Goal(OURS, "struct.iter_unpack", least=0.5)]
    return decoding.contest(f"record {format}, equal", goals)


def contests(scale: Scale) -> Iterator[Contest]:
    each = [*loads(scale.count(4096), 64, 1024)]
    yield from map(length_contest, each)
    for delimiter in (b"\n", b"\r\n"):
        for load in each:
            yield delimiter_contest(load, delimiter)
    yield from map(line_contest, each)
    yield from map(header_contest, loads(scale.count(1024), 1024))
    yield record_contest(scale.count(16_384))

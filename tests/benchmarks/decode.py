"""Decoding without I/O: a stream in chunks of 64 KiB, as a socket would give them, taken apart.

Only the CPU time of this process counts.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

from framing import (
    ContentLengthFramer,
    DelimiterFramer,
    Framer,
    JsonFramer,
    LengthPrefixFramer,
    LineFramer,
    NetstringFramer,
    VarintFramer,
)

from .. import netstring
from . import by_hand, peers
from .harness import OURS, Contest, Contestant, Goal, Scale, Watch, cpu_clock
from .load import Load
from .peers import twisted_receiver
from .sides import Side

CHUNK = 64 * 1024
# What each message of the built-in formats without a peer may take.
MICROSECOND = 1e-6

# Takes chunks apart, times that, and returns the last message.
Decode = Callable[[list[bytes], Watch], object]


class Chunks(io.RawIOBase):
    """A raw stream that reads as the chunks it was made of, as a socket does."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self._rest or memoryview(next(self._chunks, b""))
        size = min(len(chunk), len(buffer))
        buffer[:size] = chunk[:size]
        self._rest = chunk[size:]
        return size


def by_framing(framer: Framer[Any], chunks: list[bytes], watch: Watch) -> object:
    message = None
    with watch:
        decoder = framer.decoder()
        for chunk in chunks:
            for message in decoder.feed(chunk):
                pass
        decoder.feed_eof()
    return message


def by_reader(read: Callable[[Any], object], chunks: list[bytes], watch: Watch) -> object:
    """Read from an ``io.BufferedReader``, which is written in C."""
    with watch:
        return read(io.BufferedReader(Chunks(chunks), CHUNK))


def iterate(file: Iterable[bytes]) -> bytes:
    line = b""
    for line in file:
        pass
    return line.strip()


def remove_ends(file: Iterable[bytes]) -> bytes:
    line = b""
    for line in file:
        line = line[:-1]  # noqa: PLW2901
    return line.strip()


def iterate_text(file: io.BufferedReader) -> str:
    line = ""
    for line in io.TextIOWrapper(file, "utf-8", newline="\n"):
        pass
    return line.strip()


def load_lines(file: Iterable[bytes]) -> object:
    value = None
    for line in file:
        value = json.loads(line)
    return value


def take_front(chunks: list[bytes], watch: Watch) -> object:
    """Take messages off the front of a buffer, as many programs do."""
    payload = b""
    with watch:
        buffer = bytearray()
        for chunk in chunks:
            buffer += chunk
            while len(buffer) >= 4:
                size = int.from_bytes(buffer[:4], "big")
                if len(buffer) < 4 + size:
                    break
                payload = bytes(buffer[4 : 4 + size])
                del buffer[: 4 + size]
    return payload


def by_asyncio(
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


def by_twisted(
    receiver: Callable[[], Callable[[], Any]], chunks: list[bytes], watch: Watch
) -> object:
    protocol = receiver()()
    protocol.makeConnection(import_module("twisted.internet.testing").StringTransport())
    with watch:
        for chunk in chunks:
            protocol.dataReceived(chunk)
    return protocol.last


def loads_alone(inside: Framer[Any], chunks: list[bytes], watch: Watch) -> object:
    """Only ``json.loads``: the payloads are there already."""
    value = None
    payloads = list(inside.decoder().feed(b"".join(chunks)))
    with watch:
        for payload in payloads:
            value = json.loads(payload)
    return value


# The contests


def contest(
    work: str, framer: Framer[Any], messages: list[Any], rivals: dict[str, Decode], *goals: Goal
) -> Contest:
    wire = b"".join(map(framer.encode, messages))
    chunks = [wire[i : i + CHUNK] for i in range(0, len(wire), CHUNK)]
    last = messages[-1]
    as_bytes = last.encode() if isinstance(last, str) else last  # so others return lines

    def run(decode: Decode) -> float:
        watch = Watch(cpu_clock)
        assert decode(chunks, watch) in (last, as_bytes), work
        return watch.seconds

    ways: dict[str, Decode] = {OURS: partial(by_framing, framer), **rivals}
    contestants = [Contestant(name, partial(run, way)) for name, way in ways.items()]
    # CPU time is steady, so less of it is enough.
    return Contest(work, contestants, [*goals], len(messages), share=0.5)


def lengths(load: Load, most: float) -> Contest:
    rivals: dict[str, Decode] = {
        "BufferedReader, correct": partial(by_reader, by_hand.read_all_correctly),
        "BufferedReader, correct and tuned": partial(by_reader, by_hand.read_all_tuned),
        "BufferedReader, careless": partial(by_reader, by_hand.read_all_carelessly),
        "bytearray, careless": take_front,
        "asyncio": partial(by_asyncio, peers.read_all),
        "Twisted": partial(
            by_twisted, partial(twisted_receiver, "Int32StringReceiver", "stringReceived")
        ),
    }
    goal = Goal(OURS, "BufferedReader, correct and tuned", most)
    work = f"length prefix, {load.size} B"
    return contest(work, LengthPrefixFramer(), load.messages, rivals, goal)


def delimited(work: str, framer: Framer[Any], messages: list[Any], end: bytes) -> Contest:
    receiver = partial(twisted_receiver, "LineReceiver", "lineReceived", delimiter=end)
    rivals: dict[str, Decode] = {
        "BufferedReader": partial(by_reader, iterate),
        "BufferedReader, ends removed": partial(by_reader, remove_ends),
        "asyncio": partial(by_asyncio, partial(peers.read_lines, end)),
        "Twisted": partial(by_twisted, receiver),
    }
    goals = [Goal(OURS, "BufferedReader", 1.2)]
    if isinstance(framer, LineFramer):
        rivals["TextIOWrapper"] = partial(by_reader, iterate_text)
        goals.append(Goal(OURS, "TextIOWrapper", 1.0))
    return contest(work, framer, messages, rivals, *goals)


def json_contests(count: int) -> Iterator[Contest]:
    values = [
        {"id": i, "user": "Zoë", "text": f"message {i}", "tags": ["a", "b"], "score": i / 4}
        for i in range(count)
    ]
    alone = Goal(OURS, "json.loads alone", 1.1)
    rivals: dict[str, Decode] = {
        "json.loads alone": partial(loads_alone, DelimiterFramer()),
        "BufferedReader, json.loads": partial(by_reader, load_lines),
    }
    yield contest("JSON lines", JsonFramer(LineFramer()), values, rivals, alone)
    rivals = {"json.loads alone": partial(loads_alone, LengthPrefixFramer())}
    yield contest("JSON, length prefix", JsonFramer(), values, rivals, alone)


def contests(scale: Scale, _side: Side) -> Iterator[Contest]:
    count = scale.count(4096)
    for size, most in ((64, 0.95), (1024, 1.0)):
        load = Load(count, size)
        yield lengths(load, most)
        yield delimited(rf"delimiter \n, {size} B", DelimiterFramer(b"\n"), load.messages, b"\n")
        yield delimited(
            rf"delimiter \r\n, {size} B", DelimiterFramer(b"\r\n"), load.messages, b"\r\n"
        )
        texts = [each.decode() for each in load.messages]
        yield delimited(f"lines of text, {size} B", LineFramer(), texts, b"\n")
    yield from json_contests(count)
    messages = Load(count, 64).messages
    twisted = partial(by_twisted, partial(twisted_receiver, "NetstringReceiver", "stringReceived"))
    yield contest(
        "netstring in ten lines, 64 B",
        netstring.NetstringFramer(),
        messages,
        {"Twisted": twisted},
        Goal(OURS, "Twisted", 0.5),
    )
    built_in = {
        "varint": VarintFramer(),
        "Content-Length": ContentLengthFramer(),
        "netstring, built in": NetstringFramer(),
    }
    for work, framer in built_in.items():
        yield contest(f"{work}, 64 B", framer, messages, {}, Goal(OURS, "", MICROSECOND))

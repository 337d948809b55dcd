"""Decoding without I/O: framing against ``io.BufferedReader``, which is written in C.

    python tests/benchmarks/decode.py

Prints nanoseconds a message and the ratio to the reader's time, both the best of several runs
that alternate, so that a busy machine slows both down alike.
"""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from time import perf_counter

from framing import (
    DelimiterFramer,
    Framer,
    HeaderBodyFramer,
    HeaderMessage,
    LengthPrefixFramer,
    LineFramer,
    StructFramer,
)

CHUNK = 64 * 1024
STREAM = 8 * 1024 * 1024
RUNS = 9


class Chunks(io.RawIOBase):
    """A raw stream that reads as the chunks it was made of, as a socket does."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = iter(chunks)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = next(self._chunks, b"")
        buffer[: len(chunk)] = chunk
        return len(chunk)


def payloads(size: int, mixed: bool) -> list[bytes]:
    """Return payloads of *size* bytes, or of that on average, without a line break."""
    sizes = random.Random(size)
    count = STREAM // size
    return [b"x" * (sizes.randrange(2 * size + 1) if mixed else size) for _ in range(count)]


def cut(wire: bytes) -> list[bytes]:
    return [wire[i : i + CHUNK] for i in range(0, len(wire), CHUNK)]


def decode(framer: Framer[object], chunks: list[bytes]) -> None:
    decoder = framer.decoder()
    for chunk in chunks:
        for _message in decoder.feed(chunk):
            pass


def read_length_prefixed(chunks: list[bytes]) -> None:
    read = io.BufferedReader(Chunks(chunks), CHUNK).read
    unpack = struct.Struct("!I").unpack
    while prefix := read(4):
        (size,) = unpack(prefix)
        read(size)


def read_lines(chunks: list[bytes]) -> None:
    for _line in io.BufferedReader(Chunks(chunks), CHUNK):
        pass


def read_headers_and_bodies(chunks: list[bytes]) -> None:
    read = io.BufferedReader(Chunks(chunks), CHUNK).read
    unpack = struct.Struct("!I").unpack
    while prefix := read(4):
        (size,) = unpack(prefix)
        read(json.loads(read(size))["size"])


def iter_unpack(chunks: list[bytes]) -> None:
    for _record in struct.iter_unpack("!H8sb", b"".join(chunks)):
        pass


def best_of(*functions: Callable[[], None]) -> list[float]:
    """Return the best time of each of *functions*, run in turn, in seconds."""
    best = [float("inf")] * len(functions)
    for _ in range(RUNS):
        for i, function in enumerate(functions):
            start = perf_counter()
            function()
            best[i] = min(best[i], perf_counter() - start)
    return best


def cases() -> Iterator[tuple[str, Framer[object], list[object], Callable[[list[bytes]], None]]]:
    length: Framer[object] = LengthPrefixFramer()  # type: ignore[assignment]
    delimiter: Framer[object] = DelimiterFramer()  # type: ignore[assignment]
    crlf: Framer[object] = DelimiterFramer(b"\r\n")  # type: ignore[assignment]
    lines: Framer[object] = LineFramer()  # type: ignore[assignment]
    header: Framer[object] = HeaderBodyFramer()  # type: ignore[assignment]
    record: Framer[object] = StructFramer("!H8sb")  # type: ignore[assignment]
    for size in (64, 1024):
        for mixed in (False, True):
            data = payloads(size, mixed)
            name = f"{'0 to ' + str(2 * size) if mixed else size} B"
            yield f"length prefix, {name}", length, [*data], read_length_prefixed
            yield f"delimiter \\n, {name}", delimiter, [*data], read_lines
            yield f"delimiter \\r\\n, {name}", crlf, [*data], read_lines
            yield f"lines, {name}", lines, [each.decode() for each in data], read_lines
    data = payloads(1024, False)
    messages = [HeaderMessage({"id": 7}, each) for each in data]
    yield "header and body, 1024 B", header, [*messages], read_headers_and_bodies
    yield "record !H8sb", record, [(7, b"alice", 1)] * (STREAM // 11), iter_unpack


def main() -> None:
    print(f"{'format':<32} {'ns/message':>10} {'reader':>8} {'ratio':>6}")
    for name, framer, messages, reader in cases():
        chunks = cut(b"".join(chain.from_iterable(map(framer.encode_parts, messages))))
        ours, theirs = best_of(partial(decode, framer, chunks), partial(reader, chunks))
        each = 1e9 / len(messages)
        print(f"{name:<32} {ours * each:>10.0f} {theirs * each:>8.0f} {ours / theirs:>6.2f}")


if __name__ == "__main__":
    main()

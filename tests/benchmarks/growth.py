"""How decoding time grows with the bytes, however they are cut.

    python tests/benchmarks/growth.py

Four times the bytes should take about four times as long: prints the times for 1 and 4 MiB, the
best of several runs each, and the factor between them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
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

MIB = 1024 * 1024
RUNS = 3

# A framer that carries so many bytes, and a message of about so many
FORMATS: list[tuple[str, Callable[[int], Framer[Any]], Callable[[int], Any]]] = [
    ("length prefix", lambda size: LengthPrefixFramer(max_size=max(size, MIB)), bytes),
    ("delimiter \\n", lambda size: DelimiterFramer(max_size=max(size, MIB)), bytes),
    (
        "delimiter aab",
        lambda size: DelimiterFramer(b"aab", max_size=max(size, MIB)),
        lambda n: b"a" * n,
    ),
    ("lines", lambda size: LineFramer(max_size=max(size, MIB)), lambda size: "x" * size),
    (
        "header and body",
        lambda size: HeaderBodyFramer(max_size=size),
        lambda size: HeaderMessage({}, bytes(size)),
    ),
    ("record", lambda size: StructFramer(f"!{size}s"), lambda size: (bytes(size),)),
]


def in_chunks(chunk: int, framer: Framer[Any], message: Any, _size: int) -> Callable[[], None]:
    wire = framer.encode(message)
    chunks = [wire[i : i + chunk] for i in range(0, len(wire), chunk)]

    def run() -> None:
        decoder = framer.decoder()
        count = 0
        for each in chunks:
            for _ in decoder.feed(each):
                count += 1
        assert count == 1

    return run


def tiny_messages(framer: Framer[Any], message: Any, size: int) -> Callable[[], None]:
    wire = framer.encode(message)
    stream = wire * (size // len(wire))

    def run() -> None:
        for _ in framer.decoder().feed(stream):
            pass

    return run


def growing_backlog(framer: Framer[Any], message: Any, size: int) -> Callable[[], None]:
    """Feed a chunk of many messages, take one, and so on; then take the rest."""
    chunk = framer.encode(message) * 200
    count = size // len(chunk)

    def run() -> None:
        decoder = framer.decoder()
        for _ in range(count):
            assert decoder.feed(chunk).next_message() is not None
        for _ in decoder:
            pass

    return run


# What is fed how; the size of a message, 0 for all of the stream
PATTERNS: list[tuple[str, int, Callable[[Framer[Any], Any, int], Callable[[], None]]]] = [
    ("one message, 64-byte chunks", 0, partial(in_chunks, 64)),
    ("one message, byte by byte", 0, partial(in_chunks, 1)),
    ("3-byte messages in one chunk", 3, tiny_messages),
    ("growing backlog of 60-byte messages", 60, growing_backlog),
]


def best(run: Callable[[], None]) -> float:
    times = []
    for _ in range(RUNS):
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return min(times)


def main() -> None:
    print(f"{'format':<16} {'pattern':<36} {'1 MiB':>10} {'4 MiB':>10} {'factor':>6}")
    for name, make_framer, make_message in FORMATS:
        for pattern, size, make in PATTERNS:
            one, four = (
                best(make(make_framer(size or n * MIB), make_message(size or n * MIB), n * MIB))
                for n in (1, 4)
            )
            times = f"{one * 1000:>7.1f} ms {four * 1000:>7.1f} ms {four / one:>6.2f}"
            print(f"{name:<16} {pattern:<36} {times}", flush=True)


if __name__ == "__main__":
    main()

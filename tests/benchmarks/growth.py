"""How the time of decoding grows: with the message, with the chunk, with the messages a chunk.

Four times the bytes should take about four times as long, however they are cut.  Here the
contestants are amounts of bytes, and what counts is the factor between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
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

from .decode import cut
from .harness import Contest, Contestant, Goal, Scale, Watch, cpu_clock
from .sides import Side

MOST = 16 * 1024 * 1024

# A framer, and a message of about so many bytes
FORMATS: dict[str, tuple[Callable[[int], Framer[Any]], Callable[[int], Any]]] = {
    "length prefix": (lambda _: LengthPrefixFramer(max_size=MOST), bytes),
    "delimiter": (lambda _: DelimiterFramer(max_size=MOST), bytes),
    "delimiter b'aab'": (lambda _: DelimiterFramer(b"aab", max_size=MOST), lambda n: b"a" * n),
    "lines": (lambda _: LineFramer(max_size=MOST), lambda size: "x" * size),
    "header and body": (
        lambda _: HeaderBodyFramer(max_size=MOST),
        lambda size: HeaderMessage({}, bytes(size)),
    ),
    "record": (lambda size: StructFramer(f"!{size}s"), lambda size: (bytes(size),)),
}


def decode(framer: Framer[Any], chunks: list[bytes], count: int) -> float:
    watch = Watch(cpu_clock)
    decoded = 0
    with watch:
        decoder = framer.decoder()
        for chunk in chunks:
            for _ in decoder.feed(chunk):
                decoded += 1
    assert decoded == count
    return watch.seconds


def one_by_one(framer: Framer[Any], chunks: list[bytes], count: int) -> float:
    """Take one message of each chunk, and the rest at the end: a backlog grows."""
    watch = Watch(cpu_clock)
    with watch:
        decoder = framer.decoder()
        decoded = sum(decoder.feed(chunk).next_message() is not None for chunk in chunks)
        for _ in decoder:
            decoded += 1
    assert decoded == count
    return watch.seconds


def growing(name: str, work: str, amounts: list[int], make: Callable[[int], Contestant]) -> Contest:
    """Return a contest of the same work for each of *amounts*, each four times the one before."""
    contestants = [make(amount) for amount in amounts]
    names = [each.name for each in contestants]
    # An amount is a factor of 4 from the one before, and the time should be no more than 5.
    goals = [Goal(after, before, most=5) for before, after in pairwise(names)]
    return Contest("growth", f"{name}: {work}", contestants, goals, unit="run", share=0.1)


def message_in_chunks(format: str, chunk: int, size: int) -> Contestant:
    make_framer, make_message = FORMATS[format]
    framer = make_framer(size)
    chunks = cut(framer.encode(make_message(size)), chunk)
    return Contestant(f"{size // 1024 or size / 1024} KiB", partial(decode, framer, chunks, 1))


def messages_in_chunks(format: str, chunk: int, count: int) -> Contestant:
    make_framer, make_message = FORMATS[format]
    framer = make_framer(60)
    chunks = cut(framer.encode(make_message(60)) * count, chunk)
    return Contestant(f"{count} messages", partial(decode, framer, chunks, count))


def backlog(format: str, chunks: int) -> Contestant:
    make_framer, make_message = FORMATS[format]
    framer = make_framer(60)
    chunk = framer.encode(make_message(60)) * 200
    return Contestant(
        f"{chunks * 200} messages", partial(one_by_one, framer, [chunk] * chunks, chunks * 200)
    )


def contests(scale: Scale, _side: Side) -> Iterator[Contest]:
    tiny = scale.most_messages < 1000
    for name in FORMATS:
        for chunk, most in ((1, 32 * 1024), (64, 1024 * 1024), (64 * 1024, 1024 * 1024)):
            sizes = [256, 1024] if tiny else [most // 16, most // 4, most]
            make = partial(message_in_chunks, name, chunk)
            yield growing(name, f"one message, chunks of {chunk} B", sizes, make)
        for chunk in (1, 4096, 2**24):
            counts = [4, 16] if tiny else [100, 400, 1600] if chunk == 1 else [1000, 4000, 16_000]
            make = partial(messages_in_chunks, name, chunk)
            yield growing(name, f"messages of 60 B, chunks of {chunk} B", counts, make)
        chunks = [1, 4] if tiny else [20, 80]
        yield growing(name, "a backlog of messages of 60 B", chunks, partial(backlog, name))

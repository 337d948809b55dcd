"""Every stream of a few kinds of bytes, cut and read in every way, against a specification.

Nothing is sampled.  For each wire format, the pieces that ``strategies.FORMATS`` gives for it are
put together to all streams up to a length; each stream is cut in all ways, and read in all of
READINGS.  A stream that is refused is not cut behind the byte that shows it, since a decoder that
has failed ignores what follows (which ``test_contract`` shows).

How long the streams are depends on HYPOTHESIS_PROFILE.  Usually each cut of the longest is read in
one of READINGS only, in turn; this tries them all, and counts:

    HYPOTHESIS_PROFILE=thorough python -m pytest -s tests/test_exhaustive.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import pytest

from framing import Framer, FramingError

from .authors import AnyOfFramer
from .outcomes import (
    READERS,
    Reader,
    Results,
    by_iteration,
    cut,
    few_bytes_are_many,
    take,
    take_some,
    without_fast_path,
)
from .specifications import Expected, Specification, expected, specification_of
from .strategies import FORMATS, Format, short

# How much shorter than the longest the streams are.
SHORTER = {"thorough": 0, "quick": 3}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 2)
AT_THE_END, WITHOUT_THE_FAST_PATH = "at the end", "without the fast path"
# Those that have a name are read by iteration: after all chunks were fed, the others after each.
READINGS: list[Reader | str] = [AT_THE_END, WITHOUT_THE_FAST_PATH, *READERS]

# A shorter delimiter, and half of another one, are at the end of what this one sends.
AMBIGUOUS = Format(AnyOfFramer((b"ab", b"abbb")), short, b"ab", 8)
every_format = pytest.mark.parametrize(
    "format", [AMBIGUOUS, *(each for each in FORMATS if each.pieces)], ids=repr
)


def longest(format: Format[Any], shorter: int) -> int:
    """Return how many pieces the longest streams have."""
    return max(2, format.longest - shorter - (shorter > 0 and format.longest > 7))


def streams(format: Format[Any], shorter: int) -> Iterator[tuple[int, bytes]]:
    """Yield all streams, each behind the number of its pieces."""
    pieces = list(cut(format.pieces, 1)) if isinstance(format.pieces, bytes) else format.pieces
    for length in range(longest(format, shorter) + 1):
        for each in product(pieces, repeat=length):
            yield length, b"".join(each)


@cache
def cuts(size: int, most: int) -> list[list[slice]]:
    """Return all ways of cutting *size* bytes, at some of the first *most* places."""
    if not size:
        return [[]]
    ways = []
    for places in product([False, True], repeat=min(size - 1, most)):
        ends = [place for place, is_cut in enumerate(places, 1) if is_cut]
        ways.append(list(map(slice, [0, *ends], [*ends, size])))
    return ways


def all_cuts(specification: Specification, stream: bytes) -> list[list[slice]]:
    """Return all ways of cutting *stream* in front of the byte that shows that it is refused."""
    sizes = range(len(stream))
    refused = (expected(specification, stream[:n], end=False).is_refused for n in sizes)
    shown_at = next((n for n, is_refused in enumerate(refused) if is_refused), len(stream))
    return cuts(len(stream), shown_at - 1)


def attributes(items: list[Any]) -> list[Any]:
    """Return what is compared of messages and errors: all but an error's text."""
    return [(type(i), vars(i)) if isinstance(i, FramingError) else i for i in items]


def check(
    framer: Framer[Any],
    chunks: list[bytes],
    reading: Reader | str,
    outcomes: tuple[Expected, Expected],
) -> str:
    """Read a stream, and its end, and compare; return the text of its last error."""
    now, end = outcomes
    read = by_iteration if isinstance(reading, str) else reading
    decoder = framer.decoder()
    found = Results()
    for number, chunk in enumerate(chunks, 1):
        decoder.feed(chunk)
        if reading != AT_THE_END or number == len(chunks):
            found += take(decoder, read)
    assert attributes(found) == attributes(now.all)
    assert decoder.bytes_needed == now.needed
    if now.error is None:
        decoder.feed_eof()
        found += take(decoder, read)
        assert attributes(found) == attributes(end.all)
    assert decoder.unread() == b"".join(chunks)[end.left :]
    return str(found[-1]) if end.error else ""


@every_format
def test_every_cut_of_every_stream_gives_what_the_format_says(format: Format[Any]) -> None:
    try_every_cut(format, SHORTER)


@every_format
def test_so_it_does_when_few_bytes_are_handled_as_thousands_are(format: Format[Any]) -> None:
    with few_bytes_are_many(1):
        try_every_cut(format, SHORTER + 1)


def try_every_cut(format: Format[Any], shorter: int) -> None:
    count = 0
    specification, plain = specification_of(format.framer), without_fast_path(format.framer)
    for number, (length, stream) in enumerate(streams(format, shorter)):
        now = expected(specification, stream, end=False)
        end = expected(specification, stream, end=True) if now.error is None else now
        ways = all_cuts(specification, stream)
        is_longest = shorter and length == longest(format, shorter)
        texts = set()
        for turn, reading in enumerate(READINGS):
            framer = plain if reading == WITHOUT_THE_FAST_PATH else format.framer
            step = slice((number + turn) % len(READINGS), None, len(READINGS))
            for way in ways[step] if is_longest else ways:
                chunks = [stream[chunk] for chunk in way]
                try:
                    texts.add(check(framer, chunks, reading, (now, end)))
                except AssertionError as error:
                    raise AssertionError(f"{chunks}, read by {reading}: {error}") from error
                count += 1
        assert len(texts) <= 1
    print(f"{count:,} cases of {format}")


@every_format
def test_unread_starts_after_the_last_message_taken(format: Format[Any]) -> None:
    """For all cuts of all streams, taken back after each number of messages."""
    count = 0
    specification = specification_of(format.framer)
    for _, stream in streams(format, SHORTER + 1):
        now = expected(specification, stream, end=False)
        # Where the next item may start: bytes between two belong to none.
        places = list(zip([0, *now.ends], [*now.starts, now.left], strict=True))
        for way in all_cuts(specification, stream):
            for taken, (first, last) in enumerate(places):
                decoder = format.framer.decoder()
                found = Results()
                for chunk in way:
                    take_some(decoder.feed(stream[chunk]), found, taken)
                if count % 2:  # looking ahead reads, and takes nothing
                    assert decoder.bytes_needed == (0 if taken < len(now.ends) else now.needed)
                assert len(found) == taken
                rest = decoder.unread()
                assert decoder.unread() == b""
                assert stream.endswith(rest)
                assert first <= len(stream) - len(rest) <= last
                found += take(decoder.feed(rest))
                assert attributes(found) == attributes(now.all)
                count += 1
    print(f"{count:,} cases of {format}, taken back")

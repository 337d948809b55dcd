"""Every stream of a few kinds of bytes, cut and read in every way, against a specification.

Nothing is sampled.  For each wire format, the bytes that mean something to it, and one that does
not, are put together to all streams up to a length; each stream is cut in all ways, and read in
all of READINGS.  A stream that is refused is not cut behind the byte that shows it, since a
decoder that has failed ignores what follows (which ``test_contract`` shows).

How long the streams are depends on HYPOTHESIS_PROFILE; this tries them all, and counts:

    HYPOTHESIS_PROFILE=thorough python -m pytest -s tests/test_exhaustive.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice, product
from typing import Any

import pytest

from framing import (
    DelimiterFramer,
    Framer,
    FramingError,
    HeaderBodyFramer,
    LengthPrefixFramer,
    LineFramer,
    StructFramer,
)

from .netstring import NetstringFramer
from .outcomes import (
    Outcome,
    Reader,
    by_bytes_needed,
    by_iteration,
    by_leaving_early,
    by_next_message,
    single_bytes,
    without_fast_path,
)
from .specifications import (
    Expected,
    Specification,
    delimiter,
    expected,
    header_body,
    length_prefix,
    lines,
    netstring,
    record_of_u16_and_i8,
)

MUCH = 16 * 1024 * 1024
# How much shorter than the longest the streams are.
SHORTER = {"thorough": 0, "quick": 3}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 2)


@dataclass(frozen=True)
class Case:
    """A wire format twice, and the pieces that its streams are made of.

    Attributes:
        framer: The format as the library has it.
        specification: The same in a few lines.
        alphabet: The pieces, mostly single bytes.
        longest: How many of them a stream has at most.
    """

    framer: Framer[Any]
    specification: Specification
    alphabet: list[bytes]
    longest: int

    @cached_property
    def plain(self) -> Framer[Any]:
        return without_fast_path(self.framer)

    def streams(self, shorter: int) -> Iterator[bytes]:
        longest = max(2, self.longest - shorter - (shorter > 0 and self.longest > 7))
        for length in range(longest + 1):
            yield from map(b"".join, product(self.alphabet, repeat=length))

    def __str__(self) -> str:
        return repr(self.framer)


CASES = [
    Case(LengthPrefixFramer("!B"), length_prefix(1, "big", 255), single_bytes(b"\0\1\2"), 6),
    Case(
        LengthPrefixFramer("!B", max_size=1), length_prefix(1, "big", 1), single_bytes(b"\0\1\2"), 6
    ),
    Case(
        LengthPrefixFramer(">b", max_size=3),
        length_prefix(1, "big", 3, signed=True),
        single_bytes(b"\0\1\3\xff"),
        6,
    ),
    Case(LengthPrefixFramer("!H"), length_prefix(2, "big", 65_535), single_bytes(b"\0\1\2"), 6),
    Case(
        LengthPrefixFramer("<H", max_size=2),
        length_prefix(2, "little", 2),
        single_bytes(b"\0\1\2"),
        7,
    ),
    Case(
        LengthPrefixFramer("<h", max_size=1),
        length_prefix(2, "little", 1, signed=True),
        single_bytes(b"\0\1\xff"),
        6,
    ),
    Case(
        LengthPrefixFramer("!I", max_size=0), length_prefix(4, "big", 0), single_bytes(b"\0\1"), 10
    ),
    Case(
        LengthPrefixFramer("!B", includes_prefix=True),
        length_prefix(1, "big", 254, counts_itself=True),
        single_bytes(b"\0\1\2\3"),
        6,
    ),
    Case(
        LengthPrefixFramer("<h", includes_prefix=True, max_size=1),
        length_prefix(2, "little", 1, signed=True, counts_itself=True),
        single_bytes(b"\0\2\3\xff"),
        6,
    ),
    Case(DelimiterFramer(), delimiter(b"\n", MUCH), single_bytes(b"\na"), 8),
    Case(DelimiterFramer(max_size=2), delimiter(b"\n", 2), single_bytes(b"\na"), 8),
    Case(DelimiterFramer(b"\0", max_size=0), delimiter(b"\0", 0), single_bytes(b"\0a"), 10),
    Case(DelimiterFramer(b"\r\n"), delimiter(b"\r\n", MUCH), single_bytes(b"\r\na"), 6),
    Case(
        DelimiterFramer(b"\r\n", final="emit", max_size=2),
        delimiter(b"\r\n", 2, emit=True),
        single_bytes(b"\r\na"),
        7,
    ),
    Case(DelimiterFramer(b"aba"), delimiter(b"aba", MUCH), single_bytes(b"abc"), 6),
    Case(DelimiterFramer(b"aba", max_size=3), delimiter(b"aba", 3), single_bytes(b"abc"), 7),
    Case(
        DelimiterFramer(b"aaaa", final="emit", max_size=4),
        delimiter(b"aaaa", 4, emit=True),
        single_bytes(b"ab"),
        9,
    ),
    Case(LineFramer(), lines("utf-8", 1024 * 1024), single_bytes(b"\n\r\xc3\xa9"), 5),
    Case(LineFramer(max_size=2), lines("utf-8", 2), single_bytes(b"\n\ra"), 6),
    Case(LineFramer("latin-1", max_size=3), lines("latin-1", 3), single_bytes(b"\n\r\x85"), 6),
    Case(LineFramer("gbk"), lines("gbk", 1024 * 1024), single_bytes(b"\n\r\x81@"), 5),
    Case(
        HeaderBodyFramer("!B", size_key="", max_header_size=7, max_size=2),
        header_body(2, 7),
        [b"\6", b'{"":0}', b'{"":1}', b'{"":2}', b'{"":3}', b"\7", b"\n"],
        3,
    ),
    Case(
        HeaderBodyFramer("!B", size_key="", max_header_size=7, max_size=2),
        header_body(2, 7),
        single_bytes(b'\1\6{":}1'),
        4,
    ),
    Case(StructFramer("!Hb"), record_of_u16_and_i8, single_bytes(b"\0\1\xff"), 6),
    Case(StructFramer("!Hb"), record_of_u16_and_i8, single_bytes(b"\xff"), 12),
    Case(NetstringFramer(), netstring(1024 * 1024), single_bytes(b"01:,"), 6),
    Case(NetstringFramer(max_size=9), netstring(9), single_bytes(b"12:,a"), 6),
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)


# "At the end" is after all chunks were fed, the others are after each.
READINGS: dict[str, Reader] = {
    "at the end": by_iteration,
    "iteration": by_iteration,
    "next_message": by_next_message,
    "bytes_needed": by_bytes_needed,
    "leaving early": by_leaving_early,
    "without the fast path": by_next_message,
}


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


def shown_at(case: Case, stream: bytes) -> int:
    """Return how many bytes show that *stream* is refused; all, if it is not."""
    sizes = range(len(stream))
    refused = (expected(case.specification, stream[:n], end=False).is_refused for n in sizes)
    return next((n for n, is_refused in enumerate(refused) if is_refused), len(stream))


def all_cuts(case: Case, stream: bytes) -> list[list[slice]]:
    return cuts(len(stream), shown_at(case, stream) - 1)


def attributes(item: Any) -> Any:
    """Return what is compared of a message or an error: all but an error's text."""
    return (type(item), vars(item)) if isinstance(item, FramingError) else item


def check(
    case: Case, chunks: list[bytes], reading: str, outcomes: tuple[Expected, Expected]
) -> str:
    """Read a stream, and its end, and compare; return the text of its error."""
    now, end = outcomes
    read = READINGS[reading]
    decoder = (case.plain if reading == "without the fast path" else case.framer).decoder()
    result = Outcome()
    for chunk in chunks:
        decoder.feed(chunk)
        if reading != "at the end":
            result.take(decoder, read)
    result.take(decoder, read)
    assert_equal(result, now)
    assert decoder.bytes_needed == now.needed
    if result.end == "open":
        decoder.feed_eof()
        result.take(decoder, read)
        assert_equal(result, end)
    assert decoder.unread() == b"".join(chunks)[end.ends[-1] if end.ends else 0 :]
    return str(result.end)


def assert_equal(result: Outcome, expected: Expected) -> None:
    assert list(map(attributes, result.items)) == list(map(attributes, expected.items))
    assert attributes(result.end) == attributes(expected.error or "open")


@every_case
@pytest.mark.parametrize("reading", READINGS)
def test_every_cut_of_every_stream_gives_what_the_format_says(case: Case, reading: str) -> None:
    count = 0
    for stream in case.streams(SHORTER):
        now = expected(case.specification, stream, end=False)
        end = expected(case.specification, stream, end=True) if now.error is None else now
        texts = set()
        for way in all_cuts(case, stream):
            chunks = [stream[chunk] for chunk in way]
            try:
                texts.add(check(case, chunks, reading, (now, end)))
            except AssertionError as error:
                raise AssertionError(f"{chunks}, read by {reading}: {error}") from error
            count += 1
        assert len(texts) == 1
    print(f"{count:,} cases of {case}, read by {reading}")


@every_case
def test_unread_starts_after_the_last_message_taken(case: Case) -> None:
    """For all cuts of all streams, taken back after each number of messages."""
    count = 0
    for stream in case.streams(SHORTER + 1):
        now = expected(case.specification, stream, end=False)
        if any(isinstance(item, FramingError) for item in now.items):
            continue
        for way in all_cuts(case, stream):
            for taken, place in enumerate([0, *now.ends]):
                decoder = case.framer.decoder()
                messages: list[Any] = []
                for chunk in way:
                    decoder.feed(stream[chunk])
                    messages += islice(decoder, taken - len(messages))
                if count % 2:  # looking ahead reads, and takes nothing
                    assert decoder.bytes_needed == (0 if taken < len(now.ends) else now.needed)
                assert messages == now.items[:taken]
                assert decoder.unread() == stream[place:]
                assert decoder.unread() == b""
                count += 1
    print(f"{count:,} cases of {case}, taken back")

"""Every stream of a few kinds of bytes, cut and read in every way, against a specification.

Nothing is sampled.  For each wire format, the bytes that mean something to it, and one that does
not, are put together to all streams up to a length; each stream is cut in all ways, and read in
all of READINGS.  A stream that is refused is not cut behind the byte that shows it, since a
decoder that has failed ignores what follows (which ``test_contract`` shows).

How long the streams are depends on HYPOTHESIS_PROFILE.  Usually each cut of the longest is read in
one of READINGS only, in turn; this tries them all, and counts:

    HYPOTHESIS_PROFILE=thorough python -m pytest -s tests/test_exhaustive.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from typing import Any

import pytest

from framing import (
    CodecFramer,
    DelimiterFramer,
    Framer,
    FramingError,
    HeaderBodyFramer,
    JsonFramer,
    LengthPrefixFramer,
    LineFramer,
    NetstringFramer,
    StructFramer,
    VarintFramer,
)

from . import netstring as own_netstring
from .authors import AnyOfFramer, MarkedFramer
from .outcomes import (
    Outcome,
    Reader,
    by_bytes_needed,
    by_iteration,
    by_leaving_early,
    by_next_message,
    single_bytes,
    take_some,
    without_fast_path,
)
from .specifications import (
    MUCH,
    Expected,
    Specification,
    decoded,
    delimiter,
    expected,
    header_body,
    json_of_brackets_and_ones,
    length_prefix,
    lines,
    marked,
    netstring,
    record_of_u16_and_i8,
    varint,
)

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
    alphabet: bytes | list[bytes]
    longest: int

    @cached_property
    def plain(self) -> Framer[Any]:
        return without_fast_path(self.framer)

    def most(self, shorter: int) -> int:
        """Return how many pieces the longest streams have."""
        return max(2, self.longest - shorter - (shorter > 0 and self.longest > 7))

    def streams(self, shorter: int) -> Iterator[tuple[int, bytes]]:
        """Yield all streams, each behind the number of its pieces."""
        alphabet = self.alphabet
        pieces = single_bytes(alphabet) if isinstance(alphabet, bytes) else alphabet
        for length in range(self.most(shorter) + 1):
            for each in product(pieces, repeat=length):
                yield length, b"".join(each)

    def __str__(self) -> str:
        return repr(self.framer)


CASES = [
    Case(LengthPrefixFramer("!B"), length_prefix(1, "big", 255), b"\0\1\2", 6),
    Case(LengthPrefixFramer("!B", max_size=1), length_prefix(1, "big", 1), b"\0\1\2", 6),
    Case(
        LengthPrefixFramer(">b", max_size=3),
        length_prefix(1, "big", 3, signed=True),
        b"\0\1\3\xff",
        6,
    ),
    Case(LengthPrefixFramer("!H"), length_prefix(2, "big", 65_535), b"\0\1\2", 6),
    Case(LengthPrefixFramer("<H", max_size=2), length_prefix(2, "little", 2), b"\0\1\2", 7),
    Case(LengthPrefixFramer("!I", max_size=0), length_prefix(4, "big", 0), b"\0\1", 10),
    Case(
        LengthPrefixFramer("!B", includes_prefix=True),
        length_prefix(1, "big", 254, counts_itself=True),
        b"\0\1\2\3",
        6,
    ),
    Case(
        LengthPrefixFramer("!B", oversize="skip", max_size=1),
        length_prefix(1, "big", 1, skip=True),
        b"\0\1\2\3",
        6,
    ),
    Case(
        LengthPrefixFramer("<h", includes_prefix=True, oversize="skip", max_size=0),
        length_prefix(2, "little", 0, signed=True, counts_itself=True, skip=True),
        b"\0\2\4\xff",
        6,
    ),
    Case(DelimiterFramer(), delimiter(b"\n"), b"\na", 8),
    Case(DelimiterFramer(max_size=2), delimiter(b"\n", limit=2), b"\na", 8),
    Case(DelimiterFramer(b"\0", max_size=0), delimiter(b"\0", limit=0), b"\0a", 10),
    Case(DelimiterFramer(b"\r\n"), delimiter(b"\r\n"), b"\r\na", 6),
    Case(
        DelimiterFramer(b"\r\n", final="emit", max_size=2),
        delimiter(b"\r\n", limit=2, emit=True),
        b"\r\na",
        7,
    ),
    Case(DelimiterFramer(b"aba"), delimiter(b"aba"), b"abc", 6),
    Case(DelimiterFramer(b"aba", max_size=3), delimiter(b"aba", limit=3), b"abc", 7),
    Case(
        DelimiterFramer(b"aaaa", final="emit", max_size=4),
        delimiter(b"aaaa", limit=4, emit=True),
        b"ab",
        9,
    ),
    Case(
        DelimiterFramer(oversize="skip", max_size=1),
        delimiter(b"\n", limit=1, skip=True),
        b"\na",
        8,
    ),
    Case(
        DelimiterFramer(b"aba", oversize="skip", max_size=2),
        delimiter(b"aba", limit=2, skip=True),
        b"abc",
        7,
    ),
    Case(
        DelimiterFramer(b"\r\n", final="emit", oversize="skip", max_size=0),
        delimiter(b"\r\n", limit=0, emit=True, skip=True),
        b"\r\na",
        7,
    ),
    Case(AnyOfFramer(), delimiter(b"\r", b"\n", b"\r\n"), b"\r\na", 6),
    Case(
        AnyOfFramer(or_end=True, max_size=1),
        delimiter(b"\r", b"\n", b"\r\n", limit=1, emit=True),
        b"\r\na",
        7,
    ),
    Case(AnyOfFramer((b"b", b"abc")), delimiter(b"b", b"abc"), b"abc", 6),
    Case(AnyOfFramer((b"b", b"abc"), max_size=1), delimiter(b"b", b"abc", limit=1), b"abc", 6),
    Case(AnyOfFramer((b"ab", b"abbb")), delimiter(b"ab", b"abbb"), b"ab", 8),
    Case(LineFramer(), lines("utf-8"), b"\n\r\xc3\xa9", 5),
    Case(LineFramer(max_size=2), lines("utf-8", 2), b"\n\ra", 6),
    Case(LineFramer("latin-1", max_size=3), lines("latin-1", 3), b"\n\r\x85", 6),
    Case(LineFramer("gbk"), lines("gbk"), b"\n\r\x81@", 5),
    Case(
        LineFramer(errors="replace", oversize="skip", max_size=1),
        lines("utf-8", 1, errors="replace", skip=True),
        b"\n\r\xff",
        7,
    ),
    Case(
        JsonFramer(LineFramer(oversize="skip", max_size=3)),
        decoded(lines("utf-8", 3, skip=True), json_of_brackets_and_ones),
        b"\n[]1",
        6,
    ),
    Case(CodecFramer(LineFramer(), str, int), decoded(lines("utf-8"), int), b"\n1a", 7),
    Case(
        HeaderBodyFramer("!B", size_key="", max_header_size=7, max_size=2),
        header_body(2, 7),
        [b"\6", b'{"":0}', b'{"":1}', b'{"":2}', b'{"":3}', b"\7", b"\n"],
        3,
    ),
    Case(
        HeaderBodyFramer("!B", size_key="", max_header_size=7, max_size=2),
        header_body(2, 7),
        b'\1\6{":}1',
        4,
    ),
    Case(StructFramer("!Hb"), record_of_u16_and_i8, b"\0\1\xff", 6),
    Case(StructFramer("!Hb"), record_of_u16_and_i8, b"\xff", 12),
    Case(NetstringFramer(), netstring(MUCH), b"01:,", 6),
    Case(NetstringFramer(max_size=9), netstring(9), b"12:,a", 6),
    Case(own_netstring.NetstringFramer(max_size=9), netstring(9, most_digits=1), b"12:,a", 6),
    Case(VarintFramer(max_size=129), varint(129), b"\0\1\x80\x82", 6),
    Case(MarkedFramer(max_size=2), marked(2), b"\0\1\2\3", 6),
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
    assert decoder.unread() == b"".join(chunks)[end.left :]
    return str(result.end)


def assert_equal(result: Outcome, expected: Expected) -> None:
    assert list(map(attributes, result.items)) == list(map(attributes, expected.items))
    assert attributes(result.end) == attributes(expected.error or "open")


@every_case
@pytest.mark.parametrize("reading", READINGS)
def test_every_cut_of_every_stream_gives_what_the_format_says(case: Case, reading: str) -> None:
    count = 0
    turn = list(READINGS).index(reading)
    for number, (length, stream) in enumerate(case.streams(SHORTER)):
        ways = all_cuts(case, stream)
        if SHORTER and length == case.most(SHORTER):
            ways = ways[(number + turn) % len(READINGS) :: len(READINGS)]
        now = expected(case.specification, stream, end=False)
        end = expected(case.specification, stream, end=True) if now.error is None else now
        texts = set()
        for way in ways:
            chunks = [stream[chunk] for chunk in way]
            try:
                texts.add(check(case, chunks, reading, (now, end)))
            except AssertionError as error:
                raise AssertionError(f"{chunks}, read by {reading}: {error}") from error
            count += 1
        assert len(texts) <= 1
    print(f"{count:,} cases of {case}, read by {reading}")


@every_case
def test_unread_starts_after_the_last_message_taken(case: Case) -> None:
    """For all cuts of all streams, taken back after each number of messages."""
    count = 0
    for _, stream in case.streams(SHORTER + 1):
        now = expected(case.specification, stream, end=False)
        # Where the next item may start: bytes between two belong to none.
        places = list(zip([0, *now.ends], [*now.starts, now.left], strict=True))
        for way in all_cuts(case, stream):
            for taken, (first, last) in enumerate(places):
                decoder = case.framer.decoder()
                result = Outcome()
                for chunk in way:
                    decoder.feed(stream[chunk])
                    take_some(decoder, result.items, taken)
                if count % 2:  # looking ahead reads, and takes nothing
                    assert decoder.bytes_needed == (0 if taken < len(now.ends) else now.needed)
                assert len(result.items) == taken
                rest = decoder.unread()
                assert decoder.unread() == b""
                assert stream.endswith(rest)
                assert first <= len(stream) - len(rest) <= last
                result.take(decoder.feed(rest))
                assert_equal(result, now)
                count += 1
    print(f"{count:,} cases of {case}, taken back")

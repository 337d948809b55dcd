"""What each wire format says about a stream, in a few lines that share nothing with the library.

A specification looks at all bytes of a stream at once, from the start of a message on, and says
whether that message is whole, bad, or still missing something.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import framing
from framing import (
    DecodeError,
    FramingError,
    IncompleteMessageError,
    MessageTooLargeError,
)


class Whole(NamedTuple):
    message: Any
    size: int


class Missing(NamedTuple):
    needed: int  # at least so many bytes to the end of the message
    size: int | None = None  # of all of it, where that is known


class Bad(NamedTuple):
    size: int | None = None  # of the bad message, where the next one's start is known


class TooLarge(NamedTuple):
    size: int | None
    limit: int


Verdict: TypeAlias = Whole | Missing | Bad | TooLarge
Specification: TypeAlias = Callable[[bytes, bool], Verdict]
"""Given the bytes from the start of a message on, and whether the stream ends after them."""


def length_prefix(
    width: int,
    order: Literal["big", "little"],
    limit: int,
    *,
    signed: bool = False,
    counts_itself: bool = False,
) -> Specification:
    def read(data: bytes, _end: bool) -> Verdict:
        if len(data) < width:
            return Missing(width - len(data))
        length = int.from_bytes(data[:width], order, signed=signed)
        size = length - width if counts_itself else length
        if size < 0:
            return Bad()
        if size > limit:
            return TooLarge(size, limit)
        if len(data) < width + size:
            return Missing(width + size - len(data), width + size)
        return Whole(data[width : width + size], width + size)

    return read


def delimiter(mark: bytes, limit: int, *, emit: bool = False) -> Specification:
    def read(data: bytes, end: bool) -> Verdict:
        place = data.find(mark)
        if 0 <= place <= limit:
            return Whole(data[:place], place + len(mark))
        begun = begun_of(data, mark)
        if place > limit or len(data) - (0 if end and emit else begun) > limit:
            return TooLarge(None, limit)
        return Whole(data, len(data)) if end and emit else Missing(len(mark) - begun)

    return read


def begun_of(data: bytes, mark: bytes) -> int:
    """Return how much of *mark* the last bytes of *data* may be, but not all of it."""
    return max(size for size in range(len(mark)) if data.endswith(mark[:size]))


def lines(encoding: str, limit: int) -> Specification:
    def read(data: bytes, end: bool) -> Verdict:
        line, mark, _ = data.partition(b"\n")
        text = line[:-1] if line[-1:] == b"\r" and (mark or not end) else line
        if len(text) > limit:
            return TooLarge(None, limit)
        if not mark and not end:
            return Missing(1)
        try:
            return Whole(text.decode(encoding), len(line + mark))
        except UnicodeDecodeError:
            return Bad(len(line + mark))

    return read


def header_body(limit: int, header_limit: int) -> Specification:
    """A header behind one byte; of all JSON, the objects that ``test_exhaustive`` can write."""

    def read(data: bytes, _end: bool) -> Verdict:  # noqa: PLR0911  # one each for a verdict
        if not data:
            return Missing(1)
        length = data[0]
        if length > header_limit:
            return TooLarge(length, header_limit)
        if len(data) < 1 + length:
            return Missing(1 + length - len(data))
        header = re.fullmatch(rb'\n*\{"":([0-9])\}\n*', data[1 : 1 + length])
        if not header:
            return Bad()
        body = int(header[1])
        if body > limit:
            return TooLarge(body, limit)
        size = 1 + length + body
        if len(data) < size:
            return Missing(size - len(data), size)
        return Whole(({"": body}, data[1 + length : size]), size)

    return read


def record_of_u16_and_i8(data: bytes, _end: bool) -> Verdict:
    if len(data) < 3:
        return Missing(3 - len(data), 3)
    return Whole((256 * data[0] + data[1], data[2] - 256 * (data[2] > 127)), 3)


def netstring(limit: int) -> Specification:
    most_digits = len(str(limit))

    def read(data: bytes, _end: bool) -> Verdict:  # noqa: PLR0911
        digits, colon, rest = data.partition(b":")
        if len(digits) > most_digits:
            return TooLarge(None, most_digits)
        if not colon:
            return Missing(1)
        if not re.fullmatch(b"0|[1-9][0-9]*", digits):
            return Bad()
        size = int(digits)
        if size > limit:
            return TooLarge(size, limit)
        if len(rest) <= size:
            return Missing(size + 1 - len(rest), len(digits) + size + 2)
        if rest[size : size + 1] != b",":
            return Bad()
        return Whole(rest[:size], len(digits) + size + 2)

    return read


# A bad message whose end is known ends nothing, from the version on that has this error.
BadMessageError: type[DecodeError] | None = getattr(framing, "BadMessageError", None)


@dataclass(frozen=True)
class Expected:
    """What a stream has to give.

    Attributes:
        items: The messages that are whole, and the errors after which the stream goes on.
        ends: Where each of them ends.
        error: What finishes the stream, if anything.
        needed: What ``bytes_needed`` is afterwards.
    """

    items: list[Any]
    ends: list[int]
    error: FramingError | None
    needed: int

    @property
    def is_refused(self) -> bool:
        return isinstance(self.error, DecodeError)


def expected(specification: Specification, data: bytes, *, end: bool) -> Expected:
    """Return what *data* has to give, with its stream's end or without."""
    items: list[Any] = []
    ends: list[int] = []
    place = 0
    while place < len(data):
        verdict = specification(data[place:], end)
        if isinstance(verdict, Whole):
            items.append(verdict.message)
            place += verdict.size
        elif isinstance(verdict, Bad) and verdict.size and BadMessageError:
            items.append(BadMessageError("", offset=place))
            place += verdict.size
        else:
            error = _error(verdict, data[place:], place, end=end)
            needed = verdict.needed if isinstance(verdict, Missing) and not end else 0
            return Expected(items, ends, error, needed)
        ends.append(place)
    return Expected(items, ends, None, 0 if end else _first_needed(specification))


def _error(verdict: Verdict, data: bytes, place: int, *, end: bool) -> FramingError | None:
    if isinstance(verdict, TooLarge):
        return MessageTooLargeError("", size=verdict.size, limit=verdict.limit, offset=place)
    if isinstance(verdict, Bad):
        return DecodeError("", offset=place)
    if isinstance(verdict, Missing) and end:
        return IncompleteMessageError("", received=len(data), expected=verdict.size)
    return None


def _first_needed(specification: Specification) -> int:
    """Return what is needed of a message of which no byte has come."""
    verdict = specification(b"", False)
    assert isinstance(verdict, Missing)
    return verdict.needed

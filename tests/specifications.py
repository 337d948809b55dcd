"""What each wire format says about a stream, in a few lines that share nothing with the library.

A specification looks at all bytes of a stream at once, from the start of a message on, and says
whether that message is whole, bad, or still missing something.  Of the framer it knows its options.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from framing import (
    BadMessageError,
    CodecFramer,
    DecodeError,
    DelimiterFramer,
    Framer,
    FramingError,
    HeaderBodyFramer,
    IncompleteMessageError,
    JsonFramer,
    LengthPrefixFramer,
    LineFramer,
    MessageTooLargeError,
    NetstringFramer,
    StructFramer,
    VarintFramer,
)

from . import netstring as own
from .authors import AnyOfFramer, MarkedFramer


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
    rest: int | Missing | None = None  # where the message ends, if it is skipped


class Skipped(NamedTuple):
    size: int  # so many bytes belong to no message


Verdict: TypeAlias = Whole | Missing | Bad | TooLarge | Skipped
Specification: TypeAlias = Callable[[bytes, bool], Verdict]
"""Given the bytes from the start of a message on, and whether the stream ends after them."""


def length_prefix(framer: LengthPrefixFramer) -> Specification:
    width = struct.calcsize(framer.format)

    def read(data: bytes, _end: bool) -> Verdict:
        if len(data) < width:
            return Missing(width - len(data))
        (length,) = struct.unpack(framer.format, data[:width])
        size = length - width * framer.includes_prefix
        if size < 0:
            return Bad()
        missing = Missing(width + size - len(data), width + size)
        if size > framer.max_size:
            rest = missing if missing.needed > 0 else width + size
            return TooLarge(size, framer.max_size, rest if framer.oversize == "skip" else None)
        if missing.needed > 0:
            return missing
        return Whole(data[width : width + size], width + size)

    return read


def delimiters(framer: Any) -> Specification:
    """The first delimiter counts, and of those that begin at one place the longest."""
    marks = getattr(framer, "delimiters", ()) or (framer.delimiter,)
    emits = getattr(framer, "or_end", False) or getattr(framer, "final", "") == "emit"
    skips = getattr(framer, "oversize", "") == "skip"

    def read(data: bytes, end: bool) -> Verdict:
        place, mark = _first_of(marks, data, end=end)
        is_ended = bool(mark) or (end and emits)
        if not is_ended:
            place, _ = _first_of(marks, data, end=False)
        is_there = any(each in data for each in marks)  # and one byte more decides which it is
        needed = 1 if is_there else min(len(each) - _begun_of(data, each) for each in marks)
        missing = Missing(needed)
        size = place + len(mark)
        if place > framer.max_size:
            return TooLarge(
                None, framer.max_size, (size if is_ended else missing) if skips else None
            )
        return Whole(data[:place], size) if is_ended else missing

    return read


def _first_of(marks: tuple[bytes, ...], data: bytes, *, end: bool) -> tuple[int, bytes]:
    """Return where the first mark begins, or may begin, and that mark if it is there."""
    for place in range(len(data)):
        here = data[place:]
        if not end and any(each.startswith(here) and each != here for each in marks):
            return place, b""
        if found := list(filter(here.startswith, marks)):
            return place, max(found, key=len)
    return len(data), b""


def _begun_of(data: bytes, mark: bytes) -> int:
    """Return how much of *mark* the last bytes of *data* may be, but not all of it."""
    return max(size for size in range(len(mark)) if data.endswith(mark[:size]))


def lines(framer: LineFramer) -> Specification:
    def read(data: bytes, end: bool) -> Verdict:
        line, mark, _ = data.partition(b"\n")
        text = line[:-1] if line[-1:] == b"\r" and (mark or not end) else line
        is_ended = mark or end
        if len(text) > framer.max_size:
            rest = len(line + mark) if is_ended else Missing(1)
            return TooLarge(None, framer.max_size, rest if framer.oversize == "skip" else None)
        return Whole(text, len(line + mark)) if is_ended else Missing(1)

    return _decoded(read, lambda text: text.decode(framer.encoding, framer.errors))


def _decoded(specification: Specification, decode: Callable[[Any], Any]) -> Specification:
    """A message that cannot be decoded costs that message alone."""

    def read(data: bytes, end: bool) -> Verdict:
        verdict = specification(data, end)
        if not isinstance(verdict, Whole):
            return verdict
        try:
            return Whole(decode(verdict.message), verdict.size)
        except ValueError:
            return Bad(verdict.size)

    return read


def codec(framer: CodecFramer[Any]) -> Specification:
    decode = _json_of_brackets_and_ones if isinstance(framer, JsonFramer) else int
    return _decoded(specification_of(framer.framer), decode)


def _json_of_brackets_and_ones(text: str) -> Any:
    parts = re.fullmatch(r"(\[*)(1*)(\]*)", text)
    if not parts or not text or len(parts[1]) != len(parts[3]):
        raise ValueError
    values: list[Any] = [int(parts[2])] if parts[2] else []
    for _ in parts[1]:
        values = [values]
    return values.pop()


def header_body(framer: HeaderBodyFramer) -> Specification:
    """A header behind one byte; of all JSON, the objects that ``test_exhaustive`` can write."""
    most, limit = framer.max_header_size, framer.max_size

    def read(data: bytes, _end: bool) -> Verdict:  # noqa: PLR0911  # one each for a verdict
        if not data:
            return Missing(1)
        length = data[0]
        if length > most:
            return TooLarge(length, most)
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


def record_of_u16_and_i8(_framer: StructFramer) -> Specification:
    def read(data: bytes, _end: bool) -> Verdict:
        if len(data) < 3:
            return Missing(3 - len(data), 3)
        return Whole((256 * data[0] + data[1], data[2] - 256 * (data[2] > 127)), 3)

    return read


def netstring(framer: NetstringFramer | own.NetstringFramer) -> Specification:
    limit = framer.max_size
    most_digits = 20 if isinstance(framer, NetstringFramer) else len(str(limit))

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


def varint(framer: VarintFramer) -> Specification:
    def read(data: bytes, _end: bool) -> Verdict:
        field = re.match(rb"[\x80-\xff]{0,9}[\0-\x7f]", data)
        if not field:
            return Bad() if len(data) > 9 else Missing(1)
        size = sum((byte & 127) << 7 * place for place, byte in enumerate(field[0]))
        missing = field.end() + size - len(data)
        if size > framer.max_size:
            return TooLarge(size, framer.max_size)
        if missing > 0:
            return Missing(missing, field.end() + size)
        return Whole(data[field.end() :][:size], field.end() + size)

    return read


def marked(framer: MarkedFramer) -> Specification:
    """A mark of 1, the size, the payload, and the sum of its bytes; anything else is skipped."""

    def read(data: bytes, _end: bool) -> Verdict:
        if data[:1] not in {b"", b"\1"} or (len(data) > 1 and data[1] > framer.max_size):
            return Skipped(1)
        if len(data) < 2:
            return Missing(1)
        size = 3 + data[1]
        if len(data) < size:
            return Missing(size - len(data), size)
        payload, check = data[2 : size - 1], data[size - 1]
        return Whole(payload, size) if check == sum(payload) % 256 else Skipped(1)

    return read


SPECIFICATIONS: dict[type, Callable[[Any], Specification]] = {
    LengthPrefixFramer: length_prefix,
    DelimiterFramer: delimiters,
    AnyOfFramer: delimiters,
    LineFramer: lines,
    CodecFramer: codec,
    JsonFramer: codec,
    HeaderBodyFramer: header_body,
    StructFramer: record_of_u16_and_i8,
    NetstringFramer: netstring,
    own.NetstringFramer: netstring,
    VarintFramer: varint,
    MarkedFramer: marked,
}


def specification_of(framer: Framer[Any]) -> Specification:
    return SPECIFICATIONS[type(framer)](framer)


@dataclass
class Expected:
    """What a stream has to give.

    Attributes:
        items: The messages that are whole, and the errors after which the stream goes on.
        starts: Where each of them starts.
        ends: Where each of them ends; of a message that is skipped, where that has come to.
        error: What finishes the stream, if anything.
        needed: What ``bytes_needed`` is afterwards.
        left: Where the bytes start that belong to no item.
    """

    items: list[Any] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    error: FramingError | None = None
    needed: int = 0
    left: int = 0

    @property
    def is_refused(self) -> bool:
        return isinstance(self.error, DecodeError)

    @property
    def all(self) -> list[Any]:
        return self.items + [self.error] * (self.error is not None)


def expected(specification: Specification, data: bytes, *, end: bool) -> Expected:
    """Return what *data* has to give, with its stream's end or without."""
    found = Expected()
    while True:
        start = found.left
        here = data[start:]
        verdict = specification(here, end) if here else specification(b"", False)
        if isinstance(verdict, Skipped):
            found.left += verdict.size
            continue
        after = verdict.rest if isinstance(verdict, TooLarge) else verdict.size
        error = _error(verdict, here, start, end=end)
        if after is not None and not isinstance(verdict, Missing):
            found.items.append(verdict.message if isinstance(verdict, Whole) else error)
            found.starts.append(start)
            found.left += len(here) if isinstance(after, Missing) else after
            found.ends.append(found.left)
            if not isinstance(after, Missing):
                continue
            verdict, error = after, _error(after, here, start, end=end)
        found.error = error if here else None
        found.needed = verdict.needed if isinstance(verdict, Missing) and not end else 0
        return found


def _error(verdict: Verdict, data: bytes, place: int, *, end: bool) -> FramingError | None:
    if isinstance(verdict, TooLarge):
        error = MessageTooLargeError("", size=verdict.size, limit=verdict.limit, offset=place)
        error.recoverable = verdict.rest is not None
        return error
    if isinstance(verdict, Bad):
        return (BadMessageError if verdict.size else DecodeError)("", offset=place)
    if isinstance(verdict, Missing) and end:
        return IncompleteMessageError("", received=len(data), expected=verdict.size)
    return None

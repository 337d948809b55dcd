r"""What a wire format's ``read_message`` asks for: a number of bytes, or all up to a delimiter.

A request knows how to be met from a :class:`~framing.buffer.StreamBuffer`, and what is missing
where it cannot be met yet.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, TypeVar

from .errors import MessageTooLargeError

if TYPE_CHECKING:
    from .buffer import StreamBuffer

__all__ = ["ReadExactly", "ReadUntil", "Steps"]

M = TypeVar("M")


class ReadExactly:
    """What ``read_message`` yields to be given the next *size* bytes.

    They are what ``yield`` returns, once all of them have come::

        payload = yield ReadExactly(size, last=True)

    Args:
        size: How many, 0 or more.
        last: Whether the message ends with them.  An :class:`IncompleteMessageError` can then
            tell how many bytes the message should have had.

    Raises:
        ValueError: *size* is negative.
    """

    __slots__ = ("last", "size")

    def __init__(self, size: int, *, last: bool = False) -> None:
        if size < 0:
            raise ValueError(f"expected a size of 0 or more, not {size}")
        self.size = size
        self.last = last

    def __repr__(self) -> str:
        return f"ReadExactly({self.size}, last={self.last})"

    def _take(self, buffer: StreamBuffer, _ended: bool) -> bytes | None:
        return buffer.read_exactly(self.size)

    def _missing(self, buffer: StreamBuffer) -> int:
        return self.size - buffer.available

    def _missing_at_least(self, buffer: StreamBuffer) -> int:
        return self._missing(buffer)

    def _wire_size(self, buffer: StreamBuffer) -> int | None:
        return buffer.read + self.size if self.last else None


class ReadUntil:
    r"""What ``read_message`` yields to be given the bytes before a delimiter.

    The delimiter is read as well, but not given::

        digits = yield ReadUntil(b":", limit=7)     # b"5" of b"5:hello,"

    Args:
        delimiter: One byte or more.
        limit: The largest number of bytes before the delimiter.  More of them are a
            :class:`MessageTooLargeError`, raised as soon as the bytes cannot lead to less.
        limit_name: What the user sets to change the limit, for the error's text.
        optional: Bytes that belong to the delimiter where they stand right before it, as
            ``b"\r"`` does to ``b"\n"``.
        or_end: Whether the end of the stream serves as a delimiter too.

    Raises:
        ValueError: *delimiter* is empty, or *limit* is negative.
    """

    __slots__ = ("delimiter", "limit", "limit_name", "optional", "or_end")

    def __init__(
        self,
        delimiter: bytes,
        *,
        limit: int,
        limit_name: str = "",
        optional: bytes = b"",
        or_end: bool = False,
    ) -> None:
        if not delimiter:
            raise ValueError("expected a delimiter of one byte or more, not an empty one")
        if limit < 0:
            raise ValueError(f"expected a limit of 0 or more, not {limit}")
        self.delimiter = delimiter
        self.limit = limit
        self.limit_name = limit_name
        self.optional = optional
        self.or_end = or_end

    def __repr__(self) -> str:
        options = f"limit={self.limit}, optional={self.optional!r}, or_end={self.or_end}"
        return f"ReadUntil({self.delimiter!r}, {options})"

    def _take(self, buffer: StreamBuffer, ended: bool) -> bytes | None:
        data = buffer.read_until(self.delimiter, self.limit + len(self.optional))
        if data is not None:
            data = data.removesuffix(self.optional)
            if len(data) > self.limit:
                raise self._too_large()
            return data
        at_end = ended and self.or_end
        if buffer.available > self.limit:
            begun = 0 if at_end else self._begun(buffer)
            if buffer.available - begun > self.limit:
                raise self._too_large()
        return buffer.read_rest() if at_end else None

    def _begun(self, buffer: StreamBuffer) -> int:
        """Return how many of the last bytes may be the beginning of the delimiter."""
        whole = self.optional + self.delimiter
        last = buffer.last(len(whole) - 1)
        return max(overlap(last, whole), overlap(last, self.delimiter))

    def _missing(self, buffer: StreamBuffer) -> int:
        size = len(self.delimiter)
        return size - overlap(buffer.last(size - 1), self.delimiter)

    def _missing_at_least(self, _buffer: StreamBuffer) -> int:
        return 1

    def _wire_size(self, _buffer: StreamBuffer) -> None:
        return None

    def _span(self, buffer: StreamBuffer, ahead: bytes) -> int:
        """Return how many of the bytes *ahead*, which come next, this request covers."""
        last = buffer.last(len(self.delimiter) - 1)
        place = (last + ahead).find(self.delimiter)
        return len(ahead) if place < 0 else place + len(self.delimiter) - len(last)

    def _too_large(self) -> MessageTooLargeError:
        name = f" ({self.limit_name}={self.limit})" if self.limit_name else ""
        return MessageTooLargeError(
            f"expected {self.delimiter!r} after at most {self.limit} bytes{name},"
            " and more have come",
            limit=self.limit,
        )


def overlap(data: bytes, delimiter: bytes) -> int:
    """Return the size of the longest suffix of *data* that is a proper prefix of *delimiter*."""
    for size in range(min(len(data), len(delimiter) - 1), 0, -1):
        if data.endswith(delimiter[:size]):
            return size
    return 0


Steps = Generator[ReadExactly | ReadUntil, bytes, M]
"""The type of ``read_message``: yields requests, is sent bytes, returns the message."""

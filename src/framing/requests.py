r"""What ``read_message`` may ask for: some bytes, all bytes up to a delimiter, or to skip some.

A request is a value.  The decoder looks at it to find out how many bytes are missing, so it also
decides how far ``recv_msg`` may read.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from typing import Literal

    from .errors import MessageTooLargeError

M = TypeVar("M")


class ReadExactly:
    """Ask for the next *size* bytes.

    ``yield`` returns them once all of them have arrived::

        payload = yield ReadExactly(size, last=True)

    Args:
        size: How many bytes, 0 or more.
        last: Whether the message ends with them.  If so, an :class:`IncompleteMessageError`
            can say how many bytes the message should have had.

    Raises:
        ValueError: *size* is negative.
    """

    __slots__ = ("last", "size")

    def __init__(self, size: int, last: bool = False) -> None:
        if size < 0:
            raise ValueError(f"expected a size of 0 or more, not {size}")
        self.size: int = size
        self.last: bool = last

    def __repr__(self) -> str:
        return f"ReadExactly({self.size}, last={self.last})"


class ReadUntil:
    r"""Ask for the bytes before a delimiter.

    The delimiter is read as well, but not returned::

        digits = yield ReadUntil(b":", limit=7)             # b"5" of b"5:hello,"
        line = yield ReadUntil((b"\r\n", b"\n"), limit=80)  # whichever comes first

    Of several delimiters, the one that begins first counts, and of two that begin at the same
    byte the longer one, however the stream was cut.

    Args:
        delimiter: One byte or more, or a tuple of several delimiters.
        limit: The largest number of bytes before the delimiter.  If there are more, the message
            is a :class:`MessageTooLargeError`.
        or_end: Whether the end of the stream counts as a delimiter too.
        oversize: ``"error"``, or ``"skip"`` to continue behind the delimiter of a message that
            is too large.
        limit_name: The option that sets the limit, for the text of the error.

    Raises:
        ValueError: There is no delimiter, or an empty one, or *limit* is negative.
    """

    __slots__ = ("delimiter", "limit", "limit_name", "or_end", "oversize")

    def __init__(
        self,
        delimiter: bytes | tuple[bytes, ...],
        *,
        limit: int,
        or_end: bool = False,
        oversize: Literal["error", "skip"] = "error",
        limit_name: str = "",
    ) -> None:
        if limit < 0:
            raise ValueError(f"expected a limit of 0 or more, not {limit}")
        if not delimiter or not (type(delimiter) is bytes or all(delimiter)):
            raise ValueError("expected delimiters of one byte or more, not an empty one")
        self.delimiter: bytes | tuple[bytes, ...] = delimiter
        self.limit: int = limit
        self.or_end: bool = or_end
        self.oversize = oversize
        self.limit_name: str = limit_name

    def __repr__(self) -> str:
        return f"ReadUntil({self.delimiter!r}, limit={self.limit}, or_end={self.or_end})"

    @property
    def longest(self) -> int:
        """The size of the longest delimiter."""
        delimiter = self.delimiter
        return max(map(len, delimiter)) if isinstance(delimiter, tuple) else len(delimiter)

    def find(self, data: bytes, start: int, stop: int, ended: bool) -> tuple[int, int]:
        """Return where the first delimiter in ``data[start:stop]`` begins and ends.

        If there is none, or the bytes after *data* decide which one it is, return the index
        before which none begins, and 0.
        """
        longest = self.longest
        if not isinstance(self.delimiter, tuple):
            begin = data.find(self.delimiter, start, stop)
            if begin >= 0:
                return begin, begin + longest
        elif match := _pattern(self.delimiter).search(data, start, stop):
            begin = match.start()
            undecided = len(data) - self.begun(data[max(start, len(data) - longest + 1) :])
            if ended or begin < undecided:
                return begin, match.end()
            return undecided, 0
        return max(start, stop - longest + 1), 0

    def begun(self, data: bytes) -> int:
        """Return how many of the last bytes of *data* may be the beginning of a delimiter."""
        return max(_overlap(data, each) for each in self._delimiters)

    def missing(self, tail: bytes) -> int:
        """Return how many bytes a delimiter lacks at least, if the unread bytes end with *tail*."""
        if any(each in tail for each in self._delimiters):
            return 1  # it is there, and the next byte may decide that no longer one begins with it
        return min(len(each) - _overlap(tail, each) for each in self._delimiters)

    @property
    def _delimiters(self) -> tuple[bytes, ...]:
        return self.delimiter if isinstance(self.delimiter, tuple) else (self.delimiter,)


@lru_cache
def _pattern(delimiters: tuple[bytes, ...]) -> re.Pattern[bytes]:
    # Of alternatives that match at the same place, re takes the first: the longest.
    return re.compile(b"|".join(map(re.escape, sorted(delimiters, key=len, reverse=True))))


class Skip:
    """Drop the first *n* bytes that were read for this message, and start again behind them.

    They belong to no message.  This is how a format ignores filler, or looks for the next good
    message after garbage::

        if crc != expected:
            yield Skip(1)  # look again, from the second byte on

    Nothing is sent back: the decoder begins a new ``read_message()``, from the first byte that
    was not dropped.  If the stream ends right there, that is a clean end.

    Args:
        n: How many bytes, from 1 to the number that was read; all of them by default.

    Raises:
        ValueError: *n* is less than 1.
    """

    __slots__ = ("n",)

    def __init__(self, n: int | None = None) -> None:
        if n is not None and n < 1:
            raise ValueError(f"expected to skip 1 byte or more, not {n}")
        self.n: int | None = n

    def __repr__(self) -> str:
        return f"Skip({'' if self.n is None else self.n})"


class Refuse:
    """Raise *error* for this message, and discard its next *size* bytes as they arrive.

    For ``oversize="skip"``: the built-in formats yield it.
    """

    __slots__ = ("error", "size")

    def __init__(self, error: MessageTooLargeError, size: int) -> None:
        self.error: MessageTooLargeError = error
        self.size: int = size


Steps = Generator[ReadExactly | ReadUntil | Skip | Refuse, bytes, M]
"""The type of ``read_message``: it yields requests, is sent bytes, and returns the message."""


def _overlap(data: bytes, delimiter: bytes) -> int:
    """Return the size of the longest suffix of *data* that is a proper prefix of *delimiter*."""
    for size in range(min(len(data), len(delimiter) - 1), 0, -1):
        if data.endswith(delimiter[:size]):
            return size
    return 0

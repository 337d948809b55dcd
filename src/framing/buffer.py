r"""The bytes of one incoming stream, from the current message's first byte on.

::

    kept             data                            more
    +------------+   +----------+------+--------+    +-----------+
    | read, of a |   | finished | read | unread |    | fed since |
    | long msg   |   |          |      |        |    |           |
    +------------+   +----------+------+--------+    +-----------+
                              start   pos

Bytes enter ``more`` (or ``data``, when little is left in it) and are read from ``data`` without
moving anything.  When ``data`` runs short, its rest moves to the front of ``more``; when ``more``
holds enough, it becomes the next ``data``, which copies nothing.

Four invariants:

1. ``kept + data[start:] + more`` is the stream from the current message's first byte on, and
   ``base + start - size of kept`` is that byte's offset in the stream.
2. While a message waits for a large piece, everything unread is in ``more``, so the piece is
   returned where it lies.
3. No delimiter begins between ``pos`` and ``searched``.
4. Each change is one assignment, and all calls are on its right-hand side.  An exception raised
   by a signal handler therefore finds the state before the change or after it.

Each byte is copied a few times at most and searched once, however the stream was cut.  Memory
follows the bytes that arrived, never the size that a peer announces.
"""

from __future__ import annotations

import sys
from io import BytesIO
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from .requests import ReadUntil

    # Newest first, each with the size of all up to it: to add a piece copies none.
    Pieces: TypeAlias = "tuple[Pieces, bytes, int] | None"

if sys.version_info >= (3, 12):
    from collections.abc import Buffer
else:
    Buffer = Union[bytes, bytearray, memoryview]

# A piece of this size is gathered by itself, so that it is returned without another copy.
LARGE = 64 * 1024
# So many read bytes of one message are kept aside, rather than moved along with its rest.
_LONG = 4 * 1024


class StreamBuffer:
    """Bytes fed at one end, and read at the other once enough of them are there."""

    __slots__ = ("base", "data", "kept", "more", "pos", "searched", "start")

    def __init__(self) -> None:
        self.kept: Pieces = None
        self.data = b""
        self.start = 0
        self.pos = 0
        self.more = BytesIO()
        self.base = 0  # the offset of data[0] in the stream
        self.searched = 0  # an index of data + more

    @property
    def offset(self) -> int:
        """Where the current message starts in the stream."""
        return self.base + self.start - size_of(self.kept)

    @property
    def unread(self) -> int:
        """How many bytes can be read."""
        return len(self.data) - self.pos + self.more.tell()

    @property
    def read(self) -> int:
        """How many bytes of the current message have been read."""
        return self.pos - self.start + size_of(self.kept)

    @property
    def size(self) -> int:
        """How many bytes there are from the current message's first byte on."""
        kept = 0 if self.kept is None else self.kept[2]
        return len(self.data) - self.start + self.more.tell() + kept

    # Bytes come in

    def feed(self, data: Buffer) -> None:
        """Keep a copy of *data*."""
        start = self.start
        size = len(data)  # type: ignore[arg-type, unused-ignore]  # items: only for the choice
        if self.pos > start or self.kept or self.more.tell() or len(self.data) - start > size:
            self.more.write(data)
        else:  # the usual case: a chunk follows the small rest of the last one
            self.base, self.data, self.start, self.pos, self.searched = (
                self.base + start, self.data[start:] + data, 0, 0, 0,
            )  # fmt: skip

    def feed_from(self, receive: Callable[..., bytes], *args: int) -> int:
        """Keep what ``receive(*args)`` returns, and return how many bytes that was.

        A signal handler can only run between two steps of the interpreter, and receiving and
        keeping are one step here: ``map`` calls *receive* while the bytes are being stored.  If
        *receive* is a C function, as ``recv`` of a plain socket is, no byte can get lost.
        """
        received = map(receive, *zip(args))  # noqa: B905
        if self.size:
            before = self.more.tell()
            self.more.writelines(received)
            return self.more.tell() - before
        (self.data,), self.base, self.start, self.pos, self.searched = (
            received, self.base + self.start, 0, 0, 0,
        )  # fmt: skip
        return len(self.data)

    # Bytes are read

    def take(self, size: int) -> bytes | None:
        """Return the next *size* bytes; ``None``, and nothing is read, if fewer are there."""
        end = self.pos + size
        if end > len(self.data):
            if size > self.unread:
                self.gather(size)
                return None
            self.join()
            end = self.pos + size
        part = self.data[self.pos : end]
        self.pos = self.searched = end
        return part

    def take_all(self) -> bytes:
        """Return all unread bytes."""
        return self.take(self.unread) or b""

    def take_until(self, request: ReadUntil, ended: bool) -> bytes | None:
        """Return the bytes before the delimiter, and read that as well.

        ``None``, and nothing is read, if no delimiter is there within the limit.
        """
        found = self.find(request, request.limit, ended)
        if found is None or found[0] > request.limit:
            return None
        size, end = found
        part = self.data[self.pos : self.pos + size]
        self.pos = self.searched = self.pos + end
        return part

    def find(self, request: ReadUntil, limit: int | None, ended: bool) -> tuple[int, int] | None:
        """Return where the first delimiter begins and ends, counted from ``pos``.

        If there is none, all unread bytes are in ``more`` afterwards, and the next search
        starts where this one stopped.
        """
        is_in_data = self.pos < len(self.data)
        if is_in_data:
            first, block = 0, self.data
            ended = ended and not self.more.tell()
        else:
            first, block = self.searched, self._since(self.searched)
        stop = len(block)
        if limit is not None:
            stop = min(stop, self.pos - first + limit + request.longest)
        begin, end = request.find(block, self.searched - first, stop, ended)
        if end:
            result = begin + first - self.pos, end + first - self.pos
            if not is_in_data:
                self.join()
            return result
        self.searched = begin + first
        if is_in_data and self.more.tell():
            self.join()
            return self.find(request, limit, ended)
        self.gather()
        return None

    def exceeds(self, request: ReadUntil, ended: bool) -> bool:
        """Return whether more bytes are there than *request* allows before its delimiter."""
        if self.unread <= request.limit:
            return False
        if ended and (request.or_end or self.find(request, request.limit, ended)):
            return True
        begun = request.begun(self.last(request.longest - 1))
        return self.unread - begun > request.limit

    def last(self, size: int) -> bytes:
        """Return the last *size* unread bytes, or all of them if there are fewer."""
        self.gather()
        end = len(self.data) + self.more.tell()
        return self._since(max(self.pos, end - size))

    def _since(self, index: int) -> bytes:
        """Return a copy of the bytes of ``more`` from *index* of ``data + more`` on."""
        # Both views are released before more is written to again.  (PyPy insists.)
        with self.more.getbuffer() as view, view[index - len(self.data) :] as part:
            return bytes(part)

    # Messages begin and end

    def rewind(self) -> None:
        """Go back to the current message's first byte."""
        if self.kept is not None:
            self.join(join(self.kept))
        self.pos = self.searched = self.start

    def drop(self, size: int) -> None:
        """Take the next *size* bytes from the current message's first on out of the stream."""
        self.rewind()
        if size >= self.size:  # all of them, which copies nothing
            self.base, self.data, self.start, self.pos, self.searched, self.more = (
                self.base + self.start + self.size, b"", 0, 0, 0, BytesIO(),
            )  # fmt: skip
            return
        if size > len(self.data) - self.start:
            self.join()
        self.start = self.pos = self.searched = self.start + size

    def take_first(self, size: int) -> bytes:
        """Take the first *size* bytes from the current message's first byte on out of the stream."""
        self.rewind()
        if size > len(self.data) - self.start:
            self.join()
        end = self.start + size
        part, self.start, self.pos, self.searched = self.data[self.start : end], end, end, end
        return part

    def release(self) -> None:
        """Let go of the finished messages in ``data``."""
        if self.start:
            self.base, self.data, self.start, self.pos, self.searched = (
                self.base + self.start, self.data[self.start :],
                0, self.pos - self.start, self.searched - self.start,
            )  # fmt: skip

    def clear(self, before: bytes) -> bytes:
        """Take out *before*, and then everything from the current message's first byte on.

        The stream continues where *before* began.
        """
        self.rewind()
        data = before + self.data[self.start :] + self.more.getvalue()
        self.base, self.data, self.start, self.pos, self.searched, self.more = (
            self.base + self.start - len(before), b"", 0, 0, 0, BytesIO(),
        )  # fmt: skip
        return data

    # Bytes move from one place to the next

    def join(self, kept: bytes = b"") -> None:
        """Make one block of everything from the current message on."""
        moved = len(kept) - self.start
        self.data, self.more, self.base, self.start, self.pos, self.searched, self.kept = (
            kept + self.data[self.start :] + self.more.getvalue(),  # copies nothing to nothing
            BytesIO(),
            self.base - moved,
            0,
            self.pos + moved,
            self.searched + moved,
            None if kept else self.kept,
        )

    def gather(self, size: int = 1) -> None:
        """Move the rest of ``data`` to the front of ``more``, where *size* bytes are awaited."""
        if not self.data:
            return
        cut = self.pos if size >= LARGE or self.pos - self.start >= _LONG else self.start
        more = BytesIO()
        more.write(self.data[cut:])
        more.write(self.more.getvalue())
        self.kept, self.data, self.more, self.base, self.start, self.pos, self.searched = (
            added(self.kept, self.data[self.start : cut]),
            b"",
            more,
            self.base + cut,
            0,
            self.pos - cut,
            self.searched - cut,
        )


def added(pieces: Pieces, piece: bytes) -> Pieces:
    """Return *pieces* and then *piece*."""
    return (pieces, piece, size_of(pieces) + len(piece)) if piece else pieces


def size_of(pieces: Pieces) -> int:
    """Return the size of all *pieces*."""
    return 0 if pieces is None else pieces[2]


def join(pieces: Pieces) -> bytes:
    """Return all *pieces* as one."""
    parts = []
    while pieces is not None:
        pieces, piece, _ = pieces
        parts.append(piece)
    return b"".join(reversed(parts))

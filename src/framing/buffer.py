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

1. ``base`` is the offset of ``data[0]`` in the stream; ``start`` and ``pos`` are indexes of
   ``data``.  Only if bytes of the current message are ``kept``, ``start`` is negative: -1 is the
   last of those.
2. While a message waits for a large piece, everything unread is in ``more``, so the piece is
   returned where it lies.
3. No delimiter begins between ``pos`` and ``searched``, which is an offset in the stream.
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

    # Newest first: to add a piece copies none.
    Pieces: TypeAlias = "tuple[Pieces, bytes] | None"

if sys.version_info >= (3, 12):
    from collections.abc import Buffer
else:
    Buffer = Union[bytes, bytearray, memoryview]

__all__ = ["LARGE", "Buffer", "StreamBuffer", "join"]

# A piece of this size is gathered by itself, so that it is returned without another copy.
LARGE = 64 * 1024
# So many read bytes of one message are kept aside, rather than moved along with its rest.
_LONG = 4 * 1024


class StreamBuffer:
    """Bytes fed at one end, and read at the other once enough of them are there."""

    __slots__ = ("base", "data", "kept", "more", "pos", "searched", "start")

    def __init__(self) -> None:
        self.kept: Pieces = None
        self.data: bytes = b""
        self.start: int = 0
        self.pos: int = 0
        self.more: BytesIO = BytesIO()
        self.base: int = 0
        self.searched: int = 0

    @property
    def offset(self) -> int:
        """Where the current message starts in the stream."""
        return self.base + self.start

    @property
    def unread(self) -> int:
        """How many bytes can be read."""
        return len(self.data) - self.pos + self.more.tell()

    @property
    def size(self) -> int:
        """How many bytes there are from the current message's first byte on."""
        return len(self.data) - self.start + self.more.tell()

    # Bytes come in

    def feed(self, data: Buffer) -> None:
        """Keep a copy of *data*."""
        start = self.start
        size = len(data)  # type: ignore[arg-type, unused-ignore]  # items: only for the choice
        if self.pos > start or self.more.tell() or len(self.data) - start > size:
            self.more.write(data)
        else:  # the usual case: a chunk follows the small rest of the last one
            self.base, self.data, self.start, self.pos = (
                self.base + start, self.data[start:] + data, 0, 0,
            )  # fmt: skip

    def feed_from(self, receive: Callable[[int, int], bytes], size: int, flags: int) -> int:
        """Keep what ``receive(size, flags)`` returns, and return how many bytes that was.

        A signal handler can only run between two steps of the interpreter, and receiving and
        keeping are one step here: ``map`` calls *receive* while the bytes are being stored.  If
        *receive* is a C function, as ``recv`` of a plain socket is, no byte can get lost.
        """
        received = map(receive, (size,), (flags,))
        if self.size:
            before = self.more.tell()
            self.more.writelines(received)
            return self.more.tell() - before
        (self.data,), self.base, self.start, self.pos = received, self.base + self.start, 0, 0
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
        self.pos = end
        return part

    def find(
        self, request: ReadUntil, ended: bool, limit: int | None = None
    ) -> tuple[int, int] | None:
        """Return where the first delimiter begins and ends, counted from ``pos``.

        If there is none, all unread bytes are in ``more`` afterwards, and the next search
        starts where this one stopped.
        """
        searched = max(self.pos, self.searched - self.base)
        if is_in_data := self.pos < len(self.data):
            first, block = 0, self.data
        else:
            first, block = searched, self._since(searched)
        stop = len(block)
        if limit is not None:
            stop = min(stop, self.pos - first + limit + request.longest)
        is_last = ended and not (is_in_data and self.more.tell())
        begin, end = request.find(block, searched - first, stop, is_last)
        if end:
            return begin + first - self.pos, end + first - self.pos
        self.searched = self.base + begin + first
        if is_in_data and self.more.tell():
            self.join()
            return self.find(request, ended, limit)
        self.gather()
        return (self.unread, self.unread) if ended and request.or_end else None

    def exceeds(self, request: ReadUntil) -> bool:
        """Return whether more bytes are there than *request* allows before its delimiter."""
        size = self.unread
        if size <= request.limit:
            return False
        return size - request.begun(self.last(request.longest - 1)) > request.limit

    def last(self, size: int) -> bytes:
        """Return the last *size* unread bytes, or all of them if there are fewer."""
        self.gather()
        return self._since(max(self.pos, self.more.tell() - size))

    def _since(self, index: int) -> bytes:
        """Return a copy of the bytes of ``more`` from *index* of ``data + more`` on."""
        # Both views are released before more is written to again.  (PyPy insists.)
        with self.more.getbuffer() as view, view[index - len(self.data) :] as part:
            return bytes(part)

    # Messages begin and end

    def rewind(self) -> None:
        """Go back to the current message's first byte."""
        self.searched = 0
        if self.kept is not None:
            data = join(self.kept) + self.data + self.more.getvalue()
            self._move(self.start, data, BytesIO(), None)
        self.pos = self.start

    def take_first(self, size: int) -> bytes:
        """Take *size* bytes, from the current message's first byte on, out of the stream."""
        self.rewind()
        if size > len(self.data) - self.start:
            self.join()
        end = self.start + size
        part, self.start, self.pos = self.data[self.start : end], end, end
        return part

    # Bytes move from one place to the next

    def release(self) -> None:
        """Let go of the finished messages in ``data``."""
        if self.start > 0:
            self._move(self.start, self.data[self.start :], self.more, None)

    def join(self) -> None:
        """Make one block of everything from ``start`` on, but for what is kept."""
        first = max(0, self.start)  # joining nothing to something copies nothing
        self._move(first, self.data[first:] + self.more.getvalue(), BytesIO(), self.kept)

    def gather(self, size: int = 1) -> None:
        """Move the rest of ``data`` to the front of ``more``, where *size* bytes are awaited."""
        if not self.data:
            return
        first, cut, kept = max(0, self.start), self.pos, self.kept
        if size < LARGE and cut - first < _LONG:
            cut = first
        elif cut > first:
            kept = kept, self.data[first:cut]
        more = BytesIO()
        more.write(self.data[cut:])
        more.write(self.more.getvalue())
        self._move(cut, b"", more, kept)

    def _move(self, cut: int, data: bytes, more: BytesIO, kept: Pieces) -> None:
        """Replace everything; *data* begins at the index *cut* of what it was."""
        self.base, self.data, self.more, self.kept, self.start, self.pos = (
            self.base + cut, data, more, kept, self.start - cut, self.pos - cut,
        )  # fmt: skip


def join(pieces: Pieces) -> bytes:
    """Return all *pieces* as one."""
    parts = []
    while pieces is not None:
        pieces, piece = pieces
        parts.append(piece)
    return b"".join(reversed(parts))

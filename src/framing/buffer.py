r"""The bytes of a stream that belong to no finished message yet.

A :class:`StreamBuffer` holds them in three pieces, in the order of the stream::

    taken           block                       held
    +-----------+   +----------+-----+------+   +------------------+
    | read, of  |   | finished | read | more |  | fed since        |
    | this msg  |   +----------+-----+------+   +------------------+
    +-----------+            start  cursor

``block`` is read without copying: ``start`` is where the current message begins in it, and
``cursor`` how far that has been read.  ``held`` grows as bytes are fed.  When the block runs
short, its rest moves to the front of ``held``; when ``held`` has enough, it becomes the next
block, which costs nothing (``BytesIO.getvalue`` hands its bytes over uncopied).  ``taken``
is what has been read of a long message, set aside so that it is not moved again.

What it costs, whatever the sizes of the pieces fed:

- Time linear in the bytes: each is copied a few times at most, and searched once.
- Memory for the bytes fed, until the block that they are in is finished; never for what a
  peer announces.

Each change of state is one assignment of everything that changes, so that an exception out
of a signal handler (``KeyboardInterrupt``) finds the state before it or the state after it,
and no byte is lost.
"""

from __future__ import annotations

import sys
from io import BytesIO
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    # Pieces newest first, each with the size of all up to it: adding one copies none.
    Pieces: TypeAlias = "tuple[Pieces, bytes, int] | None"

if sys.version_info >= (3, 12):
    from collections.abc import Buffer
else:
    Buffer = Union[bytes, bytearray, memoryview]

__all__ = ["Buffer"]

# A piece of this size is gathered by itself, so that it becomes the block as it is.  Below it,
# moving the start of the message along costs less than keeping it apart.
LARGE_PIECE = 64 * 1024
# This much that was read of a message is set aside rather than moved again.
_LONG_MESSAGE = 4 * 1024


class StreamBuffer:
    """Bytes fed at one end, and read at the other once enough of them are there."""

    __slots__ = ("_searched", "base", "block", "cursor", "held", "start", "taken")

    def __init__(self, offset: int = 0) -> None:
        self.taken: Pieces = None
        self.block = b""
        self.start = 0
        self.cursor = 0
        self.held = BytesIO()  # what is written to it is fed
        self.base = offset  # where block[0] is in the stream
        self._searched = 0  # no delimiter starts in block + held between the cursor and here

    @property
    def offset(self) -> int:
        """Where the current message starts, in bytes since the stream began."""
        return self.base + self.start - size_of(self.taken)

    @property
    def read(self) -> int:
        """How many bytes of the current message have been read."""
        return size_of(self.taken) + self.cursor - self.start

    @property
    def available(self) -> int:
        """How many bytes are there to be read."""
        return len(self.block) - self.cursor + self.held.tell()

    @property
    def is_empty(self) -> bool:
        """Whether there are no bytes from the current message's first on."""
        return self.start == len(self.block) and not self.held.tell() and self.taken is None

    @property
    def size(self) -> int:
        """How many bytes there are from the current message's first on."""
        return size_of(self.taken) + len(self.block) - self.start + self.held.tell()

    # Bytes come in

    def feed(self, data: Buffer) -> None:
        """Keep a copy of *data*."""
        block, start = self.block, self.start
        size = len(data)  # type: ignore[arg-type, unused-ignore]  # near enough to choose by
        partly_read = self.cursor > start or self.taken is not None
        if partly_read or self.held.tell() or len(block) - start > size:
            self.held.write(data)
            return
        # The usual case: a chunk follows the small rest of another.
        self.block, self.start, self.cursor, self._searched, self.base = (
            block[start:] + data,
            0,
            0,
            0,
            self.base + start,
        )

    def feed_from(self, receive: Callable[[int, int], bytes], size: int, flags: int) -> int:
        """Keep what ``receive(size, flags)`` returns, and return how many bytes that was.

        A signal handler runs between two instructions of the interpreter, and this is one:
        where *receive* is a C function, as the ``recv`` of a plain socket is, bytes that the
        system has handed over are kept before anything can interrupt.
        """
        received = map(receive, (size,), (flags,))
        if not self.is_empty:
            before = self.held.tell()
            self.held.writelines(received)
            return self.held.tell() - before
        (self.block,), self.start, self.cursor, self._searched, self.base = (
            received,
            0,
            0,
            0,
            self.base + self.start,
        )
        return len(self.block)

    # Bytes are read

    def read_exactly(self, size: int) -> bytes | None:
        """Return the next *size* bytes; ``None``, and nothing read, if fewer are there."""
        if self.cursor + size > len(self.block):
            if size > self.available:
                self.gather(size)
                return None
            self._join()
        stop = self.cursor + size
        data = self.block[self.cursor : stop]
        self.cursor = self._searched = stop
        return data

    def read_until(self, delimiter: bytes, limit: int) -> bytes | None:
        """Return the bytes before *delimiter*, and read it as well.

        ``None``, and nothing read, if it does not come after *limit* bytes or fewer.
        """
        place = self._find(delimiter, limit)
        if place < 0:
            self.gather()
            return None
        data = self.block[self.cursor : place]
        self.cursor = self._searched = place + len(delimiter)
        return data

    def read_rest(self) -> bytes:
        """Return all that is there."""
        self._join()
        data = self.block[self.cursor :]
        self.cursor = self._searched = len(self.block)
        return data

    def last(self, size: int) -> bytes:
        """Return the last *size* bytes that are there, or all if there are fewer."""
        self.gather()
        with self.held.getbuffer() as view:
            return bytes(view[max(self.cursor, len(view) - size) :])

    def copy_rest(self, into: memoryview) -> int:
        """Copy all that is there to the front of *into*, and return how many bytes it was."""
        self.gather()
        with self.held.getbuffer() as view:
            rest = view[self.cursor :]
            into[: len(rest)] = rest
            return len(rest)

    # Messages begin

    def drop_finished(self) -> None:
        """Let go of the finished messages in the block, at the cost of copying the rest."""
        if self.start:
            self.block, self.start, self.cursor, self._searched, self.base = (
                self.block[self.start :],
                0,
                self.cursor - self.start,
                self._searched - self.start,
                self.base + self.start,
            )

    def rewind(self) -> None:
        """Go back to the current message's first byte, which is then in the block."""
        if self.taken is not None:
            self._join(join(self.taken))
        elif self.start == len(self.block) and self.held.tell():
            self._join()
        self.cursor = self._searched = self.start

    def clear(self, before: bytes) -> bytes:
        """Take out every byte, *before* and then from the current message's first on.

        The stream then goes on where *before* began.
        """
        self.rewind()
        data = before + self.read_rest()
        self.block, self.cursor, self._searched = b"", 0, 0
        self.base -= len(before)
        return data

    # Bytes move from one piece to the next

    def _join(self, taken: bytes = b"") -> None:
        """Make one block of all from the current message on."""
        block = taken + self.block[self.start :] + self.held.getvalue()
        moved = len(taken) - self.start
        self.taken, self.block, self.held, self.start, self.cursor, self._searched, self.base = (
            None if taken else self.taken,
            block,
            BytesIO(),
            0,
            self.cursor + moved,
            self._searched + moved,
            self.base - moved,
        )

    def gather(self, size: int = 1) -> None:
        """Move the rest of the block to the front of ``held``, to gather *size* bytes there."""
        if not self.block:
            return
        long = size >= LARGE_PIECE or self.cursor - self.start >= _LONG_MESSAGE
        cut = self.cursor if long else self.start
        held = BytesIO()
        held.write(self.block[cut:])
        held.write(self.held.getvalue())
        self.taken, self.block, self.held, self.start, self.cursor, self._searched, self.base = (
            append(self.taken, self.block[self.start : cut]),
            b"",
            held,
            0,
            self.cursor - cut,
            self._searched - cut,
            self.base + cut,
        )

    def _find(self, delimiter: bytes, limit: int) -> int:
        """Return where in the block *delimiter* first is after the cursor; -1 if it is not.

        What was searched before is skipped, but for the last bytes: it may have begun there.
        """
        size = len(delimiter)
        searched = self._searched
        end = self.cursor + limit + size
        if self.block:
            place = self.block.find(delimiter, searched, end)
            if place < 0:
                self._searched = max(searched, len(self.block) - size + 1)
                if self.held.tell():
                    self._join()
                    return self._find(delimiter, limit)
            return place
        with self.held.getbuffer() as view:
            new = bytes(view[searched:end])
        place = new.find(delimiter)
        if place < 0:
            self._searched = max(searched, searched + len(new) - size + 1)
            return -1
        self._join()
        return searched + place


def append(pieces: Pieces, piece: bytes) -> Pieces:
    """Return *pieces* and then *piece*."""
    return (pieces, piece, size_of(pieces) + len(piece)) if piece else pieces


def size_of(pieces: Pieces) -> int:
    """Return the size of all *pieces*, in bytes."""
    return 0 if pieces is None else pieces[2]


def join(pieces: Pieces) -> bytes:
    """Return all *pieces* as one."""
    parts = []
    while pieces is not None:
        pieces, piece, _ = pieces
        parts.append(piece)
    return b"".join(reversed(parts))

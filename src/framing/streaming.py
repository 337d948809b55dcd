"""Messages whose bodies memory does not hold: what a connection gives to those who carry one.

A body is received in pieces, through one buffer, and sent from a file, by the system itself
where it can.  So a transfer of any size takes constant memory.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, NamedTuple

from .sockets import skip
from .transport import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from io import FileIO

    from .buffer import Buffer
    from .transport import Transport

__all__: list[str] = []

# How much to let the system send from a file in one call, between two reports of progress.
_SENDFILE_SIZE = 1024 * 1024
# How much to read of a file at once where the system cannot send from it.
_READ_SIZE = 256 * 1024
# What os.sendfile raises then.
_CANNOT_SEND = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class IncomingBody(NamedTuple):
    """The body of a message whose head has been received.

    Attributes:
        header: What the head says.
        offset: Where the message starts in the stream, in bytes.
        pieces: The body, piece by piece; each is valid until the next is asked for.  What is
            left of them is skipped before the next message.
    """

    header: dict[str, Any]
    offset: int
    pieces: Iterator[memoryview]


class OutgoingBody:
    """A message that goes out piece by piece.

    Args:
        transport: Where it goes.
        counts: The numbers of bytes sent; not empty once something has gone out.
    """

    def __init__(self, transport: Transport, counts: list[int]) -> None:
        self._transport = transport
        self._counts = counts
        self._sends_files = transport.sends_files
        self._buffer = memoryview(b"")

    def send(self, data: Buffer) -> None:
        """Send all of *data*."""
        parts: Sequence[Buffer] = (data,)
        while parts:
            sent = self._step(self._transport.send, parts)
            parts = [*skip(parts, sent)]

    def send_file(self, file: FileIO, size: int) -> Iterator[int]:
        """Send the first *size* bytes of *file*, and yield the number that each step sent.

        They are fewer in all if the file is shorter.
        """
        offset = 0
        while offset < size and (sent := self._send_piece(file, offset, size - offset)):
            offset += sent
            yield sent

    def _send_piece(self, file: FileIO, offset: int, left: int) -> int:
        if self._sends_files:
            place = offset, min(left, _SENDFILE_SIZE)
            try:
                return self._step(
                    lambda *args: self._transport.send_file(file.fileno(), place, *args)
                )
            except OSError as error:
                if error.errno not in _CANNOT_SEND:
                    raise
                self._sends_files = False
        if not self._buffer:
            self._buffer = memoryview(bytearray(_READ_SIZE))
        file.seek(offset)
        size = file.readinto(self._buffer[:left])
        self.send(self._buffer[:size])
        return size

    def _step(self, send: Callable[..., None], *args: object) -> int:
        """Send something, within the time that the socket's own timeout gives to each step."""
        counts = self._counts
        del counts[1:]  # one is enough to tell that something went out
        before = len(counts)
        send(*args, counts, Deadline(None, self._transport.own_timeout()))
        return sum(counts[before:])

"""The sending side of a connection: whole messages from many threads, and what is owed.

A message of which a byte has gone out must go out whole, or the receiver could not tell where
the next one starts.  What time has not sufficed for is *owed*: kept here, and sent before
anything else.  A message of which nothing has gone out is not owed, so its sender is told, and
may try again.
"""

from __future__ import annotations

import errno
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .sockets import JOIN_SIZE, MOST_PARTS, skip
from .transport import NEVER, is_passing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NoReturn

    from .buffer import Buffer
    from .transport import Deadline, Transport

__all__: list[str] = []

# Many messages are joined up to this size, which is that of a batch and its last message.
_JOIN_MANY_SIZE = 128 * 1024


class Outgoing:
    """What goes out through one transport."""

    # _parts is the message that is being sent, and _sent the numbers of bytes that went out of
    # it, one for each attempt.  It has begun if there is any such number, 0 included.  Each is
    # stored by the step that sends, so both are right whenever a signal handler raises.
    __slots__ = ("_cut", "_is_over", "_lock", "_parts", "_send_plainly", "_sent", "_transport")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._send_plainly = transport.send_plainly
        self._lock = threading.Lock()
        self._parts: Sequence[Buffer] = ()
        self._sent: list[int] = []
        self._is_over = False
        # What went out of a message that could not be owed, and was cut off.
        self._cut: Sequence[int] = ()

    @property
    def unsent(self) -> int:
        """How many bytes are owed."""
        parts, sent = self._parts, self._sent
        return sum(memoryview(part).nbytes for part in parts) - sum(sent) if sent else 0

    @property
    def is_busy(self) -> bool:
        """Whether a thread is sending."""
        return self._lock.locked()

    @property
    def is_cut(self) -> bool:
        """Whether a message was cut off in its middle, so that nothing can follow it."""
        return bool(self._cut)

    def flush(self, deadline: Deadline) -> None:
        """Send what is owed, or raise, and owe the rest."""
        with self.settled(deadline):
            pass

    @contextmanager
    def settled(self, deadline: Deadline) -> Iterator[None]:
        """Send what is owed, or raise; no other thread sends before the block is left."""
        with deadline.holding(self._lock):
            if self._sent:
                self._settle(deadline)
            yield

    @contextmanager
    def sending_past(self, deadline: Deadline) -> Iterator[list[int]]:
        """Let the block send one message past this object, through the transport.

        It is not owed: if the block is left by an exception after something of it went out, the
        connection can send nothing any more.

        Yields:
            The list to which to append the numbers of bytes sent.
        """
        with self.settled(deadline):
            if self._is_over:
                self._refuse()
            self._cut, self._is_over = [], True
            try:
                yield self._cut
                self._cut = ()
            finally:
                self._is_over = bool(self._cut) or self._transport.is_closed

    def stop(self) -> None:
        """Send nothing any more, and forget what is owed.

        A thread that is sending has to know whether its message has begun: it forgets it itself.
        """
        self._is_over, self._cut = True, ()
        if not self._lock.locked():
            self._parts, self._sent = (), []

    def send(self, parts: Sequence[Buffer], deadline: Deadline) -> None:
        """Send one message, or owe the rest of it; raise if none of it has gone out."""
        if len(parts) > 1:
            parts = _packed(parts, JOIN_SIZE)
        with self._lock if deadline is NEVER else deadline.holding(self._lock):
            if self._is_over:
                self._refuse()
            if self._sent:
                self._settle(deadline)
            self._parts = parts
            try:
                send = self._send_plainly
                if send is not None and deadline is NEVER and len(parts) == 1:
                    # The usual case, without the steps of the general one: half the time.
                    self._sent = [*map(send, parts)]
                    if type(parts[0]) is bytes and self._sent[0] == len(parts[0]):
                        self._parts, self._sent = (), []
                        return
                self._settle(deadline)
            except OSError as error:
                self._transport.remember(error)
                has_begun = bool(self._sent)
                if self._is_over or not has_begun:
                    self._parts, self._sent = (), []
                if not has_begun:
                    raise

    def send_all(self, parts: Sequence[Buffer], deadline: Deadline, *, is_last: bool) -> None:
        """Send many messages, or owe the rest of them.

        Args:
            parts: The messages on the wire.
            deadline: Of the call.
            is_last: Whether no others follow, so that the caller need not be told of the rest.
        """
        parts = _packed(parts, _JOIN_MANY_SIZE)
        with deadline.holding(self._lock):
            if self._is_over:
                self._refuse()
            owed = [*skip(self._parts, sum(self._sent))] if self._sent else []
            self._parts, self._sent = (*owed, *parts), [0]
            try:
                self._settle(deadline)
            except OSError as error:
                if not is_last or not is_passing(error):
                    raise

    def _refuse(self) -> NoReturn:
        if self._cut:
            raise ConnectionError(
                "an earlier message on this connection was cut off in its middle: close the"
                " connection, since the receiver cannot tell where the next one starts"
            )
        # Another thread did that, or the iterable of send_many().
        raise OSError(errno.EBADF, "the MessageSocket was closed, or gave its socket back")

    def _settle(self, deadline: Deadline) -> None:
        """Send all of the message, or leave the rest of it owed."""
        try:
            self._send_parts(deadline)
        finally:
            if self._parts:
                self._keep()

    def _send_parts(self, deadline: Deadline) -> None:
        self._drop_sent()
        while self._parts:  # in a function of its own: see MessageSocket
            self._transport.send(self._parts, self._sent, deadline)
            self._drop_sent()

    def _drop_sent(self) -> None:
        """Let go of what has gone out, and of the message if that was all of it."""
        if self._sent:
            rest = [*skip(self._parts, sum(self._sent))]
            self._parts, self._sent = (rest, [0]) if rest else ((), [])

    def _keep(self) -> None:
        """Copy what is owed if it may change, and forget a message that has not begun."""
        self._parts = [*map(_unchanging, self._parts)] if self._sent else ()


def _packed(parts: Sequence[Buffer], most: int) -> Sequence[Buffer]:
    """Return *parts*, in one piece if they are not worth more, up to *most* bytes."""
    # A view's len counts items, so this may be too low: it only decides what is faster.
    size = sum(map(len, parts))  # type: ignore[arg-type, unused-ignore]  # not of every type
    if size <= most:
        return (b"".join(parts),)
    if len(parts) > MOST_PARTS:
        *small, last = parts
        return b"".join(small), last
    return parts


def _unchanging(part: Buffer) -> Buffer:
    if isinstance(part, bytes) or (isinstance(part, memoryview) and type(part.obj) is bytes):
        return part
    return bytes(part)

"""Attempts on one socket that never wait, and the waiting between them.

A socket's timeout belongs to the socket, not to the call or the thread, so it cannot bound a
call here: to set it for a thread that receives would cut short one that sends.  An attempt
therefore never waits; ``poll`` does the waiting, until the call's own :class:`Deadline`.  Only a
call without a deadline that receives on a plain socket is left to wait in the socket.

There are two kinds of sockets:

- *plain*: the methods are C functions, ``MSG_DONTWAIT`` keeps an attempt from waiting, and what
  a call returns is stored in its own interpreter step, so no signal handler can come between.
- the others: TLS, subclasses, gevent's, and all sockets on systems without that flag.  They are
  made non-blocking for the time of an attempt, and one thread tries at a time, as OpenSSL
  demands.  An exception out of a signal handler in the middle of an attempt leaves the direction
  in doubt: see :class:`Turn`.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import sys
from contextlib import suppress
from itertools import islice
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeVar

from .checks import is_plain
from .turn import Turn, is_own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..buffer import Buffer
    from ..decoder import Decoder

R = TypeVar("R")

DONTWAIT: int = getattr(socket, "MSG_DONTWAIT", 0)
# (PyPy's waits until all is sent, if the socket has a timeout.)
_HAS_SENDMSG = hasattr(socket.socket, "sendmsg") and sys.implementation.name != "pypy"
_HAS_POLL = hasattr(select, "poll")
# No system waits longer at once: poll counts milliseconds in a C int.
_LONGEST_WAIT = 3600.0
# How long to let the threads wake that wait for a socket which is being closed, at most.
_WAKING_TIME = 1.0
# What the time ran out for, by whether it was for writing.
_REASONS = "the peer has not sent enough", "the peer takes no more bytes"
# What setsockopt() takes so that closing the socket resets the connection: linger for 0 seconds.
RESET = socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
# POSIX lets a system refuse more parts at once: _XOPEN_IOV_MAX in limits.h.
_MOST_PARTS = 16
# Up to this size, copying a message costs less than passing its parts to the system.
_JOIN_SIZE = 16 * 1024
# A few TLS records: more would hold up the thread that receives, and be no faster.
_WRITE_SIZE = 64 * 1024

# What os.sendfile raises where it cannot send from this file, or to this socket.
_NO_SENDFILE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}

RECEIVE_ADVICE = (
    "a call that received on this connection was interrupted, and bytes may be lost:"
    " close the connection"
)
SEND_ADVICE = (
    "an earlier message or file was cut off in the middle: close the connection, since the"
    " receiver cannot know where the next message starts"
)


class Deadline:
    """When a call has to end: at a time, or never, or after one attempt.

    Args:
        timeout: The call's own, in seconds; ``None`` if it has none.
        own: The socket's, which applies then.

    Raises:
        ValueError: *timeout* is negative.
    """

    __slots__ = ("_has_tried", "at", "tries_once")

    def __init__(self, timeout: float | None, own: float | None) -> None:
        self.tries_once: bool = timeout is None and own == 0
        if timeout is None:
            timeout = own
        elif not timeout >= 0:
            raise ValueError(f"expected a timeout of 0 seconds or more, not {timeout!r}")
        self.at: float | None = None if timeout is None else monotonic() + timeout
        self._has_tried = False

    def remaining(self) -> float | None:
        """Return the seconds left, 0 or more; ``None`` if there is no end."""
        return None if self.at is None else max(0.0, self.at - monotonic())

    def check(self, for_writing: bool) -> None:
        """Raise an error if it is too late for another attempt.

        (Otherwise a peer that always sends a little would keep the call going for ever.)
        """
        if self._has_tried and not self.tries_once and self.remaining() == 0:
            raise self.expired(_REASONS[for_writing])
        self._has_tried = True

    def expired(self, reason: str) -> OSError:
        """Return the error that says so."""
        if self.tries_once:
            return BlockingIOError(errno.EWOULDBLOCK, reason)
        return TimeoutError(f"timed out: {reason}")


NEVER = Deadline(None, None)


class Channel:
    """The attempts on one socket, which another thread may close meanwhile.

    Args:
        sock: A connected stream socket.
        turns: Those to receive and to send, if they exist: the socket has no owner then, and
            other calls may be waiting in it.  So its timeout is left alone, and an attempt on a
            socket that is not plain may wait in it, for as long as its own timeout allows.

    Attributes:
        receiving: The turn of calls that receive.
        sending: The turn of calls that send.
        unsent: What is left of a message that has begun to go out.
        taken: Batches of messages to send after that, which wait for their turn.
    """

    def __init__(self, sock: socket.socket, turns: tuple[Turn, Turn] | None = None) -> None:
        self.sock = sock
        self.is_owned: bool = turns is None
        turns = turns or (Turn(RECEIVE_ADVICE), Turn(SEND_ADVICE))
        self.receiving: Turn = turns[0]
        self.sending: Turn = turns[1]
        self.unsent: Sequence[Buffer] = ()
        self.taken: list[list[Buffer]] = []
        self.is_plain: bool = is_plain(sock) and DONTWAIT != 0
        self.is_closed: bool = False
        self._waiting: list[None] = []  # an item for each thread that waits for the socket
        self._reset: tuple[object, ...] | None = None  # what was said of a reset
        # Of a socket that is not plain: whose attempt it is, and the handshake if that is due.
        self._attempting = Turn("an attempt on this connection was interrupted: close it")
        self._shaking_hands = Turn("the TLS handshake was interrupted: close the connection")
        # (After unwrap() it is not TLS any more, and has no session.)
        is_tls = getattr(sock, "session_reused", None) is not None
        self._lacks_handshake = is_tls and sock.version() is None  # type: ignore[attr-defined]

    def own_timeout(self) -> float | None:
        """Return the socket's own timeout, whatever attempts other threads are making."""
        if self.is_plain:
            return self.sock.gettimeout()
        return self._attempting.run(NEVER, self.sock.gettimeout)

    # In

    def receive(self, decoder: Decoder[Any], size: int, deadline: Deadline) -> None:
        """Feed *decoder* up to *size* bytes, or the end of the stream."""
        recv = self.sock.recv
        # Then the socket's own waiting, or not waiting, is what the call wants.
        may_wait = self.is_plain and (deadline.at is None or deadline.tries_once)
        self._receive(
            decoder, lambda flags: decoder.feed_from(recv, size, flags), deadline, may_wait
        )

    def receive_into(self, decoder: Decoder[Any], view: memoryview, deadline: Deadline) -> int:
        """Receive bytes into *view*, and return how many; 0 at the end of the stream.

        *decoder* counts them, before anything can interrupt, or is fed the end.
        """

        def receive(flags: int) -> int:
            count = self.sock.recv_into(view, len(view), flags)
            decoder.skip(count)
            return count

        return self._receive(decoder, receive, deadline)

    def _receive(
        self,
        decoder: Decoder[Any],
        call: Callable[[int], int],
        deadline: Deadline,
        may_wait: bool = False,
    ) -> int:
        count = self._attempt(call, self.receiving, deadline, may_wait)
        if not count:
            self.check_open()
            if self._reset is not None:
                raise ConnectionResetError(*self._reset)
            decoder.feed_eof()
        return count

    def remember(self, error: BaseException) -> None:
        """Keep in mind that the connection was reset, if *error* says so.

        The system reports a reset only once, in one direction.  After that, it looks like a
        normal end of the stream.
        """
        if isinstance(error, ConnectionResetError):
            self._reset = error.args

    def bytes_decrypted(self) -> int:
        """Return how many received bytes TLS holds, which ``poll`` cannot see."""
        pending = getattr(self.sock, "pending", None)
        return int(self._attempting.run(NEVER, pending)) if pending else 0

    # Out

    def send(self, parts: Sequence[Buffer], deadline: Deadline, *, begins: bool = False) -> None:
        """Send some of the bytes of *parts*; :attr:`unsent` holds the others afterwards.

        Args:
            parts: What is to go out next.
            deadline: Of the call.
            begins: Whether nothing of it has gone out before.

        Raises:
            OSError: No byte went out, and :attr:`unsent` is what it was.
        """
        parts = joined(parts)

        def send(flags: int) -> None:
            try:
                if not self.is_plain:
                    front = (view[:_WRITE_SIZE] for view in islice(skip(parts, 0), 2))
                    sent = self.sock.send(b"".join(front)[:_WRITE_SIZE])
                elif len(parts) == 1:
                    sent = self.sock.send(parts[0], flags)
                else:
                    sent = self.sock.sendmsg(parts, (), flags)
            except OSError as error:
                if wants_to_write(error) is not None:
                    self.unsent = parts  # TLS may have sent some, and must get the same again
                raise
            self.unsent = [*skip(parts, sent)]

        try:
            self._attempt(send, self.sending, deadline)
        except OSError as error:
            if not (begins and self.unsent and is_own(error)):
                raise

    def flush(self, deadline: Deadline) -> None:
        """Send the unsent bytes, or keep those that do not go out."""
        self.check_open()
        self.sending.is_moving = True  # what was taken must not get lost, nor go out twice
        while self.taken:
            self.unsent = [*self.unsent, *self.taken.pop(0)]
        self.sending.is_moving = False
        try:
            while self.unsent:
                self.send(self.unsent, deadline)
        finally:
            # Those that may change are copied, since their owner may use his buffer again.
            self.unsent = [*map(_unchanging, self.unsent)]

    def send_rest(self, deadline: Deadline) -> None:
        """Send the unsent bytes of a message that has begun to go out, or keep them."""
        try:
            self.flush(deadline)
        except OSError as error:
            if not is_own(error):
                raise

    def send_at_once(self, wire: Buffer) -> bool:
        """Send one message if no other call has the turn, and the system takes some of it.

        That is the usual case, and this is :meth:`send` without its calls.  Otherwise it returns
        false, and no byte went out.
        """
        turn, sock = self.sending, self.sock
        if not self.is_plain or self.unsent or self.taken or sock.gettimeout() is not None:
            return False
        try:
            turn.free.pop()
            holding = turn  # noqa: F841  # for Turn.run, in a signal handler
            sent = sock.send(wire, DONTWAIT)
            if type(wire) is not bytes or sent < len(wire):
                self.unsent = [*skip((wire,), sent)]
                self.send_rest(NEVER)
        except IndexError:  # another call has the turn, or none will
            return False
        except BaseException as error:
            # An error of send()'s own says that it sent nothing.
            turn.is_moving = turn.is_moving or not (self.unsent or is_own(error))
            turn.give()
            if isinstance(error, BlockingIOError) and turn.refusal is None:
                return False
            self.remember(error)
            raise
        turn.free.append(True)
        if turn.waiting:
            turn.wake()
        return True

    def send_file(self, fd: int, offset: int, size: int, deadline: Deadline) -> int | None:
        """Send bytes of a file straight from the system, and return how many; 0 at its end.

        Return ``None``, and send nothing, if the system cannot do that from this file.
        """
        if not self.is_plain or not hasattr(os, "sendfile"):
            return None
        # The socket's number is asked for at each attempt: another thread may have closed the
        # socket meanwhile, and the number may be another connection's by now.
        self.wait(True, deadline)
        try:
            return self._attempt(
                lambda _: os.sendfile(self.sock.fileno(), fd, offset, size), self.sending, deadline
            )
        except OSError as error:
            if error.errno not in _NO_SENDFILE:
                raise
            return None

    # Attempts

    def _attempt(
        self, call: Callable[[int], R], turn: Turn, deadline: Deadline, may_wait: bool = False
    ) -> R:
        """Return ``call(flags)``, as soon as that need not wait.

        While the call runs, *turn* is in doubt; unless it *may_wait* in the socket.
        """
        for_writing = turn is self.sending
        if self._lacks_handshake and turn is not self._shaking_hands:
            self._shaking_hands.run(deadline, self._shake_hands, deadline)
        while True:
            deadline.check(for_writing)
            try:
                if may_wait:
                    return call(0)
                if self.is_plain and not deadline.tries_once and self.sock.gettimeout():
                    self.wait(for_writing, deadline)  # or else it would itself wait for that long
                result: Any = turn.move(self._try, call)
                turn.is_moving = False
                return result  # type: ignore[no-any-return]
            except InterruptedError:
                continue
            except OSError as error:
                self.remember(error)
                wants = wants_to_write(error)
                if wants is None and isinstance(error, BlockingIOError):
                    wants = for_writing
                if wants is None or deadline.tries_once or not is_own(error):
                    raise
            self.wait(wants, deadline)

    def _try(self, call: Callable[[int], R]) -> R:
        if self.is_plain:
            return call(DONTWAIT)
        if not self.is_owned:
            return call(0)
        run: Callable[..., R] = self._attempting.run
        return run(NEVER, self._call_without_waiting, call)

    def _call_without_waiting(self, call: Callable[[int], R]) -> R:
        self.check_open()
        own = self.sock.gettimeout()
        self.sock.settimeout(0)
        try:
            return call(0)
        finally:
            self.sock.settimeout(own)

    def _shake_hands(self, deadline: Deadline) -> None:
        """Make the handshake of TLS, if it is yet to be made.  Other threads wait for it.

        (One that received might otherwise read what one that sends is waiting for.)
        """
        if self._lacks_handshake:
            handshake = self.sock.do_handshake  # type: ignore[attr-defined]
            self._attempt(lambda _: handshake(), self._shaking_hands, deadline)
            self._lacks_handshake = False

    # Waiting and closing

    def wait(self, for_writing: bool, deadline: Deadline) -> None:
        """Wait until an attempt is worth it.

        Raises:
            TimeoutError: The deadline has passed.
        """
        remaining = deadline.remaining()
        longest = _LONGEST_WAIT if remaining is None else min(remaining, _LONGEST_WAIT)
        self._waiting.append(None)
        try:
            self.check_open()
            ready = _poll(self.sock, for_writing, longest)
        except ValueError:  # it has no descriptor any more
            self.check_open()
            raise OSError(errno.EBADF, "the socket was closed, and not by its owner") from None
        finally:
            self._waiting.pop()
        self.check_open()
        if not ready and remaining is not None and longest == remaining:
            raise deadline.expired(_REASONS[for_writing])

    def check_open(self) -> None:
        """Raise an error if the socket was closed here, whatever else that looks like."""
        if self.is_closed:
            raise OSError(errno.EBADF, "this MessageSocket is closed")

    def close(self, *, resets: bool) -> None:
        """Close the socket, and wake the threads that wait for it.

        Args:
            resets: Whether the peer is to see a reset rather than a normal end.
        """
        self.is_closed = True  # first: without TLS, nothing may be received or sent any more
        if not resets and hasattr(self.sock, "unwrap"):
            with suppress(OSError, ValueError, RuntimeError):
                self._attempting.run(Deadline(_WAKING_TIME, None), self._end_tls)
        # A turn without a token is in use, or was refused after an interruption.
        if any(not (turn.free or turn.refusal) for turn in (self.receiving, self.sending)):
            with suppress(OSError):
                # Not the socket's own method: TLS would continue in plain text after it.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
            # Those who wait look the socket up by its number when they wake.  They are given
            # the time for it, since the number may be another connection's at once.
            end = monotonic() + _WAKING_TIME
            while self._waiting and monotonic() < end:
                sleep(0.0005)
        if resets:
            with suppress(OSError):
                self.sock.setsockopt(*RESET)
        self.sock.close()

    def _end_tls(self) -> None:
        """Send the peer TLS's end, and do not wait for the peer's."""
        self.sock.settimeout(0)
        self.sock.unwrap()  # type: ignore[attr-defined]


def _poll(sock: socket.socket, for_writing: bool, seconds: float) -> bool:
    """Return whether *sock* is ready, or became so within *seconds*."""
    if not _HAS_POLL:
        files = [sock]
        return any(select.select([] if for_writing else files, files[:for_writing], [], seconds))
    poller = select.poll()
    poller.register(sock, select.POLLOUT if for_writing else select.POLLIN)
    # Rounded up: waiting for less than is left would be done over and over.
    return bool(poller.poll(int(seconds * 1000) + (seconds > 0)))


def wants_to_write(error: OSError) -> bool | None:
    """Return what TLS waits for if *error* says so, else ``None``."""
    ssl = sys.modules.get("ssl")  # where nobody has imported it, there is no TLS
    if ssl is None or not isinstance(error, (ssl.SSLWantReadError, ssl.SSLWantWriteError)):
        return None
    return isinstance(error, ssl.SSLWantWriteError)


# The pieces of a message that is being sent


def joined(parts: Sequence[Buffer]) -> Sequence[Buffer]:
    """Return *parts*, in one piece if they are not worth more."""
    if len(parts) > 1:
        # A view's len counts items, so this may be too low: it only decides what is faster.
        size = sum(map(len, parts))  # type: ignore[arg-type, unused-ignore]  # not of every type
        if size <= _JOIN_SIZE or not _HAS_SENDMSG:
            return (b"".join(parts),)
        if len(parts) > _MOST_PARTS:
            *small, last = parts
            return b"".join(small), last
    return parts


def skip(parts: Sequence[Buffer], size: int) -> Iterator[memoryview]:
    """Yield what is left of *parts* after their first *size* bytes."""
    for part in parts:
        view = memoryview(part)
        if size < view.nbytes:
            yield view.cast("B")[size:]
        size = max(0, size - view.nbytes)


def _unchanging(part: Buffer) -> Buffer:
    if isinstance(part, bytes) or (isinstance(part, memoryview) and type(part.obj) is bytes):
        return part
    return bytes(part)

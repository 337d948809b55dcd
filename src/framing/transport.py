"""One attempt at a time on a socket, and the waiting between attempts.

A socket's timeout belongs to the socket, not to the call or the thread, so it cannot be what
bounds a call here: setting it for a thread that receives would cut short one that sends.  An
attempt therefore never waits, and the waiting is done by ``poll``, until the call's own
:class:`Deadline`.  Only where nothing bounds the call is it left to the socket itself.

- :class:`PlainTransport` uses ``MSG_DONTWAIT``, and leaves the socket as it is.
- :class:`LockedTransport` is for TLS, for sockets whose methods are not the standard library's,
  and for systems without that flag.  It makes the socket non-blocking for the time of an
  attempt (its timeout then reads 0), and lets one thread try at a time, as OpenSSL demands.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from functools import partial
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeVar

from .sockets import Guard, is_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from .buffer import Buffer
    from .stream_decoder import StreamDecoder

__all__: list[str] = []

R = TypeVar("R")

_HAS_POLL = hasattr(select, "poll")
_HAS_SENDMSG = hasattr(socket.socket, "sendmsg")
_DONTWAIT: int | None = getattr(socket, "MSG_DONTWAIT", None)
# No system waits longer at once: poll counts milliseconds in a C int.
_LONGEST_WAIT = 3600.0
# How long to let the threads wake that wait for a socket which is closed, at most.
_WAKING_TIME = 1.0
# What the time ran out for, by whether it was for writing.
_REASONS = "the peer has not sent enough", "the peer takes no more bytes"
# A few TLS records: more would hold up the thread that receives, and be no faster.
_WRITE_SIZE = 64 * 1024


def _nothing() -> None:
    pass


class Deadline:
    """When a call has to end: at a time, or never, or after one attempt.

    Args:
        timeout: The call's, in seconds; ``None`` if it has none.
        own: The socket's, which applies then.

    Raises:
        ValueError: *timeout* is negative.
    """

    __slots__ = ("_has_tried", "at", "tries_once")

    def __init__(self, timeout: float | None, own: float | None) -> None:
        self.tries_once = timeout is None and own == 0
        if timeout is None:
            timeout = own
        elif not timeout >= 0:
            raise ValueError(f"expected a timeout of 0 seconds or more, not {timeout!r}")
        self.at = None if timeout is None else monotonic() + timeout
        self._has_tried = False

    @property
    def is_waited_for(self) -> bool:
        """Whether an attempt may wait, and not for ever."""
        return self.at is not None and not self.tries_once

    def remaining(self) -> float | None:
        """Return the seconds left, 0 or more; ``None`` for no end of them."""
        return None if self.at is None else max(0.0, self.at - monotonic())

    def holding(self, lock: threading.Lock) -> AbstractContextManager[object]:
        """Hold *lock*, for which the call waits like for anything else."""
        return lock if self.at is None else self._holding(lock)

    @contextmanager
    def _holding(self, lock: threading.Lock) -> Iterator[None]:
        held: list[bool] = []
        try:
            # One step for a signal handler: once it is held, that is known.
            wait = min(self.remaining() or 0.0, threading.TIMEOUT_MAX)
            held.extend(map(lock.acquire, (True,), (wait,)))
            if not held[0]:
                raise self.expired("another thread is using the connection")
            yield
        finally:
            if held and held[0]:
                lock.release()

    def check(self, for_writing: bool) -> None:
        """Raise an error if it is too late for an attempt that is not the first.

        A socket that is always ready would else be used for ever.
        """
        if self._has_tried and self.is_waited_for and not self.remaining():
            raise self.expired(_REASONS[for_writing])
        self._has_tried = True

    def expired(self, reason: str) -> OSError:
        """Return the error that says so."""
        if self.tries_once:
            return BlockingIOError(errno.EWOULDBLOCK, reason)
        return TimeoutError(f"timed out: {reason}")


NEVER = Deadline(None, None)


class Transport:
    """The attempts on one socket, which may be closed by another thread meanwhile."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.is_closed = False
        self._waiting: list[None] = []  # an item for each thread that waits for the socket
        self._reset: tuple[object, ...] | None = None  # what is said of it
        self.own_timeout: Callable[[], float | None] = getattr(sock, "gettimeout", lambda: None)
        # The socket's own methods, where they are all that a call without a deadline needs.
        self.send_plainly: Callable[[Buffer], int] | None = None
        self.recv_plainly: Callable[[int, int], bytes] | None = None

    def receive(self, decoder: StreamDecoder[Any], size: int, deadline: Deadline) -> int:
        """Feed *decoder* up to *size* bytes, and return how many; 0 at the stream's end."""
        try:
            received = self._receive(decoder, size, deadline)
        except ConnectionResetError as error:
            self.remember(error)
            raise
        if not received:
            self._check_ended()
        return received

    def receive_into(self, view: memoryview, counts: list[int], deadline: Deadline) -> None:
        """Receive bytes into *view*, and append how many to *counts*; 0 at the stream's end."""
        try:
            self._receive_into(view, counts, deadline)
        except ConnectionResetError as error:
            self.remember(error)
            raise
        if not counts[-1]:
            self._check_ended()

    def send(self, parts: Sequence[Buffer], counts: list[int], deadline: Deadline) -> None:
        """Send some of the bytes of *parts*, and append how many to *counts*."""
        raise NotImplementedError

    def _receive(self, decoder: StreamDecoder[Any], size: int, deadline: Deadline) -> int:
        raise NotImplementedError

    def _receive_into(self, view: memoryview, counts: list[int], deadline: Deadline) -> None:
        raise NotImplementedError

    sends_files = False
    """Whether the system can send from a file, with :meth:`send_file`."""

    def send_file(
        self, fd: int, place: tuple[int, int], counts: list[int], deadline: Deadline
    ) -> None:
        """Send bytes of a file straight from the system, and append how many to *counts*.

        Args:
            fd: The file's descriptor.
            place: Where they start in the file, and how many to send at most.
            counts: 0 is appended if the file ends there.
            deadline: Of this one step.

        Raises:
            OSError: As ``os.sendfile`` raised it; ``EINVAL`` if it cannot send from this file.
        """
        raise NotImplementedError

    def bytes_decrypted(self) -> int:
        """Return how many received bytes TLS holds, which ``poll`` cannot see."""
        return 0

    def close(self, *, is_in_use: bool) -> None:
        """Close the socket; *is_in_use*: and wake the threads that wait for it."""
        self.is_closed = True
        if is_in_use:
            with suppress(OSError):
                # Not the socket's own method: TLS would go on in plain text after it.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
            # Those who wait look the socket up by its number, when they wake.  They are given
            # the time for it, since the number may be another connection's at once.
            end = monotonic() + _WAKING_TIME
            while self._waiting and monotonic() < end:
                sleep(0.0005)
        self.sock.close()

    def check_open(self) -> None:
        """Raise an error if the socket was closed here, whatever else that looks like."""
        if self.is_closed:
            raise OSError(errno.EBADF, "this MessageSocket is closed")

    def remember(self, error: OSError) -> None:
        """Keep in mind that the connection was reset, if *error* says so.

        The system says so once, in one direction, and then tells of an end.
        """
        if isinstance(error, ConnectionResetError):
            self._reset = error.args

    def _check_ended(self) -> None:
        """Raise an error if what looks like the end of the stream is not the peer's."""
        self.check_open()
        if self._reset is not None:
            raise ConnectionResetError(*self._reset)

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


def _poll(sock: socket.socket, for_writing: bool, seconds: float) -> bool:
    """Return whether *sock* is ready, or became so within *seconds*."""
    if not _HAS_POLL:
        files = [sock]
        return any(select.select([] if for_writing else files, files[:for_writing], [], seconds))
    poller = select.poll()
    poller.register(sock, select.POLLOUT if for_writing else select.POLLIN)
    # Rounded up: waiting for less than is left would be done over and over.
    return bool(poller.poll(int(seconds * 1000) + (seconds > 0)))


class PlainTransport(Transport):
    """A socket of the standard library, whose methods are C functions.

    What they return is kept in the same step of the interpreter, so that no signal handler runs
    in between: see ``StreamBuffer.feed_from``.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.send_plainly = sock.send
        self.recv_plainly = sock.recv
        self.sends_files = hasattr(os, "sendfile")

    def _receive(self, decoder: StreamDecoder[Any], size: int, deadline: Deadline) -> int:
        recv = self.sock.recv
        return self._attempt(lambda flags: decoder.feed_from(recv, size, flags), False, deadline)

    def _receive_into(self, view: memoryview, counts: list[int], deadline: Deadline) -> None:
        recv_into = self.sock.recv_into
        self._attempt(
            lambda flags: counts.extend(map(recv_into, (view,), (len(view),), (flags,))),
            False,
            deadline,
        )

    def send(self, parts: Sequence[Buffer], counts: list[int], deadline: Deadline) -> None:
        send = self.sock.send
        if len(parts) == 1 and not deadline.is_waited_for:
            counts += map(send, parts)
        elif len(parts) > 1 and _HAS_SENDMSG:
            sendmsg = self.sock.sendmsg
            self._attempt(
                lambda flags: counts.extend(map(sendmsg, (parts,), ((),), (flags,))),
                True,
                deadline,
            )
        else:
            self._attempt(
                lambda flags: counts.extend(map(send, parts[:1], (flags,))), True, deadline
            )

    def send_file(
        self, fd: int, place: tuple[int, int], counts: list[int], deadline: Deadline
    ) -> None:
        # The socket's number is asked for at each attempt: another thread may have closed the
        # socket meanwhile, and the number may be another connection's by now.
        sock, rest = self.sock, ((fd,), *((each,) for each in place))
        self._attempt(
            lambda _: counts.extend(map(os.sendfile, (sock.fileno(),), *rest)), True, deadline
        )

    def _attempt(self, operation: Callable[[int], R], for_writing: bool, deadline: Deadline) -> R:
        """Return what *operation* does, given the flags of a system call."""
        if not deadline.is_waited_for:
            return operation(0)
        while True:
            deadline.check(for_writing)
            # First, since a socket with a timeout of its own would itself wait for that long.
            self.wait(for_writing, deadline)
            try:
                return operation(_DONTWAIT or 0)
            except BlockingIOError:
                pass


class LockedTransport(Transport):
    """Any other socket: one thread tries at a time, and waits outside of the lock."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._lock = threading.Lock()
        # TLS that was wrapped with do_handshake_on_connect=False makes its handshake later.
        self._shaking_hands = threading.Lock()
        self._lacks_handshake = _lacks_handshake(sock)
        self._setting = self.own_timeout
        self.own_timeout = self._setting_between_attempts
        self._receiving = Guard(
            sock,
            "a signal cut off an earlier receive on this connection, and bytes may be lost:"
            " close it",
        )
        self._sending = Guard(
            sock,
            "a signal cut off an earlier send on this connection in the middle of a message:"
            " close it, since the receiver cannot tell where the next one starts",
        )

    def _receive(self, decoder: StreamDecoder[Any], size: int, deadline: Deadline) -> int:
        counts: list[int] = []

        def keep(data: bytes) -> None:
            decoder.feed(data)
            counts.append(len(data))

        self._shake_hands(deadline)
        receive = partial(self._receiving.call, self.sock.recv, size, keep)
        while not counts:
            self._attempt(receive, False, deadline)
        return counts[0]

    def _receive_into(self, view: memoryview, counts: list[int], deadline: Deadline) -> None:
        self._shake_hands(deadline)
        before = len(counts)
        receive = partial(self._receiving.call, self.sock.recv_into, view, counts.append)
        while len(counts) == before:
            self._attempt(receive, False, deadline)

    def send(self, parts: Sequence[Buffer], counts: list[int], deadline: Deadline) -> None:
        self._shake_hands(deadline)
        # The same bytes each time until they are sent, as SSL_write(3) demands of a retry.
        data = _front(parts, _WRITE_SIZE)
        send = partial(self._sending.call, self.sock.send, data, counts.append)
        # If TLS has to wait it has begun: the bytes are encrypted, and some may have gone out.
        self._attempt(send, True, deadline, if_tls_waits=partial(counts.append, 0))

    def bytes_decrypted(self) -> int:
        with self._lock:
            return self.sock.pending() if hasattr(self.sock, "pending") else 0

    def close(self, *, is_in_use: bool) -> None:
        with self._lock:
            self._end_tls()
            super().close(is_in_use=is_in_use)

    def _end_tls(self) -> None:
        """Tell the peer that this is the end, and do not wait for it to say the same."""
        if hasattr(self.sock, "unwrap"):
            with suppress(OSError, ValueError), self._not_waiting():
                self.sock.unwrap()

    def _attempt(
        self,
        operation: Callable[[], None],
        for_writing: bool,
        deadline: Deadline,
        if_tls_waits: Callable[[], None] = _nothing,
    ) -> None:
        """Do *operation*, or wait until it is worth another attempt."""
        deadline.check(for_writing)
        try:
            with self._lock:
                self.check_open()
                with self._not_waiting():
                    operation()
            return
        except InterruptedError:
            return
        except OSError as error:
            wants_to_write = _wants_to_write(error)
            if wants_to_write is not None:
                if_tls_waits()
            elif isinstance(error, BlockingIOError):
                wants_to_write = for_writing
            if wants_to_write is None or deadline.tries_once or not hasattr(self.sock, "fileno"):
                raise
        self.wait(wants_to_write, deadline)

    def _shake_hands(self, deadline: Deadline) -> None:
        """Make the handshake of TLS, where it is yet to be made.  Other threads wait for it.

        One that received might else read what one that sends is waiting for.
        """
        if self._lacks_handshake:
            with deadline.holding(self._shaking_hands):
                self._shake_hands_in_attempts(deadline)

    def _shake_hands_in_attempts(self, deadline: Deadline) -> None:
        while self._lacks_handshake:  # in a function of its own: see MessageSocket
            self._attempt(self._do_handshake, False, deadline)

    def _do_handshake(self) -> None:
        self.sock.do_handshake()  # type: ignore[attr-defined]
        self._lacks_handshake = False

    def _setting_between_attempts(self) -> float | None:
        with self._lock:
            return self._setting()

    @contextmanager
    def _not_waiting(self) -> Iterator[None]:
        """Make the socket non-blocking for a moment, whatever it is set to."""
        own = self._setting()
        if own == 0 or not hasattr(self.sock, "settimeout"):
            yield
            return
        try:
            self.sock.settimeout(0)
            yield
        finally:
            self.sock.settimeout(own)


class WaitingTransport(Transport):
    """A socket that does its own waiting, as it does for ``send_msg``: for sending only."""

    def send(self, parts: Sequence[Buffer], counts: list[int], deadline: Deadline) -> None:  # noqa: ARG002
        self.sock.sendall(parts[0])
        counts.append(memoryview(parts[0]).nbytes)


def _lacks_handshake(sock: socket.socket) -> bool:
    """Return whether *sock* is TLS that has not made its handshake."""
    ssl = sys.modules.get("ssl")  # where nobody has imported it, there is no TLS
    if ssl is None or not isinstance(sock, ssl.SSLSocket):
        return False
    # After unwrap(), it is TLS no more.
    return sock.session_reused is not None and sock.version() is None


def _wants_to_write(error: OSError) -> bool | None:
    """Return what TLS waits for where *error* says so, else ``None``."""
    ssl = sys.modules.get("ssl")
    if ssl is None or not isinstance(error, (ssl.SSLWantReadError, ssl.SSLWantWriteError)):
        return None
    return isinstance(error, ssl.SSLWantWriteError)


def is_passing(error: OSError) -> bool:
    """Return whether *error* says that time ran out, or that the call would have to wait."""
    is_plain = isinstance(error, (BlockingIOError, TimeoutError))
    return is_plain or _wants_to_write(error) is not None


def _front(parts: Sequence[Buffer], size: int) -> Buffer:
    """Return the first *size* bytes of *parts*, or all if there are fewer."""
    front: list[memoryview] = []
    for part in parts:
        front.append(memoryview(part).cast("B")[:size])
        size -= len(front[-1])
        if not size:
            break
    return front[0] if len(front) == 1 else b"".join(front)


def transport_of(sock: socket.socket) -> Transport:
    """Return the way to read from *sock* and to write to it."""
    if is_plain(sock) and _DONTWAIT is not None:
        return PlainTransport(sock)
    return LockedTransport(sock)

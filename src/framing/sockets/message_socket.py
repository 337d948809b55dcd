"""``MessageSocket``: a socket whose ``send`` and ``recv`` carry whole messages.

This is what an app uses.  It receives ahead in large blocks, so most messages cost no system
call; it keeps its place through timeouts; any number of threads may share it.  It joins a decoder
for what comes in with a :class:`~.channel.Channel`, through which all bytes come and go.
"""

from __future__ import annotations

import errno
import io
import socket
import sys
from collections import deque
from contextlib import suppress
from itertools import chain
from operator import length_hint
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, overload

from ..decoder import raising
from ..errors import EndOfStreamError, FramingError, is_from_signal_handler
from ..formats.length_prefix import LengthPrefixFramer
from ..framer import check_is_framer, check_limit
from .beside import beside
from .channel import NEVER, Channel, Deadline, wants_to_write
from .checks import check_address, check_is_connected, check_is_stream, explained_refusal, refuse
from .turn import Turn, is_own, receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from ssl import SSLContext

    from ..buffer import Buffer
    from ..decoder import Decoder
    from ..framer import Framer

M = TypeVar("M")
N = TypeVar("N")

_DEFAULT = LengthPrefixFramer()
_NOTHING: Iterator[Any] = iter(())
_HAS_GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()

# How much to take from the system in one call, beyond what is waited for.
_READ_AHEAD = 64 * 1024
_blocks = receiver(_READ_AHEAD)
# The most for a message that is waited for: more at once is no faster.
_READ_MOST = 256 * 1024
# A payload of which so much is missing is received into the caller's buffer.
_DIRECT_SIZE = 16 * 1024
# How many bytes of messages send_many sends at once.
_BATCH_SIZE = 64 * 1024


class MessageSocket(Generic[M]):
    r"""A connected stream socket that carries whole messages.

    It owns the socket, since it receives ahead: no other code may read from it or write to it
    until :meth:`detach` gives it back.  Its timeout and options stay as they are, and you may
    change them: at any time, or on TLS while no call is running.

    Args:
        sock: A connected stream socket: TCP, Unix, TLS, one end of a socketpair; blocking, with
            a timeout, or non-blocking.  The part of a message that :func:`recv_msg` received is
            taken over.
        framer: The wire format; by default a 4-byte big-endian length before the payload.

    Raises:
        TypeError: *sock* is not a ``socket.socket``.
        ValueError: *sock* is not a stream socket, belongs to a ``MessageSocket`` already, or
            a message was received in part in another format.
        OSError: *sock* is not connected.
        ConnectionError: A :func:`send_msg` on *sock* failed in the middle of a message.

    >>> import socket
    >>> from framing import MessageSocket
    >>> a, b = map(MessageSocket, socket.socketpair())
    >>> with a, b:
    ...     a.send(b"hello")
    ...     a.send_many([b"how", b"are", b"you?"])
    ...     a.end()
    ...     list(b)
    [b'hello', b'how', b'are', b'you?']

    **Time.**  Each *timeout* covers the whole call, in seconds: the waiting for another thread
    as well as all that the call sends or receives.  ``None`` means the socket's own timeout,
    which then covers the whole call too; 0 tries once.  When the time is over, the call raises
    ``TimeoutError`` and no data is lost: the next call continues with the same message.  On a
    non-blocking socket it is ``BlockingIOError`` (``ssl.SSLWantReadError``,
    ``ssl.SSLWantWriteError``) instead.

    **Threads.**  Any number of threads may send and receive at the same time: messages never
    mix, and each message that arrives goes to one thread.

    **Signals.**  After an exception out of a signal handler, for example ``KeyboardInterrupt``,
    you can call again.  If the interrupted call may have lost bytes, the next one in that
    direction raises ``ConnectionError``.

    **TLS** that an attacker truncates looks like a clean end, unless the ``SSLContext`` wraps
    sockets with ``suppress_ragged_eofs=False``.
    """

    @overload
    def __init__(
        self: MessageSocket[bytes], sock: socket.socket, framer: LengthPrefixFramer = ...
    ) -> None: ...
    @overload
    def __init__(self, sock: socket.socket, framer: Framer[M]) -> None: ...
    def __init__(self, sock: socket.socket, framer: Framer[Any] = _DEFAULT) -> None:
        # Asked now, since gevent and eventlet replace socket.socket.
        if not isinstance(sock, socket.socket):
            raise refuse(sock)
        check_is_framer(framer)
        check_is_stream(sock)
        check_is_connected(sock)
        channel = Channel(sock)
        self._take_up(channel, beside(sock).claim(framer))

    def _take_up(self, channel: Channel, decoder: Decoder[M]) -> None:
        self._channel = channel
        self._decoder = decoder
        self._framer = decoder.framer
        self._encode_parts = decoder.framer.encode_parts
        self._sending, self._receiving = channel.sending, channel.receiving
        # The messages that are decoded: what recv() takes first, without anything else.
        self._ready: Iterator[M] = _NOTHING
        self._finished_by = ""
        self._successor: MessageSocket[Any] | None = None

    # Sending

    @overload
    def send(
        self: MessageSocket[bytes], message: Buffer, *, timeout: float | None = None
    ) -> None: ...
    @overload
    def send(self, message: M, *, timeout: float | None = None) -> None: ...
    def send(self, message: Any, *, timeout: float | None = None) -> None:
        """Send one whole message.

        **It raises only if no byte of the message was sent, so to try again is always right.**
        Once the message has begun to go out, it is kept: when the time is over, or the socket
        would block, the call returns, and the unsent rest is sent before the next message, by
        :meth:`send` or :meth:`flush`.  (That call raises what the connection raises then.)  A
        large message is not copied, unless a rest of it is kept.

        Args:
            message: What the framer carries; bytes by default.
            timeout: For the whole call, in seconds: see the class.

        Raises:
            EncodeError: The framer cannot carry *message*.
            TypeError: *message* is not of the type that the framer carries.
            TimeoutError: The time was over before the first byte.  ``BlockingIOError`` and the
                like if the socket is non-blocking.
            OSError: As the socket raised it; ``ConnectionResetError`` and ``BrokenPipeError``
                are two.
            RuntimeError: A signal handler called this while it was interrupting a ``send``.
        """
        if self._finished_by:
            self._check_usable()
        parts = self._encode_parts(message)
        if timeout is not None or len(parts) != 1 or not self._channel.send_at_once(parts[0]):
            self._run(self._sending, timeout, self._send, parts)

    def send_exactly(self, data: Buffer, *, timeout: float | None = None) -> None:
        """Send *data* as it is, outside the format: an HTTP body, the bytes of a file.

        It is the counterpart of :meth:`recv_exactly`, and raises and keeps as :meth:`send` does.

        Args:
            data: Any bytes.
            timeout: For the whole call, in seconds: see the class.
        """
        view = memoryview(data)
        if view.nbytes:
            self._run(self._sending, timeout, self._send, (view,))

    @overload
    def send_many(
        self: MessageSocket[bytes], messages: Iterable[Buffer], *, timeout: float | None = None
    ) -> None: ...
    @overload
    def send_many(self, messages: Iterable[M], *, timeout: float | None = None) -> None: ...
    def send_many(self, messages: Iterable[Any], *, timeout: float | None = None) -> None:
        """Send many messages, in few system calls.

        Messages are taken from the iterable in batches of about 64 KiB.  Every message that was
        taken is sent, or kept to be sent first next time.  If *messages* raises, or one of them
        cannot be carried, those before it are sent.  Messages of other threads may come between
        the batches.  For a live source, such as a queue, use :meth:`send`.

        Args:
            messages: Any iterable of what the framer carries.
            timeout: For the whole call, in seconds: see the class.

        Raises:
            EncodeError: The framer cannot carry one of the messages.
            TypeError: One of them is not of the type that the framer carries.
            TimeoutError: The time was over before the last message was taken.  To continue,
                call it again with the same iterator.  ``BlockingIOError`` and the like if the
                socket is non-blocking.
            OSError: As the socket raised it.
        """
        deadline = self._deadline(timeout)
        self._sending.run(deadline, self._flush, deadline)
        iterator = iter(messages)
        may_be_more = True
        while may_be_more:
            batch: list[Buffer] = []
            try:
                may_be_more = self._gather(iterator, batch)
                self._keep(batch)  # first, since the turn may not come in time
            except BaseException as error:
                if not isinstance(error, Exception) or is_from_signal_handler(error):
                    self._sending.refuse()  # a message may have been taken and lost
                    raise
                self._keep(batch)
                self._sending.run(deadline, self._send_taken, deadline, True)
                raise
            self._sending.run(deadline, self._send_taken, deadline, not may_be_more)

    def _keep(self, batch: list[Buffer]) -> None:
        self._check_usable()
        self._channel.taken.append(batch)

    def _gather(self, messages: Iterator[Any], batch: list[Buffer]) -> bool:
        """Append the wire bytes of messages to *batch*; return whether there may be more."""
        encode_parts, append, size = self._encode_parts, batch.append, 0
        for message in messages:
            parts = encode_parts(message)
            wire = parts[0]
            if len(parts) == 1 and type(wire) is bytes:
                size += len(wire)
                append(wire)
            else:  # the last one of a batch is not copied; of others the owner uses the buffer
                size += sum(memoryview(part).nbytes for part in parts)
                batch += parts if size >= _BATCH_SIZE else (b"".join(parts),)
            if size >= _BATCH_SIZE:
                return True
        return False

    @property
    def unsent(self) -> int:
        """How many bytes are kept to be sent first next time."""
        channel = self._channel
        kept = [*channel.unsent, *chain.from_iterable(channel.taken)]
        return sum(memoryview(part).nbytes for part in kept)

    def flush(self, *, timeout: float | None = None) -> None:
        """Send the unsent bytes.

        Args:
            timeout: For the whole call, in seconds: see the class.

        Raises:
            TimeoutError: The time was over; the bytes that did not go out are still kept.
                ``BlockingIOError`` and the like if the socket is non-blocking.
            OSError: As the socket raised it.
        """
        self._run(self._sending, timeout, self._flush)

    # What follows is for the call that has the turn to send.

    def _send(self, parts: Sequence[Buffer], deadline: Deadline) -> None:
        """Send *parts*, or keep the rest; raise only if nothing of them went out."""
        self._flush(deadline)
        self._channel.send(parts, deadline, begins=True)
        self._channel.send_rest(deadline)

    def _send_taken(self, deadline: Deadline, is_last: bool) -> None:
        """Send what was taken, or keep it; raise unless that is all right at the last batch."""
        try:
            self._flush(deadline)
        except OSError as error:
            is_passing = isinstance(error, (BlockingIOError, TimeoutError))
            is_passing = is_passing or wants_to_write(error) is not None
            if not (is_last and is_passing and is_own(error)):
                raise

    def _flush(self, deadline: Deadline) -> None:
        self._check_usable()
        self._channel.flush(deadline)

    # Receiving

    def recv(self, *surplus: NoReturn, timeout: float | None = None) -> M:
        """Receive one whole message.

        Args:
            surplus: Nothing: a message has its own size.
            timeout: For the whole call, in seconds: see the class.

        Raises:
            EndOfStreamError: The peer has ended the stream after a whole message, or before the
                first.
            IncompleteMessageError: The peer has ended the stream inside a message.
            DecodeError: The received bytes break the format; :class:`MessageTooLargeError` and
                :class:`BadMessageError` are two.  If it is recoverable, the next call continues
                behind the bad message.
            TimeoutError: The time was over; the bytes that have arrived are kept.
                ``BlockingIOError`` and the like if the socket is non-blocking.
            OSError: As the socket raised it; ``ConnectionResetError`` is one.  Also if another
                thread has closed this object.
        """
        if surplus:
            raise TypeError(
                f"recv() returns a whole message and needs no size: leave out {surplus[0]!r:.80}"
            )
        while True:
            for message in self._ready:
                return message
            if timeout is not None or not self._receive_at_once():
                self._run(self._receiving, timeout, self._decode)
            # Another thread may be faster to take it.

    def __iter__(self) -> Iterator[M]:
        """Yield messages until the clean end of the stream.

        ``next`` raises what :meth:`recv` raises, and continues after a timeout or a recoverable
        error: the iterator never ends silently.
        """
        return chain.from_iterable(iter(self._ready_or_error, None))

    def _ready_or_error(self) -> Iterator[M] | None:
        try:
            if not length_hint(self._ready) and not self._receive_at_once():
                self._run(self._receiving, None, self._decode)
            return self._ready
        except EndOfStreamError:
            return None
        except BaseException as error:
            return raising(error)

    def recv_into(
        self: MessageSocket[bytes], buffer: Buffer, *, timeout: float | None = None
    ) -> int:
        """Receive the payload of the next message straight into *buffer*.

        A large payload is written there by the system, and is not copied.

        Args:
            buffer: A ``bytearray`` or another writable buffer.  Do not touch it during the
                call.  If the call raises, its contents are undefined.
            timeout: For the whole call, in seconds: see the class.

        Returns:
            The size of the payload, which is at the front of *buffer*.

        Raises:
            ValueError: The payload is larger than *buffer*.  The next call gets it again.
            TypeError: The format is not a :class:`LengthPrefixFramer`, or *buffer* is read-only.
            Exception: Everything else that :meth:`recv` raises.
        """
        if type(self._framer).read_message is not LengthPrefixFramer.read_message:
            raise TypeError(f"recv_into() needs a LengthPrefixFramer, not {self._framer!r}")
        view = memoryview(buffer).cast("B")
        if view.readonly:
            kind = type(buffer).__name__
            raise TypeError(f"expected a buffer that can be written to, not {kind}")
        size = None
        while size is None:
            for message in self._ready:
                size = len(message)
                if size <= len(view):
                    view[:size] = message
                    return size
                self._run(self._receiving, timeout, self._untake, message)
                _check_fits(size, view)
            if timeout is not None or not self._receive_at_once():
                size = self._run(self._receiving, timeout, self._receive_payload, view)
        return size

    def recv_exactly(self, n: int, *, timeout: float | None = None) -> bytes:
        """Receive the next *n* bytes as they are, outside the format: an HTTP body, a file.

        They start where the last message ended.  If the call is cut short, the bytes that have
        arrived are kept for the next call, of this method or of :meth:`recv`.

        Args:
            n: How many, 0 or more.
            timeout: For the whole call, in seconds: see the class.

        Raises:
            EndOfStreamError: The stream has ended before the first of them.
            IncompleteMessageError: The stream has ended before the last of them.
            ValueError: *n* is negative.
            TimeoutError: The time was over; the bytes that have arrived are kept.
                ``BlockingIOError`` and the like if the socket is non-blocking.
            OSError: As the socket raised it.
        """
        check_limit("n", n)
        return self._run(self._receiving, timeout, self._receive_exactly, n)

    def pending(self) -> bool:
        """Return whether :meth:`recv` would return or raise now, without asking the system.

        ``select`` and ``poll`` see the bytes that the system holds, but neither the messages that
        were received ahead nor the bytes that TLS has decrypted.  So receive until this is false
        before you wait for them.
        """
        if length_hint(self._ready):
            return True
        try:
            return self._receiving.run(Deadline(None, 0), self._decode_what_is_here)
        except (BlockingIOError, TimeoutError, RuntimeError):
            return False  # a call waits for the next message, in another thread or this one
        except (FramingError, OSError, ValueError):
            return True  # recv() will raise it

    @property
    def bytes_received(self) -> int:
        """How many bytes have come in since the connection was made.

        It grows while a large message arrives, so it distinguishes a slow peer from a silent one.
        """
        return self._decoder.bytes_fed

    def _receive_at_once(self) -> bool:
        """Receive once and make messages ready, if no other call has the turn.

        That is the usual case, and this is the general one without its calls.  If it returns
        false, whatever has come is in the decoder.
        """
        channel, turn, decoder = self._channel, self._receiving, self._decoder
        if not channel.is_plain or self._finished_by or channel.sock.gettimeout() is not None:
            return False
        try:
            turn.free.pop()
            holding = turn  # noqa: F841  # for Turn.run, in a signal handler
            found = decoder.receive_block(_blocks, channel.sock)
            if found and _HAS_GIL:
                self._ready = decoder.ready
            elif found:
                self._publish()
        except IndexError:  # another call has the turn, or none will
            return False
        except BaseException as error:  # no byte is lost: see receiver()
            turn.give()
            channel.remember(error)
            raise
        turn.free.append(True)
        if turn.waiting:
            turn.wake()
        return found

    # What follows is for the call that has the turn to receive.

    def _decode(self, deadline: Deadline) -> None:
        """Make messages ready."""
        self._check_usable()
        decoder = self._decoder
        while not decoder.decode():
            self._receive(deadline)
        self._publish()

    def _receive(self, deadline: Deadline) -> None:
        decoder = self._decoder
        size = decoder.room(_READ_AHEAD, _READ_MOST)
        self._channel.receive(decoder, size, deadline)

    def _receive_exactly(self, n: int, deadline: Deadline) -> bytes:
        self._check_usable()
        turn, decoder = self._receiving, self._decoder
        if not n:
            return b""
        while True:
            turn.is_moving = True  # bytes that are taken must not get lost
            self._hide_ready()
            try:
                data = decoder.take_exactly(n)
            except FramingError:
                turn.is_moving = False
                raise
            if data is not None:
                return data
            turn.is_moving = False
            missing = n - decoder.bytes_buffered
            self._channel.receive(decoder, min(max(missing, 1), _READ_MOST), deadline)

    def _receive_payload(self, view: memoryview, deadline: Deadline) -> int | None:
        """Receive a large payload into *view*, or make messages ready and return ``None``."""
        self._check_usable()
        decoder = self._decoder
        while not decoder.decode():
            size = decoder.last_piece
            if size is not None and decoder.bytes_needed >= _DIRECT_SIZE:
                _check_fits(size, view)
                if self._receive_directly(view[:size], deadline):
                    return size
            else:
                self._receive(deadline)
        self._publish()
        return None

    def _untake(self, message: Any, _deadline: Deadline) -> None:
        self._hide_ready()
        self._decoder.untake(message)
        self._publish()

    def _receive_directly(self, view: memoryview, deadline: Deadline) -> bool:
        """Receive the rest of a payload into *view*; return false at the end of the stream."""
        decoder, turn = self._decoder, self._receiving
        missing = view[decoder.copy_piece(view) :]
        start, is_whole = decoder.bytes_fed, False
        try:
            while (got := decoder.bytes_fed - start) < len(missing):
                if not self._channel.receive_into(decoder, missing[got:], deadline):
                    break
            is_whole = got == len(missing)
        finally:
            was_moving, turn.is_moving = turn.is_moving, True
            if is_whole:
                decoder.finish_message()
            else:
                decoder.restore(missing[: decoder.bytes_fed - start])
            turn.is_moving = was_moving
        return is_whole

    def _decode_what_is_here(self) -> bool:
        """Return whether messages are ready, without asking the system for more."""
        self._check_usable()
        while not self._decoder.decode():
            size = self._channel.bytes_decrypted()
            if not size:
                return False
            self._channel.receive(self._decoder, size, Deadline(0, None))
        return True

    def _publish(self) -> None:
        """Let all threads take the messages that are ready."""
        turn, decoder = self._receiving, self._decoder
        if not (_HAS_GIL or isinstance(decoder.ready, _Shared)):
            turn.is_moving = True  # messages must not get lost
            decoder.ready = _Shared(decoder.ready)
            turn.is_moving = False
        self._ready = decoder.ready

    def _hide_ready(self) -> None:
        """Let no other thread take a message, until some are made ready again."""
        turn, decoder = self._receiving, self._decoder
        self._ready = _NOTHING
        if isinstance(decoder.ready, _Shared):
            was_moving, turn.is_moving = turn.is_moving, True  # messages must not get lost
            decoder.ready = decoder.ready.close()
            turn.is_moving = was_moving

    # The connection

    @property
    def framer(self) -> Framer[M]:
        """The format of the messages."""
        return self._framer

    @property
    def sock(self) -> socket.socket:
        """The socket, for its options and addresses.  Do not read from it or write to it."""
        return self._channel.sock

    def fileno(self) -> int:
        """Return the socket's descriptor, for selectors; -1 after :meth:`close`."""
        return self._channel.sock.fileno()

    def switch(self, framer: Framer[N]) -> MessageSocket[N]:
        """Return the same connection in another format, from the next message on.

        The new object takes over what was received ahead and what is unsent.  This object is
        finished then: all its methods raise, except :meth:`close`, which closes the connection.

        Raises:
            TimeoutError: Another thread receives, for longer than the socket's own timeout.
        """
        check_is_framer(framer)
        return self._run(self._receiving, None, self._switch, framer)

    def _switch(self, framer: Framer[N], _deadline: Deadline) -> MessageSocket[N]:
        self._check_usable()
        self._receiving.is_moving = True
        self._hide_ready()
        other: MessageSocket[N] = object.__new__(type(self))  # type: ignore[arg-type]
        vars(other).update(vars(self))  # a subclass may have attributes of its own
        other._take_up(self._channel, self._decoder.switch(framer))
        self._finished_by, self._successor = "switch", other
        return other

    def detach(self) -> tuple[socket.socket, bytes]:
        """Give the socket back as it was, with the bytes that were received ahead.

        The unsent bytes are sent first.  This object is finished then: all its methods raise.

        Raises:
            TimeoutError: The unsent bytes could not be sent within the socket's own timeout, or
                another thread receives for longer than that.  Nothing has changed then.
            OSError: As the socket raised it while they were sent.
            ValueError: The rest of a message that was refused, or of a file, is still to come:
                receive the next message first.
        """
        deadline = self._deadline(None)
        # In this order: a call that waits for a receiver does not keep others from sending.
        result: tuple[socket.socket, bytes] = self._receiving.run(
            deadline, self._sending.run, deadline, self._detach, deadline
        )
        return result

    def _detach(self, deadline: Deadline) -> tuple[socket.socket, bytes]:
        self._flush(deadline)
        decoder, sock = self._decoder, self._channel.sock
        if decoder.rest:
            raise ValueError(
                f"{decoder.rest} or more bytes of a message that was not received are still to"
                " come: receive the next message first"
            )
        self._receiving.is_moving = True
        self._hide_ready()
        data = decoder.unread()
        self._finished_by = "detach"
        beside(sock).disown(decoder.offset)
        return sock, data

    def end(self) -> None:
        """Signal the end of this side's messages to the peer; receiving continues.

        The unsent bytes are sent first.

        Raises:
            io.UnsupportedOperation: The connection is TLS, which cannot end one direction.
            OSError: As the socket raised it.
        """
        self._check_usable()
        if hasattr(self.sock, "unwrap"):
            raise io.UnsupportedOperation(
                "TLS cannot end one direction alone: let a message say that it is the last,"
                " or close the connection"
            )
        self._run(self._sending, None, self._end)

    def _end(self, deadline: Deadline) -> None:
        self._flush(deadline)
        self.sock.shutdown(socket.SHUT_WR)

    def close(self, *, timeout: float | None = 10.0) -> None:
        """Send the unsent bytes, and close the connection.

        A thread that waits in :meth:`recv` is woken by an ``OSError``.  A second call changes
        nothing.

        Args:
            timeout: For sending, in seconds; ``None`` for no limit.  When it is over, the
                connection is reset, so that the peer cannot take a truncated stream for a whole
                one.

        Raises:
            OSError: The unsent bytes could not be sent.  The connection is closed all the same.
            RuntimeError: A signal handler called this while it was interrupting a call.
        """
        if self._successor is not None:
            self._successor.close(timeout=timeout)
        if self._finished_by:
            return
        deadline = Deadline(timeout, None)
        try:
            if self._sending.refusal is None:  # or else a call has raised why
                self._sending.run(deadline, self._flush, deadline)
        except OSError:
            self._close_now()
            raise
        self._close_now()

    def _close_now(self) -> None:
        channel, self._ready = self._channel, _NOTHING
        self._finished_by = "close"
        channel.close(resets=bool(channel.unsent or channel.taken))
        channel.unsent, channel.taken = (), []
        received, self._decoder = self._decoder.bytes_fed, self._framer.decoder()
        self._decoder.skip(received)  # and what was received ahead is gone

    def __enter__(self) -> MessageSocket[M]:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        """Close the connection; without waiting, if the block was left by an exception."""
        if kind is None:
            self.close()
        else:
            with suppress(OSError):
                self.close(timeout=0)

    def __repr__(self) -> str:
        state = f" finished by {self._finished_by}()" if self._finished_by else ""
        return f"<{type(self).__name__}{state} {self._framer!r} over {self.sock!r}>"

    def _run(
        self, turn: Turn, timeout: float | None, function: Callable[..., N], *args: object
    ) -> N:
        """Return what *function* does, which is given the deadline of the call too."""
        deadline = self._deadline(timeout)
        return turn.run(deadline, function, *args, deadline)

    def _deadline(self, timeout: float | None) -> Deadline:
        self._check_usable()
        own = self._channel.own_timeout()
        return NEVER if timeout is None and own is None else Deadline(timeout, own)

    def _check_usable(self) -> None:
        """Raise an error if this object is finished, by another thread perhaps."""
        if self._finished_by == "close":
            raise OSError(errno.EBADF, "this MessageSocket is closed")
        if self._finished_by:
            raise io.UnsupportedOperation(
                f"this MessageSocket was finished by {self._finished_by}(): use what that returned"
            )


# For framing.files, which moves the bytes of a file by itself


def channel_of(conn: MessageSocket[Any]) -> Channel:
    """Return the channel of *conn*, which must not be finished."""
    conn._check_usable()
    return conn._channel


def lend_decoder(conn: MessageSocket[M], function: Callable[[Decoder[M]], N]) -> N:
    """Return ``function(decoder)``, which receives; for a call that has the turn to receive."""
    conn._check_usable()
    conn._hide_ready()  # what was decoded ahead is only in the decoder then
    return function(conn._decoder)


class _Shared:
    """Messages that threads take without a GIL: each goes to one thread, without a lock."""

    def __init__(self, messages: Iterator[Any]) -> None:
        self._left = deque(messages)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            # Taken and stored in one step for a signal handler.
            (message,) = map(deque.popleft, (self._left,))
            return message
        except IndexError:
            raise StopIteration from None

    def __length_hint__(self) -> int:
        return len(self._left)

    def close(self) -> Iterator[Any]:
        """Yield nothing any more, and return the messages that were not taken."""
        left: deque[Any] = deque()
        with suppress(IndexError):
            while True:
                left.appendleft(self._left.pop())  # others can only take from the front
        return iter(left)


def _check_fits(size: int, view: memoryview) -> None:
    if size > len(view):
        raise ValueError(
            f"expected a buffer of at least {size} bytes, the size of the next payload,"
            f" not {len(view)}"
        )


@overload
def connect(
    address: tuple[str, int] | str,
    framer: LengthPrefixFramer = ...,
    *,
    timeout: float | None = ...,
    ssl: SSLContext | None = ...,
) -> MessageSocket[bytes]: ...
@overload
def connect(
    address: tuple[str, int] | str,
    framer: Framer[M],
    *,
    timeout: float | None = ...,
    ssl: SSLContext | None = ...,
) -> MessageSocket[M]: ...
def connect(
    address: tuple[str, int] | str,
    framer: Framer[Any] = _DEFAULT,
    *,
    timeout: float | None = None,
    ssl: SSLContext | None = None,
) -> MessageSocket[Any]:
    """Connect to a server.

    On TCP, small messages are sent at once (``TCP_NODELAY``), rather than held back until the peer
    has acknowledged those before.

    >>> import socket
    >>> from framing import MessageSocket, connect
    >>> with socket.create_server(("127.0.0.1", 0)) as listener:
    ...     client = connect(listener.getsockname(), timeout=10)
    ...     server = MessageSocket(listener.accept()[0])
    >>> with client, server:
    ...     client.send(b"hello")
    ...     server.recv()
    b'hello'

    Args:
        address: The host, by name or by number, and the port; or the path of a Unix socket.
        framer: The wire format; by default a 4-byte big-endian length before the payload.
        timeout: For connecting to each address that the host has, in seconds, and from then on
            the socket's own; ``None`` for no limit.
        ssl: For TLS: a context such as ``ssl.create_default_context()`` gives, which then
            checks that the server is *host*.

    Raises:
        OSError: No connection could be made; ``ConnectionRefusedError``, ``TimeoutError`` and
            ``socket.gaierror`` are three.
        TypeError: *address* is neither a host and a port nor a path, or *framer* is not a
            framer.
        ValueError: There is no such port.
    """
    check_address(address)
    check_is_framer(framer)
    try:
        sock = _connected(address, timeout)
    except OSError as error:
        raise explained_refusal(error, address) from None
    try:
        if ssl is not None:
            host = None if isinstance(address, str) else address[0]
            sock = ssl.wrap_socket(sock, server_hostname=host)
        return MessageSocket(sock, framer)
    except BaseException:
        sock.close()
        raise


def _connected(address: tuple[str, int] | str, timeout: float | None) -> socket.socket:
    if not isinstance(address, str):
        sock = socket.create_connection(address, timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(timeout)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock

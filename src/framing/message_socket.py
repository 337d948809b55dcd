"""A socket whose send and receive carry whole messages.

:class:`MessageSocket` is what an app uses.  It receives ahead in large blocks, so most messages
cost no system call; it keeps its place through timeouts; any number of threads may send.  It
joins three parts: a decoder for what comes in, an :class:`~framing.outgoing.Outgoing` for what
goes out, and below both a :class:`~framing.transport.Transport`.
"""

from __future__ import annotations

import errno
import io
import socket
import threading
from contextlib import contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from .decoder import NONE_READY
from .errors import EndOfStreamError, FramingError
from .framer import Framer, check_is_framer, check_limit
from .length_prefix import LengthPrefixFramer
from .outgoing import Outgoing
from .requests import ReadExactly
from .sockets import check_address, check_is_connected, check_is_stream
from .stream import give_up, take_back
from .stream_decoder import StreamDecoder
from .streaming import IncomingBody, OutgoingBody
from .transport import NEVER, Deadline, transport_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import NoReturn

    from .buffer import Buffer
    from .header_body import Head
    from .requests import Steps
    from .transport import Transport

__all__ = ["MessageSocket", "connect"]

M = TypeVar("M")
N = TypeVar("N")

_DEFAULT_FRAMER = LengthPrefixFramer()

# How much to take from the system in one call, beyond what is waited for.
_READ_AHEAD = 64 * 1024
# The most for a message that is waited for: more at once is no faster.
_READ_MOST = 256 * 1024
# A payload of which so much is missing is received into the caller's buffer.
_DIRECT_SIZE = 16 * 1024
# How many bytes of messages send_many sends at once.
_BATCH_SIZE = 64 * 1024


class MessageSocket(Generic[M]):
    r"""A connected stream socket that carries whole messages.

    It owns the socket, since it receives ahead: nobody else may read from it or write to it
    until :meth:`detach` gives it back.  Its timeout and options stay as they are, and may be
    changed: at any time, or for TLS while no call is under way.

    Args:
        sock: A connected stream socket: TCP, Unix, TLS, one end of a socketpair; blocking, with
            a timeout, or non-blocking.  A message that :func:`recv_msg` received in part is
            taken over.
        framer: The wire format, by default a 4-byte big-endian length before the payload.

    Raises:
        ValueError: *sock* is no stream socket, or a message was received in part in another
            format.
        OSError: *sock* is not connected.
        ConnectionError: A :func:`send_msg` on *sock* was cut off in the middle of a message.

    >>> import socket
    >>> from framing import MessageSocket
    >>> a, b = map(MessageSocket, socket.socketpair())
    >>> with a, b:
    ...     a.send(b"hello")
    ...     a.send_many([b"how", b"are", b"you?"])
    ...     a.end()
    ...     list(b)
    [b'hello', b'how', b'are', b'you?']

    **Time.**  Each *timeout* is in seconds, and for the whole call: for waiting until another
    thread has sent or received as well as for all that the call itself sends or receives.
    ``None`` leaves it to the socket's own timeout, likewise for the whole call; 0 tries once.
    When it has passed, ``TimeoutError`` is raised, and nothing is lost: the next call goes on
    with the same message.  A non-blocking socket raises ``BlockingIOError``
    (``ssl.SSLWantReadError``, ``ssl.SSLWantWriteError``) instead.

    **Threads.**  Any number of threads may send and receive at the same time: messages do not
    mix, and each that arrives goes to one thread.

    **TLS** truncated by an attacker looks like a clean end, unless the ``SSLContext`` wraps
    sockets with ``suppress_ragged_eofs=False``.
    """

    @overload
    def __init__(
        self: MessageSocket[bytes], sock: socket.socket, framer: LengthPrefixFramer = ...
    ) -> None: ...
    @overload
    def __init__(self, sock: socket.socket, framer: Framer[M]) -> None: ...
    def __init__(self, sock: socket.socket, framer: Framer[Any] = _DEFAULT_FRAMER) -> None:
        check_is_stream(sock)
        check_is_connected(sock)
        decoder = give_up(sock, framer)
        self._take_up(transport_of(sock), decoder.continued_by(framer, stepwise=False))

    def _take_up(
        self,
        transport: Transport,
        decoder: StreamDecoder[M],
        outgoing: Outgoing | None = None,
        receiving: threading.Lock | None = None,
    ) -> None:
        self._transport = transport
        self._decoder = decoder
        self._outgoing = outgoing or Outgoing(transport)
        self._receiving = receiving or threading.Lock()
        # What recv_exactly() or recv_file() is receiving, if it was cut short.
        self._aside: StreamDecoder[Any] | None = None
        self._encode_parts = decoder.framer.encode_parts
        self._own_timeout = transport.own_timeout  # of which the last is an error: see _finish()
        self._finished_by = ""

    # Sending

    @overload
    def send(
        self: MessageSocket[bytes], message: Buffer, *, timeout: float | None = None
    ) -> None: ...
    @overload
    def send(self, message: M, *, timeout: float | None = None) -> None: ...
    def send(self, message: Any, *, timeout: float | None = None) -> None:
        """Send one whole message.

        **It raises only if no byte of the message has gone out, so trying again is always
        right.**  Once the message has begun it is owed: when time runs out, or the socket
        would block, the call returns, and the rest is kept and goes first, at the next
        :meth:`send` or :meth:`flush`.  (An error of the connection that comes then is raised
        by that next call.)  A large message is not copied, unless a rest of it is kept.

        After an exception out of a signal handler, such as ``KeyboardInterrupt``, the message
        has begun if :attr:`unsent` is not 0.

        Args:
            message: What the framer carries: bytes by default.
            timeout: In seconds, for the whole call: see the class.

        Raises:
            EncodeError: The framer cannot carry *message*.
            TypeError: *message* is not of the type that the framer carries.
            TimeoutError: Time ran out before the first byte.  ``BlockingIOError`` and its like
                if the socket is non-blocking.
            OSError: As the socket raised it; ``ConnectionResetError`` and ``BrokenPipeError``
                are two.
        """
        own = self._own_timeout()
        parts = self._encode_parts(message)
        never = timeout is None and own is None
        self._outgoing.send(parts, NEVER if never else Deadline(timeout, own))

    @overload
    def send_many(
        self: MessageSocket[bytes], messages: Iterable[Buffer], *, timeout: float | None = None
    ) -> None: ...
    @overload
    def send_many(self, messages: Iterable[M], *, timeout: float | None = None) -> None: ...
    def send_many(self, messages: Iterable[Any], *, timeout: float | None = None) -> None:
        """Send many messages, in few system calls.

        They are taken from *messages* as they are sent, 64 KiB at a time (or one, if it is
        larger), and what was taken is sent or owed, whatever is raised.  If *messages* raises,
        or one of them cannot be carried, those before are sent first.  Messages that other
        threads send may come between them.

        Args:
            messages: Any iterable of what the framer carries.
            timeout: In seconds, for the whole call: see the class.

        Raises:
            EncodeError: The framer cannot carry one of the messages.
            TypeError: One is not of the type that the framer carries.
            TimeoutError: Time ran out before the last one was taken.  To go on, call it again
                with the same iterator.  ``BlockingIOError`` and its like if the socket is
                non-blocking.
            OSError: As the socket raised it.
        """
        deadline = self._deadline(timeout)
        self._outgoing.flush(deadline)
        framer, iterator = self.framer, iter(messages)
        may_be_more = True
        while may_be_more:
            if self._finished_by:  # by what gives the messages
                self._refuse()
            batch: list[Buffer] = []
            try:
                may_be_more = framer.encode_some(iterator, batch, _BATCH_SIZE)
            except BaseException:
                self._outgoing.send_all(batch, deadline, is_last=True)
                raise
            self._outgoing.send_all(batch, deadline, is_last=not may_be_more)

    @property
    def unsent(self) -> int:
        """How many bytes are owed, which are the rest of a message that has begun."""
        return self._outgoing.unsent

    def flush(self, *, timeout: float | None = None) -> None:
        """Send what is owed.

        Args:
            timeout: In seconds, for the whole call: see the class.

        Raises:
            TimeoutError: Time ran out; what has not gone out by then is still owed.
                ``BlockingIOError`` and its like if the socket is non-blocking.
            OSError: As the socket raised it.
        """
        self._outgoing.flush(self._deadline(timeout))

    # Receiving

    def recv(self, *, timeout: float | None = None) -> M:
        """Receive one whole message.

        Args:
            timeout: In seconds, for the whole call: see the class.

        Raises:
            EndOfStreamError: The peer has ended the stream, after a whole message or before
                the first.
            IncompleteMessageError: It has ended it inside a message.
            DecodeError: What it sent breaks the format; :class:`MessageTooLargeError` is one.
            TimeoutError: Time ran out; what has come is kept.  ``BlockingIOError`` and its
                like if the socket is non-blocking.
            OSError: As the socket raised it; ``ConnectionResetError`` is one.  Also if another
                thread has closed this object.
        """
        decoder = self._decoder
        for message in decoder._ready:  # what take() does: a call fewer for most messages
            decoder._ready = (decoder._ready, NONE_READY)[decoder._single is not None]
            decoder._single = None
            return message
        deadline = self._deadline(timeout)
        # Taken when the lock is free again: no signal handler runs between that and here.
        while (taken := self._fill(deadline).take()) is None:
            pass  # another thread was faster
        return taken

    def __iter__(self) -> Iterator[M]:
        """Give messages until the stream's clean end.

        What ``next`` raises otherwise is what :meth:`recv` does, and afterwards it goes on: a
        timeout never looks like the end.  (After an exception out of a signal handler, begin a
        new loop.  Nothing is lost.)
        """
        # While an inner iterator raises, chain stays with it; it would end with an outer one.
        return chain.from_iterable(iter(self._ready_or_wait, None))

    def _ready_or_wait(self) -> Iterator[M] | None:
        decoder = self._decoder
        return decoder.ready or (None if decoder.is_at_end else self._wait())

    def _wait(self) -> Iterator[M]:
        """Give nothing, once messages are ready or the stream has ended."""
        with suppress(EndOfStreamError):
            self._fill(self._deadline(None))
        yield from ()

    def recv_into(self, buffer: Buffer, *, timeout: float | None = None) -> int:
        """Receive the payload of the next message straight into *buffer*.

        A large payload is written there by the system, and is not copied.

        Args:
            buffer: A ``bytearray``, or a ``memoryview`` that can be written to.  While the call
                lasts, it is nobody else's; what it holds is undefined if the call raises.  (If
                a signal handler raises, the message may be lost, other than in :meth:`recv`.)
            timeout: In seconds, for the whole call: see the class.

        Returns:
            The size of the payload, which is at the front of *buffer*.

        Raises:
            ValueError: The payload is larger than *buffer*.  The message is still there for
                the next call.
            TypeError: The format is no :class:`LengthPrefixFramer`, or *buffer* cannot be
                written to.
            Exception: Whatever else :meth:`recv` raises.
        """
        if type(self.framer).read_message is not LengthPrefixFramer.read_message:
            raise TypeError(f"recv_into() needs a LengthPrefixFramer, not {self.framer!r}")
        view = _writable_view(buffer)
        deadline = self._deadline(timeout)
        while True:
            with deadline.holding(self._receiving):
                size = self._receive_into(self._message_decoder(), view, deadline)
            if size is not None:
                return size

    def recv_exactly(self, n: int, *, timeout: float | None = None) -> bytes:
        """Receive the next *n* bytes as they are, outside the format: an HTTP body, a file.

        They start where the last message ended.  When it is cut short, what has come is kept,
        for the next call of this or of :meth:`recv`.

        Args:
            n: How many, 0 or more.
            timeout: In seconds, for the whole call: see the class.

        Raises:
            EndOfStreamError: The stream has ended before the first of them.
            IncompleteMessageError: It has ended before the last of them.
            ValueError: *n* is negative.
            TimeoutError: Time ran out; what has come is kept.  ``BlockingIOError`` and its
                like if the socket is non-blocking.
            OSError: As the socket raised it.
        """
        framer = _Exactly(n)
        deadline = self._deadline(timeout)
        if n == 0:
            return b""
        while True:
            with deadline.holding(self._receiving):
                decoder = self._decoder_aside(framer)
                self._receive_until_decoded(decoder, deadline)
            data = decoder.take()
            if data is not None:
                return data

    def pending(self) -> bool:
        """Return whether :meth:`recv` would return or raise now, without asking the system.

        After a :meth:`recv_exactly` that was cut short: whether that would.  (So after a
        ``recv_file`` that was cut short before the file began: whether more of it is there.)

        ``select`` and ``poll`` tell what the system holds.  They see neither the messages that
        were received ahead, nor what TLS has decrypted: receive until this is false before
        waiting for them.
        """
        if not self._receiving.acquire(blocking=False):
            return False  # another thread waits for the next message
        try:
            return bool(self._finished_by) or self._decode_what_is_here()
        except (BlockingIOError, TimeoutError):
            return False
        except (FramingError, OSError):
            return True  # recv() will raise it
        finally:
            self._receiving.release()

    def _fill(self, deadline: Deadline) -> StreamDecoder[M]:
        """Return the decoder once messages are ready, of which other threads may take some."""
        with self._receiving if deadline is NEVER else deadline.holding(self._receiving):
            decoder = self._message_decoder()
            receive = self._transport.recv_plainly
            try:
                if deadline is NEVER and receive and decoder.read_batch_from(receive, _READ_AHEAD):
                    return decoder
            except ConnectionResetError as error:
                self._transport.remember(error)
                raise
            self._receive_until_decoded(decoder, deadline)
            return decoder

    # Messages whose bodies are not held in memory, for framing.files

    @contextmanager
    def _receive_past(self, framer: Framer[Head]) -> Iterator[IncomingBody]:
        """Receive the head of a message, and let the block receive its body.

        The socket's own timeout is for each wait here, since a long body may take its time.
        """
        with self._deadline(None).holding(self._receiving):
            decoder = self._decoder_aside(framer)
            self._receive_until_decoded(decoder, None)
            header, offset = decoder.take_head()
            yield IncomingBody(
                header,
                offset,
                self._message_decoder().receive_body(
                    lambda view, counts: self._transport.receive_into(
                        view, counts, self._deadline(None)
                    )
                ),
            )

    @contextmanager
    def _send_past(self) -> Iterator[OutgoingBody]:
        """Let the block send the head of a message, and its body from elsewhere."""
        with self._outgoing.sending_past(self._deadline(None)) as counts:
            yield OutgoingBody(self._transport, counts)

    # The rest of this is for the thread whose turn it is.

    def _receive(self, decoder: StreamDecoder[Any], deadline: Deadline) -> None:
        """Feed *decoder* what has come, or the end of the stream."""
        size = decoder.room(_READ_AHEAD, _READ_MOST)
        if not self._transport.receive(decoder, size, deadline):
            decoder.feed_eof()

    # A loop is in a function of its own where something has to be done after it, whatever is
    # raised.  From Python 3.12 on, a signal handler that runs at the end of a turn is outside of
    # the try or with statement around the loop, but not of one around the call.

    def _receive_until_decoded(
        self, decoder: StreamDecoder[Any], deadline: Deadline | None
    ) -> None:
        """Receive until messages are ready; without a deadline, each wait has its own."""
        while not decoder.decode():
            self._receive(decoder, deadline or self._deadline(None))

    def _decode_what_is_here(self) -> bool:
        """Return whether messages are ready, without asking the system for more."""
        decoder: StreamDecoder[Any] | None = self._aside
        if decoder is None or not decoder.is_inside:
            decoder = self._message_decoder()
        while not decoder.decode():
            size = self._transport.bytes_decrypted()
            if not size:
                return False
            self._transport.receive(decoder, size, self._deadline(0))
        return True

    def _receive_into(
        self, decoder: StreamDecoder[Any], view: memoryview, deadline: Deadline
    ) -> int | None:
        """Return the size of the next payload, which is in *view*; ``None`` if it was taken."""
        while not decoder.decode():
            size = decoder.last_piece
            if size is None or not _is_worth_it(decoder):
                self._receive(decoder, deadline)
            else:
                _check_fits(size, view)
                if self._receive_payload(decoder, view[:size], deadline):
                    return size
        size = decoder.take_into(view)
        if size is not None:
            _check_fits(size, view)
        return size

    def _receive_payload(
        self, decoder: StreamDecoder[Any], view: memoryview, deadline: Deadline
    ) -> bool:
        """Receive the rest of a message into *view*, its payload; false if the stream ended."""
        there = decoder.copy_last_piece(view)
        counts = [there]
        try:
            self._receive_all(view, counts, deadline)
        except BaseException:
            decoder.feed(view[there : sum(counts)])
            raise
        if sum(counts) == len(view):
            decoder.skip_message(len(view) - there)
            return True
        decoder.feed(view[there : sum(counts)])
        decoder.feed_eof()
        return False

    def _receive_all(self, view: memoryview, counts: list[int], deadline: Deadline) -> None:
        """Fill *view* after the first bytes, of which there are *counts*, or up to the end."""
        while (got := sum(counts)) < len(view):
            counts[:] = (got,)
            self._transport.receive_into(view[got:], counts, deadline)
            if not counts[-1]:
                return

    def _message_decoder(self) -> StreamDecoder[M]:
        """Return the decoder of messages, which may have to follow one of something else."""
        if self._finished_by:  # by another thread, while this one was waiting for its turn
            self._refuse()
        if self._aside is not None:
            self._decoder, self._aside = (
                self._aside.continued_by(self.framer, stepwise=True),
                None,
            )
        return self._decoder

    def _decoder_aside(self, framer: Framer[N]) -> StreamDecoder[N]:
        """Return the decoder of what is received for once, which may have begun before."""
        if self._aside is None or self._aside.framer != framer:
            self._aside = self._message_decoder().continued_by(framer, stepwise=True)
        return self._aside

    # The connection

    @property
    def framer(self) -> Framer[M]:
        """The format of the messages."""
        return self._decoder.framer

    @property
    def sock(self) -> socket.socket:
        """The socket, for its options and addresses; not to be read from or written to."""
        return self._transport.sock

    def fileno(self) -> int:
        """Return the socket's descriptor, for selectors; -1 after :meth:`close`."""
        return self._transport.sock.fileno()

    def switch(self, framer: Framer[N]) -> MessageSocket[N]:
        """Return the same connection in another format, from the next message on.

        What was received ahead and what is owed go over to it.  This object is finished then.

        Raises:
            TimeoutError: Another thread receives, for longer than the socket's own timeout.
        """
        deadline = self._deadline(None)
        with deadline.holding(self._receiving):
            other: MessageSocket[N] = object.__new__(type(self))  # type: ignore[arg-type]
            vars(other).update(vars(self))  # a subclass may have attributes of its own
            decoder = self._message_decoder().continued_by(framer, stepwise=False)
            other._take_up(self._transport, decoder, self._outgoing, self._receiving)
            self._finish("switch")
        return other

    def detach(self) -> tuple[socket.socket, bytes]:
        """Give the socket back as it was, with the bytes that were received ahead.

        What is owed is sent first.  This object is finished then.  (The rest of a file that was
        refused or cut short is not among those bytes: :func:`recv_msg` and its like skip it.)

        Raises:
            TimeoutError: What is owed could not be sent within the socket's own timeout, or
                another thread receives for longer than that.  Nothing has changed then.
            OSError: As the socket raised it when it was sent.
        """
        deadline = self._deadline(None)
        # In this order: who waits for a receiver does not keep others from sending.
        with deadline.holding(self._receiving), self._outgoing.settled(deadline):
            decoder, is_cut = self._message_decoder(), self._outgoing.is_cut
            data = decoder.unread()
            self._finish("detach")
            self._outgoing.stop()
            take_back(self._transport.sock, decoder, is_cut=is_cut)
        return self._transport.sock, data

    def end(self) -> None:
        """Tell the peer that no more messages come from this side; receiving goes on.

        What is owed is sent first.

        Raises:
            io.UnsupportedOperation: The connection is TLS, which cannot end one direction.
            OSError: As the socket raised it.
        """
        deadline = self._deadline(None)
        if hasattr(self.sock, "unwrap"):
            raise io.UnsupportedOperation(
                "TLS cannot end one direction alone: let a message say that it is the last,"
                " or close the connection"
            )
        with self._outgoing.settled(deadline):
            self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Send what is owed, and close the connection.

        A thread that waits in :meth:`recv` is woken, by an ``OSError``; one that sends is waited
        for, unless a ``with`` block is left by an exception.  A second time changes nothing.

        Raises:
            OSError: What is owed could not be sent, within the socket's own timeout.  The
                connection is closed all the same.
        """
        if self._finished_by:
            return
        try:
            self._outgoing.flush(self._deadline(None))
        finally:
            self._close_now()

    def _close_now(self) -> None:
        self._finish("close")
        self._transport.close(is_in_use=self._receiving.locked() or self._outgoing.is_busy)
        # What was received ahead goes, and what is owed.
        self._decoder, self._aside = StreamDecoder(self.framer, stepwise=True), None
        self._outgoing.stop()

    def __enter__(self) -> MessageSocket[M]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection; without waiting, if the block was left by an exception."""
        if kind is None or self._finished_by:
            self.close()
            return
        try:
            with suppress(OSError):
                self._outgoing.flush(self._deadline(0))
        finally:
            self._close_now()

    def __repr__(self) -> str:
        state = f" finished by {self._finished_by}()" if self._finished_by else ""
        return f"<{type(self).__name__}{state} {self.framer!r} over {self.sock!r}>"

    def _deadline(self, timeout: float | None) -> Deadline:
        """Return when a call that begins now has to end, if it may begin at all."""
        own = self._own_timeout()
        return NEVER if timeout is None and own is None else Deadline(timeout, own)

    def _finish(self, method: str) -> None:
        """Let every later call raise an error, at no cost to those before."""
        self._finished_by, self._own_timeout = method, self._refuse

    def _refuse(self) -> NoReturn:
        if self._finished_by == "close":
            raise OSError(errno.EBADF, "this MessageSocket is closed")
        raise io.UnsupportedOperation(
            f"this MessageSocket was finished by {self._finished_by}(): use what that returned"
        )


@overload
def connect(
    address: tuple[str, int], framer: LengthPrefixFramer = ..., *, timeout: float | None = ...
) -> MessageSocket[bytes]: ...
@overload
def connect(
    address: tuple[str, int], framer: Framer[M], *, timeout: float | None = ...
) -> MessageSocket[M]: ...
def connect(
    address: tuple[str, int],
    framer: Framer[Any] = _DEFAULT_FRAMER,
    *,
    timeout: float | None = None,
) -> MessageSocket[Any]:
    """Connect to a TCP server.

    Small messages are sent at once (``TCP_NODELAY``), rather than held back until the peer has
    acknowledged those before.

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
        address: The host, by name or by number, and the port.
        framer: The wire format, by default a 4-byte big-endian length before the payload.
        timeout: In seconds, for connecting to each address that the host has, and from then on
            the socket's own; ``None`` for no end, as in ``socket.create_connection``.

    Raises:
        OSError: No connection could be made; ``ConnectionRefusedError``, ``TimeoutError`` and
            ``socket.gaierror`` are three.
        TypeError: *address* is no host and port, or *framer* no framer.
        ValueError: There is no such port.
    """
    check_address(address)
    check_is_framer(framer)
    sock = socket.create_connection(address, timeout)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return MessageSocket(sock, framer)
    except BaseException:
        sock.close()
        raise


class _Exactly(Framer[bytes]):
    """What recv_exactly() receives, as if it were a message."""

    def __init__(self, n: int) -> None:
        check_limit("n", n)
        super().__init__(max_size=n)

    def encode_parts(self, message: bytes) -> list[bytes]:
        return [message]

    def read_message(self) -> Steps[bytes]:
        return (yield ReadExactly(self.max_size, last=True))


def _is_worth_it(decoder: StreamDecoder[Any]) -> bool:
    """Return whether to receive a payload into the caller's buffer.

    Not a small rest of one; nor what was put back often enough, when time had run out, to be
    much: copying all that again each time would take quadratic time.
    """
    return decoder.bytes_waited_for >= _DIRECT_SIZE and decoder.bytes_held <= 2 * _READ_AHEAD


def _check_fits(size: int, view: memoryview) -> None:
    if size > len(view):
        raise ValueError(
            f"expected a buffer of at least {size} bytes, the size of the next payload,"
            f" not {len(view)}"
        )


def _writable_view(buffer: Buffer) -> memoryview:
    view = memoryview(buffer)
    if view.readonly:
        raise TypeError(f"expected a buffer that can be written to, not {type(buffer).__name__}")
    return view.cast("B")

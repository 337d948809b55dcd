"""Whole messages over a connected stream socket: TCP, Unix, TLS, one end of a socketpair.

``send_msg`` and ``recv_msg`` each carry one message.  Between two calls nothing is read ahead
and nothing is kept back, so they mix with anything else that uses the socket.  Inside a
message, when a timeout or a signal has cut a call short, what was received of it is kept
beside the socket, and the next ``recv_msg`` goes on from there.
"""

from __future__ import annotations

import socket
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload
from weakref import WeakKeyDictionary

from .length_prefix import LengthPrefixFramer
from .sockets import JOIN_SIZE, MOST_PARTS, Guard, check_is_stream, is_plain, skip
from .stream_decoder import StreamDecoder
from .streaming import IncomingBody, OutgoingBody
from .transport import transport_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .buffer import Buffer
    from .delimiter import DelimiterFramer
    from .framer import Framer
    from .header_body import HeadFramer

__all__ = ["recv_msg", "send_msg"]

M = TypeVar("M")

_DEFAULT_FRAMER = LengthPrefixFramer()

# The most to take from the system in one call.
_RECEIVE_SIZE = 256 * 1024
# How far to look ahead for a delimiter: most lines are shorter than the first, and a long
# message doubles it up to the second.
_PEEK_SIZES = 4 * 1024, 64 * 1024
_MSG_PEEK: int | None = getattr(socket, "MSG_PEEK", None)
_HAS_SENDMSG = hasattr(socket.socket, "sendmsg")


@overload
def send_msg(
    sock: socket.socket, message: Buffer, *, framer: LengthPrefixFramer | DelimiterFramer = ...
) -> None: ...
@overload
def send_msg(sock: socket.socket, message: M, *, framer: Framer[M]) -> None: ...
def send_msg(sock: socket.socket, message: Any, *, framer: Framer[Any] = _DEFAULT_FRAMER) -> None:
    r"""Send one whole message, as ``sendall`` sends bytes.

    One thread may send on a socket at a time, while another receives.  A large message is not
    copied.

    >>> import socket
    >>> from framing import send_msg
    >>> here, there = socket.socketpair()
    >>> with here, there:
    ...     send_msg(here, b"hello")
    ...     there.recv(1024)  # what goes over the wire
    b'\x00\x00\x00\x05hello'

    Args:
        sock: A connected, blocking stream socket; its timeout applies as it does to
            ``sendall``.
        message: What *framer* carries: bytes by default.
        framer: The wire format, by default a 4-byte big-endian length before the payload.

    Raises:
        EncodeError: *framer* cannot carry *message*.  Nothing was sent.
        TypeError: *message* is not of the type that *framer* carries.  Nothing was sent.
        OSError: As the socket raised it; ``TimeoutError`` is one.
        ConnectionError: An earlier ``send_msg`` on this socket was cut off in the middle of a
            message.  The receiver could not tell where this one starts.
        ValueError: *sock* is no stream socket.
    """
    parts = framer.encode_parts(message)
    _state_of(sock).send(sock, parts)


@overload
def recv_msg(sock: socket.socket) -> bytes: ...
@overload
def recv_msg(sock: socket.socket, *, framer: Framer[M]) -> M: ...
def recv_msg(sock: socket.socket, *, framer: Framer[Any] = _DEFAULT_FRAMER) -> Any:
    """Receive one whole message, and not one byte more.

    A call that a timeout, a ``BlockingIOError`` or an ``SSLWantReadError`` cuts short loses
    nothing: the next call goes on with the same message.  So does a signal's exception, such
    as ``KeyboardInterrupt``, on a plain socket; where it may have cost bytes, on a TLS socket,
    the next call refuses to go on rather than misread the stream.

    A delimiter is looked for in what the socket holds.  TLS cannot look ahead, so there it is
    read byte by byte.

    >>> import socket
    >>> from framing import recv_msg, send_msg
    >>> here, there = socket.socketpair()
    >>> with here, there:
    ...     send_msg(here, b"hello")
    ...     send_msg(here, b"how are you?")
    ...     recv_msg(there)
    ...     recv_msg(there)
    b'hello'
    b'how are you?'

    Args:
        sock: A connected stream socket, blocking or not.
        framer: The wire format, by default a 4-byte big-endian length before the payload.

    Returns:
        The message, which is bytes by default.

    Raises:
        EndOfStreamError: The peer has closed the connection, after a whole message or before
            the first.
        IncompleteMessageError: It has closed the connection inside a message.
        DecodeError: What it sent breaks the format; :class:`MessageTooLargeError` is one.
        OSError: As the socket raised it; ``TimeoutError`` and ``BlockingIOError`` are two.
        ConnectionError: A signal cut off an earlier ``recv_msg`` where that may cost bytes.
        ValueError: A message was received in part with another framer, or *sock* is no
            stream socket.
    """
    state = _state_of(sock)
    decoder = state.decoder_for(framer)
    if state.is_plain and decoder.is_idle:
        message = decoder.read_from(sock.recv)
        if message is not None:
            return message
    while (message := decoder.next_message()) is None:
        state.receive(sock, decoder)
    return message


def give_up(sock: socket.socket, framer: Framer[M]) -> StreamDecoder[M]:
    """Return the part of a message that was received of *sock*, for another to go on with.

    Raises:
        ConnectionError: A call was cut off where the stream cannot be trusted any more.
        ValueError: The part is of a message in another format.
    """
    state = _state_of(sock)
    state.check_whole()
    decoder = state.decoder_for(framer)
    del _states[sock]
    return decoder


# Messages whose bodies are not held in memory, for framing.files


@contextmanager
def receive_past(sock: socket.socket, framer: HeadFramer) -> Iterator[IncomingBody]:
    """Receive the head of a message, and let the block receive its body.

    Raises:
        OSError: As the socket raised it.  Whatever is raised, the next call goes on where this
            one stopped; but what is left of the body is skipped.
    """
    state = _state_of(sock)
    head = state.go_on_with(state.decoder_for(framer.whole), framer)
    try:
        while not head.decode():
            state.receive(sock, head)
        header, offset = head.take_head()
    finally:
        whole = state.go_on_with(head, framer.whole)
    yield IncomingBody(header, offset, whole.receive_body(partial(state.receive_into, sock)))


@contextmanager
def send_past(sock: socket.socket) -> Iterator[OutgoingBody]:
    """Let the block send one message, its body from elsewhere.

    Raises:
        ConnectionError: An earlier message was cut off in its middle.
    """
    with _state_of(sock).sending_past() as sent:
        yield OutgoingBody(transport_of(sock), sent)


class _State:
    """What is kept of one socket between calls: the part of a message, in either direction."""

    __slots__ = ("_decoder", "_is_sending", "_receiving", "is_plain")

    def __init__(self, sock: socket.socket) -> None:
        check_is_stream(sock)
        # A plain socket's methods are C functions: see StreamBuffer.feed_from().
        self.is_plain = is_plain(sock)
        self._decoder: StreamDecoder[Any] | None = None
        self._receiving = Guard(
            sock,
            "a signal cut off an earlier recv_msg on this socket, and bytes may be lost:"
            " close the connection",
        )
        # True only during a call, so if it is true at the start of one, another was cut off.
        self._is_sending = False

    def check_whole(self) -> None:
        """Raise a ``ConnectionError`` if the stream is broken, in either direction."""
        self._receiving.check()
        self._check_sent_whole()

    # Sending

    def _check_sent_whole(self) -> None:
        if self._is_sending:
            raise ConnectionError(
                "an earlier send_msg on this socket was cut off in the middle of a message:"
                " close the connection, since the receiver cannot tell where the next one starts"
            )

    def send(self, sock: socket.socket, parts: Sequence[Buffer]) -> None:
        """Send all of *parts*, or remember that the stream is broken."""
        self._check_sent_whole()
        # A view's len counts items, so this may be too low: it only decides what is faster.
        size = sum(map(len, parts))  # type: ignore[arg-type, unused-ignore]  # not of every type
        if len(parts) > MOST_PARTS or size <= JOIN_SIZE:
            parts = (b"".join(parts),)
        self._is_sending = True
        for rest in self._begin(sock, parts):
            sock.sendall(rest)
        self._is_sending = False

    @contextmanager
    def sending_past(self) -> Iterator[list[int]]:
        """Let the block send; remember that the stream is broken if it sends a part only."""
        self._check_sent_whole()
        self._is_sending = True
        sent: list[int] = []
        try:
            yield sent
            self._is_sending = False
        except BaseException:
            # Where the socket's methods are not C functions, a signal may have hidden a number.
            self._is_sending = bool(sent) or not self.is_plain
            raise

    def _begin(self, sock: socket.socket, parts: Sequence[Buffer]) -> Sequence[Buffer]:
        """Send what the socket takes at once of *parts*, and return the rest.

        A plain socket that raises here has sent nothing, and can be tried again.
        """
        if not self.is_plain:
            return parts
        sent: list[int] = []
        try:
            # One step for a signal handler, so that an exception out of one is told apart from
            # the socket's own: there is a number if bytes went out.
            if len(parts) > 1 and _HAS_SENDMSG:
                sent.extend(map(sock.sendmsg, (parts,)))
            else:
                sent.extend(map(sock.send, parts[:1]))
        except BaseException:
            self._is_sending = bool(sent)
            raise
        if len(parts) == 1 and sent[0] == memoryview(parts[0]).nbytes:
            return ()  # nearly always
        return list(skip(parts, sent[0]))

    # Receiving

    def decoder_for(self, framer: Framer[M]) -> StreamDecoder[M]:
        """Return the decoder of the message that is next, or was received in part."""
        decoder = self._decoder
        if decoder is None or decoder.framer is not framer:
            if decoder is None or (decoder.framer != framer and decoder.is_idle):
                decoder = self._decoder = StreamDecoder(framer, stepwise=True)
            elif decoder.framer != framer and decoder.is_skipping:
                decoder = self.go_on_with(decoder, framer)
            elif decoder.framer != framer:
                raise ValueError(
                    f"a message in {decoder.framer!r} was received in part:"
                    f" receive it before one in {framer!r}"
                )
        return decoder

    def go_on_with(self, decoder: StreamDecoder[Any], framer: Framer[M]) -> StreamDecoder[M]:
        """Read the stream from where *decoder* is on in another format."""
        other = self._decoder = decoder.continued_by(framer, stepwise=True)
        return other

    def receive_into(self, sock: socket.socket, view: memoryview, counts: list[int]) -> None:
        """Receive bytes into *view*, and append how many to *counts*."""
        if self.is_plain:
            counts.extend(map(sock.recv_into, (view,)))  # in one step for a signal handler
        else:
            self._receiving.call(sock.recv_into, view, counts.append)

    def receive(self, sock: socket.socket, decoder: StreamDecoder[Any]) -> None:
        """Feed *decoder* some bytes of the current message, or the end of the stream."""
        if self.is_plain:
            received = self._receive_plain(sock, decoder)
        else:
            received = self._receive_other(sock, decoder)
        if not received:
            decoder.feed_eof()

    def _receive_plain(self, sock: socket.socket, decoder: StreamDecoder[Any]) -> int:
        needed = decoder.bytes_waited_for
        if decoder.seeks_delimiter and _MSG_PEEK is not None:
            least, most = _PEEK_SIZES
            ahead = sock.recv(min(max(least, decoder.bytes_held), most), _MSG_PEEK)
            needed = decoder.bytes_wanted_of(ahead)
        return decoder.feed_from(sock.recv, min(needed, _RECEIVE_SIZE))

    def _receive_other(self, sock: socket.socket, decoder: StreamDecoder[Any]) -> int:
        size = min(decoder.bytes_waited_for, _RECEIVE_SIZE)
        before = decoder.bytes_held
        self._receiving.call(sock.recv, size, decoder.feed)
        return decoder.bytes_held - before


_states: WeakKeyDictionary[socket.socket, _State] = WeakKeyDictionary()


def _state_of(sock: socket.socket) -> _State:
    try:
        return _states[sock]
    except KeyError:
        return _states.setdefault(sock, _State(sock))

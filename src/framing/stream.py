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
from weakref import ref

from .framer import check_is_framer
from .length_prefix import LengthPrefixFramer
from .pieces import Pieces
from .sockets import JOIN_SIZE, MOST_PARTS, Guard, check_is_stream, is_plain, skip
from .stream_decoder import StreamDecoder
from .streaming import IncomingBody, OutgoingBody
from .transport import WaitingTransport, transport_of

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

    One thread may send on a socket at a time, while another receives; on TLS, which is for one
    thread at a time, only a :class:`~framing.MessageSocket` lets them.  A large message is not
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
        TypeError: *message* is not of the type that *framer* carries, or *sock* is no socket.
            Nothing was sent.
        OSError: As the socket raised it; ``TimeoutError`` is one.
        ConnectionError: An earlier ``send_msg`` on this socket was cut off in the middle of a
            message.  The receiver could not tell where this one starts.
        ValueError: *sock* is no stream socket.
    """
    try:
        parts = framer.encode_parts(message)
    except (AttributeError, TypeError):
        check_is_framer(framer)
        raise
    state = _states.get(id(sock)) or _new_state(sock)
    if len(parts) == 1 and state.is_plain and state.sent is None:
        # This is the usual case, and takes two thirds of the time of the general one.
        (wire,) = parts
        (state.sent,) = map(sock.send, parts)
        if type(wire) is bytes and state.sent == len(wire):
            state.sent = None
        else:
            state.send_rest(sock, parts)
    else:
        state.send(sock, parts)


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
        TypeError: *sock* is no socket, or *framer* no framer.
    """
    state = _states.get(id(sock)) or _new_state(sock)
    if state.decoder is not None:
        state.drop_if_idle(state.decoder)
    pieces = state.pieces
    if state.decoder is None and state.is_plain and pieces.prefix is None and not pieces.more:
        if state.framer is not framer:
            check_is_framer(framer)
            state.framer = framer
        received = framer._receive_at_once(sock.recv, pieces)
        if received is not None:
            message, size = received
            state.offset, pieces.prefix, pieces.payload, pieces.more = (
                state.offset + size,
                None,
                None,
                [],
            )
            return message
    decoder = state.decoder_for(framer)
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
    del _states[id(sock)]
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
        state.receive_until_decoded(sock, head)
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
    state = _state_of(sock)
    with state.sending_past() as sent:
        yield OutgoingBody(transport_of(sock) if state.is_plain else WaitingTransport(sock), sent)


def take_back(sock: socket.socket, decoder: StreamDecoder[Any], *, is_cut: bool) -> None:
    """Remember of a socket what a MessageSocket knew, which has given it back.

    Args:
        sock: The socket.
        decoder: Of which nothing is left but the rest of a body, perhaps.
        is_cut: Whether what was sent ended in the middle of a message.
    """
    if decoder.is_skipping:
        _state_of(sock).go_on_with(decoder, decoder.framer)
    if is_cut:
        _state_of(sock).sent = 0


class _State:
    """What is kept of one socket between calls: the part of a message, in either direction."""

    __slots__ = (
        "_receiving",
        "decoder",
        "framer",
        "is_plain",
        "offset",
        "pieces",
        "reference",
        "sent",
    )

    def __init__(self, sock: socket.socket) -> None:
        check_is_stream(sock)
        # A plain socket's methods are C functions: see StreamBuffer.feed_from().
        self.is_plain = is_plain(sock)
        # Of a message that one call could not receive, there is a decoder.  Before it, what was
        # received of the message is in pieces, with its framer and its offset in the stream.
        self.decoder: StreamDecoder[Any] | None = None
        self.pieces = Pieces()
        self.framer: Framer[Any] = _DEFAULT_FRAMER
        self.offset = 0
        self.reference: ref[socket.socket] | None = None  # that tells when the socket is gone
        self._receiving = Guard(
            sock,
            "a signal cut off an earlier recv_msg on this socket, and bytes may be lost:"
            " close the connection",
        )
        # How many bytes went out of a message, while it is being sent: if that is so at the
        # start of a call, another was cut off.
        self.sent: int | None = None

    def check_whole(self) -> None:
        """Raise a ``ConnectionError`` if the stream is broken, in either direction."""
        self._receiving.check()
        self._check_sent_whole()

    # Sending

    def _check_sent_whole(self) -> None:
        if self.sent is not None:
            raise ConnectionError(
                "an earlier send_msg on this socket was cut off in the middle of a message:"
                " close the connection, since the receiver cannot tell where the next one starts"
            )

    def send(self, sock: socket.socket, parts: Sequence[Buffer]) -> None:
        """Send all of *parts*, or remember that the stream is broken."""
        self._check_sent_whole()
        # A view's len counts items, so this may be too low: it only decides what is faster.
        size = sum(map(len, parts))  # type: ignore[arg-type, unused-ignore]  # not of every type
        if size <= JOIN_SIZE or len(parts) > MOST_PARTS:
            parts = (b"".join(parts),)
        # One step for a signal handler: there is a number if bytes went out, and none if the
        # socket raised an error instead, so that the call can be made again.
        if not self.is_plain:
            self.sent = 0  # so far, or more: a signal may hide it
        elif len(parts) == 1 or not _HAS_SENDMSG:
            (self.sent,) = map(sock.send, parts[:1])
        else:
            (self.sent,) = map(sock.sendmsg, (parts,))
        self.send_rest(sock, parts)

    def send_rest(self, sock: socket.socket, parts: Sequence[Buffer]) -> None:
        """Send what is left of *parts* after the bytes that were sent at first."""
        for rest in skip(parts, self.sent or 0):
            sock.sendall(rest)
        self.sent = None

    @contextmanager
    def sending_past(self) -> Iterator[list[int]]:
        """Let the block send; remember that the stream is broken if it sends a part only."""
        self._check_sent_whole()
        self.sent = 0
        sent: list[int] = []
        try:
            yield sent
        except BaseException:
            # Where the socket's methods are not C functions, a signal may hide a number.
            if self.is_plain and not sent:
                self.sent = None
            raise
        self.sent = None

    # Receiving

    def drop_if_idle(self, decoder: StreamDecoder[Any]) -> None:
        """Go back to receiving messages at once, if that may do."""
        if self.is_plain and not decoder.delimiter and decoder.is_idle:
            self.decoder, self.offset = None, decoder.offset

    def decoder_for(self, framer: Framer[M]) -> StreamDecoder[M]:
        """Return the decoder of the message that is next, or was received in part."""
        decoder = self.decoder
        if decoder is None:
            pieces = self.pieces
            decoder = StreamDecoder(self.framer, stepwise=True, offset=self.offset)
            decoder.feed(pieces.join())
            # One assignment, so that a signal handler finds the bytes once.
            self.decoder, pieces.prefix, pieces.payload, pieces.more = decoder, None, None, []
        if decoder.framer is framer or decoder.framer == framer:
            return decoder
        if not decoder.is_idle and not decoder.is_skipping:
            raise ValueError(
                f"a message in {decoder.framer!r} was received in part:"
                f" receive it before one in {framer!r}"
            )
        return self.go_on_with(decoder, framer)

    def receive_until_decoded(self, sock: socket.socket, decoder: StreamDecoder[Any]) -> None:
        while not decoder.decode():  # in a function of its own: see MessageSocket
            self.receive(sock, decoder)

    def go_on_with(self, decoder: StreamDecoder[Any], framer: Framer[M]) -> StreamDecoder[M]:
        """Read the stream from where *decoder* is on in another format."""
        other = self.decoder = decoder.continued_by(framer, stepwise=True)
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
        if (delimiter := decoder.delimiter) and _MSG_PEEK is not None:
            least, most = _PEEK_SIZES
            ahead = sock.recv(min(max(least, decoder.bytes_held), most), _MSG_PEEK)
            needed = decoder.bytes_up_to(delimiter, ahead)
        return decoder.feed_from(sock.recv, min(needed, _RECEIVE_SIZE))

    def _receive_other(self, sock: socket.socket, decoder: StreamDecoder[Any]) -> int:
        size = min(decoder.bytes_waited_for, _RECEIVE_SIZE)
        before = decoder.bytes_held
        self._receiving.call(sock.recv, size, decoder.feed)
        return decoder.bytes_held - before


# By the identity of the socket.  That is free for another one only when the first is gone, and
# its state with it.  (A WeakKeyDictionary takes ten times as long.)
_states: dict[int, _State] = {}


def _state_of(sock: socket.socket) -> _State:
    return _states.get(id(sock)) or _new_state(sock)


def _new_state(sock: socket.socket) -> _State:
    key = id(sock)
    state = _State(sock)
    # Of C alone, since an exception out of a signal handler would be lost there, and the state
    # would stay.  (The reference is pop's default.)
    state.reference = ref(sock, partial(_states.pop, key))
    return _states.setdefault(key, state)

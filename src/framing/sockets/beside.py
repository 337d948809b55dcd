"""What is kept beside a stream between two calls of ``send_msg`` and ``recv_msg``.

That is: whose turn it is in each direction; the part of a message that a call received before it
was cut short; and whether a ``MessageSocket`` owns the stream.  It lasts as long as the object.

A stream may be a socket, something like a socket (``recv`` and ``sendall``: an SSH channel, a
pyOpenSSL connection), or a binary file (``read`` and ``write``: a pipe, a serial port).
"""

from __future__ import annotations

import errno
import io
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ref

from ..decoder import Decoder
from .channel import NEVER, RECEIVE_ADVICE, SEND_ADVICE, joined, skip
from .checks import check_is_stream, is_plain, refuse
from .turn import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..buffer import Buffer
    from ..framer import Framer

M = TypeVar("M")
R = TypeVar("R")

# The most to take from the system in one call.
_RECEIVE_SIZE = 256 * 1024
# How far to look ahead for a delimiter: most lines are shorter than the first, and a long
# message doubles it up to the second.
_PEEK_SIZES = 4 * 1024, 64 * 1024
_MSG_PEEK: int | None = getattr(socket, "MSG_PEEK", None)
_OWNED = (
    ValueError,
    "this socket belongs to a MessageSocket, which may have received messages ahead: use that"
    " object for all messages, or call its detach() first",
)


class Beside:
    """The state of one stream, in both directions.

    Attributes:
        receiving: The turn of calls that receive.
        sending: The turn of calls that send.
        is_plain: Whether the methods are those of a plain socket.
        decoder: Of a message that was received in part, or holding bytes behind one.
        is_inside: Whether the decoder has begun to read a message.
        offset: Where the next message starts in the stream, if there is no decoder.
    """

    def __init__(self, stream: Any) -> None:
        self.receiving: Turn = Turn(RECEIVE_ADVICE)
        self.sending: Turn = Turn(SEND_ADVICE)
        self.decoder: Decoder[Any] | None = None
        self.is_inside: bool = False
        self.offset: int = 0
        self.is_plain: bool = is_plain(stream)
        self._receive, self._send = _ways(stream, self.is_plain)
        self.reference: ref[Any] | None = None  # it removes this when the stream is gone

    def send(self, stream: Any, parts: Sequence[Buffer]) -> None:
        """Send all of *parts*; for whoever has the turn."""
        self._send(stream, joined(parts), self.sending)

    def receive(self, stream: Any, framer: Framer[M]) -> M:
        """Receive one message; for whoever has the turn."""
        turn, decoder = self.receiving, self._decoder_for(framer)
        while True:
            turn.is_moving = True  # a message that is taken must not get lost
            try:
                message = decoder.next_message()
            except Exception as error:
                self._settle(decoder, is_over=getattr(error, "recoverable", False))
                turn.is_moving = False
                raise
            self._settle(decoder, is_over=message is not None)
            if message is not None:
                return message
            turn.is_moving = False
            self.decoder = decoder
            self._receive(stream, decoder, turn)

    def lend_decoder(self, framer: Framer[M], function: Callable[[Decoder[M]], R]) -> R:
        """Return ``function(decoder)``, which receives; for whoever has the turn."""
        self.decoder = decoder = self._decoder_for(framer)
        try:
            return function(decoder)
        finally:
            self._settle(decoder, is_over=decoder.rest > 0)

    def keep(self, framer: Framer[Any], data: bytes) -> None:
        """Keep *data*, the first bytes of a message in the format of *framer*."""
        self._decoder_for(framer).feed(data)
        self.is_inside = True

    def _decoder_for(self, framer: Framer[M]) -> Decoder[M]:
        """Return the decoder of the message that is next, or was received in part."""
        decoder = self.decoder
        if decoder is None:
            self.decoder = decoder = Decoder(framer)
            decoder.skip(self.offset)
            return decoder
        if decoder.framer is framer or decoder.framer == framer or decoder.has_failed:
            return decoder
        if self.is_inside:
            raise ValueError(
                f"a message in {decoder.framer!r} was received in part:"
                f" receive the rest of it before one in {framer!r}"
            )
        return decoder.switch(framer)

    def claim(self, framer: Framer[M]) -> Decoder[M]:
        """Return the decoder, for a ``MessageSocket`` that owns the stream from now on.

        Raises:
            ValueError: The stream has an owner already, or a message was received in part in
                another format.
            ConnectionError: A call was interrupted where that may cost bytes.
        """
        return self.receiving.run(NEVER, self.sending.run, NEVER, self._claim, framer)

    def _claim(self, framer: Framer[M]) -> Decoder[M]:
        decoder = self._decoder_for(framer)
        self.decoder = None
        self.receiving.refusal = self.sending.refusal = _OWNED
        return decoder

    def disown(self, offset: int) -> None:
        """Let the functions use the stream again, whose next message starts at *offset*."""
        self.offset = offset
        for turn in (self.receiving, self.sending):
            turn.refusal = None
            turn.give()

    def _settle(self, decoder: Decoder[Any], *, is_over: bool) -> None:
        """Note whether a message is over, and keep the decoder only if something is in it."""
        self.is_inside = not (is_over or decoder.is_idle)
        if decoder.is_idle:
            self.decoder, self.offset = None, decoder.offset


# The ways to receive and to send


def _ways(stream: Any, is_plain: bool) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return how to receive from *stream* and how to send to it, once it is known what it is.

    Raises:
        TypeError: It is not a stream of bytes.
        ValueError: It carries datagrams.
    """
    if is_plain or (hasattr(stream, "recv") and hasattr(stream, "sendall")):
        check_is_stream(stream)
        return (_receive_plain, _send_plain) if is_plain else (_receive_any, _send_any)
    if isinstance(stream, io.TextIOBase):
        raise TypeError(
            f"expected a binary file, not {type(stream).__name__}, which is for text:"
            " use its .buffer, as in sys.stdin.buffer"
        )
    is_file = hasattr(stream, "read") or hasattr(stream, "write")
    if not is_file or type(stream).__name__ in {"StreamReader", "StreamWriter"}:
        raise refuse(stream, "a socket or a binary file")
    return _receive_file, _send_file


def _receive_plain(sock: socket.socket, decoder: Decoder[Any], _turn: Turn) -> None:
    size = decoder.bytes_needed
    if decoder.delimiter is not None and _MSG_PEEK is not None:
        least, most = _PEEK_SIZES
        ahead = sock.recv(min(max(least, decoder.bytes_buffered), most), _MSG_PEEK)
        size = decoder.reach(ahead)
    if not decoder.feed_from(sock.recv, min(size, _RECEIVE_SIZE)):
        decoder.feed_eof()


def _receive_any(sock: Any, decoder: Decoder[Any], turn: Turn) -> None:
    _feed(decoder, turn.move(sock.recv, min(decoder.bytes_needed, _RECEIVE_SIZE)))


def _receive_file(file: Any, decoder: Decoder[Any], turn: Turn) -> None:
    size = min(decoder.bytes_needed, _RECEIVE_SIZE)
    if decoder.delimiter is not None and hasattr(file, "peek") and (ahead := file.peek(1)):
        size = decoder.reach(ahead[:_RECEIVE_SIZE])
    data = turn.move(getattr(file, "read1", file.read), size)
    if not data:
        turn.is_moving = False
    if data is None:
        raise BlockingIOError(errno.EWOULDBLOCK, "no bytes have come yet")
    if not data and getattr(file, "timeout", None) is not None:  # a serial port's
        raise TimeoutError("timed out: the peer has not sent enough")
    _feed(decoder, data)


def _feed(decoder: Decoder[Any], data: bytes) -> None:
    if data:
        decoder.feed(data)
    else:
        decoder.feed_eof()


def _send_plain(sock: socket.socket, parts: Sequence[Buffer], turn: Turn) -> None:
    if len(parts) == 1:
        sent = turn.move(sock.send, parts[0])
    else:
        sent = turn.move(sock.sendmsg, parts)
    for rest in skip(parts, sent):  # if this raises, the turn stays in doubt
        sock.sendall(rest)


def _send_any(sock: Any, parts: Sequence[Buffer], turn: Turn) -> None:
    turn.is_moving = True
    for part in skip(parts, 0):
        sock.sendall(part)


def _send_file(file: Any, parts: Sequence[Buffer], turn: Turn) -> None:
    turn.is_moving = True
    for part in skip(parts, 0):
        view = part
        while view:
            count = file.write(view)
            if count is None:
                raise BlockingIOError(errno.EWOULDBLOCK, "the file takes no more bytes")
            view = view[count:]
    if hasattr(file, "flush"):
        file.flush()


# By the identity of the object.  That is free for another one only when the first is gone, and
# its state with it.  (A WeakKeyDictionary takes ten times as long.)
kept: dict[int, Beside] = {}


def beside(stream: Any) -> Beside:
    """Return the state of *stream*, a new one if it has none."""
    state = kept.get(id(stream))
    if state is not None:
        return state
    state = Beside(stream)
    key = id(stream)
    try:
        # Of C alone, since an exception out of a signal handler would be lost in there, and the
        # state would stay.  (The reference is pop's default.)
        state.reference = ref(stream, partial(kept.pop, key))
    except TypeError:
        raise TypeError(
            f"a {type(stream).__name__} cannot be weakly referenced, so nothing can be kept"
            " beside it: feed a decoder, as in framer.decoder().feed(data)"
        ) from None
    return kept.setdefault(key, state)

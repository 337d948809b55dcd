"""A decoder that a socket feeds: what a reader of sockets needs beyond bytes in, messages out.

Bytes are received straight into it, so that a signal between two steps of the reader loses
none of them.  It tells what it waits for, hands its messages to whoever comes first, and passes
the rest of the stream on to the decoder of another format.
"""

from __future__ import annotations

from operator import length_hint
from typing import TYPE_CHECKING, Any, TypeVar

from .body import Body
from .buffer import LARGE_PIECE, StreamBuffer, size_of
from .decoder import NO_BATCH, NONE_READY, Decoder
from .framer import check_is_framer
from .requests import ReadExactly, ReadUntil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .framer import Framer
    from .header_body import Head

__all__: list[str] = []

M = TypeVar("M")
N = TypeVar("N")

# How many bytes to decode at once when beginning to, after messages were read one by one.
_FIRST_WINDOW = 512
# How much of a body to receive at once: the most that one call of recv() was seen to give.
_BODY_PIECE = 256 * 1024


class StreamDecoder(Decoder[M]):
    """The messages in what a socket receives.

    Args:
        framer: The format of the messages.
        stepwise: Whether to decode one message at a time, at least at first.
        offset: Where the first message starts in the stream, in bytes.
    """

    __slots__ = ("_body", "_is_narrow")

    def __init__(self, framer: Framer[M], *, stepwise: bool, offset: int = 0) -> None:
        check_is_framer(framer)
        super().__init__(framer)
        self._buffer.base = offset
        self._is_narrow = stepwise and self._window > 0
        if stepwise:
            self._window = 0
        self._body: Body | None = None  # what comes before the next message, if anything

    # Bytes come in

    def feed_from(self, receive: Callable[[int, int], bytes], size: int, flags: int = 0) -> int:
        """Feed what ``receive(size, flags)`` returns, and return how many bytes that was.

        No signal comes between the two if *receive* is a C function.
        """
        return self._buffer.feed_from(receive, size, flags)

    def read_batch_from(self, receive: Callable[[int, int], bytes], size: int) -> bool:
        """Make the messages ready that one call of *receive* returns, if it returns whole ones.

        This is the usual case where programs wait for each other, and takes half the time of
        the general one.  Otherwise false: what came is kept, and decode() goes on with it.
        """
        buffer = self._buffer
        if (
            self._steps is not None
            or buffer.start != len(buffer.block)
            or length_hint(self._ready)
            or buffer.held.tell()
            or buffer.taken is not None
            or self._ended
            or self._failure is not None
            or not self._window
            or self._body is not None
        ):
            return False
        # What was handed out is not held on to while receive() waits.
        self._batch, self._single, buffer.block, buffer.start, buffer.cursor, buffer.base = (
            NO_BATCH,
            None,
            b"",
            0,
            0,
            buffer.base + buffer.start,
        )
        (buffer.block,) = map(receive, (size,), (0,))  # in one step: see StreamBuffer.feed_from
        try:
            return self._read_batch()
        except ValueError:
            return False  # decode() comes to the same, and raises it in its turn

    # Messages go out

    def take(self) -> M | None:
        """Return the next of the messages that are decoded, or ``None`` if none is.

        Threads may take at the same time, and while one decodes: from the look at what is
        ready to the return, nothing here lets another thread or a signal handler run.
        """
        for message in self._ready:
            # Keep nothing of a single one.  (Not by an if: Python 3.10 runs handlers at jumps.)
            self._ready = (self._ready, NONE_READY)[self._single is not None]
            self._single = None
            return message
        return None

    @property
    def ready(self) -> Iterator[M] | None:
        """What messages are decoded and not taken, if any: taking from it takes them."""
        return self._ready if length_hint(self._ready) else None

    @property
    def is_at_end(self) -> bool:
        """Whether the stream has ended, between messages, and all were taken."""
        return self._ended and self.is_idle

    def take_into(self: StreamDecoder[bytes], view: memoryview) -> int | None:
        """Take a message of bytes into *view*, and return its size; ``None`` if none is ready.

        One that is larger than *view* stays where it was.
        """
        for message in self._ready:
            if len(message) > len(view):
                self._ready = iter([message, *self._ready])
                return len(message)
            view[: len(message)] = message
            if self._single is not None:
                self._ready, self._single = NONE_READY, None
            return len(message)
        return None

    def decode(self) -> bool:
        """Make messages ready to be taken, and return whether there are any.

        Raises:
            EndOfStreamError: The stream has ended, and all its messages were taken.
            DecodeError: The next bytes break the format.
            IncompleteMessageError: The stream has ended inside a message.
        """
        if length_hint(self._ready):
            return True
        if self._buffer.is_empty and not self._ended and self._failure is None:
            # These hold on to what was handed out.
            self._ready, self._batch, self._single = NONE_READY, NO_BATCH, None
            self._buffer.drop_finished()
            return False
        if self._is_narrow:
            self._widen()
        if self._advance() is not None:
            return True
        self._check_end()
        return False

    # What it holds and waits for

    @property
    def offset(self) -> int:
        """Where the next message starts in the stream, in bytes, if none is ready."""
        return self._buffer.offset

    @property
    def is_idle(self) -> bool:
        """Whether the decoder holds no message and no part of one, and has not failed."""
        return (
            self._buffer.is_empty
            and not length_hint(self._ready)
            and self._failure is None
            and self._body is None
        )

    @property
    def is_skipping(self) -> bool:
        """Whether nothing but a body is before the next message, of which nothing has come."""
        return self._body is not None and self._buffer.is_empty

    @property
    def is_inside(self) -> bool:
        """Whether a part of a message was decoded, or a whole one and not taken."""
        return self._steps is not None or length_hint(self._ready) > 0

    @property
    def bytes_held(self) -> int:
        """How many bytes there are that belong to no message decoded yet."""
        return self._buffer.size

    # These are for a decoder that has just found no message.

    @property
    def delimiter(self) -> ReadUntil | None:
        """The delimiter that it waits for, unless it waits for a number of bytes."""
        return self._request if isinstance(self._request, ReadUntil) else None

    @property
    def bytes_waited_for(self) -> int:
        """``bytes_needed``, without looking whether that has come; 1 where it is not known."""
        if self._body is not None:
            return self._body.left or 1
        return self._request._missing(self._buffer) if self._steps is not None else 1

    def bytes_up_to(self, delimiter: ReadUntil, ahead: bytes) -> int:
        """Return how many of the bytes *ahead*, which come next, are up to *delimiter*'s end."""
        return delimiter._span(self._buffer, ahead)

    def room(self, ahead: int, most: int) -> int:
        """Return how many bytes to receive at once.

        *ahead*, to find many messages in them; but of a large piece of a message no more than
        is missing, so that nothing follows it and it is handed over as it lies there, and no
        more than *most*.
        """
        request = self._request
        if self._steps is None or not isinstance(request, ReadExactly):
            return ahead
        return min(request._missing(self._buffer), most) if request.size >= LARGE_PIECE else ahead

    # The last piece of a message may be received elsewhere

    @property
    def last_piece(self) -> int | None:
        """The size of the piece that ends the current message, if that is what it waits for."""
        request = self._request
        if self._steps is None or not isinstance(request, ReadExactly) or not request.last:
            return None
        return request.size

    def copy_last_piece(self, into: memoryview) -> int:
        """Copy what is there of that piece, and return how many bytes that was."""
        return self._buffer.copy_rest(into)

    def skip_message(self, elsewhere: int) -> None:
        """Forget the current message, whose last *elsewhere* bytes were received elsewhere."""
        self._steps, self._look_again_at, self._buffer = (
            None,
            0,
            StreamBuffer(self._buffer.offset + self._buffer.size + elsewhere),
        )

    # A body may follow a message, and be received past the decoder, or skipped

    def take_head(self: StreamDecoder[Head]) -> tuple[dict[str, Any], int]:
        """Take the one message that is ready, and expect its body.

        What nobody receives of that is skipped before the next message is read.

        Returns:
            The header, and the offset of the message in the stream.
        """
        taken, _, start, end = self._single or (None, b"", 0, 0)
        offset = self._buffer.offset - size_of(taken) - end + start
        body = Body(self._buffer.offset - offset)
        # One assignment, as ever: the head is there until its body is expected.
        ((header, body.size),), self._ready, self._single, self._body = (
            self._ready,
            NONE_READY,
            None,
            body,
        )
        return header, offset

    def receive_body(
        self, receive_into: Callable[[memoryview, list[int]], None]
    ) -> Iterator[memoryview]:
        """Yield the body in pieces, in constant memory.

        Args:
            receive_into: Receives bytes into a view, and appends how many to a list.

        Yields:
            The next piece, which is valid until the one after it is asked for.

        Raises:
            IncompleteMessageError: The stream has ended inside the body.
            OSError: As *receive_into* raised it.
            RuntimeError: Another call received a part of it.
        """
        body = self._body
        if body is None:
            return
        missing = body.left
        if ahead := self._take_of(body):
            missing -= len(ahead)
            yield memoryview(ahead)
        buffer = memoryview(bytearray(min(missing, _BODY_PIECE)))
        while missing:
            if body.left != missing:
                raise RuntimeError("another call has received a part of the body meanwhile")
            body.fold()
            receive_into(buffer[:missing], body.counts)
            count = body.counts[-1]
            if not count:
                self.feed_eof()
                raise body.incomplete()
            missing -= count
            yield buffer[:count]

    def unread(self) -> bytes:
        """Take back every byte that belongs to no message taken so far, nor to a body."""
        if self._body is not None:
            self._take_of(self._body)
        return super().unread()

    def _advance(self) -> Iterator[M] | None:
        if self._body is not None and not self._skip(self._body):
            return None
        return super()._advance()

    def _skip(self, body: Body) -> bool:
        """Let go of what has come of *body*, and return whether that was all of it."""
        self._take_of(body)
        if body.left:
            if self._ended:
                raise body.incomplete()
            return False
        # What was received past the decoder counts in the offsets of what follows.
        self._body, self._buffer.base = None, self._buffer.base + sum(body.counts)
        return True

    def _take_of(self, body: Body) -> bytes:
        """Return what has come of *body*, and forget it here."""
        buffer = self._buffer
        buffer.rewind()
        data = buffer.read_exactly(min(body.left, buffer.size)) or b""
        size = len(data)
        buffer.start, body.size, body.read = buffer.cursor, body.size - size, body.read + size
        return data

    # Another format goes on with the stream

    def continued_by(self, framer: Framer[N], *, stepwise: bool) -> StreamDecoder[N]:
        """Return a decoder for the rest of the stream, from the first message not taken on.

        Whoever keeps it lets go of this one in the same step: they have one buffer, so that an
        exception out of a signal handler before that step loses nothing.
        """
        other = StreamDecoder(framer, stepwise=stepwise)
        buffer = self._buffer
        if self.ready is not None:
            buffer.feed(self.unread())
        else:
            self._steps, self._look_again_at = None, 0
            buffer.rewind()
        other._ended, other._body, other._buffer = self._ended, self._body, buffer
        return other

    def _widen(self) -> None:
        """Decode more at once from now on, after one message at a time.

        The window doubles, so decoding ahead in vain never costs more than what was not.
        """
        most = self._framer._window()
        self._window = min(max(_FIRST_WINDOW, 2 * self._window), most)
        self._is_narrow = self._window < most

r"""The decoder that all wire formats share: the state of one incoming stream.

It owns what does not depend on the format: the bytes, the message that is partly read, the end
of the stream, the failure, and the way back to bytes that nobody took as messages.  Reading is
left to the framer, in two ways:

- ``read_message``, a generator that reads one message.  Where bytes are missing it is suspended,
  and goes on when they have come.
- ``read_batch``, where a format has it, reads all messages of a block at once.  They are handed
  out by an iterator of C, so that a ``for`` loop runs at its speed; how far that has come is
  only worked out when somebody asks, by reading the block again the other way.

Whatever was read part of the way can be read again from the message's first byte, so neither an
exception out of a signal handler nor a change from one way to the other loses anything.
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import chain
from operator import length_hint
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .buffer import LARGE_PIECE, StreamBuffer, join
from .errors import (
    DecodeError,
    EndOfStreamError,
    FramingError,
    IncompleteMessageError,
    fresh_copy,
)
from .requests import ReadExactly, ReadUntil

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .buffer import Buffer, Pieces
    from .framer import Framer
    from .requests import Steps

__all__ = ["Decoder"]

M = TypeVar("M")

NONE_READY: Iterator[Any] = iter(())
NO_BATCH = b"", 0, 0


class Decoder(Generic[M]):
    r"""The messages in one incoming stream, however the stream is cut into chunks.

    Args:
        framer: The format of the messages.

    >>> from framing import LengthPrefixFramer
    >>> decoder = LengthPrefixFramer().decoder()
    >>> list(decoder.feed(b"\0\0\0\5he"))
    []
    >>> list(decoder.feed(b"llo\0\0\0\2hi\0"))
    [b'hello', b'hi']
    >>> decoder.bytes_needed  # of the next length field
    3

    A decoder serves one thread at a time.  An exception out of a signal handler, such as
    ``KeyboardInterrupt``, loses no message and no byte that was fed, unless it hits ``unread``.
    """

    # Where a message is read part of the way, _steps is its suspended read_message(), and
    # _request what that waits for.  _steps is out of the decoder while it runs, so that a
    # message whose reading was interrupted is read again from its first byte.
    __slots__ = (
        "__weakref__",
        "_batch",
        "_buffer",
        "_ended",
        "_failure",
        "_framer",
        "_look_again_at",
        "_ready",
        "_request",
        "_restart_at",
        "_single",
        "_steps",
        "_window",
    )

    def __init__(self, framer: Framer[M]) -> None:
        self._framer = framer
        self._window = framer._window()  # how much the fast path gets at once; 0 for none
        self._buffer = StreamBuffer()
        self._ready: Iterator[M] = NONE_READY
        # The bytes that _ready came from, as read at once or as one message: see unread().
        self._batch = NO_BATCH
        self._single: tuple[Pieces, bytes, int, int] | None = None
        self._steps: Steps[M] | None = None
        self._request: ReadExactly | ReadUntil = ReadExactly(0)
        self._look_again_at = 0  # the number of bytes below which that is useless
        self._restart_at = 0  # and above which to begin the message anew
        self._failure: DecodeError | None = None
        self._ended = False

    @property
    def framer(self) -> Framer[M]:
        """The format of the messages."""
        return self._framer

    def feed(self, data: Buffer) -> Decoder[M]:
        """Keep the next bytes of the stream, and return the decoder itself.

        Nothing is decoded yet: what the bytes hold, good or bad, shows when messages are
        taken.  After a :class:`DecodeError` they are ignored.

        Args:
            data: Any number of bytes, cut anywhere; copied, so the caller may reuse it.

        Raises:
            ValueError: :meth:`feed_eof` was called before.
        """
        if self._ended:
            raise ValueError("feed() after feed_eof(): use a new decoder for a new stream")
        if self._failure is None:
            try:
                self._buffer.feed(data)
            except (BufferError, TypeError):  # a view with gaps, or no bytes at all
                self._buffer.feed(memoryview(data).tobytes())
        return self

    def feed_eof(self) -> None:
        """Tell that the stream has ended; a second time changes nothing."""
        self._ended = True

    def __iter__(self) -> Iterator[M]:
        """Yield the complete messages in order, until more bytes are needed.

        Leaving the loop early loses nothing, and feeding within it works.

        Raises:
            DecodeError: The next bytes break the format.
            IncompleteMessageError: The stream has ended inside a message.
        """
        return chain.from_iterable(iter(self._advance, None))

    def next_message(self) -> M | None:
        """Return the next message, or ``None`` when more bytes are needed.

        Raises:
            EndOfStreamError: The stream has ended, and all its messages were taken.
            DecodeError: The next bytes break the format.
            IncompleteMessageError: The stream has ended inside a message.
        """
        ready = self._advance()
        if ready is not None and self._single is not None:
            # One assignment, which hands a single message out and keeps nothing of it.
            (message,), self._ready, self._single = ready, NONE_READY, None
            return message
        for message in ready or ():
            return message
        self._check_end()
        return None

    @property
    def bytes_needed(self) -> int:
        """How many bytes can be read without reading past the end of the current message.

        0 when :meth:`next_message` would return a message or raise, else at least 1.
        """
        if self._steps is None:
            self._look_again_at = 0  # go by what read_message() says, not by the fast path's guess
        try:
            if self._advance() is not None or self._ended:
                return 0
        except FramingError:
            return 0
        return self._request._missing(self._buffer)

    def unread(self) -> bytes:
        """Take back every byte that belongs to no message taken so far.

        They start at the next message, or at the one that broke the format.  The decoder is
        then as if they had not been fed, except that a failure stays.
        """
        self._steps, self._look_again_at = None, 0
        left = len(list(self._ready))  # in one step, beside which no thread takes any
        return self._buffer.clear(self._wire_of_last(left) if left else b"")

    # Reading

    def _advance(self) -> Iterator[M] | None:
        """Return the messages that are ready, at least one; ``None`` where none can be."""
        if length_hint(self._ready):  # not exhausted: see Framer.read_batch
            return self._ready
        if self._failure is not None:
            raise fresh_copy(self._failure)
        if self._buffer.size < self._look_again_at and not self._ended:
            # These hold on to what was handed out.
            self._ready, self._batch, self._single = NONE_READY, NO_BATCH, None
            self._buffer.drop_finished()
            return None
        try:
            return self._read()
        except DecodeError as error:
            self._fail(error)
            raise
        except ValueError as error:
            failure = DecodeError(str(error))
            self._fail(failure)
            raise failure from error

    def _read(self) -> Iterator[M] | None:
        buffer = self._buffer
        if self._ended and not buffer.size:
            return None
        steps, self._steps = self._steps, None
        request = self._request
        try:
            if steps is None or self._may_restart():
                if self._read_batch():
                    return self._ready
                buffer.rewind()
                steps = self._framer.read_message()
                request = next(steps)
            while (data := request._take(buffer, self._ended)) is not None:
                request = steps.send(data)
        except StopIteration as end:
            return self._finish(end.value)
        except (AttributeError, TypeError):
            _check_steps(self._framer, steps, request)
            raise
        self._wait(steps, request)
        return None

    def _may_restart(self) -> bool:
        """Return whether to begin the message anew, for the fast path to read it and more.

        If the bytes have doubled since it was left, many messages may have come behind it, and
        beginning anew still takes linear time.  What lies in pieces is not moved again for it.
        """
        if not self._window or self._buffer.taken is not None:
            return False
        return self._buffer.size >= self._restart_at

    def _read_batch(self) -> bool:
        """Make the messages ready that the framer's fast path reads, if any."""
        buffer = self._buffer
        if buffer.start == len(buffer.block) or buffer.taken is not None:
            buffer.rewind()
        block, start = buffer.block, buffer.start
        stop = min(len(block), start + self._window)
        if start == stop:
            return False
        messages, end, enough = self._framer.read_batch(block, start, stop)
        if end == start:
            return False
        # One assignment: an interruption never finds messages both taken and still there.
        self._ready, self._single, self._batch, self._look_again_at, buffer.start = (
            messages,
            None,
            (block, start, end),
            enough if enough < LARGE_PIECE else 0,
            end,
        )
        return True

    def _finish(self, message: M) -> Iterator[M]:
        """Make the one *message* ready that has been read up to the buffer's cursor."""
        buffer = self._buffer
        if not buffer.read:
            raise RuntimeError(f"{self._framer!r} read a message without reading a byte")
        if message is None:
            raise RuntimeError(f"{self._framer!r} read None, which stands for no message yet")
        self._ready, self._single, self._look_again_at, buffer.start, buffer.taken = (
            iter((message,)),
            (buffer.taken, buffer.block, buffer.start, buffer.cursor),
            0,
            buffer.cursor,
            None,
        )
        if buffer.start == len(buffer.block):
            buffer.drop_finished()
        return self._ready

    def _wait(self, steps: Steps[M], request: ReadExactly | ReadUntil) -> None:
        """Keep the place in a message whose rest has not come."""
        buffer = self._buffer
        size = buffer.size
        if self._ended:
            expected = request._wire_size(buffer)
            raise IncompleteMessageError(
                f"the stream ended after {size} bytes of a message"
                + (f" of {expected}" if expected is not None else ""),
                received=size,
                expected=expected,
            )
        self._ready, self._batch, self._single = NONE_READY, NO_BATCH, None
        self._look_again_at, self._restart_at, self._request, self._steps = (
            size + request._missing_at_least(buffer),
            2 * size,
            request,
            steps,
        )

    def _fail(self, error: DecodeError) -> None:
        """Finish the decoder: *error*, which the caller raises, is all that comes from it now."""
        self._buffer.rewind()
        error.offset = self._buffer.offset
        self._failure = fresh_copy(error)

    def _check_end(self) -> None:
        """Raise an error if the stream has ended, where there are no more messages in it."""
        if self._ended:
            raise EndOfStreamError("the stream has ended, and there are no more messages")

    # Finding out, when somebody asks, how far a batch has been taken

    def _wire_of_last(self, count: int) -> bytes:
        """Return the bytes that the last *count* of the messages made ready came from."""
        if self._single is not None:
            taken, block, start, end = self._single
            return join(taken) + block[start:end]
        block, start, end = self._batch
        replay = Decoder(self._framer)
        replay._window = 0  # one by one
        places = [start, *(start + replay._buffer.offset for _ in replay.feed(block[start:end]))]
        return block[places[-1 - count] : end]


def _check_steps(framer: Framer[Any], steps: object, request: object) -> None:
    """Raise the ``TypeError`` that tells a framer's author what ``read_message`` has to do."""
    if steps is not None and not isinstance(steps, Generator):
        raise TypeError(
            f"{framer!r}.read_message() is no generator, but returned {type(steps).__name__}:"
            " it has to ask for bytes, with yield"
        ) from None
    if not isinstance(request, (ReadExactly, ReadUntil)):
        raise TypeError(
            f"{framer!r}.read_message() asked for {request!r}: expected it to yield"
            " ReadExactly or ReadUntil"
        ) from None

r"""What a wire format is, and the decoder that all of them share.

A **framer** says how one message looks on the wire; a **decoder** reads a stream of them.
To write a format of your own, derive from :class:`Framer` and write two methods, one a
direction.  Netstrings (``5:hello,``), whole::

    class NetstringFramer(Framer[bytes]):
        def __init__(self, *, max_size: int = 1024 * 1024) -> None:
            super().__init__(max_size=max_size)

        def encode_parts(self, message: bytes) -> list[bytes]:
            if len(message) > self.max_size:
                raise EncodeError(f"{len(message)} bytes are more than max_size={self.max_size}")
            return [b"%d:" % len(message), message, b","]

        def read_message(self) -> Steps[bytes]:
            digits = yield ReadUntil(b":", limit=len(str(self.max_size)))
            if not digits.isdigit() or digits != b"%d" % int(digits):
                raise DecodeError(f"expected a decimal length, not {digits!r}")
            size = self.check_size(int(digits))
            payload = yield ReadExactly(size + 1, last=True)
            if payload[-1:] != b",":
                raise DecodeError(f"expected a comma after the payload, not {payload[-1:]!r}")
            return payload[:-1]

``read_message`` is a generator that reads one message.  It asks for bytes, is given them once
all have come, and never sees how the stream was cut.  Buffering, the end of the stream, the
offset in errors, ``unread`` and ``bytes_needed`` are the decoder's work, and hold for every
format alike.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from itertools import chain
from operator import length_hint
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union

from .buffer import LARGE_PIECE, StreamBuffer, first_of, join
from .errors import (
    DecodeError,
    EncodeError,
    EndOfStreamError,
    FramingError,
    IncompleteMessageError,
    MessageTooLargeError,
    fresh_copy,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from .buffer import Pieces

if sys.version_info >= (3, 12):
    from collections.abc import Buffer
else:
    Buffer = Union[bytes, bytearray, memoryview]

__all__ = ["Buffer", "Decoder", "Framer", "ReadExactly", "ReadUntil", "Steps"]

M = TypeVar("M")

_NONE_READY: Iterator[Any] = iter(())
_NO_BATCH = b"", 0, 0

# How much of the stream is decoded ahead at once.  A message of a few bytes takes ten times
# as much room as an object, so this bounds what decoding ahead can hold; more is no faster.
BATCH_SIZE = 128 * 1024


class ReadExactly:
    """What ``read_message`` yields to be given the next *size* bytes.

    Args:
        size: How many, 0 or more.
        last: Whether the message ends with them.  An :class:`IncompleteMessageError` can then
            tell how many bytes the message should have had.

    Raises:
        ValueError: *size* is negative.
    """

    __slots__ = ("last", "size")

    def __init__(self, size: int, *, last: bool = False) -> None:
        if size < 0:
            raise ValueError(f"expected a size of 0 or more, not {size}")
        self.size = size
        self.last = last

    def __repr__(self) -> str:
        return f"ReadExactly({self.size}, last={self.last})"

    def _take(self, buffer: StreamBuffer, _ended: bool) -> bytes | None:
        return buffer.read_exactly(self.size)

    def _missing(self, buffer: StreamBuffer) -> int:
        return self.size - buffer.available

    def _missing_at_least(self, buffer: StreamBuffer) -> int:
        return self._missing(buffer)

    def _wire_size(self, buffer: StreamBuffer) -> int | None:
        return buffer.read + self.size if self.last else None

    def _span(self, buffer: StreamBuffer, ahead: bytes) -> int:
        return min(len(ahead), self._missing(buffer))


class ReadUntil:
    r"""What ``read_message`` yields to be given the bytes before a delimiter.

    The delimiter is read as well, but not given.  Of several delimiters the first to be
    complete counts, and of two that are complete at once, such as ``b"\n"`` and ``b"\r\n"``,
    the longer.

    Args:
        delimiters: One or more, not empty.
        limit: The largest number of bytes before the delimiter.  More of them are a
            :class:`MessageTooLargeError`, raised as soon as the bytes cannot lead to less.
        limit_name: What the user sets to change the limit, for the error's text.
        or_end: Whether the end of the stream serves as a delimiter too.
    """

    __slots__ = ("_longest", "delimiters", "limit", "limit_name", "or_end")

    def __init__(
        self, *delimiters: bytes, limit: int, limit_name: str = "", or_end: bool = False
    ) -> None:
        if not delimiters or not all(delimiters):
            raise ValueError(f"expected at least one delimiter, none of them empty: {delimiters}")
        self.delimiters = delimiters
        self._longest = max(map(len, delimiters))
        self.limit = limit
        self.limit_name = limit_name
        self.or_end = or_end

    def __repr__(self) -> str:
        delimiters = ", ".join(map(repr, self.delimiters))
        return f"ReadUntil({delimiters}, limit={self.limit}, or_end={self.or_end})"

    def _take(self, buffer: StreamBuffer, ended: bool) -> bytes | None:
        data = buffer.read_until(self.delimiters, self._longest, self.limit)
        if data is not None:
            return data
        at_end = ended and self.or_end
        if buffer.available > self.limit:
            last = b"" if at_end else self._last(buffer)
            begun = max(overlap(last, each) for each in self.delimiters)
            if buffer.available - begun > self.limit:
                raise self._too_large()
        return buffer.read_rest() if at_end else None

    def _missing(self, buffer: StreamBuffer) -> int:
        last = self._last(buffer)
        return min(len(each) - overlap(last, each) for each in self.delimiters)

    def _missing_at_least(self, _buffer: StreamBuffer) -> int:
        return 1

    def _wire_size(self, _buffer: StreamBuffer) -> None:
        return None

    def _span(self, buffer: StreamBuffer, ahead: bytes) -> int:
        last = self._last(buffer)
        found = first_of(self.delimiters, last + ahead, 0, len(last + ahead))
        return len(ahead) if found is None else sum(found) - len(last)

    def _last(self, buffer: StreamBuffer) -> bytes:
        """Return the last bytes that are there, as many as may be a delimiter's beginning."""
        return buffer.peek_last(self._longest - 1)

    def _too_large(self) -> MessageTooLargeError:
        expected = " or ".join(map(repr, self.delimiters))
        name = f" ({self.limit_name}={self.limit})" if self.limit_name else ""
        return MessageTooLargeError(
            f"expected {expected} after at most {self.limit} bytes{name}, and more have come",
            limit=self.limit,
        )


def overlap(data: bytes, delimiter: bytes) -> int:
    """Return the size of the longest suffix of *data* that is a proper prefix of *delimiter*."""
    for size in range(min(len(data), len(delimiter) - 1), 0, -1):
        if data.endswith(delimiter[:size]):
            return size
    return 0


Steps = Generator[Union[ReadExactly, ReadUntil], bytes, M]
"""The type of ``read_message``: yields requests, is sent bytes, returns the message."""


class Framer(ABC, Generic[M]):
    """A wire format: how messages of type ``M`` look in a stream of bytes.

    A framer is an immutable value.  It equals another of the same class and options, can be
    hashed, pickled and shared between threads and connections.  Its public attributes are
    the options it was made with.

    Args:
        max_size: The largest payload, in bytes, sent or received.
        options: What else tells this framer from others of its class, to be kept as
            attributes.  A name that begins with an underscore is kept, but not compared.

    Raises:
        ValueError: *max_size* is negative.
    """

    max_size: int

    def __init__(self, *, max_size: int, **options: object) -> None:
        check_limit("max_size", max_size)
        vars(self).update(options, max_size=max_size)

    # What a format defines

    @abstractmethod
    def encode_parts(self, message: M) -> Sequence[Buffer]:
        """Return the wire bytes of *message* in pieces, so that none need be copied.

        Raises:
            EncodeError: This format cannot carry *message*.
            TypeError: *message* is not of the type that this format carries.
        """

    @abstractmethod
    def read_message(self) -> Steps[M]:
        """Read one message: yield what to read, be sent the bytes, return the message.

        Raises:
            DecodeError: The bytes break the format.  (A ``ValueError``, such as a failed
                ``bytes.decode`` raises, becomes one.)
        """

    def read_batch(
        self,
        block: bytes,  # noqa: ARG002  # used by the formats that have a fast path
        start: int,
        stop: int,  # noqa: ARG002
    ) -> tuple[Iterator[M], int, int]:
        """Read whole messages from ``block[start:stop]`` at once; a fast path, and optional.

        Nothing that these bytes hold is too large: they are at most ``max_size``.

        Returns:
            The messages; where in *block* they end; and with how many bytes from there on it
            makes sense to look again, 0 if ``read_message`` has to look now.  The messages
            must be those that ``read_message`` would return: it is left any that breaks the
            format.  Their iterator's ``length_hint`` must be 0 when it is exhausted, and only
            then, as a list iterator's is.
        """
        return iter(()), start, 0

    def _window(self) -> int:
        """Return how many bytes of a stream to give to ``read_batch`` at once."""
        return min(BATCH_SIZE, self.max_size)

    # What every format then has

    def encode(self, message: M) -> bytes:
        """Return the wire bytes of *message*.

        Raises:
            EncodeError: This format cannot carry *message*.
            TypeError: *message* is not of the type that this format carries.
        """
        return b"".join(self.encode_parts(message))

    def decode(self, data: Buffer) -> M:
        """Return the one message that *data* holds, as a datagram does.

        Raises:
            IncompleteMessageError: *data* ends before the message does.
            DecodeError: *data* breaks the format, or holds more than one message.
        """
        decoder = self.decoder().feed(data)
        decoder.feed_eof()
        for message in decoder:
            rest = decoder.unread()
            if not rest:
                return message
            size = memoryview(data).nbytes - len(rest)
            raise DecodeError(
                f"expected one message and no more, but {len(rest)} bytes follow its {size}",
                offset=size,
            )
        raise IncompleteMessageError("expected one message, and there are no bytes")

    def decoder(self) -> Decoder[M]:
        """Return a new decoder, for one stream of messages in this format."""
        return Decoder(self)

    def check_size(self, size: int) -> int:
        """Return *size*, which a peer announced, if it is a payload's within ``max_size``.

        Raises:
            MessageTooLargeError: It is larger.
        """
        if size > self.max_size:
            raise MessageTooLargeError(
                f"expected a payload of at most {self.max_size} bytes (max_size), not {size}",
                size=size,
                limit=self.max_size,
            )
        return size

    # What makes it a value

    def _options(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self._options() == other._options()

    def __hash__(self) -> int:
        return hash((type(self), *self._options().values()))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options().items())
        return f"{type(self).__name__}({options})"

    def __reduce__(self) -> tuple[Callable[[], Framer[M]], tuple[()]]:
        return partial(type(self), **self._options()), ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a framer is immutable: make another {type(self).__name__}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a framer is immutable: make another {type(self).__name__}")


def check_limit(name: str, limit: int) -> int:
    """Return *limit*, which the user gave as *name*, if it is a number of bytes."""
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"{name} is a number of bytes, not {limit!r}")
    if limit < 0:
        raise ValueError(f"{name} is a number of bytes, 0 or more, not {limit}")
    return limit


def payload_view(message: Buffer, max_size: int) -> bytes | memoryview:
    """Return the bytes of *message*, one by one and not copied, if they are within *max_size*.

    Raises:
        EncodeError: They are more.
        TypeError: *message* is not made of bytes.
    """
    payload: bytes | memoryview
    if isinstance(message, bytes):
        payload = message
    else:
        try:
            view = memoryview(message)
        except TypeError:
            kind = type(message).__name__
            advice = ": encode the text first" if kind == "str" else ""
            raise TypeError(
                f"expected bytes, bytearray or memoryview, not {kind}{advice}"
            ) from None
        try:
            payload = view.cast("B")
        except TypeError:  # views with gaps, or of nothing, cannot be cast
            payload = view.tobytes()
    if len(payload) > max_size:
        raise EncodeError(
            f"expected a payload of at most {max_size} bytes (max_size), not {len(payload)}"
        )
    return payload


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
    ``KeyboardInterrupt``, loses none of the bytes that were fed.
    """

    # Where a message is read part of the way, _steps is its suspended read_message(), and
    # _request what that waits for.  _steps is out of the decoder while it runs, so that a
    # message whose reading was interrupted is read again from its first byte.
    __slots__ = (
        "__weakref__",
        "_batch",
        "_buffer",
        "_doubled",
        "_ended",
        "_enough",
        "_failure",
        "_framer",
        "_ready",
        "_request",
        "_single",
        "_steps",
        "_window",
    )

    def __init__(self, framer: Framer[M]) -> None:
        self._framer = framer
        self._window = framer._window()
        self._buffer = StreamBuffer()
        self._ready: Iterator[M] = _NONE_READY
        # The bytes that _ready came from, as read at once or as one message: see unread().
        self._batch = _NO_BATCH
        self._single: tuple[Pieces, bytes, int, int] | None = None
        self._steps: Steps[M] | None = None
        self._request: ReadExactly | ReadUntil = ReadExactly(0)
        self._enough = 0  # with fewer bytes there is nothing to do
        self._doubled = 0
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
                self._buffer.feed(data, self._steps is not None)
            except (BufferError, TypeError):  # a view with gaps, or no bytes at all
                self._buffer.feed(memoryview(data).tobytes(), self._steps is not None)
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
        for message in self._advance() or ():
            self._single = None  # a large message's bytes go with the message
            return message
        if self._ended:
            raise EndOfStreamError("the stream has ended, and there are no more messages")
        return None

    @property
    def bytes_needed(self) -> int:
        """How many bytes can be read without reading past the end of the current message.

        0 when :meth:`next_message` would return a message or raise, else at least 1.
        """
        if self._steps is None:
            self._enough = 0  # go by what read_message() says, not by the fast path's guess
        try:
            if self._advance() is not None or self._ended:
                return 0
        except FramingError:
            return 0
        return self._request._missing(self._buffer)

    def unread(self) -> bytes:
        """Take back every byte that belongs to no message taken so far.

        They start at the next message, or at the one that broke the format.  The decoder is
        then as if they had not been fed.
        """
        self._steps, self._enough = None, 0
        left = sum(1 for _ in self._ready)
        return (self._wire_of_last(left) if left else b"") + self._buffer.clear()

    # Reading

    def _advance(self) -> Iterator[M] | None:
        """Return the messages that are ready, at least one; ``None`` where none can be."""
        if length_hint(self._ready):
            return self._ready
        if self._failure is not None:
            raise fresh_copy(self._failure)
        if self._buffer.size < self._enough and not self._ended:
            self._ready, self._batch = _NONE_READY, _NO_BATCH  # these hold on to the block
            self._buffer.drop_finished()
            return None
        try:
            if self._steps is None and self._read_batch():
                return self._ready
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
                steps = self._framer.read_message()
                request = next(steps)
            while (data := request._take(buffer, self._ended)) is not None:
                request = steps.send(data)
        except StopIteration as end:
            return self._finish(end.value)
        self._wait(steps, request)
        return None

    def _may_restart(self) -> bool:
        """Return whether to begin the message anew, for the fast path to read it and more.

        If the bytes have doubled since it was left, many messages may have come behind it, and
        beginning anew still takes linear time.  What lies in pieces is not moved again for it.
        """
        return self._buffer.taken is None and self._buffer.size >= self._doubled

    def _read_batch(self) -> bool:
        """Make the messages ready that the framer's fast path reads, if any."""
        buffer = self._buffer
        buffer.rewind()
        block, start = buffer.block, buffer.start
        stop = min(len(block), start + self._window)
        if start == stop:
            return False
        messages, end, enough = self._framer.read_batch(block, start, stop)
        if end == start:
            return False
        # One assignment: an interruption never finds messages both taken and still there.
        self._ready, self._single, self._batch, self._enough, buffer.start = (
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
        self._ready, self._single, self._enough, buffer.start, buffer.taken = (
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
        (
            self._ready,
            self._batch,
            self._single,
            self._enough,
            self._doubled,
            self._request,
            self._steps,
        ) = (
            _NONE_READY,
            _NO_BATCH,
            None,
            size + request._missing_at_least(buffer),
            2 * size,
            request,
            steps,
        )

    def _fail(self, error: DecodeError) -> None:
        """Finish the decoder with *error*, which is raised now, and equal ones from now on."""
        self._buffer.rewind()
        error.offset = self._buffer.offset
        self._failure = fresh_copy(error)

    # Finding out, when somebody asks, how far a batch has been taken

    def _wire_of_last(self, count: int) -> bytes:
        """Return the bytes that the last *count* of the messages made ready came from."""
        if self._single is not None:
            taken, block, start, end = self._single
            return join(taken) + block[start:end]
        block, start, end = self._batch
        replay = StepwiseDecoder(self._framer).feed(block[start:end])
        places = [start, *(start + replay._buffer.offset for _ in replay)]
        return block[places[-1 - count] : end]


class StepwiseDecoder(Decoder[M]):
    """A decoder that reads one message at a time, for a reader that takes in no more than that.

    It gives what a :class:`Decoder` gives, without the fast path.
    """

    __slots__ = ()

    def _read_batch(self) -> bool:
        self._buffer.rewind()
        return False

    def _may_restart(self) -> bool:
        return False

    @property
    def is_idle(self) -> bool:
        """Whether the decoder holds no part of a message and has not failed."""
        return self._failure is None and not self._buffer.size and not length_hint(self._ready)

    # The rest is for a decoder whose next_message() has just returned None.

    @property
    def seeks_delimiter(self) -> bool:
        """Whether it waits for a delimiter, rather than for a number of bytes."""
        return isinstance(self._request, ReadUntil)

    @property
    def bytes_waited_for(self) -> int:
        """``bytes_needed``, without looking whether that has come."""
        return self._request._missing(self._buffer)

    @property
    def bytes_held(self) -> int:
        """How many bytes of the current message are there."""
        return self._buffer.size

    def bytes_wanted_of(self, ahead: bytes) -> int:
        """Return how many of the bytes *ahead*, which come next, are the current message's."""
        return self._request._span(self._buffer, ahead)

    def feed_from(self, receive: Callable[[int], bytes], size: int) -> int:
        """Feed what ``receive(size)`` returns, and return how many bytes that was.

        No signal comes between the two if *receive* is a C function.
        """
        return self._buffer.feed_from(receive, size)

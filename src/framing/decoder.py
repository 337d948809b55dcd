r"""The state of one incoming stream: the bytes, the message being read, the end, the errors.

One class serves everybody who has bytes: programs without a socket, ``recv_msg``,
``MessageSocket``, asyncio, files and the command line.  What comes next in the stream is found
in this order:

1. messages that are *ready*: decoded, and not taken yet;
2. the *error* that was found and not raised yet;
3. the *rest* of the last message: bytes to discard before the next message;
4. a block of whole messages, if the format has a fast path for that;
5. one message by the format's ``read_message``, and those behind it in the same block.

``read_message`` is a generator, and suspended while it waits for bytes.  It only ever reads, so a
reader can be thrown away and its message read again from the first byte.  That is what happens
after an exception out of a signal handler, and when another format takes over.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import chain
from operator import length_hint
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

from .buffer import LARGE, StreamBuffer, join
from .errors import (
    BadMessageError,
    DecodeError,
    EndOfStreamError,
    FramingError,
    IncompleteMessageError,
    MessageTooLargeError,
    fresh_copy,
    is_from_signal_handler,
)
from .requests import ReadExactly, ReadUntil, Refuse, Skip

if TYPE_CHECKING:
    from collections.abc import Callable

    from .buffer import Buffer, Pieces
    from .framer import Framer
    from .requests import Steps

M = TypeVar("M")
N = TypeVar("N")

# How much of the stream is decoded ahead at once, and how much where that may be in vain: after
# a bad message, or another format.  It doubles as long as it is not.
_WINDOW = 128 * 1024
_FIRST_WINDOW = 512
# How much is read ahead by read_message, before the fast path has its turn again.
_READ_AHEAD = 4 * 1024

_NOTHING: Iterator[Any] = iter(())


class _Reading(NamedTuple):
    """A suspended reader, what it waits for, and the list that it appends messages to."""

    steps: Generator[Any, bytes, None]
    request: Any
    messages: list[Any]


class _Rest(NamedTuple):
    """Bytes behind a message's beginning that are discarded: up to *end*, or to a delimiter.

    Both offsets count from the beginning of the stream, so what is left never has to be counted.
    """

    start: int
    end: int | None
    until: ReadUntil | None


_NO_BATCH = None, b"", 0, 0


class Decoder(Generic[M]):
    r"""The messages in one incoming stream, however the stream is cut into chunks.

    Args:
        framer: The format of the messages.

    Attributes:
        framer: The format of the messages; to change it, call ``switch``.
        ready: The messages that are decoded; taking one from here takes it from the decoder.
        has_failed: Whether an error was raised that is not recoverable.

    >>> from framing import LengthPrefixFramer
    >>> decoder = LengthPrefixFramer().decoder()
    >>> list(decoder.feed(b"\0\0\0\5he"))
    []
    >>> list(decoder.feed(b"llo\0\0\0\2hi\0"))
    [b'hello', b'hi']
    >>> decoder.bytes_needed  # of the next length field
    3

    A decoder serves one thread at a time.
    """

    __slots__ = (
        "__weakref__", "_after", "_batch", "_buffer", "_ended", "_error", "_reading", "_rest",
        "_split", "_wanted", "_window", "framer", "has_failed", "ready",
    )  # fmt: skip

    def __init__(self, framer: Framer[M]) -> None:
        self.framer: Framer[M] = framer
        self._split = framer.split_block
        self._buffer = StreamBuffer()
        self.ready: Iterator[M] = _NOTHING
        # Where the ready messages were decoded from, in case they are not taken.
        self._batch: tuple[Pieces, bytes, int, int] = _NO_BATCH
        self._reading: _Reading | None = None
        self._wanted = 0  # with fewer bytes in the buffer, looking is useless
        self._window = _WINDOW
        self._rest: _Rest | None = None
        self._error: FramingError | None = None  # what is next
        self._after: _Rest | None = None  # what to discard once that is raised
        self.has_failed: bool = False
        self._ended = False

    # Bytes come in

    def feed(self, data: Buffer) -> Decoder[M]:
        """Keep the next bytes of the stream, and return the decoder itself.

        Nothing is decoded yet.  After a :class:`DecodeError` that is not recoverable, bytes are
        ignored.

        Args:
            data: Any number of bytes, cut anywhere.  They are copied, so you may reuse *data*.

        Raises:
            ValueError: :meth:`feed_eof` was called before.
        """
        if self._ended:
            raise ValueError("feed() after feed_eof(): use a new decoder for a new stream")
        if not self.has_failed:
            try:
                self._buffer.feed(data)
            except (BufferError, TypeError):  # a view with gaps, or not bytes at all
                self._buffer.feed(memoryview(data).tobytes())
        return self

    def feed_from(self, receive: Callable[[int, int], bytes], size: int, flags: int = 0) -> int:
        """Keep what ``receive(size, flags)`` returns, and return how many bytes that was.

        The stream may have ended already.  If *receive* is a C function, an exception out of a
        signal handler loses no byte.
        """
        return self._buffer.feed_from(receive, size, flags)

    def receive_block(self, receiver: Any, sock: Any) -> bool:
        """Feed ``receiver[sock]``, and return whether that begins with whole messages.

        This is the usual case for programs that wait for each other: :meth:`feed_from` and
        :meth:`decode` in a third of the time.  If the decoder holds anything, or the format has
        no fast path, it does nothing and returns false.
        """
        buffer, split = self._buffer, self._split
        if split is None or self._ended or self._rest is not None or self._error is not None:
            return False
        if len(buffer.data) > buffer.start or buffer.more.tell() or length_hint(self.ready):
            return False
        # What was handed out is let go of first, since the next line may wait for long.
        self.ready, self._batch, self._reading, self._wanted = _NOTHING, _NO_BATCH, None, 0
        buffer.base, buffer.data, buffer.start, buffer.pos = buffer.base + buffer.start, b"", 0, 0
        buffer.data = receiver[sock]
        data = buffer.data
        messages, end, _ = split(data, 0, min(len(data), self._window))
        if end:
            self.ready, self._batch, buffer.start, buffer.pos = (
                messages, (None, data, 0, end), end, end,
            )  # fmt: skip
        return end > 0

    def feed_eof(self) -> None:
        """Report the end of the stream.  A second call changes nothing."""
        self._ended = True

    def restore(self, data: Buffer) -> None:
        """Keep the last bytes that were received past the decoder after all."""
        self._buffer.base -= memoryview(data).nbytes
        self._buffer.feed(data)

    # A body may follow a message, and be received past the decoder

    def expect_body(self, size: int, start: int) -> None:
        """Discard the next *size* bytes before the next message, unless they are taken.

        Args:
            size: Of the body behind the message that was just taken.
            start: Where that message starts in the stream.
        """
        self._rest = _Rest(start, self._buffer.offset + size, None)

    def take_body(self) -> bytes:
        """Return the bytes of the body that have been fed."""
        return self._buffer.take_first(min(self.rest, self._buffer.size))

    def skip(self, size: int) -> None:
        """Count *size* bytes as received that came by another way, into a file's buffer."""
        self._buffer.base += size

    # Messages go out

    def __iter__(self) -> Iterator[M]:
        """Yield the complete messages in order, until more bytes are needed.

        You may leave the loop early, and feed within it.  The iterator continues after a
        recoverable error.

        Raises:
            DecodeError: The next bytes break the format.
            IncompleteMessageError: The stream has ended inside a message.
        """
        return chain.from_iterable(iter(self._batch_or_error, None))

    def next_message(self) -> M | None:
        """Return the next message, or ``None`` when more bytes are needed.

        Raises:
            EndOfStreamError: The stream has ended, and all its messages were taken.
            DecodeError: The next bytes break the format.
            IncompleteMessageError: The stream has ended inside a message.
        """
        for message in self.ready:
            return message
        if not self.decode():
            return None
        if length_hint(self.ready) == 1:
            # A message that may be large: nothing of it is kept, and it is taken in one step.
            self._buffer.release()
            (message,), self.ready, self._batch = self.ready, _NOTHING, _NO_BATCH
            return message
        return next(self.ready)

    def decode(self) -> bool:
        """Make messages ready, and return whether there are any; false: more bytes are needed.

        Raises:
            FramingError: As :meth:`next_message`.
        """
        if self._find():
            if self._error is not None:
                raise self._take(self._error)
            return True
        if self._ended:
            raise EndOfStreamError("the stream has ended: the peer sends no more messages")
        return False

    def _batch_or_error(self) -> Iterator[M] | None:
        try:
            return self.ready if self.decode() else None
        except EndOfStreamError:
            return None
        except BaseException as error:
            return raising(error)

    def _take(self, error: FramingError) -> FramingError:
        """Return *error* to be raised.  It will not come again if it is recoverable."""
        buffer, raised, window = self._buffer, fresh_copy(error), min(self._window, _FIRST_WINDOW)
        if isinstance(error, DecodeError):
            self.has_failed = not error.recoverable
            if error.recoverable:
                self._error, self._rest, self._wanted, self._window, buffer.start, buffer.kept = (
                    None, self._after, 0, window, buffer.pos, None,
                )  # fmt: skip
        return raised

    # What it holds, and how many bytes to receive

    @property
    def is_idle(self) -> bool:
        """Whether the decoder is between two messages, and holds no byte of the next one."""
        return not (length_hint(self.ready) or self._buffer.size or self.rest or self._error)

    @property
    def offset(self) -> int:
        """Where the next message that is not ready starts in the stream, in bytes."""
        return self._buffer.offset

    @property
    def bytes_fed(self) -> int:
        """How many bytes of the stream have come, and were not taken back."""
        return self._buffer.offset + self._buffer.size

    @property
    def bytes_buffered(self) -> int:
        """How many bytes there are from the first message that is not ready on."""
        return self._buffer.size

    @property
    def rest(self) -> int:
        """How many bytes have to be discarded before the next message, as far as is known."""
        if self._rest is None:
            return 0
        return 1 if self._rest.end is None else self._rest.end - self._buffer.offset

    @property
    def bytes_needed(self) -> int:
        """How many bytes can be read without reading past the end of the current message.

        0 when :meth:`next_message` would return a message or raise, and at least 1 otherwise.
        """
        if not self._find() and not self._ended and self._reading is None and self._rest is None:
            self._read()  # to learn what read_message asks for
        if length_hint(self.ready) or self._ended or self._error is not None:
            return 0
        if self._rest is not None and self._rest.end is not None:
            return self.rest
        request = self._request
        if isinstance(request, ReadExactly):
            return request.size - self._buffer.unread
        return int(request.missing(self._buffer.last(request.longest - 1)))

    def room(self, ahead: int, most: int) -> int:
        """Return how many bytes to receive at once, after :meth:`next_message` found none.

        Usually *ahead*, so that one call brings many messages.  Inside a large piece of a
        message, only the missing bytes, and at most *most*: the piece then ends where the
        buffer ends, and is returned without a copy.
        """
        request = self._request
        if isinstance(request, ReadExactly) and request.size >= LARGE:
            return min(request.size - self._buffer.unread, most)
        return ahead

    @property
    def delimiter(self) -> ReadUntil | None:
        """The delimiter that is waited for, unless :attr:`bytes_needed` says how many bytes."""
        request = self._request
        return request if isinstance(request, ReadUntil) else None

    def reach(self, ahead: bytes) -> int:
        """Return how many of the bytes *ahead* come before the end of that delimiter.

        *ahead* are the next bytes of the stream, which were only looked at.
        """
        request = self._request
        last = self._buffer.last(request.longest - 1)
        _, end = request.find(last + ahead, 0, len(last) + len(ahead), False)
        return max(1, end - len(last)) if end else len(ahead)

    @property
    def _request(self) -> Any:
        """What is waited for, after nothing was found."""
        if self._rest is not None:
            return self._rest.until
        return self._reading and self._reading.request

    # Bytes outside the format

    def take_exactly(self, size: int) -> bytes | None:
        """Return the next *size* bytes as they are; ``None`` when more bytes are needed.

        They start at the first message that was not taken.

        Raises:
            EndOfStreamError: The stream has ended before the first of them.
            IncompleteMessageError: The stream has ended before the last of them.
        """
        buffer = self._buffer
        self._wanted = 0
        if self._rest is not None and not self._drain(self._rest):
            if self._error is not None:
                raise fresh_copy(self._error)
            return None
        if length_hint(self.ready) or self._error is not None or self._reading is not None:
            self.switch(self.framer)
        if buffer.size >= size:
            return buffer.take_first(size)
        if self._ended:
            if not buffer.size:
                raise EndOfStreamError(f"the stream ended before the {size} bytes")
            raise IncompleteMessageError(
                f"the stream ended after {buffer.size} of {size} bytes",
                received=buffer.size,
                expected=size,
            )
        buffer.gather(size)
        return None

    def untake(self, message: M) -> None:
        """Make *message* ready again, which was the last one taken from :attr:`ready`."""
        self.ready = iter([message, *self.ready])

    @property
    def last_piece(self) -> int | None:
        """The size of the piece that ends the current message, if that is waited for."""
        request = self._request
        return request.size if isinstance(request, ReadExactly) and request.last else None

    def copy_piece(self, into: memoryview) -> int:
        """Copy what has come of that piece, and return how many bytes that was."""
        data = self._buffer.last(self._buffer.unread)
        into[: len(data)] = data
        return len(data)

    def finish_message(self) -> None:
        """Count the current message as taken: its last bytes came by another way."""
        self._reading, self._wanted = None, 0
        self._buffer.take_first(self._buffer.size)

    # Where messages are, for those who look at a stream

    def decode_singly(self) -> None:
        """Decode one message at a time from now on: :attr:`offset` is where the last one ends."""
        self._split, self._window = None, 0

    @property
    def last_size(self) -> int:
        """How many bytes the last message that was yielded has on the wire, if taken singly."""
        _, _, start, end = self._batch
        return end - start

    # Bytes are taken back

    def unread(self) -> bytes:
        """Take back all bytes that belong to no message taken so far.

        They start at the next message, or at the message that broke the format.  The decoder
        then is as if they had not been fed, except that an error stays if it was raised and is
        not recoverable.
        """
        if self._rest is not None and not self._drain(self._rest):
            return b""  # what is kept may be the beginning of the delimiter that ends the rest
        left = list(self.ready)  # one step, in which no other thread takes a message
        self.ready = iter(left)
        before = self._bytes_of_last(len(left)) if left else b""
        data = before + self._buffer.take_first(self._buffer.size)
        self._buffer.base -= len(data)
        self._forget()
        self._buffer.release()
        return data

    def switch(self, framer: Framer[N]) -> Decoder[N]:
        """Continue in another format, from the first message that was not taken.

        Returns:
            This decoder, which now decodes messages of another type.
        """
        if length_hint(self.ready):
            self._buffer.feed(self.unread())
        else:
            self._buffer.rewind()
            self._forget()
        other = cast("Decoder[Any]", self)
        other.framer, other._split, other._window = framer, framer.split_block, _FIRST_WINDOW
        other._error, other.has_failed = None, False
        return other

    def _forget(self) -> None:
        """Forget what was found, but not the bytes it was found in."""
        self.ready, self._batch, self._reading, self._wanted, self._error = (
            _NOTHING, _NO_BATCH, None, 0, self._error if self.has_failed else None,
        )  # fmt: skip

    def _bytes_of_last(self, count: int) -> bytes:
        """Return the bytes that the last *count* of the ready messages were decoded from."""
        kept, data, start, end = self._batch
        wire = join(kept) + data[max(0, start) : end]
        again = Decoder(self.framer)
        again.feed(wire).feed_eof()  # behind which the last delimiter cannot be a longer one
        taken = sum(1 for _ in again) - count
        again = Decoder(self.framer)
        again.decode_singly()
        again.feed(wire).feed_eof()
        for _ in range(taken):
            again.next_message()
        return wire[again.offset :]

    # Finding what comes next

    def _find(self) -> bool:
        """Return whether messages are ready or an error is next.

        If not, more bytes are needed, or the stream has ended cleanly.
        """
        if length_hint(self.ready) or self._error is not None:
            return True
        buffer = self._buffer
        size = buffer.size
        if size < self._wanted and not self._ended:
            return self._wait(self._wanted)
        if self._rest is not None:
            if not self._drain(self._rest):
                return self._error is not None
            size = buffer.size
        if not size:
            self._reading = None
            return self._wait(0)
        if self._reading is None:
            buffer.rewind()
            is_found = None if self._split is None else self._decode_block(self._split)
            if is_found is not None:
                return is_found
        self._read()
        return self._error is not None or length_hint(self.ready) > 0

    def _wait(self, wanted: int) -> bool:
        """Let go of what was handed out, and wait until *wanted* bytes are in the buffer."""
        self.ready, self._batch, self._wanted = _NOTHING, _NO_BATCH, wanted
        self._buffer.release()
        return False

    def _decode_block(self, split: Callable[..., tuple[Iterator[M], int, int]]) -> bool | None:
        """Decode a block of messages by the format's fast path, and return whether there are any.

        ``None``: ``read_message`` has to look.
        """
        buffer = self._buffer
        # A block that is no longer than the window is all there is: what it lacks has not come.
        if buffer.more.tell() and len(buffer.data) - buffer.start <= self._window:
            buffer.join()
        data, start = buffer.data, buffer.start
        size, stop = len(data), start + self._window
        messages, end, missing = split(data, start, min(stop, size))
        wanted = size - end + missing if 0 < missing < LARGE and stop >= size else 0
        if end == start:
            return self._wait(wanted) if wanted and not self._ended else None
        self.ready, self._batch, self._wanted, buffer.start, buffer.pos = (
            messages, (None, data, start, end), wanted, end, end,
        )  # fmt: skip
        if self._window < _WINDOW:
            self._window *= 2
        return True

    def _drain(self, rest: _Rest) -> bool:
        """Discard what has come of the rest, and return whether that was all of it."""
        buffer, until = self._buffer, rest.until
        if until is not None:
            found = buffer.find(until, self._ended)
            if found is not None:
                self._rest = rest = _Rest(rest.start, buffer.offset + found[1], None)
            else:
                buffer.take_first(max(0, buffer.size - until.longest + 1))
        if rest.end is not None:
            buffer.take_first(min(buffer.size, rest.end - buffer.offset))
            if buffer.offset == rest.end:
                self._rest = None
                return True
        if self._ended:
            received = buffer.offset + buffer.size - rest.start
            expected = None if rest.end is None else rest.end - rest.start
            self._error = _incomplete(received, expected)
        return self._wait(0)

    # Reading by the format's read_message

    def _read(self) -> None:
        """Read one message, and those behind it in the same block.

        While a reader runs it is not kept, so one that was interrupted is begun again.
        """
        buffer = self._buffer
        reading, self._reading, self._after = self._reading, None, None
        found: list[M] = []
        ends: list[int] = []
        try:
            reading = self._read_one(reading or self._begin())
            if not reading.messages:
                self._suspend(reading)
                return
            found.append(reading.messages.pop())
            ends.append(buffer.pos)
            reading, pos = self._read_ahead(reading, found, ends)
        except Exception as error:
            if not found:
                self._error = self._as_error(error)
                return
            reading, pos = None, ends[-1]  # it is found again, behind the good messages
        if self._split is not None:
            reading = None  # the fast path goes first again
        self._wanted, batch = 0, (buffer.kept, buffer.data, buffer.start, ends[-1])
        self.ready, self._batch, self._reading, buffer.start, buffer.kept, buffer.pos = (
            iter(found), batch, reading, ends[-1], None, pos,
        )  # fmt: skip

    def _begin(self) -> _Reading:
        messages: list[M] = []
        steps = _all_messages(self.framer, messages)
        return _Reading(steps, next(steps), messages)

    def _read_one(self, reading: _Reading) -> _Reading:
        """Read until one message is there, or bytes are missing."""
        steps, request, messages = reading
        while not messages:
            if isinstance(request, Skip):
                self._skip(request)
                steps, request, messages = self._begin()
            elif (part := self._meet(request)) is not None:
                request = steps.send(part)
            else:
                break
        if messages and self._buffer.pos == self._buffer.start:
            raise _of_no_bytes(self.framer)
        return _Reading(steps, request, messages)

    def _read_ahead(
        self, reading: _Reading, found: list[M], ends: list[int]
    ) -> tuple[_Reading, int]:
        """Read the messages behind the first one, as far as they are in the same block.

        The usual requests are met here without a call, which makes this loop three times as
        fast as :meth:`_read_one`.  All others are left to that.

        Args:
            reading: What was begun.
            found: The first message; the others are appended.
            ends: Where the first message ends in the block; the others' ends are appended.

        Returns:
            What is still being read, and how far.
        """
        steps, request, messages = reading
        data, size, send = self._buffer.data, len(self._buffer.data), steps.send
        start = pos = ends[0]
        last = pos + (self._window if self._split is None else _READ_AHEAD)
        while pos < last:
            if type(request) is ReadExactly:
                end = pos + request.size
                if end > size:
                    break
                part = data[pos:end]
            elif type(request) is ReadUntil:
                delimiter = request.delimiter
                if type(delimiter) is bytes:
                    place = data.find(delimiter, pos, pos + request.limit + len(delimiter))
                    end = place + len(delimiter)
                else:
                    place, end = request.find(data, pos, size, False)
                    if not end or place - pos > request.limit:
                        break
                if place < 0:
                    break
                part = data[pos:place]
            else:
                break
            request = send(part)
            pos = end
            if messages:
                if pos == start:
                    raise _of_no_bytes(self.framer)
                found.append(messages.pop())
                ends.append(pos)
                start = pos
        return _Reading(steps, request, messages), pos

    def _meet(self, request: Any) -> bytes | None:
        """Return what *request* asks for; ``None`` if that has not come."""
        buffer = self._buffer
        if isinstance(request, ReadExactly):
            return buffer.take(request.size)
        if isinstance(request, ReadUntil):
            return self._take_until(request)
        if isinstance(request, Refuse):
            self._after = _Rest(buffer.offset, buffer.base + buffer.pos + request.size, None)
            raise request.error
        raise _MisuseError(
            f"{self.framer!r}.read_message() asked for {request!r}: it has to yield"
            " ReadExactly, ReadUntil or Skip"
        )

    def _take_until(self, request: ReadUntil) -> bytes | None:
        buffer = self._buffer
        place, end = buffer.find(request, self._ended, request.limit) or (0, 0)
        if end and place <= request.limit:
            part = buffer.take(place)
            buffer.take(end - place)
            return part
        if not end and not buffer.exceeds(request):
            return None
        if request.oversize == "skip":
            self._after = _Rest(buffer.offset, None, request)
        name = f" ({request.limit_name}={request.limit})" if request.limit_name else ""
        raise MessageTooLargeError(
            f"expected {request.delimiter!r} after at most {request.limit} bytes{name},"
            " but got more",
            limit=request.limit,
        )

    def _skip(self, request: Skip) -> None:
        read = self._buffer.pos - self._buffer.start
        size = read if request.n is None else request.n
        if not 0 < size <= read:
            raise DecodeError(
                f"{self.framer!r}.read_message() asked for {request!r}, but has read {read} bytes"
            )
        self._buffer.take_first(size)

    def _suspend(self, reading: _Reading) -> None:
        """Keep the place in a message whose other bytes have not come."""
        buffer, request = self._buffer, reading.request
        is_exact = isinstance(request, ReadExactly)
        if self._ended:
            if buffer.size:
                read = buffer.pos - buffer.start
                expected = read + request.size if is_exact and request.last else None
                self._error = _incomplete(buffer.size, expected)
            return
        self._wait(buffer.size + (request.size - buffer.unread if is_exact else 1))
        self._reading = reading

    def _as_error(self, error: Exception) -> DecodeError:
        """Return what to raise, in its turn, for what escaped from ``read_message``."""
        if isinstance(error, (_MisuseError, MemoryError)) or is_from_signal_handler(error):
            raise error
        found: DecodeError
        if isinstance(error, DecodeError):
            found = fresh_copy(error)
        else:
            name = type(self.framer).__name__
            found = DecodeError(f"{name}.read_message() raised {type(error).__name__}: {error}")
            found.__cause__ = error
        is_bad = isinstance(found, BadMessageError) and self._buffer.pos > self._buffer.start
        found.recoverable = is_bad or self._after is not None
        found.offset = self._buffer.offset
        if not found.recoverable:
            self._buffer.rewind()
        return found


def raising(error: BaseException) -> Iterator[Any]:
    """Raise *error* when the first item is asked for.

    ``chain`` ends for good if the iterator that it takes its iterators from raises, and would then
    look like a clean end.  If one of those iterators raises, it continues with the next.
    """
    raise error
    yield


class _MisuseError(TypeError):
    """A framer's author has written something else than a generator of requests."""


def _all_messages(framer: Framer[M], messages: list[M]) -> Generator[Any, bytes, None]:
    """Read one message after another, and append each to *messages*, which then is emptied.

    (That takes half the time of one generator a message, whose end is an exception.)
    """
    read_message = framer.read_message
    while True:
        steps: Steps[M] = read_message()
        if type(steps) is not GeneratorType and not isinstance(steps, Generator):
            raise _MisuseError(
                f"{framer!r}.read_message() is not a generator, but returned"
                f" {type(steps).__name__}: it has to ask for bytes, with yield"
            )
        message = yield from steps
        if message is None:
            raise DecodeError(
                f"{framer!r}.read_message() returned None, but a message cannot be None"
            )
        if messages:  # it asked for nothing
            raise _of_no_bytes(framer)
        messages.append(message)
        del message  # it may be large, and the next one long in coming


def _of_no_bytes(framer: Framer[Any]) -> DecodeError:
    return DecodeError(f"{framer!r}.read_message() read a message of no bytes")


def _incomplete(received: int, expected: int | None) -> IncompleteMessageError:
    whole = "" if expected is None else f" of {expected}"
    return IncompleteMessageError(
        f"the stream ended after {received} bytes of a message{whole}",
        received=received,
        expected=expected,
    )

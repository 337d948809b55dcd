r"""A check for wire formats: does this framer keep what a framer promises?

It needs no test framework::

    def test_my_format():
        check_framer(MyFramer(), [b"", b"hello", b"x" * 1000])

A framer written with ``read_message`` cannot break most of the promises, since it never sees how a
stream is cut.  What it can do is to keep state between messages, to copy a message again and
again, to trust a length before the bytes are there, and to send what it does not accept.
"""

from __future__ import annotations

import pickle
from io import BytesIO
from itertools import accumulate
from random import Random
from time import thread_time
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import DecodeError, EncodeError, EndOfStreamError, FramingError, IncompleteMessageError
from .framer import check_is_framer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .decoder import Decoder
    from .framer import Framer

__all__ = ["check_framer"]

M = TypeVar("M")

# A stream up to this size is cut everywhere, and a longer one in so many places.
_SHORT = 600
_PLACES = 100
# The most pieces that a stream is fed in.
_MOST_PIECES = 20_000
# How much memory a format may take for a few bytes.
_SPARE_MEMORY = 1024 * 1024
# In linear time, four times as many bytes take four times as long; in quadratic time, 16 times.
_GROWTH, _MOST_GROWTH = 5, 8
_LONG_TIME = 0.05
_LARGE = 4 * 1024 * 1024


def check_framer(framer: Framer[M], messages: Iterable[M]) -> None:
    """Check that *framer* keeps what a framer promises, with *messages* as examples.

    - Each message comes back equal, or is refused by ``encode`` with an :class:`EncodeError`.
      ``encode``, ``encode_parts`` and ``decode`` agree.
    - However the stream is cut, the messages, the errors and their attributes are the same.
      Streams with wrong bytes in them are tried too.
    - A stream that ends inside a message is an :class:`IncompleteMessageError`.
    - ``bytes_needed`` and ``unread`` are exact.
    - Time is linear, and memory follows the bytes received.
    - The framer is a value: equal copies, equal hashes, and it can be pickled.

    It takes about a second.  All streams are the same in each run.

    >>> from framing import LineFramer
    >>> from framing.testing import check_framer
    >>> check_framer(LineFramer(), ["hello", "", "how are you?"])

    Args:
        framer: The format.
        messages: Some messages that the format carries, of all kinds there are: the empty one,
            short and long ones.  They have to be equal to what comes back.

    Raises:
        AssertionError: A promise is broken; the text says which one, with the bytes and the cut.
        TypeError: *framer* is not a framer.
    """
    check_is_framer(framer)
    _check_value(framer)
    examples = [*messages]
    carried = [each for each in examples if _is_carried(framer, each)]
    _require(bool(carried), framer, "at least one of the messages can be encoded", examples)
    stream = _Stream(framer, carried, [_check_one(framer, each) for each in carried])
    stream.check_cuts()
    stream.check_truncation()
    stream.check_bytes_needed()
    stream.check_unread()
    stream.check_spoiled()
    stream.check_two_at_once()
    _check_memory(framer, stream.data)
    pace = _check_time(framer, max(carried, key=lambda each: len(framer.encode(each))))
    if pace * framer.max_size < 1:  # seconds
        for message in _extremes(framer, carried):
            _check_one(framer, message)


def _require(holds: bool, framer: Framer[Any], promise: str, *details: object) -> None:
    if not holds:
        shown = "".join(f"\n    {each!r:.500}" for each in details)
        raise AssertionError(f"{framer!r} breaks a promise: {promise}.{shown}")


# One message


def _is_carried(framer: Framer[Any], message: Any) -> bool:
    try:
        framer.encode(message)
    except EncodeError:
        return False
    except Exception as error:
        _require(False, framer, "encode() raises only EncodeError for a message", message, error)
    return True


def _check_one(framer: Framer[Any], message: Any) -> bytes:
    """Return the wire bytes of *message*, which comes back equal."""
    wire = framer.encode(message)
    _require(type(wire) is bytes and len(wire) > 0, framer, "encode() returns bytes", wire)
    parts = [bytes(memoryview(part)) for part in framer.encode_parts(message)]
    same = b"".join(parts) == wire == framer.encode(message)
    _require(same, framer, "encode() returns what encode_parts() does, each time", parts, wire)
    try:
        received = framer.decode(wire)
    except FramingError as error:
        promise = "decode() accepts what encode() returns, and nothing is left"
        raise AssertionError(
            f"{framer!r} breaks a promise: {promise}.\n    {message!r:.500}\n    {wire!r:.500}"
        ) from error
    same = bool(received == message)
    _require(same, framer, "a message comes back equal", message, wire, received)
    return wire


def _extremes(framer: Framer[Any], messages: Sequence[Any]) -> Iterator[Any]:
    """Yield messages as large as the limit, and larger ones if the sender does not refuse them."""
    for size in (framer.max_size, framer.max_size + 1):
        message = _of_size(next(filter(None, messages), None), size)
        if message is not None and _is_carried(framer, message):
            yield message


def _of_size(message: Any, size: int) -> Any:
    """Return *message*, repeated up to *size* items; ``None`` if it is neither bytes nor text."""
    if type(message) not in {bytes, str} or not message:
        return None
    return (message * (size // len(message) + 1))[:size]


# A stream


class _Stream:
    """The wire bytes of all messages, to be cut."""

    def __init__(self, framer: Framer[Any], messages: list[Any], wires: list[bytes]) -> None:
        self.framer, self.messages = framer, messages
        self.data = b"".join(wires)
        self.ends = [*accumulate(map(len, wires))]
        self.random = Random(0)  # noqa: S311  # the same cuts each time

    def outcome(self, data: bytes, cuts: Iterable[int]) -> list[Any]:
        """Return the messages and errors in *data*, which arrives in pieces."""
        decoder = self.framer.decoder()
        found: list[Any] = []
        start = 0
        for cut in [*cuts, len(data)]:
            found += _items(decoder.feed(data[start:cut]))
            start = cut
            if decoder.has_failed:
                return found
        decoder.feed_eof()
        return found + _items(decoder)

    def places(self, size: int) -> Sequence[int]:
        return range(size) if size <= _SHORT else self.random.sample(range(size), _PLACES)

    def check_cuts(self) -> None:
        found = self.outcome(self.data, ())
        same = found[:-1] == self.messages and isinstance(found[-1], EndOfStreamError)
        _require(same, self.framer, "a stream gives its messages", self.data, self.messages, found)
        self.check_same(self.data, [[each] for each in self.places(len(self.data))])

    def check_same(self, data: bytes, cuts: list[Sequence[int]]) -> None:
        """Check that *data* gives the same if it is cut at *cuts*, everywhere, and by chance."""
        whole = self.outcome(data, ())
        cuts.append(range(0, len(data), len(data) // _MOST_PIECES + 1))
        for _ in range(30):
            count = self.random.randint(2, 20)
            cuts.append(sorted(self.random.choices(range(len(data) + 1), k=count)))
        for each in cuts:
            found = self.outcome(data, each)
            promise = "chunks make no difference"
            _require(found == whole, self.framer, promise, data, f"cut at {each}", found, whole)

    def check_two_at_once(self) -> None:
        """Read the same stream twice, one a few bytes behind the other."""
        data, found = self.data[:_SHORT], ([], [])  # type: ignore[var-annotated]
        decoders = self.framer.decoder(), self.framer.decoder()
        for start in range(-3, len(data)):
            for i, place in enumerate((start + 3, start)):
                if place >= 0:
                    found[i].extend(_items(decoders[i].feed(data[place : place + 1])))
        promise = "streams do not affect each other"
        _require(found[0] == found[1], self.framer, promise, data, *found)

    def check_spoiled(self) -> None:
        """Check the same for streams with wrong bytes in them."""
        data = self.data[:_SHORT]
        for _ in range(10):
            place = self.random.randrange(len(data))
            wrong = self.random.choice([b"\xff", b"\0", b"9", b"\n", b"", data[place:][:1] * 2])
            self.check_same(data[:place] + wrong + data[place + 1 :], [])

    def check_truncation(self) -> None:
        for end in {0, *self.ends, *self.places(len(self.data))}:
            data = self.data[:end]
            decoder = self.framer.decoder().feed(data)
            found = _items(decoder)
            whole = sum(each <= end for each in self.ends)
            promise = "a message is not there before its last byte"
            same = found == self.messages[: len(found)] and len(found) in {whole, whole - 1}
            _require(same, self.framer, promise, data, found)
            is_needed = decoder.bytes_needed > 0  # and then the decoder knows what it waits for
            may_end = is_needed and decoder.delimiter is not None and decoder.delimiter.or_end
            decoder.feed_eof()
            last = _items(decoder)[-1]
            expected: tuple[type[FramingError], ...] = (IncompleteMessageError,)
            if may_end:
                expected = IncompleteMessageError, DecodeError, EndOfStreamError
            elif end in {0, *self.ends}:
                expected = (EndOfStreamError,)
            promise = f"a stream that is cut short ends with {expected[0].__name__}"
            _require(isinstance(last, expected), self.framer, promise, data, last)

    def check_bytes_needed(self) -> None:
        """Read as many bytes at a time as are needed."""
        decoder = self.framer.decoder()
        rest, found = BytesIO(self.data), []
        while True:
            needed = decoder.bytes_needed
            if not needed:
                found.append(_next(decoder))
            elif data := rest.read(needed):
                decoder.feed(data)
            else:
                break
            if len(found) > len(self.messages):
                break
        promise = "to read bytes_needed at a time gives the same messages"
        _require(found == self.messages, self.framer, promise, self.data, found)

    def check_unread(self) -> None:
        decoder, data = self.framer.decoder(), self.data
        for message, end in zip(self.messages, self.ends, strict=True):
            same = _next(decoder.feed(data)) == message
            data = decoder.unread()
            promise = "unread() returns the bytes behind the messages that were taken"
            same = same and data == self.data[end:]
            _require(same, self.framer, promise, self.data, message, data)


def _next(decoder: Decoder[Any]) -> Any:
    """Return the next message or error, or ``None``."""
    try:
        return decoder.next_message()
    except FramingError as error:
        return error


def _items(decoder: Decoder[Any]) -> list[Any]:
    """Return the messages and errors that *decoder* gives now."""
    found: list[Any] = []
    while (item := _next(decoder)) is not None:
        found.append(item)
        if isinstance(item, FramingError) and not getattr(item, "recoverable", False):
            break
    return found


# Work


def _check_memory(framer: Framer[Any], data: bytes) -> None:
    """Announce much, and send little."""
    try:
        import tracemalloc  # noqa: PLC0415  # PyPy has none
    except ImportError:
        return
    was_tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        for place in range(min(len(data), 12)):
            for wrong in (b"\xff", b"\x7f", b"\xff\xff\xff\xff", b"99999999"):
                start = data[:place] + wrong + data[place + len(wrong) : _SHORT]
                tracemalloc.reset_peak()
                before, _ = tracemalloc.get_traced_memory()
                _items(framer.decoder().feed(start))
                size = tracemalloc.get_traced_memory()[1] - before
                promise = "memory follows the bytes received, not the size that a peer announces"
                _require(size < _SPARE_MEMORY, framer, promise, start, f"took {size} bytes")
    finally:
        if not was_tracing:
            tracemalloc.stop()


def _check_time(framer: Framer[Any], message: Any) -> float:
    """Check that more bytes take no more time each, and return the seconds for one."""
    wire = framer.encode(message)

    def many(size: int) -> bytes:
        return wire * (size // len(wire) + 1)

    def one(size: int) -> bytes:
        larger = _of_size(message, size)
        is_carried = larger is not None and _is_carried(framer, larger)
        return framer.encode(larger) if is_carried else b""

    return max(_check_growth(framer, many), _check_growth(framer, one))


def _check_growth(framer: Framer[Any], make: Callable[[int], bytes]) -> float:
    """Time twice as many bytes again and again; *make* returns so many, or none."""
    size, times = 1024, [0.0] * 3
    while times[-1] < _LONG_TIME or (times[-1] > times[-3] * _GROWTH and times[-1] < 0.5):
        wire = make(size * 2)
        if not wire or size >= _LARGE:
            break
        size *= 2
        times.append(_time_for(framer, wire))
    if times[-1] > max(_LONG_TIME, times[-3] * _MOST_GROWTH):
        times = [_time_for(framer, make(each)) for each in (size // 4, size)]  # to be sure
        shown = f"{times[0]:.3f} s for {size // 4} bytes, {times[1]:.3f} s for {size} bytes"
        is_linear = times[1] <= times[0] * _MOST_GROWTH
        _require(is_linear, framer, "time is linear in the bytes received", shown)
    return times[-1] / size


def _time_for(framer: Framer[Any], wire: bytes) -> float:
    """Return how long it takes to decode *wire* in small pieces."""
    decoder = framer.decoder()
    begin = thread_time()
    for start in range(0, len(wire), 1000):
        _items(decoder.feed(wire[start : start + 1000]))
    return thread_time() - begin


# What makes a framer a value


def _check_value(framer: Framer[Any]) -> None:
    try:
        copy = _pickled(framer)
    except Exception as error:
        raise AssertionError(f"{framer!r} breaks a promise: a framer can be pickled") from error
    _require(copy == framer and not copy != framer, framer, "a copy is equal", copy)  # noqa: SIM202
    _require(hash(copy) == hash(framer), framer, "a copy has the same hash", copy)
    _require(repr(copy) == repr(framer), framer, "a copy has the same repr", copy)


def _pickled(value: Any) -> Any:
    """Return a copy of *value* by pickle, even if its class cannot be imported, as in a test."""
    kept: list[Any] = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing: Any) -> int | None:
            if not isinstance(thing, (type, FunctionType, BuiltinFunctionType)):
                return None
            kept.append(thing)
            return len(kept) - 1

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, number: Any) -> Any:
            return kept[number]

    file = BytesIO()
    Pickler(file).dump(value)
    file.seek(0)
    return Unpickler(file).load()

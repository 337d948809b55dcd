r"""A check for wire formats: does this framer keep what a framer promises?

It needs no test framework::

    def test_my_format():
        check_framer(MyFramer(), [b"", b"hello", b"x" * 1000])

A framer written with ``read_message`` cannot break most of the promises, since it never sees how a
stream is cut.  But it can keep state between messages, copy a message again and again, trust a
length before the bytes are there, or send messages that it does not accept.
"""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from functools import partial
from io import BytesIO
from itertools import accumulate
from random import Random
from time import thread_time
from timeit import repeat
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import EncodeError, EndOfStreamError, FramingError, IncompleteMessageError
from .framer import check_is_framer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .decoder import Decoder
    from .framer import Framer

__all__ = ["check_framer"]

M = TypeVar("M")

# Up to how many bytes the time is measured, and how many seconds are enough.
_LARGE, _LONG = 4 * 1024 * 1024, 0.05


def check_framer(framer: Framer[M], messages: Iterable[M]) -> None:
    """Check that *framer* keeps what a framer promises, with *messages* as examples.

    - Each message comes back equal, or is refused by ``encode`` with an :class:`EncodeError`.
      ``encode``, ``encode_parts`` and ``decode`` agree.
    - However the stream is cut, the messages, the errors and their attributes are the same.
      Streams with wrong bytes in them are tried too.
    - A stream that ends inside a message is an :class:`IncompleteMessageError`.
    - Reading as many bytes as ``bytes_needed`` says gives the same; ``unread`` is exact.
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
        TypeError: *framer* is not a framer, or cannot be pickled.
        Exception: What a method of *framer* raises and should not.
    """
    check_is_framer(framer)
    value, copy = ((each, hash(each), repr(each)) for each in (framer, deepcopy(framer)))
    _require(copy == value, framer, "a copy is equal, with the same hash and repr", *copy)
    examples = [*messages]
    carried = [each for each in examples if _is_carried(framer, each)]
    _require(bool(carried), framer, "at least one of the messages can be encoded", examples)
    carried.sort(key=lambda each: len(framer.encode(each)))
    wires = _check_round_trip(framer, carried)
    _check_cuts(framer, b"".join(wires))
    _check_truncation(framer, carried, wires)
    _check_wrong_bytes(framer, b"".join(wires)[:100])
    _check_large(framer, carried[-1])


def _require(holds: bool, framer: Framer[Any], promise: str, *details: object) -> None:
    if not holds:
        shown = "".join(f"\n    {each!r:.500}" for each in details)
        raise AssertionError(f"{framer!r} breaks a promise: {promise}.{shown}")


def _is_carried(framer: Framer[Any], message: Any) -> bool:
    with suppress(EncodeError):
        framer.encode(message)
        return True
    return False


# Reading a stream


def _outcome(framer: Framer[Any], data: bytes, sizes: Sequence[int] = ()) -> list[Any]:
    """Return the messages and errors in *data*, which comes in pieces of *sizes*.

    By default, as many bytes come as are needed.  A second stream stays one piece behind, and must
    make no difference.
    """
    decoder, second = framer.decoder(), framer.decoder()
    file, before, found = BytesIO(data), b"", []
    for size in sizes or iter(lambda: decoder.bytes_needed, 0):
        if decoder.has_failed or not (piece := file.read(size)):
            break
        found += _items(decoder.feed(piece))
        _items(second.feed(before))
        before = piece
    decoder.feed_eof()
    return found + _items(decoder)


def _items(decoder: Decoder[Any]) -> list[Any]:
    """Return the messages and errors that *decoder* gives now."""
    found: list[Any] = []
    try:
        while (message := decoder.next_message()) is not None:
            found.append(message)
    except FramingError as error:
        found.append(error)
        if getattr(error, "recoverable", False):
            found += _items(decoder)
    return found


def _places(data: bytes) -> list[int]:
    """Return where to cut *data*: everywhere, or at 60 places if it is long."""
    inside = range(1, len(data))
    return Random(0).sample(inside, len(inside) if len(data) <= 300 else 60)  # noqa: S311


# The promises


def _check_round_trip(framer: Framer[Any], messages: list[Any]) -> list[bytes]:
    """Return the wire bytes of *messages*, which come back equal."""
    wires = [framer.encode(each) for each in messages]
    parts = [b"".join(framer.encode_parts(each)) for each in messages]
    _require(parts == wires, framer, "encode() returns the bytes of encode_parts()", wires, parts)
    data = b"".join(wires)
    *found, end = _outcome(framer, data, [len(data)])
    same = found == messages and isinstance(end, EndOfStreamError)
    _require(same, framer, "each message comes back equal, alone", messages, data, found, end)
    alone = [framer.decode(each) for each in wires]
    _require(alone == messages, framer, "decode() returns what was encoded", messages, alone)
    return wires


def _check_cuts(framer: Framer[Any], data: bytes) -> None:
    whole = _outcome(framer, data, [len(data)])
    step = len(data) // 20_000 + 1  # so many pieces at most
    cuts = [[], *([place, len(data)] for place in _places(data))]
    cuts += [[size * step] * len(data) for size in (1, 2, 3, 7)]
    for sizes in cuts:
        found, shown = _outcome(framer, data, sizes), ("in pieces of", sizes or "bytes_needed")
        _require(found == whole, framer, "chunks make no difference", data, shown, found, whole)


def _check_truncation(framer: Framer[Any], messages: list[Any], wires: list[bytes]) -> None:
    data, ends = b"".join(wires), [0, *accumulate(map(len, wires))]
    for size in sorted({*ends, *_places(data)}):
        start = data[:size]
        decoder = framer.decoder().feed(start)
        taken = _items(decoder)
        may_end = decoder.bytes_needed > 0 and getattr(decoder.delimiter, "or_end", False)
        promise = "unread() returns the bytes behind the messages that were taken"
        _require(decoder.unread() == start[ends[len(taken)] :], framer, promise, start, taken)
        *found, last = _outcome(framer, start, [size])
        whole = [each for each, end in zip(messages, ends[1:], strict=True) if end <= size]
        kind = EndOfStreamError if size in ends else IncompleteMessageError
        same = may_end or (found == whole and isinstance(last, kind))
        promise = f"a stream that is cut short gives its whole messages, then an {kind.__name__}"
        _require(same, framer, promise, start, found, last)


def _check_wrong_bytes(framer: Framer[Any], data: bytes) -> None:
    for place in {*range(6), *_places(data)[:6]}:
        # Large sizes, small ones, a delimiter, nothing.
        for wrong in (b"\xff\xff\xff\xff", b"\x7f", b"99999999", b"\0", b"\n", b""):
            spoiled = data[:place] + wrong + data[place + 1 :]
            _check_cuts(framer, spoiled)
            _check_memory(framer, spoiled)


def _check_memory(framer: Framer[Any], data: bytes) -> None:
    """Check that a few bytes, which may announce many, take at most 1 MiB."""
    with suppress(ImportError):
        import tracemalloc  # noqa: PLC0415  # PyPy has none

        tracemalloc.start()
        tracemalloc.clear_traces()
        _items(framer.decoder().feed(data))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        _require(peak < 1024 * 1024, framer, "memory follows the bytes received", data, peak)


def _check_large(framer: Framer[Any], message: Any) -> None:
    """Check that time is linear, and that the sender refuses what its receiver would refuse.

    Four times as many bytes take four times as long in linear time, 16 times in quadratic time.
    """
    wire, size, before, now = framer.encode(message), 256, 0.0, 0.0
    while size < _LARGE and (now < _LONG or before * 5 < now < _LONG * 10):
        size *= 4
        large = b"".join(map(framer.encode, _repeated(framer, message, size)))
        data = large + wire * (size // len(wire))
        run = partial(_outcome, framer, data, [1000] * (len(data) // 1000 + 1))
        before, now = now, min(repeat(run, timer=thread_time, number=1, repeat=2))
    shown = f"{size // 4} bytes take {before:.3f} s, {size} bytes {now:.3f} s"
    _require(now <= max(before * 8, _LONG), framer, "time is linear", shown)
    if now / size * framer.max_size < 1:
        for limit in (framer.max_size, framer.max_size + 1):
            _check_round_trip(framer, _repeated(framer, message, limit))


def _repeated(framer: Framer[Any], message: Any, size: int) -> list[Any]:
    """Return *message* repeated up to *size* items; nothing if *framer* does not carry that."""
    if type(message) not in {bytes, str} or not message:
        return []
    larger = (message * (size // len(message) + 1))[:size]
    return [larger] if _is_carried(framer, larger) else []

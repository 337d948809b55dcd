"""Reading a stream in each of the ways that users do, and what has to hold whatever its bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from typing import Any
from unittest import mock

from framing import (
    DecodeError,
    Decoder,
    EncodeError,
    EndOfStreamError,
    Framer,
    FramingError,
    IncompleteMessageError,
    MessageTooLargeError,
    buffer,
    decoder,
)
from framing.formats import blocks

from .authors import MarkedFramer

Reader = Callable[[Decoder[Any]], Iterable[Any]]


def by_iteration(decoder: Decoder[Any]) -> Iterable[Any]:
    return decoder


def by_next_message(decoder: Decoder[Any]) -> Iterator[Any]:
    with suppress(EndOfStreamError):
        while (message := decoder.next_message()) is not None:
            yield message


def by_bytes_needed(decoder: Decoder[Any]) -> Iterator[Any]:
    """Ask first, and take a message only when ``bytes_needed`` says that there is one."""
    with suppress(EndOfStreamError):
        while not decoder.bytes_needed:
            message = decoder.next_message()
            assert message is not None
            yield message
        assert decoder.next_message() is None


def by_leaving_early(decoder: Decoder[Any]) -> Iterator[Any]:
    """Take one message at a time, each from a new iterator."""
    while batch := list(islice(decoder, 1)):
        yield from batch


READERS: list[Reader] = [by_iteration, by_next_message, by_bytes_needed, by_leaving_early]


class Results(list[Any]):
    """The messages of a stream, and its errors in their turn.

    Messages are compared by their repr: 1 is not True, and NaN, which random bytes can hold, is
    not equal to itself.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and list(map(_key, self)) == list(map(_key, other))


def _key(item: object) -> object:
    return item if isinstance(item, FramingError) else repr(item)


def is_final(item: object) -> bool:
    """Return whether *item* is an error after which there is nothing more."""
    return isinstance(item, FramingError) and not getattr(item, "recoverable", False)


def take(decoder: Decoder[Any], read: Reader = by_iteration) -> Results:
    """Return all that *decoder* has now, up to an error that is final."""
    found = Results()
    while True:
        try:
            for message in read(decoder):
                found.append(message)  # those before an error count
        except FramingError as error:
            found.append(error)
            if is_final(error):
                return found
        else:
            return found


def results(
    decoder: Decoder[Any],
    chunks: Iterable[bytes],
    read: Reader = by_iteration,
    *,
    eof: bool = True,
) -> Results:
    """Feed *chunks*, and the end of the stream if it has one, and read after each."""
    found = Results()
    for chunk in chunks:
        found += take(decoder.feed(chunk), read)
        if found and is_final(found[-1]):
            return found
    if eof:
        decoder.feed_eof()
        found += take(decoder, read)
    return found


def take_some(decoder: Decoder[Any], found: list[Any], count: int) -> None:
    """Add messages, and errors that end nothing, until there are *count* or no more."""
    while True:
        try:
            found.extend(islice(decoder, count - len(found)))
        except DecodeError as error:
            assert error.recoverable
            found.append(error)
        else:
            return


def cut(data: bytes, *sizes: int) -> Iterator[bytes]:
    """Cut *data* into chunks of those *sizes*, over and over; all at once if there are none."""
    start = 0
    while start < len(data):
        for size in sizes if any(sizes) else [len(data)]:
            yield data[start : start + size]
            start += size


def without_fast_path(framer: Framer[Any]) -> Framer[Any]:
    """Return the same format from a subclass, which decodes without any shortcut."""
    kind: Any = type(framer)

    class Plain(kind):  # type: ignore[misc]
        def read_message(self) -> Any:
            return (yield from super().read_message())

    Plain.__name__ = kind.__name__  # which some errors say
    plain: Framer[Any] = Plain.__new__(Plain)
    vars(plain).update(vars(framer))
    return plain


# What has to hold


def check(
    framer: Framer[Any],
    stream: bytes,
    chunks: Iterable[bytes] = (),
    read: Reader = by_next_message,
) -> Results:
    """Return what is in *stream*, after a check of every promise about any bytes.

    Args:
        framer: The format.
        stream: Good messages, or anything else.
        chunks: Another way of cutting it, beside whole and byte by byte.
        read: Another way of reading, beside iteration.
    """
    chunks = list(chunks) or [stream[:7], stream[7:]]
    plain = without_fast_path(framer)
    decoder = framer.decoder()
    whole = results(decoder, [stream])
    _check_end(decoder, stream, whole)
    now = results(framer.decoder(), [stream], eof=False)
    assert now == whole[: len(now)], (now, whole)
    for kind in (framer, plain):
        found = results(kind.decoder(), chunks, read)
        assert found == whole, (kind, chunks, read, found, whole)
        found = results(kind.decoder(), [stream], read, eof=False)
        assert found == now, (kind, read, found, now)
    waiting = iter(chunks)
    found = results(framer.decoder(), waiting, _feeding(waiting))
    assert found == whole, (chunks, found, whole)
    timed = _byte_by_byte(framer, stream)
    assert Results(item for items in timed for item in items) == whole, (timed, whole)
    assert timed == _byte_by_byte(plain, stream), timed  # not a byte later
    _check_taking_back(framer, stream, chunks, now)
    _check_alone(framer, stream, whole)
    return whole


def _feeding(waiting: Iterator[bytes]) -> Reader:
    """Read by iteration, and feed more after each message, from a buffer that is used again."""

    def read(decoder: Decoder[Any]) -> Iterator[Any]:
        for message in decoder:
            yield message
            for chunk in islice(waiting, 1):
                buffer = bytearray(chunk)
                decoder.feed(memoryview(buffer))
                buffer[:] = bytes(len(buffer))

    return read


def _byte_by_byte(framer: Framer[Any], stream: bytes) -> list[Results]:
    """Return what is there after each byte, and at the end."""
    decoder = framer.decoder()
    found = []
    for byte in cut(stream, 1):
        found.append(take(decoder.feed(byte)))
        if found[-1] and is_final(found[-1][-1]):
            return found
    return [*found, results(decoder, [])]


def _check_end(decoder: Decoder[Any], stream: bytes, whole: Results) -> None:
    """Check what is left of a decoder that has given *whole*."""
    last = whole[-1] if whole else None
    _check_nothing_follows(decoder, last)
    rest = decoder.unread()
    assert stream.endswith(rest)
    if isinstance(last, IncompleteMessageError):
        is_skipped = len(whole) > 1 and isinstance(whole[-2], MessageTooLargeError)
        assert len(rest) == last.received or (is_skipped and not rest)
    elif is_final(last):
        assert isinstance(last, DecodeError)
        assert rest
        assert last.offset == len(stream) - len(rest)
        with suppress(ValueError):  # at the end of the stream
            decoder.feed(stream)
        _check_nothing_follows(decoder, last)
        assert decoder.unread() == b""
    else:
        assert not rest


def _check_nothing_follows(decoder: Decoder[Any], last: Any) -> None:
    """Check that a final error comes again, and anything else is a clean end."""
    assert decoder.bytes_needed == 0
    for call in (decoder.next_message, iter(decoder).__next__):
        try:
            call()
        except StopIteration:
            assert not is_final(last)
        except FramingError as error:
            assert error is not last
            assert error == last or (type(error) is EndOfStreamError and not is_final(last))
        else:
            raise AssertionError("it goes on")


def _check_taking_back(
    framer: Framer[Any], stream: bytes, chunks: list[bytes], now: Results
) -> None:
    """Check that ``unread`` gives back exactly what was not taken, after each message."""
    last = len(now) - (bool(now) and is_final(now[-1]))
    for count in {*range(min(last, 4)), *range(max(0, last - 2), last + 1)}:
        decoder = framer.decoder()
        found = Results()
        for chunk in chunks:
            take_some(decoder.feed(chunk), found, count)
        assert found == now[:count]
        if count % 2:  # looking ahead reads, and takes nothing
            assert (decoder.bytes_needed == 0) == (count < len(now))
        rest = decoder.unread()
        start = len(stream) - len(rest)
        assert stream.endswith(rest)
        assert decoder.unread() == b""
        if count < len(now) and isinstance(now[count], DecodeError):
            assert now[count].offset == start
        alone = results(framer.decoder(), [rest], eof=False)
        for error in alone:
            if isinstance(error, DecodeError):
                assert error.offset is not None
                error.offset += start
        assert Results(found + alone) == now, (count, found, alone, now)
        assert alone == take(decoder.feed(rest))


def _check_alone(framer: Framer[Any], stream: bytes, whole: Results) -> None:
    """Check ``decode`` of the stream, and that what was received can be sent on."""
    try:
        assert whole == [framer.decode(stream)]
    except FramingError as error:
        assert str(error)
        is_one = len(whole) == 1 and not isinstance(whole[0], FramingError)
        assert not is_one or isinstance(framer, MarkedFramer)  # which skips what is around it
    for message in whole:
        if isinstance(message, FramingError):
            continue
        try:
            wire = framer.encode(message)
        except EncodeError:  # its last bytes may be half a delimiter, or its text ambiguous
            assert not isinstance(message, bytes) or getattr(framer, "final", "") == "emit"
        else:
            assert repr(framer.decode(wire)) == repr(message)


# Of what a decoder does with many bytes


@contextmanager
def few_bytes_are_many(least: int = 4) -> Iterator[None]:
    """Let a decoder handle *least* bytes, and a few times as many, as thousands."""
    window = {"_FIRST_WINDOW": least, "_WINDOW": 3 * least, "_READ_AHEAD": 2 * least}
    numbers: list[tuple[Any, dict[str, Any]]] = [
        (decoder, {**window, "LARGE": 3 * least}),
        (buffer, {"LARGE": 3 * least, "_LONG": least}),
        (blocks, {"_LONG_LINE": least}),
    ]
    with ExitStack() as stack:
        for module, each in numbers:
            stack.enter_context(mock.patch.multiple(module, **each))
        yield

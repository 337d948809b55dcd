"""Reading a stream with a decoder, in each of the ways that users do, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from framing import DecodeError, Decoder, EndOfStreamError, Framer, FramingError

Reader = Callable[[Decoder[Any]], Iterable[Any]]


def by_iteration(decoder: Decoder[Any]) -> Iterable[Any]:
    return decoder


def by_next_message(decoder: Decoder[Any]) -> Iterator[Any]:
    try:
        while (message := decoder.next_message()) is not None:
            yield message
    except EndOfStreamError:
        pass


def by_bytes_needed(decoder: Decoder[Any]) -> Iterator[Any]:
    """Ask first, and take a message only when ``bytes_needed`` says that there is one."""
    try:
        while not decoder.bytes_needed:
            message = decoder.next_message()
            assert message is not None
            yield message
        assert decoder.next_message() is None
    except EndOfStreamError:
        pass


def by_leaving_early(decoder: Decoder[Any]) -> Iterator[Any]:
    """Take one message at a time, each from a new iterator."""
    while batch := list(islice(decoder, 1)):
        yield from batch


READERS: list[Reader] = [by_iteration, by_next_message, by_bytes_needed, by_leaving_early]


@dataclass(eq=False)
class Outcome:
    """What was read from a stream so far, and how it ended.

    Attributes:
        items: The messages, and between them the errors after which the stream goes on.
        end: The error that finished the stream, ``"end"`` after a clean end, or ``"open"``.
    """

    items: list[Any] = field(default_factory=list)
    end: FramingError | str = "open"

    def take(self, decoder: Decoder[Any], read: Reader = by_iteration) -> None:
        """Add all that *decoder* has, up to an error that finishes it."""
        while True:
            try:
                for message in read(decoder):
                    self.items.append(message)  # those before an error count
            except FramingError as error:
                if not (isinstance(error, DecodeError) and error.recoverable):
                    self.end = error
                    return
                self.items.append(error)
            else:
                return

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Outcome)
            and list(map(_identity, self.items)) == list(map(_identity, other.items))
            and self.end == other.end
        )


def _identity(item: Any) -> object:
    """By repr, since NaN, which random bytes can hold, is not equal to itself."""
    return item if isinstance(item, FramingError) else repr(item)


def outcome(
    decoder: Decoder[Any],
    chunks: Iterable[bytes],
    read: Reader = by_iteration,
    *,
    eof: bool = True,
) -> Outcome:
    """Feed *chunks*, and the end of the stream if it has one, and read after each."""
    result = Outcome()
    for chunk in chunks:
        result.take(decoder.feed(chunk), read)
        if result.end != "open":
            return result
    if eof:
        decoder.feed_eof()
        result.take(decoder, read)
        if result.end == "open":
            result.end = "end"
    return result


def take_some(decoder: Decoder[Any], items: list[Any], count: int) -> None:
    """Add messages, and errors that end nothing, until there are *count* or no more."""
    while True:
        try:
            items.extend(islice(decoder, count - len(items)))
        except DecodeError as error:
            assert error.recoverable
            items.append(error)
        else:
            return


def feed_all(decoder: Decoder[Any], stream: bytes, size: int, messages: list[Any]) -> None:
    """Feed *stream* in chunks of *size* bytes, and add the messages of each to *messages*."""
    for start in range(0, len(stream), size):
        messages.extend(decoder.feed(stream[start : start + size]))


def single_bytes(data: bytes) -> list[bytes]:
    """Cut *data* into chunks of one byte."""
    return [data[i : i + 1] for i in range(len(data))]


def pieces(data: bytes, sizes: bytes) -> Iterator[bytes]:
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

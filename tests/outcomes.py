"""What comes of a stream of bytes: the messages in it, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from framing import Decoder, EndOfStreamError, FramingError
from framing.stream_decoder import StreamDecoder

Outcome = tuple[list[Any], "FramingError | None"]
Read = Callable[[Any, list[Any]], None]


def by_iteration(decoder: Decoder[Any], messages: list[Any]) -> None:
    for message in decoder:
        messages.append(message)  # noqa: PERF402  # those before an error count


def by_next_message(decoder: Decoder[Any], messages: list[Any]) -> None:
    try:
        while (message := decoder.next_message()) is not None:
            messages.append(message)
    except EndOfStreamError:
        pass


def by_bytes_needed(decoder: Decoder[Any], messages: list[Any]) -> None:
    try:
        while not decoder.bytes_needed:
            message = decoder.next_message()
            assert message is not None
            messages.append(message)
        assert decoder.next_message() is None
    except EndOfStreamError:
        pass


def by_leaving_early(decoder: Decoder[Any], messages: list[Any]) -> None:
    while batch := list(islice(decoder, 1)):
        messages += batch


def by_taking(decoder: StreamDecoder[Any], messages: list[Any]) -> None:
    """Read as a MessageSocket does."""
    try:
        while decoder.decode():
            message = decoder.take()
            assert message is not None
            messages.append(message)
    except EndOfStreamError:
        pass


READERS: list[Read] = [by_iteration, by_next_message, by_bytes_needed, by_leaving_early]


def outcome(
    decoder: Decoder[Any], chunks: Iterable[bytes], read: Read = by_iteration, *, end: bool = True
) -> Outcome:
    """Read the stream after each of its *chunks*, and after its end if it has one."""
    messages: list[Any] = []
    try:
        for chunk in chunks:
            read(decoder.feed(chunk), messages)
        if end:
            decoder.feed_eof()
            read(decoder, messages)
    except FramingError as error:
        return messages, error
    return messages, None


def same(one: Outcome, other: Outcome) -> bool:
    """Return whether two outcomes are equal: by repr, since NaN is not equal to itself."""
    return repr(one[0]) == repr(other[0]) and one[1] == other[1]


def pieces(data: bytes, sizes: bytes) -> Iterator[bytes]:
    """Cut *data* into chunks of those *sizes*, over and over; all at once if there are none."""
    start = 0
    while start < len(data):
        for size in sizes if any(sizes) else [len(data)]:
            yield data[start : start + size]
            start += size

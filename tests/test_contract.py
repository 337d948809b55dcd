"""The contract that every wire format keeps, whatever the bytes and however they are cut.

Each test runs over ``strategies.FORMATS``.  They are numbered as the promises in
``docs/framers.md`` are.
"""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from framing import (
    DecodeError,
    Decoder,
    DelimiterFramer,
    EndOfStreamError,
    Framer,
    FramingError,
    HeaderBodyFramer,
    HeaderMessage,
    IncompleteMessageError,
    LengthPrefixFramer,
    LineFramer,
    MessageTooLargeError,
    StructFramer,
)
from framing.stream_decoder import StreamDecoder

from .netstring import NetstringFramer
from .strategies import FORMATS, Format, carries, chunks, streams
from .work import Work

every_format = pytest.mark.parametrize("format", FORMATS, ids=repr)

Reader = Callable[[Decoder[Any]], Iterable[Any]]


def by_iteration(decoder: Decoder[Any]) -> Iterable[Any]:
    return decoder


def by_next_message(decoder: Decoder[Any]) -> Iterable[Any]:
    try:
        while (message := decoder.next_message()) is not None:
            yield message
    except EndOfStreamError:
        pass


def by_bytes_needed(decoder: Decoder[Any]) -> Iterable[Any]:
    try:
        while not decoder.bytes_needed:
            message = decoder.next_message()
            assert message is not None
            yield message
        assert decoder.next_message() is None
    except EndOfStreamError:
        pass


def by_leaving_early(decoder: Decoder[Any]) -> Iterable[Any]:
    """Take one message at a time, each from an iterator of its own."""
    while batch := list(islice(decoder, 1)):
        yield from batch


readers = st.sampled_from([by_iteration, by_next_message, by_bytes_needed, by_leaving_early])


@dataclass(eq=False)
class Result:
    """What was read from a stream, and how it ended."""

    messages: list[Any] = field(default_factory=list)
    outcome: str | FramingError = "open"

    def __eq__(self, other: object) -> bool:
        # By repr: NaN, which random bytes can hold, is not equal to itself.
        return (
            isinstance(other, Result)
            and repr(self.messages) == repr(other.messages)
            and self.outcome == other.outcome
        )

    def take(self, messages: Iterable[Any]) -> None:
        """Add *messages*, up to an error that ends them."""
        try:
            for message in messages:
                self.messages.append(message)  # those before an error count
        except FramingError as error:
            self.outcome = error

    @property
    def is_open(self) -> bool:
        return self.outcome == "open"


def decode(
    decoder: Decoder[Any], parts: Iterable[bytes], read: Reader = by_iteration, eof: bool = True
) -> Result:
    """Read the stream after each of its *parts*, and after its end if it has one."""
    result = Result()
    for part in parts:
        result.take(read(decoder.feed(part)))
        if not result.is_open:
            return result
    if eof:
        decoder.feed_eof()
        result.take(read(decoder))
        if result.is_open:
            result.outcome = "end"
    return result


# 1. Round trip


@every_format
@given(data=st.data())
def test_every_message_comes_back(format: Format[Any], data: st.DataObject) -> None:
    sent = data.draw(st.lists(format.messages, max_size=5))
    wire = b"".join(map(format.framer.encode, sent))
    result = decode(format.framer.decoder(), data.draw(chunks(wire)))
    assert result == Result(list(map(format.received, sent)), "end")


@every_format
@given(data=st.data())
def test_one_message_decodes_alone(format: Format[Any], data: st.DataObject) -> None:
    message = data.draw(format.messages)
    assert format.framer.decode(format.framer.encode(message)) == format.received(message)


@every_format
@given(data=st.data())
def test_the_parts_of_a_message_are_its_wire_bytes(
    format: Format[Any], data: st.DataObject
) -> None:
    message = data.draw(format.messages)
    assert b"".join(format.framer.encode_parts(message)) == format.framer.encode(message)


@every_format
@given(data=st.data())
def test_what_is_received_can_be_sent_on(format: Format[Any], data: st.DataObject) -> None:
    message = format.received(data.draw(format.messages))
    assert format.framer.decode(format.framer.encode(message)) == message


@every_format
@given(data=st.data())
def test_more_than_one_message_does_not_decode_alone(
    format: Format[Any], data: st.DataObject
) -> None:
    wire = format.framer.encode(data.draw(format.messages))
    with pytest.raises(DecodeError) as caught:
        format.framer.decode(wire + wire)
    assert caught.value.offset == len(wire)


# 2. Chunk invariance


@every_format
@given(data=st.data(), read=readers, eof=st.booleans())
def test_chunks_make_no_difference(
    format: Format[Any], data: st.DataObject, read: Reader, eof: bool
) -> None:
    stream = data.draw(streams(format))
    whole = decode(format.framer.decoder(), [stream], eof=eof)
    assert decode(format.framer.decoder(), data.draw(chunks(stream)), read, eof) == whole


@every_format
@given(data=st.data(), eof=st.booleans())
def test_the_fast_path_equals_the_plain_one(
    format: Format[Any], data: st.DataObject, eof: bool
) -> None:
    stream = data.draw(streams(format))
    plain = decode(StreamDecoder(format.framer, stepwise=True), [stream], eof=eof)
    assert decode(format.framer.decoder(), data.draw(chunks(stream)), eof=eof) == plain


@every_format
@given(data=st.data())
def test_feeding_ahead_makes_no_difference(format: Format[Any], data: st.DataObject) -> None:
    stream = data.draw(streams(format))
    decoder = format.framer.decoder()
    result = Result()
    for part in data.draw(chunks(stream)):
        decoder.feed(part)
        if data.draw(st.booleans()):
            result.take(islice(decoder, 1))
    if result.is_open:
        result.take(decoder)
    assert result == decode(format.framer.decoder(), [stream], eof=False)


@every_format
@given(data=st.data())
def test_feeding_inside_the_loop_makes_no_difference(
    format: Format[Any], data: st.DataObject
) -> None:
    stream = data.draw(streams(format))
    parts = data.draw(chunks(stream))
    decoder = format.framer.decoder()

    def messages() -> Iterator[Any]:
        while parts:
            for message in decoder.feed(parts.pop(0)):
                yield message
                if parts:
                    decoder.feed(parts.pop(0))

    result = Result()
    result.take(messages())
    assert result == decode(format.framer.decoder(), [stream], eof=False)


@every_format
@given(data=st.data())
def test_the_callers_buffer_can_be_reused(format: Format[Any], data: st.DataObject) -> None:
    stream = data.draw(streams(format))
    decoder = format.framer.decoder()
    result = Result()
    for part in data.draw(chunks(stream)):
        buffer = bytearray(part)
        decoder.feed(memoryview(buffer))
        buffer[:] = bytes(len(buffer))
        if result.is_open:
            result.take(decoder)
    assert result == decode(format.framer.decoder(), [stream], eof=False)


# 3. Errors come in their turn


@every_format
@given(data=st.data(), read=readers)
def test_a_finished_decoder_raises_a_fresh_equal_error(
    format: Format[Any], data: st.DataObject, read: Reader
) -> None:
    decoder = format.framer.decoder()
    error = decode(decoder, data.draw(chunks(data.draw(streams(format)))), read, eof=False).outcome
    if not isinstance(error, DecodeError):
        return
    decoder.feed(format.framer.encode(data.draw(format.messages)))
    assert decoder.bytes_needed == 0
    for attempt in (decoder.next_message, iter(decoder).__next__):
        with pytest.raises(type(error)) as caught:
            attempt()
        assert caught.value == error
        assert caught.value is not error


@every_format
@given(data=st.data())
def test_an_error_tells_where_its_message_starts(format: Format[Any], data: st.DataObject) -> None:
    good = data.draw(st.lists(format.messages, max_size=3))
    start = b"".join(map(format.framer.encode, good))
    stream = data.draw(streams(format))
    decoder = format.framer.decoder()
    result = decode(decoder, data.draw(chunks(start + stream)), eof=False)
    alone = decode(format.framer.decoder(), [stream], eof=False)
    if isinstance(alone.outcome, DecodeError):
        assert alone.outcome.offset is not None
        alone.outcome.offset += len(start)
        unread = decoder.unread()
        assert unread
        assert (start + stream)[alone.outcome.offset :].startswith(unread)
    assert result == Result([*map(format.received, good), *alone.messages], alone.outcome)


@every_format
@given(data=st.data(), look_ahead=st.booleans())
def test_unread_gives_back_what_no_message_was_made_of(
    format: Format[Any], data: st.DataObject, look_ahead: bool
) -> None:
    stream = data.draw(streams(format))
    whole = decode(format.framer.decoder(), [stream], eof=False)
    decoder = format.framer.decoder().feed(stream)
    result = Result()
    result.take(islice(decoder, data.draw(st.integers(0, len(whole.messages)))))
    if look_ahead:
        assert decoder.bytes_needed >= 0
    rest = decoder.unread()
    assert stream.endswith(rest)
    assert decoder.unread() == b""
    if isinstance(whole.outcome, DecodeError):
        decoder = format.framer.decoder()
        assert whole.outcome.offset is not None
        whole.outcome.offset -= len(stream) - len(rest)
    result.take(decoder.feed(rest))
    assert result == whole


# 4. A cut is never a clean end


@every_format
@given(data=st.data(), read=readers)
def test_a_cut_message_is_incomplete(
    format: Format[Any], data: st.DataObject, read: Reader
) -> None:
    before = data.draw(st.lists(format.messages, max_size=2))
    start = b"".join(map(format.framer.encode, before))
    wire = format.framer.encode(data.draw(format.messages))
    cut = data.draw(st.integers(0, len(wire) - 1))
    decoder = format.framer.decoder()
    result = decode(decoder, data.draw(chunks(start + wire[:cut])), read)
    assert result.messages[: len(before)] == list(map(format.received, before))
    if cut == 0:
        assert result.outcome == "end"
        return
    if takes_an_unterminated_message(format) and not isinstance(result.outcome, FramingError):
        assert len(result.messages) == len(before) + 1
        return
    if takes_an_unterminated_message(format):
        assert isinstance(result.outcome, DecodeError)  # half a character, half a delimiter
        return
    assert isinstance(result.outcome, IncompleteMessageError)
    assert result.outcome.received == cut
    assert result.outcome.expected in (None, len(wire))
    with pytest.raises(IncompleteMessageError) as caught:
        decoder.next_message()
    assert caught.value == result.outcome
    assert decoder.unread() == wire[:cut]


def takes_an_unterminated_message(format: Format[Any]) -> bool:
    return getattr(format.framer, "final", "") == "emit" or hasattr(format.framer, "encoding")


@every_format
def test_the_end_is_told_apart(format: Format[Any]) -> None:
    decoder = format.framer.decoder()
    assert decoder.next_message() is None
    decoder.feed_eof()
    decoder.feed_eof()
    assert list(decoder) == []
    assert decoder.bytes_needed == 0
    with pytest.raises(EndOfStreamError):
        decoder.next_message()
    with pytest.raises(ValueError, match="new decoder for a new stream"):
        decoder.feed(b"")


# 5. Linear time: each byte is moved and searched a bounded number of times.  (How long that
# takes is measured by tests/benchmarks/growth.py.)


@every_format
@pytest.mark.parametrize("pattern", ["bytes", "small chunks", "one chunk", "backlog"])
def test_work_is_linear_in_the_bytes(
    format: Format[Any], pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = b"".join(map(format.framer.encode, large_and_small(format)))
    stream = wire * (30_000 // len(wire) + 1)
    work = Work(monkeypatch)
    decoder = format.framer.decoder()
    size = {"bytes": 1, "small chunks": 64, "one chunk": len(stream), "backlog": 500}[pattern]
    for i in range(0, len(stream), size):
        decoder.feed(stream[i : i + size])
        if pattern == "backlog":
            decoder.next_message()
        else:
            for _ in decoder:
                pass
    for _ in decoder:
        pass
    assert decoder.unread() == b""
    assert work.moved < 10 * len(stream)
    assert sum(work.searched) < 4 * len(stream)


def large_and_small(format: Format[Any]) -> list[Any]:
    candidates: list[Any] = [
        *(b"", b"a", b"ab", b"x" * 9, b"x" * 250, b"x" * 20_000),
        *("", "a", "ab", "x" * 20_000),
        *(HeaderMessage({}, b""), HeaderMessage({}, bytes(20_000))),
        *((7, b"alice", 1), (200,), (1.5, 2.5, True, b"c"), (b"abc", -5)),
    ]
    return [each for each in candidates if carries(format, each)]


# 6. Bounded memory


@every_format
@given(data=st.data())
def test_a_limit_is_told_as_early_as_the_bytes_can_tell(
    format: Format[Any], data: st.DataObject
) -> None:
    stream = data.draw(streams(format))
    error = decode(format.framer.decoder(), [stream], eof=False).outcome
    if not isinstance(error, MessageTooLargeError):
        return
    decoder = format.framer.decoder()
    place = next(
        i for i in range(len(stream)) if not decode(decoder, [stream[i : i + 1]], eof=False).is_open
    )
    # One byte earlier, something could still follow that makes a message of it.
    assert error.offset is not None
    assert place - error.offset < earliest_refusal(format, stream[error.offset :])


def earliest_refusal(format: Format[Any], message: bytes) -> int:
    """Return how many bytes of *message*, which is too large, are needed to see that."""
    framer = format.framer
    if isinstance(framer, DelimiterFramer):
        delimiters = [framer.delimiter]
    elif isinstance(framer, LineFramer):
        delimiters = [b"\r\n", b"\n"]
    else:
        sizes = range(1, len(message) + 1)
        return next(
            n for n in sizes if not decode(framer.decoder(), [message[:n]], eof=False).is_open
        )
    for size in range(1, len(message) + 1):
        held = message[:size]
        begun = max(
            k
            for delimiter in delimiters
            for k in range(len(delimiter))
            if held.endswith(delimiter[:k])
        )
        if size - begun > framer.max_size:
            return size
    raise AssertionError(f"{message!r} is not too large")


@every_format
@given(data=st.data())
def test_bytes_needed_never_reads_past_a_message(format: Format[Any], data: st.DataObject) -> None:
    sent = data.draw(st.lists(format.messages, min_size=1, max_size=3))
    rest = b"".join(map(format.framer.encode, sent))
    decoder = format.framer.decoder()
    received = []
    while rest:
        needed = decoder.bytes_needed
        assert 0 < needed <= len(rest)
        decoder.feed(rest[:needed])
        rest = rest[needed:]
        if decoder.bytes_needed == 0:
            received.append(decoder.next_message())
            assert decoder.unread() == b""
    assert received == list(map(format.received, sent))


@pytest.mark.parametrize(
    ("framer", "announcement"),
    [
        (LengthPrefixFramer(), b"\1\0\0\0"),
        (HeaderBodyFramer(), b'\0\0\0\x11{"size":16777216}'),
        (HeaderBodyFramer(max_header_size=2**30), b"\x40\0\0\0"),
        (StructFramer("!16777216s"), b"x"),
        (NetstringFramer(max_size=2**24), b"16777216:"),
    ],
    ids=repr,
)
def test_an_announced_size_costs_nothing(framer: Framer[Any], announcement: bytes) -> None:
    decoders = [framer.decoder() for _ in range(300)]
    tracemalloc.start()
    try:
        for decoder in decoders:
            assert list(decoder.feed(announcement)) == []
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 300 * 2000
    assert peak < 300 * 2000 + 100_000
    assert decoder.bytes_needed >= 2**24 - 1


ANY = settings(max_examples=50, phases=[Phase.generate], database=None)


@every_format
def test_between_messages_nothing_is_held(format: Format[Any]) -> None:
    wire = format.framer.encode(find(format.messages, lambda _: True, settings=ANY))
    decoder = format.framer.decoder()
    parts = [wire * (20_000 // len(wire) + 1)] * 2
    tracemalloc.start()
    try:
        for part in parts:
            for _ in decoder.feed(part):
                pass
        del _
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4000


# 7. Garbage


@every_format
@given(data=st.data(), garbage=st.binary(max_size=300))
def test_garbage_gives_messages_or_a_framing_error(
    format: Format[Any], data: st.DataObject, garbage: bytes
) -> None:
    decode(format.framer.decoder(), data.draw(chunks(garbage)))
    try:
        format.framer.decode(garbage)
    except FramingError as error:
        assert str(error)


# A framer is a value


@every_format
def test_a_framer_is_a_value(format: Format[Any]) -> None:
    framer = format.framer
    copy = pickle.loads(pickle.dumps(framer))
    assert copy == framer
    assert hash(copy) == hash(framer)
    assert copy is not framer
    assert repr(copy) == repr(framer)
    assert framer != object()
    assert sum(framer == other.framer for other in FORMATS) == 1
    with pytest.raises(AttributeError, match="immutable"):
        framer.max_size = 5
    with pytest.raises(AttributeError, match="immutable"):
        framer.other = 5
    with pytest.raises(AttributeError, match="immutable"):
        del framer.max_size

"""The contract of every wire format, whatever the bytes and however they are cut.

Each test runs over ``strategies.FORMATS``, which a new format joins by one line. The sections
have the numbers of the promises in ``docs/framers.md``.
"""

from __future__ import annotations

import pickle
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framing import (
    ContentLengthFramer,
    DecodeError,
    DelimiterFramer,
    EndOfStreamError,
    Framer,
    FramingError,
    HeaderBodyFramer,
    IncompleteMessageError,
    JsonFramer,
    LengthPrefixFramer,
    LineFramer,
    MessageTooLargeError,
    NetstringFramer,
    StructFramer,
    VarintFramer,
)

from . import netstring
from .authors import AnyOfFramer
from .outcomes import READERS, Outcome, Reader, outcome, take_some, without_fast_path
from .strategies import (
    FORMATS,
    Format,
    chunks,
    every_format,
    innermost,
    longest_message,
    one_of_each_class,
    samples,
    streams,
)

readers = st.sampled_from(READERS)


# 1. Round trip


@every_format
@given(data=st.data())
def test_every_message_comes_back(format: Format[Any], data: st.DataObject) -> None:
    sent = data.draw(st.lists(format.messages, max_size=5))
    wire = b"".join(map(format.framer.encode, sent))
    result = outcome(format.framer.decoder(), data.draw(chunks(wire)))
    assert result == Outcome(list(map(format.received, sent)), "end")


@every_format
@given(data=st.data())
def test_one_message_is_encoded_and_decoded_alone(format: Format[Any], data: st.DataObject) -> None:
    message = data.draw(format.messages)
    wire = format.framer.encode(message)
    assert b"".join(format.framer.encode_parts(message)) == wire
    received = format.framer.decode(wire)
    assert received == format.received(message)
    assert format.framer.decode(format.framer.encode(received)) == received  # sent on
    with pytest.raises(DecodeError) as caught:
        format.framer.decode(wire + wire)
    assert caught.value.offset == len(wire)


# 2. Chunks make no difference


@every_format
@given(data=st.data(), read=readers, eof=st.booleans(), fast=st.booleans())
def test_chunks_make_no_difference(
    format: Format[Any], data: st.DataObject, read: Reader, eof: bool, fast: bool
) -> None:
    stream = data.draw(streams(format))
    whole = outcome(format.framer.decoder(), [stream], eof=eof)
    framer = format.framer if fast else without_fast_path(format.framer)
    assert outcome(framer.decoder(), data.draw(chunks(stream)), read, eof=eof) == whole


@every_format
@given(data=st.data())
def test_feeding_before_or_while_reading_makes_no_difference(
    format: Format[Any], data: st.DataObject
) -> None:
    stream = data.draw(streams(format))
    parts = data.draw(chunks(stream))
    decoder = format.framer.decoder()

    def feed() -> None:
        if parts:  # from a buffer that is used again
            buffer = bytearray(parts.pop(0))
            decoder.feed(memoryview(buffer))
            buffer[:] = bytes(len(buffer))

    def messages(_: object) -> Iterator[Any]:
        for message in decoder:
            yield message
            if data.draw(st.booleans()):
                feed()

    result = Outcome()
    while parts and result.end == "open":
        feed()
        if data.draw(st.booleans()):
            result.take(decoder, messages)
    if result.end == "open":
        result.take(decoder)
    assert result == outcome(format.framer.decoder(), [stream], eof=False)


# 3. Errors come in their turn


@every_format
@given(data=st.data(), read=readers)
def test_a_finished_decoder_raises_a_fresh_equal_error(
    format: Format[Any], data: st.DataObject, read: Reader
) -> None:
    decoder = format.framer.decoder()
    error = outcome(decoder, data.draw(chunks(data.draw(streams(format)))), read, eof=False).end
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
def test_an_error_says_where_its_message_starts(format: Format[Any], data: st.DataObject) -> None:
    good = data.draw(st.lists(format.messages, max_size=3))
    start = b"".join(map(format.framer.encode, good))
    stream = data.draw(streams(format))
    decoder = format.framer.decoder()
    result = outcome(decoder, data.draw(chunks(start + stream)), eof=False)
    alone = outcome(format.framer.decoder(), [stream], eof=False)
    for error in [*alone.items, alone.end]:
        if isinstance(error, DecodeError):
            assert error.offset is not None
            error.offset += len(start)
    if isinstance(alone.end, DecodeError):
        unread = decoder.unread()
        assert unread
        assert (start + stream)[alone.end.offset :].startswith(unread)
    assert result == Outcome([*map(format.received, good), *alone.items], alone.end)


@every_format
@given(data=st.data(), look_ahead=st.booleans())
def test_unread_returns_the_bytes_of_no_message_taken_so_far(
    format: Format[Any], data: st.DataObject, look_ahead: bool
) -> None:
    stream = data.draw(streams(format))
    whole = outcome(format.framer.decoder(), [stream], eof=False)
    decoder = format.framer.decoder().feed(stream)
    taken: list[Any] = []
    take_some(decoder, taken, data.draw(st.integers(0, len(whole.items))))
    if look_ahead:
        assert decoder.bytes_needed >= 0
    rest = decoder.unread()
    assert stream.endswith(rest)
    assert decoder.unread() == b""
    result = outcome(format.framer.decoder(), [rest], eof=False)
    for error in [*result.items, result.end]:
        if isinstance(error, DecodeError):
            assert error.offset is not None
            error.offset += len(stream) - len(rest)
    assert Outcome(taken + result.items, result.end) == whole


# 4. A truncated message is never a clean end


@every_format
@given(data=st.data(), read=readers)
def test_a_truncated_message_is_incomplete(
    format: Format[Any], data: st.DataObject, read: Reader
) -> None:
    before = data.draw(st.lists(format.messages, max_size=2))
    start = b"".join(map(format.framer.encode, before))
    wire = format.framer.encode(data.draw(format.messages))
    cut = data.draw(st.integers(0, len(wire) - 1))
    decoder = format.framer.decoder()
    result = outcome(decoder, data.draw(chunks(start + wire[:cut])), read)
    assert result.items[: len(before)] == list(map(format.received, before))
    if cut == 0:
        assert result.end == "end"
    elif format.ends_with_the_stream:
        # One more message, unless a character or a delimiter was cut
        assert isinstance(result.end, DecodeError) or len(result.items) == len(before) + 1
    else:
        assert isinstance(result.end, IncompleteMessageError)
        assert result.end.received == cut
        assert result.end.expected in (None, len(wire))
        with pytest.raises(IncompleteMessageError) as caught:
            decoder.next_message()
        assert caught.value == result.end
        assert decoder.unread() == wire[:cut]


@every_format
def test_a_clean_end_is_neither_an_error_nor_more_bytes_needed(format: Format[Any]) -> None:
    decoder = format.framer.decoder()
    assert decoder.next_message() is None
    decoder.feed_eof()
    decoder.feed_eof()
    assert list(decoder) == []
    assert decoder.bytes_needed == 0
    with pytest.raises(EndOfStreamError):
        decoder.next_message()
    with pytest.raises(ValueError, match="new decoder"):
        decoder.feed(b"")


# 5. Linear time. These bounds are far from what is measured (which ``tests/benchmarks`` does),
# and far from what quadratic work would take.


def processor_time(run: Callable[[], object]) -> float:
    """Return how much processor time *run* takes, in seconds."""
    start = time.process_time()
    run()
    return time.process_time() - start


LARGE = 1024 * 1024


@pytest.mark.parametrize("format", [f for f in FORMATS if f.framer.max_size >= LARGE], ids=repr)
def test_a_large_message_in_small_chunks_takes_linear_time(format: Format[Any]) -> None:
    wire = format.framer.encode(longest_message(format, LARGE))

    def seconds(size: int) -> float:
        parts = [wire[i : i + size] for i in range(0, len(wire), size)]
        decoder = format.framer.decoder()
        return processor_time(lambda: messages.extend(m for p in parts for m in decoder.feed(p)))

    for _ in range(4):  # what else runs on the machine may slow it down for a moment
        messages: list[Any] = []
        times = seconds(1000), seconds(250)
        assert len(messages) == 2
        # Copying all that came before at each chunk would take 0.3 seconds, and this takes 0.01.
        if times[0] < 0.4 and times[1] < 0.15 + 10 * times[0]:
            return
    raise AssertionError(times)


@one_of_each_class
def test_a_backlog_taken_one_by_one_takes_linear_time(format: Format[Any]) -> None:
    wire = format.framer.encode(samples(format)[0])
    count = min(40_000, 400_000 // len(wire))
    backlog = wire * count

    def one_by_one() -> None:
        decoder = format.framer.decoder().feed(backlog)
        for _ in range(count):
            assert decoder.next_message() is not None
        assert decoder.next_message() is None

    def at_once() -> None:
        assert sum(1 for _ in format.framer.decoder().feed(backlog)) == count

    # Moving what is left for each message would take a second, and this takes 0.02.
    assert processor_time(one_by_one) < 0.15 + 15 * processor_time(at_once)


# 6. Bounded memory


@every_format
@given(data=st.data())
def test_a_limit_is_reported_as_early_as_the_bytes_can_show(
    format: Format[Any], data: st.DataObject
) -> None:
    stream = data.draw(streams(format))
    whole = outcome(format.framer.decoder(), [stream], eof=False)
    decoder, so_far, fed = format.framer.decoder(), Outcome(), 0
    for error in [*whole.items, whole.end]:
        if isinstance(error, MessageTooLargeError):
            while error not in so_far.items and error != so_far.end:
                assert fed < len(stream)
                so_far.take(decoder.feed(stream[fed : fed + 1]))
                fed += 1
            # One byte earlier, something could still follow that makes a message of it.
            assert error.offset is not None
            message = stream[error.offset :]
            assert fed - error.offset <= earliest_refusal(innermost(format.framer), message)


def earliest_refusal(framer: Framer[Any], message: bytes) -> int:
    """Return how many bytes of *message*, which is too large, are needed to see that."""
    sizes = range(1, len(message) + 1)
    if isinstance(framer, DelimiterFramer | LineFramer | AnyOfFramer):
        delimiters = getattr(framer, "delimiters", (getattr(framer, "delimiter", b"\r\n"),))
        begun = [d[:k] for d in delimiters for k in range(len(d))]
        for size in sizes:
            may_be_delimiter = max(len(b) for b in begun if message[:size].endswith(b))
            if size - may_be_delimiter > framer.max_size:
                return size
    return next(
        n for n in sizes if outcome(framer.decoder(), [message[:n]], eof=False) != Outcome()
    )


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
        (NetstringFramer(), b"16777216:"),
        (netstring.NetstringFramer(max_size=2**24), b"16777216:"),
        (VarintFramer(), b"\x80\x80\x80\x08"),
        (JsonFramer(ContentLengthFramer()), b"content-length:16777216\r\nA:\r\n\r\n"),
        (LengthPrefixFramer(oversize="skip"), b"\1\0\0\0"),
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


@every_format
def test_between_messages_nothing_is_held(format: Format[Any]) -> None:
    wire = max(map(format.framer.encode, samples(format)), key=len)
    decoder = format.framer.decoder()
    parts = [wire * (30_000 // len(wire) + 1)] * 2
    tracemalloc.start()
    try:
        for part in parts:
            for _ in decoder.feed(part):
                pass
        del _
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 20_000  # some of it is CPython's: it keeps a few freed objects of each type


# 7. Garbage


@every_format
@given(data=st.data(), garbage=st.binary(max_size=300))
def test_garbage_gives_messages_or_a_framing_error(
    format: Format[Any], data: st.DataObject, garbage: bytes
) -> None:
    outcome(format.framer.decoder(), data.draw(chunks(garbage)))
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
    for name in ("max_size", "other"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(framer, name, 5)
    with pytest.raises(AttributeError, match="immutable"):
        del framer.max_size

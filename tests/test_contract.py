"""The contract of every wire format, whatever the bytes and however they are cut.

Each test runs over ``strategies.FORMATS``, which a new format joins by one line.  What holds for
any bytes is in ``outcomes.check``.
"""

from __future__ import annotations

import pickle
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framing import (
    CodecFramer,
    ContentLengthFramer,
    DecodeError,
    EncodeError,
    EndOfStreamError,
    Framer,
    HeaderBodyFramer,
    IncompleteMessageError,
    JsonFramer,
    LengthPrefixFramer,
    MessageTooLargeError,
    NetstringFramer,
    StructFramer,
    VarintFramer,
)

from . import netstring
from .authors import MarkedFramer
from .outcomes import READERS, Reader, Results, check, cut, results
from .strategies import (
    FORMATS,
    Format,
    chunks,
    every_format,
    longest_message,
    one_of_each_class,
    samples,
    streams,
    with_limit,
)

readers = st.sampled_from(READERS)


# Messages, and any other bytes


@every_format
@given(data=st.data(), read=readers)
def test_every_message_comes_back(format: Format[Any], data: st.DataObject, read: Reader) -> None:
    framer = format.framer
    sent = data.draw(st.lists(format.messages, min_size=1, max_size=4))
    wires = list(map(framer.encode, sent))
    stream = b"".join(wires)
    received = Results(map(format.received, sent))
    assert results(framer.decoder(), data.draw(chunks(stream)), read) == received
    for wire, message, arrived in zip(wires, sent, received, strict=True):
        assert b"".join(framer.encode_parts(message)) == wire
        assert framer.decode(wire) == arrived
        assert framer.decode(framer.encode(arrived)) == arrived  # sent on
    with pytest.raises(DecodeError) as caught:
        framer.decode(wire + wire)
    assert caught.value.offset == len(wire)
    assert_nothing_is_read_past_a_message(framer, stream, received)


def assert_nothing_is_read_past_a_message(
    framer: Framer[Any], stream: bytes, received: Results
) -> None:
    decoder, found = framer.decoder(), Results()
    while stream:
        needed = decoder.bytes_needed
        assert 0 < needed <= len(stream)
        decoder.feed(stream[:needed])
        stream = stream[needed:]
        if decoder.bytes_needed == 0:
            found.append(decoder.next_message())
            assert decoder.unread() == b""
    assert found == received


@every_format
@settings(max_examples=4 * settings().max_examples)
@given(data=st.data(), read=readers)
def test_any_bytes_give_messages_and_errors_that_depend_on_nothing_else(
    format: Format[Any], data: st.DataObject, read: Reader
) -> None:
    stream = data.draw(streams(format))
    check(format.framer, stream, data.draw(chunks(stream)), read)


@every_format
@given(data=st.data(), read=readers)
def test_a_truncated_message_is_incomplete(
    format: Format[Any], data: st.DataObject, read: Reader
) -> None:
    before = data.draw(st.lists(format.messages, max_size=2))
    start = b"".join(map(format.framer.encode, before))
    wire = format.framer.encode(data.draw(format.messages))
    place = data.draw(st.integers(0, len(wire) - 1))
    decoder = format.framer.decoder()
    found = results(decoder, data.draw(chunks(start + wire[:place])), read)
    assert found[: len(before)] == Results(map(format.received, before))
    rest = found[len(before) :]
    if place == 0:
        assert rest == []
    elif format.ends_with_the_stream:
        assert rest  # a message, unless a character or a delimiter was cut
    else:
        (error,) = rest
        assert isinstance(error, IncompleteMessageError)
        assert error.received == place
        assert error.expected in (None, len(wire))
        assert decoder.unread() == wire[:place]


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


@every_format
def test_a_framer_is_a_value(format: Format[Any]) -> None:
    framer = format.framer
    copy = pickle.loads(pickle.dumps(framer))
    assert (copy, hash(copy), repr(copy)) == (framer, hash(framer), repr(framer))
    assert copy is not framer
    wires = list(map(framer.encode, samples(format)))
    assert list(map(copy.encode, samples(format))) == wires
    assert [repr(copy.decode(each)) for each in wires] == [
        repr(framer.decode(each)) for each in wires
    ]
    assert framer != object()
    assert sum(framer == other.framer for other in FORMATS) == 1
    advice = f"^a framer is immutable: make another {type(framer).__name__}"
    for name in ("max_size", "other"):
        with pytest.raises(AttributeError, match=f"{advice}($| .and in)"):
            setattr(framer, name, 5)
    with pytest.raises(AttributeError, match=f"{advice}$"):
        del framer.max_size


# Limits


LIMITED = [
    framer
    for framer in dict.fromkeys(with_limit(each.framer, 6) for each in FORMATS)
    if framer.max_size == 6 and not isinstance(framer, MarkedFramer)  # which skips such a message
]


@pytest.mark.parametrize("framer", LIMITED, ids=repr)
def test_a_limit_holds_to_the_byte_both_ways(framer: Framer[Any]) -> None:
    other = with_limit(framer, 60)
    good, bad = longest_message(framer, 6), longest_message(other, 7)
    assert framer.decode(other.encode(good)) == framer.decode(framer.encode(good))
    for encode in (framer.encode, framer.encode_parts):
        with pytest.raises(EncodeError, match=r"at most 6 bytes|short line"):
            encode(bad)
    is_skipped = getattr(framer, "oversize", "") == "skip"
    for behind in (0, 3):
        start = framer.encode(good) * behind
        found = check(framer, start + other.encode(bad) + framer.encode(good))
        error = found[behind]
        assert isinstance(error, MessageTooLargeError)
        assert (error.limit, error.offset, error.recoverable) == (6, len(start), is_skipped)
        assert error.size in (None, 7)
        assert "6 bytes" in str(error)
        assert len(found) == behind + 1 + is_skipped


# Time is linear. These bounds are far from what is measured (which ``tests/benchmarks`` does),
# and far from what quadratic work would take.


def processor_time(run: Callable[[], object]) -> float:
    """Return how much processor time *run* takes, in seconds."""
    start = time.process_time()
    run()
    return time.process_time() - start


LARGE = 1024 * 1024


CARRY_LARGE = [
    f for f in FORMATS if f.framer.max_size >= LARGE and type(f.framer) is not CodecFramer
]


@pytest.mark.parametrize("format", CARRY_LARGE, ids=repr)
def test_a_large_message_in_small_chunks_takes_linear_time(format: Format[Any]) -> None:
    wire = format.framer.encode(longest_message(format.framer, LARGE))

    def seconds(size: int) -> float:
        parts = list(cut(wire, size))
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


@pytest.mark.parametrize("format", CARRY_LARGE, ids=repr)
def test_a_message_is_found_however_long_its_first_chunk(format: Format[Any]) -> None:
    for size in (1 << power for power in range(9, 19)):  # as blocks are that are decoded at once
        message = longest_message(format.framer, size + 100)
        wire = format.framer.encode(message)
        for decoder in (format.framer.decoder(), format.framer.decoder().switch(format.framer)):
            assert list(decoder.feed(wire[:size])) == []
            assert list(decoder.feed(wire[size:] + wire[:1])) == [format.received(message)]


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


# Memory is bounded


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
    each = 2500 if sys.version_info < (3, 11) else 2000  # generators are larger there
    assert held < 300 * each
    assert peak < 300 * each + 100_000
    assert decoder.bytes_needed >= 2**24 - 1


@one_of_each_class
def test_between_messages_nothing_is_held(format: Format[Any]) -> None:
    wire = max(map(format.framer.encode, samples(format)), key=len)
    decoder = format.framer.decoder()
    parts = [wire * (30_000 // len(wire) + 1)] * 2
    for part in parts:  # coverage takes memory for what runs first
        list(format.framer.decoder().feed(part))
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

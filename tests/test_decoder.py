"""What a decoder does with odd input, at the end, and with memory."""

from __future__ import annotations

import array
import ctypes
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import framing
from framing import (
    ContentLengthFramer,
    DecodeError,
    DelimiterFramer,
    EncodeError,
    Framer,
    HeaderBodyFramer,
    HeaderMessage,
    IncompleteMessageError,
    LengthPrefixFramer,
    StructFramer,
    VarintFramer,
)

from .authors import AnyOfFramer
from .netstring import NetstringFramer
from .outcomes import by_bytes_needed, check, cut, results

# Odd things to feed


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2], 1.5, ...], ids=repr)
def test_feeding_something_else_than_bytes_is_a_type_error_and_does_no_harm(data: Any) -> None:
    for before in (b"", b"\0\0\0\4h"):
        decoder = LengthPrefixFramer().decoder().feed(before)
        assert list(decoder) == []
        with pytest.raises(TypeError):
            decoder.feed(data)
        assert decoder.unread() == before


WIRE = b"\0\0\0\4four\0\0\0\0\0\0\0\4more"
BUFFERS: dict[str, Callable[[bytes], Any]] = {
    "bytearray": bytearray,
    "memoryview": memoryview,
    "array": lambda data: array.array("H", data),
    "view of items": lambda data: memoryview(array.array("H", data)),
    "view of rows": lambda data: memoryview(data).cast("B", (len(data) // 2, 2)),
    "every second": lambda data: memoryview(b"".join(bytes((b, 0xEE)) for b in data))[::2],
    "backwards": lambda data: memoryview(data[::-1])[::-1],
    "ctypes": lambda data: ctypes.create_string_buffer(data, len(data)),
}


@pytest.mark.parametrize("buffer", BUFFERS.values(), ids=BUFFERS)
def test_buffers_of_any_kind_are_fed_and_sent_as_their_bytes(buffer: Callable[..., Any]) -> None:
    for size in (2, 4, 6, 10, len(WIRE)):
        chunks = map(buffer, cut(WIRE, size))
        assert results(LengthPrefixFramer().decoder(), chunks) == [b"four", b"", b"more"]
    framer = LengthPrefixFramer(max_size=6)
    assert framer.encode(buffer(b"hello!")) == b"\0\0\0\6hello!"
    with pytest.raises(EncodeError, match="at most 6 bytes"):
        framer.encode(buffer(b"too long"))
    if buffer not in {BUFFERS["view of rows"], BUFFERS["ctypes"]}:  # which are never empty
        assert framer.encode(buffer(b"")) == bytes(4)


def test_sizes_are_counted_in_bytes() -> None:
    words = array.array("H", [0, 0x0200, 0x6968, 0x2121])
    if words.tobytes()[:4] != b"\0\0\0\2":
        words.byteswap()
    assert LengthPrefixFramer().decode(memoryview(words)[:3]) == b"hi"
    with pytest.raises(DecodeError) as caught:
        LengthPrefixFramer().decode(memoryview(words))
    assert caught.value.offset == 6


def test_feed_returns_the_decoder_which_knows_its_framer() -> None:
    framer = LengthPrefixFramer()
    decoder = framer.decoder()
    assert decoder.feed(b"") is decoder
    assert decoder.framer is framer
    assert weakref.ref(decoder)() is decoder


# Where the stream ends


@pytest.mark.parametrize(
    ("framer", "wire", "expected"),
    [
        (LengthPrefixFramer(), b"\0\0", None),
        (LengthPrefixFramer(), b"\0\0\0\5", 9),
        (LengthPrefixFramer(), b"\0\0\0\5he", 9),
        (StructFramer("!I"), b"\0", 4),
        (DelimiterFramer(), b"he", None),
        (HeaderBodyFramer(), b'\0\0\0\x0a{"size":2}', 16),
        (HeaderBodyFramer(), b'\0\0\0\x0a{"size":2', None),
        (framing.NetstringFramer(), b"5:hel", 8),
        (NetstringFramer(), b"5:he", 8),
        (NetstringFramer(), b"5", None),
        (VarintFramer(), b"\x85\x00hel", 7),
        (ContentLengthFramer(), b"Content-Length: 5\r\n\r\nhel", 26),
        # Behind the error of the message that is skipped
        (LengthPrefixFramer("!B", max_size=1, oversize="skip"), b"\5he", 6),
        (DelimiterFramer(b"\r\n", max_size=2, oversize="skip"), b"hello", None),
        (DelimiterFramer(b"\r\n", max_size=2, oversize="skip"), b"hello\r", None),
    ],
    ids=repr,
)
def test_an_end_inside_a_message_says_what_came_and_what_was_expected(
    framer: Framer[Any], wire: bytes, expected: int | None
) -> None:
    decoder = framer.decoder().feed(wire)
    decoder.feed_eof()
    if getattr(framer, "oversize", "") == "skip":
        with pytest.raises(framing.MessageTooLargeError):
            decoder.next_message()
    whole = "" if expected is None else f" of {expected}"
    text = f"^the stream ended after {len(wire)} bytes of a message{whole}$"
    with pytest.raises(IncompleteMessageError, match=text) as caught:
        decoder.next_message()
    assert (caught.value.received, caught.value.expected) == (len(wire), expected)


def test_nothing_is_fed_behind_the_end() -> None:
    decoder = DelimiterFramer().decoder()
    decoder.feed_eof()
    with pytest.raises(ValueError, match="feed") as caught:
        decoder.feed(b"more")
    assert str(caught.value) == "feed() after feed_eof(): use a new decoder for a new stream"


def test_a_message_whose_end_comes_behind_many_that_were_taken_is_found() -> None:
    small, large = bytes(1000), bytes(41_000)
    wire = b"".join(map(LengthPrefixFramer().encode, [*[small] * 100, large]))
    decoder = LengthPrefixFramer().decoder().feed(wire[:-1000])
    assert [decoder.next_message() for _ in range(100)] == [small] * 100
    assert decoder.feed(wire[-1000:]).next_message() == large


def test_the_end_ends_a_message_that_came_in_pieces_before_it_was_looked_for() -> None:
    decoder = AnyOfFramer(or_end=True).decoder().feed(b"a long piece").feed(b", and")
    decoder.feed_eof()
    assert list(decoder) == [b"a long piece, and"]


# Taking bytes back


@pytest.mark.parametrize(
    ("framer", "stream"),
    [
        (AnyOfFramer(), b"a\rb\rc\r"),  # the last one may be half of \r\n
        (AnyOfFramer((b"ab", b"abbb")), b"aba"),
        (AnyOfFramer((b"b", b"abc"), max_size=1), b"aab"),  # abc may follow
        (DelimiterFramer(b"\r\n", max_size=2, oversize="skip"), b"abcd\r\nok\r\n"),
        (LengthPrefixFramer(max_size=9), b"\0\0\0\1a\0\0\0\xff"),
    ],
    ids=repr,
)
def test_streams_that_were_once_misread_read_alike_in_any_cut(
    framer: Framer[Any], stream: bytes
) -> None:
    for end in range(len(stream)):
        check(framer, stream[: end + 1], cut(stream[: end + 1], 1), by_bytes_needed)


def test_a_large_message_that_was_not_taken_is_taken_back_whole() -> None:
    wire = LengthPrefixFramer().encode(bytes(100_000))
    decoder = LengthPrefixFramer().decoder()
    for chunk in cut(wire, 10_000):
        decoder.feed(chunk).bytes_needed  # noqa: B018  # which decodes
    assert decoder.bytes_needed == 0
    assert decoder.unread() == wire


HEADERS = HeaderBodyFramer()
# A header so long that the decoder keeps it aside while it waits for the body.
LONG = HEADERS.encode(HeaderMessage({"pad": "x" * 6000}, b"long"))
NEXT = HEADERS.encode(HeaderMessage({"id": 2}, b"next"))


def test_a_message_that_came_in_parts_is_neither_taken_back_nor_read_again() -> None:
    for size in (*range(0, len(LONG), 50), *range(len(LONG) - 20, len(LONG))):
        for switches in (False, True):
            decoder = HEADERS.decoder().feed(LONG[:size])
            assert decoder.next_message() is None
            message = decoder.feed(LONG[size:] + NEXT).next_message()
            assert message is not None
            assert message.body == b"long"
            if switches:
                message = decoder.switch(HeaderBodyFramer(max_size=100)).next_message()
                assert message is not None
                assert message.body == b"next"
            else:
                assert decoder.unread() == NEXT


def test_a_decoder_is_idle_behind_a_body_that_was_received_elsewhere() -> None:
    decoder = HEADERS.decoder()
    decoder.expect_body(5, 0)
    decoder.skip(4)
    assert not decoder.is_idle
    decoder.skip(1)
    assert decoder.is_idle


# Memory


def peak_of(call: Callable[[], object]) -> int:
    """Return how many bytes *call* has allocated at most at a time."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("wrap", "copies"), [(bytes, 0), (memoryview, 1)])
def test_what_is_fed_is_copied_once_at_most(wrap: Any, copies: int) -> None:
    data = wrap(bytes(4_000_000))
    decoder = LengthPrefixFramer().decoder()
    assert peak_of(lambda: decoder.feed(data)) < (copies + 0.5) * len(data)


@pytest.mark.parametrize("chunk", [10_000, 64 * 1024, 300_000])
@pytest.mark.parametrize("before", [b"", b"\0\0\0\5hello"])
def test_a_large_message_is_held_once(before: bytes, chunk: int) -> None:
    wire = LengthPrefixFramer().encode(bytes(8_000_000))
    decoder = LengthPrefixFramer().decoder()
    assert list(decoder.feed(before + wire[:4])) == [b"hello"] * bool(before)
    messages: list[bytes] = []
    chunks = list(cut(wire[4:], chunk))
    peak = peak_of(lambda: messages.extend(m for each in chunks for m in decoder.feed(each)))
    assert messages == [wire[4:]]
    assert peak < 1.5 * len(wire)


def test_a_message_that_was_handed_out_is_not_kept() -> None:
    decoder = LengthPrefixFramer().decoder()
    wire = LengthPrefixFramer().encode(bytes(2**20))
    assert decoder.feed(wire).next_message()  # coverage takes memory for what runs first
    tracemalloc.start()
    try:
        assert decoder.feed(wire).next_message()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 10_000


def test_views_with_gaps_continue_a_message() -> None:
    whole = bytes(range(200)) * 3
    wire = LengthPrefixFramer().encode(whole)
    twice = memoryview(bytes(each for each in wire for _ in range(2)))
    decoder = LengthPrefixFramer().decoder()
    assert decoder.feed(twice[: 2 * 7 : 2]).next_message() is None
    assert decoder.feed(twice[2 * 7 : 2 * 300 : 2]).next_message() is None
    assert decoder.feed(twice[2 * 300 :: 2]).next_message() == whole

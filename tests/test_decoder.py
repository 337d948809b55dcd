"""What a decoder does with odd input, at the end, and with memory."""

from __future__ import annotations

import array
import ctypes
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from framing import (
    DecodeError,
    DelimiterFramer,
    EncodeError,
    EndOfStreamError,
    Framer,
    IncompleteMessageError,
    LengthPrefixFramer,
    LineFramer,
    MessageTooLargeError,
    StructFramer,
)

from .authors import AnyOfFramer
from .netstring import NetstringFramer
from .outcomes import feed_all

# Odd things to feed


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2], 1.5, ...], ids=repr)
@pytest.mark.parametrize("before", [b"", b"\0\0\0\4h"], ids=["between messages", "inside"])
def test_feeding_something_else_than_bytes_is_a_type_error_and_does_no_harm(
    before: bytes, data: Any
) -> None:
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


@pytest.mark.parametrize("kind", BUFFERS)
@pytest.mark.parametrize("size", [2, 4, 6, 10, len(WIRE)])
def test_buffers_of_any_kind_are_fed_as_their_bytes(kind: str, size: int) -> None:
    decoder = LengthPrefixFramer().decoder()
    messages: list[bytes] = []
    for i in range(0, len(WIRE), size):
        messages += decoder.feed(BUFFERS[kind](WIRE[i : i + size]))
    assert messages == [b"four", b"", b"more"]


@pytest.mark.parametrize("kind", BUFFERS)
@pytest.mark.parametrize("data", [b"", b"hello!"])
def test_buffers_of_any_kind_are_sent_as_their_bytes(kind: str, data: bytes) -> None:
    if kind in {"view of rows", "ctypes"} and not data:
        return  # there are none
    wire = LengthPrefixFramer(max_size=6).encode(BUFFERS[kind](data))
    assert wire == len(data).to_bytes(4, "big") + data
    with pytest.raises(EncodeError, match="at most 6 bytes"):
        LengthPrefixFramer(max_size=6).encode(BUFFERS[kind](b"too long"))


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
        (NetstringFramer(), b"5:he", 8),
        (NetstringFramer(), b"5", None),
    ],
    ids=repr,
)
def test_an_end_inside_a_message_says_what_came_and_what_was_expected(
    framer: Framer[Any], wire: bytes, expected: int | None
) -> None:
    decoder = framer.decoder().feed(wire)
    decoder.feed_eof()
    text = f"after {len(wire)} bytes.*{'' if expected is None else f'of {expected}'}"
    with pytest.raises(IncompleteMessageError, match=text) as caught:
        decoder.next_message()
    assert (caught.value.received, caught.value.expected) == (len(wire), expected)


def test_after_the_end_there_is_nothing_to_read_or_feed() -> None:
    decoder = LengthPrefixFramer().decoder()
    decoder.feed_eof()
    with pytest.raises(EndOfStreamError, match="ended"):
        decoder.next_message()
    with pytest.raises(ValueError, match=r"feed_eof\(\)"):
        decoder.feed(b"x")


# Taking bytes back


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_the_stream_continues_where_unread_began(taken: int) -> None:
    decoder = LengthPrefixFramer("!B", max_size=9).decoder().feed(b"\1a\1b\1c\1")
    for _ in range(taken):
        assert decoder.next_message()
    decoder.feed(decoder.unread())
    assert len(list(decoder)) == 3 - taken
    with pytest.raises(DecodeError) as caught:
        list(decoder.feed(b"d\xff"))
    assert caught.value.offset == 8


def test_what_another_byte_decided_is_not_taken_back_with_the_next_message() -> None:
    decoder = AnyOfFramer().decoder().feed(b"a\rb\rc\r")  # the last one may be half of \r\n
    assert decoder.next_message() == b"a"
    assert decoder.unread() == b"b\rc\r"


def test_a_delimiter_that_is_there_needs_one_byte_to_be_known() -> None:
    decoder = AnyOfFramer((b"ab", b"abbb")).decoder().feed(b"ab")
    assert decoder.bytes_needed == 1
    assert decoder.feed(b"a").next_message() == b""


def test_the_end_shows_that_a_message_before_half_a_delimiter_is_too_large() -> None:
    decoder = AnyOfFramer((b"b", b"abc"), max_size=1).decoder().feed(b"aab")
    assert decoder.next_message() is None  # abc may follow
    decoder.feed_eof()
    with pytest.raises(MessageTooLargeError):
        decoder.next_message()


def test_nothing_of_a_skipped_message_is_taken_back() -> None:
    decoder = DelimiterFramer(b"\r\n", max_size=2, oversize="skip").decoder().feed(b"abcd\r")
    with pytest.raises(MessageTooLargeError):
        decoder.next_message()
    assert decoder.unread() == b""
    assert decoder.feed(b"\nok\r\n").next_message() == b"ok"


def test_a_failure_stays_when_the_bytes_are_taken_back() -> None:
    decoder = LengthPrefixFramer(max_size=9).decoder()
    with pytest.raises(MessageTooLargeError):
        decoder.feed(b"\0\0\0\xff").next_message()
    assert decoder.unread() == b"\0\0\0\xff"
    decoder.feed(b"\0\0\0\1x")  # ignored
    assert decoder.unread() == b""
    for _ in range(2):
        with pytest.raises(MessageTooLargeError) as caught:
            decoder.next_message()
        assert caught.value.offset == 0


def test_a_large_message_that_was_not_taken_is_taken_back_whole() -> None:
    wire = LengthPrefixFramer().encode(bytes(100_000))
    decoder = LengthPrefixFramer().decoder()
    for place in range(0, len(wire), 10_000):
        decoder.feed(wire[place : place + 10_000]).bytes_needed  # noqa: B018  # which decodes
    assert decoder.bytes_needed == 0
    assert decoder.unread() == wire


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
    chunks = [wire[place : place + chunk] for place in range(4, len(wire), chunk)]
    decoder = LengthPrefixFramer().decoder()
    assert list(decoder.feed(before + wire[:4])) == [b"hello"] * bool(before)
    messages: list[bytes] = []

    def decode() -> None:
        for each in chunks:
            messages.extend(decoder.feed(each))

    peak = peak_of(decode)
    assert messages == [wire[4:]]
    assert peak < 1.5 * len(wire)


def test_a_message_that_was_handed_out_is_not_kept() -> None:
    decoder = LengthPrefixFramer().decoder()
    wire = LengthPrefixFramer().encode(bytes(2**20))
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


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [10, 300, 3000])
@pytest.mark.parametrize("chunk", [1000, 10**6])
def test_lines_of_any_length_come_whole_and_lose_just_their_line_break(
    line_break: str, size: int, chunk: int
) -> None:
    lines = [letter * size for letter in "abcdefgh"] * 20
    wire = "".join(line + line_break for line in lines).encode()
    received: list[Any] = []
    feed_all(LineFramer().decoder(), wire, chunk, received)
    assert received == lines
    received = []
    feed_all(DelimiterFramer(line_break.encode()).decoder(), wire, chunk, received)
    assert received == [line.encode() for line in lines]

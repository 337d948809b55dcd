"""What a framer of one's own can rely on, and what a decoder does with odd input."""

from __future__ import annotations

import array
import copy
import ctypes
import json
import pickle
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framing import (
    Buffer,
    DecodeError,
    Decoder,
    DelimiterFramer,
    EncodeError,
    EndOfStreamError,
    Framer,
    IncompleteMessageError,
    LengthPrefixFramer,
    LineFramer,
    MessageTooLargeError,
    ReadExactly,
    ReadUntil,
    Steps,
    StructFramer,
)

from .netstring import NetstringFramer


class OwnFramer(Framer[Any]):
    """A framer whose reading is the function it is given."""

    def __init__(self, read: Callable[[], Steps[Any]], *, max_size: int = 1000) -> None:
        super().__init__(read=read, max_size=max_size)

    read: Callable[[], Steps[Any]]

    def encode_parts(self, message: Any) -> Sequence[Buffer]:
        raise NotImplementedError

    def read_message(self) -> Steps[Any]:
        return self.read()


def feed_all(decoder: Decoder[Any], stream: bytes, chunk: int, messages: list[Any]) -> None:
    """Feed *stream* in chunks, and add what comes out of each to *messages*."""
    for i in range(0, len(stream), chunk):
        messages.extend(decoder.feed(stream[i : i + chunk]))


# What an author's generator does


def read_text() -> Steps[str]:
    return (yield ReadExactly(3)).decode()


def test_a_value_error_of_the_author_is_a_decode_error_with_its_place() -> None:
    decoder = OwnFramer(read_text).decoder().feed(b"abcdefg\xffhi")
    assert [decoder.next_message(), decoder.next_message()] == ["abc", "def"]
    with pytest.raises(DecodeError) as caught:
        decoder.next_message()
    assert caught.value.offset == 6
    assert str(caught.value).startswith("'utf-8' codec can't decode byte 0xff in position 1")
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)
    with pytest.raises(DecodeError) as again:
        decoder.next_message()
    assert again.value == caught.value
    assert decoder.unread() == b"g\xffhi"


def read_badly() -> Steps[bytes]:
    data = yield ReadExactly(2)
    if data == b"no":
        raise KeyError(data)
    return data


def test_another_exception_of_the_author_passes_through_and_comes_again() -> None:
    decoder = OwnFramer(read_badly).decoder().feed(b"okno")
    assert decoder.next_message() == b"ok"
    for attempt in (decoder.next_message, iter(decoder).__next__, lambda: decoder.bytes_needed):
        with pytest.raises(KeyError, match="no"):
            attempt()
    assert decoder.unread() == b"no"
    assert decoder.feed(b"ok").next_message() == b"ok"


def read_nothing() -> Steps[bytes]:
    return (yield ReadExactly(0))


def read_no_message() -> Steps[None]:
    yield ReadExactly(1)


def test_reading_a_message_without_a_byte_is_a_bug_and_says_so() -> None:
    decoder = OwnFramer(read_nothing).decoder().feed(b"x")
    with pytest.raises(RuntimeError, match="read a message without reading a byte"):
        decoder.next_message()
    assert decoder.unread() == b"x"


def test_an_error_in_a_later_step_counts_from_the_messages_start() -> None:
    def read() -> Steps[bytes]:
        yield ReadUntil(b":", limit=5)
        data = yield ReadExactly(2)
        if data == b"no":
            raise DecodeError("not no", offset=77)
        return data

    for chunk in (1, 3, 100):
        decoder = OwnFramer(read).decoder()
        messages: list[bytes] = []
        with pytest.raises(DecodeError, match="not no") as caught:
            feed_all(decoder, b"a:okbb:no", chunk, messages)
        assert messages == [b"ok"]
        assert caught.value.offset == 4


def test_check_size_refuses_what_is_above_max_size() -> None:
    framer = OwnFramer(read_text, max_size=5)
    assert [framer.check_size(size) for size in (0, 4, 5)] == [0, 4, 5]
    with pytest.raises(MessageTooLargeError) as caught:
        framer.check_size(6)
    assert caught.value == MessageTooLargeError(
        "expected a payload of at most 5 bytes (max_size), not 6", size=6, limit=5
    )


def test_options_are_attributes_and_private_ones_are_not_compared() -> None:
    class Optional(LineFramer):
        def __init__(self, note: object = None) -> None:
            super().__init__()
            vars(self)["_note"] = note

    assert Optional(1) == Optional(2)
    assert repr(Optional(1)) == "Optional(encoding='utf-8', max_size=1048576)"
    assert Optional() != LineFramer()
    assert LineFramer() != Optional()
    assert NetstringFramer(max_size=1) != NetstringFramer(max_size=2)
    assert OwnFramer(read_text).read is read_text


@pytest.mark.parametrize(
    ("max_size", "error", "text"),
    [
        (-1, ValueError, "max_size is a number of bytes, 0 or more, not -1"),
        (1.0, TypeError, "max_size is a number of bytes, not 1.0"),
        (True, TypeError, "max_size is a number of bytes, not True"),
        (None, TypeError, "max_size is a number of bytes, not None"),
        ("9", TypeError, "max_size is a number of bytes, not '9'"),
    ],
)
@pytest.mark.parametrize("make", [LengthPrefixFramer, DelimiterFramer, LineFramer, NetstringFramer])
def test_a_max_size_is_a_number_of_bytes(
    make: Callable[..., Framer[Any]], max_size: object, error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        make(max_size=max_size)
    assert str(caught.value) == text


def test_a_framer_without_its_two_methods_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Framer(max_size=1)  # type: ignore[abstract]


# Requests


def test_a_request_for_less_than_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a size of 0 or more, not -1"):
        ReadExactly(-1)


def test_a_request_without_a_delimiter_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a delimiter of one byte or more"):
        ReadUntil(b"", limit=5)
    with pytest.raises(ValueError, match="expected a limit of 0 or more, not -1"):
        ReadUntil(b"\n", limit=-1)


def test_a_negative_size_from_the_peer_is_a_decode_error() -> None:
    def read() -> Steps[bytes]:
        size = int((yield ReadUntil(b":", limit=5)))
        return (yield ReadExactly(size))

    with pytest.raises(DecodeError, match="expected a size of 0 or more, not -2") as caught:
        OwnFramer(read).decode(b"-2:ab")
    assert caught.value.offset == 0


def test_requests_show_what_they_ask_for() -> None:
    assert repr(ReadExactly(5)) == "ReadExactly(5, last=False)"
    assert repr(ReadExactly(5, last=True)) == "ReadExactly(5, last=True)"
    until = ReadUntil(b"\r\n", limit=9, or_end=True)
    assert repr(until) == r"ReadUntil(b'\r\n', limit=9, optional=b'', or_end=True)"


def until(
    delimiter: bytes, *, optional: bytes = b"", limit: int = 5, or_end: bool = False
) -> OwnFramer:
    def read() -> Steps[bytes]:
        return (yield ReadUntil(delimiter, limit=limit, optional=optional, or_end=or_end))

    return OwnFramer(read)


@pytest.mark.parametrize(
    ("delimiter", "optional", "stream", "messages"),
    [
        (b"\n", b"\r", b"a\r\nb\nc\r\r\nd\re\n", [b"a", b"b", b"c\r", b"d\re"]),
        (b"\n", b"\r", b"12345\r\n12345\n", [b"12345", b"12345"]),  # both of the limit's size
        (b"c", b"ab", b"xabcxbcxc", [b"x", b"xb", b"x"]),
        (b"aa", b"a", b"aaaxaaaa", [b"", b"ax", b""]),
        (b"aa", b"", b"aaaaaxaa", [b"", b"", b"ax"]),
    ],
)
@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_what_is_optional_belongs_to_the_delimiter_right_behind_it(
    delimiter: bytes, optional: bytes, stream: bytes, messages: list[bytes], chunk: int
) -> None:
    decoder = until(delimiter, optional=optional).decoder()
    received: list[bytes] = []
    feed_all(decoder, stream, chunk, received)
    assert received == messages


def test_the_end_serves_as_a_delimiter_where_it_may() -> None:
    decoder = until(b"\r\n", or_end=True).decoder().feed(b"a\r\nbc\r")
    assert list(decoder) == [b"a"]
    decoder.feed_eof()
    assert list(decoder) == [b"bc\r"]
    with pytest.raises(EndOfStreamError, match="the stream has ended, and there are no more"):
        decoder.next_message()


def test_the_end_does_not_lift_the_limit() -> None:
    # "\r" may begin a delimiter until the end tells that it does not
    decoder = until(b"\r\n", limit=5, or_end=True).decoder().feed(b"abcde\r")
    assert decoder.next_message() is None
    decoder.feed_eof()
    with pytest.raises(MessageTooLargeError) as caught:
        decoder.next_message()
    assert (caught.value.size, caught.value.limit) == (None, 5)


def test_the_text_of_a_missing_delimiter_names_it_and_the_limit() -> None:
    with pytest.raises(MessageTooLargeError) as caught:
        until(b"\n", optional=b"\r").decoder().feed(b"abcdef").next_message()
    assert str(caught.value) == (
        r"expected b'\n' after at most 5 bytes, and more have come"
        " (in the message at byte 0 of the stream)"
    )


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
def test_an_end_inside_a_message_tells_what_came_and_what_was_expected(
    framer: Framer[Any], wire: bytes, expected: int | None
) -> None:
    decoder = framer.decoder().feed(wire)
    decoder.feed_eof()
    with pytest.raises(IncompleteMessageError) as caught:
        decoder.next_message()
    of = "" if expected is None else f" of {expected}"
    assert caught.value == IncompleteMessageError(
        f"the stream ended after {len(wire)} bytes of a message{of}",
        received=len(wire),
        expected=expected,
    )


def test_feeding_after_the_end_says_what_to_do() -> None:
    decoder = LengthPrefixFramer().decoder()
    decoder.feed_eof()
    with pytest.raises(ValueError, match=r"^feed\(\) after feed_eof\(\): use a new decoder for"):
        decoder.feed(b"x")


# One message alone


@pytest.mark.parametrize("framer", [LengthPrefixFramer(), LineFramer(), StructFramer("!I")])
def test_no_bytes_are_no_message(framer: Framer[Any]) -> None:
    with pytest.raises(IncompleteMessageError) as caught:
        framer.decode(b"")
    assert str(caught.value) == "expected one message, and there are no bytes"
    assert (caught.value.received, caught.value.expected) == (0, None)


@pytest.mark.parametrize(
    "rest", [b"x", b"\0\0\0\0", b"\xff\xff\xff\xff"], ids=["cut", "good", "bad"]
)
def test_bytes_left_over_are_refused(rest: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        LengthPrefixFramer().decode(b"\0\0\0\2hi" + rest)
    assert caught.value == DecodeError(
        f"expected one message and no more, but {len(rest)} bytes follow its 6", offset=6
    )


def test_sizes_are_counted_in_bytes() -> None:
    words = array.array("H", [0, 0x0200, 0x6968, 0x2121])
    if words.tobytes()[:4] != b"\0\0\0\2":
        words.byteswap()
    assert LengthPrefixFramer().decode(memoryview(words)[:3]) == b"hi"
    with pytest.raises(DecodeError, match="2 bytes follow its 6") as caught:
        LengthPrefixFramer().decode(memoryview(words))
    assert caught.value.offset == 6


# Odd things to feed


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2], 1.5, object()], ids=repr)
@pytest.mark.parametrize("before", [b"", b"\0\0\0\4h"], ids=["idle", "inside"])
def test_what_is_no_bytes_is_a_type_error_and_does_no_harm(before: bytes, data: Any) -> None:
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
    "every second": lambda data: memoryview(spread(data))[::2],
    "backwards": lambda data: memoryview(data[::-1])[::-1],
    "ctypes": lambda data: ctypes.create_string_buffer(data, len(data)),
}


def spread(data: bytes) -> bytes:
    """Return *data* with a byte that is none of it after each."""
    return b"".join(bytes((each, 0xEE)) for each in data)


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


def test_feed_gives_the_decoder_and_the_decoder_its_framer() -> None:
    framer = LengthPrefixFramer()
    decoder = framer.decoder()
    assert decoder.feed(b"") is decoder
    assert decoder.framer is framer


# Long messages of many pieces

PIECES = [0, 1, 3, 100, 4095, 5000, 65_535, 65_536, 70_000]


def read_pieces() -> Steps[list[bytes]]:
    """Read a count, then pieces behind their lengths, each with a dot after it."""
    pieces = []
    for _ in range(int((yield ReadUntil(b"#", limit=9)))):
        size = int.from_bytes((yield ReadExactly(3)), "big")
        half = yield ReadExactly(size // 2)
        rest = yield ReadUntil(b".", limit=10**6)
        pieces.append(half + rest)
    return pieces


def encode_pieces(pieces: list[bytes]) -> bytes:
    parts = (len(each).to_bytes(3, "big") + each + b"." for each in pieces)
    return b"%d#" % len(pieces) + b"".join(parts)


@given(
    messages=st.lists(st.lists(st.sampled_from(PIECES), max_size=6), max_size=3),
    sizes=st.lists(st.sampled_from([0, 1, 7, 1000, 4096, 30_000, 65_536, 300_000]), max_size=6),
    read_each_time=st.booleans(),
)
def test_small_and_large_pieces_come_through_chunks_of_any_size(
    messages: list[list[int]], sizes: list[int], read_each_time: bool
) -> None:
    sent = [[b"%d" % (size % 7) * size for size in message] for message in messages]
    wire = b"".join(map(encode_pieces, sent))
    decoder = OwnFramer(read_pieces).decoder()
    received: list[list[bytes]] = []
    place = 0
    for size in cycle([*sizes, 1500]):
        decoder.feed(wire[place : place + size])
        if read_each_time:
            received += decoder
        place += size
        if place >= len(wire):
            break
    decoder.feed_eof()
    received += decoder
    assert received == sent


def test_bytes_of_a_broken_stream_are_taken_back_whole_from_inside_a_long_message() -> None:
    wire = encode_pieces([bytes(5000), bytes(70_000), b"x" * 9000])
    decoder = OwnFramer(read_pieces).decoder()
    for i in range(0, len(wire) - 1, 999):
        assert list(decoder.feed(wire[i : min(i + 999, len(wire) - 1)])) == []
    assert decoder.bytes_needed == 1
    assert decoder.unread() == wire[:-1]
    assert decoder.feed(wire).next_message() == [bytes(5000), bytes(70_000), b"x" * 9000]


# Framers derived from others


class JsonFramer(LengthPrefixFramer):
    """The natural way to send JSON: the messages of another format, read further."""

    def encode_parts(self, message: Any) -> Any:
        return super().encode_parts(json.dumps(message).encode())

    def read_message(self) -> Steps[Any]:
        return json.loads((yield from super().read_message()))


json_framer: Any = JsonFramer()


def test_a_subclass_that_reads_otherwise_does_not_inherit_the_fast_path() -> None:
    framer = json_framer
    messages: list[Any] = [{"a": 1}, [2], "three"]
    wire = b"".join(map(framer.encode, messages))
    assert list(framer.decoder().feed(wire)) == messages
    assert framer.decode(framer.encode({"a": 1})) == {"a": 1}
    with pytest.raises(DecodeError, match="Expecting value") as caught:
        list(framer.decoder().feed(wire + b"\0\0\0\1?"))
    assert caught.value.offset == len(wire)


def test_none_is_no_message() -> None:
    framer = json_framer
    with pytest.raises(RuntimeError, match="read None, which stands for no message yet"):
        framer.decode(framer.encode(None))


class PointFramer(StructFramer):
    def __init__(self) -> None:
        super().__init__("!HH")


@dataclass(frozen=True, slots=True)
class PaddedFramer(Framer[bytes]):
    width: int = 4
    max_size: int = 4

    def encode_parts(self, message: bytes) -> list[bytes]:
        return [message.ljust(self.width)]

    def read_message(self) -> Steps[bytes]:
        return (yield ReadExactly(self.width, last=True))


@pytest.mark.parametrize(
    ("framer", "wire"),
    [
        (JsonFramer("<H"), b"\1\0007"),
        (PointFramer(), b"\0\1\0\2"),
        (PaddedFramer(2), b"ab"),
        (PaddedFramer(6), b"abcdef"),
    ],
    ids=repr,
)
def test_framers_of_every_kind_can_be_pickled_and_copied(framer: Framer[Any], wire: bytes) -> None:
    for other in (pickle.loads(pickle.dumps(framer)), copy.copy(framer), copy.deepcopy(framer)):
        assert other == framer
        assert repr(other) == repr(framer)
        assert other.decode(wire) == framer.decode(wire)


# Taking bytes back


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_the_stream_goes_on_where_unread_began(taken: int) -> None:
    decoder = LineFramer().decoder().feed(b"a\nb\nc\nd")
    for _ in range(taken):
        assert decoder.next_message()
    decoder.feed(decoder.unread())
    assert len(list(decoder)) == 3 - taken
    with pytest.raises(DecodeError) as caught:
        list(decoder.feed(b"\xff\n"))
    assert caught.value.offset == 6


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


def test_a_fast_path_is_not_inherited_past_a_mixin() -> None:
    class Reversed:
        def encode_parts(self, message: bytes) -> list[bytes]:
            return [*super().encode_parts(message[::-1])]  # type: ignore[misc]

        def read_message(self) -> Steps[bytes]:
            message: bytes = yield from super().read_message()  # type: ignore[misc]
            return message[::-1]

    class ReversedFramer(Reversed, LengthPrefixFramer):  # type: ignore[misc]
        pass

    framer = ReversedFramer()
    parts: list[Buffer] = []
    framer.encode_some(iter([b"abc", b"de"]), parts, 1000)
    wire = b"\0\0\0\3cba\0\0\0\2ed"
    assert b"".join(parts) == wire
    assert list(framer.decoder().feed(wire)) == [b"abc", b"de"]

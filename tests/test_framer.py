"""What the author of a wire format can rely on."""

from __future__ import annotations

import copy
import json
import pickle
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
    DelimiterFramer,
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
from .outcomes import feed_all
from .pairs import unix_pair


class OwnFramer(Framer[Any]):
    """A framer that reads with the function it is given."""

    def __init__(self, read: Callable[[], Steps[Any]], *, max_size: int = 1000) -> None:
        super().__init__(read=read, max_size=max_size)

    read: Callable[[], Steps[Any]]

    def encode_parts(self, message: Any) -> Sequence[Buffer]:
        raise NotImplementedError

    def read_message(self) -> Steps[Any]:
        return self.read()


# What an author's generator does


def read_text() -> Steps[str]:
    return (yield ReadExactly(3)).decode()


def test_a_value_error_of_the_author_is_a_decode_error_with_its_place() -> None:
    decoder = OwnFramer(read_text).decoder().feed(b"abcdefg\xffhi")
    assert [decoder.next_message(), decoder.next_message()] == ["abc", "def"]
    with pytest.raises(DecodeError, match="can't decode byte 0xff in position 1") as caught:
        decoder.next_message()
    assert caught.value.offset == 6
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)
    with pytest.raises(DecodeError) as again:
        decoder.next_message()
    assert again.value == caught.value
    assert decoder.unread() == b"g\xffhi"


@pytest.mark.parametrize("size", [0, 1])
def test_a_message_that_is_none_or_made_of_no_bytes_is_an_error(size: int) -> None:
    def read() -> Steps[Any]:
        data = yield ReadExactly(size)
        return None if size else data

    decoder = OwnFramer(read).decoder().feed(b"x")
    with pytest.raises((RuntimeError, DecodeError)):
        decoder.next_message()
    with pytest.raises((RuntimeError, DecodeError)):
        list(decoder)


def test_a_message_that_no_bytes_were_asked_for_is_an_error() -> None:
    def read() -> Steps[bytes]:
        if not asks:
            return b"made up"
        return (yield ReadExactly(1))

    asks = True
    decoder = OwnFramer(read).decoder().feed(b"xyz")
    assert decoder.next_message() == b"x"
    asks = False
    decoder = OwnFramer(read).decoder().feed(b"xyz")
    with pytest.raises(DecodeError, match="a message of no bytes"):
        decoder.next_message()


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
    with pytest.raises(MessageTooLargeError, match=r"5 bytes \(max_size\)") as caught:
        framer.check_size(6)
    assert (caught.value.size, caught.value.limit) == (6, 5)


def test_a_message_that_is_dripped_in_is_begun_few_times() -> None:
    """Not from its start at each byte, which would be quadratic."""
    begun = 0

    class Counting(NetstringFramer):
        def read_message(self) -> Steps[bytes]:
            nonlocal begun
            begun += 1
            return (yield from super().read_message())

    wire = Counting().encode(b"x" * 5000)
    received: list[bytes] = []
    feed_all(Counting().decoder(), wire, 1, received)
    assert received == [b"x" * 5000]
    assert begun <= 20


# Options


@pytest.mark.parametrize(
    ("max_size", "error"),
    [(-1, ValueError), (1.0, TypeError), (True, TypeError), (None, TypeError), ("9", TypeError)],
)
@pytest.mark.parametrize("make", [LengthPrefixFramer, DelimiterFramer, LineFramer, NetstringFramer])
def test_max_size_is_a_number_of_bytes(
    make: Callable[..., Framer[Any]], max_size: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"^max_size .*not {max_size!r}$"):
        make(max_size=max_size)


def test_a_framer_without_its_two_methods_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Framer(max_size=1)  # type: ignore[abstract]


def test_options_are_attributes_and_private_ones_are_not_compared() -> None:
    class Optional(NetstringFramer):
        def __init__(self, note: object = None) -> None:
            super().__init__(max_size=5)
            vars(self)["_note"] = note

    assert Optional(1) == Optional(2)
    assert repr(Optional(1)) == "Optional(max_size=5)"
    assert Optional() != NetstringFramer(max_size=5)
    assert NetstringFramer(max_size=5) != Optional()
    assert NetstringFramer(max_size=1) != NetstringFramer(max_size=2)
    assert hash(NetstringFramer(max_size=1)) == hash(NetstringFramer(max_size=1))
    assert OwnFramer(read_text).read is read_text


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


class PayloadsOfJson(LengthPrefixFramer):
    """The messages of another format, read further."""

    def encode_parts(self, message: Any) -> Any:
        return super().encode_parts(json.dumps(message).encode())

    def read_message(self) -> Steps[Any]:
        return json.loads((yield from super().read_message()))


class Reversed:
    """A mixin that changes what the class behind it writes and reads."""

    def encode_parts(self, message: bytes) -> list[bytes]:
        return [*super().encode_parts(message[::-1])]  # type: ignore[misc]

    def read_message(self) -> Steps[bytes]:
        message: bytes = yield from super().read_message()  # type: ignore[misc]
        return message[::-1]


class ReversedFramer(Reversed, LengthPrefixFramer):  # type: ignore[misc]
    pass


DERIVED: list[tuple[Framer[Any], list[Any]]] = [
    (PayloadsOfJson("<H"), [{"a": 1}, [2], "three"]),
    (PointFramer(), [(1, 2), (3, 4)]),
    (PaddedFramer(2), [b"ab", b"cd"]),
    (PaddedFramer(6), [b"abcdef"]),
    (ReversedFramer(), [b"abc", b"de"]),
]


@pytest.mark.parametrize(("framer", "messages"), DERIVED, ids=lambda each: repr(each)[:40])
def test_a_derived_framer_reads_and_sends_its_own_way_everywhere(
    framer: Framer[Any], messages: list[Any]
) -> None:
    from framing import MessageSocket

    wire = b"".join(map(framer.encode, messages))
    assert list(framer.decoder().feed(wire)) == messages
    client, server = (MessageSocket(sock, framer) for sock in unix_pair())
    with client, server:
        client.send_many(messages)
        assert [server.recv() for _ in messages] == messages
        server.send(messages[0])
        assert client.recv() == messages[0]


@pytest.mark.parametrize("framer", [each for each, _ in DERIVED], ids=repr)
def test_framers_of_every_kind_can_be_pickled_and_copied(framer: Framer[Any]) -> None:
    for other in (pickle.loads(pickle.dumps(framer)), copy.copy(framer), copy.deepcopy(framer)):
        assert other == framer
        assert repr(other) == repr(framer)
        assert list(other.decoder().feed(b"")) == []


def test_an_error_of_a_derived_framer_has_its_place() -> None:
    framer: Any = PayloadsOfJson()
    wire = framer.encode({"a": 1})
    with pytest.raises(DecodeError, match="Expecting value") as caught:
        list(framer.decoder().feed(wire + b"\0\0\0\1?"))
    assert caught.value.offset == len(wire)


# Requests


def test_a_request_that_cannot_be_met_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more, not -1"):
        ReadExactly(-1)
    with pytest.raises(ValueError, match="delimiter"):
        ReadUntil(b"", limit=5)
    with pytest.raises(ValueError, match="0 or more, not -1"):
        ReadUntil(b"\n", limit=-1)


def test_a_negative_size_from_the_peer_is_a_decode_error() -> None:
    def read() -> Steps[bytes]:
        size = int((yield ReadUntil(b":", limit=5)))
        return (yield ReadExactly(size))

    with pytest.raises(DecodeError, match="not -2") as caught:
        OwnFramer(read).decode(b"-2:ab")
    assert caught.value.offset == 0


def test_requests_show_what_they_ask_for() -> None:
    assert repr(ReadExactly(5, last=True)) == "ReadExactly(5, last=True)"
    until = repr(ReadUntil(b"\r\n", limit=9, or_end=True))
    assert until.startswith(r"ReadUntil(b'\r\n', limit=9")
    assert until.endswith("or_end=True)")


def until(delimiter: bytes, *, or_end: bool = False) -> OwnFramer:
    def read() -> Steps[bytes]:
        return (yield ReadUntil(delimiter, limit=5, or_end=or_end))

    return OwnFramer(read)


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_a_delimiter_ends_what_is_before_it_and_is_not_looked_for_inside_itself(
    chunk: int,
) -> None:
    received: list[bytes] = []
    feed_all(until(b"aa").decoder(), b"aaaaaxaa12345aa", chunk, received)
    assert received == [b"", b"", b"ax", b"12345"]


def test_the_end_serves_as_a_delimiter_where_it_may_and_does_not_lift_the_limit() -> None:
    decoder = until(b"\r\n", or_end=True).decoder().feed(b"a\r\nbc\r")
    assert list(decoder) == [b"a"]
    decoder.feed_eof()
    assert list(decoder) == [b"bc\r"]
    with pytest.raises(EndOfStreamError):
        decoder.next_message()
    # "\r" may begin a delimiter until the end shows that it does not
    decoder = until(b"\r\n", or_end=True).decoder().feed(b"abcde\r")
    assert decoder.next_message() is None
    decoder.feed_eof()
    with pytest.raises(MessageTooLargeError) as caught:
        decoder.next_message()
    assert (caught.value.size, caught.value.limit) == (None, 5)


def test_the_text_of_a_missing_delimiter_names_it_and_the_limit() -> None:
    with pytest.raises(MessageTooLargeError, match=r"b'\\n' after at most 5 bytes.*byte 0 of"):
        until(b"\n").decoder().feed(b"abcdef").next_message()


# One message alone


@pytest.mark.parametrize("framer", [LengthPrefixFramer(), LineFramer(), StructFramer("!I")])
def test_no_bytes_are_not_a_message(framer: Framer[Any]) -> None:
    with pytest.raises(IncompleteMessageError) as caught:
        framer.decode(b"")
    assert (caught.value.received, caught.value.expected) == (0, None)


@pytest.mark.parametrize(
    "rest", [b"x", b"\0\0\0\0", b"\xff\xff\xff\xff"], ids=["cut", "good", "bad"]
)
def test_bytes_left_over_are_refused(rest: bytes) -> None:
    with pytest.raises(DecodeError, match=f"{len(rest)} bytes follow its 6") as caught:
        LengthPrefixFramer().decode(b"\0\0\0\2hi" + rest)
    assert caught.value.offset == 6


def test_parts_that_are_not_bytes_are_an_error_that_names_the_function() -> None:
    class Careless(NetstringFramer):
        def encode_parts(self, message: Any) -> Any:
            return message

    for parts in ([b"5:", "hello", b","], "5:hello,", None):
        with pytest.raises(TypeError, match="encode_parts"):
            Careless().encode(parts)  # type: ignore[arg-type]


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


def test_bytes_are_taken_back_whole_from_inside_a_long_message() -> None:
    wire = encode_pieces([bytes(5000), bytes(70_000), b"x" * 9000])
    decoder = OwnFramer(read_pieces).decoder()
    messages: list[Any] = []
    feed_all(decoder, wire[:-1], 999, messages)
    assert messages == []
    assert decoder.bytes_needed == 1
    assert decoder.unread() == wire[:-1]
    assert decoder.feed(wire).next_message() == [bytes(5000), bytes(70_000), b"x" * 9000]

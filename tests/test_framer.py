"""What the author of a wire format can rely on."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framing import (
    BadMessageError,
    Buffer,
    DecodeError,
    DelimiterFramer,
    Framer,
    IncompleteMessageError,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    MessageTooLargeError,
    ReadExactly,
    ReadUntil,
    Skip,
    Steps,
    StructFramer,
)

from .netstring import NetstringFramer
from .outcomes import cut, results
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
    decoder = OwnFramer(read_text).decoder()
    *good, error = results(decoder, [b"abcdefg\xffhi"])
    assert (good, type(error), error.offset) == (["abc", "def"], DecodeError, 6)
    text = (
        "OwnFramer.read_message() raised UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff"
    )
    assert str(error).startswith(text)
    assert isinstance(error.__cause__, UnicodeDecodeError)
    with pytest.raises(DecodeError) as again:
        decoder.next_message()
    assert again.value == error
    assert decoder.unread() == b"g\xffhi"


@pytest.mark.parametrize(
    ("size", "stream", "text"),
    [
        (None, b"xyz", "read a message of no bytes"),
        (0, b"xyz", "read a message of no bytes"),
        (1, b"n", "returned None, but a message cannot be None"),
        (1, b"xxn", "returned None, but a message cannot be None"),
    ],
)
def test_a_message_is_not_none_and_has_bytes(size: int | None, stream: bytes, text: str) -> None:
    def read() -> Steps[Any]:
        if size is None:
            return b"made up"
        data = yield ReadExactly(size)
        return None if data == b"n" else data

    decoder = OwnFramer(read).decoder()
    *good, error = results(decoder, [stream])
    assert good == [b"x"] * (len(stream) - 1 if size else 0)
    place = f" (in the message at byte {len(good)} of the stream)"
    assert str(error) == f"{OwnFramer(read)!r}.read_message() {text}{place}"
    assert type(error) is DecodeError
    with pytest.raises(DecodeError, match=text):
        list(decoder)


def test_a_message_of_no_bytes_behind_others_comes_in_its_turn() -> None:
    sizes = itertools.chain([1, 2], itertools.repeat(0))

    def read() -> Steps[bytes]:
        return (yield ReadExactly(next(sizes)))

    decoder = OwnFramer(read).decoder().feed(b"xyzz")
    assert (decoder.next_message(), decoder.next_message()) == (b"x", b"yz")
    with pytest.raises(DecodeError, match="a message of no bytes"):
        decoder.next_message()


def test_a_bad_message_of_no_bytes_is_final() -> None:
    """Otherwise it would come again and again."""

    def read() -> Steps[bytes]:
        yield ReadExactly(0)
        raise BadMessageError("nothing")

    (error,) = results(OwnFramer(read).decoder(), [b"xyz"])
    assert (type(error), error.recoverable) == (BadMessageError, False)


def test_an_error_in_a_later_step_counts_from_the_messages_start() -> None:
    def read() -> Steps[bytes]:
        yield ReadUntil(b":", limit=5)
        data = yield ReadExactly(2)
        if data == b"no":
            raise DecodeError("not no", offset=77)
        return data

    for size in (1, 3, 100):
        found = results(OwnFramer(read).decoder(), cut(b"a:okbb:no", size))
        assert found == [b"ok", DecodeError("not no", offset=4)]


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
    assert results(Counting().decoder(), cut(wire, 1)) == [b"x" * 5000]
    assert begun <= 20


# Options


@pytest.mark.parametrize(
    ("max_size", "error"),
    [(-1, ValueError), (1.0, TypeError), (True, TypeError), (None, TypeError), ("9", TypeError)],
)
def test_max_size_is_a_number_of_bytes(max_size: Any, error: type[Exception]) -> None:
    for make in (LengthPrefixFramer, DelimiterFramer, LineFramer, NetstringFramer):
        with pytest.raises(error, match=f"^max_size .*not {max_size!r}$"):
            make(max_size=max_size)


def test_a_framer_without_its_two_methods_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Framer(max_size=1)  # type: ignore[abstract]


def test_framers_that_differ_have_different_hashes() -> None:
    class Derived(LengthPrefixFramer): ...

    framers = [LengthPrefixFramer("!H"), LengthPrefixFramer("!I"), Derived("!H")]
    assert len({*map(hash, framers)}) == 3


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


@pytest.mark.parametrize(
    ("framer", "messages"),
    [
        (PayloadsOfJson("<H"), [{"a": 1}, [2], "three"]),
        (PointFramer(), [(1, 2), (3, 4)]),
        (PaddedFramer(2), [b"ab", b"cd"]),
        (PaddedFramer(6), [b"abcdef"]),
        (ReversedFramer(), [b"abc", b"de"]),
    ],
    ids=lambda each: repr(each)[:40],
)
def test_a_derived_framer_reads_and_sends_its_own_way_everywhere(
    framer: Framer[Any], messages: list[Any]
) -> None:
    wire = b"".join(map(framer.encode, messages))
    for other in (
        framer,
        copy.copy(framer),
        copy.deepcopy(framer),
        pickle.loads(pickle.dumps(framer)),
    ):
        assert (other, repr(other)) == (framer, repr(framer))
        assert list(other.decoder().feed(wire)) == messages
    client, server = (MessageSocket(sock, framer) for sock in unix_pair())
    with client, server:
        client.send_many(messages)
        assert [server.recv() for _ in messages] == messages
        server.send(messages[0])
        assert client.recv() == messages[0]


def test_a_fast_path_is_for_the_reader_it_was_written_with() -> None:
    class Backwards(LengthPrefixFramer):
        def read_message(self) -> Steps[bytes]:
            return (yield from super().read_message())[::-1]

    class Both(Backwards):
        def read_message(self) -> Steps[bytes]:
            return (yield from super().read_message())

        split_block = LengthPrefixFramer.split_block

    wire = LengthPrefixFramer().encode(b"abc") * 2
    assert list(Backwards().decoder().feed(wire)) == [b"cba"] * 2
    assert list(Both().decoder().feed(wire)) == [b"abc"] * 2


# Requests


def test_what_is_no_generator_of_requests_is_a_type_error() -> None:
    def ask() -> Any:
        yield 5

    def answer() -> Any:
        return b"x"

    for read, text in (
        (ask, "asked for 5: it has to yield ReadExactly, ReadUntil or Skip"),
        (answer, "is not a generator, but returned bytes: it has to ask for bytes, with yield"),
    ):
        framer = OwnFramer(read)
        with pytest.raises(TypeError) as caught:
            framer.decoder().feed(b"x").next_message()
        assert str(caught.value) == f"{framer!r}.read_message() {text}"


def test_a_request_that_cannot_be_met_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more, not -1"):
        ReadExactly(-1)
    for delimiter in (b"", (), (b"a", b"")):
        with pytest.raises(ValueError, match="delimiter"):
            ReadUntil(delimiter, limit=5)
    with pytest.raises(ValueError, match="0 or more, not -1"):
        ReadUntil(b"\n", limit=-1)
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"1 byte or more, not {n}"):
            Skip(n)


@pytest.mark.parametrize(("n", "read_bytes"), [(3, 2), (None, 0)])
def test_only_bytes_that_were_read_can_be_skipped(n: int | None, read_bytes: int) -> None:
    def read() -> Steps[bytes]:
        yield ReadExactly(read_bytes)
        yield Skip(n)
        return (yield ReadExactly(1))

    (error,) = results(OwnFramer(read).decoder(), [b"abcd"])
    assert type(error) is DecodeError
    assert f"asked for {Skip(n)!r}, but has read {read_bytes} bytes" in str(error)


def test_requests_show_what_they_ask_for() -> None:
    assert repr(ReadExactly(5, last=True)) == "ReadExactly(5, last=True)"
    until = ReadUntil(b"\r\n", limit=9, or_end=True)
    assert repr(until) == r"ReadUntil(b'\r\n', limit=9, or_end=True)"
    assert (repr(Skip()), repr(Skip(3))) == ("Skip()", "Skip(3)")
    assert until.oversize == "error"


def test_what_the_peer_makes_impossible_to_read_is_a_decode_error() -> None:
    def read() -> Steps[bytes]:
        size = int((yield ReadUntil(b":", limit=5)))
        return (yield ReadExactly(size))

    (error,) = results(OwnFramer(read).decoder(), [b"-2:ab"])
    assert (type(error), error.offset) == (DecodeError, 0)
    assert "not -2" in str(error)
    (error,) = results(OwnFramer(read).decoder(), [b"123456"])
    assert (type(error), error.size, error.limit) == (MessageTooLargeError, None, 5)
    assert str(error).startswith("expected b':' after at most 5 bytes, but got more (in the mess")


# One message alone


def test_one_message_is_decoded_alone() -> None:
    for framer in (LengthPrefixFramer(), LineFramer(), StructFramer("!I")):
        with pytest.raises(IncompleteMessageError) as cut_short:
            framer.decode(b"")
        assert (cut_short.value.received, cut_short.value.expected) == (0, None)
    for rest in (b"x", b"\0\0\0\0", b"\xff\xff\xff\xff"):
        with pytest.raises(DecodeError, match=f"{len(rest)} bytes follow its 6") as caught:
            LengthPrefixFramer().decode(b"\0\0\0\2hi" + rest)
        assert caught.value.offset == 6


def test_parts_that_are_not_bytes_are_an_error_that_names_the_function() -> None:
    class Careless(NetstringFramer):
        def encode_parts(self, message: Any) -> Any:
            return message

    parts: Any
    for parts in ([b"5:", "hello", b","], "5:hello,", None):
        with pytest.raises(TypeError, match="encode_parts"):
            Careless().encode(parts)


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
    for chunk in cut(wire, *sizes, 1500):
        decoder.feed(chunk)
        if read_each_time:
            received += decoder
    decoder.feed_eof()
    received += decoder
    assert received == sent


def test_bytes_are_taken_back_whole_from_inside_a_long_message() -> None:
    pieces = [bytes(5000), bytes(70_000), b"x" * 9000]
    wire = encode_pieces(pieces)
    decoder = OwnFramer(read_pieces).decoder()
    assert results(decoder, cut(wire[:-1], 999), eof=False) == []
    assert decoder.bytes_needed == 1
    assert decoder.unread() == wire[:-1]
    assert decoder.feed(wire).next_message() == pieces

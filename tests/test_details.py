"""What no other test noticed when it was changed: each of these was found by ``tests.mutation``."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import socket
import struct
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from framing import (
    Buffer,
    DecodeError,
    DelimiterFramer,
    EncodeError,
    EndOfStreamError,
    Framer,
    HeaderBodyFramer,
    HeaderMessage,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    MessageTooLargeError,
    ReadExactly,
    ReadUntil,
    Steps,
    StructFramer,
    recv_msg,
    send_msg,
)
from framing.header_body import Head, HeadFramer

from .fakes import ScriptedSocket
from .netstring import NetstringFramer
from .pairs import Pair, samples, small_buffers, unix_pair
from .strategies import FORMATS, Format

# Texts


def test_the_end_of_a_stream_is_told_in_these_words() -> None:
    decoder = LineFramer().decoder()
    decoder.feed_eof()
    with pytest.raises(EndOfStreamError) as caught:
        decoder.next_message()
    assert str(caught.value) == "the stream has ended, and there are no more messages"


@pytest.mark.parametrize("framer", [LineFramer(max_size=4), DelimiterFramer(max_size=4)], ids=repr)
def test_a_line_that_is_too_long_names_the_option_to_change(framer: Framer[Any]) -> None:
    with pytest.raises(MessageTooLargeError) as caught:
        framer.decoder().feed(b"x" * 20).next_message()
    assert "after at most 4 bytes (max_size=4)" in str(caught.value)


@pytest.mark.parametrize("format", ["", "@", "="])
def test_whoever_gives_no_format_is_told_of_one(format: str) -> None:
    with pytest.raises(ValueError, match=r"'!I' for big-endian.*'<I' for little-endian"):
        LengthPrefixFramer(format)


@pytest.mark.parametrize("size", [77, 78, 79, 1000])  # and two quotation marks
def test_what_is_no_size_of_a_body_is_quoted_up_to_80_characters(size: int) -> None:
    text = "x" * size
    header = json.dumps({"size": text}).encode()
    with pytest.raises(DecodeError) as caught:
        HeaderBodyFramer().decode(struct.pack("!I", len(header)) + header)
    quoted = f"'{text}'" if size <= 78 else f"'{text[:79]}..."
    assert str(caught.value).startswith(
        f"expected the size of the body in 'size', not {quoted} (in the message"
    )


def test_a_number_that_is_not_finite_is_quoted_up_to_40_characters() -> None:
    digits = "1" * 35 + "e" + "9" * 30
    header = f'{{"size": {digits}}}'.encode()
    with pytest.raises(DecodeError) as caught:
        HeaderBodyFramer().decode(struct.pack("!I", len(header)) + header)
    assert str(caught.value).startswith(
        f"expected finite numbers, not {digits[:40]} (in the message"
    )


def test_a_header_that_is_no_json_may_nest_in_any_way() -> None:
    header = b"[" * 63 + b"\\[" * 5
    with pytest.raises(DecodeError, match="expected a header in JSON"):
        HeaderBodyFramer().decode(struct.pack("!I", len(header)) + header)


def test_a_header_that_is_no_object_is_quoted_up_to_40_characters() -> None:
    header = json.dumps("x" * 50).encode()
    with pytest.raises(DecodeError) as caught:
        HeaderBodyFramer().decode(struct.pack("!I", len(header)) + header)
    quoted = repr(header.decode()[:40])
    assert str(caught.value).startswith(
        f"expected a JSON object as header, not {quoted} (in the message"
    )


def test_a_header_that_changes_on_its_way_is_told_what_to_hold() -> None:
    with pytest.raises(EncodeError) as caught:
        HeaderBodyFramer().encode(HeaderMessage({"pair": (1, 2)}, b""))
    assert str(caught.value) == (
        "the header would come back changed: its keys are to be strings, and its values"
        " dict, list, str, int, float, bool or None"
    )


def test_the_first_line_break_of_a_line_is_told() -> None:
    with pytest.raises(EncodeError, match=r"there is a line break at character 2$"):
        LineFramer().encode("ab\ncd\n")


def test_a_framer_names_its_class_whether_it_is_changed_or_deleted_from() -> None:
    framer: Any = LineFramer()
    with pytest.raises(AttributeError, match="make another LineFramer "):
        framer.encoding = "ascii"
    with pytest.raises(AttributeError, match=r"make another LineFramer$"):
        del framer.encoding


# What counts as the same


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (LengthPrefixFramer, {"format": "!H", "includes_prefix": True, "max_size": 9}),
        (DelimiterFramer, {"delimiter": b"x", "final": "emit", "max_size": 9}),
        (LineFramer, {"encoding": "ascii", "max_size": 9}),
        (StructFramer, {"format": "!H"}),
        (
            HeaderBodyFramer,
            {"format": "!H", "size_key": "n", "max_header_size": 99, "max_size": 9},
        ),
    ],
)
def test_a_framer_is_told_from_others_by_each_of_its_options(
    kind: Any, options: dict[str, Any]
) -> None:
    framer = kind(**options)
    assert {name: getattr(framer, name) for name in options} == options
    assert framer == kind(**options)
    for name in inspect.signature(kind).parameters:
        others = {**options}
        del others[name]
        assert framer != kind(**({"format": "!I"} if kind is StructFramer else others))


def test_a_decoder_can_be_referred_to_weakly() -> None:
    decoder = LineFramer().decoder()
    assert weakref.ref(decoder)() is decoder


def test_errors_and_framers_of_other_kinds_do_not_hash_alike() -> None:
    class Other(LengthPrefixFramer):
        pass

    assert hash(DecodeError("no")) != hash(EncodeError("no"))
    assert hash(LengthPrefixFramer()) != hash(Other())
    assert hash(LengthPrefixFramer()) != hash(LengthPrefixFramer("!H"))


# Copies of framers


@pytest.mark.parametrize("format", ["!B", "!H"])
@pytest.mark.parametrize("includes_prefix", [True, False])
def test_a_copy_of_a_framer_counts_as_it_does(format: str, includes_prefix: bool) -> None:
    framer = LengthPrefixFramer(format, includes_prefix=includes_prefix)
    for other in (pickle.loads(pickle.dumps(framer)), copy.deepcopy(framer)):
        for message in (b"", b"hello", bytes(200)):
            assert other.encode(message) == framer.encode(message)
            assert other.decode(framer.encode(message)) == message


# Headers


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_a_header_is_as_deep_as_it_nests_and_not_as_it_is_long(brackets: str) -> None:
    key = b'"k":' if brackets == "{}" else b""
    opening, closing = (each.encode() for each in brackets)

    def header(depth: int) -> bytes:
        """Return a header with a hundred flat values, and then one that nests."""
        flat = b",".join([brackets.encode()] * 100)
        deep = opening + (key + opening) * (depth - 2) + closing * (depth - 1)
        return b'{"size":0,"flat":[' + flat + b'],"deep":' + deep + b"}"

    framer = HeaderBodyFramer()
    for depth in (2, 3, 64):
        data = header(depth)
        message = framer.decode(len(data).to_bytes(4, "big") + data)
        assert len(message.header["flat"]) == 100
        framer.encode(message)
    data = header(65)
    with pytest.raises(DecodeError, match="nests at most 64 deep"):
        framer.decode(len(data).to_bytes(4, "big") + data)


def test_the_head_of_a_message_is_the_beginning_of_its_wire() -> None:
    whole = HeaderBodyFramer("!H", size_key="n", max_header_size=40, max_size=5)
    heads = HeadFramer(whole)
    head = Head({"name": "x"}, 10**12)
    wire = heads.encode(head)
    assert wire == b'\0\x1d{"name":"x","n":1000000000000}'.replace(b"\x1d", bytes([len(wire) - 2]))
    assert heads.decode(wire) == Head({"name": "x", "n": 10**12}, 10**12)
    assert heads.max_size == 40
    assert heads == HeadFramer(whole)
    with pytest.raises(EncodeError, match="at most 40 bytes"):
        heads.encode(Head({"name": "x" * 40}, 0))


def test_only_a_header_and_a_body_have_a_head() -> None:
    class Other(HeaderBodyFramer):
        def encode_parts(self, message: HeaderMessage) -> tuple[bytes, bytes | memoryview]:
            return super().encode_parts(message)

    for framer in (LengthPrefixFramer(), Other()):
        with pytest.raises(TypeError, match="expected a HeaderBodyFramer"):
            HeadFramer(framer)


# Many messages at once


def joined(
    framer: Framer[Any], messages: Iterator[Any], size: int
) -> tuple[bytes, bool, list[int]]:
    parts: list[Buffer] = []
    more = framer.encode_some(messages, parts, size)
    return b"".join(parts), more, [memoryview(part).nbytes for part in parts]


@pytest.mark.parametrize("large", [511, 512, 513, 16_383, 16_384, 16_385, 40_000])
@pytest.mark.parametrize("kind", [bytes, bytearray, lambda data: memoryview(data).cast("H")])
@pytest.mark.parametrize("size", [1, 100, 600, 20_000, 65_536])
def test_messages_encoded_together_are_those_encoded_alone(
    large: int, kind: Any, size: int
) -> None:
    framer = LengthPrefixFramer("!H", max_size=65_000)
    data = [bytes(number % 7 * 2) for number in range(300)]
    data[150:150] = [bytes(large - large % 2)] * 3
    messages = map(kind, data) if kind is not bytes else iter(data)
    wire, more = b"", True
    while more:
        encoded, more, sizes = joined(framer, messages, size)
        assert sum(sizes) <= size + 65_000 + 4 * len(sizes)
        assert encoded or not more
        wire += encoded
    assert wire == b"".join(map(framer.encode, data))


def test_a_message_above_the_limit_is_refused_among_others() -> None:
    framer = LengthPrefixFramer(max_size=10)
    parts: list[Buffer] = []
    with pytest.raises(EncodeError, match="at most 10 bytes"):
        framer.encode_some(iter([b"good", b"x" * 10, b"x" * 11]), parts, 1000)
    assert b"".join(parts) == framer.encode(b"good") + framer.encode(b"x" * 10)


@pytest.mark.parametrize("format", FORMATS, ids=repr)
def test_messages_are_encoded_together_until_they_are_enough(format: Format[Any]) -> None:
    messages = samples(format) * 2
    sizes = [len(format.framer.encode(each)) for each in messages]
    for enough in range(1, sum(sizes) + 2):
        parts: list[Buffer] = []
        rest = iter(messages)
        assert format.framer.encode_some(rest, parts, enough) == (enough <= sum(sizes))
        count = len(messages) - len([*rest])
        size = sum(memoryview(part).nbytes for part in parts)
        assert size == sum(sizes[:count])
        assert count == len(messages) or size >= enough > size - sizes[count - 1]


# One piece that the system takes in several steps


def test_a_large_message_in_one_piece_goes_out_whole(plain_pair: Pair) -> None:
    framer = StructFramer("!1000000s")
    message = (bytes(range(250)) * 4000,)
    client, server = small_buffers(plain_pair)
    with ThreadPoolExecutor() as executor:
        sending = executor.submit(send_msg, client, message, framer=framer)
        assert recv_msg(server, framer=framer) == message
        sending.result()


# What is refused


@pytest.mark.parametrize("kind", [LengthPrefixFramer, DelimiterFramer])
@pytest.mark.parametrize("way", ["recv_msg", "MessageSocket"])
def test_a_limit_holds_for_whoever_receives(
    kind: type[LengthPrefixFramer | DelimiterFramer], way: str
) -> None:
    framer = kind(max_size=9)
    here, there = unix_pair()
    with here, there:
        receive: Any = partial(recv_msg, there, framer=framer)
        if way == "MessageSocket":
            receive = MessageSocket(there, framer).recv
        for size in (9, 10):
            send_msg(here, b"x" * size, framer=kind(max_size=10))
        assert receive() == b"x" * 9
        with pytest.raises(MessageTooLargeError):
            receive()


@pytest.mark.parametrize("way", ["recv_msg", "MessageSocket", "decoder"])
@pytest.mark.parametrize(
    ("read", "problem"),
    [(1, "read None, which stands for no message yet"), (0, "without reading a byte")],
)
def test_a_framer_that_reads_nothing_is_told(way: str, read: int, problem: str) -> None:
    class Nothing(NetstringFramer):
        def read_message(self) -> Steps[bytes]:
            yield ReadExactly(read)
            return None if read else b"read"  # type: ignore[return-value]

    here, there = unix_pair()
    with here, there, pytest.raises(RuntimeError, match=problem):
        here.sendall(b"x")
        if way == "recv_msg":
            recv_msg(there, framer=Nothing())
        elif way == "MessageSocket":
            MessageSocket(there, Nothing()).recv()
        else:
            Nothing().decoder().feed(b"x").next_message()


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


def test_a_part_goes_on_with_any_framer_that_is_equal() -> None:
    here, there = unix_pair()
    with here, there:
        there.settimeout(0.05)
        here.sendall(b"\0\5he")
        for _ in range(2):
            with pytest.raises(TimeoutError):
                recv_msg(there, framer=LengthPrefixFramer("!H"))
        with pytest.raises(ValueError, match="received in part") as caught:
            recv_msg(there, framer=DelimiterFramer())
        assert str(caught.value) == (
            f"a message in {LengthPrefixFramer('!H')!r} was received in part:"
            f" receive it before one in {DelimiterFramer()!r}"
        )
        here.sendall(b"llo")
        assert recv_msg(there, framer=LengthPrefixFramer("!H")) == b"hello"


@pytest.mark.parametrize("format", FORMATS, ids=repr)
def test_recv_msg_leaves_the_next_messages_to_others(format: Format[Any]) -> None:
    for message in samples(format):
        wire = format.framer.encode(message)
        for taken in (0, 1):  # of the message, by a call that was cut short
            here, there = unix_pair()
            with here, there, there.makefile("rb") as rest:
                if 0 < taken < len(wire):
                    here.sendall(wire[:taken])
                    there.settimeout(0.01)
                    with pytest.raises(TimeoutError):
                        recv_msg(there, framer=format.framer)
                    there.settimeout(10)
                    here.sendall(wire[taken:] + wire * 2)
                else:
                    here.sendall(wire * 3)
                here.shutdown(socket.SHUT_WR)
                recv_msg(there, framer=format.framer)
                assert rest.read() == wire * 2


def test_what_is_ready_is_taken_back_whole() -> None:
    wire = LengthPrefixFramer().encode(bytes(100_000))
    decoder = LengthPrefixFramer().decoder()
    for place in range(0, len(wire), 10_000):
        decoder.feed(wire[place : place + 10_000]).bytes_needed  # noqa: B018  # which decodes
    assert decoder.bytes_needed == 0
    assert decoder.unread() == wire


# What is read at once


@pytest.mark.parametrize("format", FORMATS, ids=repr)
def test_a_batch_is_read_from_its_place_alone(format: Format[Any]) -> None:
    framer = format.framer
    wire = b"".join(map(framer.encode, samples(format)))
    alone, size, _ = framer.read_batch(wire, 0, len(wire))
    messages = [*alone]
    for before in (b"x", b"ab\n", b"\n\r\n\0aba\nx", bytes(3)):
        for after in (b"", b"\n", b"\0\0"):
            block, start = before + wire + after, len(before)
            batch, end, _ = framer.read_batch(block, start, start + len(wire))
            assert ([*batch], end - start) == (messages, size)
            batch, end, _ = framer.read_batch(block, start, start)
            assert ([*batch], end) == ([], start)


@pytest.mark.parametrize("line", [b"one", b"x" * 300])
def test_the_lines_before_a_bad_one_are_read_at_once(line: bytes) -> None:
    block = line + b"\n" + line + b"\n\xff\n" + line + b"\n"
    messages, end, enough = LineFramer().read_batch(block, 0, len(block))
    assert [*messages] == [line.decode()] * 2
    assert (end, enough) == (2 * len(line) + 2, 0)
    messages, end, _ = LineFramer().read_batch(line + b"\nx\xff\n", len(line) + 2, len(line) + 4)
    assert ([*messages], end) == ([], len(line) + 2)


def test_a_long_message_that_was_interrupted_is_read_anew() -> None:
    interruptions = [KeyboardInterrupt()]

    class Interrupted(LengthPrefixFramer):
        read_batch = LengthPrefixFramer.read_batch

        def read_message(self) -> Steps[bytes]:
            message = yield from super().read_message()
            if interruptions:
                raise interruptions.pop()
            return message

    messages = [bytes(range(250)) * 400, b"next"]
    wire = b"".join(map(LengthPrefixFramer().encode, messages))
    decoder = Interrupted().decoder()
    assert decoder.feed(wire[:5000]).next_message() is None
    with pytest.raises(KeyboardInterrupt):
        decoder.feed(wire[5000:]).next_message()
    assert list(decoder) == messages


# Where a message starts in the stream


def breaking(framer: Framer[Any]) -> bytes | None:
    """Return bytes that break the format at once; ``None`` if these do not."""
    for wire in (b"\xff" * 300, bytes(300), b"x" * 300):
        try:
            framer.decoder().feed(wire).next_message()
        except DecodeError:
            return wire
    return None


@pytest.mark.parametrize(
    "format", [each for each in FORMATS if breaking(each.framer) is not None], ids=repr
)
@pytest.mark.parametrize("way", ["recv_msg", "MessageSocket", "decoder"])
def test_an_error_is_placed_behind_all_that_was_received_before(
    format: Format[Any], way: str
) -> None:
    wires = list(map(format.framer.encode, samples(format)))
    bad = breaking(format.framer) or b""
    here, there = unix_pair()
    with here, there:
        if way == "recv_msg":
            receive: Any = lambda: recv_msg(there, framer=format.framer)  # noqa: E731
        elif way == "MessageSocket":
            receive = MessageSocket(there, format.framer).recv
        else:
            decoder = format.framer.decoder()
            receive = lambda: decoder.feed(there.recv(100_000)).next_message()  # noqa: E731
        for wire in [*wires, *wires]:  # one by one
            here.sendall(wire)
            receive()
        here.sendall(bad)
        with pytest.raises(DecodeError) as caught:
            receive()
    assert caught.value.offset == 2 * sum(map(len, wires))


# Pieces


def test_a_view_with_gaps_goes_on_with_a_message() -> None:
    whole = bytes(range(200)) * 3
    wire = LengthPrefixFramer().encode(whole)
    twice = bytes(each for each in wire for _ in range(2))  # of which every other is the wire
    decoder = LengthPrefixFramer().decoder()
    assert decoder.feed(memoryview(twice)[: 2 * 7 : 2]).next_message() is None
    assert decoder.feed(memoryview(twice)[2 * 7 : 2 * 300 : 2]).next_message() is None
    assert decoder.feed(memoryview(twice)[2 * 300 :: 2]).next_message() == whole


def test_long_lines_lose_their_ends_whichever_they_have() -> None:
    lines = [letter * 3000 for letter in "abcdefgh"]
    ends = ["\n", "\r\n"] * 4
    wire = "".join(map(str.__add__, lines, ends)).encode()
    assert list(LineFramer().decoder().feed(wire)) == lines


def test_line_breaks_in_long_messages_are_no_delimiters() -> None:
    messages = [b"x" * 300 + b"\n" + b"y" * 10, b"z" * 300, b"\n", b"x"]
    wire = b"".join(each + b"\r\n" for each in messages)
    assert list(DelimiterFramer(b"\r\n").decoder().feed(wire + b"\n")) == messages


# More texts


def test_an_encoding_that_changes_a_line_is_told() -> None:
    with pytest.raises(EncodeError) as caught:
        LineFramer("shift_jis").encode("\u00a5")
    assert str(caught.value) == "the line would come back changed from shift_jis"


def test_a_delimiter_has_bytes() -> None:
    with pytest.raises(ValueError, match=r"^expected a delimiter of one byte or more, not an empt"):
        ReadUntil(b"", limit=1)


def test_what_is_cut_off_by_a_signal_is_told_whole() -> None:
    sock: Any = ScriptedSocket(b"\0\0\0\5hello", [2, KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        recv_msg(sock)
    with pytest.raises(ConnectionError) as caught:
        recv_msg(sock)
    assert str(caught.value) == (
        "a signal cut off an earlier recv_msg on this socket, and bytes may be lost:"
        " close the connection"
    )
    sock = ScriptedSocket(sizes=[2, KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        send_msg(sock, b"hello")
    with pytest.raises(ConnectionError) as caught:
        send_msg(sock, b"hello")
    assert str(caught.value) == (
        "an earlier send_msg on this socket was cut off in the middle of a message:"
        " close the connection, since the receiver cannot tell where the next one starts"
    )

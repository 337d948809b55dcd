"""That the fast paths are taken where they are meant to be: nothing else would show it but time."""

from __future__ import annotations

import socket
import struct
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pytest

from framing import (
    Buffer,
    DelimiterFramer,
    Framer,
    HeaderBodyFramer,
    HeaderMessage,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    ReadExactly,
    Steps,
    StructFramer,
    recv_msg,
    send_msg,
)
from framing import delimiter as delimiter_module
from framing import stream as stream_module
from framing.buffer import LARGE_PIECE, StreamBuffer, size_of
from framing.delimiter import Lines
from framing.fields import LengthField
from framing.pieces import Pieces
from framing.sockets import JOIN_SIZE, MOST_PARTS
from framing.stream_decoder import StreamDecoder

from .conditions import needs
from .netstring import NetstringFramer
from .pairs import unix_pair, wrapped_pair


class Calls:
    """Counts the calls of methods, from now to the end of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.counts: dict[str, int] = {}

    def count(self, kind: type, name: str) -> None:
        method = getattr(kind, name)
        self.counts.setdefault(name, 0)

        def counted(*args: Any, **options: Any) -> Any:
            self.counts[name] += 1
            return method(*args, **options)

        self._monkeypatch.setattr(kind, name, counted)

    def __getitem__(self, name: str) -> int:
        return self.counts[name]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = unix_pair()
    with here, there:
        yield here, there


BATCHES: list[tuple[Framer[Any], Any]] = [
    (LengthPrefixFramer(), b"%d"),
    (LengthPrefixFramer("<I"), b"%d"),
    (DelimiterFramer(), b"%d"),
    (DelimiterFramer(b"\r\n"), b"%d"),
    (DelimiterFramer(b"\0"), b"%d"),
    (LineFramer(), "%d"),
    (StructFramer("!I"), None),
]


def batch(text: Any, filler: int, count: int) -> list[Any]:
    if text is None:
        return [(number,) for number in range(count)]
    letter = "x" if isinstance(text, str) else b"x"
    return [text % number + letter * filler for number in range(count)]


@pytest.mark.parametrize(("framer", "text"), BATCHES, ids=repr)
@pytest.mark.parametrize("filler", [0, 200])
@pytest.mark.parametrize("chunk", [1000, 10**6])
def test_a_chunk_of_messages_is_decoded_at_once(
    framer: Framer[Any], text: Any, filler: int, chunk: int, calls: Calls
) -> None:
    messages = batch(text, filler, 500)
    wire = b"".join(map(framer.encode, messages))
    calls.count(type(framer), "read_message")
    calls.count(type(framer), "read_batch")
    decoder = framer.decoder()
    received: list[Any] = []
    for start in range(0, len(wire), chunk):
        received += decoder.feed(wire[start : start + chunk])
    assert received == messages
    chunks = len(wire) // chunk + 1
    assert calls["read_message"] == 0  # not for those that the end of a chunk cuts, either
    assert calls["read_batch"] <= 3 * chunks + len(wire) // (64 * 1024)


WINDOWS: list[tuple[Framer[Any], Any]] = [
    (LengthPrefixFramer(max_size=1000), b"%d"),  # at most so much is decoded at once
    (DelimiterFramer(max_size=1000), b"%d"),
    (DelimiterFramer(b"\r\n", max_size=1000), b"%d"),
    (LineFramer(max_size=1000), "%d"),
]


@pytest.mark.parametrize(
    ("framer", "text", "cut"),
    [*((*each, cut) for each in BATCHES for cut in (0, 1)), *((*each, 0) for each in WINDOWS)],
    ids=repr,
)
@pytest.mark.parametrize("first", [500, 300])
def test_what_is_fed_before_all_is_taken_is_decoded_at_once(
    framer: Framer[Any], text: Any, cut: int, first: int, calls: Calls
) -> None:
    messages = batch(text, 10, 800)
    wires = [*map(framer.encode, messages)]
    calls.count(type(framer), "read_message")
    decoder = framer.decoder()
    wire, place = b"".join(wires), sum(map(len, wires[:first])) + cut
    received = [decoder.feed(wire[:place]).next_message()]  # one of them
    received += decoder.feed(wire[place:])
    assert received == messages
    assert calls["read_message"] == 0


@pytest.mark.parametrize("framer", [each for each, text in BATCHES if text is not None], ids=repr)
def test_empty_messages_are_decoded_at_once(framer: Framer[Any], calls: Calls) -> None:
    empty = "" if isinstance(framer, LineFramer) else b""
    calls.count(type(framer), "read_message")
    assert list(framer.decoder().feed(framer.encode(empty) * 100)) == [empty] * 100
    assert calls["read_message"] == 0


def dripped(framer: Framer[Any], wire: bytes) -> Any:
    """Return the message that *wire* holds, which is fed byte by byte."""
    decoder = framer.decoder()
    for place in range(len(wire)):
        found = decoder.feed(wire[place : place + 1]).next_message()
    return found


def test_the_rest_of_a_long_message_is_not_looked_at_until_it_is_there(calls: Calls) -> None:
    wire = LengthPrefixFramer().encode(b"x" * 5000)
    calls.count(ReadExactly, "_take")
    assert dripped(LengthPrefixFramer(), wire) == b"x" * 5000
    assert calls["_take"] <= 40  # two at each time that the bytes have doubled


@pytest.mark.parametrize(("filler", "are_long"), [(10, False), (189, False), (200, True)])
def test_long_lines_are_split_in_another_way(
    filler: int, are_long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []

    def make_file(data: bytes) -> BytesIO:
        files.append(data)
        return BytesIO(data)

    monkeypatch.setattr(delimiter_module, "BytesIO", make_file)
    wire = (b"x" * filler + b"\r\n") * 5
    messages, end, _ = DelimiterFramer(b"\r\n").read_batch(wire, 0, len(wire))
    assert [*messages] == [b"x" * filler] * 5
    assert end == len(wire)
    assert len(files) == are_long


@pytest.mark.parametrize(("framer", "text"), BATCHES[:-1], ids=repr)
def test_what_cannot_be_enough_is_not_looked_at(
    framer: Framer[Any], text: Any, calls: Calls
) -> None:
    (message,) = batch(text, 200, 1)
    wire = framer.encode(message)
    calls.count(type(framer), "read_message")
    calls.count(type(framer), "read_batch")
    assert dripped(framer, wire) == message
    # The bytes double between one attempt at all of them and the next.
    assert calls["read_batch"] + calls["read_message"] <= 20


def test_a_message_in_a_format_without_a_fast_path_is_begun_once(calls: Calls) -> None:
    wire = NetstringFramer().encode(b"x" * 5000)
    calls.count(NetstringFramer, "read_message")
    assert dripped(NetstringFramer(), wire) == b"x" * 5000
    assert calls["read_message"] == 1


SHORT, LONG = b"x" * 191 + b"\n", b"x" * 192 + b"\n"


@pytest.mark.parametrize(
    ("block", "start", "are_long"),
    [
        (LONG, 0, True),
        (SHORT, 0, False),
        (b"\n", 0, False),  # nothing is shorter
        (b"\n" + LONG, 1, True),
        (LONG + SHORT, len(LONG), False),
        (LONG * 2, 0, True),
    ],
)
def test_the_first_line_of_a_block_decides_which_way_is_faster(
    block: bytes, start: int, are_long: bool
) -> None:
    texts, end, _ = LineFramer().read_batch(block, start, len(block))
    assert isinstance(texts, Lines) == are_long
    assert [*texts] == block[start:].decode().split("\n")[:-1]
    assert end == len(block)


def test_lines_of_bytes_are_cut_as_they_are_taken() -> None:
    lines, _, _ = DelimiterFramer().read_batch(b"one\ntwo\nthr", 0, 11)
    assert isinstance(lines, Lines)
    assert [*lines] == [b"one", b"two"]


@pytest.mark.parametrize(("wrap", "copies"), [(bytes, 0), (memoryview, 1)])
def test_what_is_fed_is_copied_once_at_most(wrap: Any, copies: int) -> None:
    data = wrap(bytes(4_000_000))
    decoder = LengthPrefixFramer().decoder()
    tracemalloc.start()
    try:
        decoder.feed(data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < (copies + 0.5) * len(data)


@pytest.mark.parametrize("chunk", [10_000, 64 * 1024, 300_000])
@pytest.mark.parametrize("before", [b"", b"\0\0\0\5hello"])
def test_a_long_message_is_handed_over_as_it_was_gathered(before: bytes, chunk: int) -> None:
    wire = LengthPrefixFramer().encode(bytes(8_000_000))
    chunks = [wire[place : place + chunk] for place in range(4, len(wire), chunk)]
    decoder = LengthPrefixFramer().decoder()
    assert list(decoder.feed(before + wire[:4])) == [b"hello"] * bool(before)
    tracemalloc.start()
    try:
        for each in chunks:
            message = decoder.feed(each).next_message()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message == wire[4:]
    assert most < 1.5 * len(wire)  # a copy would be another


def test_what_was_read_of_a_long_message_is_not_moved_again() -> None:
    buffer = StreamBuffer()
    for size, taken in ((4095, 0), (4096, 4096)):
        buffer.feed(bytes(size))
        assert buffer.read_exactly(size) == bytes(size)
        assert buffer.read_exactly(1) is None
        assert size_of(buffer.taken) == taken
        buffer.clear(b"")
    for taken in (0, 5000, 10_000):
        assert size_of(buffer.taken) == buffer.read == taken
        buffer.feed(bytes(5000))
        assert buffer.read_exactly(6000) is None  # nothing was read meanwhile
        assert size_of(buffer.taken) == taken
        assert buffer.read_exactly(5000) == bytes(5000)
        assert buffer.read_exactly(1) is None


def test_what_was_not_read_of_a_message_is_in_one_piece() -> None:
    buffer = StreamBuffer()
    buffer.feed(b"abc")
    assert buffer.read_exactly(LARGE_PIECE) is None
    assert buffer.taken is None


def test_a_length_is_packed_by_a_function_of_c() -> None:
    assert type(LengthField("!I").pack) is type(struct.Struct("!I").pack)


@pytest.mark.parametrize("framer", [LengthPrefixFramer(), LengthPrefixFramer("<Q")], ids=repr)
def test_short_messages_are_encoded_together_in_a_loop_of_its_own(
    framer: LengthPrefixFramer, calls: Calls
) -> None:
    calls.count(LengthPrefixFramer, "encode_parts")
    parts: list[Buffer] = []
    sizes = [0, 1, 1000, 16 * 1024]
    assert not framer.encode_some(map(bytes, sizes), parts, 10**6)
    assert calls["encode_parts"] == 0
    assert len(parts) == len(sizes)
    assert not framer.encode_some(iter([bytes(16 * 1024 + 1)]), parts, 10**6)
    assert calls["encode_parts"] == 1


@pytest.mark.parametrize(("enough", "is_copied"), [(60_004, False), (60_005, True)])
def test_of_messages_encoded_together_the_last_long_one_is_not_copied(
    enough: int, is_copied: bool
) -> None:
    long = bytearray(60_000)
    parts: list[Buffer] = []
    # Where others may follow, their sender may use the buffer for them.
    assert LengthPrefixFramer().encode_some(iter([long]), parts, enough) != is_copied
    assert len(parts) == (1 if is_copied else 2)


PLAIN: list[tuple[Framer[Any], Any]] = [
    (LengthPrefixFramer(), b"hello"),
    (LengthPrefixFramer("!B"), b"x" * 255),
    (LengthPrefixFramer(max_size=100), b"x" * 100),
    (HeaderBodyFramer(), HeaderMessage({"size": 2}, b"hi")),
    (HeaderBodyFramer(), HeaderMessage({"size": 0}, b"")),
    (StructFramer("!HI"), (1, 2)),
]


@pytest.mark.parametrize(("framer", "message"), PLAIN, ids=repr)
def test_recv_msg_makes_no_decoder_where_a_message_is_there(
    framer: Framer[Any], message: Any, pair: tuple[socket.socket, socket.socket], calls: Calls
) -> None:
    here, there = pair
    calls.count(StreamDecoder, "__init__")
    calls.count(stream_module._State, "__init__")
    for _ in range(5):
        send_msg(here, message, framer=framer)
        assert recv_msg(there, framer=framer) == message
    assert calls["__init__"] == 2  # a state for each socket, and no decoder


def test_recv_msg_goes_back_to_that_after_a_message_that_came_in_parts(
    pair: tuple[socket.socket, socket.socket], calls: Calls
) -> None:
    here, there = pair
    there.setblocking(False)
    here.sendall(b"\0\0\0")
    with pytest.raises(BlockingIOError):
        recv_msg(there)
    here.sendall(b"\5hello")
    assert recv_msg(there) == b"hello"
    calls.count(StreamDecoder, "__init__")
    for _ in range(3):
        send_msg(here, b"next")
        assert recv_msg(there) == b"next"
    assert calls["__init__"] == 0


@pytest.mark.parametrize("framer", [DelimiterFramer(), LineFramer(), LengthPrefixFramer()])
def test_recv_msg_keeps_a_decoder_where_it_needs_one_for_each_message(
    framer: Framer[Any], calls: Calls
) -> None:
    here, there = wrapped_pair() if isinstance(framer, LengthPrefixFramer) else unix_pair()
    message = "x" if isinstance(framer, LineFramer) else b"x"
    calls.count(StreamDecoder, "__init__")
    with here, there:
        for _ in range(3):
            send_msg(here, message, framer=framer)
            assert recv_msg(there, framer=framer) == message
    assert calls["__init__"] == 1


@needs("MSG_PEEK", "otherwise it is read byte by byte")
def test_recv_msg_looks_ahead_for_a_delimiter(
    pair: tuple[socket.socket, socket.socket], calls: Calls
) -> None:
    here, there = pair
    calls.count(StreamDecoder, "feed_from")
    send_msg(here, b"x" * 1000, framer=DelimiterFramer())
    assert recv_msg(there, framer=DelimiterFramer()) == b"x" * 1000
    assert calls["feed_from"] <= 2  # of which the first is for one byte


def test_send_msg_takes_one_step_for_a_short_message(
    pair: tuple[socket.socket, socket.socket], calls: Calls
) -> None:
    here, there = pair
    for name in ("send", "send_rest"):
        calls.count(stream_module._State, name)
    for _ in range(3):
        send_msg(here, b"hello")
        assert recv_msg(there) == b"hello"
    assert calls["send"] == calls["send_rest"] == 0


@pytest.mark.parametrize(
    ("framer", "size", "asked"),
    [
        (LengthPrefixFramer(), 0, [4]),  # nothing more is to be asked for
        (LengthPrefixFramer(), 1, [4, 1]),
        (LengthPrefixFramer(), 64 * 1024 - 1, [4, 64 * 1024 - 1]),
        (LengthPrefixFramer(), 64 * 1024, [4]),  # which a peer may only announce
        (LengthPrefixFramer("!H", max_size=9), 9, [2, 9]),
        (LengthPrefixFramer("!H", max_size=9), 10, [2]),
        (LengthPrefixFramer("!h"), -1, [2]),
    ],
)
def test_recv_msg_asks_at_once_for_what_is_short(
    framer: LengthPrefixFramer, size: int, asked: list[int]
) -> None:
    wire = BytesIO(struct.pack(framer.format, size) + bytes(max(0, size)))
    sizes = []

    def receive(size: int) -> bytes:
        sizes.append(size)
        return wire.read(size)

    got = framer._receive_at_once(receive, Pieces())
    assert sizes == asked
    assert got == ((bytes(size), asked[0] + size) if len(asked) > 1 else None)


class RecordedSocket(socket.socket):
    """Writes down which of its methods sent how many pieces."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.calls: list[tuple[str, int]] = []

    def send(self, data: Any, flags: int = 0, /) -> int:
        self.calls.append(("send", 1))
        return super().send(data, flags)

    def sendmsg(self, parts: Any, /) -> int:  # type: ignore[override]
        self.calls.append(("sendmsg", len(parts)))
        return super().sendmsg(parts)


class SeveralParts(Framer[list[bytes]]):
    """Messages of any number of parts, for a socket to send."""

    def __init__(self) -> None:
        super().__init__(max_size=10**9)

    def encode_parts(self, message: list[bytes]) -> list[bytes]:
        return message

    def read_message(self) -> Steps[list[bytes]]:
        return [(yield ReadExactly(1))]


@needs("sendmsg", "otherwise there is but one way")
@pytest.mark.parametrize(
    ("message", "calls"),
    [
        ([b"hello"], [("send", 1)]),
        ([b"hello", b"world"], [("send", 1)]),  # joined
        ([bytes(JOIN_SIZE - 1), b"x"], [("send", 1)]),
        ([bytes(JOIN_SIZE), b"x"], [("sendmsg", 2)]),
        ([bytes(JOIN_SIZE)] * MOST_PARTS, [("sendmsg", MOST_PARTS)]),
        ([bytes(JOIN_SIZE)] * (MOST_PARTS + 1), [("send", 1)]),  # more than the system takes
    ],
    ids=["1", "2 short", "2, joined", "2 long", "most", "more"],
)
def test_a_message_goes_out_in_one_call(
    message: list[bytes],
    calls: list[tuple[str, int]],
    pair: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, there = pair
    monkeypatch.setattr(stream_module, "is_plain", lambda _: True)
    with ThreadPoolExecutor() as executor, there.makefile("rb") as file:
        received = executor.submit(file.read)
        with RecordedSocket(here.family, here.type, here.proto, here.detach()) as recorded:
            recorded.settimeout(10)
            send_msg(recorded, message, framer=SeveralParts())
        assert recorded.calls == calls
        assert received.result() == b"".join(message)


@pytest.mark.parametrize("framer", [LengthPrefixFramer(), LengthPrefixFramer("!H")], ids=repr)
def test_a_short_message_is_one_piece_and_a_long_one_is_not_copied(
    framer: LengthPrefixFramer,
) -> None:
    for size in (5, 8 * 1024):
        (wire,) = framer.encode_parts(bytes(size))
        assert type(wire) is bytes
    long = bytes(60_000)
    _, payload = framer.encode_parts(long)
    assert payload is long


@needs("MSG_DONTWAIT", "otherwise there is but the general way")
def test_answers_that_come_alone_are_taken_without_the_general_way(
    pair: tuple[socket.socket, socket.socket], calls: Calls
) -> None:
    for sock in pair:
        sock.settimeout(None)
    here, there = map(MessageSocket, pair)
    here.send(b"first")
    assert there.recv() == b"first"
    calls.count(StreamDecoder, "decode")
    for number in range(5):
        here.send(b"%d" % number)
        assert there.recv() == b"%d" % number
    assert calls["decode"] == 0

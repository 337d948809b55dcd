"""That the fast paths are taken where they are meant to be: nothing else would show it but time."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from framing import (
    DelimiterFramer,
    Framer,
    HeaderBodyFramer,
    HeaderMessage,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    StructFramer,
    recv_msg,
    send_msg,
)
from framing import stream as stream_module
from framing.stream_decoder import StreamDecoder

from .conditions import needs
from .pairs import unix_pair


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
    assert calls["read_message"] <= chunks  # for the message that the end of a chunk cuts
    assert calls["read_batch"] <= 3 * chunks + len(wire) // (64 * 1024)


@pytest.mark.parametrize(("framer", "text"), BATCHES[:-1], ids=repr)
def test_what_cannot_be_enough_is_not_looked_at(
    framer: Framer[Any], text: Any, calls: Calls
) -> None:
    (message,) = batch(text, 200, 1)
    wire = framer.encode(message)
    calls.count(type(framer), "read_message")
    calls.count(type(framer), "read_batch")
    decoder = framer.decoder()
    for place in range(len(wire)):
        found = decoder.feed(wire[place : place + 1]).next_message()
    assert found == message
    # The bytes double between one attempt at all of them and the next.
    assert calls["read_batch"] + calls["read_message"] <= 20


PLAIN: list[tuple[Framer[Any], Any]] = [
    (LengthPrefixFramer(), b"hello"),
    (LengthPrefixFramer("!B"), b"x" * 255),
    (LengthPrefixFramer(max_size=100), b"x" * 100),
    (HeaderBodyFramer(), HeaderMessage({"size": 2}, b"hi")),
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


@pytest.mark.parametrize("framer", [LengthPrefixFramer(), LengthPrefixFramer("!H")], ids=repr)
def test_a_short_message_is_one_piece_and_a_long_one_is_not_copied(
    framer: LengthPrefixFramer,
) -> None:
    (wire,) = framer.encode_parts(b"hello")
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

"""Threads that share a connection lose, double and mix no message, with or without a GIL.

With ``HYPOTHESIS_PROFILE=thorough``, a million messages go through each connection.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

import pytest

from framing import EndOfStreamError, MessageSocket, recv_msg, send_msg

from .pairs import Pair, Task, tcp_pair, unix_pair

COUNT = 1_000_000 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 36_000
ENOUGH = 60 + COUNT // 500  # seconds, against hanging
# A message is its number, so that each is different; some come with more bytes than fit at once.
SENDERS = [range(first, COUNT, 4) for first in range(4)]


def message(number: int) -> bytes:
    return b"%d " % number + bytes(100_000 if number % 1000 == 0 else number % 100)


def number_in(message: bytes) -> int:
    number, _, padding = message.partition(b" ")
    assert len(padding) == (100_000 if int(number) % 1000 == 0 else int(number) % 100)
    return int(number)


def until_the_end(receive: Callable[[], bytes]) -> Iterable[bytes]:
    with suppress(EndOfStreamError):
        while True:
            yield receive()


def check(
    sends: Sequence[Callable[[range], None]],
    receives: Sequence[Callable[[], Iterable[bytes]]],
    end: Callable[[], None],
) -> None:
    """Send with one thread for each of *sends*, receive with one for each of *receives*."""
    receiving = [Task(lambda all_of=each: [*map(number_in, all_of())]) for each in receives]
    sending = [Task(send, numbers) for send, numbers in zip(sends, SENDERS, strict=True)]
    for task in sending:
        task.result_within(ENOUGH)
    end()
    received = [task.result() for task in receiving]
    assert sorted(number for each in received for number in each) == list(range(COUNT))
    for numbers in received:  # each sender's come in their order
        for first in range(4):
            own = [each for each in numbers if each % 4 == first]
            assert own == sorted(own)


def test_eight_threads_share_the_functions(plain_pair: Pair) -> None:
    here, there = plain_pair

    def send(numbers: range) -> None:
        for number in numbers:
            send_msg(here, message(number))

    receive = partial(until_the_end, partial(recv_msg, there))
    check([send] * 4, [receive] * 4, partial(here.shutdown, socket.SHUT_WR))


@pytest.fixture
def without_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``MessageSocket`` do what it does without a GIL."""
    monkeypatch.setattr("framing.sockets.message_socket._HAS_GIL", False)


@pytest.mark.parametrize(("make_pair", "timeout"), [(tcp_pair, None), (unix_pair, ENOUGH)])
def test_eight_threads_share_a_message_socket(
    make_pair: Callable[[], Pair], timeout: float | None
) -> None:
    here, there = make_pair()
    here.settimeout(timeout)
    there.settimeout(timeout)

    def send(numbers: range) -> None:
        for number in numbers:
            client.send(message(number))

    def send_many(numbers: range) -> None:
        client.send_many(map(message, numbers))

    def receive_into() -> bytes:
        buffer = bytearray(200_000)
        return bytes(buffer[: server.recv_into(buffer)])

    with MessageSocket(here) as client, MessageSocket(there) as server:
        receives = [
            partial(until_the_end, server.recv),
            partial(until_the_end, partial(server.recv, timeout=ENOUGH)),
            partial(until_the_end, receive_into),
            partial(iter, server),
        ]
        check([send, send, send, send_many], receives, client.end)


@pytest.mark.usefixtures("without_gil")
def test_without_a_gil_too_messages_come_in_order_and_then_the_end() -> None:
    here, there = unix_pair()
    there.settimeout(None)
    with MessageSocket(here) as client, MessageSocket(there) as server:
        sending = Task(client.send_many, map(message, range(2000)))
        assert number_in(server.recv()) == 0
        received = [number_in(server.recv()) for _ in range(1998)]
        assert received == list(range(1, 1999))
        sending.result()
        client.end()
        assert list(map(number_in, server)) == [1999]
        with pytest.raises(EndOfStreamError):
            server.recv()


@pytest.mark.usefixtures("without_gil")
def test_without_a_gil_too_messages_that_are_ready_can_be_had_as_bytes() -> None:
    here, there = unix_pair()
    with MessageSocket(here) as client, MessageSocket(there) as server:
        client.send_many([b"one", b"two", b"three", b"four"])
        assert server.recv() == b"one"
        with pytest.raises(ValueError, match="at least 3 bytes"):
            server.recv_into(bytearray(2))
        assert server.recv_exactly(7) == b"\0\0\0\3two"
        assert server.recv() == b"three"
        assert server.detach() == (there, b"\0\0\0\4four")
        there.close()

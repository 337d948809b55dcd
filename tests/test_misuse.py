"""What is no socket, no framer and no address is told to be none, and harms nothing."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framing import (
    DelimiterFramer,
    Framer,
    LineFramer,
    MessageSocket,
    ReadExactly,
    connect,
    join_multicast,
    open_datagram,
    recv_datagram,
    recv_msg,
    request_datagram,
    send_datagram,
    send_msg,
)
from framing.files import recv_file, send_file

from .pairs import tcp_pair, tls_pair, unix_pair

Call = Callable[[Any], object]

STREAM_CALLS: dict[str, Call] = {
    "send_msg": lambda sock: send_msg(sock, b"x"),
    "recv_msg": recv_msg,
    "MessageSocket": MessageSocket,
    "send_file": lambda sock: send_file(sock, __file__),
    "recv_file": lambda sock: recv_file(sock, Path(__file__).parent),
}
DATAGRAM_CALLS: dict[str, Call] = {
    "send_datagram": lambda sock: send_datagram(sock, b"x", ("127.0.0.1", 9)),
    "recv_datagram": recv_datagram,
    "request_datagram": lambda sock: request_datagram(sock, b"x", ("127.0.0.1", 9)),
}


@pytest.mark.parametrize("call", STREAM_CALLS.values(), ids=STREAM_CALLS)
@pytest.mark.parametrize("thing", [None, 3, "127.0.0.1", (), io.BytesIO()], ids=repr)
def test_what_is_no_socket_is_told(call: Call, thing: object) -> None:
    for _ in range(2):
        with pytest.raises(TypeError) as caught:
            call(thing)
        assert str(caught.value) == f"expected a socket, not {type(thing).__name__}"


@pytest.mark.parametrize("call", STREAM_CALLS.values(), ids=STREAM_CALLS)
def test_what_accept_returns_is_two_things(call: Call) -> None:
    here, there = unix_pair()
    with here, there, pytest.raises(TypeError, match="take the first of the two that accept"):
        call((here, ("127.0.0.1", 9000)))


@pytest.mark.parametrize("name", ["send_msg", "recv_msg", "MessageSocket"])
def test_a_message_socket_is_no_socket(name: str) -> None:
    here, there = unix_pair()
    with there, MessageSocket(here) as messages:
        for _ in range(2):
            with pytest.raises(TypeError, match="expected a socket, not MessageSocket"):
                STREAM_CALLS[name](messages)
        messages.send(b"unharmed")
        assert recv_msg(there) == b"unharmed"


@pytest.mark.parametrize("call", DATAGRAM_CALLS.values(), ids=DATAGRAM_CALLS)
def test_a_stream_takes_no_datagrams(call: Call) -> None:
    here, there = tcp_pair()
    with here, there:
        with pytest.raises(ValueError, match=r"expected a datagram socket \(SOCK_DGRAM\)"):
            call(here)
        there.setblocking(False)
        with pytest.raises(BlockingIOError):
            there.recv(1)


@pytest.mark.parametrize("call", DATAGRAM_CALLS.values(), ids=DATAGRAM_CALLS)
def test_what_is_no_udp_socket_is_told(call: Call) -> None:
    with pytest.raises(TypeError, match="expected a UDP socket, not NoneType"):
        call(None)


@pytest.mark.parametrize(
    ("thing", "example"),
    [(DelimiterFramer, "DelimiterFramer()"), ("lines", "LineFramer()"), (None, "LineFramer()")],
    ids=repr,
)
@pytest.mark.parametrize("make_pair", [unix_pair, tls_pair])
def test_what_is_no_framer_is_told(
    thing: Any, example: str, make_pair: Callable[[], tuple[socket.socket, socket.socket]]
) -> None:
    here, there = make_pair()
    with here, there:
        calls: list[Callable[[], object]] = [
            lambda: send_msg(here, b"x", framer=thing),
            lambda: recv_msg(here, framer=thing),
            lambda: MessageSocket(here, thing),
            lambda: connect(("127.0.0.1", 9), thing),
        ]
        for call in calls:
            with pytest.raises(TypeError) as caught:
                call()
            assert str(caught.value) == f"expected a framer, such as {example}, not {thing!r}"
        send_msg(here, b"unharmed")
        with MessageSocket(there) as messages:
            assert messages.recv() == b"unharmed"
            with pytest.raises(TypeError, match="expected a framer"):
                messages.switch(thing)
            messages.send(b"unharmed too")
            assert recv_msg(here) == b"unharmed too"


class Wrong(Framer[bytes]):
    """A format whose author has not read how to write one."""

    def __init__(self) -> None:
        super().__init__(max_size=100)

    def encode_parts(self, message: bytes) -> Any:
        return message

    def read_message(self) -> Any:
        return b"x"


class AsksForNumbers(Wrong):
    def read_message(self) -> Any:
        return (yield 1)


class AsksForNumbersLater(Wrong):
    def read_message(self) -> Any:
        yield ReadExactly(1)
        return (yield 1)


class Fails(Wrong):
    def read_message(self) -> Any:
        data = yield ReadExactly(1)
        return data + "text"


READING: list[Callable[[socket.socket, Framer[Any]], object]] = [
    lambda sock, framer: recv_msg(sock, framer=framer),
    lambda sock, framer: MessageSocket(sock, framer).recv(),
    lambda _, framer: framer.decoder().feed(b"xyz").next_message(),
]


@pytest.mark.parametrize(
    ("framer", "problem"),
    [
        (Wrong(), "is no generator, but returned bytes: it has to ask for bytes, with yield"),
        (AsksForNumbers(), "asked for 1: expected it to yield ReadExactly or ReadUntil"),
        (AsksForNumbersLater(), "asked for 1: expected it to yield ReadExactly or ReadUntil"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("read", READING)
def test_who_writes_a_framer_is_told_how_to_read(
    framer: Framer[Any], problem: str, read: Callable[[socket.socket, Framer[Any]], object]
) -> None:
    here, there = unix_pair()
    with here, there:
        here.sendall(b"xyz")
        with pytest.raises(TypeError) as caught:
            read(there, framer)
    assert str(caught.value) == f"{framer!r}.read_message() {problem}"
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("read", READING)
def test_an_error_of_a_framers_own_is_left_as_it_is(
    read: Callable[[socket.socket, Framer[Any]], object],
) -> None:
    here, there = unix_pair()
    with here, there:
        here.sendall(b"xyz")
        with pytest.raises(TypeError, match="can't concat str to bytes"):
            read(there, Fails())


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        (b"hello", "sequence item 0: expected a bytes-like object, int found"),
        ([b"5:", "hello"], "sequence item 1: expected a bytes-like object, str found"),
    ],
    ids=repr,
)
def test_who_writes_a_framer_is_told_what_to_encode_to(parts: Any, problem: str) -> None:
    with pytest.raises(TypeError) as caught:
        Wrong().encode(parts)  # which returns them as they are
    assert str(caught.value) == (
        f"expected {Wrong()!r}.encode_parts() to return bytes in a list or a tuple: {problem}"
    )


@pytest.mark.parametrize("address", ["127.0.0.1:9000", None, 9000, ("127.0.0.1",)], ids=repr)
def test_what_is_no_address_is_told(address: Any) -> None:
    with open_datagram() as sock:
        for call in (connect, open_datagram, lambda to: request_datagram(sock, b"", to)):
            if address is None and call is not connect:
                continue  # which is the peer, or any address
            with pytest.raises(TypeError) as caught:
                call(address)
            expected = "expected a host and a port, such as ('127.0.0.1', 9000)"
            assert str(caught.value) == f"{expected}, not {address!r}"


@pytest.mark.parametrize("port", [-1, 65_536, 70_000])
def test_there_are_65536_ports(port: int) -> None:
    for call in (connect, open_datagram):
        with pytest.raises(ValueError, match=f"expected a port from 0 to 65535, not {port}"):
            call(("127.0.0.1", port))


def test_a_group_is_a_text() -> None:
    with open_datagram() as sock, pytest.raises(TypeError, match="not NoneType"):
        join_multicast(sock, None)  # type: ignore[arg-type]


def test_an_immutable_framer_says_where_options_go() -> None:
    class Numbered(LineFramer):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.n = n

    with pytest.raises(AttributeError, match=r"give options to super\(\).__init__\(n=...\)"):
        Numbered(1)

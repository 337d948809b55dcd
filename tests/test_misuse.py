"""Natural mistakes are errors that say what is wrong, and harm nothing."""

from __future__ import annotations

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

from .pairs import Pair, tcp_pair, tls_pair, unix_pair

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
every_stream_call = pytest.mark.parametrize("call", STREAM_CALLS.values(), ids=STREAM_CALLS)
every_datagram_call = pytest.mark.parametrize("call", DATAGRAM_CALLS.values(), ids=DATAGRAM_CALLS)

# Sockets


@every_stream_call
@pytest.mark.parametrize("thing", [None, 3, "127.0.0.1", ()], ids=repr)
def test_something_else_than_a_socket_is_refused(call: Call, thing: object) -> None:
    for _ in range(2):
        with pytest.raises(TypeError, match=f"expected a .*, not {type(thing).__name__}"):
            call(thing)


@every_stream_call
def test_the_tuple_of_accept_is_not_a_socket(call: Call) -> None:
    here, there = unix_pair()
    advice = r"take the first, as in conn, _ = listener\.accept\(\)"
    with here, there, pytest.raises(TypeError, match=advice):
        call((here, ("127.0.0.1", 9000)))


@pytest.mark.parametrize("name", ["send_msg", "recv_msg", "MessageSocket"])
def test_a_message_socket_is_not_a_socket(name: str) -> None:
    here, there = unix_pair()
    with there, MessageSocket(here) as messages:
        for _ in range(2):
            with pytest.raises(TypeError, match="MessageSocket"):
                STREAM_CALLS[name](messages)
        messages.send(b"unharmed")
        assert recv_msg(there) == b"unharmed"


@every_datagram_call
def test_a_stream_takes_no_datagrams(call: Call) -> None:
    here, there = tcp_pair()
    with here, there:
        with pytest.raises(ValueError, match=r"expected a datagram socket \(SOCK_DGRAM\)"):
            call(here)
        there.setblocking(False)
        with pytest.raises(BlockingIOError):
            there.recv(1)


@every_datagram_call
def test_something_else_than_a_udp_socket_is_refused(call: Call) -> None:
    with pytest.raises(TypeError, match="expected a UDP socket, not NoneType"):
        call(None)


# Framers


@pytest.mark.parametrize("thing", [DelimiterFramer, "lines", None], ids=repr)
@pytest.mark.parametrize("make_pair", [unix_pair, tls_pair])
def test_something_else_than_a_framer_is_refused(thing: Any, make_pair: Callable[[], Pair]) -> None:
    here, there = make_pair()
    with here, there:
        calls: list[Callable[[], object]] = [
            lambda: send_msg(here, b"x", framer=thing),
            lambda: recv_msg(here, framer=thing),
            lambda: MessageSocket(here, thing),
            lambda: connect(("127.0.0.1", 9), thing),
        ]
        example = "DelimiterFramer" if thing is DelimiterFramer else "LineFramer"
        for call in calls:
            with pytest.raises(TypeError, match=rf"expected a framer, such as {example}\(\)"):
                call()
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


READING: list[Callable[[socket.socket, Framer[Any]], object]] = [
    lambda sock, framer: recv_msg(sock, framer=framer),
    lambda sock, framer: MessageSocket(sock, framer).recv(),
    lambda _, framer: framer.decoder().feed(b"xyz").next_message(),
]


@pytest.mark.parametrize(
    ("framer", "problem"),
    [
        (Wrong(), "generator"),
        (AsksForNumbers(), "ReadExactly, ReadUntil or Skip"),
        (AsksForNumbersLater(), "ReadExactly, ReadUntil or Skip"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("read", READING)
def test_a_framer_that_reads_in_a_wrong_way_is_a_type_error_that_names_the_function(
    framer: Framer[Any], problem: str, read: Callable[[socket.socket, Framer[Any]], object]
) -> None:
    here, there = unix_pair()
    with here, there:
        here.sendall(b"xyz")
        with pytest.raises(TypeError, match=problem) as caught:
            read(there, framer)
    assert "read_message" in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_an_immutable_framer_says_where_options_go() -> None:
    class Numbered(LineFramer):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.n = n

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(n=...\)"):
        Numbered(1)


# Addresses


@pytest.mark.parametrize("address", [None, 9000, ("127.0.0.1",)], ids=repr)
def test_a_bad_address_is_a_type_error(address: Any) -> None:
    with open_datagram() as sock:
        for call in (connect, open_datagram, lambda to: request_datagram(sock, b"", to)):
            if address is None and call is not connect:
                continue  # which is the peer, or any address
            with pytest.raises(TypeError, match=r"\('127.0.0.1', 9000\)"):
                call(address)


@pytest.mark.parametrize("port", [-1, 65_536, 70_000])
def test_there_are_65536_ports(port: int) -> None:
    for call in (connect, open_datagram):
        with pytest.raises(ValueError, match=f"port from 0 to 65535, not {port}"):
            call(("127.0.0.1", port))


def test_a_multicast_group_is_a_str() -> None:
    with open_datagram() as sock, pytest.raises(TypeError, match="not NoneType"):
        join_multicast(sock, None)  # type: ignore[arg-type]

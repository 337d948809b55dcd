"""Natural mistakes in calls are errors that say what to write instead, and harm nothing."""

from __future__ import annotations

import errno
import gc
import io
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from framing import (
    DelimiterFramer,
    LineFramer,
    MessageSocket,
    connect,
    open_datagram,
    recv_msg,
    send_msg,
)
from framing.files import recv_file, send_file

from .fakes import made_of
from .pairs import Pair, tls_pair, unix_pair

# Called with what a type checker would refuse.
SEND: Any = send_msg
RECV: Any = recv_msg
WRAP: Any = MessageSocket
CALLS: dict[str, Callable[[Any], Any]] = {
    "send_msg": lambda sock: send_msg(sock, b"x"),
    "send_msg in parts": lambda sock: send_msg(sock, bytes(100_000)),
    "recv_msg": recv_msg,
    "recv_msg in another format": lambda sock: recv_msg(sock, LineFramer()),
    "MessageSocket": MessageSocket,
    "send_file": lambda sock: send_file(sock, __file__),
    "recv_file": lambda sock: recv_file(sock, Path(__file__).parent),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
of_messages = pytest.mark.parametrize("call", list(CALLS.values())[:5], ids=list(CALLS)[:5])

# Something else than a socket


@every_call
@pytest.mark.parametrize("thing", [None, 3, "127.0.0.1", ()], ids=repr)
def test_something_else_than_a_socket_is_refused(call: Callable[[Any], Any], thing: Any) -> None:
    text = rf"^expected a .*, not {type(thing).__name__}(: the socket comes first.*)?$"
    for _ in range(2):
        with pytest.raises(TypeError, match=text):
            call(thing)


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        (
            lambda sock: RECV(sock, 1024),
            r"no size: leave out 1024 \(the second .* is the format\)$",
        ),
        (lambda sock: WRAP(sock).recv(1024), "needs no size: leave out 1024"),
        (lambda sock: SEND(b"hi", sock), "the socket comes first"),
        (lambda sock: SEND(sock, {"a": 1}), "JsonFramer"),
        (lambda sock: SEND(sock, "text"), r"text\.encode\(\)"),
        *(
            (lambda sock, call=call: call((sock, ("127.0.0.1", 1))), r"conn, _ = listener\.accept")
            for call in CALLS.values()
        ),
        *(
            (lambda _, thing=thing: WRAP(thing), r"\w: use send_msg and recv_msg for files and")
            for thing in (io.BytesIO(), SimpleNamespace(read=1), SimpleNamespace(write=1))
        ),
        (lambda _: WRAP(SimpleNamespace(recv=1, sendall=1)), r"\w: use send_msg and .*sendall$"),
        (lambda _: WRAP(SimpleNamespace(recv=1)), "not SimpleNamespace$"),
        (lambda _: RECV(io.StringIO()), r"file, not StringIO, which is for text: use its \.buffer"),
        (lambda _: RECV(5), "a socket or a binary file, not int"),
        *(
            (
                lambda _, use=use, kind=kind: use(type(kind, (), {"read": 1})()),
                r"r: use .* asyncio$",
            )
            for use in (WRAP, RECV)
            for kind in ("StreamReader", "StreamWriter")
        ),
    ],
)
def test_a_wrong_argument_is_a_type_error_that_says_what_to_write(
    call: Callable[[Any], Any], advice: str, plain_pair: Pair
) -> None:
    with pytest.raises(TypeError, match=advice):
        call(plain_pair[0])


def test_a_message_socket_is_not_a_socket(plain_pair: Pair) -> None:
    messages = MessageSocket(plain_pair[0])
    for call in (partial(SEND, messages, b"x"), partial(RECV, messages), partial(WRAP, messages)):
        for _ in range(2):
            with pytest.raises(TypeError, match=r"t: call its own .*conn\.recv\(\)$"):
                call()
    messages.send(b"unharmed")
    assert recv_msg(plain_pair[1]) == b"unharmed"


# A socket that is not a connected stream


@of_messages
@pytest.mark.parametrize("state", ["listening", "new", "local", "closed"])
def test_a_socket_without_a_peer_gets_the_same_sentence_from_every_function(
    call: Callable[[Any], Any], state: str
) -> None:
    if state == "local" and not hasattr(socket, "AF_UNIX"):
        pytest.skip("no Unix sockets here")
    with socket.socket(socket.AF_UNIX if state == "local" else socket.AF_INET) as sock:
        if state == "listening":
            sock.bind(("127.0.0.1", 0))
            sock.listen()
        if state == "closed":
            sock.close()
        text = "expected an open socket, but this one was closed"
        if state != "closed":
            text = (
                r"expected a connected socket: call connect\(\) first, or take one from accept\(\)"
            )
        with pytest.raises(OSError, match=rf"\] {text}$") as caught:
            call(sock)
        assert caught.value.errno == (errno.EBADF if state == "closed" else errno.ENOTCONN)


@of_messages
def test_a_datagram_socket_is_refused(call: Callable[[Any], Any]) -> None:
    refused = pytest.raises(
        ValueError, match=r"datagrams keep their boundaries, so framer\.encode\(\)"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, refused:
        call(sock)


def test_a_socket_whose_peer_the_system_does_not_say_is_taken_as_connected() -> None:
    class Nameless(socket.socket):
        def getpeername(self) -> Any:
            raise OSError(errno.EOPNOTSUPP, "not supported")

    here, there = unix_pair()
    with there, MessageSocket(made_of(here, Nameless)) as messages:
        messages.send(b"hello")
        assert recv_msg(there) == b"hello"


def test_a_socket_has_one_owner(plain_pair: Pair) -> None:
    client, server = plain_pair
    for word in (b"one", b"two", b"three"):
        send_msg(client, word)
    assert MessageSocket(server).recv() == b"one"
    gc.collect()  # that object is gone, and with it what it had received ahead
    for call in CALLS.values():
        with pytest.raises(ValueError, match=r"belongs to a MessageSocket.*detach\(\)"):
            call(server)


# Framers and addresses


@pytest.mark.parametrize("thing", [DelimiterFramer, "lines", None], ids=repr)
@pytest.mark.parametrize("make_pair", [unix_pair, tls_pair])
def test_something_else_than_a_framer_is_refused(thing: Any, make_pair: Callable[[], Pair]) -> None:
    here, there = make_pair()
    example = "DelimiterFramer" if thing is DelimiterFramer else "LineFramer"
    refused = partial(pytest.raises, TypeError, match=rf"expected a framer, such as {example}\(\)")
    with here, there:
        calls: list[Callable[[], object]] = [
            lambda: send_msg(here, b"x", framer=thing),
            lambda: recv_msg(here, framer=thing),
            lambda: MessageSocket(here, thing),
            lambda: connect(("127.0.0.1", 9), thing),
        ]
        for call in calls:
            with refused():
                call()
        send_msg(here, b"unharmed")
        with MessageSocket(there) as messages:
            assert messages.recv() == b"unharmed"
            with refused():
                messages.switch(thing)
            messages.send(b"unharmed too")
            assert recv_msg(here) == b"unharmed too"


def test_an_immutable_framer_says_where_options_go() -> None:
    class Numbered(LineFramer):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.n = n

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(n=...\)"):
        Numbered(1)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        *(
            (each, r"^expected a host and a port, such as \('127.0.0.1', 9000\),.* not ")
            for each in (None, 9000, ("127.0.0.1",))
        ),
        ("localhost:9000", r"write \('localhost', 9000\)"),
        ("::1:9000", r"write \('::1', 9000\)"),
        (("127.0.0.1", -1), "port from 0 to 65535, not -1"),
        (("127.0.0.1", 65_536), "port from 0 to 65535, not 65536"),
    ],
)
def test_a_bad_address_is_refused(address: Any, text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=text):
        connect(address)
    if isinstance(address, tuple):
        with pytest.raises((TypeError, ValueError), match=text):
            open_datagram(address)


def test_a_path_is_refused_where_there_are_no_unix_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX", raising=False)
    with pytest.raises(OSError, match="no Unix sockets: use a host and a port") as caught:
        connect("./chat.sock")
    assert caught.value.errno == errno.EAFNOSUPPORT

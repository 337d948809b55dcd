"""Connected pairs of sockets, of every kind, and what to send over them."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import trustme

from framing import HeaderMessage

from .fakes import WrappedSocket
from .strategies import Format, carries

Pair = tuple[socket.socket, socket.socket]


def tcp_pair() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname()[:2], timeout=10)
        server, _ = listener.accept()
    server.settimeout(10)
    return client, server


def unix_pair() -> Pair:
    client, server = socket.socketpair()
    client.settimeout(10)
    server.settimeout(10)
    return client, server


def wrapped_pair() -> Pair:
    """A pair that cannot peek, send parts at once or be read in one step: like TLS."""
    client, server = map(WrappedSocket.around, unix_pair())
    client.settimeout(10)
    server.settimeout(10)
    return client, server


@cache
def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    client = ssl.create_default_context()
    authority.configure_trust(client)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    return client, server


def tls_pair() -> Pair:
    client_context, server_context = tls_contexts()
    client, server = tcp_pair()
    with ThreadPoolExecutor() as executor:
        accepting = executor.submit(server_context.wrap_socket, server, server_side=True)
        secure = client_context.wrap_socket(client, server_hostname="localhost")
        return secure, accepting.result()


def samples(format: Format[Any]) -> list[Any]:
    """Return messages for *format* of several kinds, long ones where it carries them."""
    kinds: list[Any] = [
        *(b"hello", b"", b"a", b"x" * 200),
        *("hello", "", "a", "漢字" * 2, "x" * 200),
        *(HeaderMessage({"id": 7}, b"hello"), HeaderMessage({}, b"")),
        *((7, b"alice", 1), (200,), (1.5, 2.5, True, b"c"), (b"pascal"[:5], -5)),
    ]
    return [each for each in kinds if carries(format, each)]


def fill(sock: socket.socket) -> int:
    """Fill the way to the peer, and return how many bytes it took."""
    total = 0
    try:
        while True:
            total += sock.send(bytes(100_000))
    except BlockingIOError:
        return total


def receive_exactly(sock: socket.socket, size: int) -> None:
    while size:
        size -= len(sock.recv(min(size, 100_000)))

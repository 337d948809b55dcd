"""Connected pairs of sockets, of every kind, what to send over them, and how to wait."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
import trustme

from framing import EndOfStreamError

from .fakes import WrappedSocket

Pair = tuple[socket.socket, socket.socket]

MIB = 1024 * 1024
# What ends a call, and not the connection
TRANSIENT = (TimeoutError, BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


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


ALL_PAIRS = [tcp_pair, unix_pair, wrapped_pair, tls_pair]
every_pair = pytest.mark.parametrize("make_pair", ALL_PAIRS)


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


def small_buffers(pair: Pair) -> Pair:
    for sock in pair:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return pair


def everything(receive: Callable[[], Any], *, but: tuple[type[Exception], ...]) -> list[Any]:
    """Return what *receive* does until the end, trying again after the errors in *but*."""
    received = []
    while True:
        try:
            received.append(receive())
        except but:
            pass
        except EndOfStreamError:
            return received


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def retried(receive: Callable[[], Any]) -> Any:
    while True:
        with suppress(*TRANSIENT):
            return receive()

"""The problem and its cure, shown on a real TCP connection to this machine itself."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

from .errors import EndOfStreamError
from .stream import recv_msg, send_msg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    _Send: TypeAlias = Callable[[socket.socket, bytes], None]
    _Receive: TypeAlias = Callable[[socket.socket], Iterator[bytes]]

MESSAGES = [b"hello", b"how are you?", b"", b"x" * 200_000, b"bye"]
_RECV_SIZE = 65_536


def run(show: Callable[[str], None] = print) -> None:
    """Send the same messages without framing and with it, and show what arrives."""
    with _connection() as (client, server):
        host, port = client.getpeername()
        show(f"Five messages over one TCP connection to {host}:{port}.\n")
        plain = _carry(client, server, socket.socket.sendall, _recv_until_closed)
    with _connection() as (client, server):
        framed = _carry(client, server, send_msg, _recv_msg_until_closed)
    width = 26
    show(f"{'sent':<{width}}{'sendall, then recv':<{width}}send_msg, then recv_msg")
    for i in range(max(len(MESSAGES), len(plain), len(framed))):
        columns = [_preview(each[i]) if i < len(each) else "" for each in (MESSAGES, plain, framed)]
        show(f"{columns[0]:<{width}}{columns[1]:<{width}}{columns[2]}".rstrip())
    verdict = "the same messages" if framed == MESSAGES else "something else: please report this"
    show(
        f"\nrecv returned {len(plain)} pieces of the stream: messages stuck together, one cut"
        " apart,\nthe empty one gone. TCP carries bytes, and keeps no boundaries between sends."
        f"\nrecv_msg returned {len(framed)} messages: {verdict}."
    )


@contextmanager
def _connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Connect two sockets over TCP on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=10)
        server, _ = listener.accept()
    server.settimeout(10)
    with client, server:
        yield client, server


def _carry(
    client: socket.socket, server: socket.socket, send: _Send, receive: _Receive
) -> list[bytes]:
    """Send all messages, and return what is received of them."""

    def send_all() -> None:
        for message in MESSAGES:
            send(client, message)
        client.shutdown(socket.SHUT_WR)

    sender = Thread(target=send_all)
    sender.start()
    # A receiver that is busy for a moment finds several messages waiting.  So does any other,
    # now and then: waiting here only makes it happen every time.
    sender.join(timeout=0.2)
    received = list(receive(server))
    sender.join()
    return received


def _recv_until_closed(sock: socket.socket) -> Iterator[bytes]:
    while data := sock.recv(_RECV_SIZE):
        yield data


def _recv_msg_until_closed(sock: socket.socket) -> Iterator[bytes]:
    try:
        while True:
            yield recv_msg(sock)
    except EndOfStreamError:
        return


def _preview(data: bytes) -> str:
    text = data.decode()
    if len(text) <= 20:
        return text or "(empty)"
    return f"{text[:9]}..{text[-3:]} ({len(text)})"

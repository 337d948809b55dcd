"""The problem and the solution, shown on a real TCP connection within this machine."""

from __future__ import annotations

import socket
from contextlib import suppress
from itertools import zip_longest
from threading import Thread
from typing import TYPE_CHECKING

from ..errors import EndOfStreamError
from ..sockets.functions import recv_msg, send_msg
from .terminal import show

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

MESSAGES = [b"hello", b"how are you?", b"", b"x" * 200_000, b"bye"]
_WIDTH = 26


def demo(_: argparse.Namespace) -> None:
    """Show the problem and the solution on this machine."""
    show("Five messages over a TCP connection within this machine.\n")
    plain = _transfer(socket.socket.sendall, lambda sock: sock.recv(65_536) or None)
    framed = _transfer(send_msg, recv_msg)
    show(f"{'sent':<{_WIDTH}}{'sendall, then recv':<{_WIDTH}}send_msg, then recv_msg")
    for row in zip_longest(MESSAGES, plain, framed):
        columns = ["" if data is None else _preview(data) for data in row]
        show("".join(f"{each:<{_WIDTH}}" for each in columns).rstrip())
    verdict = "the same messages" if framed == MESSAGES else "others: please report this"
    show(
        f"\nrecv returned {len(plain)} pieces of the stream: messages stuck together, one cut"
        " apart,\nthe empty one gone. TCP carries bytes, and keeps no boundaries between sends."
        f"\nrecv_msg returned {len(framed)} messages: {verdict}."
    )


def _transfer(
    send: Callable[[socket.socket, bytes], None],
    receive: Callable[[socket.socket], bytes | None],
) -> list[bytes]:
    """Send all messages over a new connection, and return what is received."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=10)
        server, _ = listener.accept()
    server.settimeout(10)

    def send_all() -> None:
        for message in MESSAGES:
            send(client, message)
        client.shutdown(socket.SHUT_WR)

    received = []
    with client, server:
        sender = Thread(target=send_all)
        sender.start()
        # A receiver that is busy for a moment finds several messages waiting.  So does any
        # other one now and then: waiting only makes it happen every time.
        sender.join(timeout=0.2)
        with suppress(EndOfStreamError):
            while (data := receive(server)) is not None:
                received.append(data)
        sender.join()
    return received


def _preview(data: bytes) -> str:
    text = data.decode()
    if len(text) <= 20:
        return text or "(empty)"
    return f"{text[:9]}..{text[-3:]} ({len(text)})"

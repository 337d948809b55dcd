"""Many small messages sent, until the far side has them all."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from framing import MessageSocket, send_msg

from . import peers, sides
from .harness import Contest, Contestant, Goal, Scale, Watch, beats
from .loads import Load, loads
from .sides import Near, Side


def drain(sock: socket.socket, _load: Load) -> None:
    buffer = bytearray(1024 * 1024)
    while sock.recv_into(buffer):
        pass


def collect(sock: socket.socket, _load: Load) -> bytes:
    return b"".join(iter(lambda: sock.recv(65_536), b""))


@contextmanager
def delivered(sock: socket.socket, watch: Watch) -> Iterator[None]:
    """Time the sending, until the far side has read all and closes."""
    with watch:
        yield
        sock.shutdown(socket.SHUT_WR)
        assert not sock.recv(1)


def sendall(sock: socket.socket, load: Load, watch: Watch) -> None:
    messages = load.messages
    with delivered(sock, watch):
        for message in messages:
            sock.sendall(struct.pack("!I", len(message)) + message)


def send(sock: socket.socket, load: Load, watch: Watch) -> None:
    messages = load.messages
    framed = MessageSocket(sock)
    with delivered(sock, watch):
        for message in messages:
            framed.send(message)


def send_many(sock: socket.socket, load: Load, watch: Watch) -> None:
    messages = load.messages
    framed = MessageSocket(sock)
    with delivered(sock, watch):
        framed.send_many(messages)


def send_msgs(sock: socket.socket, load: Load, watch: Watch) -> None:
    messages = load.messages
    with delivered(sock, watch):
        for message in messages:
            send_msg(sock, message)


def with_asyncio(sock: socket.socket, load: Load, watch: Watch) -> None:
    messages = load.messages

    async def main() -> None:
        reader, writer = await asyncio.open_connection(sock=sock.dup())
        with watch:
            for message in messages:
                writer.write(peers.PREFIX.pack(len(message)) + message)
                await writer.drain()
            writer.write_eof()
            assert not await reader.read()
        writer.close()

    asyncio.run(main())


def with_multiprocessing(sock: socket.socket, load: Load, watch: Watch) -> None:
    messages = load.messages
    with Connection(sock.dup().detach()) as connection, delivered(sock, watch):
        for message in messages:
            connection.send_bytes(message)


WAYS: dict[str, Near] = {
    "framing, send_many()": send_many,
    "framing, send()": send,
    "framing, send_msg()": send_msgs,
    "sendall": sendall,
    "asyncio": with_asyncio,
    "multiprocessing": with_multiprocessing,
}


def contestant(side: Side, name: str, load: Load) -> Contestant:
    """Return a contestant whose far side gets the messages."""

    def run() -> float:
        watch = Watch()
        sides.play(side, WAYS[name], drain, load, watch)
        return watch.seconds

    def check() -> None:
        for each in load.beginnings():
            _, wire = sides.play(side, WAYS[name], collect, each, Watch())
            assert wire == each.wire, (name, wire)

    return Contestant(name, run, check)


def contests(scale: Scale, side: Side) -> Iterator[Contest]:
    for load in loads(scale.count(10_000), 64, 1024):
        contestants = [contestant(side, name, load) for name in WAYS]
        goals = beats("framing, send_many()", sendall=8) if load.size == 64 else []
        goals.append(Goal("framing, send()", "sendall", most=1.3))
        yield Contest("send", str(load), contestants, goals, load.count)

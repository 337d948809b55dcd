"""Many small messages sent, until the far side has them all."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection

from framing import MessageSocket, send_msg

from . import peers, sides
from .harness import Contest, Contestant, Scale, Watch, beats
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


def joined(sock: socket.socket, load: Load, watch: Watch) -> None:
    """The best that can be done by hand: all in one."""
    messages = load.messages
    pack = peers.PREFIX.pack
    with delivered(sock, watch):
        parts: list[bytes] = []
        for message in messages:
            parts += pack(len(message)), message
        sock.sendall(b"".join(parts))


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


def with_boltons(sock: socket.socket, load: Load, watch: Watch) -> None:
    messages = load.messages
    buffered = import_module("boltons.socketutils").BufferedSocket(sock, timeout=None)
    with delivered(sock, watch):
        for message in messages:
            buffered.send(peers.PREFIX.pack(len(message)) + message)


def with_easynetwork(sock: socket.socket, load: Load, watch: Watch) -> None:
    messages = load.messages
    client_type = import_module("easynetwork.clients").TCPNetworkClient
    with client_type(sock.dup(), peers.easynetwork_lengths()) as client:
        with watch:
            for message in messages:
                client.send_packet(message)
        sock.setblocking(True)
        with delivered(sock, watch):
            pass


def contestant(side: Side, name: str, near: Near, load: Load, needs: str) -> Contestant:
    """Return a contestant whose far side gets the messages."""

    def run() -> float:
        watch = Watch()
        sides.play(side, near, drain, load, watch)
        return watch.seconds

    def check() -> None:
        for each in load.beginnings():
            _, wire = sides.play(side, near, collect, each, Watch())
            assert wire == each.wire, (name, wire)

    return Contestant(name, run, check, needs)


def contests(scale: Scale, side: Side) -> Iterator[Contest]:
    for load in loads(scale.count(10_000), 64, 1024):
        ways: list[tuple[str, Callable[[socket.socket, Load, Watch], None], str]] = [
            ("framing, send_many()", send_many, ""),
            ("framing, send()", send, ""),
            ("framing, send_msg()", send_msgs, ""),
            ("sendall", sendall, ""),
            ("sendall of all, joined", joined, ""),
            ("asyncio", with_asyncio, ""),
            ("multiprocessing", with_multiprocessing, ""),
            ("boltons", with_boltons, "boltons"),
            ("EasyNetwork", with_easynetwork, "easynetwork"),
        ]
        contestants = [contestant(side, name, near, load, needs) for name, near, needs in ways]
        goals = beats("framing, send_many()", sendall=8) if load.size == 64 else []
        goals += beats("framing, send_msg()", sendall=1)
        yield Contest("send", str(load), contestants, goals, load.count)

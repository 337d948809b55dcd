"""Many small messages received: the far side sends them as fast as it can."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection

from framing import EndOfStreamError, MessageSocket, recv_msg

from . import peers, sides
from .harness import Contest, Goal, Scale, Watch, beats
from .loads import Load, loads
from .sides import Near, Side, go

ITERATION = "framing, for message in"
LIMIT = 16 * 1024 * 1024


def blast(sock: socket.socket, load: Load) -> None:
    wire = memoryview(load.wire)
    sides.wait_for_go(sock)
    for start in range(0, len(wire), 64 * 1024):
        sock.sendall(wire[start : start + 64 * 1024])


def recv(sock: socket.socket, _load: Load, watch: Watch) -> object:
    message = b""
    messages = MessageSocket(sock)
    with go(sock, watch), suppress(EndOfStreamError):
        while True:
            message = messages.recv()
    return message


def iterate(sock: socket.socket, _load: Load, watch: Watch) -> object:
    message = b""
    messages = MessageSocket(sock)
    with go(sock, watch):
        for message in messages:
            pass
    return message


def recv_msgs(sock: socket.socket, _load: Load, watch: Watch) -> object:
    message = b""
    with go(sock, watch), suppress(EndOfStreamError):
        while True:
            message = recv_msg(sock)
    return message


def makefile(sock: socket.socket, _load: Load, watch: Watch) -> object:
    """The fast loop by hand, with what makes it correct: a limit, and a look for a cut."""
    payload = b""
    with sock.makefile("rb") as file, go(sock, watch):
        while prefix := file.read(4):
            if len(prefix) < 4:
                raise EOFError
            (size,) = struct.unpack("!I", prefix)
            if size > LIMIT:
                raise ValueError
            payload = file.read(size)
            if len(payload) < size:
                raise EOFError
    return payload


def recv_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def recv_by_hand(sock: socket.socket) -> bytes:
    (size,) = struct.unpack("!I", recv_exactly(sock, 4))
    if size > LIMIT:
        raise ValueError
    return recv_exactly(sock, size)


def by_hand(sock: socket.socket, _load: Load, watch: Watch) -> object:
    payload = b""
    with go(sock, watch), suppress(EOFError):
        while True:
            payload = recv_by_hand(sock)
    return payload


def with_asyncio(sock: socket.socket, _load: Load, watch: Watch) -> object:
    async def main() -> object:
        reader, writer = await asyncio.open_connection(sock=sock.dup())
        writer.write(b"!")
        with watch:
            message = await peers.read_lengths(reader)
        writer.close()
        return message

    return asyncio.run(main())


def with_multiprocessing(sock: socket.socket, _load: Load, watch: Watch) -> object:
    message = b""
    with Connection(sock.dup().detach()) as connection, go(sock, watch), suppress(EOFError):
        while True:
            message = connection.recv_bytes()
    return message


WAYS: dict[str, Near] = {
    "framing, recv()": recv,
    ITERATION: iterate,
    "framing, recv_msg()": recv_msgs,
    "makefile": makefile,
    "by hand": by_hand,
    "asyncio": with_asyncio,
    "multiprocessing": with_multiprocessing,
}


def contests(scale: Scale, side: Side) -> Iterator[Contest]:
    for load in loads(scale.count(20_000), 64, 1024):
        contestants = [sides.contestant(side, name, WAYS[name], blast, load) for name in WAYS]
        goals = [
            *beats("framing, recv()", makefile=0.87, asyncio=3, multiprocessing=3),
            *beats(ITERATION, makefile=1.0),
            Goal("framing, recv_msg()", "by hand", most=1.1),
        ]
        yield Contest(
            "receive", str(load), contestants, goals if load.size == 64 else [], load.count
        )

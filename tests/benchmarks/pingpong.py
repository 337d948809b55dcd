"""Question and answer: the far side sends back each message, and the near side waits for it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from framing import EndOfStreamError, MessageSocket, recv_msg, send_msg

from . import sides
from .functions import send_by_hand
from .harness import OURS, Contest, Goal, Scale, Watch, beats
from .loads import Load
from .peers import PREFIX
from .receive import recv_by_hand
from .sides import Side

# How to send one message over a socket, and how to receive one
Way = tuple[Callable[[bytes], object], Callable[[], Any]]


def framing_way(sock: socket.socket) -> Way:
    framed = MessageSocket(sock)
    return framed.send, framed.recv


def functions_way(sock: socket.socket) -> Way:
    return partial(send_msg, sock), partial(recv_msg, sock)


def by_hand_way(sock: socket.socket) -> Way:
    return partial(send_by_hand, sock), partial(recv_by_hand, sock)


def makefile_way(sock: socket.socket) -> Way:
    file = sock.makefile("rb")

    def receive() -> bytes:
        (size,) = PREFIX.unpack(file.read(4))
        return file.read(size)

    return partial(send_by_hand, sock), receive


def multiprocessing_way(sock: socket.socket) -> Way:
    connection = Connection(sock.dup().detach())
    return connection.send_bytes, connection.recv_bytes


WAYS: dict[str, Callable[[socket.socket], Way]] = {
    OURS: framing_way,
    "framing, send_msg(), recv_msg()": functions_way,
    "makefile": makefile_way,
    "by hand": by_hand_way,
    "multiprocessing": multiprocessing_way,
}


def ask(
    way: Callable[[socket.socket], Way], sock: socket.socket, load: Load, watch: Watch
) -> object:
    """Time all but the first turn, in which the far side gets ready."""
    messages = load.messages
    send, receive = way(sock)
    send(messages[0])
    answer = receive()
    with watch:
        for message in messages[1:]:
            send(message)
            answer = receive()
    return answer


def echo(way: Callable[[socket.socket], Way], sock: socket.socket, load: Load) -> None:
    send, receive = way(sock)
    with suppress(EndOfStreamError):
        for _ in range(load.count):
            send(receive())


def asyncio_near(sock: socket.socket, load: Load, watch: Watch) -> object:
    messages = load.messages

    async def main() -> object:
        reader, writer = await asyncio.open_connection(sock=sock.dup())

        async def ask(message: bytes) -> bytes:
            writer.write(PREFIX.pack(len(message)) + message)
            await writer.drain()
            (size,) = PREFIX.unpack(await reader.readexactly(4))
            return await reader.readexactly(size)

        answer = await ask(messages[0])
        with watch:
            for message in messages[1:]:
                answer = await ask(message)
        writer.close()
        return answer

    return asyncio.run(main())


def asyncio_far(sock: socket.socket, load: Load) -> None:
    async def main() -> None:
        reader, writer = await asyncio.open_connection(sock=sock.dup())
        for _ in range(load.count):
            (size,) = PREFIX.unpack(await reader.readexactly(4))
            message = await reader.readexactly(size)
            writer.write(PREFIX.pack(size) + message)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    asyncio.run(main())


def contests(scale: Scale, side: Side) -> Iterator[Contest]:
    for mixed in (False, True):
        load = Load(scale.count(500), 64, mixed)
        contestants = [
            sides.contestant(side, name, partial(ask, way), partial(echo, way), load)
            for name, way in WAYS.items()
        ]
        contestants.append(sides.contestant(side, "asyncio", asyncio_near, asyncio_far, load))
        goals = [Goal(OURS, "makefile", most=1.05), *beats(OURS, asyncio=3)]
        yield Contest("pingpong", str(load), contestants, goals, load.count, "turn", share=2.0)

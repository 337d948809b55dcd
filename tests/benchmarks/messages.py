"""Messages over TCP, received and sent: small ones, and one of 128 MiB."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from framing import MessageSocket

from . import by_hand, peers, sides
from .by_hand import Readable
from .harness import Contest, Contestant, Goal, Scale, Watch
from .load import PREFIX, WIRES, Load
from .peers import LARGE, MAKEFILE, RECV, Ends, Way
from .sides import Near, Side, delivered, go

# Receiving


def receive(way: Way, sock: socket.socket, load: Load, watch: Watch) -> object:
    message = b""
    with way(sock, True) as (_, receive_one), go(sock, watch):
        for _ in range(load.count):
            message = receive_one()
    return message


def iterate(sock: socket.socket, _load: Load, watch: Watch) -> object:
    message = b""
    messages = MessageSocket(sock)
    with go(sock, watch):
        for message in messages:
            pass
    return message


def makefile(
    read: Callable[[Readable], bytes], sock: socket.socket, _: Load, watch: Watch
) -> object:
    with sock.makefile("rb") as file, go(sock, watch):
        return read(file)


def by_asyncio(sock: socket.socket, _load: Load, watch: Watch) -> object:
    async def talk(reader: Any, _writer: Any) -> bytes:
        with go(sock, watch):
            return await peers.read_all(reader)

    return peers.over_streams(talk, sock)


def recv_into(sock: socket.socket, load: Load, watch: Watch) -> object:
    buffer = bytearray(load.messages[0])  # no time is lost by touching it first
    messages = MessageSocket(sock, LARGE)
    with go(sock, watch):
        for _ in range(load.count):
            size = messages.recv_into(buffer)
    return buffer[:size]


def bare_recv_into(sock: socket.socket, load: Load, watch: Watch) -> object:
    buffer = bytearray(load.messages[0])
    with go(sock, watch), memoryview(buffer) as view:
        (size,) = PREFIX.unpack(by_hand.recv_exactly(sock, 4))
        received = 0
        while received < size:
            count = sock.recv_into(view[received:size])
            if not count:
                raise EOFError("truncated")
            received += count
    return buffer


def recv_waitall(sock: socket.socket) -> bytes:
    (size,) = PREFIX.unpack(sock.recv(4, socket.MSG_WAITALL))
    return sock.recv(size, socket.MSG_WAITALL)


RECEIVING: dict[str, Near] = {
    "framing, recv()": partial(receive, peers.framing_way),
    "framing, for message in": iterate,
    "framing, recv_into()": recv_into,
    "framing, recv_msg()": partial(receive, peers.functions_way),
    "makefile, correct": partial(makefile, by_hand.read_all_correctly),
    "makefile, correct and tuned": partial(makefile, by_hand.read_all_tuned),
    "makefile, careless": partial(makefile, by_hand.read_all_carelessly),
    "recv, correct": partial(receive, RECV),
    "asyncio": by_asyncio,
    "multiprocessing": partial(receive, peers.multiprocessing_way),
    "boltons, netstrings": partial(receive, peers.boltons_way),
    "EasyNetwork, lines": partial(receive, peers.easynetwork_way),
}
RECEIVING_LARGE: dict[str, Near] = {
    "framing, recv()": partial(receive, peers.framing_way),
    "framing, recv_msg()": partial(receive, peers.large_functions_way),
    "makefile, correct": partial(receive, MAKEFILE),
    "multiprocessing": partial(receive, peers.multiprocessing_way),
}
if hasattr(socket, "MSG_WAITALL"):
    RECEIVING_LARGE["recv(n, MSG_WAITALL)"] = partial(
        receive, partial(peers.recv_way, recv_waitall)
    )
RECEIVING_INTO: dict[str, Near] = {
    "framing, recv_into()": recv_into,
    "recv_into": bare_recv_into,
}


def receiving(work: str, ways: dict[str, Near], load: Load, side: Side, *goals: Goal) -> Contest:
    contestants = [
        sides.contestant(side, name, near, sides.blast, replace(load, format=format_of(name)))
        for name, near in ways.items()
    ]
    return Contest(work, contestants, [*goals], load.count, share=1.5)


def format_of(name: str) -> str:
    """Return the format that a contestant speaks, which may come behind its name."""
    format = name.partition(", ")[2]
    return format if format in WIRES else "lengths"


# Sending


def send(way: Way, sock: socket.socket, load: Load, watch: Watch) -> None:
    messages = load.messages
    with way(sock, True) as (send_one, _), delivered(sock, watch):
        for message in messages:
            send_one(message)


def send_many(sock: socket.socket, load: Load, watch: Watch) -> None:
    messages = load.messages
    framed = MessageSocket(sock)
    with delivered(sock, watch):
        framed.send_many(messages)


def send_by_asyncio(sock: socket.socket, load: Load, watch: Watch) -> None:
    async def talk(reader: Any, writer: Any) -> None:
        messages = load.messages
        with watch:
            for message in messages:
                await peers.write(writer, message)
            writer.write_eof()
            assert not await reader.read()

    peers.over_streams(talk, sock)


@contextmanager
def sendall_way(sock: socket.socket, _is_near: bool) -> Iterator[Ends]:
    def send(message: bytes) -> None:
        sock.sendall(PREFIX.pack(len(message)))
        sock.sendall(message)  # not copied

    yield send, bytes


SENDING: dict[str, Near] = {
    "framing, send_many()": send_many,
    "framing, send()": partial(send, peers.framing_way),
    "framing, send_msg()": partial(send, peers.functions_way),
    "sendall(pack + payload)": partial(send, RECV),
    "asyncio": send_by_asyncio,
    "multiprocessing": partial(send, peers.multiprocessing_way),
    "boltons, netstrings": partial(send, peers.boltons_way),
    "EasyNetwork, lines": partial(send, peers.easynetwork_way),
}
SENDING_LARGE: dict[str, Near] = {
    "framing, send()": partial(send, peers.framing_way),
    "framing, send_msg()": partial(send, peers.large_functions_way),
    "sendall": partial(send, sendall_way),
}


def sending(work: str, ways: dict[str, Near], load: Load, side: Side, *goals: Goal) -> Contest:
    def run(name: str) -> float:
        watch = Watch()
        _, received = sides.play(side, ways[name], sides.drain, load, watch)
        assert received == len(replace(load, format=format_of(name)).wire)
        return watch.seconds

    contestants = [Contestant(name, partial(run, name)) for name in ways]
    return Contest(work, contestants, [*goals], load.count, share=1.5)


def contests(scale: Scale, side: Side) -> Iterator[Contest]:
    load = Load(scale.count(10_000), 64)
    yield receiving(
        "receive, 64 B",
        RECEIVING,
        load,
        side,
        Goal("framing, recv()", "makefile, correct", 1.1),
        Goal("framing, for message in", "makefile, correct", 0.95),
        Goal("framing, recv_into()", "makefile, correct", 1.2),
    )
    yield sending(
        "send, 64 B",
        SENDING,
        replace(load, count=scale.count(3000)),
        side,
        Goal("framing, send()", "sendall(pack + payload)", 1.25),
        Goal("framing, send_many()", "sendall(pack + payload)", 0.1),
    )
    load = Load(1, scale.large)
    waitall = Goal("framing, recv()", "recv(n, MSG_WAITALL)", 1.2)
    yield receiving("receive 128 MiB", RECEIVING_LARGE, load, side, waitall)
    bare = Goal("framing, recv_into()", "recv_into", 1.05)
    yield receiving("receive 128 MiB into a buffer", RECEIVING_INTO, load, side, bare)
    sendall = Goal("framing, send()", "sendall", 1.05)
    yield sending("send 128 MiB", SENDING_LARGE, load, side, sendall)

"""Question and answer: the far side sends back each message, and the near side waits for it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from framing import EndOfStreamError, MessageSocket, recv_msg, send_msg

from . import peers, sides
from .functions import recv_by_hand, send_by_hand
from .harness import OURS, Contest, Goal, Scale, Watch, beats
from .loads import Load
from .peers import PREFIX
from .sides import Side


def turns(load: Load, watch: Watch, ask: Any) -> object:
    """Ask with each message, and time all but the first turn, in which the far side gets ready."""
    messages = load.messages
    answer = ask(messages[0])
    with watch:
        for message in messages[1:]:
            answer = ask(message)
    return answer


# MessageSocket


def framing_near(sock: socket.socket, load: Load, watch: Watch) -> object:
    framed = MessageSocket(sock)

    def ask(message: bytes) -> bytes:
        framed.send(message)
        return framed.recv()

    return turns(load, watch, ask)


def framing_far(sock: socket.socket, _load: Load) -> None:
    framed = MessageSocket(sock)
    for message in framed:
        framed.send(message)


# send_msg and recv_msg, and the same by hand


def functions_near(sock: socket.socket, load: Load, watch: Watch) -> object:
    def ask(message: bytes) -> bytes:
        send_msg(sock, message)
        return recv_msg(sock)

    return turns(load, watch, ask)


def functions_far(sock: socket.socket, _load: Load) -> None:
    with suppress(EndOfStreamError):
        while True:
            send_msg(sock, recv_msg(sock))


def by_hand_near(sock: socket.socket, load: Load, watch: Watch) -> object:
    def ask(message: bytes) -> bytes:
        send_by_hand(sock, message)
        return recv_by_hand(sock)

    return turns(load, watch, ask)


def by_hand_far(sock: socket.socket, _load: Load) -> None:
    with suppress(EOFError):
        while True:
            send_by_hand(sock, recv_by_hand(sock))


# makefile


def makefile_near(sock: socket.socket, load: Load, watch: Watch) -> object:
    with sock.makefile("rb") as file:

        def ask(message: bytes) -> bytes:
            sock.sendall(struct.pack("!I", len(message)) + message)
            (size,) = struct.unpack("!I", file.read(4))
            return file.read(size)

        return turns(load, watch, ask)


def makefile_far(sock: socket.socket, _load: Load) -> None:
    with sock.makefile("rb") as file:
        while prefix := file.read(4):
            (size,) = struct.unpack("!I", prefix)
            message = file.read(size)
            sock.sendall(struct.pack("!I", len(message)) + message)


# asyncio


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

    answer = asyncio.run(main())
    sock.shutdown(socket.SHUT_WR)
    return answer


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


# multiprocessing


def multiprocessing_near(sock: socket.socket, load: Load, watch: Watch) -> object:
    with Connection(sock.dup().detach()) as connection:

        def ask(message: bytes) -> bytes:
            connection.send_bytes(message)
            return connection.recv_bytes()

        return turns(load, watch, ask)


def multiprocessing_far(sock: socket.socket, load: Load) -> None:
    with Connection(sock.dup().detach()) as connection:
        for _ in range(load.count):
            connection.send_bytes(connection.recv_bytes())


# pyzmq


def zmq_near(sock: socket.socket, load: Load, watch: Watch) -> object:
    zmq = import_module("zmq")
    with zmq.Context() as context, context.socket(zmq.REQ) as asking:
        sock.sendall(struct.pack("!H", asking.bind_to_random_port("tcp://127.0.0.1")))

        def ask(message: bytes) -> Any:
            asking.send(message)
            return asking.recv()

        answer = turns(load, watch, ask)
        sock.shutdown(socket.SHUT_WR)
    return answer


def zmq_far(sock: socket.socket, load: Load) -> None:
    zmq = import_module("zmq")
    (port,) = struct.unpack("!H", sock.recv(2))
    with zmq.Context() as context, context.socket(zmq.REP) as answering:
        answering.connect(f"tcp://127.0.0.1:{port}")
        for _ in range(load.count):
            answering.send(answering.recv())
        sock.recv(1)  # the near side has them all


# boltons: netstrings


def boltons_near(sock: socket.socket, load: Load, watch: Watch) -> object:
    framed = import_module("boltons.socketutils").NetstringSocket(sock)

    def ask(message: bytes) -> Any:
        framed.write_ns(message)
        return framed.read_ns()

    return turns(load, watch, ask)


def boltons_far(sock: socket.socket, load: Load) -> None:
    framed = import_module("boltons.socketutils").NetstringSocket(sock)
    for _ in range(load.count):
        framed.write_ns(framed.read_ns())


# EasyNetwork


def easynetwork_near(sock: socket.socket, load: Load, watch: Watch) -> object:
    client_type = import_module("easynetwork.clients").TCPNetworkClient
    with client_type(sock.dup(), peers.easynetwork_lengths()) as client:

        def ask(message: bytes) -> Any:
            client.send_packet(message)
            return client.recv_packet()

        return turns(load, watch, ask)


def easynetwork_far(sock: socket.socket, load: Load) -> None:
    client_type = import_module("easynetwork.clients").TCPNetworkClient
    with client_type(sock.dup(), peers.easynetwork_lengths()) as client:
        for _ in range(load.count):
            client.send_packet(client.recv_packet())


def contests(scale: Scale, side: Side) -> Iterator[Contest]:
    for mixed in (False, True):
        load = Load(scale.count(500), 64, mixed)
        ways = [
            (OURS, framing_near, framing_far, ""),
            ("framing, send_msg(), recv_msg()", functions_near, functions_far, ""),
            ("makefile", makefile_near, makefile_far, ""),
            ("by hand", by_hand_near, by_hand_far, ""),
            ("asyncio", asyncio_near, asyncio_far, ""),
            ("multiprocessing", multiprocessing_near, multiprocessing_far, ""),
            ("pyzmq", zmq_near, zmq_far, "zmq"),
            ("boltons", boltons_near, boltons_far, "boltons"),
            ("EasyNetwork", easynetwork_near, easynetwork_far, "easynetwork"),
        ]
        contestants = [
            sides.contestant(side, name, near, far, load, needs=needs)
            for name, near, far, needs in ways
        ]
        goals = [Goal(OURS, "makefile", most=1.1), *beats(OURS, pyzmq=1.5, asyncio=3)]
        yield Contest("pingpong", str(load), contestants, goals, load.count, "turn", share=2.0)

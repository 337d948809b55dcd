"""One way: both sides of each library, from when the first message is sent to the last received."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from importlib import import_module
from multiprocessing.connection import Connection

from framing import MessageSocket

from . import peers, receive, sides
from .harness import Contest, Scale, Watch, beats
from .loads import Load, loads
from .sides import Side

# The far sides send


def send_many(sock: socket.socket, load: Load) -> None:
    messages = load.messages
    sides.wait_for_go(sock)
    MessageSocket(sock).send_many(messages)


def send(sock: socket.socket, load: Load) -> None:
    messages = load.messages
    sides.wait_for_go(sock)
    framed = MessageSocket(sock)
    for message in messages:
        framed.send(message)


def sendall(sock: socket.socket, load: Load) -> None:
    messages = load.messages
    sides.wait_for_go(sock)
    for message in messages:
        sock.sendall(struct.pack("!I", len(message)) + message)


def asyncio_far(sock: socket.socket, load: Load) -> None:
    messages = load.messages
    sides.wait_for_go(sock)

    async def main() -> None:
        _, writer = await asyncio.open_connection(sock=sock.dup())
        for message in messages:
            writer.write(peers.PREFIX.pack(len(message)) + message)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    asyncio.run(main())


def multiprocessing_far(sock: socket.socket, load: Load) -> None:
    messages = load.messages
    sides.wait_for_go(sock)
    with Connection(sock.dup().detach()) as connection:
        for message in messages:
            connection.send_bytes(message)


def zmq_far(sock: socket.socket, load: Load) -> None:
    zmq = import_module("zmq")
    messages = load.messages
    (port,) = struct.unpack("!H", sock.recv(2))
    with zmq.Context() as context, context.socket(zmq.PUSH) as pushing:
        pushing.connect(f"tcp://127.0.0.1:{port}")
        sides.wait_for_go(sock)
        for message in messages:
            pushing.send(message)
        sock.recv(1)  # the near side has them all


def zmq_near(sock: socket.socket, load: Load, watch: Watch) -> object:
    zmq = import_module("zmq")
    message = b""
    with zmq.Context() as context, context.socket(zmq.PULL) as pulling:
        sock.sendall(struct.pack("!H", pulling.bind_to_random_port("tcp://127.0.0.1")))
        with sides.go(sock, watch):
            for _ in range(load.count):
                message = pulling.recv()
        sock.shutdown(socket.SHUT_WR)
    return message


def contests(scale: Scale, side: Side) -> Iterator[Contest]:
    for load in loads(scale.count(20_000), 64, 1024):
        ways = [
            ("framing, send_many(), for message in", receive.iterate, send_many, ""),
            ("framing, send_many(), recv()", receive.recv, send_many, ""),
            ("framing, send(), recv()", receive.recv, send, ""),
            ("sendall, makefile", receive.makefile, sendall, ""),
            ("asyncio", receive.with_asyncio, asyncio_far, ""),
            ("multiprocessing", receive.with_multiprocessing, multiprocessing_far, ""),
            ("pyzmq", zmq_near, zmq_far, "zmq"),
        ]
        contestants = [
            sides.contestant(side, name, near, far, load, needs=needs)
            for name, near, far, needs in ways
        ]
        goals = beats(ways[0][0], pyzmq=1.5)
        yield Contest("stream", str(load), contestants, goals, load.count)

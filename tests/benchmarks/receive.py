"""Many small messages received: the far side sends them as fast as it can."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection

from framing import EndOfStreamError, MessageSocket, recv_msg

from . import peers, sides
from .harness import Contest, Goal, Scale, Watch, beats
from .loads import Load, loads
from .peers import PREFIX
from .sides import Side, go

ITERATION = "framing, for message in"


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
    payload = b""
    with sock.makefile("rb") as file, go(sock, watch):
        while prefix := file.read(4):
            (size,) = struct.unpack("!I", prefix)
            payload = file.read(size)
    return payload


def checked_makefile(sock: socket.socket, _load: Load, watch: Watch) -> object:
    payload = b""
    with sock.makefile("rb") as file, go(sock, watch):
        while prefix := file.read(4):
            if len(prefix) < 4:
                raise EOFError
            (size,) = struct.unpack("!I", prefix)
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


def by_hand(sock: socket.socket, _load: Load, watch: Watch) -> object:
    payload = b""
    with go(sock, watch), suppress(EOFError):
        while True:
            (size,) = struct.unpack("!I", recv_exactly(sock, 4))
            payload = recv_exactly(sock, size)
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


def with_boltons(sock: socket.socket, load: Load, watch: Watch) -> object:
    buffered = import_module("boltons.socketutils").BufferedSocket(sock, timeout=None)
    message = b""
    with go(sock, watch):
        for _ in range(load.count):
            (size,) = PREFIX.unpack(buffered.recv_size(4))
            message = buffered.recv_size(size)
    return message


def with_easynetwork(sock: socket.socket, load: Load, watch: Watch) -> object:
    client_type = import_module("easynetwork.clients").TCPNetworkClient
    message = b""
    sock.sendall(b"!")
    with client_type(sock.dup(), peers.easynetwork_lengths()) as client, watch:
        for _ in range(load.count):
            message = client.recv_packet()
    return message


def with_anyio(sock: socket.socket, _load: Load, watch: Watch) -> object:
    anyio = import_module("anyio")
    buffered = import_module("anyio.streams.buffered").BufferedByteReceiveStream

    async def main() -> object:
        message = b""
        stream = await import_module("anyio.abc").SocketStream.from_socket(sock.dup())
        await stream.send(b"!")
        async with stream:
            received = buffered(stream)
            with watch, suppress(anyio.IncompleteRead, anyio.EndOfStream):
                while True:
                    (size,) = PREFIX.unpack(await received.receive_exactly(4))
                    message = await received.receive_exactly(size)
        return message

    return anyio.run(main)


def contests(scale: Scale, side: Side) -> Iterator[Contest]:
    for load in loads(scale.count(20_000), 64, 1024):
        ways = [
            ("framing, recv()", recv, ""),
            (ITERATION, iterate, ""),
            ("framing, recv_msg()", recv_msgs, ""),
            ("makefile", makefile, ""),
            ("makefile, checked", checked_makefile, ""),
            ("by hand", by_hand, ""),
            ("asyncio", with_asyncio, ""),
            ("multiprocessing", with_multiprocessing, ""),
            ("boltons", with_boltons, "boltons"),
            ("EasyNetwork", with_easynetwork, "easynetwork"),
            ("anyio", with_anyio, "anyio"),
        ]
        contestants = [
            sides.contestant(side, name, near, blast, load, needs=needs)
            for name, near, needs in ways
        ]
        goals = [
            *beats("framing, recv()", makefile=0.85, asyncio=3, multiprocessing=3),
            *beats(ITERATION, makefile=1.0),
            Goal("framing, recv_msg()", "by hand", least=1.0),
        ]
        yield Contest(
            "receive", str(load), contestants, goals if load.size == 64 else [], load.count
        )

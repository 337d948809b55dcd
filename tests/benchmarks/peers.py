"""The ways to carry messages: framing's, by hand, and other libraries as their manuals show.

A way takes a connected socket, and yields a function that sends a message and another one that
returns the next message.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache, partial
from importlib import import_module
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, TypeVar

from framing import LengthPrefixFramer, MessageSocket, recv_msg, send_msg

from . import by_hand
from .by_hand import LIMIT, Readable

T = TypeVar("T")

Ends = tuple[Callable[[bytes], object], Callable[[], Any]]
# The other argument is whether it is the near side.
Way = Callable[[socket.socket, bool], AbstractContextManager[Ends]]

# By default, 16 MiB is the most.
LARGE = LengthPrefixFramer(max_size=LIMIT)


@contextmanager
def framing_way(sock: socket.socket, _is_near: bool) -> Iterator[Ends]:
    messages = MessageSocket(sock, LARGE)
    yield messages.send, messages.recv


@contextmanager
def functions_way(sock: socket.socket, _is_near: bool) -> Iterator[Ends]:
    yield partial(send_msg, sock), partial(recv_msg, sock)


@contextmanager
def large_functions_way(sock: socket.socket, _is_near: bool) -> Iterator[Ends]:
    yield partial(send_msg, sock, framer=LARGE), partial(recv_msg, sock, framer=LARGE)


@contextmanager
def recv_way(
    receive: Callable[[socket.socket], bytes], sock: socket.socket, _is_near: bool
) -> Iterator[Ends]:
    yield partial(by_hand.send, sock), partial(receive, sock)


@contextmanager
def makefile_way(
    read: Callable[[Readable], bytes], sock: socket.socket, _is_near: bool
) -> Iterator[Ends]:
    with sock.makefile("rb") as file:
        yield partial(by_hand.send, sock), partial(read, file)


RECV = partial(recv_way, by_hand.recv_correctly)
MAKEFILE = partial(makefile_way, by_hand.read_correctly)


@contextmanager
def multiprocessing_way(sock: socket.socket, _is_near: bool) -> Iterator[Ends]:
    with Connection(sock.dup().detach()) as connection:
        yield connection.send_bytes, connection.recv_bytes


@contextmanager
def boltons_way(sock: socket.socket, _is_near: bool) -> Iterator[Ends]:
    netstrings = import_module("boltons.socketutils").NetstringSocket(sock)
    yield netstrings.write_ns, netstrings.read_ns


@contextmanager
def easynetwork_way(sock: socket.socket, _is_near: bool) -> Iterator[Ends]:
    """Lines of text: it has no length prefix of its own."""
    lines = import_module("easynetwork.serializers").StringLineSerializer()
    protocol = import_module("easynetwork.protocol").BufferedStreamProtocol(lines)
    with import_module("easynetwork.clients").TCPNetworkClient(sock.dup(), protocol) as client:
        yield lambda message: client.send_packet(message.decode()), client.recv_packet


# These two make a connection of their own, since threads of theirs read from it.


@contextmanager
def websockets_way(sock: socket.socket, is_near: bool) -> Iterator[Ends]:
    """Without compression and pings."""
    options: Any = {"compression": None, "ping_interval": None}
    if not is_near:
        url = f"ws://127.0.0.1:{int(by_hand.recv_correctly(sock))}/"
        connect = import_module("websockets.sync.client").connect
        with connect(url, proxy=None, **options) as connection:
            yield connection.send, connection.recv
        return
    connections: SimpleQueue[Any] = SimpleQueue()
    is_over = Event()

    def handle(connection: Any) -> None:
        connections.put(connection)
        is_over.wait()

    serve = import_module("websockets.sync.server").serve
    with serve(handle, "127.0.0.1", 0, **options) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        by_hand.send(sock, b"%d" % server.socket.getsockname()[1])
        connection = connections.get(timeout=60)
        try:
            yield connection.send, connection.recv
        finally:
            is_over.set()
            server.shutdown()
            thread.join()


@contextmanager
def pyzmq_way(kinds: tuple[str, str], sock: socket.socket, is_near: bool) -> Iterator[Ends]:
    """Sockets of two *kinds*, the near side's first."""
    zmq = import_module("zmq")
    near, far = (getattr(zmq, each) for each in kinds)
    with zmq.Context.instance().socket(near if is_near else far) as own:
        if is_near:
            by_hand.send(sock, b"%d" % own.bind_to_random_port("tcp://127.0.0.1"))
        else:
            own.connect(f"tcp://127.0.0.1:{int(by_hand.recv_correctly(sock))}")
        yield own.send, own.recv


# asyncio


def over_streams(talk: Callable[[Any, Any], Awaitable[T]], sock: socket.socket) -> T:
    """Return what *talk* does with a reader and a writer."""

    async def main() -> T:
        reader, writer = await asyncio.open_connection(sock=sock.dup())
        result = await talk(reader, writer)
        writer.close()
        await writer.wait_closed()
        return result

    return asyncio.run(main())


async def read(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack("!I", await reader.readexactly(4))
    if size > LIMIT:
        raise ValueError("too large")
    return await reader.readexactly(size)


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """Read messages to the end, and return the last."""
    message = b""
    with suppress(asyncio.IncompleteReadError):
        while True:
            (size,) = struct.unpack("!I", await reader.readexactly(4))
            if size > LIMIT:
                raise ValueError("too large")
            message = await reader.readexactly(size)
    return message


async def read_lines(delimiter: bytes, reader: asyncio.StreamReader) -> bytes:
    message = b""
    with suppress(asyncio.IncompleteReadError):
        while True:
            message = await reader.readuntil(delimiter)
    return message.removesuffix(delimiter)


async def write(writer: asyncio.StreamWriter, message: bytes) -> None:
    writer.write(struct.pack("!I", len(message)) + message)
    await writer.drain()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError):
        while True:
            await write(writer, await read(reader))


# Twisted's receivers, which call a method with each message


@lru_cache(maxsize=8)
def twisted_receiver(kind: str, method: str, delimiter: bytes = b"") -> Callable[[], Any]:
    """Return a subclass of one of them that keeps the last message."""

    def keep(self: Any, message: bytes) -> None:
        self.last = message

    base = getattr(import_module("twisted.protocols.basic"), kind)
    members = {method: keep, "last": b"", "delimiter": delimiter}
    receiver: Callable[[], Any] = type(kind, (base,), members)
    return receiver

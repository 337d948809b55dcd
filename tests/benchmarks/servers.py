"""Servers: framing.aio beside asyncio's streams (by CPU time), and serve beside socketserver."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from time import perf_counter
from typing import Any

import framing
from framing import MessageSocket, aio

from . import by_hand, peers, sides
from .harness import Contest, Contestant, Goal, Scale, Watch, cpu_clock
from .load import Load
from .sides import Side, no_delay

ADDRESS = "127.0.0.1", 0

# Clients, on the far side


def blast(sock: socket.socket, load: Load) -> None:
    """Send all messages, and wait until the server has read them: it sends back the last."""
    sock.sendall(load.wire)
    sock.shutdown(socket.SHUT_WR)
    assert by_hand.recv_correctly(sock) == load.messages[-1]


def ask(window: int, sock: socket.socket, load: Load) -> None:
    """Send messages, *window* bytes at once, and receive the answers, and so on."""
    wire = load.wire
    for i in range(0, len(wire), window):
        part = wire[i : i + window]
        sock.sendall(part)
        assert by_hand.recv_exactly(sock, len(part)) == part


def crowd(address: tuple[str, int], clients: int, rounds: int) -> float:
    """Let many clients send a message each, then receive the answers; return how long it took."""
    wire = Load(1, 64).wire
    with ExitStack() as stack:
        socks = [
            stack.enter_context(no_delay(socket.create_connection(address, sides.TIMEOUT)))
            for _ in range(clients)
        ]
        start = 0.0
        for i in range(rounds + 1):
            if i == 1:  # all are connected, and have been served
                start = perf_counter()
            for sock in socks:
                sock.sendall(wire)
            for sock in socks:
                assert by_hand.recv_exactly(sock, len(wire)) == wire
        return perf_counter() - start


# framing.aio and asyncio

Serve = Callable[[], Awaitable[tuple[Any, Any]]]


async def aio_receive(conn: aio.MessageStream[bytes]) -> None:
    message = b""
    async for message in conn:
        pass
    await conn.send(message)


async def aio_echo(conn: aio.MessageStream[bytes]) -> None:
    async for message in conn:
        await conn.send(message)


async def asyncio_receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await peers.write(writer, await peers.read_all(reader))
    writer.close()


async def asyncio_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await peers.echo(reader, writer)
    writer.close()


async def serve_aio(handler: Any) -> tuple[Any, Any]:
    server = await aio.serve(handler, ADDRESS)
    return server, server.address


async def serve_asyncio(handler: Any) -> tuple[Any, Any]:
    server = await asyncio.start_server(handler, *ADDRESS)
    return server, server.sockets[0].getsockname()


def visited(side: Side, serve: Serve, client: sides.Far, load: Load) -> float:
    """Run a server here and a client there, and return how much CPU time the server took."""
    watch = Watch(cpu_clock)

    async def main() -> None:
        server, address = await serve()
        async with server:
            with watch:
                side.start(sides.connect_and, client, address, load)
                await asyncio.get_running_loop().run_in_executor(None, side.result)

    asyncio.run(main())
    return watch.seconds


def asyncio_contests(scale: Scale, side: Side) -> Iterator[Contest]:
    small, large = Load(scale.count(8000), 64), Load(scale.count(500), 64 * 1024)
    echo = aio_echo, asyncio_echo
    receive = aio_receive, asyncio_receive
    for work, load, client, (ours, theirs) in (
        ("receive, 64 B", small, blast, receive),
        ("receive, 64 KiB", large, blast, receive),
        ("echo, 64 B", small, partial(ask, 1000 * (small.size + 4)), echo),
        ("echo, 64 KiB", large, partial(ask, large.size + 4), echo),
        ("echo one by one, 64 B", Load(scale.count(200), 64), partial(ask, small.size + 4), echo),
    ):
        serves = {
            "framing.aio": partial(serve_aio, ours),
            "asyncio, readexactly": partial(serve_asyncio, theirs),
        }
        contestants = [
            Contestant(name, partial(visited, side, serve, client, load))
            for name, serve in serves.items()
        ]
        has_goal = work != "echo one by one, 64 B"  # there, the event loop takes most of the time
        goals = [Goal("framing.aio", "asyncio, readexactly", 0.8)] if has_goal else []
        yield Contest(f"asyncio: {work}", contestants, goals, load.count)


# serve and socketserver


def echo(conn: MessageSocket[bytes]) -> None:
    for message in conn:
        conn.send(message)


class EchoByHand(StreamRequestHandler):
    """The correct loop over ``rfile``."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        with suppress(EOFError):
            while True:
                by_hand.send(self.request, by_hand.read_correctly(self.rfile))


class ByHand(ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def framing_server() -> Iterator[tuple[str, int]]:
    with framing.serve(echo, ADDRESS) as server, running(server):
        yield server.address


@contextmanager
def standard_server() -> Iterator[Any]:
    with ByHand(ADDRESS, EchoByHand) as server, running(server):
        yield server.server_address


@contextmanager
def running(server: Any) -> Iterator[None]:
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def contests(scale: Scale, side: Side) -> Iterator[Contest]:
    yield from asyncio_contests(scale, side)
    rounds = scale.count(5)

    def run(server: Callable[[], Any]) -> float:
        with server() as address:
            side.start(crowd, address, scale.clients, rounds)
            return float(side.result())

    contestants = [
        Contestant("framing.serve", partial(run, framing_server)),
        Contestant("socketserver, correct", partial(run, standard_server)),
    ]
    goal = Goal("framing.serve", "socketserver, correct", 1.0)
    work = f"threads: {scale.clients} clients, echo, 64 B"
    yield Contest(work, contestants, [goal], rounds * scale.clients, share=2.0)

"""The same way at both sides: messages in one direction, and questions with their answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

from framing import MessageSocket

from . import by_hand, peers, sides
from .harness import OURS, Contest, Goal, Scale, Watch
from .load import Load
from .peers import MAKEFILE, RECV, Way
from .sides import Far, Near, Side, go

# One direction


def stream(way: Way, sock: socket.socket, load: Load, watch: Watch) -> object:
    """Receive messages, and time all but the first, which comes when all is set up."""
    with way(sock, True) as (_, receive_one):
        message = receive_one()
        with go(sock, watch):
            for _ in range(load.count - 1):
                message = receive_one()
    return message


def stream_far(way: Way, sock: socket.socket, load: Load) -> None:
    first, *others = load.messages
    with way(sock, False) as (send_one, _):
        send_one(first)
        sides.wait_for_go(sock)
        for message in others:
            send_one(message)


def stream_many(sock: socket.socket, _load: Load, watch: Watch) -> object:
    messages = MessageSocket(sock)
    message = messages.recv()
    with go(sock, watch):
        for message in messages:
            pass
    return message


def stream_many_far(sock: socket.socket, load: Load) -> None:
    first, *others = load.messages
    messages = MessageSocket(sock)
    messages.send(first)
    sides.wait_for_go(sock)
    messages.send_many(others)


def streaming(side: Side, load: Load, most: float) -> Contest:
    ways: dict[str, Way] = {
        "framing, send() and recv()": peers.framing_way,
        "pyzmq": partial(peers.pyzmq_way, ("PULL", "PUSH")),
        "websockets": peers.websockets_way,
    }
    pairs: dict[str, tuple[Near, Far]] = {
        "framing, send_many() and for": (stream_many, stream_many_far)
    }
    pairs |= {name: (partial(stream, way), partial(stream_far, way)) for name, way in ways.items()}
    contestants = [sides.contestant(side, name, *pair, load) for name, pair in pairs.items()]
    goal = Goal("framing, send_many() and for", "pyzmq", most)
    return Contest(f"one way, {load.size} B", contestants, [goal], load.count)


# Question and answer


def ask(way: Way, sock: socket.socket, load: Load, watch: Watch) -> object:
    """Time all but the first turn, in which the far side gets ready."""
    messages = load.messages
    with way(sock, True) as (send_one, receive_one):
        send_one(messages[0])
        answer = receive_one()
        with watch:
            for message in messages[1:]:
                send_one(message)
                answer = receive_one()
    return answer


def answer(way: Way, sock: socket.socket, load: Load) -> None:
    with way(sock, False) as (send_one, receive_one):
        for _ in range(load.count):
            message = receive_one()
            send_one(message.encode() if isinstance(message, str) else message)


def ask_by_asyncio(sock: socket.socket, load: Load, watch: Watch) -> object:
    async def talk(reader: Any, writer: Any) -> bytes:
        messages = load.messages
        await peers.write(writer, messages[0])
        answer = await peers.read(reader)
        with watch:
            for message in messages[1:]:
                await peers.write(writer, message)
                answer = await peers.read(reader)
        return answer

    return peers.over_streams(talk, sock)


def answer_by_asyncio(sock: socket.socket, _load: Load) -> None:
    peers.over_streams(peers.echo, sock)


def answering(side: Side, load: Load) -> Contest:
    ways: dict[str, Way] = {
        OURS: peers.framing_way,
        "framing, send_msg() and recv_msg()": peers.functions_way,
        "makefile, correct": MAKEFILE,
        "makefile, careless": partial(peers.makefile_way, by_hand.read_carelessly),
        "recv, correct": RECV,
        "multiprocessing": peers.multiprocessing_way,
        "boltons, netstrings": peers.boltons_way,
        "EasyNetwork, lines": peers.easynetwork_way,
        "websockets": peers.websockets_way,
        "pyzmq": partial(peers.pyzmq_way, ("REQ", "REP")),
    }
    pairs: dict[str, tuple[Near, Far]] = {
        name: (partial(ask, way), partial(answer, way)) for name, way in ways.items()
    }
    pairs["asyncio"] = ask_by_asyncio, answer_by_asyncio
    contestants = [sides.contestant(side, name, *pair, load) for name, pair in pairs.items()]
    goals = [
        Goal(OURS, "makefile, correct", 1.03),
        Goal(OURS, "pyzmq", 0.6),
        Goal(OURS, "asyncio", 0.4),
    ]
    return Contest("question and answer, 64 B", contestants, goals, load.count, share=2.0)


def contests(scale: Scale, side: Side) -> Iterator[Contest]:
    yield streaming(side, Load(scale.count(10_000), 64), 0.5)
    yield streaming(side, Load(scale.count(10_000), 1024), 0.9)
    yield answering(side, Load(scale.count(200), 64))

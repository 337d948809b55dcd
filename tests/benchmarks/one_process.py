"""What each call takes by itself: both ends are in this process, and only its CPU time counts."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from framing import recv_datagram, send_datagram

from . import by_hand, peers, sides
from .harness import OURS, Contest, Contestant, Goal, Scale, Watch, cpu_clock
from .load import Load
from .peers import RECV, Ends, Way
from .sides import Side

# So many small messages, or datagrams, the system surely holds.
HELD = 20


@contextmanager
def both_ends(way: Way) -> Iterator[Ends]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = sides.no_delay(socket.create_connection(listener.getsockname()))
        there = sides.no_delay(listener.accept()[0])
    with here, there, way(here, True) as (send_one, _), way(there, False) as (_, receive_one):
        yield send_one, receive_one


@contextmanager
def datagrams(*, by_hand: bool) -> Iterator[Ends]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
    ):
        there.bind(("127.0.0.1", 0))
        address = there.getsockname()
        if by_hand:
            yield lambda data: here.sendto(data, address), lambda: there.recvfrom(65_535)[0]
        else:
            yield lambda data: send_datagram(here, data, address), lambda: recv_datagram(there)[0]


def carry(
    ends: Callable[[], AbstractContextManager[Ends]], load: Load, sending: Watch, receiving: Watch
) -> None:
    """Send as many messages as the system holds, then receive them, and so on."""
    message = b""
    with ends() as (send_one, receive_one):
        for start in range(0, load.count, HELD):
            batch = load.messages[start : start + HELD]
            with sending:
                for message in batch:
                    send_one(message)
            with receiving:
                for _ in batch:
                    message = receive_one()
            assert message == batch[-1]


def contests(scale: Scale, _side: Side) -> Iterator[Contest]:
    load = Load(scale.count(2000), 64)
    careless = partial(peers.recv_way, by_hand.recv_carelessly)
    functions = {
        "framing, recv_msg()": partial(both_ends, peers.functions_way),
        "recv, correct": partial(both_ends, RECV),
        "recv, careless": partial(both_ends, careless),
    }
    senders = {
        "framing, send_msg()": partial(both_ends, peers.functions_way),
        "sendall(pack + payload)": partial(both_ends, RECV),
    }
    udp = {
        OURS: partial(datagrams, by_hand=False),
        "sendto and recvfrom": partial(datagrams, by_hand=True),
    }

    def run(ends: Any, sends: bool, receives: bool) -> float:
        watch = Watch(cpu_clock)
        carry(ends, load, watch if sends else Watch(), watch if receives else Watch())
        return watch.seconds

    for work, ways, sends, receives, goal in (
        ("recv_msg", functions, False, True, Goal("framing, recv_msg()", "recv, correct", 1.05)),
        (
            "send_msg",
            senders,
            True,
            False,
            Goal("framing, send_msg()", "sendall(pack + payload)", 1.2),
        ),
        ("datagrams", udp, True, True, Goal(OURS, "sendto and recvfrom", 1.25)),
    ):
        contestants = [
            Contestant(name, partial(run, ends, sends, receives)) for name, ends in ways.items()
        ]
        yield Contest(f"{work}, {load.size} B", contestants, [goal], load.count)

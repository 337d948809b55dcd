"""Datagrams sent and received, one after another, both ends in one process."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from functools import partial

from framing import open_datagram, recv_datagram, send_datagram

from .harness import OURS, Contest, Contestant, Scale, Watch, cpu_clock
from .loads import Load

MOST = 65_535


def by_hand(sender: socket.socket, receiver: socket.socket, data: list[bytes]) -> bytes:
    address = receiver.getsockname()
    received = b""
    for each in data:
        sender.sendto(each, address)
        received, _ = receiver.recvfrom(MOST)
    return received


def with_framing(sender: socket.socket, receiver: socket.socket, data: list[bytes]) -> bytes:
    address = receiver.getsockname()
    received = b""
    for each in data:
        send_datagram(sender, each, address)
        received, _ = recv_datagram(receiver)
    return received


def carry(way: Callable[[socket.socket, socket.socket, list[bytes]], bytes], load: Load) -> float:
    watch = Watch(cpu_clock)
    with open_datagram(("127.0.0.1", 0)) as receiver, open_datagram() as sender:
        receiver.settimeout(5)
        with watch:
            last = way(sender, receiver, load.messages)
    assert last == load.messages[-1]
    return watch.seconds


def check(way: Callable[[socket.socket, socket.socket, list[bytes]], bytes], load: Load) -> None:
    for each in load.beginnings():
        carry(way, each)


def contests(scale: Scale) -> Iterator[Contest]:
    for size in (64, 1472, 9000):
        load = Load(scale.count(500), size)
        contestants = [
            Contestant(name, partial(carry, way, load), partial(check, way, load))
            for name, way in ((OURS, with_framing), ("sendto, recvfrom", by_hand))
        ]
        yield Contest("datagrams", f"{size} B", contestants, [], load.count)

"""``send_msg`` and ``recv_msg`` against the functions that everybody writes by hand.

Both ends are here, in one process: so many messages as the system holds are sent, then received.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from threading import Lock

from framing import recv_msg, send_msg

from .harness import OURS, Contest, Contestant, Goal, Scale, Watch, cpu_clock
from .loads import Load
from .receive import recv_by_hand
from .sides import Side, no_delay

LOCK = Lock()
HELD = 64 * 1024  # bytes that the system surely holds

Send = Callable[[socket.socket, bytes], None]
Receive = Callable[[socket.socket], bytes]


def send_by_hand(sock: socket.socket, message: bytes) -> None:
    sock.sendall(struct.pack("!I", len(message)) + message)


def send_with_lock(sock: socket.socket, message: bytes) -> None:
    """As it has to be where several threads send, which send_msg does as well."""
    with LOCK:
        sock.sendall(struct.pack("!I", len(message)) + message)


def carry(send: Send, receive: Receive, load: Load, watches: tuple[Watch, Watch]) -> object:
    """Send and receive all messages, time each, and return the last."""
    sending, receiving = watches
    message = b""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = no_delay(socket.create_connection(listener.getsockname()))
        there = no_delay(listener.accept()[0])
    at_once = max(HELD // (load.size + 4), 1)
    with here, there:
        for start in range(0, load.count, at_once):
            batch = load.messages[start : start + at_once]
            with sending:
                for message in batch:
                    send(here, message)
            with receiving:
                for _ in batch:
                    message = receive(there)
    return message


def contestant(name: str, send: Send, receive: Receive, load: Load, index: int) -> Contestant:
    def run() -> float:
        watches = Watch(cpu_clock), Watch(cpu_clock)
        assert carry(send, receive, load, watches) == load.messages[-1], name
        return watches[index].seconds

    def check() -> None:
        for each in load.beginnings():
            assert carry(send, receive, each, (Watch(), Watch())) == each.messages[-1], name

    return Contestant(name, run, check)


def contests(scale: Scale, _side: Side) -> Iterator[Contest]:
    for size in (64, 1024, 32 * 1024):
        load = Load(scale.count(2_000), size)
        for index, work in enumerate(("send_msg", "recv_msg")):
            contestants = [
                contestant(OURS, send_msg, recv_msg, load, index),
                contestant("by hand", send_with_lock, recv_by_hand, load, index),
            ]
            goals = [Goal(OURS, "by hand", most=1.25 if work == "send_msg" else 1.1)]
            yield Contest("functions", f"{work}, {size} B", contestants, goals, load.count)

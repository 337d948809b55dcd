"""One message of 128 MiB: received, received into a warm buffer, sent."""

from __future__ import annotations

import importlib.util
import re
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import lru_cache, partial
from multiprocessing.connection import Connection
from pathlib import Path

from framing import LengthPrefixFramer, MessageSocket, recv_msg, send_msg

from . import sides
from .harness import Contest, Contestant, Goal, Scale, Watch
from .loads import Load
from .peers import PREFIX
from .receive import recv_exactly
from .sides import Far, Near, Side, go


@lru_cache(maxsize=1)
def payload(size: int) -> bytes:
    """Return bytes in memory of their own: untouched zeros would all be one page."""
    return b"0123456789abcdef" * (size // 16)


@lru_cache(maxsize=1)
def warm_buffer(size: int) -> bytearray:
    return bytearray(payload(size))


def framer(load: Load) -> LengthPrefixFramer:
    return LengthPrefixFramer(max_size=load.size)


# Receiving


def send_payload(sock: socket.socket, load: Load) -> None:
    message = payload(load.size)
    sides.wait_for_go(sock)
    sock.sendall(PREFIX.pack(load.size))
    sock.sendall(message)


def waitall(sock: socket.socket, _load: Load, watch: Watch) -> object:
    with go(sock, watch):
        (size,) = struct.unpack("!I", sock.recv(4, socket.MSG_WAITALL))
        return sock.recv(size, socket.MSG_WAITALL)


def recv(sock: socket.socket, load: Load, watch: Watch) -> object:
    framed = MessageSocket(sock, framer(load))
    with go(sock, watch):
        return framed.recv()


def receive_msg(sock: socket.socket, load: Load, watch: Watch) -> object:
    with go(sock, watch):
        return recv_msg(sock, framer=framer(load))


def makefile(sock: socket.socket, _load: Load, watch: Watch) -> object:
    with sock.makefile("rb") as file, go(sock, watch):
        (size,) = struct.unpack("!I", file.read(4))
        return file.read(size)


def with_multiprocessing(sock: socket.socket, _load: Load, watch: Watch) -> object:
    with Connection(sock.dup().detach()) as connection, go(sock, watch):
        return connection.recv_bytes()


# Into a buffer


def recv_into_loop(sock: socket.socket, load: Load, watch: Watch) -> object:
    buffer = warm_buffer(load.size)
    with go(sock, watch), memoryview(buffer) as view:
        (size,) = struct.unpack("!I", recv_exactly(sock, 4))
        received = 0
        while received < size:
            count = sock.recv_into(view[received:size])
            if not count:
                raise EOFError
            received += count
    return buffer


def recv_into(sock: socket.socket, load: Load, watch: Watch) -> object:
    buffer = warm_buffer(load.size)
    framed = MessageSocket(sock, framer(load))
    with go(sock, watch):
        framed.recv_into(buffer)
    return buffer


# Sending


def receive_all(sock: socket.socket, load: Load) -> bool:
    """Receive into a buffer that stays, say so with a byte, and return whether it was right."""
    buffer = warm_buffer(load.size)
    with memoryview(buffer) as view:
        recv_exactly(sock, 4)
        received = 0
        while received < load.size:
            received += sock.recv_into(view[received:])
    sock.sendall(b"!")
    return buffer == payload(load.size)


def timed_send(
    send: Callable[[socket.socket, Load, bytes], None],
    sock: socket.socket,
    load: Load,
    watch: Watch,
) -> object:
    message = payload(load.size)
    with watch:
        send(sock, load, message)
        assert sock.recv(1) == b"!"
    return message


def sendall(sock: socket.socket, _load: Load, message: bytes) -> None:
    sock.sendall(PREFIX.pack(len(message)))
    sock.sendall(message)


def send(sock: socket.socket, load: Load, message: bytes) -> None:
    MessageSocket(sock, framer(load)).send(message)


def send_by_msg(sock: socket.socket, load: Load, message: bytes) -> None:
    send_msg(sock, message, framer=framer(load))


RECEIVING: dict[str, tuple[Near, Far]] = {
    "framing, recv()": (recv, send_payload),
    "framing, recv_msg()": (receive_msg, send_payload),
    "makefile": (makefile, send_payload),
    "multiprocessing": (with_multiprocessing, send_payload),
}
if hasattr(socket, "MSG_WAITALL"):
    RECEIVING["recv(n, MSG_WAITALL)"] = waitall, send_payload
INTO: dict[str, tuple[Near, Far]] = {
    "framing, recv_into()": (recv_into, send_payload),
    "recv_into": (recv_into_loop, send_payload),
}
SENDING: dict[str, tuple[Near, Far]] = {
    "framing, send()": (partial(timed_send, send), receive_all),
    "framing, send_msg()": (partial(timed_send, send_by_msg), receive_all),
    "sendall": (partial(timed_send, sendall), receive_all),
}


def contestant(side: Side, name: str, near: Near, far: Far, load: Load) -> Contestant:
    def run() -> float:
        watch = Watch()
        sides.play(side, near, far, load, watch)
        return watch.seconds

    def check() -> None:
        message, was_right = sides.play(side, near, far, load, Watch())
        assert message == payload(load.size), name
        assert was_right is not False, name

    return Contestant(name, run, check)


# Memory: the peak of a new process, where the system reports it


def peak() -> int:
    """Return the most memory that this process has held, in bytes."""
    if sys.platform == "linux":
        # What getrusage() reports begins with the memory of the process that started this one.
        (found,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found) * 1024
    from resource import RUSAGE_SELF, getrusage

    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def growth(near: Near, far: Far, load: Load) -> int:
    """Return by how much this process grows at most while it receives."""
    with closing(sides.Side(1)) as side:
        before = peak()
        sides.play(side, near, far, load, Watch())
        return peak() - before


def memory_of(name: str, load: Load) -> float:
    with closing(sides.Side(0, daemon=False)) as fresh:
        fresh.start(partial(growth, *RECEIVING[name], load))
        return float(fresh.result())


def contests(scale: Scale, side: Side) -> Iterator[Contest]:
    load = Load(1, scale.large // 16 * 16)
    size = f"{load.size / 2**20:.0f} MiB"
    for work, ways, goals in (
        ("recv", RECEIVING, [Goal("framing, recv()", "recv(n, MSG_WAITALL)", least=0.8)]),
        ("recv_into", INTO, [Goal("framing, recv_into()", "recv_into", least=0.95)]),
        ("send", SENDING, [Goal("framing, send()", "sendall", least=0.95)]),
    ):
        contestants = [contestant(side, name, *way, load) for name, way in ways.items()]
        yield Contest("large", f"{work}, {size}", contestants, goals, load.size, "byte", share=2.0)
    if importlib.util.find_spec("resource") is None or scale.most_messages < 1000:
        return
    contestants = [Contestant(name, partial(memory_of, name, load)) for name in RECEIVING]
    contestants.append(Contestant("the message", lambda: float(load.size)))
    goals = [Goal(f"framing, {way}()", "the message", most=1.15) for way in ("recv", "recv_msg")]
    yield Contest("large", f"memory, {size}", contestants, goals, unit="memory", most_runs=1)

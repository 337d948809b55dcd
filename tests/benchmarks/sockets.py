"""``MessageSocket`` against the loops that people write by hand, over TCP on loopback.

    python tests/benchmarks/sockets.py

Sender and receiver are processes, pinned to a CPU each where the system can do that.  Every
line is the best of several runs, in which the contestants take turns.  *Ratio* is their time
by that of the first of their group, so less is better.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from multiprocessing.connection import Connection
from time import perf_counter

from framing import LengthPrefixFramer, MessageSocket, recv_msg

CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
RUNS = 7
SMALL = 64
MANY = 100_000
TURNS = 10_000
LARGE = 128 * 1024 * 1024
FRAMER = LengthPrefixFramer(max_size=LARGE)

Pair = tuple[socket.socket, socket.socket]
# What runs in this process, timed, and in the other one.
Contest = tuple[Callable[[socket.socket], object], Callable[[socket.socket], object]]


def pair() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    for sock in (client, server):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, server


def pin(index: int) -> None:
    """Keep this process on one of the CPUs that the benchmark started with."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {CPUS[index % len(CPUS)]})


def seconds(
    here: Callable[[socket.socket], object], there: Callable[[socket.socket], object]
) -> float:
    client, server = pair()
    child = os.fork()
    if not child:
        client.close()
        pin(1)
        there(server)
        os._exit(0)
    server.close()
    start = perf_counter()
    here(client)
    taken = perf_counter() - start
    client.close()
    os.waitpid(child, 0)
    return taken


# Many small messages, received


def blast(sock: socket.socket) -> None:
    chunk = (struct.pack("!I", SMALL) + bytes(SMALL)) * 1000
    for _ in range(MANY // 1000):
        sock.sendall(chunk)


def makefile_loop(sock: socket.socket) -> None:
    with sock.makefile("rb") as file:
        for _ in range(MANY):
            (size,) = struct.unpack("!I", file.read(4))
            file.read(size)


def recv(sock: socket.socket) -> None:
    messages = MessageSocket(sock)
    for _ in range(MANY):
        messages.recv()


def iterate(sock: socket.socket) -> None:
    for _ in zip(range(MANY), MessageSocket(sock), strict=False):
        pass


# Many small messages, sent


def drain(sock: socket.socket) -> None:
    while sock.recv(1024 * 1024):
        pass


def sendall(sock: socket.socket) -> None:
    message = bytes(SMALL)
    for _ in range(MANY):
        sock.sendall(struct.pack("!I", len(message)) + message)


def send(sock: socket.socket) -> None:
    messages = MessageSocket(sock)
    message = bytes(SMALL)
    for _ in range(MANY):
        messages.send(message)


def send_many(sock: socket.socket) -> None:
    message = bytes(SMALL)
    MessageSocket(sock).send_many(message for _ in range(MANY))


# Question and answer


def turns_by_hand(sock: socket.socket, *, asks: bool) -> None:
    with sock.makefile("rb") as file:
        message = bytes(SMALL)
        for turn in range(TURNS):
            if asks or turn:
                sock.sendall(struct.pack("!I", len(message)) + message)
            (size,) = struct.unpack("!I", file.read(4))
            message = file.read(size)
        if not asks:
            sock.sendall(struct.pack("!I", len(message)) + message)


def turns_by_framing(sock: socket.socket, *, asks: bool) -> None:
    messages = MessageSocket(sock)
    message = bytes(SMALL)
    for turn in range(TURNS):
        if asks or turn:
            messages.send(message)
        message = messages.recv()
    if not asks:
        messages.send(message)


def turns_by_multiprocessing(sock: socket.socket, *, asks: bool) -> None:
    connection = Connection(os.dup(sock.fileno()))
    message = bytes(SMALL)
    for turn in range(TURNS):
        if asks or turn:
            connection.send_bytes(message)
        message = connection.recv_bytes()
    if not asks:
        connection.send_bytes(message)
    connection.close()


def both(turns: Callable[..., None]) -> Contest:
    return lambda sock: turns(sock, asks=True), lambda sock: turns(sock, asks=False)


# One large message

buffer = bytearray(LARGE)


def send_large(sock: socket.socket) -> None:
    sock.sendall(struct.pack("!I", LARGE))
    sock.sendall(bytes(LARGE))


def send_large_by_multiprocessing(sock: socket.socket) -> None:
    Connection(os.dup(sock.fileno())).send_bytes(bytes(LARGE))


def waitall(sock: socket.socket) -> None:
    sock.recv(4, socket.MSG_WAITALL)
    sock.recv(LARGE, socket.MSG_WAITALL)


def multiprocessing_large(sock: socket.socket) -> None:
    Connection(os.dup(sock.fileno())).recv_bytes()


def recv_into_loop(sock: socket.socket) -> None:
    sock.recv(4, socket.MSG_WAITALL)
    view = memoryview(buffer)
    received = 0
    while received < LARGE:
        received += sock.recv_into(view[received:])


GROUPS: dict[str, tuple[float, dict[str, Contest]]] = {
    f"receive {MANY} messages of {SMALL} bytes, us a message": (
        1e6 / MANY,
        {
            "makefile, read(4), unpack, read(n)": (makefile_loop, blast),
            "MessageSocket.recv": (recv, blast),
            "for message in MessageSocket": (iterate, blast),
        },
    ),
    f"send {MANY} messages of {SMALL} bytes, us a message": (
        1e6 / MANY,
        {
            "sendall(pack(...) + payload)": (sendall, drain),
            "MessageSocket.send": (send, drain),
            "MessageSocket.send_many": (send_many, drain),
        },
    ),
    f"ask and answer {TURNS} times, us a turn": (
        1e6 / TURNS,
        {
            "sendall, makefile": both(turns_by_hand),
            "MessageSocket": both(turns_by_framing),
            "multiprocessing.connection": both(turns_by_multiprocessing),
        },
    ),
    f"receive one message of {LARGE >> 20} MiB, ms": (
        1e3,
        {
            "recv(n, MSG_WAITALL)": (waitall, send_large),
            "MessageSocket.recv": (lambda sock: MessageSocket(sock, FRAMER).recv(), send_large),
            "recv_msg": (lambda sock: recv_msg(sock, framer=FRAMER), send_large),
            "multiprocessing.connection": (multiprocessing_large, send_large_by_multiprocessing),
        },
    ),
    f"receive {LARGE >> 20} MiB into a warm buffer, ms": (
        1e3,
        {
            "recv_into loop": (recv_into_loop, send_large),
            "MessageSocket.recv_into": (
                lambda sock: MessageSocket(sock, FRAMER).recv_into(buffer),
                send_large,
            ),
        },
    ),
}


def main() -> None:
    pin(0)
    for title, (unit, contests) in GROUPS.items():
        best = dict.fromkeys(contests, float("inf"))
        for _ in range(RUNS):
            for name, contest in contests.items():
                best[name] = min(best[name], seconds(*contest))
        print(title)
        first = next(iter(best.values()))
        for name, taken in best.items():
            print(f"  {name:<36} {taken * unit:>9.3f}   ratio {taken / first:>5.2f}")


if __name__ == "__main__":
    main()

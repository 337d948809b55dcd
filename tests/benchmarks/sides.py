"""The two sides of a connection: this process, and another one on the other half of the CPUs.

What is timed runs on the near side, here.  The far side is a process of its own for the whole
run of the benchmark, which is given its work over a pipe.
"""

from __future__ import annotations

import multiprocessing
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from .harness import Contestant, Watch, pin
from .load import Load

TIMEOUT = 60

# Does its part over the socket, times that, and returns the last message it got.
Near = Callable[[socket.socket, Load, Watch], object]
Far = Callable[[socket.socket, Load], object]


class Side:
    """Another process, which runs one function after another.

    One that is no *daemon* may have another side of its own.
    """

    def __init__(self, half: int = 1, *, daemon: bool = True) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_work, args=(there, half), daemon=daemon)
        self._process.start()
        there.close()

    def start(self, function: Callable[..., object], *arguments: object) -> None:
        self._pipe.send((function, arguments))

    def result(self) -> Any:
        """Return what the function returned.

        Raises:
            RuntimeError: It raised something.
            TimeoutError: It takes too long.
        """
        if not self._pipe.poll(TIMEOUT):
            raise TimeoutError("the other process does not answer")
        result, error = self._pipe.recv()
        if error:
            raise RuntimeError(f"in the other process: {error}")
        return result

    def close(self) -> None:
        self._pipe.close()
        self._process.join(TIMEOUT)


def _work(pipe: Connection, half: int) -> None:
    pin(half)
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = function(*arguments), ""
        except Exception:
            answer = None, traceback.format_exc()
        pipe.send(answer)


def no_delay(sock: socket.socket) -> socket.socket:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def play(side: Side, near: Near, far: Far, load: Load, watch: Watch) -> tuple[object, object]:
    """Run *near* here and *far* there, over TCP, and return what they did."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        side.start(connect_and, far, listener.getsockname(), load)
        listener.settimeout(TIMEOUT)
        sock, _ = listener.accept()
    try:
        with no_delay(sock):
            here = near(sock, load, watch)
    except Exception as error:
        raise RuntimeError(f"the other side: {side.result()!r}") from error
    return here, side.result()


def connect_and(far: Far, address: tuple[str, int], load: Load) -> object:
    with no_delay(socket.create_connection(address, TIMEOUT)) as sock:
        sock.settimeout(None)
        return far(sock, load)


@contextmanager
def go(sock: socket.socket, watch: Watch) -> Iterator[None]:
    """Time what follows, from when the far side is allowed to start."""
    sock.sendall(b"!")
    with watch:
        yield


def wait_for_go(sock: socket.socket) -> None:
    assert sock.recv(1) == b"!"


def contestant(side: Side, name: str, near: Near, far: Far, load: Load) -> Contestant:
    """Return a contestant whose near side returns the last message."""

    def run() -> float:
        watch = Watch()
        last, _ = play(side, near, far, load, watch)
        last = last.encode() if isinstance(last, str) else last
        assert last == load.messages[-1], (name, load)
        return watch.seconds

    return Contestant(name, run)


def blast(sock: socket.socket, load: Load) -> None:
    """Send all messages as fast as possible, when the near side is ready."""
    wire = memoryview(load.wire)
    wait_for_go(sock)
    for start in range(0, len(wire), 64 * 1024):
        sock.sendall(wire[start : start + 64 * 1024])


def drain(sock: socket.socket, _load: Load) -> int:
    """Receive everything, and return how many bytes that was."""
    buffer, received = bytearray(1024 * 1024), 0
    while count := sock.recv_into(buffer):
        received += count
    return received


@contextmanager
def delivered(sock: socket.socket, watch: Watch) -> Iterator[None]:
    """Time the sending, until the far side has received everything and closes."""
    with watch:
        yield
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(TIMEOUT)  # a peer may have made it non-blocking
        assert not sock.recv(1)

"""The two sides of a connection: this process, and another one on another CPU.

What is timed runs on the near side, here.  The far side is a process of its own for the whole
run of the benchmark, which is told what to do over a pipe.  Processes are spawned, which every
system can do.
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
from .loads import Load

TIMEOUT = 60

# Does its part over the socket, times that, and returns the last message it got.
Near = Callable[[socket.socket, Load, Watch], object]
Far = Callable[[socket.socket, Load], object]


class Side:
    """Another process, which runs one function after another.

    One that is no *daemon* may have another side of its own.
    """

    def __init__(self, cpu: int, *, daemon: bool = True) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_work, args=(there, cpu), daemon=daemon)
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


def _work(pipe: Connection, cpu: int) -> None:
    pin(cpu)
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = function(*arguments), ""
        except Exception:  # told to the process that asked
            answer = None, traceback.format_exc()
        pipe.send(answer)


def no_delay(sock: socket.socket) -> socket.socket:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def play(side: Side, near: Near, far: Far, load: Load, watch: Watch) -> tuple[object, object]:
    """Run *near* here and *far* there, over TCP, and return what they did."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        side.start(_connect_and, far, listener.getsockname(), load)
        listener.settimeout(TIMEOUT)
        sock, _ = listener.accept()
    try:
        with no_delay(sock):
            here = near(sock, load, watch)
    except Exception as error:
        raise RuntimeError(f"the other side: {side.result()!r}") from error
    return here, side.result()


def _connect_and(far: Far, address: tuple[str, int], load: Load) -> object:
    with no_delay(socket.create_connection(address, TIMEOUT)) as sock:
        sock.settimeout(None)
        return far(sock, load)


@contextmanager
def go(sock: socket.socket, watch: Watch) -> Iterator[None]:
    """Time what follows, from when the far side is told to start."""
    sock.sendall(b"!")
    with watch:
        yield


def wait_for_go(sock: socket.socket) -> None:
    assert sock.recv(1) == b"!"


def contestant(
    side: Side, name: str, near: Near, far: Far, load: Load, *, needs: str = ""
) -> Contestant:
    """Return a contestant whose near side gets messages."""

    def run() -> float:
        watch = Watch()
        last, _ = play(side, near, far, load, watch)
        assert last == load.messages[-1], name
        return watch.seconds

    def check() -> None:
        for each in load.beginnings():
            last, _ = play(side, near, far, each, Watch())
            assert last == each.messages[-1], (name, last, each)

    return Contestant(name, run, check, needs)

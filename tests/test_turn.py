"""Threads, and signal handlers, that want to use one direction of a connection at the same time."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from framing import MessageSocket, recv_msg, send_msg

from .pairs import tcp_pair, wrapped_pair

Send = Callable[[bytes], None]
# Larger than what the system takes at once, so that each call waits in the middle of a message.
SIZE = 300_000


def by_function(sock: socket.socket) -> Send:
    return lambda message: send_msg(sock, message)


def by_object(sock: socket.socket) -> Send:
    return MessageSocket(sock).send


every_way = pytest.mark.parametrize("way", [by_function, by_object])


@every_way
@pytest.mark.parametrize("make_pair", [tcp_pair, wrapped_pair])
def test_threads_that_send_wait_for_each_other(
    make_pair: Callable[[], tuple[socket.socket, socket.socket]], way: Callable[[Any], Send]
) -> None:
    here, there = make_pair()
    send = way(here)
    with here, there, ThreadPoolExecutor() as executor:
        sending = [executor.submit(send, bytes([each]) * SIZE) for each in range(20)]
        received = [recv_msg(there) for _ in range(20)]
        for each in sending:
            each.result()
    assert sorted(received) == [bytes([each]) * SIZE for each in range(20)]


@every_way
def test_a_handler_that_sends_inside_a_send_gets_an_error(way: Callable[[Any], Send]) -> None:
    if not hasattr(signal, "setitimer"):
        pytest.skip("Windows has no interval timers")
    here, there = tcp_pair()
    here.settimeout(None)
    send = way(here)
    errors: list[BaseException] = []
    called = threading.Event()

    def handle(*_: object) -> None:
        try:
            send(b"from the handler")
        except RuntimeError as error:
            errors.append(error)
        called.set()

    def receive_later() -> bytes:
        called.wait(10)
        return recv_msg(there)

    before = signal.signal(signal.SIGALRM, handle)
    with here, there, ThreadPoolExecutor() as executor:
        receiving = executor.submit(receive_later)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            send(bytes(32 * SIZE))  # waits until the handler has been called
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert receiving.result() == bytes(32 * SIZE)
    assert len(errors) == 1

"""Exceptions and interruptions by signal handlers, Ctrl-C above all, in calls on sockets.

A call that is interrupted while it waits loses nothing. At any other moment, the connection may
refuse to go on with a ``ConnectionError``, but no message is ever wrong.
"""

from __future__ import annotations

import random
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest

from framing import (
    DelimiterFramer,
    EndOfStreamError,
    FramingError,
    LengthPrefixFramer,
    MessageSocket,
    recv_msg,
    send_msg,
)

from .conditions import needs
from .fakes import ScriptedSocket
from .pairs import (
    Pair,
    Task,
    fill,
    raising,
    receive_exactly,
    small_buffers,
    tcp_pair,
    tls_pair,
    unix_pair,
    wait_until,
    wrapped_pair,
)

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no such signals"),
    pytest.mark.usefixtures("without_collection"),
]


class Interrupted(BaseException):
    """What a handler raises here, as ``KeyboardInterrupt`` comes from the handler of SIGINT."""


@contextmanager
def handling(handler: Callable[..., object]) -> Iterator[None]:
    previous = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextmanager
def raising_after(seconds: float, error: BaseException) -> Iterator[None]:
    with handling(raising(error)):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield


# While a call waits


def by_recv_msg(sock: socket.socket, framer: Any) -> Callable[[], Any]:
    return lambda: recv_msg(sock, framer=framer)


def by_recv(sock: socket.socket, framer: Any) -> Callable[[], Any]:
    return MessageSocket(sock, framer).recv


def by_recv_with_a_timeout(sock: socket.socket, framer: Any) -> Callable[[], Any]:
    messages = MessageSocket(sock, framer)
    return lambda: messages.recv(timeout=60)


def by_iteration(sock: socket.socket, framer: Any) -> Callable[[], Any]:
    messages = MessageSocket(sock, framer)
    return lambda: next(iter(messages))


def by_recv_into(sock: socket.socket, framer: Any) -> Callable[[], Any]:
    messages = MessageSocket(sock, framer)
    buffer = bytearray(100)
    return lambda: bytes(buffer[: messages.recv_into(buffer)])


@needs("MSG_DONTWAIT", "otherwise bytes may be lost, and the connection refuses to go on")
@pytest.mark.parametrize(
    ("receiver", "framer", "own"),
    [
        (by_recv_msg, LengthPrefixFramer(), None),
        (by_recv_msg, LengthPrefixFramer(), 60),
        (by_recv_msg, DelimiterFramer(b"\r\n"), None),
        (by_recv, LengthPrefixFramer(), None),
        (by_recv, LengthPrefixFramer(), 60),
        (by_recv_with_a_timeout, DelimiterFramer(b"\r\n"), None),
        (by_iteration, LengthPrefixFramer(), None),
        (by_recv_into, LengthPrefixFramer(), None),
    ],
)
def test_a_hundred_signals_while_a_call_waits_lose_nothing(
    receiver: Callable[..., Callable[[], Any]], framer: Any, own: float | None, plain_pair: Pair
) -> None:
    client, server = plain_pair
    server.settimeout(own)
    receive = receiver(server, framer)
    main = threading.current_thread().ident
    assert main is not None
    is_receiving = threading.Event()

    def interrupt_when_it_waits() -> None:
        places: list[object] = []

        def has_stopped() -> bool:
            frame = sys._current_frames()[main]
            places.append((frame.f_code, frame.f_lasti))
            return len(places) > 5 and len(set(places[-5:])) == 1

        is_receiving.wait(60)
        wait_until(has_stopped)
        signal.pthread_kill(main, signal.SIGALRM)

    with handling(raising(Interrupted)):
        for number in range(100):
            message = b"message %d" % number
            wire = framer.encode(message)
            part = number % len(wire)
            client.sendall(wire[:part])
            interrupting = Task(interrupt_when_it_waits)
            with pytest.raises(Interrupted):
                is_receiving.set()
                receive()
            is_receiving.clear()
            interrupting.result()
            client.sendall(wire[part:])
            assert receive() == message


@pytest.mark.parametrize("timeout", [None, 60])
def test_a_signal_whose_handler_returns_is_not_noticed(pair: Pair, timeout: float | None) -> None:
    client, server = pair
    client.settimeout(timeout)
    sender, receiver = MessageSocket(small_buffers(pair)[0]), MessageSocket(server)
    message = bytes(range(256)) * 4096
    signals: list[int] = []

    def echo() -> None:
        wait_until(lambda: len(signals) > 10)
        for each in receiver:
            wait_until(lambda: len(signals) > 20)
            receiver.send(each)

    with handling(lambda number, _: signals.append(number)):
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        echoing = Task(echo)
        sender.send(message, timeout=timeout)
        assert sender.recv(timeout=timeout) == message
        client.shutdown(socket.SHUT_WR)
        echoing.result()
    assert len(signals) > 20


# At any moment


@contextmanager
def storm() -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Give a function that does a call, and raises Interrupted in it soon.

    How soon differs, so that what takes long is done in the end.
    """
    armed = False
    times = random.Random(7)

    def interrupt(*_: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise Interrupted

    def interruptible(call: Callable[[], Any]) -> Any:
        nonlocal armed
        armed = True
        signal.setitimer(signal.ITIMER_REAL, max(0.00001, times.expovariate(1 / 0.0002)))
        try:
            return call()
        finally:
            armed = False

    with handling(interrupt):
        yield interruptible


NUMBERED = [b"%d:" % number + b"x" * (number % 60) for number in range(3000)]
# Some are too large to be sent in one step.
LARGE_AND_SMALL = [b"%d:" % number + b"x" * (number % 7 * 30_000) for number in range(100)]


def assert_in_order(received: list[bytes], sent: list[bytes]) -> None:
    """Some may be missing, since the handler's exception may come behind the receiver's back."""
    numbers = [int(each.partition(b":")[0]) for each in received]
    assert numbers == sorted(set(numbers))
    assert received == [sent[number] for number in numbers]


@pytest.mark.parametrize("make_pair", [tcp_pair, tls_pair])
@pytest.mark.parametrize("framer", [LengthPrefixFramer(), DelimiterFramer()], ids=repr)
@pytest.mark.parametrize("receiver", [by_recv_msg, by_recv, by_iteration])
def test_in_a_storm_of_signals_no_message_received_is_wrong(
    receiver: Callable[..., Callable[[], Any]], framer: Any, make_pair: Callable[[], Pair]
) -> None:
    client, server = make_pair()
    wire = b"".join(map(framer.encode, NUMBERED))

    def send() -> None:
        with suppress(OSError):
            client.sendall(wire)
            client.shutdown(socket.SHUT_WR)

    received: list[bytes] = []
    interruptions = 0
    with client, server, storm() as interruptible:
        receive = receiver(server, framer)
        sending = Task(send)
        while True:
            try:
                received.append(interruptible(receive))
            except Interrupted:
                interruptions += 1
            except (EndOfStreamError, StopIteration, ConnectionError):
                break
    server.close()
    sending.result()
    assert interruptions
    assert_in_order(received, NUMBERED)


@pytest.mark.parametrize("make_pair", [tcp_pair, tls_pair])
@pytest.mark.parametrize("sender", ["send_msg", "send", "send_many"])
def test_in_a_storm_of_signals_no_message_sent_is_wrong(
    sender: str, make_pair: Callable[[], Pair]
) -> None:
    client, server = small_buffers(make_pair())
    received: list[bytes] = []

    def receive() -> None:
        with MessageSocket(server) as messages, suppress(FramingError, OSError):
            while True:
                received.append(messages.recv())

    receiving = Task(receive)
    messages = MessageSocket(client) if sender != "send_msg" else None
    interruptions = 0
    with client, storm() as interruptible:
        for number, message in enumerate(LARGE_AND_SMALL):

            def send(message: bytes = message) -> None:
                if messages is None:
                    send_msg(client, message)
                elif sender == "send":
                    messages.send(message)
                else:
                    messages.send_many([message])

            try:
                interruptible(send)
            except Interrupted:
                interruptions += 1
            except ConnectionError:
                assert number
                break
        with suppress(OSError, Interrupted):
            if messages is not None:
                messages.flush(timeout=60)
    receiving.result()
    assert interruptions
    assert_in_order(received, LARGE_AND_SMALL)


# A handler's exception is not the socket's: a handler of SIGALRM that raises TimeoutError is a
# common way to give up.


@pytest.mark.parametrize("make_pair", [unix_pair, wrapped_pair])
def test_a_handlers_timeout_in_the_middle_of_a_send_breaks_the_stream(
    make_pair: Callable[[], Pair],
) -> None:
    client, server = make_pair()
    with client, server, raising_after(0.05, TimeoutError("from the handler")):
        client.settimeout(None)
        with pytest.raises(TimeoutError, match="from the handler"):
            send_msg(client, bytes(16 * 1024 * 1024))  # the peer reads nothing
        with pytest.raises(ConnectionError):
            send_msg(client, b"next")


@pytest.mark.parametrize("make_pair", [tcp_pair, tls_pair])
@pytest.mark.parametrize("size", [3_000, 300_000])
def test_a_send_that_a_handler_cuts_short_passes_its_error_on_and_keeps_the_rest(
    make_pair: Callable[[], Pair], size: int
) -> None:
    client, server = map(MessageSocket, small_buffers(make_pair()))
    with client, server:
        number = 0
        with pytest.raises(TimeoutError, match="from the handler"):
            while True:
                with raising_after(0.3, TimeoutError("from the handler")):
                    client.send(b"%d:" % number + bytes(size))
                number += 1
        sending = Task(partial(client.send, b"next"))
        received = [server.recv(timeout=60)]
        while received[-1] != b"next":
            received.append(server.recv(timeout=60))
        numbers = [int(each.partition(b":")[0]) for each in received[:-1]]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) in {number, number + 1}  # the last one had begun, or it had not
        sending.result()


def test_a_handlers_timeout_inside_send_msg_leaves_the_connection_in_doubt() -> None:
    client, server = unix_pair()
    with client, server:
        client.setblocking(False)
        filler = fill(client)
        client.settimeout(None)
        with raising_after(0.05, TimeoutError("from the handler")), pytest.raises(TimeoutError):
            send_msg(client, b"hello")
        receive_exactly(server, filler)
        with pytest.raises(ConnectionError, match="cut off in the middle"):
            send_msg(client, b"hello")


def test_a_handlers_timeout_inside_the_sockets_recv_leaves_the_connection_in_doubt() -> None:
    class Interrupting(ScriptedSocket):
        """Bytes have left the system when the handler raises."""

        def recv(self, bufsize: int) -> bytes:
            super().recv(min(2, bufsize))
            signal.raise_signal(signal.SIGALRM)
            return b""

    sock: Any = Interrupting(b"\0\0\0\5hello")
    with handling(raising(TimeoutError("from the handler"))):
        with pytest.raises(TimeoutError, match="from the handler"):
            recv_msg(sock)
        with pytest.raises(ConnectionError):
            recv_msg(sock)


def test_a_turn_is_given_back_wherever_its_call_is_interrupted() -> None:
    """The other thread makes this one wait, and signals come in, at each step that can switch."""
    delays, finished, interval = random.Random(3), threading.Event(), sys.getswitchinterval()
    busy = Task(lambda: [None for _ in iter(finished.is_set, True)])
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(300):
            here, there = unix_pair()
            with here, there, handling(raising(Interrupted())):
                conn = MessageSocket(here)
                with suppress(Interrupted):
                    signal.setitimer(signal.ITIMER_REAL, delays.uniform(1e-5, 4e-4))
                    while True:
                        conn.flush()
                with suppress(ConnectionError):  # refused: it may have been moving bytes
                    conn.flush(timeout=5)
    finally:
        sys.setswitchinterval(interval)
        finished.set()
    busy.result()

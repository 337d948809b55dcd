"""Threads that use one direction of a connection at once, and signal handlers that interrupt it.

A call that is interrupted while it waits loses nothing.  At any other moment, the connection may
refuse to go on with a ``ConnectionError``, but no message is ever wrong.
"""

from __future__ import annotations

import io
import itertools
import random
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import SimpleNamespace
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

from .conditions import needs, not_on_pypy
from .fakes import MisbehavingSocket, ScriptedSocket
from .pairs import (
    MIB,
    Interrupted,
    Pair,
    Task,
    by_recv,
    by_recv_msg,
    every_pair,
    everything,
    fill,
    interrupted,
    is_in_library,
    raising,
    receive_exactly,
    send_and_end,
    small_buffers,
    smallest_buffer,
    stops,
    tcp_pair,
    tls_pair,
    unix_pair,
    wait_until,
    wrapped_pair,
)

# Threads


@every_pair
@pytest.mark.parametrize("way", ["send_msg", "send"])
def test_messages_of_many_threads_do_not_mix(way: str, make_pair: Callable[[], Pair]) -> None:
    client, server = small_buffers(make_pair())
    client.settimeout(None)
    conn = MessageSocket(client) if way == "send" else None
    threads, each = 8, 10

    def send(name: int) -> None:
        sizes = random.Random(name)
        for number in range(each):
            body = bytes([name]) * sizes.choice([0, 5, 3000, 40_000, 100_000])
            message = bytes([name, number]) + body
            if conn is None:
                send_msg(client, message)
            else:
                conn.send(message, timeout=None if number % 2 else 60)

    received: dict[int, list[int]] = {name: [] for name in range(threads)}
    with client, server:
        sending = [Task(send, name) for name in range(threads)]
        for _ in range(threads * each):
            message = recv_msg(server)
            name, number = message[:2]
            assert message[2:] == bytes([name]) * (len(message) - 2)
            received[name].append(number)
        for done in sending:
            done.result()
    assert received == {name: list(range(each)) for name in range(threads)}


@pytest.mark.parametrize("make_pair", [tcp_pair, tls_pair])
@pytest.mark.parametrize("way", ["recv_msg", "MessageSocket"])
def test_each_message_goes_to_one_of_many_receivers(
    way: str, make_pair: Callable[[], Pair]
) -> None:
    client, server = make_pair()
    server.settimeout(None)
    messages = [b"%d," % i * (i % 40 if i % 500 else 30_000) for i in range(2000)]
    ways: list[Callable[[], bytes]] = [partial(recv_msg, server)] * 3
    if way == "MessageSocket":
        conn, buffer = MessageSocket(server), bytearray(MIB)
        ways = [conn.recv, lambda: conn.recv(timeout=60)] * 2
        ways += [lambda: bytes(buffer[: conn.recv_into(buffer)])]
    with client, server:
        receiving = [Task(everything, each, but=()) for each in ways]
        send_and_end(client, b"".join(map(LengthPrefixFramer().encode, messages)))
        received = itertools.chain(*(each.result() for each in receiving))
        assert sorted(received) == sorted(messages)


@pytest.fixture
def busy_switching() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("busy_switching")
def test_messages_and_exact_bytes_can_be_taken_by_two_threads() -> None:
    """One thread takes what is decoded, while another needs it back as bytes."""
    numbers = [struct.pack("!I", i) for i in range(5000)]
    client, server = unix_pair()
    exactly: list[bytes] = []
    with client, MessageSocket(server) as receiver:
        wire = b"".join(map(LengthPrefixFramer().encode, numbers))
        sending = Task(send_and_end, client, wire)
        taking = Task(everything, receiver.recv, but=())
        with suppress(EndOfStreamError):
            while True:
                exactly.append(receiver.recv_exactly(8)[4:])
        sending.result()
        assert sorted(taking.result() + exactly) == numbers


def test_a_turn_that_becomes_free_just_before_a_thread_waits_for_it_is_taken_at_once(
    plain_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = map(MessageSocket, plain_pair)
    receiving = Task(server.recv)
    receiving.wait_until_it_waits()

    class Late(threading.Event):
        """Is made when the turn is not free, and has no chance to be set."""

        def __init__(self) -> None:
            super().__init__()
            client.send_many([b"one", b"two"])
            assert receiving.result() == b"one"

        def wait(self, timeout: float | None = None) -> bool:
            raise AssertionError(f"waits for {timeout} seconds")

    monkeypatch.setattr("framing.sockets.turn.threading", SimpleNamespace(Event=Late))
    assert server.recv_exactly(7) == b"\0\0\0\3two"


# Signal handlers, Ctrl-C above all

needs_timers = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="Windows has no such signals"
)
# What a handler raises in a callback of the garbage collector is lost.
interrupts = [needs_timers, pytest.mark.usefixtures("without_collection")]


def marked(test: Any) -> Any:
    for mark in interrupts:
        test = mark(test)
    return test


@contextmanager
def handling(handler: Callable[..., object]) -> Iterator[None]:
    previous = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextmanager
def handling_once_it_waits(handler: Callable[..., object]) -> Iterator[None]:
    """Call *handler* when signals have found this thread at the same place in the library."""
    places: list[object] = []

    def look(_: int, frame: Any) -> None:
        places.append((frame.f_code, frame.f_lasti))
        if is_in_library(frame) and len(places) > 2 and len(set(places[-3:])) == 1:
            signal.setitimer(signal.ITIMER_REAL, 0)
            handler()

    with handling(look):
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        yield


@marked
@pytest.mark.parametrize("size", [8000, MIB])
@pytest.mark.parametrize("way", ["send_msg", "send", "close", "recv_msg", "recv"])
def test_a_handler_that_uses_the_connection_gets_an_error_and_not_a_deadlock(
    way: str, size: int
) -> None:
    client, server = smallest_buffer()
    client.settimeout(None)
    if way.endswith("_msg"):
        send, receive = partial(send_msg, client), partial(recv_msg, client)
    else:
        conn = MessageSocket(client)
        send, receive = conn.send, conn.recv  # type: ignore[assignment]
    called = threading.Event()
    large = bytes(size)
    text = "^a signal handler .* using it: set a flag in the handler, and act on it outside$"

    def handle() -> None:
        with pytest.raises(RuntimeError, match=text):
            conn.close() if way == "close" else send(b"x") if "send" in way else receive()
        called.set()

    def answer() -> Any:
        assert called.wait(60)
        return send_msg(server, b"answer") if "recv" in way else recv_msg(server)

    with client, server, handling_once_it_waits(handle):
        answering = Task(answer)
        if "recv" in way:
            assert receive() == b"answer"
        else:
            send(large)  # waits until the handler has been called
            assert answering.result() == large


# While a call waits


def by_recv_with_a_timeout(sock: socket.socket, framer: Any) -> Callable[[], Any]:
    return partial(MessageSocket(sock, framer).recv, timeout=60)


def by_iteration(sock: socket.socket, framer: Any) -> Callable[[], Any]:
    messages = MessageSocket(sock, framer)
    return lambda: next(iter(messages))


# Of a function of Python's own, it is not known what it has moved, and the next call is refused.
only_c_functions = not_on_pypy("its sockets and files are written in Python")


def by_composition(sock: socket.socket, framer: Any) -> Callable[[], Any]:
    class Stream:
        recv, sendall = sock.recv, sock.sendall

    stream: Any = Stream()
    return partial(recv_msg, stream, framer)


def by_file(sock: socket.socket, framer: Any) -> Callable[[], Any]:
    return partial(recv_msg, sock.makefile("rb"), framer)


def by_recv_into(sock: socket.socket, framer: Any) -> Callable[[], Any]:
    messages, buffer = MessageSocket(sock, framer), bytearray(100)
    return lambda: bytes(buffer[: messages.recv_into(buffer)])


@marked
@needs("MSG_DONTWAIT", "otherwise bytes may be lost, and the connection refuses to go on")
@pytest.mark.parametrize(
    ("receiver", "framer", "own"),
    [
        (by_recv_msg, LengthPrefixFramer(), None),
        (by_recv_msg, LengthPrefixFramer(), 60),
        (by_recv_msg, DelimiterFramer(b"\r\n"), None),
        pytest.param(by_composition, LengthPrefixFramer(), None, marks=only_c_functions),
        pytest.param(by_file, LengthPrefixFramer(), None, marks=only_c_functions),
        (by_recv, LengthPrefixFramer(), None),
        (by_recv, LengthPrefixFramer(), 60),
        (by_recv_with_a_timeout, DelimiterFramer(b"\r\n"), None),
        (by_iteration, LengthPrefixFramer(), None),
        (by_recv_into, LengthPrefixFramer(), None),
    ],
)
def test_signals_while_a_call_waits_lose_nothing(
    receiver: Callable[..., Callable[[], Any]], framer: Any, own: float | None, plain_pair: Pair
) -> None:
    client, server = plain_pair
    server.settimeout(own)
    receive = receiver(server, framer)
    main = threading.current_thread().ident
    assert main is not None
    is_receiving = threading.Event()

    def interrupt_when_it_waits() -> None:
        is_receiving.wait(60)
        wait_until(stops(main, 5))
        signal.pthread_kill(main, signal.SIGALRM)

    with handling(raising(Interrupted)):
        for number in range(50):
            message = b"message %d" % number
            wire = framer.encode(message)
            part = number % len(wire)
            if part == 4 and receiver is by_recv_msg:
                part = 0  # between the length and the payload, it may refuse to go on
            client.sendall(wire[:part])
            interrupting = Task(interrupt_when_it_waits)
            with pytest.raises(Interrupted):
                is_receiving.set()
                receive()
            is_receiving.clear()
            interrupting.result()
            client.sendall(wire[part:])
            assert receive() == message


@marked
@pytest.mark.parametrize("timeout", [None, 60])
def test_a_signal_whose_handler_returns_is_not_noticed(pair: Pair, timeout: float | None) -> None:
    client, server = small_buffers(pair)
    client.settimeout(timeout)
    sender, receiver = MessageSocket(client), MessageSocket(server)
    message = bytes(range(256)) * 4096
    signals: list[int] = []

    def echo() -> None:
        wait_until(lambda: len(signals) > 10)
        received = receiver.recv()
        wait_until(lambda: len(signals) > 20)
        receiver.send(received)

    with handling(lambda number, _: signals.append(number)):
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        echoing = Task(echo)
        sender.send(message, timeout=timeout)
        assert sender.recv(timeout=timeout) == message
        echoing.result()


# At any moment


@contextmanager
def storm() -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Give a function that does a call, and raises Interrupted in it soon.

    How soon differs, so that what takes long is done in the end.
    """
    armed, times = False, random.Random(7)

    def interrupt(*_: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise Interrupted

    def interruptible(call: Callable[[], Any]) -> Any:
        nonlocal armed
        armed = True
        # It repeats, since one that comes just before a call waits does not wake it.  (Until it
        # is handled, CPython 3.11 lets no other thread call a function that is being traced.)
        first = max(0.00001, times.expovariate(1 / 0.0002))
        signal.setitimer(signal.ITIMER_REAL, first, 0.02)
        try:
            return call()
        finally:
            armed = False

    with handling(interrupt):
        yield interruptible


NUMBERED = [b"%d:" % number + b"x" * (number % 60) for number in range(1500)]
# Some are too large to be sent in one step.
LARGE_AND_SMALL = [b"%d:" % number + b"x" * (number % 7 * 30_000) for number in range(100)]


def assert_in_order(received: list[bytes], sent: list[bytes]) -> None:
    """Some may be missing, since the handler's exception may come behind the receiver's back."""
    numbers = [int(each.partition(b":")[0]) for each in received]
    assert numbers == sorted(set(numbers))
    assert received == [sent[number] for number in numbers]


def receive_all(conn: MessageSocket[bytes], received: list[bytes]) -> None:
    """Receive up to the end, which may come inside a message."""
    with conn, suppress(FramingError, OSError):
        while True:
            received.append(conn.recv())


@marked
@not_on_pypy("it can interrupt between taking a turn and noting that")
@pytest.mark.parametrize("make_pair", [tcp_pair, tls_pair])
@pytest.mark.parametrize("framer", [LengthPrefixFramer(), DelimiterFramer()], ids=repr)
@pytest.mark.parametrize("receiver", [by_recv_msg, by_recv, by_iteration])
def test_in_a_storm_of_signals_no_message_received_is_wrong(
    receiver: Callable[..., Callable[[], Any]], framer: Any, make_pair: Callable[[], Pair]
) -> None:
    client, server = make_pair()
    server.settimeout(None)
    is_interrupted = threading.Event()
    received: list[bytes] = []
    interruptions = 0

    def send() -> None:
        if make_pair is tcp_pair:  # TLS may refuse to go on after that
            is_interrupted.wait(1)
        send_and_end(client, b"".join(map(framer.encode, NUMBERED)))

    with client, server, storm() as interruptible:
        receive = receiver(server, framer)
        sending = Task(send)
        while True:
            try:
                received.append(interruptible(receive))
            except Interrupted:
                interruptions += 1
                is_interrupted.set()
            except (EndOfStreamError, StopIteration, ConnectionError):
                break
    assert isinstance(sending.error(), OSError | None)
    assert interruptions
    assert_in_order(received, NUMBERED)


@marked
@not_on_pypy("it can interrupt between taking a turn and noting that")
@pytest.mark.parametrize("make_pair", [tcp_pair, tls_pair])
@pytest.mark.parametrize("way", ["send_msg", "send", "send_many"])
def test_in_a_storm_of_signals_no_message_sent_is_wrong(
    way: str, make_pair: Callable[[], Pair]
) -> None:
    client, server = small_buffers(make_pair())
    client.settimeout(None)
    received: list[bytes] = []
    receiving = Task(receive_all, MessageSocket(server), received)
    conn: Any = MessageSocket(client) if way != "send_msg" else None
    interruptions = 0
    with client, storm() as interruptible:
        for number, message in enumerate(LARGE_AND_SMALL):
            send = partial(send_msg, client, message)
            if conn is not None:
                send = partial(conn.send, message)
            if way == "send_many":
                send = partial(conn.send_many, [message])
            try:
                interruptible(send)
            except Interrupted:
                interruptions += 1
            except ConnectionError:
                assert number
                break
        if conn is not None:
            with suppress(OSError, Interrupted):
                conn.flush(timeout=60)
    receiving.result()
    assert interruptions
    assert_in_order(received, LARGE_AND_SMALL)


WORDS = [b"%d" % number * 3 for number in range(10)]
REFUSALS = ConnectionError, ValueError, OSError, io.UnsupportedOperation
at_each_line = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@at_each_line  # see above
@pytest.mark.usefixtures("without_collection")
@pytest.mark.parametrize(("after_c", "has_gil"), [(False, True), (False, False), (True, False)])
@pytest.mark.parametrize("action", ["recv", "recv_into", "recv_exactly", "switch", "detach"])
def test_after_an_interruption_the_stream_goes_on_or_is_refused_and_is_never_misread(
    action: str, after_c: bool, has_gil: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framing.sockets.message_socket._HAS_GIL", has_gil)
    words = WORDS[action != "recv" :]
    options: dict[str, Any] = {
        "recv": {"timeout": 60},
        "recv_into": {"buffer": bytearray(10)},
        "recv_exactly": {"n": 7},
        "switch": {"framer": LengthPrefixFramer()},
    }
    for at in itertools.count():
        here, there = unix_pair()
        with here, there:
            send_and_end(here, b"".join(map(LengthPrefixFramer().encode, WORDS)))
            conn = MessageSocket(there)
            if words != WORDS:
                assert conn.recv() == WORDS[0]
            call = partial(getattr(conn, action), **options.get(action, {}))
            if not interrupted(call, at, after_c=after_c):
                break
            assert_continues(conn, words, taken=action.startswith("recv"))
    assert at > (3 if after_c else 10)


@at_each_line
@pytest.mark.usefixtures("without_collection")
@not_on_pypy("it can interrupt before a view of the buffer is released")
def test_after_an_interruption_in_a_large_payload_the_stream_goes_on_or_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("framing.decoder.LARGE", 1)
    monkeypatch.setattr("framing.sockets.message_socket._DIRECT_SIZE", 1)
    for at in itertools.count():
        here, there = unix_pair()
        with here, MisbehavingSocket.around(there, limit=5) as slow:
            send_and_end(here, b"".join(map(LengthPrefixFramer().encode, WORDS)))
            conn = MessageSocket(slow)
            if not interrupted(partial(conn.recv_into, bytearray(10)), at):
                break
            assert_continues(conn, WORDS, taken=True)
    assert at > 100


def assert_continues(conn: MessageSocket[bytes], words: list[bytes], *, taken: bool) -> None:
    """The first one may have been taken, and was about to be copied or returned."""
    rest: list[bytes] = []
    try:
        rest.extend(iter(conn.recv, None))
    except EndOfStreamError:
        assert rest == words or (taken and rest == words[1:])
    except REFUSALS:
        assert rest == words[: len(rest)]


@at_each_line
@pytest.mark.usefixtures("without_collection")
def test_an_interrupted_send_many_sends_what_it_took_or_refuses_to_go_on() -> None:
    messages = [b"%d:" % number + bytes(30_000) for number in range(7)]  # three batches
    for at in itertools.count(1, 2):
        here, there = unix_pair()
        with here, there:
            conn, iterator, is_refused = MessageSocket(here), iter(messages), False
            received: list[bytes] = []
            receiving = Task(receive_all, MessageSocket(there), received)
            came = interrupted(partial(conn.send_many, iterator), at)
            try:
                conn.send_many(iterator)
            except ConnectionError:
                is_refused = True
            here.shutdown(socket.SHUT_WR)
            receiving.result()
            assert received == messages[: len(received)], at
            assert is_refused or len(received) == len(messages), at
        if not came:
            break
    assert at > 100


@at_each_line
@pytest.mark.usefixtures("without_collection")
def test_after_an_interrupted_recv_msg_the_stream_goes_on_or_is_refused() -> None:
    for at in itertools.count(1):
        here, there = unix_pair()
        with here, there:
            send_and_end(here, b"".join(map(LengthPrefixFramer().encode, WORDS)))
            came = interrupted(partial(recv_msg, there), at, after_c=True)
            try:
                received = everything(partial(recv_msg, there), but=())
            except ConnectionError:
                continue
            assert received in (WORDS, WORDS[1:]), at
        if not came:
            break
    assert at > 2


@at_each_line
@pytest.mark.usefixtures("without_collection")
@pytest.mark.parametrize("way", ["send_msg", "send"])
def test_an_interrupted_send_is_followed_by_whole_messages_or_refuses_to_go_on(way: str) -> None:
    messages = [b"%d:" % number + bytes(7000) for number in range(3)]
    for at in itertools.count(1):
        here, there = smallest_buffer()
        if way == "send":
            here.settimeout(None)
        with here, there:
            send = MessageSocket(here).send if way == "send" else partial(send_msg, here)
            received: list[bytes] = []
            receiving = Task(receive_all, MessageSocket(there), received)
            came = interrupted(partial(send, messages[0]), at, after_c=True)
            with suppress(ConnectionError):
                for message in messages[1:]:
                    send(message)
            here.shutdown(socket.SHUT_WR)
            receiving.result()
            assert_in_order(received, messages)
        if not came:
            break
    assert at > 10


@marked
@not_on_pypy("it can interrupt between taking a turn and noting that")
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


# A handler's exception is not the socket's: a handler of SIGALRM that raises TimeoutError is a
# common way to give up.


def give_up() -> None:
    raise TimeoutError("from the handler")


@marked
@pytest.mark.parametrize("make_pair", [unix_pair, wrapped_pair])
@pytest.mark.parametrize("size", [5, 16 * MIB])
def test_a_handlers_timeout_inside_send_msg_leaves_the_connection_in_doubt(
    size: int, make_pair: Callable[[], Pair]
) -> None:
    client, server = make_pair()
    with client, server:
        client.setblocking(False)
        filler = fill(client) if size == 5 else 0  # or else some of it goes out
        client.settimeout(None)
        with handling_once_it_waits(give_up), pytest.raises(TimeoutError, match="handler"):
            send_msg(client, bytes(size))
        receive_exactly(server, filler)
        with pytest.raises(ConnectionError, match="cut off in the middle"):
            send_msg(client, b"next")


@marked
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


@marked
@pytest.mark.parametrize("make_pair", [tcp_pair, tls_pair])
@pytest.mark.parametrize("size", [3000, 300_000])
def test_a_send_that_a_handler_cuts_short_passes_its_error_on_and_keeps_the_rest(
    make_pair: Callable[[], Pair], size: int
) -> None:
    client, server = map(MessageSocket, small_buffers(make_pair()))
    with client, server:
        number = 0
        with pytest.raises(TimeoutError, match="from the handler"):
            while True:
                with handling_once_it_waits(give_up):
                    client.send(b"%d:" % number + bytes(size))
                number += 1
        sending = Task(client.send, b"next")
        received = list(iter(partial(server.recv, timeout=60), b"next"))
        numbers = [int(each.partition(b":")[0]) for each in received]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) in {number, number + 1}  # the last one had begun, or it had not
        sending.result()

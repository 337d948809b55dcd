"""``MessageSocket`` on real sockets, of every kind, and on badly behaved ones."""

from __future__ import annotations

import errno
import gc
import io
import itertools
import random
import selectors
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import framing
from framing import (
    Buffer,
    DecodeError,
    DelimiterFramer,
    EncodeError,
    EndOfStreamError,
    IncompleteMessageError,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    MessageTooLargeError,
    StructFramer,
    connect,
    recv_msg,
    send_msg,
)
from framing import transport as transport_module

from .fakes import INTERRUPTIONS, MisbehavingSocket, ScriptedSocket
from .pairs import (
    Pair,
    samples,
    tcp_pair,
    tls_contexts,
    tls_pair,
    unix_pair,
    wrapped_pair,
)
from .strategies import FORMATS, Format

every_format = pytest.mark.parametrize("format", FORMATS, ids=repr)
ALL_PAIRS = [tcp_pair, unix_pair, wrapped_pair, tls_pair]
every_pair = pytest.mark.parametrize("make_pair", ALL_PAIRS)
MIB = 1024 * 1024


@pytest.fixture
def plain_pair() -> Iterator[Pair]:
    client, server = tcp_pair()
    with client, server:
        yield client, server


def small_buffers(pair: Pair) -> Pair:
    for sock in pair:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return pair


# Messages go through


@every_format
def test_messages_arrive_one_by_one(format: Format[Any], pair: Pair) -> None:
    client, server = (MessageSocket(sock, format.framer) for sock in pair)
    messages = samples(format)
    for message in messages:
        client.send(message)
    for message in messages:
        assert server.recv() == format.received(message)
        server.send(message)
    assert [client.recv() for _ in messages] == list(map(format.received, messages))


@every_format
def test_many_messages_arrive_and_then_the_end(format: Format[Any]) -> None:
    client, server = (MessageSocket(sock, format.framer) for sock in unix_pair())
    with client, server:
        messages = samples(format) * 50
        with ThreadPoolExecutor() as executor:
            sending = executor.submit(client.send_many, iter(messages))
            received = [server.recv() for _ in messages]
            sending.result()
        client.end()
        assert received == list(map(format.received, messages))
        assert list(server) == []
        for _ in range(2):
            with pytest.raises(EndOfStreamError):
                server.recv()


def test_the_default_is_a_length_and_the_payload(pair: Pair) -> None:
    client, server = pair
    MessageSocket(client).send(b"hello")
    assert server.recv(100) == b"\0\0\0\5hello"


def test_iteration_gives_messages_until_the_end(pair: Pair) -> None:
    sock, peer = pair
    client, server = MessageSocket(sock), MessageSocket(peer)
    client.send_many([b"a", b"", b"c"])
    sock.shutdown(socket.SHUT_WR)
    assert list(server) == [b"a", b"", b"c"]
    assert list(server) == []


def test_an_iterator_goes_on_after_an_error(pair: Pair) -> None:
    client, server = pair
    server.settimeout(0.001)
    messages = iter(MessageSocket(server))
    for _ in range(2):
        with pytest.raises(TimeoutError):
            next(messages)
    client.sendall(b"\0\0\0\2hi\0\0\0\1")
    server.settimeout(10)
    assert next(messages) == b"hi"
    server.settimeout(0.001)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            next(messages)
    client.sendall(b"!")
    client.shutdown(socket.SHUT_WR)
    server.settimeout(10)
    assert list(messages) == [b"!"]
    assert list(messages) == []


def test_an_iterator_follows_what_is_read_otherwise(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"a\nb\nrawc\nd\n")
    lines = MessageSocket(server, LineFramer())
    iterator = iter(lines)
    assert next(iterator) == "a"
    assert lines.recv() == "b"
    assert lines.recv_exactly(3) == b"raw"
    assert next(iterator) == "c"
    assert lines.recv() == "d"


@pytest.mark.parametrize("size", [0, 1, 511, 513, 16_380, 16_384, 70_000, 300_000, 2 * MIB])
def test_messages_of_any_size_go_through(pair: Pair, size: int) -> None:
    client, server = map(MessageSocket, pair)
    payloads = [bytes([i]) * size for i in range(3)]
    messages: list[Buffer] = [*payloads, bytearray(payloads[0]), memoryview(payloads[1])]
    with ThreadPoolExecutor() as executor:
        sending = executor.submit(lambda: [client.send(each) for each in messages])
        assert [server.recv() for _ in messages] == messages
        sending.result()
        sending_many = executor.submit(lambda: client.send_many(messages))
        assert [server.recv() for _ in messages] == messages
        sending_many.result()


def test_a_large_message_is_received_apart_from_the_next(pair: Pair) -> None:
    client, server = map(MessageSocket, pair)
    messages = [bytes([i % 250]) * size for i, size in enumerate([300_000, 5, 65_536, 0, 400_001])]
    with ThreadPoolExecutor() as executor:
        sending = executor.submit(client.send_many, messages)
        assert [server.recv() for _ in messages] == messages
        sending.result()


# Interruptions, one byte at a time


def everything(receive: Callable[[], Any], *, but: tuple[type[Exception], ...]) -> list[Any]:
    """Return what *receive* does until the end, trying again after the errors in *but*."""
    received = []
    while True:
        try:
            received.append(receive())
        except but:
            pass
        except EndOfStreamError:
            return received


TRANSIENT = (TimeoutError, BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@every_format
def test_interruptions_at_any_byte_lose_nothing(format: Format[Any]) -> None:
    client, server = unix_pair()
    receiver = MessageSocket(
        MisbehavingSocket.around(server, *INTERRUPTIONS, InterruptedError), format.framer
    )
    messages = samples(format) * 2
    with client, receiver:
        client.sendall(b"".join(map(format.framer.encode, messages)))
        client.shutdown(socket.SHUT_WR)
        assert everything(receiver.recv, but=TRANSIENT) == list(map(format.received, messages))


@every_format
def test_sends_cut_short_at_any_byte_lose_and_double_nothing(format: Format[Any]) -> None:
    client, server = unix_pair()
    interruptions = TimeoutError, BlockingIOError, ssl.SSLWantWriteError, InterruptedError
    sender = MessageSocket(MisbehavingSocket.around(client, *interruptions), format.framer)
    messages = samples(format)
    with MessageSocket(server, format.framer) as receiver, ThreadPoolExecutor() as executor:
        receiving = executor.submit(list, receiver)
        with sender:
            for message in messages:
                retried(partial(sender.send, message))
            retried(sender.flush)
            assert sender.unsent == 0
        assert receiving.result() == list(map(format.received, messages))


@pytest.mark.parametrize("interruption", [TimeoutError, BlockingIOError])
def test_send_raises_only_if_nothing_has_gone_out(interruption: Callable[[], Exception]) -> None:
    sock: Any = ScriptedSocket(sizes=[interruption(), 3, interruption(), interruption(), 2])
    messages = MessageSocket(sock)
    with pytest.raises(type(interruption())):
        messages.send(b"hello")
    assert (sock.sent, messages.unsent) == (b"", 0)
    messages.send(b"hello")
    assert (sock.sent, messages.unsent) == (b"\0\0\0", 6)
    with pytest.raises(type(interruption())):
        messages.send(b"not yet")
    assert (sock.sent, messages.unsent) == (b"\0\0\0", 6)
    messages.send(b"you")
    assert (sock.sent, messages.unsent) == (b"\0\0\0\5hello\0\0\0\3you", 0)


def test_a_rest_does_not_change_with_the_callers_buffer() -> None:
    sock: Any = ScriptedSocket(sizes=[5, TimeoutError()])
    messages = MessageSocket(sock)
    buffer = bytearray(b"hello" * 10_000)
    messages.send(buffer)
    assert messages.unsent == 50_004 - 5
    buffer[:] = b"x" * 50_000
    buffer.clear()  # nothing holds on to it
    messages.flush()
    assert sock.sent[4:] == b"hello" * 10_000


def test_an_error_of_the_connection_is_raised_by_the_next_send() -> None:
    sock: Any = ScriptedSocket(sizes=[3, ConnectionResetError(), BrokenPipeError()])
    messages = MessageSocket(sock)
    messages.send(b"hello")  # it has begun
    assert messages.unsent == 6
    with pytest.raises(BrokenPipeError):
        messages.send(b"you")
    assert messages.unsent == 6


def test_a_signal_in_a_send_that_cannot_tell_breaks_the_stream() -> None:
    sock: Any = ScriptedSocket(sizes=[3, KeyboardInterrupt()])
    messages = MessageSocket(sock)
    with pytest.raises(KeyboardInterrupt):
        messages.send(b"hello")
    with pytest.raises(ConnectionError, match="cut off an earlier send"):
        messages.send(b"hello")
    sock = ScriptedSocket(b"\0\0\0\5hello", [2, KeyboardInterrupt()])
    messages = MessageSocket(sock)
    with pytest.raises(KeyboardInterrupt):
        messages.recv()
    with pytest.raises(ConnectionError, match="bytes may be lost"):
        messages.recv()


@every_format
def test_a_cut_at_any_byte_is_told(format: Format[Any]) -> None:
    for message in samples(format)[:3]:
        wire = format.framer.encode(message)
        for cut in range(1, len(wire)):
            client, server = unix_pair()
            with MessageSocket(server, format.framer) as receiver:
                client.sendall(wire + wire[:cut])
                client.close()
                assert receiver.recv() == format.received(message)
                outcomes = []
                for _ in range(2):
                    try:
                        outcomes.append(receiver.recv())
                    except (EndOfStreamError, DecodeError) as error:
                        assert isinstance(format.framer, LineFramer | DelimiterFramer)
                        outcomes.append(error)
                    except IncompleteMessageError as error:
                        assert error.received == cut
                        outcomes.append(error)
                if isinstance(outcomes[0], IncompleteMessageError | DecodeError):
                    assert outcomes[1] == outcomes[0]
                else:
                    assert isinstance(outcomes[1], EndOfStreamError)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
@pytest.mark.skipif(sys.version_info < (3, 11), reason="may lose a message that was returned")
@pytest.mark.parametrize("timeout", [None, 10])
@pytest.mark.parametrize("size", [60, 40_000])
def test_signals_at_any_moment_lose_nothing(
    plain_pair: Pair, timeout: float | None, size: int
) -> None:
    """Interrupt both ways every few dozen microseconds; send only what has not begun again."""
    client, server = map(MessageSocket, plain_pair)
    client.sock.settimeout(None)
    server.sock.settimeout(None)
    messages = [b"%d," % i * (i % size) for i in range(2000 if size < 100 else 40)]

    class Interrupted(BaseException):
        pass

    armed = False
    interruptions = 0

    def interrupt(*_: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise Interrupted

    def echo() -> None:
        for message in server:
            server.send(message)
        server.end()

    received: list[bytes] = []
    echoing = threading.Thread(target=echo)
    previous = signal.signal(signal.SIGALRM, interrupt)
    echoing.start()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
        for message in messages:
            client.send(message)
            while len(received) < len(messages):
                try:
                    armed = True
                    reply = client.recv(timeout=timeout)
                    armed = False
                    received.append(reply)
                    break
                except Interrupted:
                    interruptions += 1
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        client.end()
        echoing.join()
    assert interruptions
    assert received == messages


# What bad peers get


def test_a_reset_connection_is_the_sockets_error(plain_pair: Pair) -> None:
    client, server = plain_pair
    receiver = MessageSocket(server)
    client.sendall(b"\0\0\0\5he")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    with pytest.raises(ConnectionResetError):
        receiver.recv()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        receiver.send(b"anybody?")


def test_a_socket_that_was_reset_can_still_be_wrapped(plain_pair: Pair) -> None:
    client, server = plain_pair
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    selectors_wait(server)
    with pytest.raises(ConnectionResetError):
        MessageSocket(server).recv()


def selectors_wait(sock: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        assert selector.select(10)


@pytest.mark.parametrize(
    ("wire", "protocol"),
    [(b"GET / HTTP/1.1\r\n\r\n", "HTTP"), (b"\x16\x03\x01\x02\x00\x01\x00", "TLS")],
)
def test_a_peer_of_another_protocol_is_told(pair: Pair, wire: bytes, protocol: str) -> None:
    client, server = pair
    client.sendall(LengthPrefixFramer().encode(b"first") + wire)
    receiver = MessageSocket(server)
    assert receiver.recv() == b"first"
    for _ in range(2):
        with pytest.raises(MessageTooLargeError, match=rf"peer speaking {protocol}\?") as caught:
            receiver.recv()
        assert caught.value.offset == 9
    assert receiver.pending()


def test_an_announced_length_costs_nothing_until_bytes_come(plain_pair: Pair) -> None:
    client, server = plain_pair
    receiver = MessageSocket(server, LengthPrefixFramer(max_size=1024 * MIB))
    client.sendall(struct.pack("!I", 1000 * MIB) + b"x" * 1000)
    gc.collect()
    tracemalloc.start()
    try:
        with pytest.raises(TimeoutError):
            receiver.recv(timeout=0.05)
        with pytest.raises(ValueError, match=f"at least {1000 * MIB} bytes.*not 10"):
            receiver.recv_into(bytearray(10))
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


def test_a_datagram_socket_is_refused() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        pytest.raises(ValueError, match="expected a stream socket"),
    ):
        MessageSocket(sock)


@pytest.mark.parametrize("family", ["AF_INET", "AF_UNIX"])
def test_an_unconnected_socket_is_refused(family: str) -> None:
    if not hasattr(socket, family):
        pytest.skip(f"no {family} here")
    with socket.socket(getattr(socket, family)) as sock:
        with pytest.raises(OSError, match=r"call connect\(\) first, or take one from accept\(\)"):
            MessageSocket(sock)
        if family == "AF_INET":
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            with pytest.raises(OSError, match=r"take one from accept\(\)") as caught:
                MessageSocket(sock)
            assert caught.value.errno == errno.ENOTCONN


def test_what_cannot_be_sent_leaves_the_stream_whole(pair: Pair) -> None:
    client, server = MessageSocket(pair[0], LengthPrefixFramer(max_size=4)), pair[1]
    with pytest.raises(EncodeError):
        client.send(b"too long")
    with pytest.raises(TypeError, match="encode the text first"):
        client.send("text")  # type: ignore[call-overload]
    client.send(b"fine")
    assert recv_msg(server) == b"fine"


# Time


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_a_timeout_is_a_number_of_seconds(pair: Pair, timeout: float) -> None:
    client, _ = map(MessageSocket, pair)
    for call in (
        lambda: client.recv(timeout=timeout),
        lambda: client.send(b"", timeout=timeout),
        lambda: client.flush(timeout=timeout),
    ):
        with pytest.raises(ValueError, match="a timeout of 0 seconds or more"):
            call()


@pytest.mark.parametrize("own", [None, 10, 0])
@pytest.mark.parametrize("timeout", [0, 0.01])
def test_a_receive_that_times_out_loses_nothing(
    pair: Pair, own: float | None, timeout: float
) -> None:
    client, server = pair
    server.settimeout(own)
    receiver = MessageSocket(server)
    for byte in (b"\0\0\0\5hello" * 2)[:13]:
        with pytest.raises(TimeoutError, match="timed out"):
            receiver.recv(timeout=timeout)
        client.sendall(bytes([byte]))
        if byte == ord("o"):
            assert receiver.recv(timeout=10) == b"hello"
    assert server.gettimeout() == own
    client.sendall(b"hello")
    assert receiver.recv(timeout=float("inf")) == b"hello"


def test_the_sockets_own_timeout_is_for_the_whole_call(pair: Pair) -> None:
    client, server = pair
    receiver = MessageSocket(server)
    server.settimeout(0.2)  # it may be changed at any time
    dripping = threading.Event()

    def drip() -> None:
        client.sendall(b"\0\1\0\0")
        while not dripping.wait(0.02):
            client.sendall(b"x")

    with ThreadPoolExecutor() as executor:
        dripper = executor.submit(drip)
        try:
            started = time.monotonic()
            with pytest.raises(TimeoutError):
                receiver.recv()
            assert 0.15 < time.monotonic() - started < 5  # 65,536 drips would take 20 minutes
            with pytest.raises(TimeoutError):
                receiver.recv(timeout=0.05)
        finally:
            dripping.set()
            dripper.result()
    assert server.gettimeout() == 0.2


@every_pair
@pytest.mark.parametrize("own", [None, 10])
def test_a_send_that_runs_out_of_time_owes_the_rest(
    make_pair: Callable[[], Pair], own: float | None
) -> None:
    client, server = small_buffers(make_pair())
    client.settimeout(own)
    sender, receiver = MessageSocket(client), MessageSocket(server)
    large = b"large" * 400_000
    with sender, receiver:
        sender.send(large, timeout=0.05)
        assert 0 < sender.unsent <= 4 + len(large)
        for timeout in (0, 0.01):
            with pytest.raises(TimeoutError, match="timed out"):
                sender.send(b"next", timeout=timeout)
            with pytest.raises(TimeoutError, match="timed out"):
                sender.flush(timeout=timeout)
        with ThreadPoolExecutor() as executor:
            receiving = executor.submit(lambda: [receiver.recv(), receiver.recv()])
            sender.send(b"next")
            assert receiving.result() == [large, b"next"]
        assert sender.unsent == 0
        assert client.gettimeout() == own


@every_pair
def test_a_receivers_timeout_does_not_disturb_a_sender(make_pair: Callable[[], Pair]) -> None:
    client, server = small_buffers(make_pair())
    client.settimeout(None)
    sender, receiver = MessageSocket(client), MessageSocket(server)
    large = bytes(3 * MIB)
    with sender, receiver, ThreadPoolExecutor() as executor:
        sending = executor.submit(sender.send, large)
        for _ in range(20):
            with pytest.raises(TimeoutError):
                sender.recv(timeout=0.005)
            assert client.gettimeout() is None
        assert not sending.done()
        assert receiver.recv() == large
        sending.result()
        assert sender.unsent == 0


def test_waiting_for_another_thread_counts(pair: Pair) -> None:
    client, server = map(MessageSocket, small_buffers(pair))
    with ThreadPoolExecutor() as executor:
        sending = executor.submit(client.send, bytes(3 * MIB))
        receiving = executor.submit(client.recv)
        wait_until(lambda: client._receiving.locked() and client._outgoing.is_busy)
        with pytest.raises(TimeoutError, match="another thread"):
            client.recv(timeout=0.01)
        with pytest.raises(TimeoutError, match="another thread"):
            client.send(b"", timeout=0.01)
        assert not client.pending()
        client.sock.setblocking(False)
        for call in (client.recv, client.flush):
            with pytest.raises(BlockingIOError):
                call()
        client.sock.settimeout(10)
        server.send(b"answer")
        assert receiving.result() == b"answer"
        assert len(server.recv()) == 3 * MIB
        sending.result()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_descriptors_above_1023_work() -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip("too few descriptors here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    fillers = [socket.socket() for _ in range(1030)]
    try:
        client, server = map(MessageSocket, unix_pair())
        with client, server:
            assert server.fileno() > 1023
            with pytest.raises(TimeoutError):
                server.recv(timeout=0.01)
            client.send(b"hello", timeout=1)
            assert server.recv(timeout=1) == b"hello"
    finally:
        for filler in fillers:
            filler.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Many messages


def test_send_many_takes_from_any_iterable(pair: Pair) -> None:
    client, server = map(MessageSocket, pair)
    client.send_many([])
    client.send_many(b"%d" % i for i in range(3000))
    client.send_many({b"last": 1})
    client.send_many(bytearray(each) for each in (b"a", b"b"))
    received = [server.recv() for _ in range(3003)]
    assert received == [*(b"%d" % i for i in range(3000)), b"last", b"a", b"b"]


@every_format
def test_send_many_sends_what_came_before_an_error(format: Format[Any]) -> None:
    class FailedError(Exception):
        pass

    messages = samples(format)

    def failing() -> Iterator[Any]:
        yield from messages
        raise FailedError

    client, server = (MessageSocket(sock, format.framer) for sock in unix_pair())
    with client, server:
        with pytest.raises(FailedError):
            client.send_many(failing())
        with pytest.raises(TypeError):
            client.send_many([*messages, object()])
        client.end()
        assert list(server) == list(map(format.received, messages)) * 2


def test_send_many_goes_on_with_the_same_iterator() -> None:
    client, server = map(MessageSocket, small_buffers(unix_pair()))
    messages = [b"%d," % i * (i % 50) for i in range(5000)]
    iterator = iter(messages)
    received: list[bytes] = []
    attempts = 0
    with client, server:
        while True:
            try:
                client.send_many(iterator, timeout=0)
            except TimeoutError:
                attempts += 1
                while server.pending() or not received:
                    received.append(server.recv())
                with suppress(TimeoutError):
                    received.append(server.recv(timeout=0))
            else:
                break
        assert attempts > 2
        with ThreadPoolExecutor() as executor:
            flushing = executor.submit(client.flush)
            received += [server.recv() for _ in messages[len(received) :]]
            flushing.result()
        assert received == messages


def test_send_many_owes_the_rest_whatever_is_raised() -> None:
    sock: Any = ScriptedSocket(sizes=[3, BlockingIOError()])
    messages = MessageSocket(sock, LengthPrefixFramer("!B", max_size=9))
    with pytest.raises(EncodeError):  # and not the BlockingIOError: it is owed
        messages.send_many([b"a", b"b", b"x" * 10])
    assert (sock.sent, messages.unsent) == (b"\1a\1", 1)
    messages.send(b"c")
    assert (sock.sent, messages.unsent) == (b"\1a\1b\1c", 0)


def test_a_large_message_among_many_is_not_copied() -> None:
    large = bytes(8 * MIB)
    client, server = map(MessageSocket, unix_pair())
    with client, server, ThreadPoolExecutor() as executor:
        receiving = executor.submit(
            lambda: [server.recv_into(bytearray(8 * MIB)) for _ in range(4)]
        )
        gc.collect()
        wait_until(server._receiving.locked)
        tracemalloc.start()
        try:
            client.send_many([b"a", large, b"c"])
            client.send(large)
            assert tracemalloc.get_traced_memory()[1] < 12 * MIB  # the receiver's buffers
        finally:
            tracemalloc.stop()
        assert receiving.result() == [1, 8 * MIB, 1, 8 * MIB]


def test_send_many_holds_little_at_any_time() -> None:
    client, server = unix_pair()
    with client, server:
        sender = MessageSocket(client)

        def drain() -> None:
            buffer = bytearray(MIB)
            while server.recv_into(buffer):
                pass

        draining = threading.Thread(target=drain)
        draining.start()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        try:
            sender.send_many(bytes(1024) for _ in range(60_000))
            peak = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
            sender.end()
            draining.join()
        assert peak - MIB < 4 * MIB


# Threads


@pytest.mark.parametrize("make_pair", [tcp_pair, unix_pair, tls_pair])
def test_messages_of_many_threads_do_not_mix(make_pair: Callable[[], Pair]) -> None:
    client, server = map(MessageSocket, small_buffers(make_pair()))
    threads, each = 8, 12

    def send(name: int) -> None:
        sizes = random.Random(name)
        for number in range(each):
            body = bytes([name]) * sizes.choice([0, 5, 3000, 40_000, 300_000])
            client.send(bytes([name, number]) + body, timeout=None if number % 2 else 30)

    received: dict[int, list[int]] = {name: [] for name in range(threads)}
    with client, server, ThreadPoolExecutor(threads) as executor:
        sending = [executor.submit(send, name) for name in range(threads)]
        for _ in range(threads * each):
            message = server.recv()
            name, number = message[:2]
            assert message[2:] == bytes([name]) * (len(message) - 2)
            received[name].append(number)
        for done in sending:
            done.result()
    assert received == {name: list(range(each)) for name in range(threads)}


@pytest.mark.parametrize("make_pair", [tcp_pair, tls_pair])
def test_each_message_goes_to_one_of_many_receivers(make_pair: Callable[[], Pair]) -> None:
    client, server = map(MessageSocket, make_pair())
    messages = [b"%d," % i * (i % 40 if i % 500 else 30_000) for i in range(10_000)]

    def receive(kind: int) -> list[bytes]:
        buffer = bytearray(MIB)
        received = []
        try:
            while True:
                if kind == 0:
                    received.append(server.recv())
                elif kind == 1:
                    received.append(server.recv(timeout=20))
                else:
                    received.append(bytes(buffer[: server.recv_into(buffer)]))
        except EndOfStreamError:
            return received

    with client, server, ThreadPoolExecutor() as executor:
        receiving = [executor.submit(receive, kind) for kind in (0, 1, 0, 1, 2)]
        client.send_many(messages)
        client.sock.shutdown(socket.SHUT_WR)
        everything = list(itertools.chain(*(each.result() for each in receiving)))
    assert sorted(everything) == sorted(messages)


@pytest.mark.parametrize("make_pair", [tcp_pair, tls_pair, wrapped_pair])
def test_both_directions_can_be_full(make_pair: Callable[[], Pair]) -> None:
    sides = [MessageSocket(sock) for sock in small_buffers(make_pair())]
    count = 10_000
    messages = [b"%d;" % i * (i % 100) for i in range(count)]

    def send(side: MessageSocket[bytes]) -> None:
        for message in messages:
            while True:
                try:
                    side.send(message, timeout=0.01)
                except TimeoutError:
                    continue
                break
        while side.unsent:
            with suppress(TimeoutError):
                side.flush(timeout=0.01)

    def receive(side: MessageSocket[bytes]) -> list[bytes]:
        received: list[bytes] = []
        while len(received) < count:
            with suppress(TimeoutError):
                received.append(side.recv(timeout=0.01))
        return received

    with sides[0], sides[1], ThreadPoolExecutor() as executor:
        sending = [executor.submit(send, side) for side in sides]
        receiving = [executor.submit(receive, side) for side in sides]
        for sent in sending:
            sent.result(timeout=60)
        assert [each.result(timeout=60) for each in receiving] == [messages, messages]


# Selectors


@pytest.mark.parametrize("make_pair", [tcp_pair, unix_pair, wrapped_pair, tls_pair])
def test_non_blocking_sockets_work_with_selectors(make_pair: Callable[[], Pair]) -> None:
    pair = small_buffers(make_pair())
    messages = [b"%d;" % i * (i % 300) for i in range(3000)]
    with selectors.DefaultSelector() as selector:
        outgoing: dict[MessageSocket[bytes], Iterator[bytes]] = {}
        received: dict[MessageSocket[bytes], list[bytes]] = {}
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        for sock in pair:
            sock.setblocking(False)
            side = MessageSocket(sock)
            outgoing[side], received[side] = iter(messages), []
            selector.register(side, both, side)
        while selector.get_map():
            events = selector.select(10)
            assert events, {side: len(got) for side, got in received.items()}
            for key, event in events:
                side = key.data
                if event & selectors.EVENT_WRITE:
                    try:
                        side.send_many(outgoing[side])
                        side.flush()
                        selector.modify(side, selectors.EVENT_READ, side)
                    except TRANSIENT:
                        pass
                if event & selectors.EVENT_READ:
                    with suppress(*TRANSIENT):
                        received[side].append(side.recv())
                    while side.pending():
                        received[side].append(side.recv())
            for key in list(selector.get_map().values()):
                if len(received[key.data]) == len(messages) and key.events == 1:
                    selector.unregister(key.fileobj)
        assert all(each == messages for each in received.values())
    for sock in pair:
        sock.close()


@every_pair
def test_pending_tells_what_select_does_not_see(make_pair: Callable[[], Pair]) -> None:
    client, server = make_pair()
    sender, receiver = MessageSocket(client), MessageSocket(server)
    with sender, receiver:
        assert not receiver.pending()
        sender.send_many([b"a", b"b"])
        client.sendall(b"\0\0\0\2c")
        assert receiver.recv() == b"a"
        assert receiver.pending()
        assert receiver.recv() == b"b"
        assert not receiver.pending()
        client.sendall(b"c")
        client.shutdown(socket.SHUT_WR)
        assert receiver.recv() == b"cc"
        assert not receiver.pending()
        with pytest.raises(EndOfStreamError):
            receiver.recv()
        assert receiver.pending()


def test_pending_sees_what_tls_has_decrypted() -> None:
    client, server = tls_pair()
    sender, receiver = MessageSocket(client), MessageSocket(server)
    with sender, receiver:
        # One record, of which one call of recv takes less than all.
        client.sendall(b"".join(map(LengthPrefixFramer().encode, [b"x" * 1000] * 10)))
        decoder = receiver._decoder
        assert receiver._transport.receive(decoder, 500, receiver._deadline(10)) == 500
        assert isinstance(server, ssl.SSLSocket)
        assert server.pending()
        assert receiver.pending()
        for _ in range(10):
            assert receiver.pending()
            assert receiver.recv() == b"x" * 1000
        assert not receiver.pending()


def test_non_blocking_errors_are_those_of_the_socket() -> None:
    for make_pair, read_error, write_error in (
        (tcp_pair, BlockingIOError, BlockingIOError),
        (tls_pair, ssl.SSLWantReadError, ssl.SSLWantWriteError),
    ):
        client, server = make_pair()
        client.setblocking(False)
        side = MessageSocket(client)
        with side, server:
            with pytest.raises(read_error):
                side.recv()
            with pytest.raises(write_error):
                side.send_many(itertools.repeat(bytes(MIB)))
            assert side.unsent
            with pytest.raises(TimeoutError):
                side.recv(timeout=0)
            receiver = MessageSocket(server)
            client.settimeout(10)
            with ThreadPoolExecutor() as executor:
                flushing = executor.submit(side.flush)
                assert receiver.recv() == bytes(MIB)
                receiving = executor.submit(list, receiver)
                flushing.result()
                client.shutdown(socket.SHUT_WR)
                assert all(message == bytes(MIB) for message in receiving.result())


# recv_into and recv_exactly


@pytest.mark.parametrize("size", [0, 5, 5000, 65_535, 65_536, 100_000, 3 * MIB])
def test_a_payload_is_received_into_a_buffer(pair: Pair, size: int) -> None:
    client, server = map(MessageSocket, pair)
    messages = [bytes([65 + i]) * size for i in range(3)]
    buffer = bytearray(b"." * (size + 10))
    with ThreadPoolExecutor() as executor:
        sending = executor.submit(client.send_many, [*messages, b"end"])
        for message in messages:
            assert server.recv_into(memoryview(buffer)) == size
            assert buffer[:size] == message
        assert buffer[size + 1 :] == b"." * 9 or size < 3
        assert server.recv() == b"end"
        sending.result()


@pytest.mark.parametrize("size", [6, 5000, 100_000, MIB])
def test_a_buffer_that_is_too_small_loses_nothing(pair: Pair, size: int) -> None:
    client, server = map(MessageSocket, pair)
    messages = [bytes([65 + i]) * size for i in range(3)]
    with ThreadPoolExecutor() as executor:
        sending = executor.submit(client.send_many, messages)
        for message in messages:
            for smaller in (0, size - 1):
                with pytest.raises(ValueError, match=rf"at least {size} bytes, .*, not {smaller}$"):
                    server.recv_into(bytearray(smaller))
            buffer = bytearray(size)
            assert server.recv_into(buffer) == size
            assert buffer == message
        sending.result()


@pytest.mark.parametrize("limit", [1000, 70_000])
def test_interruptions_of_recv_into_lose_nothing(limit: int) -> None:
    client, server = unix_pair()
    receiver = MessageSocket(MisbehavingSocket.around(server, *INTERRUPTIONS, limit=limit))
    messages = [bytes([65 + i]) * size for i, size in enumerate([300_000, 7, 200_000])]
    with MessageSocket(client) as sender, receiver, ThreadPoolExecutor() as executor:
        sending = executor.submit(sender.send_many, messages)
        buffer = bytearray(300_000)
        for message in messages:
            for attempt in itertools.count():
                try:
                    size = receiver.recv_into(bytearray(300_000) if attempt % 5 else buffer)
                except TRANSIENT:
                    continue
                break
            assert size == len(message)
        sending.result()
        sender.send(b"done")
        assert retried(receiver.recv) == b"done"


def test_a_timeout_in_recv_into_leaves_the_message_for_recv(pair: Pair) -> None:
    client, server = pair
    receiver = MessageSocket(server)
    wire = LengthPrefixFramer().encode(bytes(range(250)) * 1000)
    buffer = bytearray(250_000)
    for start in range(0, 200_000, 10_000):
        client.sendall(wire[start : start + 10_000])
        with pytest.raises(TimeoutError):
            receiver.recv_into(buffer, timeout=0.001)
    client.sendall(wire[200_000:] + b"\0\0\0\2ok")
    assert receiver.recv(timeout=10) == bytes(range(250)) * 1000
    assert receiver.recv() == b"ok"


def test_a_cut_in_recv_into_is_told(pair: Pair) -> None:
    client, server = pair
    client.sendall(struct.pack("!I", 100_000) + bytes(70_000))
    client.shutdown(socket.SHUT_WR)
    receiver = MessageSocket(server)
    for _ in range(2):
        with pytest.raises(IncompleteMessageError) as caught:
            receiver.recv_into(bytearray(100_000))
        assert (caught.value.received, caught.value.expected) == (70_004, 100_004)


def test_recv_into_needs_lengths_and_a_buffer(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"\0\0\0\0")
    with pytest.raises(TypeError, match="needs a LengthPrefixFramer, not LineFramer"):
        MessageSocket(server, LineFramer()).recv_into(bytearray(5))
    with pytest.raises(TypeError, match="can be written to, not bytes"):
        MessageSocket(server).recv_into(b"12345")


@pytest.mark.parametrize("limit", [1, 7, 100_000])
def test_exact_bytes_follow_messages(limit: int) -> None:
    client, server = unix_pair()
    receiver = MessageSocket(
        MisbehavingSocket.around(server, *INTERRUPTIONS, limit=limit), LineFramer()
    )
    bodies = [b"", b"a\nb\r\n", bytes(range(256)) * 3, b"x" * 30_000]
    wire = b"".join(b"%d\n%s" % (len(body), body) for body in bodies * 3)

    def receive() -> bytes:
        size = int(retried(receiver.recv))
        body: bytes = retried(lambda: receiver.recv_exactly(size))
        return body

    with client, receiver, ThreadPoolExecutor() as executor:
        sending = executor.submit(client.sendall, wire)
        assert [receive() for _ in bodies * 3] == bodies * 3
        sending.result()


def retried(receive: Callable[[], Any]) -> Any:
    while True:
        with suppress(*TRANSIENT):
            return receive()


def test_exact_bytes_cut_short_stay_for_the_next_call(pair: Pair) -> None:
    client, server = pair
    receiver = MessageSocket(server)
    client.sendall(b"\0\0\0")
    with pytest.raises(TimeoutError):
        receiver.recv_exactly(10, timeout=0.01)
    client.sendall(b"\2hi" + b"1234567")
    assert receiver.recv() == b"hi"
    assert receiver.recv_exactly(3) == b"123"
    with pytest.raises(TimeoutError):
        receiver.recv_exactly(10, timeout=0.01)
    assert receiver.recv_exactly(1) == b"4"
    assert receiver.recv_exactly(3) == b"567"
    client.shutdown(socket.SHUT_WR)
    assert receiver.recv_exactly(0) == b""
    with pytest.raises(EndOfStreamError):
        receiver.recv_exactly(1)
    with pytest.raises(EndOfStreamError):
        receiver.recv()
    assert list(receiver) == []
    with pytest.raises(ValueError, match="0 or more"):
        receiver.recv_exactly(-1)


def test_exact_bytes_cut_by_the_end_are_told(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"12345")
    client.shutdown(socket.SHUT_WR)
    receiver = MessageSocket(server)
    with pytest.raises(IncompleteMessageError) as caught:
        receiver.recv_exactly(8)
    assert (caught.value.received, caught.value.expected) == (5, 8)
    assert receiver.recv_exactly(5) == b"12345"


@given(
    pieces=st.lists(
        st.one_of(
            st.binary(max_size=700).map(lambda payload: ("message", payload)),
            st.binary(max_size=700).map(lambda body: ("bytes", body)),
            st.binary(max_size=700).map(lambda payload: ("into", payload)),
            st.binary(max_size=700).map(lambda payload: ("switch", payload)),
        ),
        max_size=40,
    )
)
def test_every_way_to_receive_can_follow_any_other(pieces: list[tuple[str, bytes]]) -> None:
    framers = LengthPrefixFramer("!H"), LengthPrefixFramer("<I")
    wire = b""
    for kind, data in pieces:
        wire += data if kind == "bytes" else framers[0].encode(data)
        if kind == "switch":
            framers = framers[1], framers[0]
    client, server = unix_pair()
    receiver = MessageSocket(server, LengthPrefixFramer("!H"))
    other: LengthPrefixFramer = LengthPrefixFramer("<I")
    with client:
        client.sendall(wire)
        client.shutdown(socket.SHUT_WR)
        for kind, data in pieces:
            if kind == "bytes":
                assert receiver.recv_exactly(len(data)) == data
            elif kind == "into":
                buffer = bytearray(700)
                assert buffer[: receiver.recv_into(buffer)] == data
            else:
                assert receiver.recv() == data
            if kind == "switch":
                receiver, other = receiver.switch(other), receiver.framer  # type: ignore[assignment]
        assert list(receiver) == []
        receiver.close()


# Switching, detaching, ending, closing


def test_a_switch_goes_on_with_the_same_connection(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"\0\0\0\5hello" + b"line\n" * 2 + b"\0\1")
    old = MessageSocket(server)
    assert old.recv() == b"hello"
    lines = old.switch(LineFramer())
    assert (lines.recv(), lines.recv()) == ("line", "line")
    records = lines.switch(StructFramer("!H"))
    assert records.recv() == (1,)
    records.send((2,))
    assert client.recv(10) == b"\0\2"
    for finished in (old, lines):
        for call in (
            lambda finished=finished: finished.send(b""),
            lambda finished=finished: finished.recv(),
            lambda finished=finished: list(finished),
            lambda finished=finished: finished.end(),
            lambda finished=finished: finished.detach(),
            lambda finished=finished: finished.send_many([]),
        ):
            with pytest.raises(io.UnsupportedOperation, match=r"finished by switch\(\)"):
                call()
        finished.close()  # nothing: it is not its connection any more
    records.send((3,))
    assert client.recv(10) == b"\0\3"


def test_a_switch_keeps_what_is_owed() -> None:
    sock: Any = ScriptedSocket(sizes=[3, BlockingIOError()])
    old = MessageSocket(sock)
    old.send(b"hello")
    new = old.switch(LineFramer())
    assert new.unsent == 6
    new.send("line")
    assert sock.sent == b"\0\0\0\5helloline\n"


def test_a_switch_after_bad_bytes_gives_them_to_the_other(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"\0\0\0\2hiGET / HTTP/1.1\r\n")
    receiver = MessageSocket(server)
    assert receiver.recv() == b"hi"
    with pytest.raises(DecodeError):
        receiver.recv()
    assert receiver.switch(LineFramer()).recv() == "GET / HTTP/1.1"


@pytest.mark.parametrize("own", [None, 5, 0])
def test_detach_gives_the_socket_back_as_it_was(pair: Pair, own: float | None) -> None:
    client, server = pair
    client.sendall(b"\0\0\0\2hi\0\0\0\5he")
    server.settimeout(own)
    receiver = MessageSocket(server)
    assert receiver.recv(timeout=10) == b"hi"
    sock, rest = receiver.detach()
    assert (sock, rest) == (server, b"\0\0\0\5he")
    assert sock.gettimeout() == own
    sock.settimeout(10)
    client.sendall(b"llo")
    assert sock.recv(10) == b"llo"
    sock.sendall(b"plain")
    assert client.recv(10) == b"plain"
    with pytest.raises(io.UnsupportedOperation, match=r"finished by detach\(\)"):
        receiver.recv()
    receiver.close()
    assert sock.fileno() != -1


def test_what_is_owed_goes_out_before_detach_end_and_close() -> None:
    for finish in ("detach", "close", "end"):
        client, server = small_buffers(unix_pair())
        client.setblocking(False)
        sender, receiver = MessageSocket(client), MessageSocket(server)
        with receiver, ThreadPoolExecutor() as executor:
            sender.send(bytes(MIB))
            assert sender.unsent
            if finish == "detach":
                with pytest.raises(BlockingIOError):
                    sender.detach()
                assert sender.unsent  # nothing has changed
            client.settimeout(10)
            receiving = executor.submit(receiver.recv)
            getattr(sender, finish)()
            assert receiving.result() == bytes(MIB)
            client.close()


def test_close_says_what_it_could_not_send() -> None:
    client, server = small_buffers(unix_pair())
    client.settimeout(0.05)
    sender = MessageSocket(client)
    with server:
        sender.send(bytes(MIB))
        with pytest.raises(TimeoutError):
            sender.close()
        assert client.fileno() == -1
        sender.close()
        with pytest.raises(OSError, match="this MessageSocket is closed") as caught:
            sender.send(b"")
        assert caught.value.errno == errno.EBADF


def test_leaving_by_an_exception_does_not_wait() -> None:
    client, server = small_buffers(unix_pair())
    client.settimeout(None)
    with server:
        with pytest.raises(ZeroDivisionError), MessageSocket(client) as sender:
            sender.send(bytes(MIB), timeout=0.01)
            assert sender.unsent
            raise ZeroDivisionError
        assert client.fileno() == -1


@every_pair
@pytest.mark.parametrize("own", [None, 10])
@pytest.mark.parametrize("timeout", [None, 10])
def test_close_wakes_who_waits(
    make_pair: Callable[[], Pair], own: float | None, timeout: float | None
) -> None:
    client, server = make_pair()
    client.settimeout(own)
    waiting = MessageSocket(client)
    with server, ThreadPoolExecutor() as executor:
        receiving = executor.submit(waiting.recv, timeout=timeout)
        iterating = executor.submit(list, waiting)
        wait_until(waiting._receiving.locked)
        time.sleep(0.01)  # most likely, it is in the system call then
        waiting.close()
        for each in (receiving, iterating):
            error = each.exception(timeout=5)
            assert isinstance(error, OSError)
            assert error.errno == errno.EBADF
        assert server.recv(10) == b""
    with pytest.raises(OSError, match="closed"):
        waiting.recv()
    assert waiting.pending()
    assert waiting.fileno() == -1


def test_leaving_by_an_exception_wakes_who_sends() -> None:
    client, server = small_buffers(unix_pair())
    client.settimeout(None)
    with server, ThreadPoolExecutor() as executor:
        with pytest.raises(ZeroDivisionError), MessageSocket(client) as sender:
            sending = executor.submit(sender.send, bytes(MIB))
            wait_until(lambda: sender._outgoing.is_busy)
            time.sleep(0.01)
            raise ZeroDivisionError
        sending.result(timeout=5)  # it had begun


@every_pair
def test_end_is_for_one_direction(make_pair: Callable[[], Pair]) -> None:
    client, server = make_pair()
    one, other = MessageSocket(client), MessageSocket(server)
    with one, other:
        one.send(b"question")
        if make_pair is tls_pair:
            with pytest.raises(io.UnsupportedOperation, match="TLS cannot end one direction"):
                one.end()
        else:
            one.end()
            assert list(other) == [b"question"]
            with pytest.raises(BrokenPipeError):
                one.send(b"more")
        other.send(b"answer")
        assert one.recv() == b"answer"


def test_close_tells_a_tls_peer_that_it_is_the_end() -> None:
    client_context, server_context = tls_contexts()
    for is_cut in (False, True):
        client, server = tcp_pair()
        with ThreadPoolExecutor() as executor:
            accepting = executor.submit(
                server_context.wrap_socket,
                server,
                server_side=True,
                suppress_ragged_eofs=False,
            )
            secure = client_context.wrap_socket(client, server_hostname="localhost")
        receiver, sender = MessageSocket(accepting.result()), MessageSocket(secure)
        with receiver:
            sender.send(b"last")
            receiver.send(b"")
            assert sender.recv() == b""  # and TLS's own messages before it
            if is_cut:
                socket.socket.shutdown(secure, socket.SHUT_RDWR)
                secure.close()
            else:
                sender.close()
            assert receiver.recv() == b"last"
            with pytest.raises(ssl.SSLError if is_cut else EndOfStreamError):
                receiver.recv()


# Taking over, and the small things


def test_a_part_that_recv_msg_received_is_taken_over(pair: Pair) -> None:
    client, server = pair
    server.settimeout(0.01)
    client.sendall(b"\0\0\0\2hi\0\0\0\5he")
    assert recv_msg(server) == b"hi"
    with pytest.raises(TimeoutError):
        recv_msg(server)
    with pytest.raises(ValueError, match="received in part"):
        MessageSocket(server, LineFramer())
    receiver = MessageSocket(server)
    client.sendall(b"llo\0\0\0\3you")
    assert receiver.recv(timeout=10) == b"hello"
    assert receiver.recv(timeout=10) == b"you"
    client.sendall(b"GET ")
    with pytest.raises(MessageTooLargeError) as caught:
        receiver.recv(timeout=10)
    assert caught.value.offset == 22  # since recv_msg began


def test_a_stream_that_send_msg_broke_is_refused() -> None:
    client, server = small_buffers(unix_pair())
    client.settimeout(0.01)
    with client, server:
        with pytest.raises(TimeoutError):
            send_msg(client, bytes(MIB))
        with pytest.raises(ConnectionError, match="cut off in the middle of a message"):
            MessageSocket(client)


def test_what_it_is_made_of_can_be_seen(pair: Pair) -> None:
    _, server = pair
    side = MessageSocket(server, LineFramer())
    assert side.sock is server
    assert side.fileno() == server.fileno()
    assert side.framer == LineFramer()
    assert repr(side).startswith("<MessageSocket LineFramer(")
    side.close()
    assert "finished by close()" in repr(side)


def test_connect_connects() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with connect(listener.getsockname(), LineFramer(), timeout=7) as client:
            accepted, _ = listener.accept()
            with accepted:
                assert client.sock.gettimeout() == 7
                assert client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                client.send("hello")
                assert accepted.recv(10) == b"hello\n"
        with connect(listener.getsockname()) as plain:
            assert plain.sock.gettimeout() is None
            assert plain.framer == LengthPrefixFramer()
        address = listener.getsockname()
    with pytest.raises(ConnectionRefusedError):
        connect(address)


def test_idle_connections_hold_no_buffers() -> None:
    for sizes in ([100], [60_000], [10] * 100, [300_000]):
        client, server = unix_pair()
        with client, server:
            sender, receiver = MessageSocket(client), MessageSocket(server)
            with ThreadPoolExecutor() as executor:
                sending = executor.submit(sender.send_many, [bytes(size) for size in sizes])
                for _ in sizes:
                    receiver.recv()
                sending.result()
            with pytest.raises(TimeoutError):
                receiver.recv(timeout=0)
            assert size_of_all(receiver._decoder, receiver._outgoing) < 2000


def size_of_all(*roots: object) -> int:
    """Return the bytes in all objects of this package's, and in builtin ones, below *roots*."""
    seen: dict[int, object] = {}
    waiting = list(roots)
    while waiting:
        each = waiting.pop()
        ours = type(each).__module__ in {"builtins", "_io", "_thread"} or type(
            each
        ).__module__.startswith(f"{framing.__name__}.")
        if id(each) in seen or not ours or isinstance(each, type | framing.Framer):
            continue
        if callable(each):
            continue
        seen[id(each)] = each
        waiting += gc.get_referents(each)
        if isinstance(each, io.BytesIO):
            waiting.append(each.getvalue())
    return sum(map(sys.getsizeof, seen.values()))


@pytest.mark.parametrize("feature", ["_HAS_POLL", "_HAS_SENDMSG", "_DONTWAIT"])
@pytest.mark.parametrize("make_pair", [tcp_pair, tls_pair])
def test_it_works_without(
    feature: str, make_pair: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, feature, None)
    client, server = map(MessageSocket, small_buffers(make_pair()))
    client.sock.settimeout(None)
    messages: list[Buffer] = [b"", b"hello", bytes(300_000), bytearray(300_000)]
    with client, server:
        with pytest.raises(TimeoutError):
            server.recv(timeout=0.01)
        client.send(bytes(MIB), timeout=0.01)
        assert client.unsent
        with ThreadPoolExecutor() as executor:
            for timeout in (None, 10):
                sending = executor.submit(client.send_many, messages, timeout=timeout)
                if timeout is None:
                    assert server.recv() == bytes(MIB)
                assert [server.recv(timeout=timeout) for _ in messages] == messages
                sending.result()
        assert client.sock.gettimeout() is None
        if feature == "_DONTWAIT":
            closing = threading.Timer(0.01, server.close)
            closing.start()
            with pytest.raises(OSError, match="closed"):
                server.recv()
            closing.join()


_PEAK = """
import resource, socket, sys, threading
import framing

size = 256 * 1024 * 1024
framer = framing.LengthPrefixFramer(max_size=size)
receive = sys.argv[1]
here, there = socket.socketpair()

def send():
    here.sendall(size.to_bytes(4, "big"))
    chunk = bytes(1024 * 1024)
    for _ in range(256):
        here.sendall(chunk)

threading.Thread(target=send).start()
def peak():
    try:  # Linux counts the process that started this one into ru_maxrss
        status = open("/proc/self/status").read()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024)

before = peak()
if receive == "recv":
    message = framing.MessageSocket(there, framer).recv()
else:
    message = framing.recv_msg(there, framer=framer)
assert len(message) == size
print((peak() - before) / size)
"""


@pytest.mark.parametrize("receive", ["recv", "recv_msg"])
def test_a_large_message_costs_its_size_once(receive: str) -> None:
    pytest.importorskip("resource")
    script = _PEAK.replace("framing", framing.__name__)
    result = subprocess.run(
        [sys.executable, "-c", script, receive],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert result.returncode == 0, result.stderr
    assert 1 <= float(result.stdout) <= 1.15

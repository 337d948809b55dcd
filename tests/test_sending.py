"""What ``MessageSocket`` sends, and what it keeps to send later."""

from __future__ import annotations

import errno
import gc
import io
import random
import ssl
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from framing import (
    EncodeError,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    recv_msg,
)

from .fakes import MisbehavingSocket, ScriptedSends
from .netstring import NetstringFramer
from .pairs import (
    MIB,
    Pair,
    Task,
    retried,
    small_buffers,
    tcp_pair,
    tls_pair,
    unix_pair,
)
from .strategies import Format, every_format, samples


def scripted(*sizes: int | BaseException) -> Pair:
    """Return a non-blocking socket whose sends are scripted, and its peer."""
    client, server = unix_pair()
    client.setblocking(False)
    server.setblocking(False)
    return ScriptedSends.around(client, *sizes), server


@every_format
def test_sends_cut_short_at_any_byte_lose_and_double_nothing(format: Format[Any]) -> None:
    client, server = unix_pair()
    interruptions = TimeoutError, BlockingIOError, ssl.SSLWantWriteError, InterruptedError
    sender = MessageSocket(MisbehavingSocket.around(client, *interruptions), format.framer)
    messages = samples(format)
    with MessageSocket(server, format.framer) as receiver:
        receiving = Task(list, receiver)
        with sender:
            for message in messages:
                retried(partial(sender.send, message))
            retried(sender.flush)
            assert sender.unsent == 0
        assert receiving.result() == list(map(format.received, messages))


def test_send_raises_only_if_nothing_has_gone_out() -> None:
    client, server = scripted(BlockingIOError(), 3, BlockingIOError(), BlockingIOError(), 2)
    messages = MessageSocket(client)
    with server, messages:
        with pytest.raises(BlockingIOError):
            messages.send(b"hello")
        assert messages.unsent == 0
        messages.send(b"hello")
        assert (server.recv(100), messages.unsent) == (b"\0\0\0", 6)
        with pytest.raises(BlockingIOError):
            messages.send(b"not yet")
        assert messages.unsent == 6
        messages.send(b"you")
        assert (server.recv(100), messages.unsent) == (b"\5hello\0\0\0\3you", 0)


def test_the_unsent_rest_does_not_change_with_the_callers_buffer() -> None:
    client, server = scripted(5, BlockingIOError())
    buffer = bytearray(b"hello" * 10_000)
    with server, MessageSocket(client) as messages:
        messages.send(buffer)
        assert messages.unsent == 50_004 - 5
        buffer[:] = b"x" * 50_000
        buffer.clear()  # nothing holds on to it
        messages.flush()
        server.setblocking(True)
        assert recv_msg(server) == b"hello" * 10_000


def test_small_messages_that_the_system_takes_in_part_are_sent_once() -> None:
    client, server = small_buffers(tcp_pair())
    messages = [b"%d:" % number + b"x" * 3000 for number in range(150)]

    def send() -> None:
        with MessageSocket(client) as sender:
            for message in messages:
                sender.send(message)

    sending = Task(send)
    with MessageSocket(server) as receiver:
        assert list(receiver) == messages
    sending.result()


def test_an_error_of_the_connection_is_raised_by_the_next_send() -> None:
    client, server = scripted(3, ConnectionResetError(), BrokenPipeError())
    messages = MessageSocket(client)
    with server, client:
        messages.send(b"hello")  # it has begun
        assert messages.unsent == 6
        with pytest.raises(ConnectionError):
            messages.send(b"you")
        assert messages.unsent == 6


def test_a_message_that_cannot_be_sent_leaves_the_stream_whole(pair: Pair) -> None:
    client, server = MessageSocket(pair[0], LengthPrefixFramer(max_size=4)), pair[1]
    with pytest.raises(EncodeError):
        client.send(b"too long")
    with pytest.raises(TypeError, match="encode"):
        client.send("text")  # type: ignore[call-overload]
    client.send(b"fine")
    assert recv_msg(server) == b"fine"


# send_many


def test_send_many_takes_any_iterable(pair: Pair) -> None:
    client, server = map(MessageSocket, pair)
    client.send_many([])
    client.send_many(b"%d" % i for i in range(3000))
    client.send_many({b"last": 1})
    client.send_many(bytearray(each) for each in (b"a", b"b"))
    received = [server.recv() for _ in range(3003)]
    assert received == [*(b"%d" % i for i in range(3000)), b"last", b"a", b"b"]


@pytest.mark.parametrize("framer", [LengthPrefixFramer(), NetstringFramer()], ids=repr)
def test_send_many_copies_buffers_that_are_used_again(framer: Any) -> None:
    def chunks() -> Iterator[bytearray]:
        buffer = bytearray(8)
        source = io.BytesIO(b"aaaaaaaabbbbbbbbcccccccc")
        while source.readinto(buffer):
            yield buffer

    client, server = (MessageSocket(sock, framer) for sock in unix_pair())
    with client, server:
        client.send_many(chunks())
        client.end()
        assert list(server) == [b"a" * 8, b"b" * 8, b"c" * 8]


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


@pytest.mark.parametrize("sizes", [(1, 511, 512, 513), (16_384, 16_385, 2), (0, 40_000, 65_000)])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_messages_sent_together_are_those_sent_alone(sizes: tuple[int, ...], kind: Any) -> None:
    messages = [bytes([i % 250]) * size for i, size in enumerate([*sizes, *range(50), *sizes] * 3)]
    framer = LengthPrefixFramer("!H", max_size=65_000)
    client, server = unix_pair()
    with MessageSocket(client, framer) as sender, server, server.makefile("rb") as file:
        reading = Task(file.read)
        sender.send_many(map(kind, messages))
        with pytest.raises(EncodeError, match="at most 65000 bytes"):
            sender.send_many([b"good", bytes(65_001), b"never looked at"])
        sender.end()
        assert reading.result() == b"".join(map(framer.encode, [*messages, b"good"]))


def test_send_many_continues_with_the_same_iterator() -> None:
    client, server = map(MessageSocket, small_buffers(unix_pair()))
    messages = [b"%d," % i * (i % 50) for i in range(5000)]
    iterator = iter(messages)
    received: list[bytes] = []
    attempts = 0
    with client, server:
        while True:
            try:
                client.send_many(iterator, timeout=0)
                break
            except TimeoutError:
                attempts += 1
                while server.pending() or not received:
                    received.append(server.recv())
                with suppress(TimeoutError):
                    received.append(server.recv(timeout=0))
        assert attempts > 2
        flushing = Task(client.flush)
        received += [server.recv() for _ in messages[len(received) :]]
        flushing.result()
        assert received == messages


def test_send_many_keeps_the_rest_whatever_is_raised() -> None:
    client, server = scripted(3, BlockingIOError())
    messages = MessageSocket(client, LengthPrefixFramer("!B", max_size=9))
    with server, messages:
        with pytest.raises(EncodeError):  # and not the BlockingIOError: the rest is kept
            messages.send_many([b"a", b"b", b"x" * 10])
        assert (server.recv(100), messages.unsent) == (b"\1a\1", 1)
        messages.send(b"c")
        assert (server.recv(100), messages.unsent) == (b"b\1c", 0)


def test_a_large_message_among_many_is_not_copied() -> None:
    large = bytes(8 * MIB)
    client, server = map(MessageSocket, unix_pair())
    with client, server:
        receiving = Task(lambda: [server.recv_into(bytearray(8 * MIB)) for _ in range(4)])
        receiving.wait_until_it_waits()
        gc.collect()
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
    buffer = bytearray(MIB)

    def drain() -> None:
        while server.recv_into(buffer):
            pass

    with client, server:
        sender = MessageSocket(client)
        draining = Task(drain)
        gc.collect()
        tracemalloc.start()
        try:
            sender.send_many(bytes(1024) for _ in range(20_000))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            sender.end()
            draining.result()
        assert peak < 4 * MIB


@pytest.mark.parametrize(
    "finish", [MessageSocket.close, MessageSocket.detach, lambda side: side.switch(LineFramer())]
)
def test_the_iterable_may_finish_the_connection(
    finish: Callable[[MessageSocket[bytes]], object],
) -> None:
    def large_messages() -> Iterator[bytes]:
        yield bytes(100_000)
        finish(messages)
        yield bytes(100_000)
        raise AssertionError("nobody can send this")

    client, server = unix_pair()
    with client, server:
        messages = MessageSocket(client)
        receiving = Task(lambda: recv_msg(server))
        with pytest.raises(OSError, match=r"closed|detach|switch"):
            messages.send_many(large_messages())
        assert receiving.result() == bytes(100_000)


def test_send_many_keeps_to_its_timeout_even_if_there_is_room() -> None:
    def messages() -> Iterator[bytes]:
        started = time.monotonic()
        while time.monotonic() < started + 1:
            yield bytes(70_000)

    client, server = unix_pair()
    client.settimeout(None)
    with server, server.makefile("rb") as file, MessageSocket(client) as sender:
        reading = Task(file.read)
        with pytest.raises(TimeoutError):
            sender.send_many(messages(), timeout=0.02)
        sender.flush()
        assert sender.unsent == 0
        sender.end()
        assert len(reading.result()) % 70_004 == 0


# The unsent rest at the end


@pytest.mark.parametrize("finish", ["detach", "close", "end"])
def test_the_unsent_rest_goes_out_before_detach_end_and_close(finish: str) -> None:
    client, server = small_buffers(unix_pair())
    client.setblocking(False)
    sender, receiver = MessageSocket(client), MessageSocket(server)
    with receiver:
        sender.send(bytes(MIB))
        assert sender.unsent
        if finish == "detach":
            with pytest.raises(BlockingIOError):
                sender.detach()
            assert sender.unsent  # nothing has changed
        client.settimeout(60)
        receiving = Task(receiver.recv)
        getattr(sender, finish)()
        assert receiving.result() == bytes(MIB)
        client.close()


def test_close_raises_if_it_could_not_send_the_rest() -> None:
    client, server = small_buffers(unix_pair())
    client.settimeout(0.05)
    sender = MessageSocket(client)
    with server:
        sender.send(bytes(MIB))
        with pytest.raises(TimeoutError):
            sender.close(timeout=0.05)
        assert client.fileno() == -1
        sender.close()
        with pytest.raises(OSError, match="closed") as caught:
            sender.send(b"")
        assert caught.value.errno == errno.EBADF


# Threads


@pytest.mark.parametrize("make_pair", [tcp_pair, unix_pair, tls_pair])
def test_messages_of_many_threads_do_not_mix(make_pair: Callable[[], Pair]) -> None:
    client, server = map(MessageSocket, small_buffers(make_pair()))
    threads, each = 8, 12

    def send(name: int) -> None:
        sizes = random.Random(name)
        for number in range(each):
            body = bytes([name]) * sizes.choice([0, 5, 3000, 40_000, 100_000])
            client.send(bytes([name, number]) + body, timeout=None if number % 2 else 60)

    received: dict[int, list[int]] = {name: [] for name in range(threads)}
    with client, server:
        client.sock.settimeout(60)
        sending = [Task(send, name) for name in range(threads)]
        for _ in range(threads * each):
            message = server.recv(timeout=60)
            name, number = message[:2]
            assert message[2:] == bytes([name]) * (len(message) - 2)
            received[name].append(number)
        for done in sending:
            done.result()
    assert received == {name: list(range(each)) for name in range(threads)}

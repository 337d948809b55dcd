"""What ``MessageSocket`` sends, and what it owes: on real sockets, and on badly behaved ones."""

from __future__ import annotations

import errno
import gc
import io
import itertools
import random
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from framing import (
    Buffer,
    EncodeError,
    LengthPrefixFramer,
    MessageSocket,
    recv_msg,
)

from .fakes import MisbehavingSocket, ScriptedSocket
from .interruptions import Interruption, interrupted_at
from .netstring import NetstringFramer
from .pairs import (
    MIB,
    Pair,
    retried,
    small_buffers,
    tcp_pair,
    tls_pair,
    unix_pair,
    wait_until,
)
from .strategies import Format, every_format, samples


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


def test_what_cannot_be_sent_leaves_the_stream_whole(pair: Pair) -> None:
    client, server = MessageSocket(pair[0], LengthPrefixFramer(max_size=4)), pair[1]
    with pytest.raises(EncodeError):
        client.send(b"too long")
    with pytest.raises(TypeError, match="encode the text first"):
        client.send("text")  # type: ignore[call-overload]
    client.send(b"fine")
    assert recv_msg(server) == b"fine"


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


def test_send_many_copies_buffers_that_are_used_again() -> None:
    def chunks() -> Iterator[bytearray]:
        buffer = bytearray(8)
        source = io.BytesIO(b"aaaaaaaabbbbbbbbcccccccc")
        while source.readinto(buffer):
            yield buffer

    for framer in (LengthPrefixFramer(), NetstringFramer()):
        client, server = (MessageSocket(sock, framer) for sock in unix_pair())
        with client, server:
            client.send_many(chunks())
            client.end()
            assert list(server) == [b"a" * 8, b"b" * 8, b"c" * 8]


@every_format
def test_what_an_error_leaves_of_a_batch_is_whole(format: Format[Any]) -> None:
    """An exception out of a signal handler may come between any two steps."""
    messages = samples(format)[:3]
    wires = [format.framer.encode(message) for message in messages]
    whole = {b"".join(wires[:count]) for count in range(len(wires) + 1)}
    for line in itertools.count(1):
        parts: list[Buffer] = []
        with interrupted_at(line) as places, suppress(Interruption):
            format.framer.encode_some(iter(messages), parts, 100_000)
        assert b"".join(parts) in whole, places
        if not places:
            break
    assert line > 3


def test_a_sender_stops_when_its_messages_close_the_connection() -> None:
    for finish in ("close", "detach"):
        client, server = unix_pair()
        with client, server:
            sender = MessageSocket(client)

            def messages(finish: Callable[[], object]) -> Iterator[bytes]:
                yield b"first"
                finish()
                yield b"second"

            with pytest.raises(OSError, match=r"closed|gave its socket back"):
                sender.send_many(messages(getattr(sender, finish)))
            client.close()
            assert server.recv(100) == b""


def test_a_late_batch_is_owed_even_if_there_is_room() -> None:
    def messages() -> Iterator[bytes]:
        started = time.monotonic()
        while time.monotonic() < started + 1:
            yield bytes(70_000)

    sock: Any = ScriptedSocket()  # which takes everything at once
    sender = MessageSocket(sock)
    with pytest.raises(TimeoutError, match="takes no more"):
        sender.send_many(messages(), timeout=0.02)
    assert sender.unsent > 0
    sender.flush()
    assert sender.unsent == 0
    assert len(sock.sent) % 70_004 == 0

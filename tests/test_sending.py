"""What ``MessageSocket`` sends, and what it keeps to send later."""

from __future__ import annotations

import gc
import io
import ssl
import time
import tracemalloc
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from framing import (
    Buffer,
    EncodeError,
    Framer,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    ReadExactly,
    Steps,
    recv_msg,
    send_msg,
)

from .conditions import needs
from .fakes import MisbehavingSocket, ScriptedSends
from .netstring import NetstringFramer
from .pairs import (
    MIB,
    Pair,
    Task,
    everything,
    receive_exactly,
    retried,
    small_buffers,
    smallest_buffer,
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
    client, server = scripted(
        *(BlockingIOError(), 3, BlockingIOError(), BlockingIOError(), 2, 100, 100),
        *(3, ConnectionResetError(), BrokenPipeError()),
    )
    messages = MessageSocket(client)
    with server, client:
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
        messages.send(b"hello")  # it has begun, so the next send raises what has happened
        assert messages.unsent == 6
        with pytest.raises(ConnectionError):
            messages.send(b"you")
        assert messages.unsent == 6


def test_the_unsent_rest_does_not_change_with_the_callers_buffer() -> None:
    client, server = scripted(5, BlockingIOError())
    buffer = bytearray(b"hello" * 10_000)
    with server, MessageSocket(client) as messages:
        messages.send(buffer)
        assert messages.unsent == 50_004 - 5
        buffer[:] = b"x" * 50_000
        gc.collect()  # PyPy needs it
        buffer.clear()  # nothing holds on to it
        messages.flush()
        server.setblocking(True)
        assert recv_msg(server) == b"hello" * 10_000


@pytest.mark.parametrize("way", ["send_msg", "send", "send_many"])
def test_a_message_that_cannot_be_sent_leaves_the_stream_whole(way: str, pair: Pair) -> None:
    client, server = pair
    framer = LengthPrefixFramer(max_size=4)
    send: Any = partial(send_msg, client, framer=framer)
    if way != "send_msg":
        messages: Any = MessageSocket(client, framer)
        send = messages.send if way == "send" else lambda message: messages.send_many([message])
    with pytest.raises(EncodeError):
        send(b"too long")
    with pytest.raises(TypeError, match="encode"):
        send("text")
    send(b"fine")
    assert recv_msg(server) == b"fine"


def test_data_outside_the_format_is_sent_exactly(pair: Pair) -> None:
    client, server = MessageSocket(pair[0]), MessageSocket(pair[1])
    client.send(b"100,000 bytes follow")
    client.send_exactly(b"")
    client.send_exactly(memoryview(bytes(range(250)) * 400).cast("H"))
    assert server.recv() == b"100,000 bytes follow"
    assert server.recv_exactly(100_000) == bytes(range(250)) * 400


class RawFramer(Framer[Buffer]):
    """Sends any buffer as it is."""

    def __init__(self) -> None:
        super().__init__(max_size=MIB)

    def encode_parts(self, message: Buffer) -> list[Buffer]:
        return [message]

    def read_message(self) -> Steps[Buffer]:
        return (yield ReadExactly(1))


def test_a_part_of_items_that_goes_out_in_pieces_is_sent_whole() -> None:
    client, server = smallest_buffer()
    client.settimeout(None)
    with server, MessageSocket(client, RawFramer()) as messages:
        receiving = Task(receive_exactly, server, 9000)
        messages.send(memoryview(bytes(9000)).cast("Q"))
        receiving.result()


# send_many


@pytest.mark.parametrize("framer", [LengthPrefixFramer(), NetstringFramer()], ids=repr)
@pytest.mark.parametrize("size", [8, 20_000, 40_000])  # of 20,000, four are a batch
def test_send_many_copies_buffers_that_are_used_again(framer: Any, size: int) -> None:
    def chunks() -> Iterator[bytearray]:
        buffer = bytearray(size)
        source = io.BytesIO(b"".join(messages))
        while source.readinto(buffer):
            yield buffer

    messages = [bytes([each]) * size for each in range(6)]
    client, server = (MessageSocket(sock, framer) for sock in unix_pair())
    with client, server:
        receiving = Task(list, server)
        client.send_many(chunks())
        client.end()
        assert receiving.result() == messages


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


@pytest.mark.parametrize("interruption", [BlockingIOError, ssl.SSLWantWriteError])
def test_send_many_keeps_the_rest_whatever_is_raised(interruption: type[OSError]) -> None:
    client, server = scripted(3, interruption())
    messages = MessageSocket(client, LengthPrefixFramer("!B", max_size=9))
    with server, messages:
        with pytest.raises(EncodeError):  # and not the BlockingIOError: the rest is kept
            messages.send_many([b"a", b"b", b"x" * 10])
        assert (server.recv(100), messages.unsent) == (b"\1a\1", 1)
        messages.send(b"c")
        assert (server.recv(100), messages.unsent) == (b"b\1c", 0)


def test_a_send_many_that_is_interrupted_as_it_takes_messages_lets_none_follow(
    plain_pair: Pair,
) -> None:
    def interrupted() -> Iterator[bytes]:
        yield b"taken"
        raise KeyboardInterrupt

    conn = MessageSocket(plain_pair[0])
    with pytest.raises(KeyboardInterrupt):
        conn.send_many(interrupted())
    for send in (partial(conn.send_many, [b"next"]), partial(conn.send, b"next")):
        with pytest.raises(ConnectionError):
            send()
    conn.close()
    assert everything(MessageSocket(plain_pair[1]).recv, but=()) == []


def test_send_many_keeps_to_its_timeout_even_if_there_is_room() -> None:
    def messages() -> Iterator[bytes]:
        started = time.monotonic()
        while time.monotonic() < started + 60:
            yield bytes(70_000)

    client, server = unix_pair()
    client.settimeout(None)
    with server, server.makefile("rb") as file, MessageSocket(client) as sender:
        reading = Task(file.read)
        with pytest.raises(TimeoutError, match=r"^timed out: the peer takes no more bytes$"):
            sender.send_many(messages(), timeout=0.02)
        sender.flush()
        assert sender.unsent == 0
        sender.end()
        assert len(reading.result()) % 70_004 == 0


@pytest.mark.parametrize("finish", ["close", "detach", "switch"])
def test_a_send_many_stops_when_its_connection_is_finished(finish: str, plain_pair: Pair) -> None:
    def messages() -> Iterator[bytes]:
        yield bytes(70_000)  # a batch of its own
        results.append(conn.switch(LineFramer()) if finish == "switch" else getattr(conn, finish)())
        yield bytes(70_000)
        raise AssertionError("nobody can send this")

    client, server = plain_pair
    conn, results = MessageSocket(client), list[Any]()
    receiving = Task(recv_msg, server)
    with pytest.raises(OSError, match="closed" if finish == "close" else rf"by {finish}\(\)"):
        conn.send_many(messages())
    assert receiving.result() == bytes(70_000)
    if finish != "close":  # and nothing of the second message has gone out
        last = results[0] if finish == "switch" else MessageSocket(client, LineFramer())
        last.send("line")
        last.close()
    assert server.recv(100) == (b"" if finish == "close" else b"line\n")


@pytest.mark.parametrize("fails", [False, True])
def test_a_batch_that_waits_for_its_turn_in_vain_is_kept(plain_pair: Pair, fails: bool) -> None:
    client, server = plain_pair
    conn, sending = MessageSocket(client), list[Task]()
    large = bytes(4 * MIB)

    def messages() -> Iterator[bytes]:
        sending.append(Task(conn.send, large))
        sending[0].wait_until_it_waits()
        yield b"after it"
        if fails:
            raise ZeroDivisionError

    with pytest.raises(TimeoutError):
        conn.send_many(messages(), timeout=0.1)
    assert conn.unsent > len(b"after it")
    receiving = Task(lambda: [recv_msg(server) for _ in range(2)])
    sending[0].result()
    conn.flush()
    assert receiving.result() == [large, b"after it"]
    assert conn.unsent == 0


@needs("sendmsg", "otherwise the parts of a message are joined")
def test_neither_a_large_message_nor_many_are_copied_as_a_whole() -> None:
    large = bytes(8 * MIB)
    client, server = map(MessageSocket, unix_pair())
    buffer = bytearray(8 * MIB)
    with client, server:
        count = 4 + 2 * 3000
        receiving = Task(lambda: [server.recv_into(buffer) for _ in range(count)])
        receiving.wait_until_it_waits()
        gc.collect()
        tracemalloc.start()
        try:
            client.send_many([b"a", large, b"c"])
            client.send(large)
            client.send_many(bytes(1024) for _ in range(3000))
            client.send_many(bytearray(1024) for _ in range(3000))
            assert tracemalloc.get_traced_memory()[1] < MIB
        finally:
            tracemalloc.stop()
        assert receiving.result() == [1, 8 * MIB, 1, 8 * MIB] + [1024] * 6000


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

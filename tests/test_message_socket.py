"""``MessageSocket``: what it receives, and how it takes over, switches and ends a connection."""

from __future__ import annotations

import errno
import gc
import io
import itertools
import os
import socket
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import framing
from framing import (
    Buffer,
    DecodeError,
    EndOfStreamError,
    IncompleteMessageError,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    MessageTooLargeError,
    Steps,
    StructFramer,
    connect,
    recv_msg,
    send_msg,
)

from .fakes import INTERRUPTIONS, MisbehavingSocket, ScriptedSends
from .pairs import (
    MIB,
    TRANSIENT,
    Pair,
    Task,
    every_pair,
    everything,
    has_unread,
    reset,
    retried,
    small_buffers,
    tcp_pair,
    tls_pair,
    unix_pair,
    wait_until,
)
from .strategies import Format, every_format, samples

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
        sending = Task(client.send_many, iter(messages))
        received = [server.recv() for _ in messages]
        sending.result()
        client.end()
        assert received == list(map(format.received, messages))
        assert list(server) == []
        for _ in range(2):
            with pytest.raises(EndOfStreamError):
                server.recv()


def test_an_iterator_continues_after_an_error(pair: Pair) -> None:
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


@pytest.mark.parametrize("size", [0, 1, 513, 16_384, 70_000, 300_000, 2 * MIB])
def test_messages_of_any_size_go_through(pair: Pair, size: int) -> None:
    client, server = map(MessageSocket, pair)
    payloads = [bytes([i]) * size for i in range(3)]
    messages: list[Buffer] = [*payloads, bytearray(payloads[0]), memoryview(payloads[1]), b"end"]
    sending = Task(lambda: [client.send(each) for each in messages])
    assert [server.recv() for _ in messages] == messages
    sending.result()
    sending = Task(client.send_many, messages)
    assert [server.recv() for _ in messages] == messages
    sending.result()


# Interruptions, one byte at a time


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
def test_a_cut_at_any_byte_is_an_error(format: Format[Any]) -> None:
    for message in samples(format)[:3]:
        wire = format.framer.encode(message)
        for cut in range(1, len(wire), 1 + len(wire) // 20):
            client, server = unix_pair()
            with MessageSocket(server, format.framer) as receiver:
                client.sendall(wire + wire[:cut])
                client.close()
                assert receiver.recv() == format.received(message)
                outcomes: list[Any] = []
                for _ in range(2):
                    try:
                        outcomes.append(receiver.recv())
                    except framing.FramingError as error:
                        outcomes.append(error)
                first, second = outcomes
                if isinstance(first, IncompleteMessageError):
                    assert (first.received, second) == (cut, first)
                else:
                    assert format.ends_with_the_stream
                    assert isinstance(second, EndOfStreamError) or second == first


# Resets


@pytest.mark.parametrize("timeout", [None, 10])
def test_a_reset_never_looks_like_the_end(plain_pair: Pair, timeout: float | None) -> None:
    client, server = plain_pair
    for sock in plain_pair:
        sock.settimeout(timeout)
    receiver = MessageSocket(client)
    reset(server)
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            receiver.recv()
    with pytest.raises(ConnectionResetError):
        list(receiver)
    with pytest.raises(ConnectionResetError):
        receiver.recv_into(bytearray(9))


@pytest.mark.parametrize("timeout", [None, 10])
def test_a_reset_inside_a_payload_is_remembered(plain_pair: Pair, timeout: float | None) -> None:
    client, server = plain_pair
    client.settimeout(timeout)
    receiver = MessageSocket(client)
    server.sendall(struct.pack("!I", 100_000) + b"hello")
    with pytest.raises(TimeoutError):
        receiver.recv_into(bytearray(100_000), timeout=0.05)
    reset(server)
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            receiver.recv_into(bytearray(100_000))
    with pytest.raises(ConnectionResetError):
        list(receiver)


@pytest.mark.parametrize("timeout", [None, 10])
def test_a_reset_that_send_has_raised_is_raised_by_receiving_too(
    plain_pair: Pair, timeout: float | None
) -> None:
    client, server = plain_pair
    client.settimeout(timeout)
    side = MessageSocket(client)
    reset(server)
    wait_until(lambda: has_unread(client))
    with pytest.raises(ConnectionResetError):
        side.send(b"hello")
    for receive in (lambda: list(side), side.recv, lambda: side.recv_exactly(1)):
        with pytest.raises(ConnectionResetError):
            receive()


def test_a_reset_in_the_middle_of_a_send_is_not_a_clean_end(plain_pair: Pair) -> None:
    side = MessageSocket(small_buffers(plain_pair)[0])
    sending = Task(side.send, bytes(3 * MIB))
    assert plain_pair[1].recv(10)
    reset(plain_pair[1])
    sending.result()  # the message has begun, so its rest is kept
    assert side.unsent
    with pytest.raises(ConnectionResetError):
        list(side)


def test_a_socket_that_was_reset_can_still_be_wrapped(plain_pair: Pair) -> None:
    client, server = plain_pair
    reset(client)
    wait_until(lambda: has_unread(server))
    receiver = MessageSocket(server)
    with pytest.raises(ConnectionResetError):
        receiver.recv()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        receiver.send(b"anybody?")


# Other sockets


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


# Threads


@pytest.mark.parametrize("make_pair", [tcp_pair, tls_pair])
def test_each_message_goes_to_one_of_many_receivers(make_pair: Callable[[], Pair]) -> None:
    client, server = map(MessageSocket, make_pair())
    messages = [b"%d," % i * (i % 40 if i % 500 else 30_000) for i in range(5_000)]

    def receive(kind: int) -> list[bytes]:
        buffer = bytearray(MIB)
        ways: list[Callable[[], bytes]] = [
            server.recv,
            lambda: server.recv(timeout=60),
            lambda: bytes(buffer[: server.recv_into(buffer)]),
        ]
        return everything(ways[kind], but=())

    with client, server:
        receiving = [Task(receive, kind) for kind in (0, 1, 0, 1, 2)]
        client.send_many(messages)
        client.sock.shutdown(socket.SHUT_WR)
        received = itertools.chain(*(each.result() for each in receiving))
        assert sorted(received) == sorted(messages)


def test_messages_and_exact_bytes_can_be_taken_by_two_threads() -> None:
    """One thread takes what is decoded, while another needs it back as bytes."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    numbers = [struct.pack("!I", i) for i in range(5_000)]
    client, server = map(MessageSocket, unix_pair())
    exactly: list[bytes] = []
    try:
        with client, server:
            sending = Task(client.send_many, numbers)
            taking = Task(everything, server.recv, but=())

            def end() -> None:
                sending.result()
                client.end()

            ending = Task(end)
            with suppress(EndOfStreamError):
                while True:
                    exactly.append(server.recv_exactly(8)[4:])
            ending.result()
            assert sorted(taking.result() + exactly) == numbers
    finally:
        sys.setswitchinterval(interval)


# recv_into


@pytest.mark.parametrize("size", [1, 5, 5000, 65_535, 65_536, 100_000, 3 * MIB])
def test_a_payload_is_received_into_a_buffer_that_is_large_enough(pair: Pair, size: int) -> None:
    client, server = map(MessageSocket, pair)
    messages = [bytes([65 + i]) * size for i in range(3)]
    buffer = bytearray(b"." * (size + 10))
    sending = Task(client.send_many, [*messages, b"end"])
    for message in messages:
        for smaller in (0, size - 1):
            with pytest.raises(ValueError, match=rf"at least {size} bytes, .*, not {smaller}$"):
                server.recv_into(bytearray(smaller))
        assert server.recv_into(memoryview(buffer)) == size
        assert buffer[:size] == message
    assert buffer[size + 1 :] == b"." * 9 or size < 3
    assert server.recv() == b"end"
    sending.result()


@pytest.mark.parametrize("limit", [1000, 70_000])
def test_interruptions_of_recv_into_lose_nothing(limit: int) -> None:
    client, server = unix_pair()
    receiver = MessageSocket(MisbehavingSocket.around(server, *INTERRUPTIONS, limit=limit))
    messages = [bytes([65 + i]) * size for i, size in enumerate([300_000, 7, 200_000])]
    with MessageSocket(client) as sender, receiver:
        sending = Task(sender.send_many, [*messages, b"done"])
        buffer = bytearray(300_000)
        for message in messages:
            for attempt in itertools.count():
                try:
                    size = receiver.recv_into(bytearray(300_000) if attempt % 5 else buffer)
                except TRANSIENT:
                    continue
                break
            assert size == len(message)
        assert retried(receiver.recv) == b"done"
        sending.result()


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


def test_a_stream_that_ends_inside_recv_into_is_an_error(pair: Pair) -> None:
    client, server = pair
    client.sendall(struct.pack("!I", 100_000) + bytes(70_000))
    client.shutdown(socket.SHUT_WR)
    receiver = MessageSocket(server)
    for _ in range(2):
        with pytest.raises(IncompleteMessageError) as caught:
            receiver.recv_into(bytearray(100_000))
        assert (caught.value.received, caught.value.expected) == (70_004, 100_004)


def test_recv_into_needs_lengths_and_a_buffer(pair: Pair) -> None:
    class Upper(LengthPrefixFramer):
        def read_message(self) -> Steps[bytes]:
            return (yield from super().read_message()).upper()

    client, server = pair
    client.sendall(b"\0\0\0\0")
    messages = MessageSocket(server)
    with pytest.raises(TypeError, match="can be written to, not bytes"):
        messages.recv_into(b"12345")
    framers: list[Any] = [LineFramer(), Upper()]
    for framer in framers:
        other: Any = messages.switch(framer)
        name = type(framer).__name__
        with pytest.raises(TypeError, match=f"needs a LengthPrefixFramer, not {name}"):
            other.recv_into(bytearray(5))
        messages = other


# recv_exactly


@pytest.mark.parametrize("limit", [7, 100_000])
def test_exact_bytes_follow_messages(limit: int) -> None:
    client, server = unix_pair()
    receiver = MessageSocket(
        MisbehavingSocket.around(server, *INTERRUPTIONS, limit=limit), LineFramer()
    )
    bodies = [b"", b"a\nb\r\n", bytes(range(256)) * 3, b"x" * 10_000] * 3
    wire = b"".join(b"%d\n%s" % (len(body), body) for body in bodies)

    def receive() -> bytes:
        size = int(retried(receiver.recv))
        body: bytes = retried(lambda: receiver.recv_exactly(size))
        return body

    with client, receiver:
        sending = Task(client.sendall, wire)
        assert [receive() for _ in bodies] == bodies
        sending.result()


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


def test_exact_bytes_cut_by_the_end_are_an_error(pair: Pair) -> None:
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


def test_pending_is_about_messages_before_and_after_exact_bytes() -> None:
    client, server = unix_pair()
    receiver = MessageSocket(server, LineFramer())
    with client, receiver:
        client.sendall(b"12345a\nline")
        with pytest.raises(TimeoutError):
            receiver.recv_exactly(60, timeout=0)
        assert receiver.recv_exactly(5) == b"12345"
        assert receiver.pending()
        assert receiver.recv() == "a"
        assert receiver.recv_exactly(1) == b"l"
        assert not receiver.pending()
        client.sendall(b"\n")
        assert receiver.recv() == "ine"


# switch


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
    with old:  # as in: with connect(...) as conn: lines = conn.switch(...)
        records.send((3,))
    assert client.recv(10) == b"\0\3"
    assert client.recv(10) == b""
    with pytest.raises(OSError, match="this MessageSocket is closed"):
        records.recv()


def test_a_switch_keeps_what_is_unsent() -> None:
    client, server = unix_pair()
    client.setblocking(False)
    old = MessageSocket(ScriptedSends.around(client, 3, BlockingIOError()))
    with server:
        old.send(b"hello")
        new = old.switch(LineFramer())
        assert new.unsent == 6
        new.send("line")
        assert server.recv(100) == b"\0\0\0\5helloline\n"
        new.close()


def test_a_switch_after_bad_bytes_gives_them_to_the_new_format(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"\0\0\0\2hiGET / HTTP/1.1\r\n")
    receiver = MessageSocket(server)
    assert receiver.recv() == b"hi"
    with pytest.raises(DecodeError):
        receiver.recv()
    assert receiver.switch(LineFramer()).recv() == "GET / HTTP/1.1"


def test_a_subclass_keeps_its_attributes_when_it_is_switched() -> None:
    class Named(MessageSocket[bytes]):
        pass

    client, server = unix_pair()
    with client, Named(server) as named:
        vars(named)["name"] = "alice"
        lines = named.switch(LineFramer())
        assert vars(lines)["name"] == "alice"
        lines.close()


# detach


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


def test_a_thread_that_waits_to_detach_keeps_nobody_from_sending(plain_pair: Pair) -> None:
    client, server = map(MessageSocket, plain_pair)
    with server:
        receiving = Task(client.recv)
        receiving.wait_until_it_waits()
        detaching = Task(client.detach)
        detaching.wait_until_it_waits()
        client.send(b"question", timeout=60)
        server.send(server.recv().upper())
        assert receiving.result() == b"QUESTION"
        assert detaching.result() == (plain_pair[0], b"")


# end and close


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


@every_pair
@pytest.mark.parametrize("own", [None, 10])
@pytest.mark.parametrize("timeout", [None, 60])
def test_close_wakes_threads_that_receive(
    make_pair: Callable[[], Pair], own: float | None, timeout: float | None
) -> None:
    client, server = make_pair()
    client.settimeout(own)
    waiting = MessageSocket(client)
    with server:
        # One waits for bytes, and the other for its turn.
        tasks = [Task(waiting.recv, timeout=timeout), Task(list, waiting)]
        for task in tasks:
            task.wait_until_it_waits()
        waiting.close()
        for task in tasks:
            error = task.error()
            assert isinstance(error, OSError)
            assert error.errno == errno.EBADF
        assert server.recv(10) == b""
    with pytest.raises(OSError, match="closed"):
        waiting.recv()
    assert waiting.pending()
    assert waiting.fileno() == -1


def test_close_wakes_recv_into() -> None:
    client, server = unix_pair()
    server.settimeout(None)
    receiver = MessageSocket(server)
    with client:
        client.sendall(struct.pack("!I", 100_000) + b"x" * 10)
        receiving = Task(receiver.recv_into, bytearray(100_000))
        receiving.wait_until_it_waits()
        receiver.close()
        error = receiving.error()
        assert isinstance(error, OSError)
        assert error.errno == errno.EBADF


@every_pair
@pytest.mark.parametrize("own", [None, 10])
def test_leaving_by_an_exception_wakes_a_thread_that_sends(
    make_pair: Callable[[], Pair], own: float | None
) -> None:
    client, server = small_buffers(make_pair())
    client.settimeout(own)
    with server:
        with pytest.raises(ZeroDivisionError), MessageSocket(client) as sender:
            sending = Task(sender.send, bytes(MIB))
            sending.wait_until_it_waits()
            raise ZeroDivisionError
        sending.result()  # it had begun
        assert sender.unsent == 0


def test_leaving_by_an_exception_does_not_wait() -> None:
    client, server = small_buffers(unix_pair())
    client.settimeout(None)
    with server:
        with pytest.raises(ZeroDivisionError), MessageSocket(client) as sender:
            sender.send(bytes(MIB), timeout=0.01)
            assert sender.unsent
            raise ZeroDivisionError
        assert client.fileno() == -1


# Taking over, connecting, and the small things


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
        with pytest.raises(ConnectionError, match="cut off in the middle"):
            MessageSocket(client)


def test_its_socket_and_its_framer_can_be_seen(pair: Pair) -> None:
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


# Memory


@pytest.mark.parametrize(("size", "count"), [(100, 1), (60_000, 1), (10, 100), (300_000, 1)])
def test_idle_connections_hold_no_buffers(size: int, count: int) -> None:
    pairs = [unix_pair() for _ in range(40)]
    gc.collect()
    tracemalloc.start()
    try:
        sides = [(MessageSocket(here), MessageSocket(there)) for here, there in pairs]
        for sender, receiver in sides:
            sending = Task(sender.send_many, [bytes(size)] * count)
            for _ in range(count):
                receiver.recv()
            sending.result()
            del sending
            with pytest.raises(TimeoutError):
                receiver.recv(timeout=0)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        for sock in itertools.chain(*pairs):
            sock.close()
    assert held < len(pairs) * 8_000  # bytes, for both sides


_PEAK = """
import resource, socket, sys, threading
import framing

size = int(sys.argv[2])
framer = framing.LengthPrefixFramer(max_size=size)
receive = sys.argv[1]
here, there = socket.socketpair()

def send():
    here.sendall(size.to_bytes(4, "big"))
    chunk = bytes(1024 * 1024)
    for _ in range(size // len(chunk)):
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
    size = 256 * MIB if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 64 * MIB
    script = _PEAK.replace("framing", framing.__name__)
    result = subprocess.run(
        [sys.executable, "-c", script, receive, str(size)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert 0.9 <= float(result.stdout) <= 1.15

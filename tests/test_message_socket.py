"""``MessageSocket`` on real sockets, of every kind, and on badly behaved ones."""

from __future__ import annotations

import errno
import gc
import io
import itertools
import os
import random
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import framing
from framing import (
    Buffer,
    DecodeError,
    DelimiterFramer,
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
from framing.stream_decoder import StreamDecoder

from .conditions import needs
from .fakes import INTERRUPTIONS, MisbehavingSocket, ScriptedSocket
from .pairs import (
    MIB,
    TRANSIENT,
    Pair,
    every_pair,
    everything,
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


@pytest.mark.usefixtures("without_collection")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
@pytest.mark.skipif(sys.version_info < (3, 11), reason="may lose a message that was returned")
@needs("MSG_DONTWAIT", "otherwise bytes may be lost, and the connection refuses to go on")
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


@pytest.mark.usefixtures("without_collection")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
@needs("MSG_DONTWAIT", "otherwise bytes may be lost, and the connection refuses to go on")
def test_a_signal_between_two_messages_that_c_keeps_loses_none(plain_pair: Pair) -> None:
    """``extend`` keeps what ``recv`` returned, in Python 3.10 too: no handler runs between."""
    client, server = plain_pair
    messages = [b"%d" % i for i in range(60_000)]
    times = random.Random(7)

    def send_all() -> None:
        client.sendall(b"".join(map(LengthPrefixFramer().encode, messages)))
        client.shutdown(socket.SHUT_WR)

    class Interrupted(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    received: list[bytes] = []
    sender = threading.Thread(target=send_all)
    previous = signal.signal(signal.SIGALRM, interrupt)
    sender.start()
    interruptions = 0
    try:
        with MessageSocket(server) as receiver:
            while True:
                try:
                    try:
                        signal.setitimer(signal.ITIMER_REAL, times.uniform(0.0005, 0.005))
                        received.extend(iter(receiver.recv, None))
                    finally:
                        signal.setitimer(signal.ITIMER_REAL, 0)
                except Interrupted:
                    interruptions += 1
                except EndOfStreamError:
                    break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        sender.join()
    assert interruptions
    assert received == messages


# What bad peers get


def reset(sock: socket.socket) -> None:
    linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    sock.close()


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
def test_a_reset_that_the_sender_was_told_of_is_none_for_the_receiver(
    plain_pair: Pair, timeout: float | None
) -> None:
    client, server = plain_pair
    client.settimeout(timeout)
    side = MessageSocket(client)
    reset(server)
    wait_until(lambda: bool(select.select([client], [], [], 0)[0]))
    with pytest.raises(ConnectionResetError):
        side.send(b"hello")
    for receive in (lambda: list(side), side.recv, lambda: side.recv_exactly(1)):
        with pytest.raises(ConnectionResetError):
            receive()


def test_a_message_that_was_cut_off_by_a_reset_is_no_end(plain_pair: Pair) -> None:
    side = MessageSocket(small_buffers(plain_pair)[0])
    with ThreadPoolExecutor() as executor:
        sending = executor.submit(side.send, bytes(3 * MIB))
        assert plain_pair[1].recv(10)
        reset(plain_pair[1])
        sending.result()  # the message has begun, so it is owed
    assert side.unsent
    with pytest.raises(ConnectionResetError):
        list(side)


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


# Threads


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


@every_pair
@pytest.mark.parametrize("own", [None, 10])
def test_leaving_by_an_exception_wakes_who_sends(
    make_pair: Callable[[], Pair], own: float | None
) -> None:
    client, server = small_buffers(make_pair())
    client.settimeout(own)
    with server, ThreadPoolExecutor() as executor:
        with pytest.raises(ZeroDivisionError), MessageSocket(client) as sender:
            sending = executor.submit(sender.send, bytes(MIB))
            wait_until(lambda: sender._outgoing.is_busy)
            time.sleep(0.01)
            raise ZeroDivisionError
        sending.result(timeout=5)  # it had begun
        assert sender.unsent == 0


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
            assert size_of_all(receiver._decoder, receiver._outgoing) < 2500


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


@pytest.mark.parametrize("method", ["recv", "recv_exactly", "recv_into"])
def test_who_waits_for_a_turn_takes_nothing_after_the_end(method: str) -> None:
    client, server = unix_pair()
    receiver = MessageSocket(server)
    arguments: dict[str, list[Any]] = {"recv_exactly": [1], "recv_into": [bytearray(5)]}
    with client, server, ThreadPoolExecutor() as executor:
        with receiver._receiving:
            client.sendall(b"\0\0\0\2hi")
            receiving = executor.submit(getattr(receiver, method), *arguments.get(method, []))
            time.sleep(0.02)  # most likely, it waits for the lock then
            receiver._finish("detach")
        with pytest.raises(io.UnsupportedOperation):
            receiving.result(10)
        assert server.recv(10) == b"\0\0\0\2hi"


def test_taking_the_rest_back_races_with_nobody() -> None:
    """One thread takes what is decoded, while another needs it back as bytes."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    count = 20_000
    client, server = map(MessageSocket, unix_pair())
    received: list[bytes] = []
    exactly: list[bytes] = []
    try:
        with client, server, ThreadPoolExecutor() as executor:
            sending = executor.submit(
                lambda: client.send_many(struct.pack("!I", i) for i in range(count))
            )
            sending.add_done_callback(lambda _: client.end())
            taking = executor.submit(lambda: received.extend(everything(server.recv, but=())))
            with suppress(EndOfStreamError):
                while True:
                    exactly.append(server.recv_exactly(8)[4:])
            taking.result()
            sending.result()
    finally:
        sys.setswitchinterval(interval)
    assert sorted(received + exactly) == [struct.pack("!I", i) for i in range(count)]


def test_pending_keeps_what_came_of_exact_bytes() -> None:
    client, server = unix_pair()
    receiver = MessageSocket(server)
    with client, receiver:
        client.sendall(b"\0\0\0\1x" * 10)
        with pytest.raises(TimeoutError):
            receiver.recv_exactly(60, timeout=0)
        decoder = receiver._aside
        assert not receiver.pending()
        assert receiver._aside is decoder
        client.sendall(b"0123456789")
        assert receiver.recv_exactly(60) == b"\0\0\0\1x" * 10 + b"0123456789"


def test_pending_is_about_messages_again_after_exact_bytes() -> None:
    client, server = unix_pair()
    receiver = MessageSocket(server, LineFramer())
    with client, receiver:
        client.sendall(b"12345a\nline")
        assert receiver.recv_exactly(5) == b"12345"
        assert receiver.pending()
        assert receiver.recv() == "a"
        assert receiver.recv_exactly(1) == b"l"
        assert not receiver.pending()
        client.sendall(b"\n")
        assert receiver.recv() == "ine"


@pytest.mark.parametrize(
    "receive", [MessageSocket.recv, lambda side: (buffer := bytearray(9))[: side.recv_into(buffer)]]
)
def test_who_finds_that_another_thread_was_faster_goes_on(
    receive: Callable[[MessageSocket[bytes]], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bytes | None] = []
    decode = StreamDecoder.decode

    def decode_and_lose_the_first(decoder: StreamDecoder[bytes]) -> bool:
        found = decode(decoder)
        if found and not taken:
            taken.append(decoder.take())  # as recv() does, in another thread
            send_msg(client, b"two")
        return found

    monkeypatch.setattr(StreamDecoder, "decode", decode_and_lose_the_first)
    client, server = unix_pair()
    with client, MessageSocket(server) as messages:
        send_msg(client, b"one")
        assert receive(messages) == b"two"
    assert taken == [b"one"]


@pytest.mark.parametrize(
    ("finish", "sent"),
    [
        (MessageSocket.close, 1),
        (MessageSocket.detach, 1),
        # What it has given by then goes out, since that can be.
        (lambda side: side.switch(LineFramer()), 2),
    ],
)
def test_who_gives_the_messages_may_finish_the_connection(
    finish: Callable[[MessageSocket[bytes]], object], sent: int
) -> None:
    def large_messages() -> Iterator[bytes]:
        yield bytes(100_000)
        finish(messages)
        yield bytes(100_000)
        raise AssertionError("nobody can send this")

    client, server = unix_pair()
    with client, server, ThreadPoolExecutor() as executor:
        messages = MessageSocket(client)
        receiving = executor.submit(lambda: [recv_msg(server) for _ in range(sent)])
        with pytest.raises(OSError, match=r"closed|detach|switch"):
            messages.send_many(large_messages())
        assert receiving.result() == [bytes(100_000)] * sent


def test_recv_into_is_for_plain_lengths_only() -> None:
    class Upper(LengthPrefixFramer):
        def read_message(self) -> Steps[bytes]:
            return (yield from super().read_message()).upper()

    client, server = unix_pair()
    with client, server, pytest.raises(TypeError, match="needs a LengthPrefixFramer, not Upper"):
        MessageSocket(server, Upper()).recv_into(bytearray(5))


def test_close_wakes_recv_into() -> None:
    client, server = unix_pair()
    server.settimeout(None)
    receiver = MessageSocket(server)
    with client, ThreadPoolExecutor() as executor:
        client.sendall(struct.pack("!I", 100_000) + b"x" * 10)
        receiving = executor.submit(receiver.recv_into, bytearray(100_000))
        wait_until(receiver._receiving.locked)
        time.sleep(0.01)
        receiver.close()
        error = receiving.exception(5)
        assert isinstance(error, OSError)
        assert error.errno == errno.EBADF


def test_a_subclass_keeps_its_attributes_when_it_is_switched() -> None:
    class Named(MessageSocket[bytes]):
        pass

    client, server = unix_pair()
    with client, Named(server) as named:
        vars(named)["name"] = "alice"
        lines = named.switch(LineFramer())
        assert vars(lines)["name"] == "alice"
        lines.close()

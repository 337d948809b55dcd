"""``MessageSocket`` and time: timeouts, waiting threads, non-blocking sockets, late handshakes."""

from __future__ import annotations

import errno
import itertools
import selectors
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from framing import (
    EndOfStreamError,
    LengthPrefixFramer,
    MessageSocket,
)

from .conditions import needs
from .pairs import (
    MIB,
    TRANSIENT,
    Pair,
    Task,
    every_pair,
    small_buffers,
    tcp_pair,
    tls_contexts,
    tls_pair,
    unix_pair,
    wrapped_pair,
)

# Timeouts


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_a_timeout_is_a_number_of_seconds(pair: Pair, timeout: float) -> None:
    client, _ = map(MessageSocket, pair)
    for call in (
        lambda: client.recv(timeout=timeout),
        lambda: client.send(b"", timeout=timeout),
        lambda: client.flush(timeout=timeout),
    ):
        with pytest.raises(ValueError, match="timeout"):
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
    """And not for each of the bytes, of which one always comes in time."""
    client, server = pair
    receiver = MessageSocket(server)
    server.settimeout(0.2)  # it may be changed at any time
    done = threading.Event()

    def drip() -> None:
        client.sendall(b"\0\1\0\0")
        while not done.wait(0.02):
            client.sendall(b"x")

    dripping = Task(drip)
    try:
        for timeout in ({}, {"timeout": 0.05}):
            with pytest.raises(TimeoutError):  # 65,536 drips would take 20 minutes
                receiver.recv(**timeout)
    finally:
        done.set()
        dripping.result()
    assert server.gettimeout() == 0.2


@every_pair
@pytest.mark.parametrize("own", [None, 10])
def test_a_send_that_runs_out_of_time_keeps_the_rest(
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
        receiving = Task(lambda: [receiver.recv(), receiver.recv()])
        sender.send(b"next")
        assert receiving.result() == [large, b"next"]
        assert sender.unsent == 0
        assert client.gettimeout() == own


@every_pair
def test_a_receivers_timeout_does_not_disturb_a_sender(make_pair: Callable[[], Pair]) -> None:
    client, server = small_buffers(make_pair())
    client.settimeout(None)
    sender, receiver = MessageSocket(client), MessageSocket(server)
    large = bytes(MIB)
    with sender, receiver:
        sending = Task(sender.send, large)
        for _ in range(10):
            with pytest.raises(TimeoutError):
                sender.recv(timeout=0.005)
        assert not sending.is_done
        assert receiver.recv() == large
        sending.result()
        assert sender.unsent == 0
        assert client.gettimeout() is None


def test_waiting_for_another_thread_counts(pair: Pair) -> None:
    client, server = map(MessageSocket, small_buffers(pair))
    sending, receiving = Task(client.send, bytes(MIB)), Task(client.recv, timeout=60)
    sending.wait_until_it_waits()
    receiving.wait_until_it_waits()
    with pytest.raises(TimeoutError):
        client.recv(timeout=0.01)
    with pytest.raises(TimeoutError):
        client.send(b"", timeout=0.01)
    assert not client.pending()
    client.sock.setblocking(False)
    for call in (client.recv, client.flush):
        with pytest.raises(BlockingIOError):
            call()
    client.sock.settimeout(60)
    server.send(b"answer")
    assert receiving.result() == b"answer"
    assert len(server.recv()) == MIB
    sending.result()


def test_a_peer_that_never_stops_does_not_stretch_a_timeout() -> None:
    client, server = unix_pair()
    done = threading.Event()

    def flood() -> None:
        with client, suppress(OSError):
            client.sendall(struct.pack("!I", 2**32 - 1))
            while not done.is_set():
                client.sendall(bytes(MIB))

    flooding = Task(flood)
    with MessageSocket(server, LengthPrefixFramer(max_size=2**32)) as receiver:
        with pytest.raises(TimeoutError):
            receiver.recv(timeout=0.05)
        done.set()
    flooding.result()


@needs("poll", "select takes no more")
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


# Both ways at once


@pytest.mark.parametrize("make_pair", [tcp_pair, tls_pair, wrapped_pair])
def test_both_directions_can_be_full(make_pair: Callable[[], Pair]) -> None:
    sides = [MessageSocket(sock) for sock in small_buffers(make_pair())]
    messages = [b"%d;" % i * (i % 100) for i in range(4_000)]

    def send(side: MessageSocket[bytes]) -> None:
        for message in messages:
            while True:
                with suppress(TimeoutError):
                    side.send(message, timeout=0.01)
                    break
        while side.unsent:
            with suppress(TimeoutError):
                side.flush(timeout=0.01)

    def receive(side: MessageSocket[bytes]) -> list[bytes]:
        received: list[bytes] = []
        while len(received) < len(messages):
            with suppress(TimeoutError):
                received.append(side.recv(timeout=0.01))
        return received

    with sides[0], sides[1]:
        sending = [Task(send, side) for side in sides]
        receiving = [Task(receive, side) for side in sides]
        for sent in sending:
            sent.result()
        assert [each.result() for each in receiving] == [messages, messages]


@pytest.mark.parametrize("make_pair", [tcp_pair, unix_pair, wrapped_pair, tls_pair])
def test_non_blocking_sockets_work_with_selectors(make_pair: Callable[[], Pair]) -> None:
    pair = small_buffers(make_pair())
    messages = [b"%d;" % i * (i % 300) for i in range(1500)]
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
            events = selector.select(60)
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
def test_pending_sees_what_select_does_not(make_pair: Callable[[], Pair]) -> None:
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


@pytest.mark.parametrize("size", [10, 1000, 5000])
def test_pending_sees_what_tls_has_decrypted(size: int) -> None:
    """A record of TLS can hold more than is read of it at a time."""
    client, server = tls_pair()
    messages = [b"%d" % (i % 10) * size for i in range(16_000 // (size + 4))]
    with MessageSocket(server) as receiver, client:
        client.sendall(b"".join(map(LengthPrefixFramer().encode, messages)))  # one record
        assert receiver.recv_exactly(1) == b"\0"
        rest = size.to_bytes(4, "big")[1:]
        assert receiver.recv_exactly(3 + size) == rest + messages[0]
        for message in messages[1:]:
            assert receiver.pending()
            assert receiver.recv() == message
        assert not receiver.pending()


@pytest.mark.parametrize(
    ("make_pair", "read_error", "write_error"),
    [
        (tcp_pair, BlockingIOError, BlockingIOError),
        (tls_pair, ssl.SSLWantReadError, ssl.SSLWantWriteError),
    ],
)
def test_non_blocking_errors_are_those_of_the_socket(
    make_pair: Callable[[], Pair], read_error: type[OSError], write_error: type[OSError]
) -> None:
    client, server = make_pair()
    client.setblocking(False)
    side, receiver = MessageSocket(client), MessageSocket(server)
    with side, receiver:
        with pytest.raises(read_error):
            side.recv()
        with pytest.raises(write_error):
            side.send_many(itertools.repeat(bytes(MIB)))
        assert side.unsent
        with pytest.raises(TimeoutError):
            side.recv(timeout=0)
        client.settimeout(60)
        receiving = Task(list, receiver)
        side.flush()
        client.shutdown(socket.SHUT_WR)
        received = receiving.result()
        assert set(received) == {bytes(MIB)}


# Sockets that are closed or changed


@pytest.mark.parametrize("method", ["send", "recv", "recv_into"])
def test_a_subclass_may_override_any_method(method: str) -> None:
    class Overriding(socket.socket):
        pass

    def call(self: socket.socket, *arguments: Any) -> Any:
        return getattr(super(Overriding, self), method)(*arguments)

    setattr(Overriding, method, call)
    client, server = unix_pair()
    sock = Overriding(client.family, client.type, client.proto, client.detach())
    sock.setblocking(False)
    side = MessageSocket(sock)
    with server, sock:
        side.send(bytes(MIB))
        for _ in range(2):
            for attempt in (side.flush, side.recv, lambda: side.recv_into(bytearray(5))):
                with pytest.raises(BlockingIOError):
                    attempt()
        server.settimeout(10)
        server.sendall(b"\0\0\0\2hi")
        assert side.recv(timeout=10) == b"hi"


@pytest.mark.parametrize("own", [None, 5])
def test_a_socket_that_its_user_closed_is_an_os_error(own: float | None) -> None:
    client, server = unix_pair()
    client.settimeout(own)
    side = MessageSocket(client)
    client.close()
    with server:
        for call in (
            side.recv,
            lambda: side.recv(timeout=1),
            lambda: side.send(b"", timeout=1),
            lambda: side.recv_exactly(1, timeout=1),
        ):
            with pytest.raises(OSError) as caught:  # noqa: PT011  # the number tells
                call()
            assert caught.value.errno == errno.EBADF


@every_pair
def test_closing_wakes_others_before_the_number_is_free(make_pair: Callable[[], Pair]) -> None:
    """Else they would find another connection under that number, and wait for that."""
    client, server = make_pair()
    number = client.fileno()
    with server:
        messages = MessageSocket(client)
        receiving = Task(messages.recv, timeout=60)
        receiving.wait_until_it_waits()
        messages.close()
        other, its_peer = unix_pair()  # most likely under the number that is free now
        with other, its_peer:
            its_peer.sendall(b"\0\0\0\5other")
            assert isinstance(receiving.error(), OSError)
            assert other.recv(100) == b"\0\0\0\5other"
        assert number > 0


# TLS


@pytest.mark.parametrize("is_cut", [False, True])
def test_close_is_a_clean_end_for_a_tls_peer(is_cut: bool) -> None:
    client_context, server_context = tls_contexts()
    client, server = tcp_pair()
    accepting = Task(
        server_context.wrap_socket, server, server_side=True, suppress_ragged_eofs=False
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


@pytest.mark.parametrize("first", ["send", "recv"])
def test_a_late_handshake_of_tls_is_made_by_one_thread(first: str) -> None:
    """Else the one that receives may read what the one that sends is waiting for."""
    client_context, server_context = tls_contexts()
    for _ in range(10):
        client, server = tcp_pair()
        with MessageSocket(
            server_context.wrap_socket(server, server_side=True, do_handshake_on_connect=False)
        ) as greeter:
            calls: list[Callable[[], Any]] = [lambda: greeter.send(b"greeting"), greeter.recv]
            tasks = [Task(call) for call in (calls if first == "send" else calls[::-1])]
            secure = client_context.wrap_socket(client, server_hostname="localhost")
            with MessageSocket(secure) as guest:
                assert guest.recv(timeout=60) == b"greeting"
                guest.send(b"thanks")
                assert {task.result() for task in tasks} == {None, b"thanks"}


def test_a_failed_handshake_is_raised_by_the_call_that_makes_it() -> None:
    _, server_context = tls_contexts()
    client, server = tcp_pair()
    secure = ssl.create_default_context().wrap_socket(
        client, server_hostname="localhost", do_handshake_on_connect=False
    )
    with server:
        accepting = Task(server_context.wrap_socket, server, server_side=True)
        messages = MessageSocket(secure)
        with pytest.raises(ssl.SSLCertVerificationError):
            messages.send(b"hello")
        for call in (messages.recv, lambda: messages.send(b"hello")):
            with pytest.raises(ssl.SSLError):
                call()
        assert messages.unsent == 0
        messages.close()
        assert isinstance(accepting.error(), ssl.SSLError)


def test_a_late_handshake_keeps_to_the_timeout() -> None:
    client_context, _ = tls_contexts()
    client, server = tcp_pair()
    secure = client_context.wrap_socket(
        client, server_hostname="localhost", do_handshake_on_connect=False
    )
    with server:
        messages = MessageSocket(secure)
        with pytest.raises(TimeoutError):
            messages.send(b"hello", timeout=0.05)
        messages.sock.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            messages.recv()
        messages.sock.settimeout(0.05)
        messages.close()


def test_a_socket_that_was_tls_before_makes_no_handshake() -> None:
    client, server = tls_pair()
    unwrapping = Task(server.unwrap)  # type: ignore[attr-defined]
    here, there = client.unwrap(), unwrapping.result()  # type: ignore[attr-defined]
    with MessageSocket(here) as sender, MessageSocket(there) as receiver:
        sender.send(b"in plain text")
        assert receiver.recv() == b"in plain text"

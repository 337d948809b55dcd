"""``MessageSocket`` and time: timeouts, waiting, non-blocking sockets, and TLS."""

from __future__ import annotations

import errno
import itertools
import selectors
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from framing import EndOfStreamError, LengthPrefixFramer, MessageSocket

from .conditions import needs
from .fakes import made_of
from .pairs import (
    MIB,
    TRANSIENT,
    Pair,
    Task,
    every_pair,
    send_and_end,
    small_buffers,
    tcp_pair,
    tls_contexts,
    tls_pair,
    unix_pair,
    wrapped_pair,
)

# Timeouts


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_a_timeout_is_a_number_of_seconds(plain_pair: Pair, timeout: float) -> None:
    client = MessageSocket(plain_pair[0])
    for call in (client.recv, partial(client.send, b""), client.flush):
        with pytest.raises(ValueError, match="timeout"):
            call(timeout=timeout)


@pytest.mark.parametrize("own", [None, 10, 0])
@pytest.mark.parametrize("timeout", [0, 0.01])
def test_a_receive_that_times_out_loses_nothing(
    pair: Pair, own: float | None, timeout: float
) -> None:
    client, server = pair
    server.settimeout(own)
    receiver = MessageSocket(server)
    for byte in (b"\0\0\0\5hello" * 2)[:13]:
        with pytest.raises(TimeoutError, match=r"^timed out: the peer has not sent enough$"):
            receiver.recv(timeout=timeout)
        client.sendall(bytes([byte]))
        if byte == ord("o"):
            assert receiver.recv(timeout=10) == b"hello"
    assert server.gettimeout() == own
    client.sendall(b"hello")
    assert receiver.recv(timeout=float("inf")) == b"hello"


@pytest.mark.parametrize("piece", [1, MIB])
def test_a_timeout_is_for_the_whole_call_though_some_bytes_always_come(
    pair: Pair, piece: int
) -> None:
    client, server = pair
    receiver = MessageSocket(server, LengthPrefixFramer(max_size=2**32))
    server.settimeout(0.2)  # it may be changed at any time
    done = threading.Event()

    def keep_sending() -> None:
        with suppress(OSError):
            client.sendall(b"\xff\xff\xff\xff")
            while not done.wait(0.02 if piece == 1 else 0):
                client.sendall(bytes(piece))

    sending = Task(keep_sending)
    for options in ({}, {"timeout": 0.05}):
        with pytest.raises(TimeoutError, match=r"^timed out: the peer has not sent enough$"):
            receiver.recv(**options)
    assert server.gettimeout() == 0.2
    done.set()
    receiver.close()
    sending.result()


@every_pair
@pytest.mark.parametrize("own", [None, 60])
def test_a_send_that_runs_out_of_time_keeps_the_rest(
    make_pair: Callable[[], Pair], own: float | None
) -> None:
    client, server = small_buffers(make_pair())
    client.settimeout(own)
    large = b"large" * 400_000
    with MessageSocket(client) as sender, MessageSocket(server) as receiver:
        sender.send(large, timeout=0.05)
        assert 0 < sender.unsent <= 4 + len(large)
        for timeout in (0, 0.01):
            for call in (
                *(partial(sender.send, b"next"), partial(sender.send_exactly, b"next")),
                sender.flush,
            ):
                with pytest.raises(
                    TimeoutError, match=r"^timed out: the peer takes no more bytes$"
                ):
                    call(timeout=timeout)
        receiving = Task(lambda: [receiver.recv(), receiver.recv()])
        sender.send(b"next")
        assert receiving.result() == [large, b"next"]
        assert (sender.unsent, client.gettimeout()) == (0, own)


def test_waiting_for_another_thread_counts(pair: Pair) -> None:
    client, server = map(MessageSocket, small_buffers(pair))
    sending, receiving = Task(client.send, bytes(MIB)), Task(client.recv, timeout=60)
    sending.wait_until_it_waits()
    receiving.wait_until_it_waits()
    for use in (client.recv, partial(client.send, b"")):
        with pytest.raises(TimeoutError, match="timed out: another thread is using"):
            use(timeout=0.01)
    assert not client.pending()
    client.sock.setblocking(False)
    for call in (client.recv, client.flush):
        with pytest.raises(
            BlockingIOError, match=rf"^\[Errno {errno.EWOULDBLOCK}\] another thread"
        ):
            call()
    client.sock.settimeout(60)
    server.send(b"answer")
    assert receiving.result() == b"answer"
    sending.wait_until_it_waits()  # TLS would take the time of an attempt from the socket
    client.sock.settimeout(0.01)
    with pytest.raises(TimeoutError, match="another thread is using"):
        client.detach()
    client.sock.settimeout(60)
    assert len(server.recv()) == MIB
    sending.result()


def test_without_poll_too_calls_wait_and_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framing.sockets.channel._HAS_POLL", False)
    client, server = map(MessageSocket, small_buffers(unix_pair()))
    with client, server:
        with pytest.raises(TimeoutError):
            server.recv(timeout=0.01)
        sending = Task(client.send, bytes(MIB))
        sending.wait_until_it_waits()
        assert server.recv(timeout=60) == bytes(MIB)
        sending.result()


@needs("poll", "select takes no more")
def test_descriptors_above_1023_work(plain_pair: Pair) -> None:
    fcntl = pytest.importorskip("fcntl")
    try:
        high = fcntl.fcntl(plain_pair[0], fcntl.F_DUPFD_CLOEXEC, 1100)
    except OSError:
        pytest.skip("this process may not have so many descriptors")
    server = MessageSocket(plain_pair[1])
    with MessageSocket(socket.socket(fileno=high)) as client:
        with pytest.raises(TimeoutError):
            client.recv(timeout=0.01)
        client.send(b"hello", timeout=60)
        server.send(server.recv())
        assert client.recv(timeout=60) == b"hello"


# Both ways at once


@pytest.mark.parametrize("make_pair", [tcp_pair, tls_pair, wrapped_pair])
@pytest.mark.parametrize("timeout", [0.01, None])
def test_both_directions_can_be_full_and_do_not_disturb_each_other(
    make_pair: Callable[[], Pair], timeout: float | None
) -> None:
    """Whether senders have timeouts, as the receivers have, or none."""
    sides = [MessageSocket(sock) for sock in small_buffers(make_pair())]
    messages = [b"%d;" % i * (i % 100) for i in range(1500)] + [bytes(MIB // 2)]

    def until_done(call: Callable[..., Any]) -> Any:
        while True:
            with suppress(TimeoutError):
                return call(timeout=timeout)

    def send(side: MessageSocket[bytes]) -> None:
        for message in messages:
            until_done(partial(side.send, message))
        until_done(side.flush)

    def receive(side: MessageSocket[bytes]) -> list[bytes]:
        received: list[bytes] = []
        while len(received) < len(messages):
            with suppress(TimeoutError):
                received.append(side.recv(timeout=0.01))
        return received

    with sides[0], sides[1]:
        for side in sides:
            side.sock.settimeout(None)
        sending = [Task(send, side) for side in sides]
        receiving = [Task(receive, side) for side in sides]
        for sent in sending:
            sent.result()
        assert [each.result() for each in receiving] == [messages, messages]
        assert [side.sock.gettimeout() for side in sides] == [None, None]


@every_pair
def test_non_blocking_sockets_work_with_selectors(make_pair: Callable[[], Pair]) -> None:
    messages = [b"%d;" % i * (i % 300) for i in range(1000)]
    sides = [MessageSocket(sock) for sock in small_buffers(make_pair())]
    with selectors.DefaultSelector() as selector, sides[0], sides[1]:
        outgoing: dict[MessageSocket[bytes], Iterator[bytes]] = {}
        received: dict[MessageSocket[bytes], list[bytes]] = {}
        for side in sides:
            side.sock.setblocking(False)
            outgoing[side], received[side] = iter(messages), []
            selector.register(side, selectors.EVENT_READ | selectors.EVENT_WRITE, side)
        while any(len(each) < len(messages) for each in received.values()):
            events = selector.select(60)
            assert events, {side: len(got) for side, got in received.items()}
            for key, event in events:
                side = key.data
                with suppress(*TRANSIENT):
                    if event & selectors.EVENT_WRITE:
                        side.send_many(outgoing[side])
                        side.flush()
                        selector.modify(side, selectors.EVENT_READ, side)
                with suppress(*TRANSIENT):
                    if event & selectors.EVENT_READ:
                        received[side].append(side.recv())
                while side.pending():
                    received[side].append(side.recv())
        assert all(each == messages for each in received.values())
        for side in sides:
            side.sock.settimeout(10)


def test_it_waits_no_longer_for_another_thread_than_it_may(plain_pair: Pair) -> None:
    client, server = plain_pair
    conn = MessageSocket(server)
    receiving = Task(conn.recv)
    receiving.wait_until_it_waits()
    assert not any(conn.pending() for _ in range(200))
    for _ in range(300):
        with pytest.raises(TimeoutError):
            conn.recv(timeout=0.001)
    send_and_end(client, LengthPrefixFramer().encode(b"hello"))
    assert receiving.result() == b"hello"


@every_pair
def test_pending_sees_what_select_does_not(make_pair: Callable[[], Pair]) -> None:
    client, server = make_pair()
    with MessageSocket(client) as sender, MessageSocket(server) as receiver:
        assert not receiver.pending()
        sender.send_many([b"a", b"b"])
        client.sendall(b"\0\0\0\2c")
        assert receiver.recv() == b"a"
        assert receiver.pending()
        assert receiver.recv() == b"b"
        assert not receiver.pending()
        send_and_end(client, b"c")
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
    wire = b"".join(map(LengthPrefixFramer().encode, messages))
    with MessageSocket(server) as receiver, client:
        client.sendall(wire)  # one record
        assert receiver.recv_exactly(1) == wire[:1]
        assert receiver.recv_exactly(3 + size) == wire[1 : 4 + size]
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
    with MessageSocket(client) as side, MessageSocket(server) as receiver:
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
        assert set(receiving.result()) == {bytes(MIB)}


# Sockets of other kinds, and closed ones


@pytest.mark.parametrize("method", ["send", "recv", "recv_into"])
def test_a_subclass_may_override_any_method(method: str) -> None:
    class Overriding(socket.socket):
        pass

    def call(self: socket.socket, *arguments: Any) -> Any:
        return getattr(super(Overriding, self), method)(*arguments)

    setattr(Overriding, method, call)
    client, server = unix_pair()
    client.setblocking(False)
    side = MessageSocket(made_of(client, Overriding))
    with server, side.sock:
        side.send(bytes(MIB))
        for attempt in (side.flush, side.recv, lambda: side.recv_into(bytearray(5))):
            with pytest.raises(BlockingIOError):
                attempt()
        server.sendall(b"\0\0\0\2hi")
        assert side.recv(timeout=10) == b"hi"


@pytest.mark.parametrize("own", [None, 5])
def test_a_socket_that_its_user_closed_is_an_os_error(own: float | None, pair: Pair) -> None:
    client, _ = pair
    client.settimeout(own)
    side = MessageSocket(client)
    client.close()
    calls: list[Callable[[], object]] = [
        side.recv,
        lambda: side.recv(timeout=1),
        lambda: side.send(b"", timeout=1),
        lambda: side.recv_exactly(1, timeout=1),
    ]
    text = r"\] (Bad file descriptor|the socket was closed, and not by its owner)$"
    for call in calls:
        with pytest.raises(OSError, match=text) as caught:
            call()
        assert caught.value.errno == errno.EBADF
    side.close()


def test_close_closes_what_its_user_closed_too(plain_pair: Pair) -> None:
    client, server = small_buffers(plain_pair)
    client.settimeout(None)
    side = MessageSocket(client)
    receiving = Task(side.recv)
    receiving.wait_until_it_waits()
    side.send(bytes(8 * MIB), timeout=0)
    client.close()
    with pytest.raises(OSError, match=r"Bad file descriptor|not by its owner"):
        side.close(timeout=0)
    server.close()
    assert isinstance(receiving.error(), OSError)
    assert (side.unsent, side.pending()) == (0, True)


# TLS


def test_many_threads_wait_while_one_makes_the_late_handshake() -> None:
    """Else the one that receives may read what the one that sends is waiting for."""
    client_context, server_context = tls_contexts()
    for number in range(16):
        client, server = tcp_pair()
        with MessageSocket(
            server_context.wrap_socket(server, server_side=True, do_handshake_on_connect=False)
        ) as greeter:
            calls: list[Callable[[], Any]] = [lambda: greeter.send(b"greeting"), greeter.recv]
            tasks = [Task(call) for call in (calls if number % 2 else calls[::-1])]
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
    messages = MessageSocket(
        client_context.wrap_socket(
            client, server_hostname="localhost", do_handshake_on_connect=False
        )
    )
    with server:
        with pytest.raises(TimeoutError):
            messages.send(b"hello", timeout=0.05)
        messages.sock.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            messages.recv()
        messages.sock.settimeout(0.05)
        messages.close()


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


class Interposed(ssl.SSLSocket):
    """A socket that does something else while it receives."""

    def recv(self, *_: int) -> bytes:
        self.interpose()  # type: ignore[attr-defined]
        raise ssl.SSLWantReadError


def test_a_signal_handler_may_close_a_tls_connection_that_receives() -> None:
    client, server = tls_pair()
    with server:
        conn = MessageSocket(client)
        client.__class__ = Interposed
        client.interpose = conn.close  # type: ignore[attr-defined]
        with pytest.raises(OSError, match=r"Bad file descriptor|this MessageSocket is closed"):
            conn.recv()
        assert client.fileno() == -1


def test_close_does_not_wait_for_ever_for_a_thread_that_hangs_in_tls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("framing.sockets.channel._WAKING_TIME", 0.1)
    client, server = tls_pair()
    is_closed = threading.Event()
    with server:
        conn = MessageSocket(client)
        client.__class__ = Interposed
        client.interpose = is_closed.wait  # type: ignore[attr-defined]
        receiving = Task(conn.recv)
        receiving.wait_until_it_waits()
        conn.close()
        is_closed.set()
        assert isinstance(receiving.error(), OSError)


def test_close_does_not_wait_for_a_tls_peer() -> None:
    timeouts = []

    class Unwrapping(ssl.SSLSocket):
        def unwrap(self) -> socket.socket:
            timeouts.append(self.gettimeout())
            return super().unwrap()

    client, server = tls_pair()
    with server:
        client.__class__ = Unwrapping
        MessageSocket(client).close()
    assert timeouts == [0]


def test_a_socket_that_was_tls_before_makes_no_handshake() -> None:
    client, server = tls_pair()
    unwrapping = Task(server.unwrap)  # type: ignore[attr-defined]
    here, there = client.unwrap(), unwrapping.result()  # type: ignore[attr-defined]
    with MessageSocket(here) as sender, MessageSocket(there) as receiver:
        sender.send(b"in plain text")
        assert receiver.recv() == b"in plain text"

"""``MessageSocket`` and time: timeouts, threads that wait, non-blocking sockets, TLS."""

from __future__ import annotations

import errno
import itertools
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from framing import (
    Buffer,
    EndOfStreamError,
    LengthPrefixFramer,
    MessageSocket,
)
from framing import transport as transport_module
from framing.transport import Deadline, LockedTransport, Transport

from .conditions import needs
from .fakes import ScriptedSocket
from .pairs import (
    MIB,
    TRANSIENT,
    Pair,
    every_pair,
    small_buffers,
    tcp_pair,
    tls_contexts,
    tls_pair,
    unix_pair,
    wait_until,
    wrapped_pair,
)


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
    with ThreadPoolExecutor() as executor, sender, receiver:
        sending = executor.submit(sender.send, large)
        for _ in range(20):
            with pytest.raises(TimeoutError):
                sender.recv(timeout=0.005)
            # (It is 0 for the moment of an attempt where that needs a lock, as on TLS.)
            assert client.gettimeout() is None or type(sender._transport) is LockedTransport
        assert not sending.done()
        assert receiver.recv() == large
        sending.result()
        assert sender.unsent == 0
        assert client.gettimeout() is None


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


def test_a_peer_that_never_stops_does_not_stretch_a_timeout() -> None:
    client, server = unix_pair()
    with server:
        done = threading.Event()

        def flood() -> None:
            with client, suppress(OSError):
                client.sendall(struct.pack("!I", 2**32 - 1))
                while not done.is_set():
                    client.sendall(bytes(MIB))

        flooding = threading.Thread(target=flood)
        flooding.start()
        receiver = MessageSocket(server, LengthPrefixFramer(max_size=2**32))
        with pytest.raises(TimeoutError):
            receiver.recv(timeout=0.05)
        done.set()
        receiver.close()
        flooding.join()


@every_pair
def test_closing_lets_those_who_wait_wake_before_the_number_is_free(
    make_pair: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they would find another connection under that number, and wait for that."""
    poll, numbers = transport_module._poll, []

    def poll_and_look(sock: socket.socket, for_writing: bool, seconds: float) -> bool:
        ready = poll(sock, for_writing, seconds)
        time.sleep(0.05)
        numbers.append(sock.fileno())
        return ready

    monkeypatch.setattr(transport_module, "_poll", poll_and_look)
    client, server = make_pair()
    with server, ThreadPoolExecutor() as executor:
        messages = MessageSocket(client)
        number = client.fileno()
        receiving = executor.submit(messages.recv, timeout=30)
        wait_until(lambda: bool(messages._transport._waiting))
        messages.close()
        with pytest.raises(OSError, match="closed"):
            receiving.result(10)
    assert set(numbers) == {number}


def test_closing_does_not_wait_for_ever_for_those_who_wait(
    monkeypatch: pytest.MonkeyPatch, plain_pair: Pair
) -> None:
    monkeypatch.setattr(transport_module, "_WAKING_TIME", 0.01)
    messages = MessageSocket(plain_pair[0])
    messages._transport._waiting.append(None)
    messages._transport.close(is_in_use=True)
    assert plain_pair[0].fileno() == -1


@pytest.mark.parametrize("first", ["send", "recv"])
def test_a_late_handshake_of_tls_is_made_by_one_thread(
    first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the one that receives may read what the one that sends is waiting for."""
    client_context, server_context = tls_contexts()
    client, server = tcp_pair()
    wait = Transport.wait

    def wait_later(transport: Transport, for_writing: bool, deadline: Deadline) -> None:
        if threading.current_thread() in slow:
            time.sleep(0.1)
        wait(transport, for_writing, deadline)

    monkeypatch.setattr(Transport, "wait", wait_later)
    greeter = MessageSocket(
        server_context.wrap_socket(server, server_side=True, do_handshake_on_connect=False)
    )
    sending = threading.Thread(target=greeter.send, args=(b"greeting",), daemon=True)
    receiving = threading.Thread(target=lambda: answers.append(greeter.recv()), daemon=True)
    slow = {sending}
    answers: list[bytes] = []
    for thread in (sending, receiving) if first == "send" else (receiving, sending):
        thread.start()
    with MessageSocket(client_context.wrap_socket(client, server_hostname="localhost")) as guest:
        assert guest.recv(timeout=10) == b"greeting"
        guest.send(b"thanks")
        for thread in (sending, receiving):
            thread.join(10)
        assert answers == [b"thanks"]
        greeter.close()


def test_a_failed_handshake_is_raised_by_the_call_that_makes_it() -> None:
    _, server_context = tls_contexts()
    client, server = tcp_pair()
    with ThreadPoolExecutor() as executor, client, server:
        secure = ssl.create_default_context().wrap_socket(
            client, server_hostname="localhost", do_handshake_on_connect=False
        )

        def accept() -> None:
            time.sleep(0.05)
            with pytest.raises(ssl.SSLError):
                server_context.wrap_socket(server, server_side=True)

        accepting = executor.submit(accept)
        messages = MessageSocket(secure)
        with pytest.raises(ssl.SSLCertVerificationError):
            messages.send(b"hello")
        for call in (messages.recv, lambda: messages.send(b"hello")):
            with pytest.raises(ssl.SSLError):
                call()
        assert messages.unsent == 0
        messages.close()
        accepting.result()


def test_a_late_handshake_keeps_to_the_timeout() -> None:
    client_context, _ = tls_contexts()
    client, server = tcp_pair()
    with server:
        messages = MessageSocket(
            client_context.wrap_socket(
                client, server_hostname="localhost", do_handshake_on_connect=False
            )
        )
        with pytest.raises(TimeoutError):
            messages.send(b"hello", timeout=0.05)
        messages.sock.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            messages.recv()
        messages.sock.settimeout(0.05)
        messages.close()


def test_what_was_tls_before_makes_no_handshake() -> None:
    client, server = tls_pair()
    with ThreadPoolExecutor() as executor:
        unwrapping = executor.submit(server.unwrap)  # type: ignore[attr-defined]
        here = client.unwrap()  # type: ignore[attr-defined]
        there = unwrapping.result()
    with MessageSocket(here) as sender, MessageSocket(there) as receiver:
        sender.send(b"in plain text")
        assert receiver.recv() == b"in plain text"


def test_who_waits_to_detach_keeps_nobody_from_sending(plain_pair: Pair) -> None:
    client, server = map(MessageSocket, plain_pair)
    with ThreadPoolExecutor() as executor, server:
        receiving = executor.submit(client.recv)
        wait_until(client._receiving.locked)
        detaching = executor.submit(client.detach)
        time.sleep(0.05)
        client.send(b"question", timeout=10)
        server.send(server.recv().upper())
        assert receiving.result(10) == b"QUESTION"
        assert detaching.result(10) == (plain_pair[0], b"")

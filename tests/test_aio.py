"""``framing.aio``: nothing is lost or doubled, wherever a call is cancelled."""

from __future__ import annotations

import asyncio
import errno
import inspect
import io
import logging
import re
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing, suppress
from itertools import chain, cycle
from operator import length_hint
from pathlib import Path
from typing import Any, TypeVar

import pytest

import framing
from framing import DelimiterFramer, EndOfStreamError, LengthPrefixFramer, LineFramer, aio

from .pairs import has_unread, raising, reset, tls_contexts

T = TypeVar("T")
Test = Callable[..., Coroutine[Any, Any, None]]

ANY_PORT = ("127.0.0.1", 0)
BOUND = 60  # seconds for what should take none
LINES = LineFramer()

unix, tls_over_unix = (
    pytest.param(
        kind, marks=pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
    )
    for kind in ("Unix", "TLS over Unix")
)


def on_every_loop(test: Test) -> Callable[..., None]:
    """Make a test of a coroutine function, which may have parameters and fixtures."""

    def call(loop_of: str, **fixtures: Any) -> None:
        with closing(pytest.importorskip(loop_of).new_event_loop()) as loop:
            failed: list[object] = []
            loop.set_exception_handler(lambda _, context: failed.append(context))
            loop.run_until_complete(asyncio.wait_for(test(**fixtures), BOUND))
            loop.run_until_complete(turns(5))  # in which closed connections hear of it
            loop.run_until_complete(loop.shutdown_default_executor())
            assert failed == []  # neither a callback nor a task that nobody waits for

    names = ["loop_of", *inspect.signature(test).parameters]
    parameters = [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY) for each in names]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    each_loop = pytest.mark.parametrize("loop_of", ["asyncio", "uvloop"])
    return each_loop(call)  # type: ignore[no-any-return]


async def echo(conn: aio.MessageStream[Any]) -> None:
    async for message in conn:
        await conn.send(message)


@asynccontextmanager
async def pair(framer: Any = LINES) -> AsyncIterator[tuple[Any, Any]]:
    """A client, and the server's side of its connection, which stays open until the block ends."""
    accepted = asyncio.get_running_loop().create_future()
    is_over = asyncio.Event()

    async def handle(conn: aio.MessageStream[Any]) -> None:
        accepted.set_result(conn)
        await is_over.wait()

    async with (
        await aio.serve(handle, ANY_PORT, framer) as server,
        await aio.connect(server.address, framer) as client,
    ):
        yield client, await accepted
        is_over.set()


@asynccontextmanager
async def plain_peer(framer: Any = LINES) -> AsyncIterator[tuple[socket.socket, Any]]:
    """A plain socket that sends any bytes, and our side of its connection."""
    with socket.create_server(ANY_PORT) as listener:
        async with await aio.connect(listener.getsockname(), framer) as conn:
            peer, _ = listener.accept()
            with peer:
                yield peer, conn


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # run() bounds the time
        await asyncio.sleep(0.001)


def small_buffers(*sides: Any) -> None:
    """Let the system keep few bytes on the way."""
    for side in sides:
        sock = side if isinstance(side, socket.socket) else side.get_extra_info("socket")
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, 65_536)


async def received(conn: aio.MessageStream[Any]) -> list[Any]:
    return [message async for message in conn]


# Serving and connecting


@asynccontextmanager
async def echoed(kind: str, folder: Path) -> AsyncIterator[tuple[Any, Callable[[], Any]]]:
    """A stream to an echo server, and a function that makes a ``MessageSocket`` to it."""
    client_tls, server_tls = tls_contexts() if "TLS" in kind else (None, None)
    address: Any = str(folder / "s") if "Unix" in kind else ANY_PORT
    if kind == "TLS over Unix":  # where no name can be checked
        client_tls = ssl.create_default_context()
        client_tls.check_hostname, client_tls.verify_mode = False, ssl.CERT_NONE
    async with await aio.serve(echo, address, ssl=server_tls) as server:
        address = ("localhost", server.address[1]) if kind == "TLS" else server.address
        if kind == "reader and writer":
            both = await asyncio.open_connection(*address)
            conn = aio.MessageStream.over(*both, LengthPrefixFramer())
            assert conn.get_extra_info("peername") == address
        else:
            conn = await aio.connect(address, ssl=client_tls)
        if kind == "TLS over Unix":
            assert conn.get_extra_info("ssl_object").server_hostname is None
        async with conn:
            yield conn, lambda: framing.connect(address, timeout=BOUND, ssl=client_tls)


@pytest.mark.parametrize("kind", ["TCP", unix, "TLS", tls_over_unix, "reader and writer"])
@on_every_loop
async def test_messages_go_both_ways_up_to_a_clean_end(kind: str, tmp_path: Path) -> None:
    sizes = [0, 1, 70_000, 3, 40_000, 40_000, 300_000, 5, 1_000_000, 7]
    messages = [bytes([i]) * size for i, size in enumerate(sizes)]
    buffer = bytearray(messages[-2])

    async def send() -> None:
        for message in messages * 2:  # the small ones of a turn go out together
            await conn.send(message)
        await conn.send(buffer)
        buffer[:] = bytes(len(buffer))  # send() has returned, so this changes nothing
        await conn.send_many([bytearray(messages[1]), memoryview(messages[2]), *messages])

    def talk() -> bytes:
        with new_socket() as sock:
            sock.send(messages[-2])
            return bytes(sock.recv())

    async with echoed(kind, tmp_path) as (conn, new_socket):
        sending = asyncio.ensure_future(send())
        expected = [*messages * 2, *messages[-2:-1], *messages[1:3], *messages]
        assert [await conn.recv() for _ in expected] == expected
        await sending
        assert await asyncio.get_running_loop().run_in_executor(None, talk) == messages[-2]
        if "TLS" in kind:
            text = "^TLS cannot end one direction: close the connection$"
            with pytest.raises(io.UnsupportedOperation, match=text):
                conn.end()
            return
        conn.end()
        text = r"nothing can be sent any more: end\(\) was called, or the other side has closed$"
        with pytest.raises(BrokenPipeError, match=rf"^\[Errno {errno.EPIPE}\] {text}"):
            await conn.send(b"more")
        assert await received(conn) == []
        for _ in range(2):
            with pytest.raises(EndOfStreamError):
                await conn.recv()


@on_every_loop
async def test_a_server_on_ipv6_has_a_host_and_a_port() -> None:
    try:
        server = await aio.serve(echo, ("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 address")
    async with server, await aio.connect(server.address) as conn:
        assert (server.address[0], len(server.address)) == ("::1", 2)
        address: Any = (*server.address, 0, 0)  # as getpeername() returns it
        async with await aio.connect(address) as other:
            for each in (conn, other):
                await each.send(b"hello")
                assert await each.recv() == b"hello"


@pytest.mark.parametrize("is_late", [False, True])
@on_every_loop
async def test_tls_that_is_cut_off_is_no_clean_end_and_that_comes_late_no_client(
    is_late: bool,
) -> None:
    client_tls, server_tls = tls_contexts()
    got: asyncio.Queue[object] = asyncio.Queue()

    async def handle(conn: aio.MessageStream[bytes]) -> None:
        try:
            got.put_nowait(await received(conn))
        except (OSError, framing.IncompleteMessageError) as error:
            got.put_nowait(error)

    server = await aio.serve(handle, ANY_PORT, ssl=server_tls)
    plain = socket.create_connection(server.address)
    with client_tls.wrap_socket(
        plain, server_hostname="localhost", do_handshake_on_connect=False
    ) as sock:
        sock.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            sock.do_handshake()
        await until(lambda: has_unread(sock))  # so the server has begun it
        if is_late:
            await server.aclose()
        sock.do_handshake()
        with suppress(ConnectionError):
            sock.send(b"\0\0\0\5he")
        await turns(5)
    if is_late:
        assert got.empty()
    else:
        assert isinstance(await got.get(), Exception)
        await server.aclose()


@pytest.mark.parametrize("kind", ["TCP", unix])
@on_every_loop
async def test_closing_a_server_cancels_its_handlers_and_frees_its_address(
    kind: str, tmp_path: Path
) -> None:
    tasks: list[Any] = []

    async def handle(conn: aio.MessageStream[str]) -> None:
        tasks.append(asyncio.current_task())
        await conn.send("welcome")
        await conn.recv()

    server = await aio.serve(handle, ANY_PORT if kind == "TCP" else str(tmp_path / "s"), LINES)
    waiting = asyncio.ensure_future(server.serve_forever())
    with pytest.raises(OSError, match="in use"):
        await aio.serve(echo, server.address)
    async with await aio.connect(server.address, LINES) as conn:
        assert await conn.recv() == "welcome"
        await server.aclose()
        await server.aclose()
        await waiting
        assert await received(conn) == []  # and no reset
        assert tasks[-1].cancelled()
    addresses = [(host, server.address[1]) for host in ("127.0.0.1", "localhost")]
    for address in addresses if kind == "TCP" else [str(tmp_path / "s")]:
        name = "{}:{};".format(*address) if kind == "TCP" else ";"
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)) as caught:
            await aio.connect(address)
        assert f"{name} is the server running" in str(caught.value)


@on_every_loop
async def test_closing_a_server_does_not_wait_for_a_handler_that_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aio, "_JOIN_TIME", 0.01)
    is_over = asyncio.Event()

    async def handle(conn: aio.MessageStream[str]) -> None:
        await conn.send("welcome")
        while not is_over.is_set():
            with suppress(asyncio.CancelledError):
                await is_over.wait()

    server = await aio.serve(handle, ANY_PORT, LINES)
    async with await aio.connect(server.address, LINES) as conn:
        assert await conn.recv() == "welcome"
        await server.aclose()
        is_over.set()
        assert await received(conn) == []


@on_every_loop
async def test_a_lost_client_is_one_line_and_a_handlers_own_error_has_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard = []

    async def handle(conn: aio.MessageStream[str]) -> None:
        heard.append(await conn.recv())
        if heard[-1] == "fail":
            raise ConnectionRefusedError("the database is down")
        await conn.recv()

    def records() -> list[logging.LogRecord]:
        return [each for each in caplog.records if each.name == aio.__name__]

    caplog.set_level(logging.INFO, aio.__name__)
    async with await aio.serve(handle, ANY_PORT, LINES) as server:
        for number, data in enumerate((b"fail\n", b"a\n", b"a\ncaf\xe9\n", b"reset\n"), 1):
            with socket.create_connection(server.address, BOUND) as client:
                client.sendall(data)
                await until(lambda n=number: len(heard) == n)  # type: ignore[misc]
                reset(client) if data == b"reset\n" else client.shutdown(socket.SHUT_WR)
                await until(lambda n=number: len(records()) == n)  # type: ignore[misc]
    failed, lost, bad, was_reset = records()
    assert (failed.levelno, "in handle" in str(failed.exc_text)) == (logging.ERROR, True)
    assert (lost.levelno, lost.exc_info) == (logging.INFO, None)
    assert re.match(r"127\.0\.0\.1:\d+ disconnected: the stream has ended", lost.getMessage())
    assert (bad.levelno, bad.exc_info, r"0xe9" in bad.getMessage()) == (logging.WARNING, None, True)
    assert (was_reset.levelno, was_reset.exc_info) == (logging.INFO, None)


@on_every_loop
async def test_a_lost_tls_connection_that_the_handler_has_closed_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client_tls, server_tls = tls_contexts()
    is_over = asyncio.Event()

    async def handle(conn: aio.MessageStream[bytes]) -> None:
        async with conn:
            with pytest.raises(ConnectionError):
                await echo(conn)
        is_over.set()

    caplog.set_level(logging.INFO, aio.__name__)
    async with await aio.serve(handle, ANY_PORT, ssl=server_tls) as server:
        address = "localhost", server.address[1]
        with pytest.raises(KeyError):
            async with await aio.connect(address, ssl=client_tls) as client:
                await client.send(b"hello")
                assert await client.recv() == b"hello"
                sock = client.get_extra_info("socket")
                reset(socket.fromfd(sock.fileno(), sock.family, sock.type))
                raise KeyError
        await is_over.wait()
        await turns(5)
    assert [each for each in caplog.records if each.name == aio.__name__] == []


@on_every_loop
async def test_the_unsent_bytes_go_out_when_a_handler_returns() -> None:
    kept = []

    async def handle(conn: aio.MessageStream[bytes]) -> None:
        await conn.send(b"x" * 3_000_000)
        kept.append(conn.switch(LINES))
        await kept[0].send("bye")

    async with await aio.serve(handle, ANY_PORT) as server:
        conn = await aio.connect(server.address)
        assert await conn.recv() == b"x" * 3_000_000
        async with conn.switch(LINES) as lines:
            assert await received(lines) == ["bye"]
            text = "the connection was closed before the end of the stream"
            for call in (kept[0].recv(), kept[0].send("more")):  # by a task that still has it
                with pytest.raises(ConnectionAbortedError, match=f"{errno.ECONNABORTED}] {text}$"):
                    await call


# Cancelling


class Cancelling:
    """Calls a coroutine function again and again, until it comes to its end uncancelled."""

    def __init__(self) -> None:
        self.calls = self.count = 0

    async def __call__(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        while True:
            task = asyncio.ensure_future(function())
            self.calls += 1
            await turns(self.calls % 8)
            task.cancel()
            try:
                return await task
            except asyncio.CancelledError:
                self.count += 1


@pytest.mark.parametrize("is_batch", [False, True])
@on_every_loop
async def test_each_message_arrives_once_wherever_send_and_recv_are_cancelled(
    is_batch: bool,
) -> None:
    sizes = [5, 100_000, 1, 400_000, 64_000, 2] * 6 + [3000] * 60
    messages = [f"{i} {'x' * size}" for i, size in enumerate(sizes)]
    rest, got = iter(messages), []
    sending, receiving = Cancelling(), Cancelling()

    async def send(conn: aio.MessageStream[str]) -> None:
        if is_batch:
            await sending(lambda: conn.send_many(rest))
        for message in rest:
            await sending(lambda each=message: conn.send(each))  # type: ignore[misc]
        conn.end()

    async with pair() as (client, conn):
        small_buffers(client, conn)
        task = asyncio.ensure_future(send(client))
        await until(lambda: sending.count > 20)  # so the way is full
        with suppress(EndOfStreamError, StopAsyncIteration):
            for call in cycle((conn.recv, conn.__anext__)):
                got.append(await receiving(call))  # noqa: PERF401  # until one raises
        await task
        assert got == messages
        assert receiving.count > 2


@on_every_loop
async def test_connecting_and_closing_can_be_cancelled_anywhere() -> None:
    async with await aio.serve(echo, ANY_PORT, LINES) as server:
        for n in range(12):
            task = asyncio.ensure_future(aio.connect(server.address, LINES))
            await turns(n)
            task.cancel()
            await asyncio.wait([task])
            conn = await (aio.connect(server.address, LINES) if task.cancelled() else task)
            await conn.send("hello")
            assert await conn.recv() == "hello"
            closing = asyncio.ensure_future(conn.aclose())
            await turns(n % 4 + 1)
            closing.cancel()
            await asyncio.wait([closing])
            text = rf"^\[Errno {errno.EBADF}\] this MessageStream is closed$"
            with pytest.raises(OSError, match=text):
                await conn.recv()


@on_every_loop
async def test_a_timeout_loses_nothing_and_a_reset_is_not_the_end() -> None:
    async with plain_peer(LengthPrefixFramer()) as (peer, conn):
        peer.sendall(b"\0\0\0\5he")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(conn.recv(), 0.02)
        peer.sendall(b"llo")
        assert await conn.recv() == b"hello"
        receiving = asyncio.ensure_future(received(conn))
        await turns(2)
        reset(peer)
        with pytest.raises(ConnectionResetError):
            await receiving
        for call in (conn.recv, conn.__anext__, lambda: conn.send(b"x")):
            with pytest.raises(ConnectionResetError):
                await call()


@on_every_loop
async def test_a_lost_connection_is_noticed_while_nobody_receives() -> None:
    async with plain_peer() as (peer, conn):
        peer.sendall(b"hello\n")
        await turns(5)
        reset(peer)
        await turns(5)
        with pytest.raises(ConnectionResetError):
            await conn.send("too late")


# Many tasks, and slow peers


@on_every_loop
async def test_small_messages_of_a_turn_go_out_together_behind_the_first() -> None:
    async with plain_peer() as (peer, conn):
        for line in "abc":
            await conn.send(line)
        first = peer.recv(100) if has_unread(peer) else b""  # uvloop writes when the turn ends
        assert first in {b"a\n", b""}
        await turns(3)
        assert first + peer.recv(6 - len(first), socket.MSG_WAITALL) == b"a\nb\nc\n"


@on_every_loop
async def test_send_many_takes_messages_no_faster_than_they_go_out() -> None:
    rest = iter(["x" * 1000] * 10_000)
    with pytest.raises(asyncio.TimeoutError):
        async with plain_peer() as (peer, conn):
            small_buffers(conn, peer)
            await asyncio.wait_for(conn.send_many(rest), 0.02)
    assert length_hint(rest) > 5000


@pytest.mark.parametrize("messages", [[b"x" * 60_000] * 150, [b"x" * 9_000_000]], ids=len)
@on_every_loop
async def test_reading_pauses_while_nobody_receives(messages: list[bytes]) -> None:
    wire = memoryview(b"".join(map(LengthPrefixFramer().encode, messages)))
    async with plain_peer(LengthPrefixFramer()) as (peer, conn):
        small_buffers(conn, peer)
        peer.setblocking(False)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(conn.recv(), conn.recv()), 0.01)
        # From now on, no call waits.
        sent = failures = 0
        while failures < 50 and sent < len(wire):  # then it is not because the machine is busy
            try:
                sent += peer.send(wire[sent:])
                failures = 0
            except BlockingIOError:
                failures += 1
                await asyncio.sleep(0.001)
        assert sent < 2_000_000
        loop = asyncio.get_running_loop()
        sending = asyncio.ensure_future(loop.sock_sendall(peer, wire[sent:]))
        assert [await conn.recv() for _ in messages] == messages
        await sending


@on_every_loop
async def test_many_tasks_share_a_connection() -> None:
    messages = [[f"{name} {i} {'x' * i * 20}" for i in range(100)] for name in "abcdefgh"]

    async def send(client: aio.MessageStream[str], lines: list[str]) -> None:
        for line in lines:
            await client.send(line)

    async with pair() as (client, conn):
        receivers = [asyncio.ensure_future(received(conn)) for _ in range(5)]
        await asyncio.gather(*(send(client, lines) for lines in messages))
        client.end()
        got = chain.from_iterable(await asyncio.gather(*receivers))
        assert sorted(got) == sorted(chain.from_iterable(messages))


# Errors


@pytest.mark.parametrize(
    ("framer", "data", "expected"),
    [
        (LINES, b"a\n\xff\nb\n\xff\nc", ["a", "BadMessageError 2", "b", "BadMessageError 6", "c"]),
        (LINES, b"a\n", ["a", *["EndOfStreamError"] * 4]),
        (LengthPrefixFramer("!B"), b"\1x\5he", [b"x", *["IncompleteMessageError"] * 4]),
        (LengthPrefixFramer("!B", max_size=5), b"\1x\x7f", [b"x", *["MessageTooLargeError 2"] * 4]),
    ],
)
@on_every_loop
async def test_errors_come_in_their_turn_and_the_last_again_and_again(
    framer: Any, data: bytes, expected: list[Any]
) -> None:
    got = []
    async with plain_peer(framer) as (peer, conn):
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        for call, _ in zip(cycle((conn.recv, conn.__anext__)), expected, strict=False):
            try:
                got.append(await call())
            except framing.FramingError as error:
                got.append(f"{type(error).__name__} {getattr(error, 'offset', '')}".strip())
            except StopAsyncIteration:
                got.append("EndOfStreamError")
    assert got == expected


@pytest.mark.parametrize("error", [TimeoutError, KeyError])
@on_every_loop
async def test_a_connection_that_is_closed_with_unsent_bytes_is_reset(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    monkeypatch.setattr(aio, "_CLOSE_TIME", 0.02)
    async with pair(LengthPrefixFramer()) as (client, conn):
        with pytest.raises(error, match=r"^timed out: the peer takes no more bytes$|mine"):
            async with client:
                await client.send(b"x" * 16_000_000)
                if error is KeyError:  # then it does not even wait
                    raise KeyError("mine")
        with pytest.raises(ConnectionResetError):
            await conn.recv()


@on_every_loop
async def test_a_system_that_refuses_to_reset_a_connection_hides_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse = raising(OSError(errno.EINVAL, "Invalid argument"))  # macOS, if the peer was faster
    monkeypatch.setattr("asyncio.trsock.TransportSocket.setsockopt", refuse)
    with pytest.raises(KeyError, match="mine"):
        async with plain_peer(LengthPrefixFramer()) as (_, conn):
            await conn.send(bytes(9_000_000))
            raise KeyError("mine")


@on_every_loop
async def test_what_cannot_be_sent_is_refused_and_the_rest_goes_out() -> None:
    async with pair() as (client, conn):
        with pytest.raises(framing.EncodeError):
            await client.send("two\nlines")
        with pytest.raises(TypeError):
            await client.send(b"bytes")
        with pytest.raises(framing.EncodeError):
            await client.send_many(["one", "two", "two\nlines", "never"])
        client.end()
        assert await received(conn) == ["one", "two"]


@on_every_loop
async def test_a_refusal_at_each_address_of_a_host_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(ANY_PORT) as closed:
        port = closed.getsockname()[1]

    def two_addresses(*_: object, **__: object) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))
            for host in ("127.0.0.1", "127.0.0.2")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    with pytest.raises(ConnectionRefusedError, match=f"nothing listens at localhost:{port};"):
        await aio.connect(("localhost", port))


@on_every_loop
async def test_wrong_arguments_are_refused() -> None:
    serve: Any = aio.serve
    connect: Any = aio.connect
    for call, text in [
        (serve(ANY_PORT, echo), "a coroutine function"),
        (serve(echo, 9000), "a host and a port"),
        (serve(echo, ANY_PORT, LineFramer), "a framer"),
        (connect(ANY_PORT, LineFramer), "a framer"),
        (connect("127.0.0.1:9000"), r"write \('127.0.0.1', 9000\)"),
    ]:
        with pytest.raises(TypeError, match=text):
            await call
    with pytest.raises(ValueError, match="CLIENT_AUTH"):
        await serve(echo, ANY_PORT, ssl=ssl.create_default_context())


# Switching, and pipes


@on_every_loop
async def test_switch_continues_in_another_format_and_finishes_the_old_object() -> None:
    async with plain_peer() as (peer, conn):
        waiting = asyncio.ensure_future(conn.recv())
        peer.sendall(b"upgrade\n\0\0\0\5hello\0\0\0\2hi")
        assert await waiting == "upgrade"
        other = conn.switch(LengthPrefixFramer())
        text = r"^this MessageStream was finished by switch\(\): use what that returned$"
        assert [await other.recv(), await other.recv()] == [b"hello", b"hi"]
        waiting = asyncio.ensure_future(other.recv())
        await turns(2)
        async with other.switch(DelimiterFramer(b";")) as last:
            peer.sendall(b"end;")
            assert await last.recv() == b"end"
            with pytest.raises(io.UnsupportedOperation):  # it takes nothing of the new object's
                await waiting
            for old in (conn, other):
                for call in (old.recv, old.__anext__):
                    with pytest.raises(io.UnsupportedOperation, match=text):
                        await call()
            with pytest.raises(io.UnsupportedOperation):
                await conn.send("x")
            await last.send(b"bye")
            assert peer.recv(100) == b"bye;"
            await conn.aclose()
            assert peer.recv(100) == b""
        assert (conn.framer, last.framer) == (LINES, DelimiterFramer(b";"))


@on_every_loop
async def test_a_subprocess_answers_over_its_pipes() -> None:
    program = "import sys\nfor line in sys.stdin: print(line.strip().upper(), flush=True)"
    pipe = asyncio.subprocess.PIPE
    process: Any = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=pipe, stdout=pipe
    )
    async with aio.MessageStream.over(process.stdout, process.stdin, LINES) as conn:
        first, *others = (asyncio.ensure_future(conn.recv()) for _ in range(3))
        await turns(3)
        first.cancel()  # takes nothing
        await conn.send_many(["hello", "you"])
        assert [await each for each in others] == ["HELLO", "YOU"]
        receiving = asyncio.ensure_future(received(conn))
        lines = [f"{i}{'x' * 900}" for i in range(1000)]
        for line in lines:
            await conn.send(line)
        conn.end()
        assert await receiving == [line.upper() for line in lines]
        with pytest.raises(OSError, match=r"sent|lost"):
            await conn.send("more")
    assert await process.wait() == 0


@on_every_loop
async def test_sending_over_a_pipe_waits_for_a_reader_and_can_be_given_up() -> None:
    pipe = asyncio.subprocess.PIPE
    process: Any = await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"import time; time.sleep({BOUND})", stdin=pipe, stdout=pipe
    )
    rest = iter(["x" * 10_000] * 1000)

    async def send(conn: aio.MessageStream[str]) -> None:
        for line in rest:
            await conn.send(line)

    with pytest.raises(asyncio.TimeoutError):
        async with aio.MessageStream.over(process.stdout, process.stdin, LINES) as conn:
            await asyncio.wait_for(send(conn), 0.02)
    assert length_hint(rest) > 900
    process.kill()
    await process.wait()


# The recipe for everything that is not asyncio


def recipe() -> dict[str, Any]:
    """Run what the page defines, and return it."""
    page = Path(__file__).parent.parent / "docs" / "howto" / "asyncio.md"
    names: dict[str, Any] = {"framing": framing}
    for block in re.findall(r"(?ms)^```python\n(.*?)^```$", page.read_text("utf-8")):
        if "class Messages:" in block or "def over_anyio" in block:
            exec(block, names)  # noqa: S102
    return names


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_recipe_works_over_anyio_and_a_timeout_loses_nothing(backend: str) -> None:
    anyio = pytest.importorskip("anyio")
    pytest.importorskip(backend)

    async def main() -> None:
        with socket.create_server(ANY_PORT) as listener, anyio.fail_after(BOUND):
            stream = await anyio.connect_tcp(*listener.getsockname())
            peer = listener.accept()[0]
            async with stream:
                with peer:
                    conn = recipe()["over_anyio"](stream, LINES)
                    peer.sendall(b"hel")
                    with anyio.move_on_after(0.02) as scope:
                        await conn.recv()
                    assert scope.cancelled_caught
                    peer.sendall(b"lo\ncaf\xff\nnext\n")
                    assert await conn.recv() == "hello"
                    with pytest.raises(framing.BadMessageError):
                        await conn.recv()
                    assert await conn.recv() == "next"
                    await conn.send("bye")
                    assert peer.recv(100) == b"bye\n"
                assert [line async for line in conn] == []

    anyio.run(main, backend=backend)


def test_the_recipe_works_over_trio() -> None:
    trio = pytest.importorskip("trio")
    messages = recipe()["Messages"]

    async def main() -> None:
        near, far = trio.testing.memory_stream_pair()
        left, right = (messages(each.receive_some, each.send_all, LINES) for each in (near, far))
        await left.send("hello")
        await left.send("you")
        await near.send_eof()
        assert [line async for line in right] == ["hello", "you"]

    trio.run(main)


@on_every_loop
async def test_the_recipe_refuses_to_send_behind_a_message_that_was_cut() -> None:
    sent: list[bytes] = []

    async def send_half(data: bytes) -> None:
        sent.append(data[:2])
        await asyncio.sleep(BOUND)

    conn = recipe()["Messages"](None, send_half, LINES)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(conn.send("hello"), 0.01)
    with pytest.raises(OSError, match="cut short"):
        await conn.send("again")
    assert sent == [b"he"]

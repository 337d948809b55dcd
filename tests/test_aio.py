"""``framing.aio``: nothing is lost or doubled, wherever a call is cancelled."""

from __future__ import annotations

import asyncio
import inspect
import io
import logging
import re
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

import pytest

import framing
from framing import EndOfStreamError, IncompleteMessageError, LengthPrefixFramer, LineFramer, aio

from .pairs import tls_contexts

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]

ANY_PORT = ("127.0.0.1", 0)
BOUND = 60  # seconds for what should take none
LINES = LineFramer()
RESET = struct.pack("ii" if sys.platform != "win32" else "hh", 1, 0)

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run[Any]:
    module = asyncio if request.param == "asyncio" else pytest.importorskip(request.param)

    def run(main: Coroutine[Any, Any, T]) -> T:
        loop = module.new_event_loop()
        try:
            result: T = loop.run_until_complete(asyncio.wait_for(main, BOUND))
            for _ in range(5):
                loop.run_until_complete(asyncio.sleep(0))  # what was closed is told so
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
        return result

    return run


def on_every_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    def call(run: Run[None], **fixtures: Any) -> None:
        run(test(**fixtures))

    names = ["run", *inspect.signature(test).parameters]
    parameters = [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY) for each in names]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return call


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


async def echo(conn: aio.MessageStream[Any]) -> None:
    async for message in conn:
        await conn.send(message)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # run() bounds the time
        await asyncio.sleep(0.001)


async def received(conn: aio.MessageStream[Any], got: list[Any] | None = None) -> list[Any]:
    got = [] if got is None else got
    async for message in conn:
        got.append(message)  # kept if it is left by an exception
    return got


# Serving and connecting


@on_every_loop
async def test_messages_go_both_ways_and_the_stream_ends_cleanly() -> None:
    async with (
        await aio.serve(echo, ANY_PORT) as server,
        await aio.connect(server.address) as conn,
    ):
        await conn.send(b"hello")
        assert await conn.recv() == b"hello"
        large: list[Any] = [b"", b"x" * 5_000_000, bytearray(b"y" * 300_000), memoryview(b"z" * 9)]
        sending = asyncio.ensure_future(conn.send_many(large))
        assert [await conn.recv() for _ in large] == large
        await sending
        conn.end()
        assert await received(conn) == []
        for _ in range(2):
            with pytest.raises(EndOfStreamError):
                await conn.recv()
        with pytest.raises(BrokenPipeError, match="end"):
            await conn.send(b"more")


@needs_unix
@on_every_loop
async def test_a_unix_socket_is_an_address_and_removed_at_the_end(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    async with await aio.serve(echo, path, LINES) as server:
        assert server.address == path
        with pytest.raises(OSError, match="in use"):
            await aio.serve(echo, path)
        async with await aio.connect(path, LINES) as conn:
            await conn.send("hello")
            assert await conn.recv() == "hello"
    with pytest.raises(FileNotFoundError, match="is the server running"):
        await aio.connect(path)


@on_every_loop
async def test_a_refused_connection_names_the_address() -> None:
    with socket.create_server(ANY_PORT) as free:
        port = free.getsockname()[1]
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(ConnectionRefusedError, match=rf"{host}:{port}; is the server running"):
            await aio.connect((host, port))


@on_every_loop
async def test_tls_carries_messages_between_asyncio_and_threads() -> None:
    client_context, server_context = tls_contexts()

    def talk(port: int) -> None:
        address = ("localhost", port)
        with framing.connect(address, LINES, timeout=BOUND, ssl=client_context) as conn:
            conn.send("x" * 900_000)
            assert conn.recv() == "x" * 900_000

    async with await aio.serve(echo, ANY_PORT, LINES, ssl=server_context) as server:
        port = server.address[1]
        await asyncio.get_running_loop().run_in_executor(None, talk, port)
        async with await aio.connect(("localhost", port), LINES, ssl=client_context) as conn:
            await conn.send_many(["x" * 900_000, "hello"])
            assert [len(await conn.recv()), await conn.recv()] == [900_000, "hello"]
            with pytest.raises(io.UnsupportedOperation):
                conn.end()


@on_every_loop
async def test_tls_that_is_cut_off_in_a_message_does_not_look_like_a_clean_end() -> None:
    client_context, server_context = tls_contexts()
    loop = asyncio.get_running_loop()
    got: asyncio.Queue[object] = asyncio.Queue()

    async def handle(conn: aio.MessageStream[bytes]) -> None:
        try:
            got.put_nowait(await received(conn))
        except (OSError, IncompleteMessageError) as error:
            got.put_nowait(type(error))

    def cut_off(port: int) -> None:
        plain = socket.create_connection(("127.0.0.1", port), BOUND)
        with client_context.wrap_socket(plain, server_hostname="localhost") as conn:
            conn.sendall(b"\0\0\0\5he")

    async with await aio.serve(handle, ANY_PORT, ssl=server_context) as server:
        await loop.run_in_executor(None, cut_off, server.address[1])
        assert isinstance(await got.get(), type)


@on_every_loop
async def test_closing_a_server_cancels_its_handlers_and_resets_no_other() -> None:
    tasks: list[Any] = []

    async def handle(conn: aio.MessageStream[str]) -> None:
        tasks.append(asyncio.current_task())
        await conn.send("welcome")
        await conn.recv()

    server = await aio.serve(handle, ANY_PORT, LINES)
    waiting = asyncio.ensure_future(server.serve_forever())
    async with await aio.connect(server.address, LINES) as conn:
        assert await conn.recv() == "welcome"
        await server.aclose()
        await server.aclose()
        await waiting
        assert await received(conn) == []
        assert tasks[0].cancelled()
    with pytest.raises(ConnectionRefusedError):
        await aio.connect(server.address)


@on_every_loop
async def test_a_lost_client_is_one_line_and_a_handlers_own_error_has_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handle(conn: aio.MessageStream[str]) -> None:
        if await conn.recv() == "fail":
            raise ConnectionRefusedError("the database is down")
        await conn.recv()

    caplog.set_level(logging.INFO, aio.__name__)
    async with await aio.serve(handle, ANY_PORT, LINES) as server:
        for number, data in enumerate((b"fail\n", b"hello\n", b"hello\ncaf\xe9\n"), 1):
            with socket.create_connection(server.address, BOUND) as client:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                await until(lambda n=number: len(caplog.records) == n)  # type: ignore[misc]
    failed, lost, bad = caplog.records
    assert (failed.levelno, "in handle" in str(failed.exc_text)) == (logging.ERROR, True)
    assert (lost.levelno, lost.exc_info) == (logging.INFO, None)
    assert "disconnected: the stream has ended" in lost.getMessage()
    assert (bad.levelno, bad.exc_info, r"0xe9" in bad.getMessage()) == (logging.WARNING, None, True)


@on_every_loop
async def test_the_unsent_bytes_go_out_when_a_handler_returns() -> None:
    async def handle(conn: aio.MessageStream[bytes]) -> None:
        await conn.send(b"x" * 3_000_000)
        await conn.switch(LINES).send("bye")

    async with await aio.serve(handle, ANY_PORT) as server:
        conn = await aio.connect(server.address)
        assert await conn.recv() == b"x" * 3_000_000
        async with conn.switch(LINES) as lines:
            assert await received(lines) == ["bye"]


# Cancelling


class Cancelling:
    """Calls a coroutine function again and again, until it comes to its end uncancelled."""

    def __init__(self, often: int = 0, then: Callable[[], object] = bool) -> None:
        self.calls, self.count, self.often, self.then = 0, 0, often, then

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
                if self.count == self.often:
                    self.then()


@pytest.mark.parametrize(("size", "count"), [(5, 40), (700_000, 6)])
@on_every_loop
async def test_a_recv_that_is_cancelled_anywhere_has_taken_nothing(size: int, count: int) -> None:
    messages = [f"{i} {'x' * size}" for i in range(count)]

    async def send(conn: aio.MessageStream[str]) -> None:
        for i, message in enumerate(messages):
            await conn.send(message)
            await turns(i % 20)
        conn.end()

    async with pair() as (client, conn):
        sending = asyncio.ensure_future(send(client))
        cancelling, got = Cancelling(), []
        for call in cycle((conn.recv, conn.__anext__)):
            try:
                got.append(await cancelling(call))
            except (EndOfStreamError, StopAsyncIteration):
                break
        await sending
        assert got == messages
        assert cancelling.count > 2


@on_every_loop
async def test_a_send_that_is_cancelled_anywhere_has_sent_nothing() -> None:
    messages = [f"{i} {'x' * n}" for i, n in enumerate([5, 100_000, 1, 400_000, 64_000, 2] * 30)]
    async with pair() as (client, conn):
        got: list[str] = []
        # Only after some calls were cancelled, so that the way was full.
        cancelling = Cancelling(20, lambda: asyncio.ensure_future(received(conn, got)))
        for message in messages:
            await cancelling(lambda each=message: client.send(each))  # type: ignore[misc]
        client.end()
        await until(lambda: len(got) == len(messages))
        assert got == messages


@on_every_loop
async def test_a_send_many_that_is_cancelled_anywhere_has_sent_what_it_took() -> None:
    messages = [f"{i} {'x' * 3000}" for i in range(3000)]
    async with pair() as (client, conn):
        got: list[str] = []
        cancelling = Cancelling(60, lambda: asyncio.ensure_future(received(conn, got)))
        iterator = iter(messages)
        await cancelling(lambda: client.send_many(iterator))
        client.end()
        await until(lambda: len(got) == len(messages))
        assert got == messages


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
            with pytest.raises(OSError, match="closed"):
                await conn.recv()


@on_every_loop
async def test_a_timeout_loses_nothing() -> None:
    async with pair(LengthPrefixFramer()) as (client, conn):
        sock = client.get_extra_info("socket")
        assert sock.getpeername() == client.get_extra_info("peername")
        client._link.transport.write(b"\0\0\0\5he")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(conn.recv(), 0.02)
        client._link.transport.write(b"llo")
        assert await conn.recv() == b"hello"


# Slow peers


@on_every_loop
async def test_reading_pauses_while_nobody_receives() -> None:
    count, size = 300, 60_000

    async with pair() as (client, conn):
        messages = ["x" * size] * count
        sending = asyncio.ensure_future(client.send_many(messages))
        link = conn._link
        await until(lambda: link._is_paused)
        assert link.decoder.bytes_buffered < 1_000_000
        assert not sending.done()
        assert [len(await conn.recv()) for _ in range(count)] == [size] * count
        await sending


@on_every_loop
async def test_a_message_larger_than_what_is_read_ahead_comes_whole() -> None:
    async with pair(LengthPrefixFramer()) as (client, conn):
        message = bytearray(b"x" * 3_000_000)
        sending = asyncio.ensure_future(client.send(message))
        await until(lambda: conn._link._is_paused)  # in the middle of it
        await sending
        message[:] = b"y" * len(message)  # send() has returned, so this changes nothing
        await client.send(b"next")
        assert await conn.recv() == b"x" * len(message)
        assert await conn.recv() == b"next"


@on_every_loop
async def test_many_tasks_share_a_connection() -> None:
    async with pair() as (client, conn):

        async def send(name: str) -> None:
            for i in range(100):
                await client.send(f"{name} {i} {'x' * i * 20}")

        receivers = [asyncio.ensure_future(received(conn)) for _ in range(5)]
        await asyncio.gather(*map(send, "abcdefgh"))
        client.end()
        got = [line for lines in await asyncio.gather(*receivers) for line in lines]
        assert sorted(got) == sorted(
            f"{name} {i} {'x' * i * 20}" for name in "abcdefgh" for i in range(100)
        )


@on_every_loop
async def test_messages_of_one_turn_keep_their_order() -> None:
    sizes = [0, 1, 70_000, 3, 40_000, 40_000, 300_000, 5]

    async with pair(framing.DelimiterFramer(b"\0")) as (client, conn):
        receiving = asyncio.ensure_future(received(conn))
        for _ in range(3):
            for size in sizes:
                await client.send(b"x" * size)
        client.end()
        assert [*map(len, await receiving)] == sizes * 3


# Errors


@on_every_loop
async def test_bad_messages_are_raised_in_their_turn_and_iteration_goes_on() -> None:
    async with pair() as (client, conn):
        client._link.transport.write(b"one\n\xff\ntwo\n\xff\nthree\n")
        client.end()
        got: list[object] = []
        for offset in (4, 10):
            with pytest.raises(framing.BadMessageError) as caught:
                await received(conn, got)
            assert caught.value.offset == offset
        await received(conn, got)
        assert got == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("data", "kind"), [(b"\5he", IncompleteMessageError), (b"\x7f", framing.MessageTooLargeError)]
)
@on_every_loop
async def test_a_broken_stream_is_an_error_again_and_again(
    data: bytes, kind: type[Exception]
) -> None:
    async with pair(LengthPrefixFramer("!B", max_size=5)) as (client, conn):
        client._link.transport.write(b"\1x" + data)
        client.end()
        assert await conn.recv() == b"x"
        for call in (conn.recv, conn.__anext__) * 2:
            with pytest.raises(kind):
                await call()


@on_every_loop
async def test_a_reset_is_an_error_and_not_the_end() -> None:
    async with pair() as (client, conn):
        await client.send("hello")
        assert await conn.recv() == "hello"
        receiving = asyncio.ensure_future(received(conn))
        await turns(2)
        sock = client.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client._link.transport.abort()
        with pytest.raises(ConnectionResetError):
            await receiving
        for call in (conn.recv, conn.__anext__, lambda: conn.send("x")):
            with pytest.raises(ConnectionResetError):
                await call()


@pytest.mark.parametrize("error", [TimeoutError, KeyError])
@on_every_loop
async def test_a_connection_that_is_closed_with_unsent_bytes_is_reset(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    monkeypatch.setattr(aio, "_CLOSE_TIME", 0.02)
    async with pair(LengthPrefixFramer()) as (client, conn):
        with pytest.raises(error, match="takes no more" if error is TimeoutError else "mine"):
            async with client:
                await client.send(b"x" * 16_000_000)
                if error is KeyError:  # then it does not even wait
                    raise KeyError("mine")
        with pytest.raises(ConnectionResetError):
            await conn.recv()


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


# Switching


@on_every_loop
async def test_switch_continues_in_another_format_and_finishes_the_old_object() -> None:
    async with pair() as (client, conn):
        client._link.transport.write(b"upgrade\n\0\0\0\5hello\0\0\0\2hi")
        assert await conn.recv() == "upgrade"
        other = conn.switch(LengthPrefixFramer())
        assert await other.recv() == b"hello"
        assert await other.recv() == b"hi"
        await other.send(b"bye")
        async with client.switch(LengthPrefixFramer()) as last:
            assert await last.recv() == b"bye"
        for call in (conn.recv, conn.__anext__, lambda: conn.send("x")):
            with pytest.raises(io.UnsupportedOperation, match=r"switch\(\)"):
                await call()
        assert other.framer == LengthPrefixFramer()


@on_every_loop
async def test_a_task_that_waits_in_the_old_object_takes_nothing_of_the_new_one() -> None:
    async with pair() as (client, conn):
        waiting = asyncio.ensure_future(conn.recv())
        await turns(2)
        other = conn.switch(framing.DelimiterFramer())
        await client.send("hello")
        assert await other.recv() == b"hello"
        with pytest.raises(io.UnsupportedOperation):
            await waiting


# Pipes


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
async def test_a_reader_and_a_writer_carry_messages() -> None:
    async with await aio.serve(echo, ANY_PORT) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        async with aio.MessageStream.over(reader, writer, LengthPrefixFramer()) as conn:
            await conn.send(b"x" * 1_000_000)
            assert await conn.recv() == b"x" * 1_000_000
            assert conn.get_extra_info("peername") == server.address


# Mistakes


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


# The recipe for everything that is not asyncio


def recipe() -> dict[str, Any]:
    page = Path(__file__).parent.parent / "docs" / "howto" / "asyncio.md"
    blocks = re.findall(
        r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    names: dict[str, Any] = {"framing": framing}
    for block in blocks:
        if "class Messages:" in block or "def over_anyio" in block:
            exec(block, names)  # noqa: S102
    return names


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_recipe_works_over_anyio_and_a_timeout_loses_nothing(backend: str) -> None:
    anyio = pytest.importorskip("anyio")
    pytest.importorskip(backend)
    over_anyio = recipe()["over_anyio"]

    async def main() -> None:
        with socket.create_server(ANY_PORT) as listener, anyio.fail_after(BOUND):
            stream = await anyio.connect_tcp(*listener.getsockname())
            peer = listener.accept()[0]
            async with stream:
                with peer:
                    conn = over_anyio(stream, LINES)
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


def test_the_recipe_refuses_to_send_behind_a_message_that_was_cut(run: Run[None]) -> None:
    sent: list[bytes] = []

    async def send_half(data: bytes) -> None:
        sent.append(data[:2])
        await asyncio.sleep(BOUND)

    async def main() -> None:
        conn = recipe()["Messages"](None, send_half, LINES)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(conn.send("hello"), 0.01)
        with pytest.raises(OSError, match="cut short"):
            await conn.send("again")

    run(main())
    assert sent == [b"he"]

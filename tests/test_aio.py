"""``framing.aio``: nothing is lost or doubled, wherever a call is cancelled."""

from __future__ import annotations

import asyncio
import io
import logging
import re
import socket
import ssl
import struct
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

import framing
from framing import (
    BadMessageError,
    DelimiterFramer,
    EncodeError,
    EndOfStreamError,
    IncompleteMessageError,
    LengthPrefixFramer,
    LineFramer,
    MessageTooLargeError,
    aio,
)

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


class Pair:
    """A client, and the server's side of its connection, which stays open until the block ends."""

    def __init__(self, framer: Any = LINES, **options: Any) -> None:
        self.framer, self.options = framer, options

    async def __aenter__(self) -> tuple[Any, Any]:
        loop = asyncio.get_running_loop()
        accepted = loop.create_future()
        self.leave = loop.create_future()

        async def handle(conn: aio.MessageStream[Any]) -> None:
            accepted.set_result(conn)
            await self.leave

        self.server = await aio.serve(handle, ANY_PORT, self.framer, **self.options)
        self.client = await aio.connect(self.server.address, self.framer)
        return self.client, await accepted

    async def __aexit__(self, *_: object) -> None:
        self.leave.set_result(None)
        await self.client.aclose()
        await self.server.aclose()


async def echo(conn: aio.MessageStream[Any]) -> None:
    async for message in conn:
        await conn.send(message)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # run() bounds the time
        await asyncio.sleep(0.001)


async def received(conn: aio.MessageStream[Any]) -> list[Any]:
    return [message async for message in conn]


# Serving and connecting


def test_messages_go_both_ways_and_the_stream_ends_cleanly(run: Run[None]) -> None:
    async def main() -> None:
        async with (
            await aio.serve(echo, ANY_PORT) as server,
            await aio.connect(server.address) as conn,
        ):
            await conn.send(b"hello")
            assert await conn.recv() == b"hello"
            large = [b"", b"x" * 5_000_000, bytearray(b"y" * 300_000), memoryview(b"z" * 9)]
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

    run(main())


@needs_unix
def test_a_unix_socket_is_an_address_and_removed_at_the_end(run: Run[None], tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def main() -> None:
        async with await aio.serve(echo, str(path), LINES) as server:
            assert server.address == str(path)
            with pytest.raises(OSError, match="in use"):
                await aio.serve(echo, str(path))
            async with await aio.connect(server.address, LINES) as conn:
                await conn.send("hello")
                assert await conn.recv() == "hello"
        with pytest.raises(FileNotFoundError, match="is the server running"):
            await aio.connect(str(path))

    run(main())
    assert not path.exists()


def test_a_refused_connection_names_the_address(run: Run[None]) -> None:
    with socket.create_server(ANY_PORT) as free:
        port = free.getsockname()[1]
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(ConnectionRefusedError, match=rf"{host}:{port}; is the server running"):
            run(aio.connect((host, port)))


def test_tls_carries_messages_between_asyncio_and_threads(run: Run[None]) -> None:
    client_context, server_context = tls_contexts()

    def talk(port: int) -> None:
        address = ("localhost", port)
        with framing.connect(address, LINES, timeout=BOUND, ssl=client_context) as conn:
            conn.send("x" * 900_000)
            assert conn.recv() == "x" * 900_000

    async def main() -> None:
        async with await aio.serve(echo, ANY_PORT, LINES, ssl=server_context) as server:
            port = server.address[1]
            await asyncio.get_running_loop().run_in_executor(None, talk, port)
            async with await aio.connect(("localhost", port), LINES, ssl=client_context) as conn:
                await conn.send_many(["x" * 900_000, "hello"])
                assert [len(await conn.recv()), await conn.recv()] == [900_000, "hello"]
                with pytest.raises(io.UnsupportedOperation):
                    conn.end()

    run(main())


def test_tls_that_is_cut_off_in_a_message_does_not_look_like_a_clean_end(run: Run[None]) -> None:
    client_context, server_context = tls_contexts()
    ends: list[object] = []

    async def handle(conn: aio.MessageStream[bytes]) -> None:
        try:
            ends.append(await received(conn))
        except (OSError, IncompleteMessageError) as error:
            ends.append(error)

    def cut_off(port: int) -> None:
        plain = socket.create_connection(("127.0.0.1", port), BOUND)
        with client_context.wrap_socket(plain, server_hostname="localhost") as conn:
            conn.sendall(b"\0\0\0\5he")

    async def main() -> None:
        async with await aio.serve(handle, ANY_PORT, ssl=server_context) as server:
            port = server.address[1]
            await asyncio.get_running_loop().run_in_executor(None, cut_off, port)
            await until(lambda: bool(ends))

    run(main())
    assert isinstance(ends[0], (OSError, IncompleteMessageError))


def test_closing_a_server_cancels_its_handlers_and_resets_no_other(run: Run[None]) -> None:
    ends: list[str] = []

    async def handle(conn: aio.MessageStream[str]) -> None:
        try:
            await conn.send("welcome")
            await conn.recv()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def main() -> None:
        server = await aio.serve(handle, ANY_PORT, LINES)
        waiting = asyncio.ensure_future(server.serve_forever())
        async with await aio.connect(server.address, LINES) as conn:
            assert await conn.recv() == "welcome"
            await server.aclose()
            await server.aclose()
            await waiting
            assert await received(conn) == []
        with pytest.raises(ConnectionRefusedError):
            await aio.connect(server.address)

    run(main())
    assert ends == ["cancelled"]


def test_a_lost_client_is_one_line_and_a_handlers_own_error_has_a_traceback(
    run: Run[None], caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(conn: aio.MessageStream[str]) -> None:
        if await conn.recv() == "fail":
            raise ConnectionRefusedError("the database is down")
        await conn.recv()

    async def main() -> None:
        async with await aio.serve(handle, ANY_PORT, LINES) as server:
            for data in (b"fail\n", b"hello\n", b"hello\ncaf\xe9\n"):
                logged = len(caplog.records)
                with socket.create_connection(server.address, BOUND) as client:
                    client.sendall(data)
                    client.shutdown(socket.SHUT_WR)
                    await until(lambda before=logged: len(caplog.records) > before)  # type: ignore[misc]

    caplog.set_level(logging.INFO, aio.__name__)
    run(main())
    failed, lost, bad = caplog.records
    assert failed.levelno == logging.ERROR
    assert "in handle" in str(failed.exc_text)
    assert (lost.levelno, lost.exc_info) == (logging.INFO, None)
    assert "disconnected: the stream has ended" in lost.getMessage()
    assert (bad.levelno, bad.exc_info) == (logging.WARNING, None)
    assert r"0xe9" in bad.getMessage()


def test_the_unsent_bytes_go_out_when_a_handler_returns(run: Run[None]) -> None:
    async def handle(conn: aio.MessageStream[bytes]) -> None:
        await conn.send(b"x" * 3_000_000)
        await conn.switch(LINES).send("bye")

    async def main() -> None:
        async with (
            await aio.serve(handle, ANY_PORT) as server,
            await aio.connect(server.address) as conn,
        ):
            assert await conn.recv() == b"x" * 3_000_000
            async with conn.switch(LINES) as lines:
                assert await received(lines) == ["bye"]

    run(main())


# Cancelling


@pytest.mark.parametrize("message", ["short", "x" * 700_000], ids=["short", "long"])
def test_a_recv_that_is_cancelled_anywhere_has_taken_nothing(run: Run[None], message: str) -> None:
    count = 40 if len(message) < 10 else 6

    async def send(conn: aio.MessageStream[str]) -> None:
        for i in range(count):
            await conn.send(f"{i} {message}")
            await turns(i % 5)
        conn.end()

    async def main() -> None:
        async with Pair() as (client, conn):
            sending = asyncio.ensure_future(send(client))
            got: list[str] = []
            waits = 0
            while True:
                waits += 1
                task = asyncio.ensure_future(conn.recv() if waits % 2 else conn.__anext__())
                await turns(waits % 9)
                task.cancel()
                try:
                    got.append(await task)
                except asyncio.CancelledError:
                    pass
                except (EndOfStreamError, StopAsyncIteration):
                    break
            await sending
            assert got == [f"{i} {message}" for i in range(count)]
            assert waits > count + 1  # some were cancelled

    run(main())


def test_a_send_that_is_cancelled_anywhere_has_sent_nothing(run: Run[None]) -> None:
    sizes = [5, 100_000, 1, 400_000, 64_000, 2] * 30

    async def main() -> None:
        async with Pair() as (client, conn):
            cancelled = 0
            receiving = None
            for i, size in enumerate(sizes):
                while True:
                    task = asyncio.ensure_future(client.send(f"{i} " + "x" * size))
                    await turns(cancelled % 6 + 1)
                    task.cancel()
                    try:
                        await task
                        break
                    except asyncio.CancelledError:
                        cancelled += 1
                    if cancelled == 20:  # only now, so that the way to it was full
                        receiving = asyncio.ensure_future(received(conn))
            assert cancelled >= 20
            assert receiving is not None
            client.end()
            got = await receiving
            assert [(int(x.split()[0]), len(x.split()[1])) for x in got] == [*enumerate(sizes)]

    run(main())


def test_a_send_many_that_is_cancelled_anywhere_has_sent_what_it_took(run: Run[None]) -> None:
    count = 3000

    async def main() -> None:
        async with Pair() as (client, conn):
            messages = (f"{i} {'x' * 3000}" for i in range(count))
            cancelled = 0
            receiving = None
            while True:
                task = asyncio.ensure_future(client.send_many(messages))
                await turns(cancelled % 7)
                task.cancel()
                try:
                    await task
                    break
                except asyncio.CancelledError:
                    cancelled += 1
                if cancelled == 60:
                    receiving = asyncio.ensure_future(received(conn))
            client.end()
            assert receiving is not None
            assert [int(each.split()[0]) for each in await receiving] == [*range(count)]

    run(main())


def test_connecting_and_closing_can_be_cancelled_anywhere(run: Run[None]) -> None:
    async def main() -> None:
        async with await aio.serve(echo, ANY_PORT, LINES) as server:
            for n in range(12):
                task = asyncio.ensure_future(aio.connect(server.address, LINES))
                await turns(n)
                task.cancel()
                try:
                    conn = await task
                except asyncio.CancelledError:
                    continue
                await conn.send("hello")
                assert await conn.recv() == "hello"
                closing = asyncio.ensure_future(conn.aclose())
                await turns(n % 4 + 1)
                closing.cancel()
                await asyncio.wait([closing])
                with pytest.raises(OSError, match="closed"):
                    await conn.recv()
            async with await aio.connect(server.address, LINES) as conn:
                await conn.send("still serving")
                assert await conn.recv() == "still serving"

    run(main())


def test_a_timeout_loses_nothing(run: Run[None]) -> None:
    async def main() -> None:
        async with Pair(LengthPrefixFramer()) as (client, conn):
            sock = client.get_extra_info("socket")
            assert sock.getpeername() == client.get_extra_info("peername")
            client._link.transport.write(b"\0\0\0\5he")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(conn.recv(), 0.02)
            client._link.transport.write(b"llo")
            assert await conn.recv() == b"hello"

    run(main())


# Slow peers


def test_reading_pauses_while_nobody_receives(run: Run[None]) -> None:
    count, size = 300, 60_000

    async def main() -> None:
        async with Pair() as (client, conn):
            messages = ["x" * size] * count
            sending = asyncio.ensure_future(client.send_many(messages))
            link = conn._link
            await until(lambda: link._is_paused)
            assert link.decoder.bytes_buffered < 1_000_000
            assert not sending.done()
            assert [len(await conn.recv()) for _ in range(count)] == [size] * count
            await sending

    run(main())


def test_a_message_larger_than_what_is_read_ahead_comes_whole(run: Run[None]) -> None:
    async def main() -> None:
        async with Pair(LengthPrefixFramer()) as (client, conn):
            message = bytearray(b"x" * 3_000_000)
            sending = asyncio.ensure_future(client.send(message))
            await until(lambda: conn._link._is_paused)  # in the middle of it
            await sending
            message[:] = b"y" * len(message)  # send() has returned, so this changes nothing
            await client.send(b"next")
            assert await conn.recv() == b"x" * len(message)
            assert await conn.recv() == b"next"

    run(main())


def test_many_tasks_share_a_connection(run: Run[None]) -> None:
    async def main() -> None:
        async with Pair() as (client, conn):

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

    run(main())


def test_messages_of_one_turn_keep_their_order(run: Run[None]) -> None:
    sizes = [0, 1, 70_000, 3, 40_000, 40_000, 300_000, 5]

    async def main() -> None:
        async with Pair(DelimiterFramer(b"\0")) as (client, conn):
            receiving = asyncio.ensure_future(received(conn))
            for _ in range(3):
                for size in sizes:
                    await client.send(b"x" * size)
            client.end()
            assert [*map(len, await receiving)] == sizes * 3

    run(main())


# Errors


def test_bad_messages_are_raised_in_their_turn_and_iteration_goes_on(run: Run[None]) -> None:
    async def main() -> None:
        async with Pair() as (client, conn):
            client._link.transport.write(b"one\n\xff\ntwo\n\xff\nthree\n")
            client.end()
            got: list[object] = []
            while True:
                try:
                    async for line in conn:
                        got.append(line)  # noqa: PERF401  # it is left by an exception
                    break
                except BadMessageError as error:
                    got.append(error.offset)
            assert got == ["one", 4, "two", 10, "three"]

    run(main())


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\0\0\0\5hello\0\0\0\5he", IncompleteMessageError),
        (b"\0\0\0\1x\xff\xff\xff\xff", MessageTooLargeError),
    ],
)
def test_a_broken_stream_is_an_error_again_and_again(
    run: Run[None], data: bytes, kind: type[Exception]
) -> None:
    async def main() -> None:
        async with Pair(LengthPrefixFramer()) as (client, conn):
            client._link.transport.write(data)
            client.end()
            assert await conn.recv() in {b"hello", b"x"}
            for _ in range(2):
                with pytest.raises(kind):
                    await conn.recv()
                with pytest.raises(kind):
                    await conn.__anext__()

    run(main())


def test_a_reset_is_an_error_and_not_the_end(run: Run[None]) -> None:
    async def main() -> None:
        async with Pair() as (client, conn):
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

    run(main())


def test_a_connection_that_is_closed_with_unsent_bytes_is_reset(
    run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aio, "_CLOSE_TIME", 0.02)

    async def main() -> None:
        async with Pair(LengthPrefixFramer()) as (client, conn):
            await client.send(b"x" * 16_000_000)
            with pytest.raises(TimeoutError, match="takes no more"):
                await client.aclose()
            with pytest.raises(ConnectionResetError):
                await conn.recv()

    run(main())


def test_what_cannot_be_sent_is_refused_and_the_rest_goes_out(run: Run[None]) -> None:
    async def main() -> None:
        async with Pair() as (client, conn):
            with pytest.raises(EncodeError):
                await client.send("two\nlines")
            with pytest.raises(TypeError):
                await client.send(b"bytes")
            with pytest.raises(EncodeError):
                await client.send_many(["one", "two", "two\nlines", "never"])
            client.end()
            assert await received(conn) == ["one", "two"]

    run(main())


def test_an_exception_in_the_block_closes_at_once(run: Run[None]) -> None:
    async def main() -> None:
        async with Pair(LengthPrefixFramer()) as (client, conn):
            with pytest.raises(KeyError):
                async with client:
                    await client.send(b"x" * 16_000_000)
                    raise KeyError
            with pytest.raises(ConnectionResetError):
                await conn.recv()

    run(main())


# Switching


def test_switch_continues_in_another_format_and_finishes_the_old_object(run: Run[None]) -> None:
    async def main() -> None:
        async with Pair() as (client, conn):
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

    run(main())


def test_a_task_that_waits_in_the_old_object_takes_nothing_of_the_new_one(run: Run[None]) -> None:
    async def main() -> None:
        async with Pair() as (client, conn):
            waiting = asyncio.ensure_future(conn.recv())
            await turns(2)
            other = conn.switch(DelimiterFramer())
            await client.send("hello")
            assert await other.recv() == b"hello"
            with pytest.raises(io.UnsupportedOperation):
                await waiting

    run(main())


# Pipes


def test_a_subprocess_answers_over_its_pipes(run: Run[None]) -> None:
    program = "import sys\nfor line in sys.stdin: print(line.strip().upper(), flush=True)"

    async def main() -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdin=pipe, stdout=pipe
        )
        assert process.stdout is not None
        assert process.stdin is not None
        async with aio.MessageStream.over(process.stdout, process.stdin, LINES) as conn:
            first = asyncio.ensure_future(conn.recv())
            await turns(3)
            first.cancel()  # takes nothing
            second, third = (asyncio.ensure_future(conn.recv()) for _ in range(2))
            await conn.send_many(["hello", "you"])
            assert [await second, await third] == ["HELLO", "YOU"]
            lines = [f"{i}{'x' * 900}" for i in range(1000)]
            receiving = asyncio.ensure_future(received(conn))
            for line in lines:
                await conn.send(line)
            conn.end()
            assert await receiving == [line.upper() for line in lines]
            with pytest.raises(OSError, match=r"sent|lost"):
                await conn.send("more")
        assert await process.wait() == 0

    run(main())


def test_a_reader_and_a_writer_carry_messages(run: Run[None]) -> None:
    async def main() -> None:
        async with await aio.serve(echo, ANY_PORT) as server:
            reader, writer = await asyncio.open_connection(*server.address)
            async with aio.MessageStream.over(reader, writer, LengthPrefixFramer()) as conn:
                await conn.send(b"x" * 1_000_000)
                assert await conn.recv() == b"x" * 1_000_000
                assert conn.get_extra_info("peername") == server.address

    run(main())


# Mistakes


def test_wrong_arguments_are_refused(run: Run[None]) -> None:
    wrong: list[tuple[Callable[[], Coroutine[Any, Any, Any]], str]] = [
        (lambda: aio.serve(ANY_PORT, echo), "a coroutine function"),
        (lambda: aio.serve(echo, 9000), "a host and a port"),
        (lambda: aio.serve(echo, ANY_PORT, LineFramer), "a framer"),
        (lambda: aio.connect(ANY_PORT, LineFramer), "a framer"),
        (lambda: aio.connect("127.0.0.1:9000"), r"write \('127.0.0.1', 9000\)"),
    ]
    for call, text in wrong:
        with pytest.raises(TypeError, match=text):
            run(call())
    with pytest.raises(ValueError, match="CLIENT_AUTH"):
        run(aio.serve(echo, ANY_PORT, ssl=ssl.create_default_context()))


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
                    with pytest.raises(BadMessageError):
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

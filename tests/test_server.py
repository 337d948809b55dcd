"""``serve`` survives its clients, says what became of them, and ends when it is asked to."""

from __future__ import annotations

import errno
import gc
import logging
import logging.handlers
import os
import queue
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import framing.server
from framing import (
    EndOfStreamError,
    HeaderBodyFramer,
    HeaderMessage,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    connect,
    open_datagram,
    recv_msg,
    send_datagram,
    send_msg,
    serve,
)
from framing.files import recv_file
from framing.server import MessageRequestHandler, Server

from .pairs import reset, tls_contexts, wait_until

Records = queue.SimpleQueue[logging.LogRecord]

ANY_PORT = ("127.0.0.1", 0)
BOUND = 60  # seconds for what should take none

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
needs_signals = pytest.mark.skipif(os.name == "nt", reason="needs signals between processes")


@contextmanager
def running(server: Any) -> Iterator[Any]:
    """Let *server* serve in a thread until the block ends."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(BOUND)
            assert not thread.is_alive()


def echo(conn: MessageSocket[bytes]) -> None:
    for message in conn:
        conn.send(message)


def talk(server: Server) -> None:
    """Be served by an echo server."""
    with connect(server.address, timeout=BOUND) as client:
        client.send(b"hello")
        assert client.recv() == b"hello"
        client.end()
        assert list(client) == []  # so the server has closed the connection


@pytest.fixture
def log() -> Iterator[Records]:
    """What a server logs, which a test can wait for."""
    logger, records = logging.getLogger(framing.server.__name__), Records()
    handler = logging.handlers.QueueHandler(records)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield records
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


def logged(log: Records, level: int) -> str:
    """Wait for a record of this level, and return its text, with the traceback if it has one."""
    record = log.get(timeout=BOUND)
    assert record.levelno == level, record.getMessage()
    return record.getMessage()


# Serving


@pytest.mark.parametrize(
    "kind",
    [
        *("TCP", "IPv6", "TLS"),
        pytest.param("Unix", marks=needs_unix),
        pytest.param("abstract", marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux")),
    ],
)
def test_a_client_is_served_over_every_kind_of_connection(kind: str, tmp_path: Path) -> None:
    client_tls, server_tls = tls_contexts() if kind == "TLS" else (None, None)
    addresses = {"IPv6": ("::1", 0, 0, 0), "Unix": str(tmp_path / "s"), "abstract": f"\0{tmp_path}"}
    address: Any = addresses.get(kind, ANY_PORT)
    if kind == "Unix":
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(address)

    def upper(conn: MessageSocket[str]) -> None:
        for line in conn:
            conn.send(line.upper())

    try:
        server = serve(upper, address, LineFramer(), ssl=server_tls)  # mypy knows the type of lines
    except OSError:
        with pytest.raises(OSError, match=r"\w"):
            socket.create_server(address, family=socket.AF_INET6).close()
        pytest.skip("this machine has no IPv6 address")
    with ExitStack() as stack:
        if kind == "TLS":  # one that does not shake hands holds up no other client
            stack.enter_context(socket.create_connection(server.address, BOUND))
        stack.enter_context(running(server))
        assert server.address[0] == address[0]
        where = ("localhost", server.address[1]) if kind == "TLS" else server.address
        client = stack.enter_context(connect(where, LineFramer(), timeout=BOUND, ssl=client_tls))
        client.send_many(["how", "are", "you?" * 100_000])
        assert [client.recv() for _ in range(3)] == ["HOW", "ARE", "YOU?" * 100_000]
        if kind == "TLS":
            client.close()
        else:
            client.end()
            assert list(client) == []
    assert not (tmp_path / "s").exists()


@needs_unix
def test_a_path_is_neither_replaced_nor_removed_if_it_is_not_this_servers(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("a file")
    with pytest.raises(OSError, match=f"in use: '{path}'"):
        serve(echo, str(path))
    path.unlink()
    with serve(echo, str(path)), ExitStack() as clients:
        for _ in range(200 if sys.platform == "linux" else 0):  # more than can wait for a server
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect_ex(str(path))
        with pytest.raises(OSError, match="in use"):
            serve(echo, str(path))
        path.unlink()
        path.write_text("another file")
    assert path.read_text() == "another file"
    with serve(echo, str(path) + "2"):
        Path(f"{path}2").unlink()
    with pytest.raises(OSError, match=r"too long|nowhere"):
        serve(echo, str(tmp_path / "nowhere" / ("s" * 200)))


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_clients_are_served_at_once_with_slow_and_hostile_ones_among_them(count: int) -> None:
    resource = pytest.importorskip("resource")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2.5 * count:
        pytest.skip("needs more descriptors")
    with ExitStack() as stack, running(serve(echo, ANY_PORT, max_connections=count)) as server:
        good: list[socket.socket] = []
        for i in range(count):
            client = stack.enter_context(socket.create_connection(server.address, BOUND))
            if i % 10:
                good.append(client)
                continue
            kind = i // 10 % 5
            if kind == 0:
                client.sendall(b"\xff" * 100)  # a length of 4 GiB
            elif kind == 1:
                client.sendall(b"\0\0\0\5he")
                reset(client)
            elif kind == 2:
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            elif kind == 3:
                client.setblocking(False)
                with suppress(BlockingIOError):
                    client.send(b"\0\0\xff\xff" + bytes(65_535))  # and never reads the answer
            # the others say nothing
        for round_ in range(3):
            for i, client in enumerate(good):  # all send before any receives
                send_msg(client, b"%d of %d" % (round_, i))
            for i, client in enumerate(good):
                assert recv_msg(client) == b"%d of %d" % (round_, i)


def test_a_client_waits_until_there_is_a_place_for_it() -> None:
    steps: list[str] = []
    kept: weakref.WeakSet[object] = weakref.WeakSet()

    def handle(conn: MessageSocket[bytes]) -> None:
        assert threading.current_thread().daemon
        kept.update((conn, conn.sock))
        steps.append("begin")
        echo(conn)
        steps.append("end")

    def are_gone() -> bool:
        gc.collect()
        return not kept

    with running(serve(handle, ANY_PORT, max_connections=1)) as server:
        with connect(server.address, timeout=BOUND) as first:
            first.send(b"hello")
            assert first.recv() == b"hello"
            second = connect(server.address, timeout=BOUND)
            second.send(b"may I?")
            first.send(b"still here")
            assert first.recv() == b"still here"
        with second:
            assert second.recv() == b"may I?"
            with connect(server.address):
                server.shutdown()  # a full server can be, and its connections go on
            second.send(b"still here")
            assert second.recv() == b"still here"
            second.end()
            assert list(second) == []
        server.serve_forever()  # returns at once: shutdown is final
        wait_until(are_gone)  # closed connections cost no memory
    assert steps == ["begin", "end", "begin", "end"]


# What becomes of a connection when its handler has returned


def test_the_unsent_bytes_are_sent_when_a_handler_returns_also_if_the_server_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = queue.Queue[int]()
    framer = LineFramer(max_size=2_000_000)
    wire = framer.encode("x" * 2_000_000)

    def answer(conn: MessageSocket[bytes]) -> None:
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        lines = conn.switch(framer)
        lines.send("x" * 2_000_000, timeout=0)
        sent.put(len(wire) - lines.unsent)

    monkeypatch.setattr(framing.server, "_JOIN_TIME", 0.01)
    with (
        running(serve(answer, ANY_PORT)) as server,
        socket.create_connection(server.address, BOUND) as client,
    ):
        received, before = b"", sent.get(timeout=BOUND)
        while len(received) <= before:  # then the handler has returned
            received += client.recv(50_000)
        server.server_close()
        while data := client.recv(1_000_000):
            received += data
    assert received == wire


def test_a_socket_that_a_handler_has_detached_is_left_to_it() -> None:
    detached = queue.Queue[socket.socket]()
    server = serve(lambda conn: detached.put(conn.detach()[0]), ANY_PORT)
    with running(server), connect(server.address, timeout=BOUND) as client:
        with detached.get(timeout=BOUND) as sock:
            sock.settimeout(BOUND)
            for thread in threading.enumerate():
                if thread.name.startswith(f"{framing.__name__} 127.0.0.1"):
                    thread.join(BOUND)
            send_msg(sock, b"from elsewhere")
        assert list(client) == [b"from elsewhere"]


# The end


@pytest.mark.parametrize(
    "how", ["handler", "closing handler", pytest.param("signal", marks=needs_signals), "close"]
)
def test_serve_forever_can_be_ended_from_everywhere(how: str, log: Records) -> None:
    def handle(conn: MessageSocket[bytes]) -> None:
        echo(conn)
        if how == "handler":
            server.shutdown()
        elif how == "closing handler":
            server.server_close()

    def use() -> None:
        talk(server)  # it is serving by now
        if how == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        elif how == "close":
            server.server_close()

    before = signal.signal(signal.SIGTERM, lambda *_: server.shutdown())
    try:
        with serve(handle, ANY_PORT) as server, ThreadPoolExecutor(1) as executor:
            using = executor.submit(use)
            server.serve_forever(0.02)
            using.result(BOUND)
    finally:
        signal.signal(signal.SIGTERM, before)
    with pytest.raises(ConnectionRefusedError):
        connect(server.address)
    assert all(log.get().levelno == logging.INFO for _ in range(log.qsize()))


@pytest.mark.parametrize("is_switched", [False, True])
def test_leaving_the_block_wakes_the_handlers_with_an_error(
    is_switched: bool, log: Records
) -> None:
    ends: queue.Queue[object] = queue.Queue()
    is_waiting = threading.Event()

    def handle(conn: MessageSocket[Any]) -> None:
        try:
            conn = conn.switch(LineFramer()) if is_switched else conn
            is_waiting.set()
            for _ in conn:
                pass
            ends.put("a clean end")
        except OSError as error:
            ends.put(error.errno)
            raise

    with running(serve(handle, ANY_PORT)) as server:
        client = connect(server.address, timeout=BOUND)
        assert is_waiting.wait(BOUND)
    assert ends.get_nowait() == errno.EBADF  # the handlers were waited for
    assert "closed" in logged(log, logging.INFO)
    with client:
        assert list(client) == []


def test_handlers_that_do_not_return_do_not_keep_the_server_from_closing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(framing.server, "_JOIN_TIME", 0.01)
    is_over = threading.Event()

    def handle(conn: MessageSocket[bytes]) -> None:
        conn.close()
        is_over.wait(BOUND)

    with running(serve(handle, ANY_PORT)) as server:
        for _ in range(130):
            with connect(server.address, timeout=BOUND) as client:
                assert list(client) == []
        server.server_close()
        is_over.set()


@needs_signals
def test_ctrl_c_ends_serve_forever_and_the_block_closes_the_server() -> None:
    program = """if True:
        import contextlib, framing, signal
        signal.signal(signal.SIGINT, signal.default_int_handler)
        def handle(conn):
            try:
                for message in conn:
                    conn.send(message)
            finally:
                print("woken", flush=True)
        with framing.serve(handle, ("127.0.0.1", 0)) as server:
            print(server.address[1], flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()
            print("interrupted", flush=True)
        print("closed", flush=True)
    """
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdout=pipe, stderr=pipe) as process:
        try:
            assert process.stdout is not None
            address = "127.0.0.1", int(process.stdout.readline())
            with connect(address, timeout=BOUND) as client:
                client.send(b"hello")
                assert client.recv() == b"hello"
                process.send_signal(signal.SIGINT)
                output, errors = process.communicate(timeout=BOUND)
                assert list(client) == []
            assert (output.split(), errors) == ([b"interrupted", b"woken", b"closed"], b"")
            assert process.returncode == 0
        finally:
            process.kill()


# What runs out


class FailingListener(socket.socket):
    """Whose first ``accept`` fails."""

    errors: list[OSError]

    def accept(self) -> tuple[socket.socket, Any]:
        if self.errors:
            raise self.errors.pop()
        return super().accept()


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EAGAIN, errno.ECONNABORTED]
)
def test_a_server_that_cannot_accept_now_tries_again(
    number: int, log: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framing.server, "_PAUSE", 0.001)
    server = serve(echo, ANY_PORT, max_connections=1)
    server.socket = listener = FailingListener(fileno=server.socket.detach())
    listener.errors = [OSError(number, "cannot accept")]
    with running(server):
        talk(server)
    if number not in {errno.EAGAIN, errno.ECONNABORTED}:
        text = f"no client can be accepted for 0.001 s: [Errno {number}] cannot accept"
        assert logged(log, logging.WARNING) == text
    assert log.empty()


def test_a_client_for_whom_there_is_no_thread_is_closed_and_its_place_given_back(
    log: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start
    failures = [RuntimeError("can't start new thread")]

    def start_or_fail(thread: threading.Thread) -> None:
        if thread.name.startswith(f"{framing.__name__} ") and failures:
            raise failures.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_fail)
    monkeypatch.setattr(framing.server, "_PAUSE", 0.001)
    with running(serve(echo, ANY_PORT, max_connections=1)) as server:
        with connect(server.address, timeout=BOUND) as client:
            assert list(client) == []
        assert "can't start new thread" in logged(log, logging.WARNING)
        talk(server)


# What is logged


@pytest.mark.parametrize(
    ("data", "level", "text"),
    [
        (b"\0\0\0\5he", logging.WARNING, "sent bad data: the stream ended after 6 bytes"),
        (b"\xff\xff\xff\xff", logging.WARNING, "sent bad data: expected at most 16777216 bytes"),
        (b"", logging.INFO, "disconnected: the stream has ended"),
        (b"\0\0\0\5reset", logging.INFO, "disconnected: [Errno"),
        (b"\0\0\0\4slow", logging.INFO, "disconnected: timed out"),
        (b"GET / HTTP/1.1\r\n\r\n", logging.INFO, "disconnected: [SSL"),
        (b"\x16", logging.INFO, "handshake operation timed out"),
    ],
)
def test_a_client_that_is_lost_is_one_line(
    data: bytes, level: int, text: str, log: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_come = threading.Event()

    def handle(conn: MessageSocket[bytes]) -> None:
        while True:
            conn.recv()
            has_come.set()

    monkeypatch.setattr(framing.server, "_HANDSHAKE_TIME", BOUND if b"GET" in data else 0.05)
    timeout = 0.05 if b"slow" in data else BOUND
    tls = tls_contexts()[1] if data[:1] in {b"G", b"\x16"} else None
    with running(serve(handle, ANY_PORT, timeout=timeout, ssl=tls)) as server:
        with socket.create_connection(server.address, BOUND) as client:
            host, port = client.getsockname()
            client.sendall(data)
            if b"reset" in data:
                assert has_come.wait(BOUND)
                reset(client)
            elif timeout != BOUND or tls:
                with suppress(ConnectionError):
                    while client.recv(100):
                        pass
        message = logged(log, level)
    assert message.startswith(f"{host}:{port} ")
    assert text in message
    assert "\n" not in message


@needs_unix
def test_a_client_without_an_address_is_a_local_one(log: Records, tmp_path: Path) -> None:
    with (
        running(serve(echo, str(tmp_path / "socket"))) as server,
        connect(server.address) as client,
    ):
        client.sock.sendall(b"\xff\xff\xff\xff")
        assert logged(log, logging.WARNING).startswith("a local client sent bad data: expected at")


@pytest.mark.parametrize("is_closed", [False, True])
def test_what_a_handler_refuses_or_closes_is_one_line_too(
    is_closed: bool, log: Records, tmp_path: Path
) -> None:
    def handle(conn: MessageSocket[HeaderMessage]) -> None:
        if is_closed:  # by another thread, for example
            conn.close()
            conn.recv()
        recv_file(conn, tmp_path)

    with (
        running(serve(handle, ANY_PORT, HeaderBodyFramer())) as server,
        connect(server.address, HeaderBodyFramer(), timeout=BOUND) as client,
    ):
        client.send(HeaderMessage({"name": "../evil"}, b"hello"))
        message = logged(log, logging.INFO if is_closed else logging.WARNING)
    assert ("is closed" if is_closed else "not '../evil'") in message
    assert "\n" not in message


def backend_is_down(_: MessageSocket[str]) -> None:
    raise ConnectionRefusedError("the database is down")  # not the client's connection


def wrong_data(_: MessageSocket[str]) -> None:
    LengthPrefixFramer().decode(b"\xff\xff\xff\xff")  # not the client's data


def bad_command(conn: MessageSocket[str]) -> None:
    raise ValueError(f"no such command: {conn.recv()}")


@pytest.mark.parametrize("handler", [backend_is_down, wrong_data, bad_command])
def test_a_handlers_own_error_has_a_traceback_that_no_client_can_forge(
    handler: Callable[[MessageSocket[str]], None], log: Records
) -> None:
    with (
        running(serve(handler, ANY_PORT, LineFramer())) as server,
        suppress(ConnectionError),
        connect(server.address, LineFramer(), timeout=BOUND) as client,
    ):
        client.send("\x1b]0;título\x07\rERROR forged\u2028" + "x" * 100_000)
        assert list(client) == []
    first, *traceback = logged(log, logging.ERROR).split("\n")
    assert first.startswith("the handler failed for 127.0.0.1:")
    assert traceback[1].startswith('      File "')
    assert f"in {handler.__name__}" in "".join(traceback)
    assert all(line.startswith("    ") and line.isprintable() for line in traceback)
    if handler is bad_command:
        assert r"\x1b]0;título\x07" in "".join(traceback)
        assert max(map(len, traceback)) == 4 + 500


# Mistakes


async def coroutine_function(conn: object) -> None:
    pass


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: serve(ANY_PORT, echo), TypeError, "a function for the clients"),  # type: ignore[call-overload]
        (lambda: serve(echo, 9000), TypeError, "a host and a port"),  # type: ignore[call-overload]
        (lambda: serve(echo, ANY_PORT, LineFramer), TypeError, r"LineFramer\(\)"),  # type: ignore[call-overload]
        (lambda: serve(coroutine_function, ANY_PORT), TypeError, r"framing\.aio\.serve\)$"),
        (
            lambda: serve(echo, ANY_PORT, ssl=ssl.create_default_context()),
            ValueError,
            "^expected.*CLIENT_AUTH$",
        ),
        (lambda: serve(echo, ANY_PORT, max_connections=0), ValueError, "1 or more"),
        (lambda: serve(echo, ("127.0.0.1", 70_000)), ValueError, "0 to 65535"),
    ],
)
def test_wrong_arguments_are_refused(
    call: Callable[[], object], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        call()


# MessageRequestHandler


class Upper(MessageRequestHandler[bytes]):
    def handle(self) -> None:
        for message in self.messages:
            self.messages.send(message.upper())


class Large(MessageRequestHandler[bytes]):
    def handle(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        self.messages.send(bytes(1_000_000), timeout=0)
        assert self.messages.unsent


class Impatient(MessageRequestHandler[str]):
    framer = LineFramer()
    timeout = 0.01

    def handle(self) -> None:
        assert self.request.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        self.messages.send(f"{self.client_address[0]} {type(self.server).__name__}")
        self.messages.recv()


SERVERS = ["TCPServer", "ThreadingTCPServer", pytest.param("UnixStreamServer", marks=needs_unix)]


@pytest.mark.parametrize("name", SERVERS)
def test_a_request_handler_serves_one_client_after_another(name: str, tmp_path: Path) -> None:
    address: Any = str(tmp_path / "s") if "Unix" in name else ANY_PORT
    with running(getattr(socketserver, name)(address, Upper)) as server:
        for _ in range(3):
            with connect(server.server_address, timeout=BOUND) as client:
                client.send_many([b"hello", b"", b"you" * 100_000])
                client.end()
                assert list(client) == [b"HELLO", b"", b"YOU" * 100_000]


@pytest.mark.parametrize("is_in_handler", [False, True])
def test_a_request_handler_sends_the_unsent_bytes_when_it_returns(is_in_handler: bool) -> None:
    def serve_one() -> None:
        try:
            if is_in_handler:
                raise KeyError
            server.handle_request()
        except KeyError:  # another error that is being handled makes no difference
            server.handle_request()

    with socketserver.TCPServer(ANY_PORT, Large) as server, ThreadPoolExecutor(1) as executor:
        serving = executor.submit(serve_one)
        address: Any = server.server_address
        with connect(address, timeout=BOUND) as client:
            assert list(client) == [bytes(1_000_000)]
        serving.result(BOUND)


def test_an_error_in_handle_ends_the_connection_and_not_the_server() -> None:
    errors: list[object] = []

    class Server(socketserver.TCPServer):
        def handle_error(self, *_: object) -> None:
            errors.append(sys.exc_info()[0])

    with running(Server(ANY_PORT, Impatient)) as server:
        for _ in range(2):
            with connect(server.server_address, LineFramer(), timeout=BOUND) as client:
                assert client.recv() == "127.0.0.1 Server"
                with pytest.raises((EndOfStreamError, ConnectionResetError)):
                    client.recv()
    assert errors == [TimeoutError, TimeoutError]


def test_a_request_handler_is_for_streams_only(capsys: pytest.CaptureFixture[str]) -> None:
    with socketserver.UDPServer(ANY_PORT, Upper) as server, open_datagram() as client:
        send_datagram(client, b"hello", server.socket.getsockname())
        server.handle_request()
    assert "TypeError: expected a socket, not tuple" in capsys.readouterr().err

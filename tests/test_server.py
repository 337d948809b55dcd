"""``serve`` survives its clients, says what became of them, and ends when it is asked to."""

from __future__ import annotations

import errno
import logging
import os
import queue
import signal
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import framing.server
from framing import (
    DecodeError,
    EndOfStreamError,
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
from framing.server import MessageRequestHandler, Server

from .pairs import tls_contexts

ANY_PORT = ("127.0.0.1", 0)
BOUND = 60  # seconds for what should take none
RESET = struct.pack("ii" if os.name != "nt" else "hh", 1, 0)

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


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


def upper(conn: MessageSocket[str]) -> None:
    for line in conn:
        conn.send(line.upper())


def talk(server: Server, **options: Any) -> None:
    """Be served."""
    with connect(server.address, timeout=BOUND, **options) as client:
        client.send(b"hello")
        assert client.recv() == b"hello"


class Log(logging.Handler):
    """What a server logs, which a test can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.records: queue.Queue[logging.LogRecord] = queue.Queue()
        self.setFormatter(logging.Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.records.put(record)

    def next(self, level: int) -> str:
        record = self.records.get(timeout=BOUND)
        text = self.format(record)
        assert record.levelno == level, text
        return text


@pytest.fixture
def log() -> Iterator[Log]:
    logger = logging.getLogger(framing.server.__name__)
    handler = Log()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


# Serving


def test_a_client_is_served_in_another_format() -> None:
    server = serve(upper, ANY_PORT, LineFramer())  # and mypy knows the type of the lines
    with running(server), connect(server.address, LineFramer(), timeout=BOUND) as client:
        client.send_many(["how", "are", "you?"])
        client.end()
        assert list(client) == ["HOW", "ARE", "YOU?"]


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_a_client_is_served_over_ipv6() -> None:
    try:
        server = serve(echo, ("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 address")
    with running(server):
        assert server.address[0] == "::1"
        talk(server)


def crowd(count: int) -> None:
    """Serve *count* clients at once, of whom one in ten misbehaves in one of five ways."""
    with ExitStack() as stack, running(serve(echo, ANY_PORT, max_connections=count)) as server:
        good: list[socket.socket] = []
        bad: list[socket.socket] = []
        for i in range(count):
            client = stack.enter_context(socket.create_connection(server.address, BOUND))
            (good if i % 10 else bad).append(client)
        for i, client in enumerate(bad):
            kind = i % 5
            if kind == 0:
                client.sendall(b"\xff" * 100)  # a length of 4 GiB
            elif kind == 1:
                client.sendall(b"\0\0\0\5he")  # half a message, then a reset
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.close()
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


def test_200_clients_are_served_at_once_with_slow_and_hostile_ones_among_them() -> None:
    crowd(200)


@pytest.mark.slow
def test_1000_clients_are_served_at_once_with_slow_and_hostile_ones_among_them() -> None:
    resource = pytest.importorskip("resource")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2500:
        pytest.skip("needs 2,500 descriptors")
    crowd(1000)


def test_a_client_waits_until_there_is_a_place_for_it() -> None:
    steps: list[str] = []
    has_begun = queue.Queue[None]()

    def handle(conn: MessageSocket[bytes]) -> None:
        steps.append("begin")
        has_begun.put(None)
        echo(conn)
        steps.append("end")

    with running(serve(handle, ANY_PORT, max_connections=1)) as server:
        with connect(server.address, timeout=BOUND) as first:
            has_begun.get(timeout=BOUND)
            second = connect(server.address, timeout=BOUND)
            second.send(b"may I?")
            first.send(b"hello")
            assert first.recv() == b"hello"
        with second:
            assert second.recv() == b"may I?"
            second.end()
            assert list(second) == []
    assert steps == ["begin", "end", "begin", "end"]


def test_a_full_server_can_be_shut_down_and_its_connections_go_on() -> None:
    with (
        running(serve(echo, ANY_PORT, max_connections=1)) as server,
        connect(server.address, timeout=BOUND) as client,
    ):
        client.send(b"hello")
        assert client.recv() == b"hello"
        with connect(server.address):
            server.shutdown()
        client.send(b"still here")
        assert client.recv() == b"still here"
        server.serve_forever()  # returns at once: shutdown is final


def test_the_unsent_bytes_are_sent_when_a_handler_returns() -> None:
    def answer(conn: MessageSocket[bytes]) -> None:
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        lines = conn.switch(LineFramer(max_size=10_000_000))
        lines.send("x" * 1_000_000, timeout=0)
        assert lines.unsent

    server = serve(answer, ANY_PORT)
    with (
        running(server),
        connect(server.address, LineFramer(max_size=10_000_000), timeout=BOUND) as client,
    ):
        assert list(client) == ["x" * 1_000_000]


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


# TLS and Unix


def test_a_client_is_served_over_tls_and_one_that_does_not_shake_hands_holds_up_nobody() -> None:
    client_context, server_context = tls_contexts()
    with (
        running(serve(echo, ANY_PORT, ssl=server_context)) as server,
        socket.create_connection(server.address, BOUND),
    ):
        address = ("localhost", server.address[1])
        with connect(address, ssl=client_context, timeout=BOUND) as client:
            client.send(b"x" * 1_000_000)
            assert client.recv() == b"x" * 1_000_000
            client.close()


def test_a_client_that_fails_at_tls_is_logged_as_lost(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(serve(echo, ANY_PORT, ssl=tls_contexts()[1])) as server:
        with socket.create_connection(server.address, BOUND) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert "disconnected: [SSL" in log.next(logging.INFO)
        monkeypatch.setattr(framing.server, "_HANDSHAKE_TIME", 0.01)
        with socket.create_connection(server.address, BOUND) as client:
            assert "handshake operation timed out" in log.next(logging.INFO)
            assert client.recv(1) == b""


@needs_unix
def test_a_unix_path_is_replaced_if_it_is_stale_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        with pytest.raises(OSError, match="in use"):
            serve(echo, str(path))
    with running(serve(echo, str(path))) as server:
        assert server.address == str(path)
        talk(server)
    assert not path.exists()


@needs_unix
def test_a_path_is_neither_replaced_nor_removed_if_it_is_not_this_servers(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("a file")
    with pytest.raises(OSError, match=f"in use: '{path}'"):
        serve(echo, str(path))
    path.unlink()
    with serve(echo, str(path)):
        path.unlink()
        path.write_text("another file")
    assert path.read_text() == "another file"
    with serve(echo, str(path) + "2"):
        Path(f"{path}2").unlink()
    with pytest.raises(OSError, match=r"too long|nowhere"):
        serve(echo, str(tmp_path / "nowhere" / ("s" * 200)))


# The end


def test_a_handler_can_shut_its_server_down() -> None:
    def handle(conn: MessageSocket[bytes]) -> None:
        echo(conn)
        server.shutdown()

    server = serve(handle, ANY_PORT)
    with ThreadPoolExecutor(1) as executor, server:
        serving = executor.submit(server.serve_forever)
        talk(server)
        serving.result(BOUND)


@pytest.mark.skipif(os.name == "nt", reason="needs a signal that another thread can send")
def test_a_signal_handler_can_shut_the_server_down_that_it_interrupts() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: server.shutdown())
    try:
        with ThreadPoolExecutor(1) as executor, serve(echo, ANY_PORT) as server:

            def kill() -> None:
                talk(server)  # it is serving by now
                os.kill(os.getpid(), signal.SIGTERM)

            killing = executor.submit(kill)
            server.serve_forever()
            killing.result(BOUND)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_leaving_the_block_stops_a_server_that_is_still_serving() -> None:
    server = serve(echo, ANY_PORT)
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        talk(server)
    thread.join(BOUND)
    assert not thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        connect(server.address)


@pytest.mark.parametrize("is_switched", [False, True])
def test_leaving_the_block_wakes_the_handlers_with_an_error(is_switched: bool, log: Log) -> None:
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
    assert "closed" in log.next(logging.INFO)
    with client:
        assert list(client) == []


@pytest.mark.skipif(os.name == "nt", reason="a console's Ctrl-C reaches the tests too")
def test_ctrl_c_ends_serve_forever_and_the_block_closes_the_server() -> None:
    program = """
import framing
def handle(conn):
    try:
        for message in conn:
            conn.send(message)
    finally:
        print("woken", flush=True)
with framing.serve(handle, ("127.0.0.1", 0)) as server:
    try:
        print(server.address[1], flush=True)
        server.serve_forever()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
print("closed", flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with connect(("127.0.0.1", port), timeout=BOUND) as client:
            client.send(b"hello")
            assert client.recv() == b"hello"
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=BOUND)
            assert list(client) == []
        assert (output, errors, process.returncode) == ("interrupted\nwoken\nclosed\n", "", 0)
    finally:
        process.kill()
        process.communicate()


# What runs out


def test_a_client_for_whom_there_is_no_thread_is_closed_and_its_place_given_back(
    log: Log, monkeypatch: pytest.MonkeyPatch
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
        assert "can't start new thread" in log.next(logging.WARNING)
        talk(server)


class FailingListener:
    """A listener whose first ``accept`` fails."""

    def __init__(self, sock: socket.socket, error: OSError) -> None:
        self._sock = sock
        self._errors = [error]

    def accept(self) -> tuple[socket.socket, Any]:
        if self._errors:
            raise self._errors.pop()
        return self._sock.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ECONNABORTED])
def test_a_server_that_cannot_accept_now_tries_again(
    number: int, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framing.server, "_PAUSE", 0.001)
    server: Any = serve(echo, ANY_PORT, max_connections=1)
    server.socket = FailingListener(server.socket, OSError(number, "cannot accept"))
    with running(server):
        talk(server)
    if number != errno.ECONNABORTED:
        assert "cannot accept" in log.next(logging.WARNING)
    assert log.records.empty()


# What is logged


@pytest.mark.parametrize(
    ("data", "level", "text"),
    [
        (b"\0\0\0\5he", logging.WARNING, "sent bad data: the stream ended after 6 bytes"),
        (b"\xff\xff\xff\xff", logging.WARNING, "sent bad data: expected at most 16777216 bytes"),
        (b"", logging.INFO, "disconnected: the stream has ended"),
        (b"\0\0\0\5reset", logging.INFO, "disconnected: [Errno"),
        (b"\0\0\0\4slow", logging.INFO, "disconnected: timed out"),
    ],
)
def test_a_client_that_is_lost_is_one_line(data: bytes, level: int, text: str, log: Log) -> None:
    has_come = threading.Event()

    def handle(conn: MessageSocket[bytes]) -> None:
        while True:
            conn.recv()
            has_come.set()

    with running(serve(handle, ANY_PORT, timeout=0.05 if b"slow" in data else BOUND)) as server:
        client = socket.create_connection(server.address, BOUND)
        host, port = client.getsockname()
        with client:
            client.sendall(data)
            if b"reset" in data:
                assert has_come.wait(BOUND)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            if b"slow" in data:
                assert client.recv(1) == b""
        logged = log.next(level)
    assert logged.startswith(f"{host}:{port} {text}")
    assert "\n" not in logged


def test_a_handlers_own_error_is_logged_with_its_traceback(log: Log) -> None:
    def backend_is_down(_: MessageSocket[bytes]) -> None:
        raise ConnectionRefusedError("the database is down")  # not the client's connection

    def wrong_data(_: MessageSocket[bytes]) -> None:
        LengthPrefixFramer().decode(b"\xff\xff\xff\xff")

    handlers = iter([(DecodeError, wrong_data), (ConnectionRefusedError, backend_is_down)])
    kinds = []

    def handle(conn: MessageSocket[bytes]) -> None:
        kind, handler = next(handlers)
        kinds.append(kind)
        handler(conn)

    with running(serve(handle, ANY_PORT)) as server:
        for _ in range(2):
            with connect(server.address, timeout=BOUND) as client:
                assert list(client) == []
            logged = log.next(logging.ERROR)
            assert logged.startswith("the handler failed for 127.0.0.1:")
            assert "Traceback" in logged
            assert "in handle" in logged
    assert kinds == [DecodeError, ConnectionRefusedError]


def test_what_a_client_sends_reaches_the_log_escaped_and_shortened(log: Log) -> None:
    def handle(conn: MessageSocket[str]) -> None:
        raise ValueError(f"no such command: {conn.recv()}")

    with (
        running(serve(handle, ANY_PORT, LineFramer())) as server,
        connect(server.address, LineFramer(), timeout=BOUND) as client,
    ):
        client.send("\x1b]0;title\x07\rERROR forged\u2028" + "x" * 100_000)
        assert list(client) == []
        _, *traceback = log.next(logging.ERROR).split("\n")
    assert all(line.startswith("    ") and line.isprintable() for line in traceback)
    assert all(len(line) < 600 for line in traceback)
    assert r"\x1b]0;title\x07" in "".join(traceback)


# Mistakes


async def coroutine_function(conn: object) -> None:
    pass


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: serve(ANY_PORT, echo), TypeError, "a function for the clients"),  # type: ignore[call-overload]
        (lambda: serve(echo, 9000), TypeError, "a host and a port"),  # type: ignore[call-overload]
        (lambda: serve(echo, ANY_PORT, LineFramer), TypeError, r"LineFramer\(\)"),  # type: ignore[call-overload]
        (lambda: serve(coroutine_function, ANY_PORT), TypeError, r"framing\.aio\.serve"),
        (
            lambda: serve(echo, ANY_PORT, ssl=ssl.create_default_context()),
            ValueError,
            "CLIENT_AUTH",
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


def test_a_request_handler_is_for_streams_only(capsys: pytest.CaptureFixture[str]) -> None:
    with socketserver.UDPServer(ANY_PORT, Upper) as server, open_datagram() as client:
        send_datagram(client, b"hello", server.socket.getsockname())
        server.handle_request()
    assert "TypeError: expected a socket, not tuple" in capsys.readouterr().err


def test_an_error_in_handle_ends_the_connection_and_not_the_server() -> None:
    errors: list[object] = []

    class Failing(MessageRequestHandler[str]):
        framer = LineFramer()

        def handle(self) -> None:
            for message in self.messages:
                self.messages.send(f"{int(message)}")

    class FailingServer(socketserver.TCPServer):
        def handle_error(self, *_: object) -> None:
            errors.append(sys.exc_info()[0])

    with running(FailingServer(ANY_PORT, Failing)) as server:
        for _ in range(2):
            with connect(server.server_address, LineFramer(), timeout=BOUND) as client:
                client.send_many(["1", "bad"])
                assert client.recv() == "1"
                with pytest.raises((EndOfStreamError, ConnectionResetError)):
                    client.recv()
    assert errors == [ValueError, ValueError]


def test_a_request_handlers_timeout_is_the_connections_own() -> None:
    outcomes: list[object] = []

    class Impatient(MessageRequestHandler[bytes]):
        timeout = 0.01

        def handle(self) -> None:
            outcomes.append(self.request.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
            with pytest.raises(TimeoutError):
                self.messages.recv()
            outcomes.append("timeout")

    with (
        running(socketserver.TCPServer(ANY_PORT, Impatient)) as server,
        connect(server.server_address, timeout=BOUND) as client,
    ):
        assert list(client) == []
    assert outcomes == [True, "timeout"]

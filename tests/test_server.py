"""``MessageRequestHandler`` in the servers of ``socketserver``, with real clients."""

from __future__ import annotations

import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from framing import (
    EndOfStreamError,
    HeaderBodyFramer,
    HeaderMessage,
    LineFramer,
    MessageSocket,
    connect,
    open_datagram,
    send_datagram,
)
from framing.server import MessageRequestHandler

from .pairs import tls_contexts


class Upper(MessageRequestHandler[bytes]):
    def handle(self) -> None:
        for message in self.messages:
            self.messages.send(message.upper())


class UpperLines(MessageRequestHandler[str]):
    framer = LineFramer()

    def handle(self) -> None:
        for line in self.messages:
            self.messages.send(line.upper())


class Large(MessageRequestHandler[bytes]):
    def handle(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        self.messages.send(bytes(1_000_000), timeout=0)
        assert self.messages.unsent


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[Any]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("kind", [socketserver.TCPServer, socketserver.ThreadingTCPServer])
def test_it_serves_one_client_after_another(kind: type[socketserver.TCPServer]) -> None:
    with serving(kind(("127.0.0.1", 0), Upper)) as address:
        for _ in range(3):
            with connect(address, timeout=10) as client:
                client.send_many([b"hello", b"", b"you" * 100_000])
                client.end()
                assert list(client) == [b"HELLO", b"", b"YOU" * 100_000]


def test_it_serves_many_clients_at_once() -> None:
    def talk(address: tuple[str, int], name: str) -> list[str]:
        with connect(address, LineFramer(), timeout=10) as client:
            waiting.wait(10)
            answers = []
            for i in range(50):
                client.send(f"{name} {i}")
                answers.append(client.recv())
            return answers

    names = "abcdefgh"
    waiting = threading.Barrier(len(names))
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), UpperLines)
    with serving(server) as address, ThreadPoolExecutor(len(names)) as executor:
        talks = {name: executor.submit(talk, address, name) for name in names}
        for name, answers in talks.items():
            assert answers.result() == [f"{name.upper()} {i}" for i in range(50)]


@pytest.mark.skipif(not hasattr(socketserver, "UnixStreamServer"), reason="needs Unix sockets")
def test_it_serves_unix_sockets(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with (
        serving(socketserver.UnixStreamServer(path, UpperLines)),
        socket.socket(socket.AF_UNIX) as sock,
    ):
        sock.connect(path)
        client = MessageSocket(sock, LineFramer())
        client.send("hello")
        assert client.recv(timeout=10) == "HELLO"


def test_it_serves_tls() -> None:
    client_context, server_context = tls_contexts()

    class TLSServer(socketserver.ThreadingTCPServer):
        def get_request(self) -> tuple[socket.socket, Any]:
            sock, address = super().get_request()
            return server_context.wrap_socket(sock, server_side=True), address

    with serving(TLSServer(("127.0.0.1", 0), Upper)) as address:
        plain = socket.create_connection(address, timeout=10)
        secure = client_context.wrap_socket(plain, server_hostname="localhost")
        with MessageSocket(secure) as client:
            client.send(b"hello")
            assert client.recv() == b"HELLO"


def test_the_unsent_rest_is_sent_when_handle_returns() -> None:
    with (
        serving(socketserver.TCPServer(("127.0.0.1", 0), Large)) as address,
        connect(address, timeout=10) as client,
    ):
        assert client.recv() == bytes(1_000_000)
        with pytest.raises(EndOfStreamError):
            client.recv()


def test_the_unsent_rest_is_sent_whatever_else_is_being_handled() -> None:
    def serve() -> None:
        try:
            raise KeyError
        except KeyError:
            server.handle_request()

    with socketserver.TCPServer(("127.0.0.1", 0), Large) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        address: Any = server.server_address
        with connect(address, timeout=10) as client:
            assert client.recv() == bytes(1_000_000)
        thread.join()


def test_it_is_for_streams_only(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        socketserver.UDPServer(("127.0.0.1", 0), Upper) as server,
        open_datagram() as client,
    ):
        send_datagram(client, b"hello", server.socket.getsockname())
        server.handle_request()
    assert "TypeError: expected a " in capsys.readouterr().err


def test_an_error_in_handle_ends_the_connection_and_not_the_server() -> None:
    errors: list[object] = []

    class Failing(MessageRequestHandler[HeaderMessage]):
        framer = HeaderBodyFramer()

        def handle(self) -> None:
            for message in self.messages:
                if "kind" in message.header:
                    raise TypeError
                self.messages.send(message)

    class Server(socketserver.TCPServer):
        def handle_error(self, *_: object) -> None:
            errors.append(sys.exc_info()[0])

    with serving(Server(("127.0.0.1", 0), Failing)) as address:
        for _ in range(2):
            with connect(address, HeaderBodyFramer(), timeout=10) as client:
                client.send(HeaderMessage({}, b"fine"))
                # It comes back with its size, which makes the header true.
                assert client.recv().body == b"fine"
                client.send(HeaderMessage({"kind": "bad"}, b""))
                with pytest.raises((EndOfStreamError, ConnectionResetError)):
                    client.recv()
    assert errors == [TypeError, TypeError]


def test_a_timeout_is_the_connections_own() -> None:
    outcomes: list[object] = []

    class Impatient(MessageRequestHandler[bytes]):
        timeout = 0.01

        def handle(self) -> None:
            outcomes.append(self.request.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
            with pytest.raises(TimeoutError):
                self.messages.recv()
            outcomes.append("timeout")

    with (
        serving(socketserver.TCPServer(("127.0.0.1", 0), Impatient)) as address,
        connect(address, timeout=10) as client,
    ):
        assert list(client) == []
    assert outcomes == [True, "timeout"]

"""The programs of docs/examples, as a learner runs them: real processes that talk over loopback."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

import framing
from framing import LineFramer, MessageSocket, StructFramer, recv_msg, send_msg

from .pairs import Task, reset, wait_until
from .programs import EXAMPLES, INTERRUPTED, TIMEOUT, Program, example

pytestmark = pytest.mark.skipif(
    framing.__name__ != "framing", reason="the examples import the package by its own name"
)
needs_signals = pytest.mark.skipif(os.name == "nt", reason="no SIGINT for another process")
needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")

LOCAL = "127.0.0.1"
RECORD = StructFramer("!H8sb")


class Start(Protocol):
    def __call__(self, name: str, *arguments: object, folder: Path | None = None) -> Program: ...


@pytest.fixture
def start() -> Iterator[Start]:
    """Start programs, and leave none of them behind."""
    running: list[Program] = []

    def begin(name: str, *arguments: object, folder: Path | None = None) -> Program:
        running.append(example(name, *arguments, folder=folder))
        return running[-1]

    yield begin
    for program in running:
        program.kill()


@dataclass(frozen=True)
class Shared:
    """A running server that several tests use, since each has to survive all of them."""

    program: Program
    address: tuple[str, int]
    folder: Path


class Serve(Protocol):
    def __call__(self, name: str, *arguments: object) -> Shared: ...


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start each server once, on a port that the system chooses; end them with Ctrl-C."""
    running: dict[tuple[object, ...], Shared] = {}

    def begin(name: str, *arguments: object) -> Shared:
        key = (name, *arguments)
        if key not in running:
            folder = tmp_path_factory.mktemp(name)
            given = [folder] if name == "file_server" else []
            program = example(name, *given, LOCAL, 0, *arguments)
            running[key] = Shared(program, program.address, folder)
        return running[key]

    yield begin
    ends = {key: server.program.interrupt() for key, server in running.items()}
    for key, (status, lines, errors) in ends.items():
        assert (status, lines[-1:]) == (0, ["stopped"]), (key, errors)
        assert "Traceback" not in errors, key
        assert all(line.isprintable() for line in [*lines, *errors.split("\n")]), key


def connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=TIMEOUT)


def unused_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(type=kind) as sock:
        sock.bind((LOCAL, 0))
        port: int = sock.getsockname()[1]
        return port


# What a client does, to see that a server is alive and well


def ask_echo(sock: socket.socket) -> None:
    for message in (b"hello", b"", b"x" * 100):  # a length of 100 is a small letter
        send_msg(sock, message)
        assert recv_msg(sock) == message.upper()


def ask_record(sock: socket.socket) -> None:
    for number in (7, 8):
        send_msg(sock, (number, b"alice", -1), framer=RECORD)
        assert recv_msg(sock, framer=RECORD) == (number, b"ok".ljust(8, b"\0"), 0)


def ask_chat(sock: socket.socket) -> None:
    name = f"port{sock.getsockname()[1]}"
    send_msg(sock, name, framer=LineFramer())
    while recv_msg(sock, framer=LineFramer()) != f"* {name} is here":
        pass  # somebody else has left meanwhile


def ask_http(sock: socket.socket) -> None:
    for path, status in [("/", b"200 OK"), ("/nothing", b"404 Not Found"), ("/", b"200 OK")]:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {LOCAL}\r\n\r\n".encode())
        head, _ = receive_http(sock)
        assert head.startswith(b"HTTP/1.1 " + status + b"\r\n")


def receive_http(sock: socket.socket, *, only_head: bool = False) -> tuple[bytes, bytes]:
    head: bytes = recv_msg(sock, framer=framing.DelimiterFramer(b"\r\n\r\n"))
    found = re.search(rb"\r\nContent-Length: (\d+)", head)
    assert found
    return head, b"" if only_head else recv_exactly(sock, int(found[1]))


def recv_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (chunk := sock.recv(size - len(data))):
        data += chunk
    return data


def ask_files(sock: socket.socket) -> None:
    request = framing.HeaderMessage({"command": "get", "file": "nothing"}, b"")
    for _ in range(2):
        send_msg(sock, request, framer=framing.HeaderBodyFramer())
        answer = recv_msg(sock, framer=framing.HeaderBodyFramer())
        assert answer.header == {"ok": False, "reason": "there is no file 'nothing'", "size": 0}


SERVERS: dict[str, Callable[[socket.socket], None]] = {
    "tcp_echo_server": ask_echo,
    "asyncio_server": ask_echo,
    "selectors_server": ask_echo,
    "record_server": ask_record,
    "chat_server": ask_chat,
    "http_server": ask_http,
    "file_server": ask_files,
}
ECHO_SERVERS = [name for name, ask in SERVERS.items() if ask is ask_echo]
# What comes before the host and the port of a client.
CLIENTS: dict[str, list[object]] = {
    "tcp_echo_client": [],
    "asyncio_client": [],
    "udp_echo_client": [],
    "chat_client": ["alice"],
    "record_client": [7, "alice", 1],
    "http_client": [],
    "file_client": ["get", "something"],
}
UDP_SERVERS = ["udp_echo_server", "udp_chat", "udp_broadcast_receiver"]


# All programs


def test_every_program_is_shown_in_the_documentation() -> None:
    pages = EXAMPLES.parent.glob("**/*.md")
    shown = [name for page in pages for name in re.findall(SHOWN, page.read_text("utf-8"))]
    assert sorted(shown) == sorted(
        str(path.relative_to(EXAMPLES).with_suffix("")) for path in EXAMPLES.glob("**/*.py")
    )


SHOWN = re.compile(
    r"^```\{literalinclude\} (?:\.\./)?(?:examples/)?([\w/]+)\.py\n:language: python\n```",
    re.MULTILINE,
)


@pytest.mark.slow
def test_wrong_usage_is_one_line_and_exit_status_1_or_2(start: Start) -> None:
    wrong: dict[str, list[object]] = {
        **{name: [LOCAL, 70_000] for name in [*SERVERS, *UDP_SERVERS]},
        **{name: [*given, LOCAL, 70_000] for name, given in CLIENTS.items()},
        "file_server": [EXAMPLES, LOCAL, 70_000],
        "udp_broadcast_sender": [LOCAL, -1],
    }
    running = {name: start(name, *arguments) for name, arguments in wrong.items()}
    running["a name too long"] = start("record_client", 7, "somebody else", 1)
    running["a number too large"] = start("record_client", 70_000, "alice", 1)
    running["a directory that is none"] = start("file_server", EXAMPLES / "tcp_echo_server.py")
    running["a file that is none"] = start("file_client", "put", EXAMPLES)
    running["a path with a space"] = start("http_client", LOCAL, 9, "/a b")
    running["a port that is none"] = start("tcp_echo_client", LOCAL, "http")
    for name, program in running.items():
        program.type("hello")
        status, lines, errors = program.end()
        assert (status in {1, 2}, lines) == (True, []), (name, errors)
        assert "Traceback" not in errors, name
        # Given a bad port, socket.create_server() leaves a socket open.
        assert status == 2 or "\n" not in errors or name == "selectors_server", (name, errors)


@pytest.mark.slow
def test_a_bad_address_is_one_line_and_exit_status_1(start: Start, tmp_path: Path) -> None:
    taken, udp_taken = socket.create_server((LOCAL, 0)), framing.open_datagram((LOCAL, 0))
    given: dict[str, list[object]] = {"file_server": [tmp_path]}
    nobody = unused_port()
    with taken, udp_taken:
        port, udp_port = taken.getsockname()[1], udp_taken.getsockname()[1]
        running = [start(name, *given.get(name, []), LOCAL, port) for name in SERVERS]
        running += [start(name, LOCAL, udp_port) for name in UDP_SERVERS]
        servers = [*SERVERS, *UDP_SERVERS]
        running += [start(name, *given.get(name, []), "no..host", 0) for name in servers]
        for host, wrong in [("no..host", port), (LOCAL, nobody)]:
            running += [start(name, *given, host, wrong) for name, given in CLIENTS.items()]
        for program in running:
            program.type("hello")
            status, lines, errors = program.end()
            assert (status, lines) == (1, []), errors
            assert re.fullmatch(r"[^\n]*\d: [^\n]+", errors)


@needs_signals
def test_ctrl_c_ends_clients_that_wait_without_a_traceback(start: Start) -> None:
    names = [name for name in CLIENTS if name != "udp_echo_client"]
    with socket.create_server((LOCAL, 0)) as silent:
        silent.settimeout(TIMEOUT)
        running = [start(name, *CLIENTS[name], *silent.getsockname()) for name in names]
        for program in running:
            program.type("hello")
        accepted = [silent.accept()[0] for _ in names]
        for conn in accepted:
            assert conn.recv(1)  # so the program is past its beginning
        for program in running:
            status, _, errors = program.interrupt()
            assert (status in INTERRUPTED, errors in {"", "stopped"}) == (True, True)
        for conn in accepted:
            conn.close()


# TCP servers

BAD_BEGINNINGS = (b"", b"\0\0\0\5he", b"\xff" * 100, b"GET", b"\r\n\r\n", b"\0" * 20)
WIRES: dict[str, tuple[bytes, bytes]] = {
    **dict.fromkeys(ECHO_SERVERS, (b"\0\0\0\3abc\0\0\0\1d", b"\0\0\0\3ABC\0\0\0\1D")),
    "record_server": (RECORD.encode((7, b"bob", 1)), RECORD.encode((7, b"ok", 0))),
    "chat_server": ("粘包\nbye\n".encode(), "* 粘包 is here\n".encode()),
    "http_server": (b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 404"),
    "file_server": (b'\0\0\0\x0a{"size":0}', b"\0\0\0"),
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_survives_its_clients_and_serves_them_at_the_same_time(
    serve: Serve, name: str
) -> None:
    address = serve(name).address
    for beginning in BAD_BEGINNINGS:
        for leave in (socket.socket.close, reset):
            conn = connect(address)
            conn.sendall(beginning)
            leave(conn)
    wire, answer = WIRES[name]
    with connect(address) as conn:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(wire)):
            conn.sendall(wire[i : i + 1])
        assert recv_exactly(conn, len(answer)) == answer
    with connect(address) as silent, connect(address) as first, connect(address) as second:
        silent.sendall(b"\0")
        SERVERS[name](second)
        SERVERS[name](first)


# Threads that cannot be started, as in a container with a limit of processes
FEW_THREADS = """
import runpy, sys, threading

class Few(threading.Thread):
    def start(self):
        if threading.active_count() > 5:
            raise RuntimeError("can't start new thread")
        super().start()

threading.Thread = Few
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    "name",
    [
        "chat_server",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("tcp_echo_server", "record_server", "http_server", "file_server")
        ),
    ],
)
def test_a_server_survives_that_threads_run_out(name: str, tmp_path: Path) -> None:
    given = [str(tmp_path)] if name == "file_server" else []
    script = str(EXAMPLES / f"{name}.py")
    server = Program([sys.executable, "-c", FEW_THREADS, script, *given, LOCAL, "0"])
    try:
        address = server.address
        silent = [connect(address) for _ in range(6)]
        while "can't start new thread" not in server.note():
            pass
        for conn in silent:
            conn.close()
        with connect(address) as conn:
            SERVERS[name](conn)
    finally:
        server.kill()


# What one program shows by itself


def test_sticky_packets_are_seen_and_cured(start: Start) -> None:
    status, lines, errors = start("sticky_packets").end()
    assert (status, errors) == (0, "")
    shown = {line.partition(":")[0]: line.partition(": ")[2] for line in lines[::2]}
    assert shown["three quick sends"].endswith("received 1, not what was sent:")
    assert shown["three sends with a delay"].endswith("received 1, not what was sent:")
    assert re.match(r"sent 1, received \d\d+, not what", shown["one large send"])
    assert shown["three quick send_msg"] == "sent 3, received 3, as sent:"
    assert shown["one large send_msg"] == "sent 1, received 1, as sent:"


def test_socket_options_are_read_and_set(start: Start) -> None:
    status, lines, errors = start("socket_options").end()
    assert (status, errors) == (0, "")
    text = "\n".join(lines)
    for option in ("SO_REUSEADDR", "SO_BROADCAST", "SO_KEEPALIVE", "TCP_NODELAY"):
        assert re.search(rf"^{option} +0 -> [1-9]", text, re.MULTILINE), option
    assert re.search(r"SO_RCVBUF +\d+ -> (50000|100000) ", text)
    assert re.search(r"client.type +SOCK_STREAM ", text)


def test_what_recv_and_send_do_is_shown(start: Start) -> None:
    status, lines, errors = start("recv_and_send").end()
    assert (status, errors) == (0, "")
    text = "\n".join(lines)
    assert "recv(2): b'he'\nrecv(100): b'llo'" in text
    assert "recv_msg: b'bye' and recv: b'' b''" in text
    assert "EndOfStreamError" in text
    assert re.search(r"send number \d+: (BrokenPipe|Connection\w+)Error", text)
    assert re.search(r"send\(10,000,000 bytes\) returned [\d,]+; in all [\d,]+; then", text)
    assert "sendall(10,000,000 bytes): TimeoutError" in text
    assert re.search(r"still to be sent: [1-9][\d,]+", text)


# The echo servers


@pytest.mark.parametrize("name", ECHO_SERVERS)
def test_lines_are_echoed_in_upper_case(start: Start, serve: Serve, name: str) -> None:
    address = serve(name).address
    assert start("asyncio_client", *address).end() == (0, ["HELLO", "HOW ARE YOU?", "BYE"], "")
    client = start("tcp_echo_client", *address)
    for line, answer in [("hello", "HELLO"), ("", ""), ("粘包 hello", "粘包 HELLO")]:
        client.type(line)
        assert client.line() == answer
    assert client.end() == (0, [], "")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tcp_echo_client", "asyncio_client", "chat_client"])
@pytest.mark.parametrize("sent", [b"", b"\0\0\0\5he"])
def test_a_client_reports_a_server_that_has_gone(start: Start, name: str, sent: bytes) -> None:
    with socket.create_server((LOCAL, 0)) as server:
        server.settimeout(TIMEOUT)
        client = start(name, *CLIENTS[name], *server.getsockname())
        client.type("hello")
        conn, _ = server.accept()
        with conn:
            assert conn.recv(1)
            conn.sendall(sent)
            conn.shutdown(socket.SHUT_WR)
            client.process.wait(TIMEOUT)
    status, _, errors = client.end()
    assert status == 1
    assert errors
    assert "\n" not in errors


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("chat_client", b"\x1b[2J\n\xff\n"),
        *(
            pytest.param(name, b"\0\0\0\4\x1b[2J\0\0\0\1\xff", marks=pytest.mark.slow)
            for name in ("tcp_echo_client", "asyncio_client")
        ),
    ],
)
def test_a_client_escapes_what_could_change_the_terminal(
    start: Start, name: str, wire: bytes
) -> None:
    with socket.create_server((LOCAL, 0)) as server:
        server.settimeout(TIMEOUT)
        client = start(name, *CLIENTS[name], *server.getsockname())
        client.type("hello", "hello")
        conn, _ = server.accept()
        with conn:
            conn.sendall(wire)
            assert [client.line(), client.line()] == [r"'\x1b[2J'", "\ufffd"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ECHO_SERVERS)
def test_a_client_that_takes_no_answers_keeps_nobody_waiting(serve: Serve, name: str) -> None:
    address = serve(name).address
    with connect(address) as greedy, connect(address) as other:
        greedy.settimeout(0.2)
        with pytest.raises(TimeoutError):  # so the server does not take everything in, either
            for _ in range(1000):
                greedy.sendall(b"\0\1\0\0" + b"x" * 65_536)
        greedy.settimeout(TIMEOUT)
        ask_echo(other)
        for _ in range(20):
            assert recv_msg(greedy) == b"X" * 65_536


@needs_unix
def test_a_unix_socket_carries_the_echo(start: Start, tmp_path: Path) -> None:
    path, precious = tmp_path / "echo", tmp_path / "precious"
    killed = start("unix_echo_server", path)
    assert killed.line()
    killed.kill()
    assert path.exists()
    server = start("unix_echo_server", path)  # it replaces a dead socket, and nothing else
    assert str(path) in server.line()
    assert start("unix_echo_client", path).end() == (0, [], "")
    client = start("unix_echo_client", path)
    client.type("hello", "how are you?")
    assert client.end() == (0, ["'HELLO'", "'HOW ARE YOU?'"], "")
    second = start("unix_echo_server", path).end()
    assert second[0] == 1
    assert "in use" in second[2]
    assert server.interrupt()[::2] == (0, "")
    assert not path.exists()
    precious.write_text("not a socket")
    for name in ("unix_echo_server", "unix_echo_client"):
        assert start(name, precious).end()[0] == 1
    assert precious.read_text() == "not a socket"


# UDP


def test_udp_clients_are_answered_in_upper_case(start: Start) -> None:
    server = start("udp_echo_server", LOCAL, 0)
    address = server.address
    with framing.open_datagram() as gone:
        framing.send_datagram(gone, b"x" * 60_000, address)  # and is closed before the answer
    clients = [start("udp_echo_client", *address) for _ in range(2)]
    for client in clients:
        client.type("hello", "", "粘包 hello")
    for client in clients:
        assert client.end() == (0, ["HELLO", "", "粘包 HELLO"], "")


def test_two_chat_over_udp_and_bye_ends_both(start: Start) -> None:
    here, there = unused_port(socket.SOCK_DGRAM), unused_port(socket.SOCK_DGRAM)
    alice = start("udp_chat", LOCAL, here, LOCAL, there)
    assert alice.line()
    alice.type("anybody?")  # nobody yet, which is no error
    bob = start("udp_chat", LOCAL, there, LOCAL, here)
    assert bob.line()
    with framing.open_datagram() as stranger:
        framing.send_datagram(stranger, b"I am not bob", (LOCAL, here))
    bob.type("hello alice", "粘包")
    assert [alice.line(), alice.line()] == ["hello alice", "粘包"]
    alice.type("hello bob", "\x1b[2J")
    assert [bob.line(), bob.line()] == ["hello bob", r"'\x1b[2J'"]
    alice.type("bye")
    assert bob.process.wait(TIMEOUT) == 0  # though its standard input is open
    assert alice.process.wait(TIMEOUT) == 0
    assert bob.end() == (0, ["the other has left"], "")
    assert alice.end() == (0, [], "")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux broadcasts on loopback")
def test_all_receivers_get_a_broadcast(start: Start) -> None:
    first = start("udp_broadcast_receiver", "127.255.255.255", 0)
    _, port = first.address
    others = [start("udp_broadcast_receiver", "127.255.255.255", port) for _ in range(2)]
    for receiver in others:
        assert receiver.address == ("127.255.255.255", port)
    sender = start("udp_broadcast_sender", "127.255.255.255", port)
    sender.type("hello all", "\a")
    assert sender.end() == (0, [], "")
    for receiver in [first, *others]:
        assert receiver.line() == "127.0.0.1: hello all"
        assert receiver.line() == r"127.0.0.1: '\x07'"


# The chat


def join_chat(address: tuple[str, int], name: str) -> MessageSocket[str]:
    messages = framing.connect(address, LineFramer(), timeout=TIMEOUT)
    messages.send(name)
    assert messages.recv() == f"* {name} is here"
    return messages


def test_people_chat_at_the_same_time_and_bye_leaves(start: Start) -> None:
    address = start("chat_server", LOCAL, 0).address
    alice = start("chat_client", "alice", *address)
    assert alice.line() == "* alice is here"
    bob = start("chat_client", "鲍勃", *address)
    assert [alice.line(), bob.line()] == ["* 鲍勃 is here"] * 2
    also_alice = start("chat_client", "alice", *address)
    also_alice.process.wait(TIMEOUT)
    status, lines, errors = also_alice.end()
    assert (status, errors) == (1, "the server has closed the connection")
    assert lines == ["* this name is taken, or is not 1 to 20 letters and digits"]
    alice.type("hello", "how are you?")
    assert [bob.line(), bob.line()] == ["alice: hello", "alice: how are you?"]
    bob.type("fine", "\x1b[2J", "bye")
    assert alice.line() == "鲍勃: fine"
    assert alice.line() == "鲍勃: ?[2J"
    assert alice.line() == "* 鲍勃 has left"
    assert bob.process.wait(TIMEOUT) == 0
    assert bob.end() == (0, [], "")
    assert alice.end() == (0, [], "")  # the end of its standard input leaves too


def test_a_chat_client_that_is_killed_does_not_disturb_the_others(start: Start) -> None:
    server = start("chat_server", LOCAL, 0)
    address = server.address
    with join_chat(address, "alice") as alice:
        bob = start("chat_client", "bob", *address)
        assert bob.line() == alice.recv() == "* bob is here"
        for name in ("", "* bob", "bob: hi", "a b", "a\rb", "x" * 21, "\x1b[2J", "a\u200b"):
            with framing.connect(address, LineFramer(), timeout=TIMEOUT) as liar:
                liar.send(name)
                assert liar.recv().startswith("* this name is taken, or is not 1 to 20")
        with connect(address) as garbage:
            garbage.sendall(b"\xff\n")
        with join_chat(address, "mallory") as mallory:
            assert alice.recv() == "* mallory is here"
            mallory.send("\r* alice has left")
            assert alice.recv() == "mallory: ?* alice has left"
            mallory.sock.sendall(b"\xff\x9b\n" + b"x" * 2000 + b"\n")
            assert alice.recv() == "mallory: \ufffd\ufffd"
            assert alice.recv() == "mallory: " + "x" * 991
        assert alice.recv() == "* mallory has left"
        bob.kill()
        assert alice.recv() == "* bob has left"
        with join_chat(address, "bob") as again:
            assert alice.recv() == "* bob is here"
            again.send("still here")
            assert alice.recv() == "bob: still here"


@pytest.mark.slow
def test_a_chat_client_that_receives_nothing_is_put_out(start: Start) -> None:
    address = start("chat_server", LOCAL, 0).address
    with join_chat(address, "bob") as bob, join_chat(address, "alice") as alice:
        # More than the system holds for him, so that the server has to wait.
        alice.send_many(["x" * 990] * 20_000)
        with framing.connect(address, LineFramer(), timeout=TIMEOUT) as carol:
            carol.send("carol")
            assert "* carol is here" in iter(alice)
            alice.send("are you there, carol?")
            assert "alice: are you there, carol?" in iter(carol)
        with pytest.raises((EOFError, ConnectionError)):  # after what there was for him
            while bob.recv():
                pass


def test_twenty_chat_and_nothing_is_lost_or_mixed(start: Start) -> None:
    address = start("chat_server", LOCAL, 0).address
    names = [f"n{number}" for number in range(20)]
    members = {name: join_chat(address, name) for name in names}
    texts = [f"{number} " + "x" * 50 for number in range(5)]

    def talk(name: str) -> None:
        heard: dict[str, list[str]] = {other: [] for other in names if other != name}
        members[name].send_many(texts)
        while any(len(each) < len(texts) for each in heard.values()):
            line = members[name].recv()
            if not line.startswith("*"):
                other, _, text = line.partition(": ")
                heard[other].append(text)
        assert all(each == texts for each in heard.values())

    try:
        for task in [Task(talk, name) for name in names]:
            task.result()
    finally:
        for messages in members.values():
            messages.sock.close()


# Records and files


def test_a_record_goes_over_tcp_and_over_udp(start: Start) -> None:
    tcp, udp = start("record_server", LOCAL, 0), start("record_server", LOCAL, 0, "--udp")
    tcp_address, udp_address = tcp.address, udp.address
    with framing.open_datagram() as garbage:
        for data in (b"", b"x" * 10, b"x" * 12):
            framing.send_datagram(garbage, data, udp_address)
    clients = [
        start("record_client", 7, "alice", -1, *tcp_address),
        start("record_client", 65_535, "eight888", 127, *tcp_address),
        start("record_client", 7, "粘包", -1, *udp_address, "--udp"),
        start("record_client", 8, "bob", 1, *udp_address, "--udp"),
    ]
    assert [client.end() for client in clients] == [
        (0, [f"{number} 'ok' 0"], "") for number in (7, 65_535, 7, 8)
    ]
    assert {tcp.line(), tcp.line()} == {"7 'alice' -1", "65535 'eight888' 127"}
    lines = [udp.line() for _ in range(5)]
    assert all(line.startswith("127.0.0.1 sent no record: ") for line in lines[:3])
    assert {*lines[3:]} == {r"7 '\u7c98\u5305' -1", "8 'bob' 1"}


def test_files_are_stored_and_served_by_name(start: Start, tmp_path: Path) -> None:
    stored, here = tmp_path / "stored", tmp_path / "here"
    stored.mkdir()
    here.mkdir()
    (tmp_path / "secret").write_text("not for you")
    address = start("file_server", stored, LOCAL, 0).address
    (stored / "folder").mkdir()
    (stored / "-rf").write_text("a name that send_file refuses")
    contents = {"粘包.bin": os.urandom(3_000_000), "empty.txt": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for client in [start("file_client", "put", tmp_path / name, *address) for name in contents]:
        status, lines, errors = client.end()
        assert (status, lines) == (0, []), errors
        # Without a size, there is nothing for tqdm to show progress by.
        assert re.search(r"100%|0.00B|([\d,]+) of \1 bytes$", errors)
    for client in [start("file_client", "get", name, *address, folder=here) for name in contents]:
        status, lines, errors = client.end()
        assert (status, lines) == (0, []), errors
    for name, content in contents.items():
        assert (stored / name).read_bytes() == (here / name).read_bytes() == content
    (stored / ".hidden").write_text("not for you")
    for client in [
        start("file_client", "put", tmp_path / "empty.txt", *address),
        start("file_client", "get", "\x1b[2J", *address),
    ]:
        status, _, errors = client.end()
        assert status == 1
        assert errors.splitlines()[-1].startswith("the server refuses: ")
        assert "\x1b" not in errors
    with framing.connect(address, framing.HeaderBodyFramer(), timeout=TIMEOUT) as conn:
        for wanted in ("../secret", ".hidden", "folder", ".", "", 7, ["a"]):
            conn.send(framing.HeaderMessage({"command": "get", "file": wanted}, b""))
            assert conn.recv().header["ok"] is False
    with framing.connect(address, framing.HeaderBodyFramer(), timeout=TIMEOUT) as conn:
        conn.send(framing.HeaderMessage({"command": "get", "file": "-rf"}, b""))
        assert [conn.recv().header["ok"], conn.recv().header["ok"]] == [True, False]
    for name in ("../evil", ".bashrc", "-rf", "a\u200b"):
        with framing.connect(address, framing.HeaderBodyFramer(), timeout=TIMEOUT) as conn:
            conn.send(framing.HeaderMessage({"command": "put"}, b""))
            conn.send(framing.HeaderMessage({"name": name}, b"x"))
            answer = conn.recv().header
            assert answer["ok"] is False
            assert str(answer["reason"]).isprintable()
    assert sorted(path.name for path in stored.iterdir()) == sorted(
        [*contents, ".hidden", "folder", "-rf"]
    )


def test_an_upload_that_is_cut_leaves_nothing(start: Start, tmp_path: Path) -> None:
    server = start("file_server", tmp_path, LOCAL, 0)
    address = server.address
    framer = framing.HeaderBodyFramer()
    put = framer.encode(framing.HeaderMessage({"command": "put"}, b""))
    file = framer.encode(framing.HeaderMessage({"name": "a.txt"}, b"x" * 1000))
    with connect(address) as cut, connect(address) as goes_on:
        for conn in (cut, goes_on):
            conn.sendall(put + file[:-1])
        cut.close()
        with connect(address) as other:
            ask_files(other)
        goes_on.sendall(file[-1:])
        assert recv_msg(goes_on, framer=framer).header["ok"] is True
        assert server.line()
        goes_on.sendall(put + file.replace(b"a.txt", b"b.txt")[:-1])
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)  # it has begun to write
        status, lines, errors = server.interrupt()
        assert (status, lines, "Traceback" in errors) == (0, ["stopped"], False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


# HTTP


def test_the_http_client_gets_a_page_of_a_real_server(start: Start, tmp_path: Path) -> None:
    page = "<h1>粘包</h1>\n" + "<p>a line</p>\n" * 20_000
    (tmp_path / "page.html").write_text(page, encoding="utf-8", newline="\n")
    server = Program(
        [sys.executable, "-u", "-m", "http.server", "0", "-b", LOCAL, "-d", str(tmp_path)]
    )
    try:
        address = server.address
        found = start("http_client", *address, "/page.html")
        missing = start("http_client", *address, "/nothing.html")
        status, lines, head = found.end()
        assert status == 0, head
        assert "\n".join([*lines, ""]) == page
        assert head.startswith("HTTP/1.0 200 OK\n")
        status, lines, head = missing.end()
        assert status == 1
        assert "404" in lines[-1] + head.splitlines()[-1]
    finally:
        server.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", "ended after 2"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "ended after"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length:\x0b5\r\n\r\nhello", "Content-Length"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "Content-Length",
        ),
        (b"HTTP/1.1 \x1b[2J\r\nContent-Length: 5\r\n\r\nhello", "HTTP"),
        (b"SSH-2.0-x\r\n\r\n", "HTTP"),
        (b"", "ended"),
        (b"x" * 70_000, "65536"),
    ],
)
def test_the_http_client_reports_an_answer_that_it_cannot_use(
    start: Start, answer: bytes, reason: str
) -> None:
    with socket.create_server((LOCAL, 0)) as server:
        server.settimeout(TIMEOUT)
        client = start("http_client", *server.getsockname())
        conn, _ = server.accept()
        with conn:
            recv_msg(conn, framer=framing.DelimiterFramer(b"\r\n\r\n"))
            conn.sendall(answer)
            conn.shutdown(socket.SHUT_WR)
            client.process.wait(TIMEOUT)
    status, lines, errors = client.end()
    assert (status, lines) == (1, [])
    assert reason in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert "\x1b" not in errors


def test_the_http_server_keeps_a_connection_until_it_is_asked_not_to(serve: Serve) -> None:
    with connect(serve("http_server").address) as conn:
        requests = [
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"200 OK"),
            (b"HEAD / HTTP/1.1\r\nHOST: a\r\n\r\n", b"200 OK"),
            (b"GET http://a/?q HTTP/1.1\r\nHost: a\r\nAccept: x\r\nAccept: y\r\n\r\n", b"200 OK"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", b"405 Method Not"),
            (b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", b"404 Not Found"),
        ]
        conn.sendall(b"".join(request for request, _ in requests))  # all before the first answer
        for request, status in requests:
            head, body = receive_http(conn, only_head=request.startswith(b"HEAD"))
            assert head.startswith(b"HTTP/1.1 " + status)
            assert (b"\r\nAllow: GET, HEAD" in head) == status.startswith(b"405")
            assert bool(body) != request.startswith(b"HEAD")
        assert conn.recv(1) == b""


def test_the_http_server_refuses_what_it_cannot_follow(serve: Serve) -> None:
    address = serve("http_server").address
    for request in (
        b"GET / HTTP/1.1\r\n\r\n",  # RFC 9112 section 3.2: without a Host
        b"GET /\r\nHost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\nContent-Length: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\x0b5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \xb2\r\n\r\n".encode("iso-8859-1"),
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"\x1b]0;pwned\x07 / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\x1b[2J HTTP/1.1\r\nHost: a\r\n\r\n",
        b"x" * 20_000,
    ):
        with connect(address) as conn:
            conn.sendall(request)
            head, _ = receive_http(conn)
            assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n"), request[:80]
            assert b"\r\nConnection: close" in head

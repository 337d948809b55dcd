"""The programs of docs/examples, as a learner runs them: real processes that talk over loopback."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import framing
from framing import HeaderBodyFramer, HeaderMessage, LineFramer, StructFramer, recv_msg, send_msg

from .pairs import reset, wait_until
from .programs import EXAMPLES, INTERRUPTED, TIMEOUT, UNMEASURED, Program

pytestmark = pytest.mark.skipif(
    framing.__name__ != "framing", reason="the examples import the package by its own name"
)
slow = pytest.mark.slow
needs_signals = pytest.mark.skipif(os.name == "nt", reason="no SIGINT for another process")
needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux broadcasts on loopback")

LOCAL = "127.0.0.1"
TO_ALL = "127.255.255.255"
RECORD = StructFramer("!H8sb")
FILES = HeaderBodyFramer()
COURSE = HeaderBodyFramer("<i", size_key="filesize", name_key="filename")
Start = Callable[..., Program]
Address = tuple[str, int]


def launch(folder: Path, name: str, *arguments: object, port: int = 0) -> Program:
    """Start a program in *folder*; one without arguments as a copy that has another port."""
    path = EXAMPLES / f"{name}.py"
    if "/" in name:
        source = re.sub(r"\b[89]000\b", str(port), path.read_text("utf-8"))
        path = folder / f"{name.replace('/', '_')}_{port}.py"
        if not path.exists():  # another process may be reading it
            path.write_text(source, "utf-8")
    command = [sys.executable, "-W", "error", str(path), *map(str, arguments)]
    return Program(command, folder, UNMEASURED)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start programs, and leave none of them behind."""
    running: list[Program] = []

    def begin(name: str, *arguments: object, port: int = 0) -> Program:
        running.append(launch(tmp_path, name, *arguments, port=port))
        return running[-1]

    yield begin
    for program in running:
        program.kill()


Running = tuple[Program, Address]
Serve = Callable[[str], Running]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start each server once, on a port that the system chooses; end them with Ctrl-C.

    Several tests use a server, since it has to survive all of them.
    """
    running: dict[str, Running] = {}

    def begin(name: str) -> Running:
        if name not in running:
            folder = tmp_path_factory.mktemp("server")
            program = launch(folder, name, *arguments_of(name, folder, 0))
            running[name] = program, program.address
        return running[name]

    yield begin
    ends = {name: program.interrupt() for name, (program, _) in running.items()}
    for name, (status, lines, errors) in ends.items():
        assert status in INTERRUPTED, name
        assert name not in SERVERS or (status, lines[-1:]) == (0, ["stopped"]), name
        assert "Traceback" not in errors, name
        assert all(line.isprintable() for line in [*lines, *errors.split("\n")]), name


def arguments_of(name: str, folder: Path, port: int) -> list[object]:
    """Return what a server is started with."""
    return [] if "/" in name else [*([folder] if name == "file_server" else []), LOCAL, port]


def connect(address: Address) -> socket.socket:
    return socket.create_connection((LOCAL, address[1]), timeout=TIMEOUT)


def join(address: Address, framer: Any) -> Any:
    return framing.connect(address, framer, timeout=TIMEOUT)


def unused_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(type=kind) as sock:
        sock.bind((LOCAL, 0))
        port: int = sock.getsockname()[1]
        return port


def recv_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (chunk := sock.recv(size - len(data))):
        data += chunk
    return data


def receive_http(sock: socket.socket, *, only_head: bool = False) -> tuple[bytes, bytes]:
    head: bytes = recv_msg(sock, framer=framing.DelimiterFramer(b"\r\n\r\n"))
    found = re.search(rb"\r\nContent-Length: (\d+)", head)
    assert found
    return head, b"" if only_head else recv_exactly(sock, int(found[1]))


# What shows that a server is alive and well: a request, and how the answer begins. (The length
# of 100 bytes is a small letter.)
ECHO, UPPER = (
    b"".join(framing.LengthPrefixFramer().encode(each) for each in (text, b"", text * 50))
    for text in (b"ab", b"AB")
)
GET = HeaderMessage({"command": "get", "file": "x"}, b"")
NO_FILE = HeaderMessage({"ok": False, "reason": "there is no file 'x'"}, b"")
SERVERS: dict[str, tuple[bytes, bytes]] = {
    "tcp_echo_server": (ECHO, UPPER),
    "record_server": (RECORD.encode((7, b"bob", 1)) * 2, RECORD.encode((7, b"ok", 0)) * 2),
    "chat_server": ("PORT粘包\nbye\n".encode(), "* PORT粘包 is here\n".encode()),
    "http_server": (b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 404"),
    "file_server": (FILES.encode(GET) * 2, FILES.encode(NO_FILE) * 2),
}
SERVERS |= dict.fromkeys(["asyncio_server", "selectors_server"], SERVERS["tcp_echo_server"])


def ask(name: str, sock: socket.socket, size: int = 1000) -> None:
    """Send a request to a server, in pieces of some *size*, and check the answer."""
    port = str(sock.getsockname()[1]).encode()
    request, answer = (each.replace(b"PORT", port) for each in SERVERS[name])
    for start in range(0, len(request), size):
        sock.sendall(request[start : start + size])
    data = b""
    while answer not in data:
        chunk = sock.recv(1000)
        assert chunk, data
        data += chunk
    assert data.startswith(answer) or name == "chat_server"  # from where others leave meanwhile


ECHO_SERVERS = [name for name in SERVERS if SERVERS[name][0] is ECHO]
UDP_SERVERS = ["udp_echo_server", "udp_chat", "udp_broadcast_receiver"]
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


# All programs


def test_every_program_is_shown_in_the_documentation() -> None:
    block = (
        r"(?m)^```\{literalinclude\} (?:\.\./)?(?:examples/)?([\w/]+)\.py\n:language: python\n```"
    )
    pages = [page.read_text("utf-8") for page in EXAMPLES.parent.glob("**/*.md")]
    programs = [path.relative_to(EXAMPLES).with_suffix("") for path in EXAMPLES.glob("**/*.py")]
    assert sorted(re.findall(block, "\n".join(pages))) == sorted(map(str, programs))


@slow
def test_wrong_arguments_and_bad_addresses_are_one_line(start: Start, tmp_path: Path) -> None:
    taken, udp_taken = socket.create_server((LOCAL, 0)), framing.open_datagram((LOCAL, 0))
    port, udp_port = taken.getsockname()[1], udp_taken.getsockname()[1]
    wrong: list[tuple[object, ...]] = [
        ("udp_broadcast_sender", LOCAL, -1),
        ("record_client", 7, "somebody else", 1),
        ("record_client", 70_000, "alice", 1),
        ("file_server", EXAMPLES / "tcp_echo_server.py"),
        ("file_client", "put", EXAMPLES),
        ("http_client", LOCAL, 9, "/a b"),
        ("tcp_echo_client", LOCAL, "http"),
    ]
    bad: list[tuple[object, ...]] = []
    for name in [*SERVERS, *UDP_SERVERS]:
        given = arguments_of(name, tmp_path, 0)[:-2]
        wrong.append((name, *given, LOCAL, 70_000))
        bad.append((name, *given, LOCAL, port if name in SERVERS else udp_port))
        bad.append((name, *given, "no..host", 0))
    for name, before in CLIENTS.items():
        wrong.append((name, *before, LOCAL, 70_000))
        bad += [(name, *before, "no..host", port), (name, *before, LOCAL, unused_port())]
    with taken, udp_taken:
        running = [(each, start(*each)) for each in [*wrong, *bad]]
        for arguments, program in running:
            program.type("hello")
            status, lines, errors = program.end()
            assert (status in {1, 2}, lines) == (True, []), (arguments, errors)
            assert "Traceback" not in errors, arguments
            # Given a bad port, socket.create_server() leaves a socket open.
            is_one_line = "\n" not in errors or arguments[0] == "selectors_server"
            assert is_one_line or status == 2, (arguments, errors)
            if arguments in bad:
                assert status == 1
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


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_survives_its_clients(serve: Serve, name: str) -> None:
    _, address = serve(name)
    for beginning in (b"", b"\0\0\0\5he", b"\xff" * 100, b"GET", b"\r\n\r\n", b"\0" * 20):
        for leave in (socket.socket.close, reset):
            conn = connect(address)
            conn.sendall(beginning)
            leave(conn)
    with connect(address) as conn:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ask(name, conn, 1)
    with connect(address) as silent, connect(address) as first, connect(address) as second:
        silent.sendall(b"\0")
        ask(name, second)
        ask(name, first)


@slow
@pytest.mark.parametrize("name", ECHO_SERVERS)
def test_a_client_that_takes_no_answers_keeps_nobody_waiting(serve: Serve, name: str) -> None:
    _, address = serve(name)
    with connect(address) as greedy, connect(address) as other:
        greedy.settimeout(0.2)
        with pytest.raises(TimeoutError):  # so the server does not take everything in, either
            for _ in range(1000):
                greedy.sendall(b"\0\1\0\0" + b"x" * 65_536)
        greedy.settimeout(TIMEOUT)
        ask(name, other)
        for _ in range(20):
            assert recv_msg(greedy) == b"X" * 65_536


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
THREADED = ["tcp_echo_server", "record_server", "http_server", "file_server"]


@pytest.mark.parametrize(
    "name", ["chat_server", *(pytest.param(name, marks=slow) for name in THREADED)]
)
def test_a_server_survives_that_threads_run_out(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FEW_THREADS, str(EXAMPLES / f"{name}.py")]
    server = Program([*command, *map(str, arguments_of(name, tmp_path, 0))])
    try:
        address = server.address
        silent = [connect(address) for _ in range(6)]
        while "can't start new thread" not in server.note():
            pass
        for conn in silent:
            conn.close()
        with connect(address) as conn:
            ask(name, conn)
    finally:
        server.kill()


# Clients


OK = b"HTTP/1.1 200 OK\r\n"
ESCAPED = b"\0\0\0\4\x1b[2J\0\0\0\1\xff"
# A client, what comes from its server before the end, what it prints, and the error.
ANSWERS = [
    ("chat_client", b"\x1b[2J\n\xff\n", r"'\x1b[2J' " + "\ufffd", "closed the connection"),
    ("tcp_echo_client", ESCAPED, r"'\x1b[2J' " + "\ufffd", ": "),
    ("asyncio_client", ESCAPED, r"'\x1b[2J' " + "\ufffd", ": "),
    ("chat_client", b"he", "he", "closed the connection"),
    ("tcp_echo_client", b"\0\0\0\5he", "", "the stream ended after 6"),
    ("asyncio_client", b"\0\0\0\5he", "", "the stream ended after 6"),
    ("http_client", OK + b"Content-Length: 5\r\n\r\nhe", "", "the stream ended after 2"),
    ("http_client", OK + b"Content-Le", "", "the stream ended after"),
    ("http_client", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", "Content-Length"),
    ("http_client", OK + b"Content-Length: -5\r\n\r\n", "", "Content-Length"),
    ("http_client", OK + b"Content-Length:\x0b5\r\n\r\nhello", "", "Content-Length"),
    ("http_client", OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "", "Length"),
    ("http_client", b"HTTP/1.1 \x1b[2J\r\nContent-Length: 5\r\n\r\nhello", "", "HTTP"),
    ("http_client", b"SSH-2.0-x\r\n\r\n", "", "HTTP"),
    ("http_client", b"", "", "ended"),
    ("http_client", b"x" * 70_000, "", "65536"),
]


@pytest.mark.parametrize(
    ("name", "answer", "shown", "reason"),
    [pytest.param(*row, marks=slow if number else ()) for number, row in enumerate(ANSWERS)],
)
def test_a_client_says_what_is_wrong_with_its_server(
    start: Start, name: str, answer: bytes, shown: str, reason: str
) -> None:
    """And nothing that it prints can change the terminal."""
    with socket.create_server((LOCAL, 0)) as server:
        server.settimeout(TIMEOUT)
        client = start(name, *CLIENTS[name], *server.getsockname())
        client.type("hello", "hello", "hello")
        conn, _ = server.accept()
        with conn:
            assert conn.recv(1)
            conn.sendall(answer)
            conn.shutdown(socket.SHUT_WR)
            client.process.wait(TIMEOUT)
    status, lines, errors = client.end()
    assert (status, lines) == (1, shown.split())
    assert reason in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert "\x1b" not in errors


# What one program shows by itself


SHOWN = {
    "sticky_packets": [
        "three quick sends: .*received 1, not what was sent:\n",
        "three sends with a delay: .*received 1, not what was sent:\n",
        r"one large send: sent 1, received \d\d+, not what",
        "three quick send_msg: sent 3, received 3, as sent:\n",
        "one large send_msg: sent 1, received 1, as sent:\n",
    ],
    "socket_options": [
        *(r"SO_REUSEADDR +0 -> [1-9]", r"SO_BROADCAST +0 -> [1-9]", r"SO_KEEPALIVE +0 -> [1-9]"),
        *(r"TCP_NODELAY +0 -> [1-9]", r"SO_RCVBUF +\d+ -> (50000|100000) "),
        r"client.type +SOCK_STREAM ",
    ],
    "recv_and_send": [
        r"recv\(2\): b'he'\nrecv\(100\): b'llo'",
        *("recv_msg: b'bye' and recv: b'' b''", "EndOfStreamError"),
        r"send number \d+: (BrokenPipe|Connection\w+)Error",
        r"send\(10,000,000 bytes\) returned [\d,]+; in all [\d,]+; then",
        *(r"sendall\(10,000,000 bytes\): TimeoutError", r"still to be sent: [1-9][\d,]+"),
    ],
    "zh/half_packet": [r"半包： b'\\xe4\\xbd\\xa0\\xe5'"],
    "zh/socket_options": ["0 -> 1 SO_KEEPALIVE"],
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=slow if "/" in name else ()) for name in SHOWN]
)
def test_a_program_shows_what_it_is_about(start: Start, name: str) -> None:
    status, lines, errors = start(name).end()
    assert (status, errors) == (0, "")
    text = "\n".join(lines)
    for pattern in SHOWN[name]:
        assert re.search(pattern, text), pattern
    assert "False" not in text or "/" not in name


# Two programs that talk


@pytest.mark.parametrize("name", ECHO_SERVERS)
def test_lines_are_echoed_in_upper_case(start: Start, serve: Serve, name: str) -> None:
    _, address = serve(name)
    clients = start("asyncio_client", *address), start("tcp_echo_client", *address)
    assert clients[0].end() == (0, ["HELLO", "HOW ARE YOU?", "BYE"], "")
    for line, answer in [("hello", "HELLO"), ("", ""), ("粘包 hello", "粘包 HELLO")]:
        clients[1].type(line)
        assert clients[1].line() == answer
    assert clients[1].end() == (0, [], "")


little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="'i' is the machine's own")
COUNTED = "{'ok': True, 'lines': 2, 'size': 0}|{'ok': False, 'reason': '没有这个命令', 'size': 0}"
RECORDED = r"(7, b'ok\x00\x00\x00\x00\x00\x00', 0)", r"7 b'alice\x00\x00\x00' -1"
SCORES = "1 '小明' 95|2 '小红' 100"
COMMANDS = "{'command': 'count', 'size': 32} 32|{'command': 'sing', 'size': 32} 32"
GOT = "b'HTTP/1.1 200 OK' "
# A server and its client; what is typed, what the client prints, and what the server prints.
TALKS = [
    ("short/echo_server", "short/echo_client", "hello|粘包 a|", "'HELLO'|'粘包 A'|''", ""),
    ("zh/length_server", "zh/length_client", "你好 a|", "收到： '你好 A'|收到： ''", ""),
    ("zh/length_server", "zh/length_by_hand", "", "收到： 'HELLO'|收到： '你好'", ""),
    ("zh/header_server", "zh/header_client", "", COUNTED, COMMANDS),
    ("short/record_server", "short/record_client", "", *RECORDED),
    ("zh/record_server", "zh/record_client", "", "1 '收到' 95|2 '收到' 100", SCORES),
    ("short/udp_echo_server", "short/udp_echo_client", "hello|", "'HELLO'|''", ""),
    ("zh/udp_echo_server", "zh/udp_echo_client", "你好 a|", "收到： '你好 A'|收到： ''", ""),
    ("short/http_hello", "short/http_get", "", GOT + "and the page is in page.html", ""),
    ("zh/http_server", "zh/http_client", "", GOT + "网页存在 page.html 里", "b'GET / HTTP/1.1'"),
]


@little_endian
@pytest.mark.parametrize(
    "talk", [pytest.param(talk, marks=slow if i > 1 else ()) for i, talk in enumerate(TALKS)]
)
def test_a_short_client_is_answered(start: Start, serve: Serve, talk: tuple[str, ...]) -> None:
    typed, answers, shown = (text.split("|") if text else [] for text in talk[2:])
    server, address = serve(talk[0])
    if "udp" not in talk[0]:
        with connect(address) as rude:
            rude.sendall(b"\0\0")
    client = start(talk[1], port=address[1])
    client.type(*typed)
    assert client.end() == (0, answers, "")
    assert [server.line() for _ in shown] == shown


@pytest.mark.parametrize(
    ("server", "client", "said"),
    [
        ("zh/chat_client", "zh/chat_server", ("客户端： ", "服务器： ")),
        pytest.param("short/talk_client", "short/talk_server", ("", ""), marks=slow),
    ],
)
def test_both_sides_type_at_the_same_time_and_bye_ends_both(
    start: Start, server: str, client: str, said: tuple[str, str]
) -> None:
    second = start(client)
    first = start(server, port=second.address[1])
    first.type("hello", "\x1b[2J")
    second.type("粘包")
    assert [second.line(), second.line()] == [f"{said[0]}'hello'", rf"{said[0]}'\x1b[2J'"]
    assert first.line() == f"{said[1]}'粘包'"
    first.type("bye")
    for program in (first, second):  # though their standard input is open
        assert program.process.wait(TIMEOUT) == 0


def test_the_short_chat(start: Start, serve: Serve) -> None:
    _, address = serve("short/chat_server")
    with join(address, LineFramer()) as alice:
        bob = start("short/talk_client", port=address[1])
        bob.type("hello")
        assert alice.recv() == "hello"
        with connect(address) as rude:
            rude.sendall(b"\xff\n")
        alice.send("fine")
        assert bob.line() == "'fine'"
        bob.type("bye")
        assert bob.process.wait(TIMEOUT) == 0


# Who receives and who sends; how the sender's last line ends, and what the receiver prints.
UPLOADS = [
    ("short/file_receiver", "short/file_sender", "300,000 of 300,000 bytes", "stored {}"),
    ("zh/upload_server", "zh/upload_client", "300000 / 300000 字节，100%", "收到文件： {}"),
    ("zh/upload_server", "zh/upload_client_by_hand", "", "收到文件： {}"),
    ("zh/upload_server_by_hand", "zh/upload_client", "", "收到文件： {} 完整"),
]


@little_endian
@pytest.mark.parametrize("upload", UPLOADS)
def test_a_file_is_uploaded(start: Start, tmp_path: Path, upload: tuple[str, ...]) -> None:
    receiver, sender, last, shown = upload
    (tmp_path / "粘包.bin").write_bytes(content := os.urandom(300_000))
    server = start(receiver)
    address = server.address
    stored = tmp_path / ("copy-粘包.bin" if "hand" in receiver else "received/粘包.bin")
    if "hand" not in receiver:
        framer, key = (FILES, "name") if "short" in receiver else (COURSE, "filename")
        with join(address, framer) as liar, join(address, framer) as cut:
            cut.sock.sendall(framer.encode(HeaderMessage({key: "cut"}, b"x" * 100))[:-1])
            liar.send(HeaderMessage({key: "../evil"}, b"x"))
            with pytest.raises((EOFError, OSError)):
                liar.recv()
    status, lines, errors = start(sender, tmp_path / "粘包.bin", port=address[1]).end()
    assert (status, errors) == (0, "")
    assert "".join(lines[-1:]).endswith(last)
    assert server.line() == shown.format("'粘包.bin'")
    assert stored.read_bytes() == content
    assert not (tmp_path / "evil").exists()
    assert "hand" in receiver or os.listdir(stored.parent) == ["粘包.bin"]


@needs_unix
def test_a_unix_socket_carries_the_echo(start: Start, tmp_path: Path) -> None:
    path, precious = tmp_path / "echo", tmp_path / "precious"
    precious.write_text("not a socket")
    killed = start("unix_echo_server", path)
    assert killed.line()
    killed.kill()
    assert path.exists()
    server = start("unix_echo_server", path)  # it replaces a dead socket, and nothing else
    assert str(path) in server.line()
    idle, client, second = (
        start(f"unix_echo_{kind}", path) for kind in ("client", "client", "server")
    )
    others = [start(f"unix_echo_{kind}", precious) for kind in ("server", "client")]
    client.type("hello", "how are you?")
    assert idle.end() == (0, [], "")
    assert client.end() == (0, ["'HELLO'", "'HOW ARE YOU?'"], "")
    status, _, errors = second.end()
    assert (status, "in use" in errors) == (1, True)
    assert [each.end()[0] for each in others] == [1, 1]
    assert precious.read_text() == "not a socket"
    assert server.interrupt()[::2] == (0, "")
    assert not path.exists()


# UDP


def test_udp_clients_are_answered_in_upper_case(start: Start, serve: Serve) -> None:
    _, address = serve("udp_echo_server")
    with framing.open_datagram() as gone:
        framing.send_datagram(gone, b"x" * 60_000, address)  # and is closed before the answer
    clients = [start("udp_echo_client", *address) for _ in range(2)]
    for client in clients:
        client.type("hello", "", "粘包 hello")
    for client in clients:
        assert client.end() == (0, ["HELLO", "", "粘包 HELLO"], "")


@pytest.mark.parametrize("name", ["udp_chat", "zh/udp_chat"])
def test_two_chat_over_udp_and_bye_ends_both(start: Start, name: str) -> None:
    here, there = unused_port(socket.SOCK_DGRAM), unused_port(socket.SOCK_DGRAM)
    is_short = "/" in name
    first, second = ((here,), (there,)) if is_short else ((LOCAL, here), (LOCAL, there))
    alice = start(name, *first, *second)
    assert is_short or alice.line()
    alice.type("anybody?")  # nobody yet, which is no error
    bob = start(name, *second, *first)
    if is_short:  # it does not say when it has started, and what is sent before is lost
        while bob.is_silent(0.05):
            alice.type("anybody?")
    assert bob.line()
    with framing.open_datagram() as stranger:
        framing.send_datagram(stranger, b"I am not bob", (LOCAL, here))
    bob.type("hello alice", "粘包")
    shown = ["对方： 'hello alice'", "对方： '粘包'"] if is_short else ["hello alice", "粘包"]
    assert [alice.line(), alice.line()] == shown
    alice.type("\x1b[2J", "bye")
    while r"'\x1b[2J'" not in bob.line():
        pass  # what was said before
    assert bob.process.wait(TIMEOUT) == 0  # though its standard input is open
    assert bob.end() == (0, ["对方： 'bye'" if is_short else "the other has left"], "")
    assert alice.end() == (0, [], "")


@on_linux
@pytest.mark.parametrize("kind", ["udp_broadcast", pytest.param("zh/broadcast", marks=slow)])
def test_all_receivers_get_a_broadcast(start: Start, kind: str) -> None:
    is_short = "/" in kind

    def receive(port: int) -> Program:
        return start(f"{kind}_receiver", *([] if is_short else [TO_ALL, port]), port=port)

    receivers = [receive(0)]
    _, port = receivers[0].address
    receivers += [receive(port), receive(port)]
    assert [each.address[1] for each in receivers[1:]] == [port, port]
    sender = start(f"{kind}_sender", TO_ALL, *([] if is_short else [port]), port=port)
    sender.type("hello all", "\a")
    assert sender.end() == (0, [], "")
    shown = ["127.0.0.1: hello all", r"127.0.0.1: '\x07'"]
    if is_short:
        shown = ["127.0.0.1 'hello all'", r"127.0.0.1 '\x07'"]
    assert [[each.line(), each.line()] for each in receivers] == [shown] * 3


# The chat


def join_chat(address: Address, name: str) -> Any:
    messages = join(address, LineFramer())
    messages.send(name)
    assert messages.recv() == f"* {name} is here"
    return messages


def test_people_chat_at_the_same_time_and_bye_leaves(start: Start) -> None:
    address = start("chat_server", LOCAL, 0).address
    alice = start("chat_client", "alice", *address)
    assert alice.line() == "* alice is here"
    bob = start("chat_client", "鲍勃", *address)
    assert [alice.line(), bob.line()] == ["* 鲍勃 is here"] * 2
    for name in ("alice", "", "* bob", "bob: hi", "a b", "a\rb", "x" * 21, "\x1b[2J", "a\u200b"):
        with join(address, LineFramer()) as liar:
            liar.send(name)
            assert liar.recv() == "* this name is taken, or is not 1 to 20 letters and digits"
    with join_chat(address, "mallory") as mallory:
        assert [alice.line(), bob.line()] == ["* mallory is here"] * 2
        mallory.send("\r* alice has left")
        mallory.sock.sendall(b"\xff\x9b\n" + b"x" * 2000 + b"\n")
        for line in ("?* alice has left", "\ufffd\ufffd", "x" * 991):
            assert [alice.line(), bob.line()] == [f"mallory: {line}"] * 2
    assert [alice.line(), bob.line()] == ["* mallory has left"] * 2
    alice.type("hello", "how are you?")
    assert [bob.line(), bob.line()] == ["alice: hello", "alice: how are you?"]
    bob.type("fine", "\x1b[2J", "bye")
    assert [alice.line() for _ in range(3)] == ["鲍勃: fine", "鲍勃: ?[2J", "* 鲍勃 has left"]
    assert bob.process.wait(TIMEOUT) == 0
    assert bob.end() == (0, [], "")
    with join_chat(address, "bob") as again:
        assert alice.line() == "* bob is here"
        assert alice.end() == (0, [], "")  # the end of its standard input leaves too
        assert again.recv() == "* alice has left"


@slow
def test_a_chat_client_that_receives_nothing_is_put_out(serve: Serve) -> None:
    _, address = serve("chat_server")
    with join_chat(address, "bob") as bob, join_chat(address, "alice") as alice:
        # More than the system holds for him, so that the server has to wait.
        alice.send_many(["x" * 990] * 20_000)
        with join(address, LineFramer()) as carol:
            carol.send("carol")
            assert "* carol is here" in iter(alice)
            alice.send("are you there, carol?")
            assert "alice: are you there, carol?" in iter(carol)
        with pytest.raises((EOFError, ConnectionError)):  # after what there was for him
            while bob.recv():
                pass


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
    ]
    assert [client.end() for client in clients] == [
        (0, [f"{number} 'ok' 0"], "") for number in (7, 65_535, 7)
    ]
    assert {tcp.line(), tcp.line()} == {"7 'alice' -1", "65535 'eight888' 127"}
    lines = [udp.line() for _ in range(4)]
    assert all(line.startswith("127.0.0.1 sent no record: ") for line in lines[:3])
    assert lines[3] == r"7 '\u7c98\u5305' -1"


def test_files_are_stored_and_served_by_name(start: Start, tmp_path: Path) -> None:
    stored = tmp_path / "stored"
    (stored / "folder").mkdir(parents=True)
    (stored / "-rf").write_text("a name that send_file refuses")
    (tmp_path / "secret").write_text("not for you")
    address = start("file_server", stored, LOCAL, 0).address
    contents = {"粘包.bin": os.urandom(3_000_000), "empty.txt": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for command in ("put", "get"):
        for client in [start("file_client", command, name, *address) for name in contents]:
            status, lines, errors = client.end()
            assert (status, lines) == (0, []), errors
            # Without a size, there is nothing for tqdm to show progress by.
            assert re.search(r"100%|0.00B|([\d,]+) of \1 bytes$", errors) or command == "get"
        for name, content in contents.items():
            assert (stored / name).read_bytes() == (tmp_path / name).read_bytes() == content
            if command == "put":
                (tmp_path / name).unlink()
    (stored / ".hidden").write_text("not for you")
    for refused in [
        start("file_client", "put", tmp_path / "empty.txt", *address),
        start("file_client", "get", "\x1b[2J", *address),
    ]:
        status, _, errors = refused.end()
        assert status == 1
        assert errors.splitlines()[-1].startswith("the server refuses: ")
        assert "\x1b" not in errors
    with join(address, FILES) as conn:
        for wanted in ("../secret", ".hidden", "folder", ".", "", 7, ["a"]):
            conn.send(HeaderMessage({"command": "get", "file": wanted}, b""))
            assert conn.recv().header["ok"] is False
        conn.send(HeaderMessage({"command": "get", "file": "-rf"}, b""))
        assert [conn.recv().header["ok"], conn.recv().header["ok"]] == [True, False]
    for name in ("../evil", ".bashrc", "-rf", "a\u200b"):
        with join(address, FILES) as conn:
            conn.send_many(
                [HeaderMessage({"command": "put"}, b""), HeaderMessage({"name": name}, b"x")]
            )
            answer = conn.recv().header
            assert answer["ok"] is False
            assert str(answer["reason"]).isprintable()
    assert sorted(os.listdir(stored)) == sorted([*contents, ".hidden", "folder", "-rf"])


def test_an_upload_that_is_cut_leaves_nothing(start: Start, tmp_path: Path) -> None:
    server = start("file_server", tmp_path, LOCAL, 0)
    address = server.address
    put = FILES.encode(HeaderMessage({"command": "put"}, b""))
    file = FILES.encode(HeaderMessage({"name": "a.txt"}, b"x" * 1000))
    with connect(address) as cut, connect(address) as goes_on:
        for conn in (cut, goes_on):
            conn.sendall(put + file[:-1])
        cut.close()
        with connect(address) as other:
            ask("file_server", other)
        goes_on.sendall(file[-1:])
        assert recv_msg(goes_on, framer=FILES).header["ok"] is True
        assert server.line()
        goes_on.sendall(put + file.replace(b"a.txt", b"b.txt")[:-1])
        wait_until(lambda: len(os.listdir(tmp_path)) == 2)  # it has begun to write
        status, lines, errors = server.interrupt()
        assert (status, lines, "Traceback" in errors) == (0, ["stopped"], False)
    assert os.listdir(tmp_path) == ["a.txt"]


# HTTP


def test_the_http_client_gets_a_page_of_a_real_server(start: Start, tmp_path: Path) -> None:
    page = "<h1>粘包</h1>\n" + "<p>a line</p>\n" * 20_000
    (tmp_path / "page.html").write_text(page, encoding="utf-8", newline="\n")
    command = [sys.executable, "-u", "-m", "http.server", "0", "-b", LOCAL, "-d", str(tmp_path)]
    server = Program(command)
    try:
        address = server.address
        found, missing = (
            start("http_client", *address, f"/{each}.html") for each in ("page", "no")
        )
        status, lines, head = found.end()
        assert (status, "\n".join([*lines, ""])) == (0, page)
        assert head.startswith("HTTP/1.0 200 OK\n")
        status, lines, head = missing.end()
        assert (status, "404" in lines[-1] + head.splitlines()[-1]) == (1, True)
    finally:
        server.kill()


def test_the_http_server_keeps_a_connection_until_it_is_asked_not_to(serve: Serve) -> None:
    requests = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"200 OK"),
        (b"HEAD / HTTP/1.1\r\nHOST: a\r\n\r\n", b"200 OK"),
        (b"GET http://a/?q HTTP/1.1\r\nHost: a\r\nAccept: x\r\nAccept: y\r\n\r\n", b"200 OK"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", b"405 Method Not"),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", b"404 Not Found"),
    ]
    with connect(serve("http_server")[1]) as conn:
        conn.sendall(b"".join(request for request, _ in requests))  # all before the first answer
        for request, status in requests:
            head, body = receive_http(conn, only_head=request.startswith(b"HEAD"))
            assert head.startswith(b"HTTP/1.1 " + status)
            assert (b"\r\nAllow: GET, HEAD" in head) == status.startswith(b"405")
            assert bool(body) != request.startswith(b"HEAD")
        assert conn.recv(1) == b""


def test_the_http_server_refuses_what_it_cannot_follow(serve: Serve) -> None:
    _, address = serve("http_server")
    get = b"GET / HTTP/1.1\r\nHost: a\r\n"
    for request in (
        b"GET / HTTP/1.1\r\n\r\n",  # RFC 9112 section 3.2: without a Host
        b"GET /\r\nHost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        get + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        get + b"Content-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\nContent-Length: 1\r\n\r\n",
        get + b"Content-Length:\x0b5\r\n\r\nhello",
        get + b"Content-Length: +5\r\n\r\nhello",
        get + b"Content-Length: 99999\r\n\r\n",
        get + b"Content-Length: \xb2\r\n\r\n",
        get + b"Host: b\r\n\r\n",
        b"\x1b]0;pwned\x07 / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\x1b[2J HTTP/1.1\r\nHost: a\r\n\r\n",
        b"x" * 20_000,
    ):
        with connect(address) as conn:
            conn.sendall(request)
            head, _ = receive_http(conn)
            assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n"), request[:80]
            assert b"\r\nConnection: close" in head


# The table of errors in Chinese

TABLE = (EXAMPLES.parent / "zh" / "errors.md").read_text("utf-8")


def receive(data: bytes, call: Callable[[Any], object] = recv_msg) -> Callable[[], object]:
    def act() -> object:
        here, there = socket.socketpair()
        there.settimeout(0.01)
        with here, there:
            here.sendall(data)
            return call(there)

    return act


def send(message: Any) -> Callable[[], object]:
    return receive(b"", lambda sock: send_msg(sock, message))


def file(**fields: object) -> Callable[[], object]:
    wire = FILES.encode(HeaderMessage(fields, b""))
    return receive(wire, lambda sock: framing.files.recv_file(sock, Path.cwd()))


MISTAKES: dict[str, Callable[[], object]] = {
    "nothing listens at": lambda: framing.connect((LOCAL, 1)),
    "timed out": receive(b""),
    "these bytes are text": receive(b"hello world"),
    "in little-endian: does the peer use '<I'?": receive(b"\5\0\0\0hello"),
    "is the peer speaking HTTP?": receive(b"GET / HTTP/1.1\r\n\r\n"),
    "expected a file, with the key 'name'": file(filename="x"),
    "the name of one plain file": file(name="../x"),
    "expected a line in utf-8": receive(b"\xff\n", partial(recv_msg, framer=LineFramer())),
    "expected bytes, bytearray or memoryview, not str": send("hi"),
    "expected bytes, bytearray or memoryview, not dict": send({}),
    "the socket comes first": receive(b"", partial(send_msg, b"hi")),
    "depends on the machine": lambda: StructFramer("i"),
    "this socket belongs to a MessageSocket": receive(
        b"", lambda sock: (framing.MessageSocket(sock), recv_msg(sock))
    ),
    "expected a connected socket": lambda: framing.MessageSocket(socket.socket()),
    "at most 16777216 bytes (max_size)": send(bytes(16_777_217)),
    "write ('127.0.0.1', 9000)": lambda: framing.connect("127.0.0.1:9000"),
}
# Python's words, the system's, and classes
OTHERS = {
    *("No module named 'framing'", "WinError 10048", "UnicodeDecodeError"),
    *("Connection refused", "Address already in use", "Connection reset", "Broken pipe"),
    *("EndOfStreamError", "IncompleteMessageError", "FileExistsError"),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_table_of_errors_has_the_words_of_the_library_and_no_others() -> None:
    rows = re.findall(r"^\| (`.*?`) \|", TABLE, re.MULTILINE)
    assert {phrase for row in rows for phrase in re.findall("`(.*?)`", row)} == OTHERS | set(
        MISTAKES
    )
    for phrase, make in MISTAKES.items():
        with pytest.raises(Exception, match=re.escape(phrase)):
            make()

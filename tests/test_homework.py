"""The short programs of docs/examples/short and docs/examples/zh, in real processes."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

import framing
from framing import HeaderBodyFramer, HeaderMessage, LineFramer, MessageSocket, StructFramer

from .programs import ENVIRONMENT, EXAMPLES, INTERRUPTED, TIMEOUT, Program

pytestmark = pytest.mark.skipif(
    framing.__name__ != "framing", reason="the examples import the package by its own name"
)

LOCAL = "127.0.0.1"
COURSE = HeaderBodyFramer("<i", size_key="filesize", name_key="filename")


class Run(Protocol):
    def __call__(self, name: str, *arguments: object, port: int = 0) -> Program: ...


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Start copies of programs that have another port, 0 for servers, in one folder."""
    running: list[Program] = []

    def begin(name: str, *arguments: object, port: int = 0) -> Program:
        source = (EXAMPLES / f"{name}.py").read_text("utf-8")
        assert "9000" in source or "8000" in source or "argv" in source
        copy = tmp_path / f"{name.replace('/', '_')}.py"
        copy.write_text(re.sub(r"\b[89]000\b", str(port), source), "utf-8")
        command = [sys.executable, "-W", "error", str(copy), *map(str, arguments)]
        running.append(Program(command, tmp_path))
        return running[-1]

    yield begin
    for program in running:
        program.kill()


def serve(run: Run, name: str) -> tuple[Program, int]:
    server = run(name)
    return server, server.address[1]


def check_it_stops(server: Program) -> None:
    if os.name != "nt":
        status, _, errors = server.interrupt()
        assert status in INTERRUPTED
        assert "Traceback" not in errors


def check_lines(run: Run, server: str, client: str, expected: dict[str, str]) -> None:
    """Type lines into a client, while another client disconnects inside a message."""
    program, port = serve(run, server)
    if "udp" not in server:
        socket.create_connection((LOCAL, port)).close()
        with socket.create_connection((LOCAL, port)) as rude:
            rude.sendall(b"\0\0")
    typing = run(client, port=port)
    for line, answer in expected.items():
        typing.type(line)
        assert typing.line() == answer
    check_it_stops(typing)
    check_it_stops(program)


def check_talk(first: Program, second: Program, prefixes: tuple[str, str]) -> None:
    """Let both sides type at the same time, until one says bye, which ends both."""
    first.type("hello", "\x1b[2J")
    second.type("粘包")
    assert [second.line(), second.line()] == [
        f"{prefixes[0]}'hello'",
        f"{prefixes[0]}'\\x1b[2J'",
    ]
    assert first.line() == f"{prefixes[1]}'粘包'"
    first.type("bye")
    assert first.process.wait(TIMEOUT) == 0
    assert second.process.wait(TIMEOUT) == 0  # though its standard input is open


# In English


def test_the_short_echo(run: Run) -> None:
    expected = {"hello": "'HELLO'", "粘包 a": "'粘包 A'", "": "''"}
    check_lines(run, "short/echo_server", "short/echo_client", expected)


@pytest.mark.slow
def test_the_short_udp_echo(run: Run) -> None:
    expected = {"hello": "'HELLO'", "": "''"}
    check_lines(run, "short/udp_echo_server", "short/udp_echo_client", expected)


@pytest.mark.slow
def test_the_short_talk(run: Run) -> None:
    server, port = serve(run, "short/talk_server")
    check_talk(server, run("short/talk_client", port=port), ("", ""))


def test_the_short_chat(run: Run) -> None:
    server, port = serve(run, "short/chat_server")
    with framing.connect((LOCAL, port), LineFramer(), timeout=TIMEOUT) as alice:
        bob = run("short/talk_client", port=port)
        bob.type("hello")
        assert alice.recv() == "hello"
        with framing.connect((LOCAL, port), timeout=TIMEOUT) as rude:
            rude.sock.sendall(b"\xff\n")
        alice.send("fine")
        assert bob.line() == "'fine'"
        bob.type("bye")
        assert bob.process.wait(TIMEOUT) == 0
    check_it_stops(server)


def test_the_short_file_transfer(run: Run, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "粘包.bin").write_bytes(content)
    server, port = serve(run, "short/file_receiver")
    with framing.connect((LOCAL, port), HeaderBodyFramer(), timeout=TIMEOUT) as liar:
        liar.send(HeaderMessage({"name": "../evil"}, b"x"))
        with pytest.raises((EOFError, OSError)):
            liar.recv()
    sender = run("short/file_sender", tmp_path / "粘包.bin", port=port)
    assert server.line() == "stored '粘包.bin'"
    status, lines, errors = sender.end()
    assert (status, errors) == (0, "")
    assert lines[-1].endswith("300,000 of 300,000 bytes")
    assert (tmp_path / "received" / "粘包.bin").read_bytes() == content
    assert not (tmp_path / "evil").exists()


@pytest.mark.slow
def test_short_http_by_hand(run: Run, tmp_path: Path) -> None:
    server, port = serve(run, "short/http_hello")
    status, lines, errors = run("short/http_get", port=port).end()
    assert (status, errors) == (0, "")
    assert lines == ["b'HTTP/1.1 200 OK' and the page is in page.html"]
    assert b"It works" in (tmp_path / "page.html").read_bytes()
    check_it_stops(server)


@pytest.mark.slow
def test_the_short_records(run: Run) -> None:
    server, port = serve(run, "short/record_server")
    status, lines, errors = run("short/record_client", port=port).end()
    assert (status, lines, errors) == (0, [r"(7, b'ok\x00\x00\x00\x00\x00\x00', 0)"], "")
    assert server.line() == r"7 b'alice\x00\x00\x00' -1"
    check_it_stops(server)


# In Chinese


def test_the_length_header(run: Run) -> None:
    expected = {"hello": "收到： 'HELLO'", "你好": "收到： '你好'"}
    check_lines(run, "zh/length_server", "zh/length_client", expected)


@pytest.mark.skipif(sys.byteorder != "little", reason="struct's 'i' is the machine's own")
@pytest.mark.slow
def test_the_length_header_by_hand(run: Run) -> None:
    server, port = serve(run, "zh/length_server")
    done = run("zh/length_by_hand", port=port).end()
    assert done == (0, ["收到： 'HELLO'", "收到： '你好'"], "")
    check_it_stops(server)


@pytest.mark.slow
def test_the_header_dictionary(run: Run) -> None:
    server, port = serve(run, "zh/header_server")
    status, lines, errors = run("zh/header_client", port=port).end()
    assert (status, errors) == (0, "")
    assert lines == [
        "{'ok': True, 'lines': 2, 'size': 0}",
        "{'ok': False, 'reason': '没有这个命令', 'size': 0}",
    ]
    assert server.line() == "{'command': 'count', 'size': 32} 32"
    check_it_stops(server)


@pytest.mark.skipif(sys.byteorder != "little", reason="struct's 'i' is the machine's own")
def test_an_upload_from_both_clients(run: Run, tmp_path: Path) -> None:
    contents = {"粘包.bin": os.urandom(100_000), "empty.txt": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    server, port = serve(run, "zh/upload_server")
    with framing.connect((LOCAL, port), COURSE, timeout=TIMEOUT) as cut:
        cut.sock.sendall(COURSE.encode(HeaderMessage({"filename": "cut"}, b"x" * 100))[:-1])
    status, lines, errors = run("zh/upload_client", tmp_path / "粘包.bin", port=port).end()
    assert (status, errors) == (0, "")
    assert lines[-1].endswith("100000 / 100000 字节，100%")
    by_hand = run("zh/upload_client_by_hand", tmp_path / "empty.txt", port=port)
    assert by_hand.end() == (0, [], "")
    assert {server.line(), server.line()} == {f"收到文件： {name!r}" for name in contents}
    received = {path.name: path.read_bytes() for path in (tmp_path / "received").iterdir()}
    assert received == contents
    check_it_stops(server)


@pytest.mark.skipif(sys.byteorder != "little", reason="struct's 'i' is the machine's own")
def test_an_upload_to_a_server_by_hand(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(content := os.urandom(100_000))
    server, port = serve(run, "zh/upload_server_by_hand")
    assert run("zh/upload_client", tmp_path / "a.bin", port=port).end()[0] == 0
    assert server.end() == (0, ["收到文件： 'a.bin' 完整"], "")
    assert (tmp_path / "copy-a.bin").read_bytes() == content


@pytest.mark.skipif(sys.byteorder != "little", reason="struct's 'i' is the machine's own")
def test_the_format_of_the_course_is_what_struct_packs() -> None:
    header = b'{"filename":"a.txt","filesize":5}'
    wire = struct.pack("i", len(header)) + header + b"hello"
    assert COURSE.encode(HeaderMessage({"filename": "a.txt"}, b"hello")) == wire
    assert COURSE.decode(wire).body == b"hello"


@pytest.mark.slow
def test_records(run: Run) -> None:
    server, port = serve(run, "zh/record_server")
    done = run("zh/record_client", port=port).end()
    assert done == (0, ["1 '收到' 95", "2 '收到' 100"], "")
    assert [server.line(), server.line()] == ["1 '小明' 95", "2 '小红' 100"]
    with framing.connect((LOCAL, port), StructFramer("!H12sB"), timeout=TIMEOUT) as rude:
        rude.send((3, b"\x1b[2J\xff", 0))
        assert rude.recv()[0] == 3
    assert server.line() == "3 '\\x1b[2J\ufffd' 0"
    check_it_stops(server)


@pytest.mark.slow
def test_udp_echo(run: Run) -> None:
    check_lines(
        run,
        "zh/udp_echo_server",
        "zh/udp_echo_client",
        {"hello 你好": "收到： 'HELLO 你好'", "": "收到： ''"},
    )


def test_udp_chat(run: Run) -> None:
    socks = [framing.open_datagram((LOCAL, 0)) for _ in range(2)]
    here, there = (sock.getsockname()[1] for sock in socks)
    for sock in socks:
        sock.close()
    alice = run("zh/udp_chat", here, there)
    bob = run("zh/udp_chat", there, here)
    bob_is_there = False
    while not bob_is_there:  # what is sent before he has started is lost
        alice.type("在吗")
        bob_is_there = not bob.is_silent(0.2)
    assert bob.line() == "对方： '在吗'"
    bob.type("在", "bye")
    assert [alice.line(), alice.line()] == ["对方： '在'", "对方： 'bye'"]
    assert alice.process.wait(TIMEOUT) == bob.process.wait(TIMEOUT) == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux broadcasts on loopback")
def test_broadcast(run: Run) -> None:
    receiver, port = serve(run, "zh/broadcast_receiver")
    sender = run("zh/broadcast_sender", "127.255.255.255", port=port)
    sender.type("大家好", "\x1b[2J")
    assert sender.end() == (0, [], "")
    assert receiver.line() == "127.0.0.1 '大家好'"
    assert receiver.line() == r"127.0.0.1 '\x1b[2J'"
    check_it_stops(receiver)


def test_tcp_chat(run: Run) -> None:
    server, port = serve(run, "zh/chat_server")
    client = run("zh/chat_client", port=port)
    check_talk(client, server, ("客户端： ", "服务器： "))


@pytest.mark.slow
def test_http_by_hand(run: Run, tmp_path: Path) -> None:
    server, port = serve(run, "zh/http_server")
    with socket.create_connection((LOCAL, port)) as rude:
        rude.sendall(b"\x1b[2J\r\n\r\n")
        assert rude.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
    status, lines, errors = run("zh/http_client", port=port).end()
    assert (status, errors) == (0, "")
    assert lines == ["b'HTTP/1.1 200 OK' 网页存在 page.html 里"]
    assert "你好，世界" in (tmp_path / "page.html").read_text("utf-8")
    assert server.line() == r"b'\x1b[2J'"
    check_it_stops(server)


@pytest.mark.slow
def test_half_packets_and_socket_options() -> None:
    expected = {
        "half_packet": r"半包： b'\xe4\xbd\xa0\xe5'",
        "socket_options": "0 -> 1 SO_KEEPALIVE",
    }
    for name, line in expected.items():
        command = [sys.executable, "-W", "error", str(EXAMPLES / "zh" / f"{name}.py")]
        done = subprocess.run(
            command,
            env=ENVIRONMENT,
            capture_output=True,
            encoding="utf-8",
            timeout=TIMEOUT,
            check=True,
        )
        assert line in done.stdout
        assert "False" not in done.stdout


# The table of errors

TABLE = (EXAMPLES.parent / "zh" / "errors.md").read_text("utf-8")


def connected() -> tuple[socket.socket, socket.socket]:
    here, there = socket.socketpair()
    there.settimeout(0.01)
    return here, there


def receive(data: bytes, receiver: Callable[[socket.socket], object]) -> Callable[[], object]:
    def act() -> object:
        here, there = connected()
        with here, there:
            here.sendall(data)
            return receiver(there)

    return act


def send(*arguments: object) -> Callable[[], object]:
    def act() -> object:
        here, there = connected()
        with here, there:
            given = [here if each is connected else each for each in arguments]
            return framing.send_msg(*given)  # type: ignore[call-overload]

    return act


def recv_twice(sock: socket.socket) -> object:
    return framing.MessageSocket(sock), framing.recv_msg(sock)


def recv_line(sock: socket.socket) -> str:
    return framing.recv_msg(sock, framer=LineFramer())


def recv_file(sock: socket.socket) -> object:
    return framing.files.recv_file(sock, Path.cwd())


def header(**fields: object) -> bytes:
    return HeaderBodyFramer().encode(HeaderMessage(fields, b""))


MISTAKES: dict[str, Callable[[], object]] = {
    "nothing listens at": lambda: framing.connect((LOCAL, 1)),
    "timed out": receive(b"", framing.recv_msg),
    "these bytes are text": receive(b"hello world", framing.recv_msg),
    "in little-endian: does the peer use '<I'?": receive(b"\5\0\0\0hello", framing.recv_msg),
    "is the peer speaking HTTP?": receive(b"GET / HTTP/1.1\r\n\r\n", framing.recv_msg),
    "expected a file, with the key 'name'": receive(header(filename="x"), recv_file),
    "the name of one plain file": receive(header(name="../x"), recv_file),
    "expected a line in utf-8": receive(b"\xff\n", recv_line),
    "expected bytes, bytearray or memoryview, not str": send(connected, "hi"),
    "expected bytes, bytearray or memoryview, not dict": send(connected, {}),
    "the socket comes first": send(b"hi", connected),
    "depends on the machine": lambda: StructFramer("i"),
    "this socket belongs to a MessageSocket": receive(b"", recv_twice),
    "expected a connected socket": lambda: MessageSocket(socket.socket()),
    "at most 16777216 bytes (max_size)": send(connected, bytes(16_777_217)),
    "write ('127.0.0.1', 9000)": lambda: framing.connect("127.0.0.1:9000"),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("phrase", MISTAKES)
def test_the_table_of_errors_has_the_words_of_the_library(phrase: str) -> None:
    assert f"`{phrase}`" in TABLE
    with pytest.raises(Exception, match=re.escape(phrase)):
        MISTAKES[phrase]()


def test_the_table_of_errors_names_nothing_else() -> None:
    rows = re.findall(r"^\| (`.*?`) \|", TABLE, re.MULTILINE)
    phrases = {phrase for row in rows for phrase in re.findall("`(.*?)`", row)}
    of_python = {"No module named 'framing'", "WinError 10048", "UnicodeDecodeError"}
    of_systems = {
        *("Connection refused", "Address already in use", "Connection reset", "Broken pipe")
    }
    classes = {"EndOfStreamError", "IncompleteMessageError", "FileExistsError"}
    assert phrases - set(MISTAKES) == of_python | of_systems | classes

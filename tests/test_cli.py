"""The command line as a person uses it; in this process where that is possible."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from select import select
from types import SimpleNamespace
from typing import Any

import pytest

import framing
from framing import LineFramer, cli, recv_msg, send_msg
from framing.cli import commands
from framing.cli.notation import parse_framer
from framing.cli.terminal import Progress
from framing.files import send_file

from .pairs import Task, reset, wait_until
from .programs import COMMAND, TIMEOUT, Listener, run_here

Listen = Callable[..., Listener]
Patch = pytest.MonkeyPatch

NAME = framing.__name__  # which a copy of the package changes
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals or shells")


@contextmanager
def serving(handle: Any, framer: str = "length", address: Any = ("127.0.0.1", 0)) -> Iterator[str]:
    """Serve clients in a thread, and yield the address as it is typed."""
    with framing.serve(handle, address, parse_framer(framer)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        where: Any = server.address
        yield where if isinstance(where, str) else f"{where[0]}:{where[1]}"
        server.shutdown()
        thread.join(TIMEOUT)


def echo(conn: Any) -> None:
    for message in conn:
        conn.send(message)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Start listeners, and leave none of them behind."""
    running: list[Listener] = []

    def start(*arguments: object, command: str = "listen") -> Listener:
        running.append(Listener(*map(str, arguments), command=command))
        return running[-1]

    yield start
    for each in running:
        each.kill()


@pytest.fixture
def receiver(listen: Listen, inbox: Path) -> Listener:
    return listen(inbox, command="recv-file")


# What can be typed


def test_help_lists_the_commands_and_has_examples() -> None:
    examples = ["demo", "listen :9000 --framer lines", "send 127.0.0.1:9000 < messages.txt",
                "inspect capture.bin", "send-file photo.jpg 127.0.0.1:9000",
                "recv-file :9000 downloads --max-size 1G", "vendor wire"]  # fmt: skip
    program = NAME if NAME == "framing" else f"python -m {NAME}"
    overview = run_here()
    for example in examples:
        command = example.split(maxsplit=1)[0]
        shown = run_here(command, "--help")
        assert (overview.returncode, shown.returncode) == (0, 0)
        assert f"\n    {command}" in overview.stdout
        assert f"  {program} {example}" in shown.stdout or command == "demo"


USAGE = {
    "send": "ADDRESS\n",
    "send 127.0.0.1:65536": "expected HOST:PORT",
    "send http://127.0.0.1:9000 x": "expected HOST:PORT",
    "send fe80::1%eth0:9000": "write an IPv6 address as [fe80::1%eth0]:9000",
    "send :9 --framer xml": "unknown framer 'xml'",
    "send :9 --framer length:I": "write '!I'",
    "send :9 --framer struct": "struct needs something after its colon",
    r"send :9 --framer delimiter:\\x": "truncated",
    "send :9 --framer no_such_module:Chat": "No module named 'no_such_module'",
    "send :9 --framer netstring:7": "unknown framer 'netstring:7'",
    "send :9 --timeout 0": "expected a number of seconds",
    "send :9 --reply -x": "write -- before messages",
    "listen :9 -- x": "unrecognized arguments:",
    "inspect --max-size 1x": "expected a size such as",
    "inspect --framer struct:!I --max-size 9": "have a fixed size",
    "send-file a :9 --framer lines": "files need header",
    "recv-file :9": "DIR\n",
}


@pytest.mark.parametrize("typed", USAGE)
def test_wrong_usage_shows_the_usage_of_the_command(typed: str) -> None:
    done = run_here(*shlex.split(typed))
    assert done.returncode == 2
    assert f" {typed.split(maxsplit=1)[0]} [-h]" in done.stderr.splitlines()[0]
    assert USAGE[typed] in " ".join(done.stderr.split()) + "\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_ctrl_c_is_a_status_and_ends_the_line_of_a_terminal(
    is_terminal: bool, monkeypatch: Patch
) -> None:
    class Interrupting(io.BytesIO):
        def read1(self, *_: object) -> bytes:
            raise KeyboardInterrupt

    shown = Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "argv", ["framing", "inspect"])
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Interrupting()))
    monkeypatch.setattr(sys, "stderr", shown)
    assert cli.main() == 130
    assert shown.getvalue() == "\n" * is_terminal


def test_ctrl_c_while_the_modules_are_loaded_is_the_same_status(monkeypatch: Patch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    done = run_here("demo")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_sizes_have_units() -> None:
    sizes = {"65536": 65536, "64k": 65536, "1KiB": 1024, "10MB": 10**7, "2G": 2**31}
    for text, size in sizes.items():
        done = run_here("inspect", "--max-size", text, stdin=b"\xff" * 9)
        assert f"at most {size} bytes" in done.stderr


# send

FRAMERS = {
    "length:<H": ("hello", "hello"),
    r"delimiter:\r\n": ("hello", "hello"),
    "lines:gbk": ("你好", "你好"),
    "header": ('{"id": 7} hi', '{"id": 7, "size": 2} hi'),
    "struct:!H8sb?f": ("7, alice, -1, true, 1.5", r"7, alice\x00\x00\x00, -1, True, 1.5"),
    "json": ('{"a": [1, "你"]}', '{"a": [1, "你"]}'),
    "json:lines": ("7", "7"),
    "json-lines": ('"x"', "x"),
    **dict.fromkeys(("netstring", "varint", "content-length"), ("hello", "hello")),
}


def test_a_body_needs_no_header_to_be_typed() -> None:
    with serving(echo, "header") as address:
        sent = run_here("send", address, "--framer", "header", "--reply", "hi")
    assert (sent.returncode, sent.stdout) == (0, '{"size": 2} hi\n')


@pytest.mark.parametrize("framer", FRAMERS)
def test_every_framer_can_be_named(framer: str) -> None:
    message, shown = FRAMERS[framer]
    with serving(echo, framer) as address:
        sent = run_here("send", address, "--framer", framer, "--reply", message)
    assert (sent.returncode, sent.stdout, sent.stderr) == (0, shown + "\n", "")


OWN_FORMATS = f"""
from {NAME} import LineFramer
class Upper(LineFramer):
    def encode_parts(self, message):
        return super().encode_parts(message.upper())
small = LineFramer(max_size=5)
number = 7
"""


def test_your_own_framer_is_found(tmp_path: Path, monkeypatch: Patch) -> None:
    (tmp_path / "own_formats.py").write_text(OWN_FORMATS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    results = {
        "Upper": "HELLO\n",
        "Upper --max-size 9": "HELLO\n",
        "small": "hello\n",
        "small --max-size 9": "name its class instead",
        "number": "own_formats:number is not a Framer, nor a class of them, but 7",
        "nothing": "no attribute 'nothing'",
    }
    with serving(echo, "lines") as address:
        for name, result in results.items():
            own = ["--framer", *f"own_formats:{name}".split()]
            sent = run_here("send", address, *own, "--reply", "hello")
            assert result in sent.stdout + sent.stderr, name


@pytest.mark.parametrize(
    ("typed", "stdin", "received"),
    [
        (r"--escape \\x02\\x45 a\\nb 你", b"", [b"\x02E", b"a\nb", "你".encode()]),
        ("--hex 00ff '0a 0b' ''", b"", [b"\x00\xff", b"\n\x0b", b""]),
        (r"\\x02 - --max-size 9 -1", b"", [rb"\x02", b"-", b"-1"]),
        ("-- -x --reply", b"", [b"-x", b"--reply"]),
        ("", b"one\r\n\n\xff\ntwo", [b"one", b"", b"\xff", b"two"]),
        ("--hex", b"00ff\n0a\n", [b"\x00\xff", b"\n"]),
    ],
)
def test_messages_are_sent_as_typed(typed: str, stdin: bytes, received: list[bytes]) -> None:
    messages: list[bytes] = []
    with serving(messages.extend) as address:
        assert run_here("send", address, *shlex.split(typed), stdin=stdin).returncode == 0
    assert messages == received


def test_a_failure_is_one_line_and_exit_status_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
        nobody = f"127.0.0.1:{port}"
    failures = {
        f"send {nobody} hello": f"Connection refused: nothing listens at {nobody};",
        "send 'no such host:9' hello": "no such host:9: ",
        "send './no such socket' hello": "nothing listens at ./no such socket;",
        "send './no_socket:80' hello": "nothing listens at ./no_socket:80;",
        f"send :{port} hello": f"nothing listens at localhost:{port};",
        f"send [::1]:{port} hello": f"[::1]:{port}",
        "listen ECHO": "Address already in use\n",
        "listen 'no such host:0'": "cannot listen on no such host:0: ",
        "send ECHO --framer length:!B " + "x" * 256: "at most 255 bytes",
        f"send ECHO --framer lines '{'x' * 9000}\n'": "line break",
        "send ECHO --framer struct:!H 1,2": "takes 1 values",
        "send ECHO --framer struct:!9000000000000000000s 2": "MemoryError",
        "send ECHO --framer header {": "Expecting property name",
        "send ECHO --framer header '" + '{"a":' * 5000 + "'": "cannot send",
        "send ECHO --hex 0g": "non-hexadecimal",
        "inspect -- -odd": "-odd: No such file or directory\n",
        f"send-file . {nobody}": ".: not a regular file\n",
        f"send-file {__file__} {nobody}": f"nothing listens at {nobody};",
        "recv-file 127.0.0.1:0 'no such folder'": "no such folder: no such directory\n",
    }
    with serving(echo) as address:
        for typed, why in failures.items():
            failed = run_here(*shlex.split(typed.replace("ECHO", address)))
            assert (failed.returncode, failed.stdout) == (1, ""), typed
            assert failed.stderr.startswith(f"{NAME}: ")
            assert why in failed.stderr
            assert failed.stderr.count("\n") == 1
            assert len(failed.stderr) < 600


def test_replies_are_waited_for_escaped_or_ignored(tmp_path: Path) -> None:
    with serving(echo) as address:
        sent = run_here("send", address, "--hex", "1b5b324a", "ff00", "--reply")
        assert sent.stdout == "\\x1b[2J\nb'\\xff\\x00'\n"
        stdin = b"\n".join([b"x" * 5000] * 2000)  # more than the buffers of both directions hold
        assert run_here("send", address, stdin=stdin).returncode == 0
    with serving(list) as address:
        sent = run_here("send", address, "hello", "--reply", "--timeout", "0.05")
        assert sent.stderr == f"{NAME}: no reply arrived within 0.05 seconds (--timeout)\n"
    with serving(lambda conn: conn.recv()) as address:
        sent = run_here("send", address, "hello", "--reply")
        assert sent.stderr == f"{NAME}: {address} closed the connection without a reply\n"
    if hasattr(socket, "AF_UNIX"):
        with serving(echo, address=str(tmp_path / "s")) as path:
            assert run_here("send", path, "hello", "--reply").stdout == "hello\n"


# listen


def test_listen_says_which_client_a_message_is_from(listen: Listen) -> None:
    listener = listen("--echo", "--framer", "lines")
    with listener.connect() as first, listener.connect() as second:
        for sock, text in ((first, "one"), (second, "\x1b[2J"), (first, "你好")):
            sock.sendall(b"caf\xe9\n" + text.encode() + b"\n")  # bad lines do not matter
            assert recv_msg(sock, framer=LineFramer()) == text
            client = f"127.0.0.1:{sock.getsockname()[1]}"
            assert listener.line() == f"{client}: {text}".replace("\x1b", r"\x1b")
    notes = [listener.note().split(":", 1)[1] for _ in range(7)]
    assert sum("expected a line in utf-8" in each for each in notes) == 3
    assert sum(each.endswith((" connected", " closed the connection")) for each in notes) == 4


@posix
def test_a_bad_client_does_not_stop_the_others(listen: Listen) -> None:
    listener = listen()
    with listener.connect() as bad:
        bad.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert listener.note().endswith(" connected")
        assert "is the peer speaking HTTP?" in listener.note()
        with suppress(ConnectionResetError):
            assert bad.recv(1) == b""
    with listener.connect() as good:
        send_msg(good, b"still here")
        assert listener.line().endswith(": still here")
        assert listener.note().endswith(" connected")
        status, lines, notes = listener.interrupt()
    assert (status, lines) == (130, [])
    assert "Traceback" not in notes


# Files


def files(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def send_raw(receiver: Listener, header: dict[str, object], body: bytes) -> socket.socket:
    sock = receiver.connect()
    encoded = json.dumps(header).encode()
    sock.sendall(struct.pack("!I", len(encoded)) + encoded + body)
    return sock


def test_files_arrive(listen: Listen, inbox: Path, tmp_path: Path) -> None:
    receiver = listen(inbox, "--framer", "header:<H", "--overwrite", command="recv-file")
    receiver.connect().close()
    with receiver.connect() as stranger:
        stranger.sendall(b"\2\0hi")
        assert b'"error"' in stranger.recv(1000)
    assert "expected a JSON object" in receiver.note()
    contents = {"a.bin": os.urandom(3_000_001), "你好.txt": b"hello", "empty": b""}
    (inbox / "empty").write_bytes(b"old")
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in contents]
    sent = run_here("send-file", *paths, receiver.where, "--checksum", "--framer", "header:<H")
    assert (sent.returncode, sent.stdout, sent.stderr) == (0, "", "")
    assert receiver.end()[:2] == (0, [str(inbox / name) for name in contents])
    assert files(inbox) == contents


@pytest.mark.parametrize("size", [4, 30_000_000], ids=["small", "large"])
def test_the_sender_says_why(receiver: Listener, inbox: Path, tmp_path: Path, size: int) -> None:
    (inbox / "f").write_bytes(b"mine")
    (tmp_path / "f").write_bytes(bytes(size))
    sent = run_here("send-file", str(tmp_path / "f"), receiver.where)
    assert sent.returncode == 1
    assert sent.stderr == f"{NAME}: the receiver refused a file: f: File exists\n"
    status, lines, notes = receiver.end()
    assert (status, lines) == (1, [])
    assert notes.endswith(f": {inbox / 'f'}: File exists")
    assert files(inbox) == {"f": b"mine"}


def test_what_a_receiver_says_is_escaped_and_short(monkeypatch: Patch) -> None:
    def refuse(conn: Any) -> None:
        conn.send(framing.HeaderMessage({"error": "\x1b[2J" + "x" * 999}, b""))
        list(conn)

    with serving(refuse, "header") as address:
        sent = run_here("send-file", __file__, address)
        assert "the receiver refused a file: \\x1b[2Jxx" in sent.stderr
        assert len(sent.stderr) < 400
    done = threading.Event()
    monkeypatch.setattr(commands, "_CLOSE_FILES_TIMEOUT", 0.05)
    with serving(lambda conn: (conn.recv(), done.wait(TIMEOUT)), "header") as address:
        sent = run_here("send-file", __file__, address)
        done.set()
    assert sent.stderr == f"{NAME}: the receiver has not said that it has everything\n"


def test_other_messages_of_a_receiver_do_not_matter(tmp_path: Path) -> None:
    received: list[framing.HeaderMessage] = []

    def chat(conn: Any) -> None:
        conn.send(framing.HeaderMessage({"hello": 1}, b"go on"))
        received.extend(conn)

    (tmp_path / "f").write_bytes(b"hello")
    with serving(chat, "header") as address:
        sent = run_here("send-file", str(tmp_path / "f"), address)
    assert (sent.returncode, sent.stderr) == (0, "")
    assert [each.body for each in received] == [b"hello"]


def test_a_receiver_that_breaks_off_is_a_failure(tmp_path: Path) -> None:
    def break_off(conn: Any) -> None:
        conn.recv_exactly(1)
        reset(conn.sock)

    (tmp_path / "f").write_bytes(bytes(30_000_000))
    with serving(break_off, "header") as address:
        sent = run_here("send-file", str(tmp_path / "f"), address)
    assert sent.returncode == 1
    assert sent.stderr == f"{NAME}: the receiver refused a file, or stopped\n"


def test_a_file_that_is_cut_off_leaves_nothing(receiver: Listener, inbox: Path) -> None:
    with receiver.connect() as browser:
        browser.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b'"error"' in browser.recv(1000)
    assert "is the peer speaking HTTP?" in receiver.note()
    send_raw(receiver, {"name": "../f", "size": 0}, b"").close()
    assert "expected the name of one plain file" in receiver.note()
    with send_raw(receiver, {"name": "f", "size": 9}, b"hello") as sock:
        sock.shutdown(socket.SHUT_WR)
        why = recv_msg(sock, framer=parse_framer("header")).header["error"]
        assert "the stream ended after" in why
    status, lines, note = receiver.end()
    assert (status, lines) == (1, [])
    assert note.startswith(f"{NAME}: 127.0.0.1:")
    assert note.endswith(why)
    assert list(inbox.parent.rglob("*")) == [inbox]


SHORT = f"""
import sys
from {NAME}.cli import commands, main
commands._BEGIN_TIMEOUT = commands._REFUSE_TIMEOUT = 0.05
sys.exit(main())
"""


def test_a_silent_client_makes_room(listen: Listen, inbox: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr("tests.programs.COMMAND", [sys.executable, "-c", SHORT])
    receiver = listen(inbox, command="recv-file")
    with receiver.connect():
        sent = run_here("send-file", __file__, receiver.where)
    status, lines, notes = receiver.end()
    assert (sent.returncode, status, len(lines)) == (0, 0, 1)
    assert "silent for too long" in notes


@posix
def test_a_silent_client_may_take_its_time_while_no_other_waits(
    inbox: Path, monkeypatch: Patch
) -> None:
    path, has_looked = str(inbox.parent / "socket"), threading.Event()

    def looking(*arguments: Any) -> Any:
        has_looked.set()
        return select(*arguments)

    connected: list[Any] = []

    def is_connected() -> bool:
        with suppress(FileNotFoundError, ConnectionRefusedError):  # it does not listen yet
            connected.append(framing.connect(path, parse_framer("header"), timeout=TIMEOUT))
        return bool(connected)

    def send() -> None:
        wait_until(is_connected)
        with connected[0] as conn:
            assert has_looked.wait(TIMEOUT)
            send_file(conn, __file__, name="f")

    monkeypatch.setattr(commands, "_BEGIN_TIMEOUT", 0.01)
    monkeypatch.setattr(commands, "select", looking)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process keeps its handlers
    sending = Task(send)
    done = run_here("recv-file", path, str(inbox))
    sending.result()
    assert (done.returncode, done.stdout) == (0, f"{inbox / 'f'}\n")


@posix
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupted_receiver_leaves_nothing(
    receiver: Listener, inbox: Path, name: str, status: int
) -> None:
    with send_raw(receiver, {"name": "f", "size": 1_000_000}, bytes(300_000)) as sock:
        while not files(inbox):
            assert receiver.process.poll() is None
        receiver.process.send_signal(getattr(signal, name))
        assert receiver.end() == (status, [], "")
        with pytest.raises(ConnectionError):
            sock.recv(1)
    assert files(inbox) == {}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("has_tqdm", [True, False])
def test_progress_shows_the_name_of_the_file(has_tqdm: bool, monkeypatch: Patch) -> None:
    if has_tqdm:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file, None):
        monkeypatch.setattr(sys, "stderr", stream)
        with closing(Progress()) as progress:
            progress.begin("photo\x1b.jpg")
            progress.report(0, 10**400)  # a peer may announce any size
            progress.report(2048, 10**400)
    assert r"photo\x1b.jpg:" in terminal.getvalue()
    assert "2.0" in terminal.getvalue()
    assert file.getvalue() == ""


def test_without_tqdm_a_line_counts_ten_times_a_second(monkeypatch: Patch) -> None:
    now, terminal = 0.0, Terminal()
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr("framing.cli.terminal.monotonic", lambda: now)
    monkeypatch.setattr(sys, "stderr", terminal)
    with closing(Progress()) as progress:
        progress.begin("f")
        for done in range(17):  # one second
            now = done / 16
            progress.report(done, 16)
    shown = terminal.getvalue().split("\r")[1:]
    assert [each.split()[1] for each in shown] == [f"{n}.0" for n in (*range(2, 17, 2), 16)]


# demo, inspect, and the terminal


def test_the_demo_shows_the_problem_and_the_solution_on_one_screen() -> None:
    demo = run_here("demo")
    assert (demo.returncode, demo.stderr) == (0, "")
    lines = demo.stdout.splitlines()
    assert (len(lines) <= 24, max(map(len, lines)) <= 80) == (True, True)
    assert "recv_msg returned 5 messages: the same messages." in demo.stdout
    assert re.search(r"recv returned [2-9] pieces of the stream", demo.stdout)


GOOD = b"\0\0\0\5hello"


@pytest.mark.parametrize(
    ("typed", "capture", "rows", "why"),
    [
        ("", b"", 0, ""),
        ("", GOOD + b"\0\0\0\0", 2, ""),
        ("", GOOD + b"GET / HTTP/1.1\r\n", 2, "at byte 9: expected at most"),
        ("--max-size 2GB", GOOD + b"\0\0\0\5hel", 2, "at byte 9: the stream ended after 7"),
        ("--framer lines", b"a\n\xff\nb\n\xff\nc", 5, "at byte 6: bad messages: 2"),
    ],
)
def test_inspect(typed: str, capture: bytes, rows: int, why: str, tmp_path: Path) -> None:
    path = tmp_path / "capture.bin"
    path.write_bytes(capture)
    done = run_here("inspect", *typed.split(), stdin=capture)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["number", "offset", "size", "message"]
    assert (len(lines), done.returncode) == (1 + rows, bool(why))
    assert done.stderr.startswith(f"{NAME}: standard input: {why}" if why else "")
    assert done.stderr.count("\n") == bool(why)
    assert run_here("inspect", str(path), *typed.split()).stdout == done.stdout


@posix
@pytest.mark.parametrize("redirection", [">/dev/full", "<&- >&-", "2>&-", "| head -n 1"])
def test_odd_redirections_are_not_a_traceback(redirection: str) -> None:
    shell = f"yes hello | head -n 5000 | {shlex.join(COMMAND)} inspect --framer lines {redirection}"
    done = subprocess.run(["/bin/sh", "-c", shell], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "head" not in redirection or done.stdout.startswith("  number")
    if "full" in redirection and os.path.exists("/dev/full"):
        assert done.stderr.startswith(f"{NAME}: cannot write to standard output: No space")
        assert done.returncode == 1

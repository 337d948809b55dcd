"""send-file and recv-file as a person drives them: real processes that talk over loopback."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import COMMAND, TIMEOUT, Listener, run


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


@pytest.fixture
def receiver(inbox: Path, request: pytest.FixtureRequest) -> Iterator[Listener]:
    running = Listener(str(inbox), *getattr(request, "param", ()), command="recv-file")
    yield running
    running.process.kill()
    running.process.wait(TIMEOUT)


def files(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def send_raw(receiver: Listener, header: dict[str, object], body: bytes) -> socket.socket:
    sock = receiver.connect()
    encoded = json.dumps(header).encode()
    sock.sendall(struct.pack("!I", len(encoded)) + encoded + body)
    return sock


def test_files_arrive_and_both_sides_say_so(
    receiver: Listener, inbox: Path, tmp_path: Path
) -> None:
    contents = {"a.bin": os.urandom(3_000_001), "你好.txt": b"hello", "empty": b""}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in contents]
    sent = run("send-file", *paths, receiver.address, "--checksum")
    assert (sent.returncode, sent.stdout) == (0, "")
    assert [line.split(" in ")[0] for line in sent.stderr.splitlines()] == [
        "a.bin: 2.9 MiB",
        "你好.txt: 5 bytes",
        "empty: 0 bytes",
    ]
    assert [receiver.line() for _ in contents] == [str(inbox / name) for name in contents]
    assert receiver.process.wait(TIMEOUT) == 0
    assert files(inbox) == contents


def test_whoever_leaves_without_a_file_is_not_the_sender(receiver: Listener, inbox: Path) -> None:
    receiver.connect().close()
    with send_raw(receiver, {"name": "f", "size": 2}, b"hi"):
        assert receiver.line() == str(inbox / "f")
    assert receiver.process.wait(TIMEOUT) == 0


@pytest.mark.parametrize("receiver", [["--framer", "header:<H"]], indirect=True)
def test_the_format_may_have_another_length_field(receiver: Listener, inbox: Path) -> None:
    sent = run("send-file", __file__, receiver.address, "--framer", "header:<H")
    assert sent.returncode == 0
    assert receiver.process.wait(TIMEOUT) == 0
    assert files(inbox) == {Path(__file__).name: Path(__file__).read_bytes()}


def test_a_file_that_is_there_is_refused_and_both_sides_fail(
    receiver: Listener, inbox: Path, tmp_path: Path
) -> None:
    (inbox / "f").write_bytes(b"mine")
    (tmp_path / "f").write_bytes(b"yours")
    sent = run("send-file", str(tmp_path / "f"), receiver.address)
    assert sent.returncode == 1
    # Whether the reset comes before or after everything was sent is chance.
    assert sent.stderr.splitlines()[-1].startswith("framing: ")
    assert receiver.process.wait(TIMEOUT) == 1
    assert receiver.note().endswith(f": {inbox / 'f'}: File exists")
    assert files(inbox) == {"f": b"mine"}


@pytest.mark.parametrize("receiver", [["--overwrite"]], indirect=True)
def test_it_is_replaced_if_wished(receiver: Listener, inbox: Path, tmp_path: Path) -> None:
    (inbox / "f").write_bytes(b"mine")
    (tmp_path / "f").write_bytes(b"yours")
    assert run("send-file", str(tmp_path / "f"), receiver.address).returncode == 0
    assert receiver.process.wait(TIMEOUT) == 0
    assert files(inbox) == {"f": b"yours"}


@pytest.mark.parametrize("receiver", [["--max-size", "9"]], indirect=True)
@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"name": "../f", "size": 5}, "expected the name of one plain file, not '../f'"),
        ({"name": "f", "size": 10}, "expected a file of at most 9 bytes (max_size), not 10"),
        ({"name": "f", "size": 9}, "the stream ended after"),
        ({"name": "f", "size": 5, "sha256": hashlib.sha256().hexdigest()}, "SHA-256"),
        ({"size": 5}, "expected a file, a message whose header has the key 'name'"),
        ({"name": "f"}, "expected a header with the key 'size'"),
    ],
    ids=str,
)
def test_what_a_sender_may_not_do_is_one_line(
    receiver: Listener, inbox: Path, header: dict[str, object], said: str
) -> None:
    with send_raw(receiver, header, b"hello") as sock:
        with contextlib.suppress(OSError):  # the receiver may have gone already
            sock.shutdown(socket.SHUT_WR)
        assert said in (note := receiver.note())
    assert note.startswith("framing: 127.0.0.1:")
    assert receiver.process.wait(TIMEOUT) == 1
    assert files(inbox) == {}
    assert list(inbox.parent.iterdir()) == [inbox]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals for another process")
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_an_interrupted_receiver_leaves_nothing(
    receiver: Listener, inbox: Path, name: str, status: int
) -> None:
    with send_raw(receiver, {"name": "f", "size": 1_000_000}, bytes(300_000)) as sock:
        while not files(inbox):
            assert receiver.process.poll() is None
        receiver.process.send_signal(getattr(signal, name))
        assert receiver.process.wait(TIMEOUT) == status
        with pytest.raises(ConnectionError):
            sock.recv(1)
    assert files(inbox) == {}
    assert receiver._stderr.empty()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_an_interrupted_sender_ends_quietly(tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as file:
        file.truncate(100_000_000)
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        arguments = [*COMMAND, "send-file", str(tmp_path / "large"), f"{host}:{port}"]
        with subprocess.Popen(arguments, stderr=subprocess.PIPE) as sender:
            conn, _ = server.accept()
            with conn:
                assert conn.recv(1)
                sender.send_signal(signal.SIGINT)
                assert sender.wait(TIMEOUT) == 130
                assert sender.stderr is not None
                assert sender.stderr.read() == b""


@pytest.mark.parametrize("has_tqdm", [True, False])
def test_on_a_terminal_there_is_a_bar(
    has_tqdm: bool, receiver: Listener, inbox: Path, tmp_path: Path
) -> None:
    pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")
    fcntl = pytest.importorskip("fcntl")
    termios = pytest.importorskip("termios")
    (tmp_path / "f").write_bytes(bytes(2_000_000))
    if not has_tqdm:
        (tmp_path / "tqdm.py").write_text("raise ImportError")
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    sender = subprocess.Popen(
        [*COMMAND, "send-file", str(tmp_path / "f"), receiver.address],
        stderr=end,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    os.close(end)
    shown = b""
    try:
        while data := os.read(terminal, 4096):
            shown += data
    except OSError:  # which is how Linux ends it
        pass
    os.close(terminal)
    assert sender.wait(TIMEOUT) == 0
    assert (b"100%" in shown) == has_tqdm
    assert (b"f: 1.9 MiB in " in shown) == (not has_tqdm)
    assert receiver.process.wait(TIMEOUT) == 0
    assert files(inbox) == {"f": bytes(2_000_000)}

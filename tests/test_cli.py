"""The command line as a person drives it: real processes that talk over loopback."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from queue import Queue
from typing import IO

import pytest

import framing
from framing import LineFramer, recv_msg, send_msg
from framing.cli import main

COMMAND = [sys.executable, "-m", framing.__name__]
TIMEOUT = 30


def run(*arguments: str, stdin: str | bytes = "") -> subprocess.CompletedProcess[str]:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [*COMMAND, *arguments], input=data, capture_output=True, timeout=TIMEOUT, check=False
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


class Listener:
    """A running ``framing listen`` on a port that the system chose."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "listen", "127.0.0.1:0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._stdout = _lines_of(self.process.stdout)
        self._stderr = _lines_of(self.process.stderr)
        found = re.fullmatch(r"listening on (\S+:\d+), until Ctrl-C", self.note())
        assert found
        self.address = found[1]

    def line(self) -> str:
        return self._stdout.get(timeout=TIMEOUT)

    def note(self) -> str:
        return self._stderr.get(timeout=TIMEOUT)

    def connect(self) -> socket.socket:
        host, port = self.address.split(":")
        return socket.create_connection((host, int(port)), timeout=TIMEOUT)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(TIMEOUT)


def _lines_of(stream: IO[bytes]) -> Queue[str]:
    """Read lines in a thread, so that waiting for one can time out."""
    lines: Queue[str] = Queue()

    def read() -> None:
        with stream:
            for line in stream:
                lines.put(line.decode().rstrip("\r\n"))

    threading.Thread(target=read, daemon=True).start()
    return lines


@pytest.fixture
def listener(request: pytest.FixtureRequest) -> Iterator[Listener]:
    running = Listener(*getattr(request, "param", ()))
    yield running
    running.process.kill()
    running.process.wait(TIMEOUT)


def test_the_demo_shows_the_problem_and_the_cure_on_one_screen() -> None:
    demo = run("demo")
    assert demo.returncode == 0
    assert demo.stderr == ""
    lines = demo.stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert "recv_msg returned 5 messages: the same messages." in demo.stdout
    # Five messages were sent; what came first has the first two stuck together.
    assert lines[3].split()[:2] == ["hello", "hellohow"]
    assert re.search(r"recv returned [2-9] pieces", demo.stdout)


@pytest.mark.parametrize("listener", [["--echo"]], indirect=True)
def test_messages_are_printed_and_echoed(listener: Listener) -> None:
    sent = run("send", listener.address, "hello", "你好", "", "--reply")
    assert sent.returncode == 0
    assert sent.stdout.splitlines() == ["hello", "你好", ""]
    assert [listener.line() for _ in range(3)] == ["hello", "你好", ""]
    assert listener.note().endswith(" connected")
    assert listener.note().endswith(" closed the connection")


def test_standard_input_is_sent_line_by_line(listener: Listener) -> None:
    texts = [f"line {i}" for i in range(500)]
    sent = run("send", listener.address, stdin="\r\n".join(texts))
    assert sent.returncode == 0
    assert [listener.line() for _ in texts] == texts


def test_binary_messages_do_not_disturb_the_terminal(listener: Listener) -> None:
    assert run("send", listener.address, stdin=b"\x1b[2J\n\xff\x00\n").returncode == 0
    assert listener.line() == r"\x1b[2J"
    assert listener.line() == r"b'\xff\x00'"


@pytest.mark.parametrize(
    ("listener", "framer", "message", "shown"),
    [
        (["--echo", "--framer", "length:<H"], "length:<H", "hello", "hello"),
        (["--echo", "--framer", r"delimiter:\r\n"], r"delimiter:\r\n", "hello", "hello"),
        (["--echo", "--framer", "lines"], "lines", "hello", "hello"),
        (["--echo", "--framer", "lines:gbk"], "lines:gbk", "你好", "你好"),
        (["--echo", "--framer", "header"], "header", "hello", '{"size": 5} hello'),
        (["--echo", "--framer", "header"], "header", '{"id": 7} hi', '{"id": 7, "size": 2} hi'),
        (
            ["--echo", "--framer", "struct:!H8sb?f"],
            "struct:!H8sb?f",
            "7, alice, -1, true, 1.5",
            r"7, alice\x00\x00\x00, -1, True, 1.5",
        ),
    ],
    indirect=["listener"],
)
def test_every_framer_can_be_named(
    listener: Listener, framer: str, message: str, shown: str
) -> None:
    sent = run("send", listener.address, "--framer", framer, "--reply", message)
    assert (sent.returncode, sent.stdout, sent.stderr) == (0, shown + "\n", "")
    assert listener.line() == shown


@pytest.mark.parametrize("listener", [["--echo"]], indirect=True)
def test_clients_are_served_at_once_and_after_one_another(listener: Listener) -> None:
    with listener.connect() as first, listener.connect() as second:
        for sock in (first, second, first):
            send_msg(sock, b"hello")
            assert recv_msg(sock) == b"hello"
    with listener.connect() as third:
        send_msg(third, b"later")
        assert recv_msg(third) == b"later"


def test_a_bad_client_is_told_of_and_does_not_stop_the_others(listener: Listener) -> None:
    with listener.connect() as bad:
        bad.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert listener.note().endswith(" connected")
        assert "is the peer speaking HTTP?" in listener.note()
    with listener.connect() as cut:
        cut.sendall(b"\0\0\0\5he")
    assert listener.note().endswith(" connected")
    assert "the stream ended after 6 bytes of a message of 9" in listener.note()
    assert run("send", listener.address, "still here").returncode == 0
    assert listener.line() == "still here"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_an_interrupt_ends_it_quietly(listener: Listener) -> None:
    with listener.connect() as client:
        send_msg(client, b"hello")
        assert listener.line() == "hello"
        assert listener.stop() == 130
    assert listener.note().endswith(" connected")
    assert listener._stderr.empty()


def test_an_answer_that_does_not_come_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()

        def answer() -> None:
            conn, _ = server.accept()
            with conn:
                recv_msg(conn, framer=LineFramer())

        thread = threading.Thread(target=answer)
        thread.start()
        sent = run("send", f"{host}:{port}", "--framer", "lines", "hello", "--reply")
        thread.join()
    assert (sent.returncode, sent.stdout) == (1, "")
    assert sent.stderr == f"framing: {host}:{port} closed the connection without an answer\n"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def test_a_failure_is_one_line_and_exit_status_1(listener: Listener) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    too_long = ["--framer", "length:!B", "x" * 256]
    for arguments, reason in [
        (["send", nobody, "hello"], "Connection refused"),
        (["send", "no such host:9", "hello"], "no such host:9: "),
        (["listen", listener.address], "Address already in use\n"),
        (["listen", "no such host:0"], "cannot listen on no such host:0: "),
        (["send", "ü..x:1", "hello"], "ü..x:1: "),
        (
            ["send", listener.address, "--framer", "lines", "x" * 9000 + "\n"],
            "there is a line break",
        ),
        (["send", listener.address, *too_long], "at most 255 bytes"),
        (["send", listener.address, "--framer", "lines", "a\nb"], "there is a line break"),
        (["send", listener.address, "--framer", "struct:!H", "x"], "invalid literal"),
        (["send", listener.address, "--framer", "struct:!H", "1,2"], "takes 1 values"),
        (["send", listener.address, "--framer", "struct:!?", "2"], "expected true or false"),
        (["send", listener.address, "--framer", "header", "{"], "Expecting property name"),
        (["send", listener.address, "--framer", "header", '{"a":' * 5000], "is a header, in JSON"),
    ]:
        failed = run(*arguments)
        assert (failed.returncode, failed.stdout) == (1, ""), arguments
        assert failed.stderr.startswith("framing: ")
        assert reason in failed.stderr
        assert failed.stderr.count("\n") == 1
        assert "Unknown error" not in failed.stderr
        assert len(failed.stderr) < 400


def test_wrong_usage_is_exit_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, reason in [
        ([], "COMMAND"),
        (["send"], "ADDRESS"),
        (["send", "127.0.0.1"], "expected HOST:PORT"),
        (["send", "127.0.0.1:port"], "expected HOST:PORT"),
        (["send", "127.0.0.1:65536"], "expected HOST:PORT"),
        (["send", "::1:9000"], "write an IPv6 address as [::1]:9000"),
        (["send", "127.0.0.1:9", "--framer", "xml"], "no framer is called 'xml'"),
        (["send", "127.0.0.1:9", "--framer", "length:I"], "write '!I'"),
        (["send", "127.0.0.1:9", "--framer", "struct"], "struct needs something after its colon"),
        (["send", "127.0.0.1:9", "--framer", "delimiter:"], "delimiter needs something"),
        (["send", "127.0.0.1:9", "--framer", "length:"], "length needs something"),
        (["send", "127.0.0.1:٣"], "expected HOST:PORT"),
        (["send", "127.0.0.1:" + "9" * 5000], "a port up to 65535"),
        (["send", "127.0.0.1:9", "--reply", "-x"], "write -- before messages"),
        (["listen", "127.0.0.1:9", "--", "x"], "unrecognized arguments: -- x"),
        (["send", "127.0.0.1:9", "--framer", "delimiter:\\x"], "escapes"),
        (["send", "127.0.0.1:9", "--framer", "lines:utf-16"], "the encoding 'utf-16'"),
        (["send", "127.0.0.1:9", "--nope", "x"], "unrecognized arguments: --nope"),
        (["demo", "x"], "unrecognized arguments: x"),
    ]:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2, arguments
        assert reason in " ".join(capsys.readouterr().err.split())


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_ipv6_addresses_are_in_brackets() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no ::1")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        received: list[bytes] = []

        def receive() -> None:
            conn, _ = server.accept()
            with conn:
                received.append(recv_msg(conn))

        thread = threading.Thread(target=receive)
        thread.start()
        assert run("send", f"[::1]:{port}", "hello").returncode == 0
        thread.join()
    assert received == [b"hello"]


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_closed_pipe_is_no_traceback() -> None:
    shell = f"{sys.executable} -m {framing.__name__} demo | head -n 1"
    done = subprocess.run(
        ["/bin/sh", "-c", shell], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.stdout.startswith("Five messages")
    assert done.stderr == ""


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "framing listen 127.0.0.1:9000 --echo" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--version"])
    assert framing.__version__ in capsys.readouterr().out


@pytest.mark.parametrize("listener", [["--echo"]], indirect=True)
@pytest.mark.parametrize(
    "arguments",
    [["--", "-x", "--reply"], ["--framer", "length", "--", "-x", "--reply"]],
)
def test_messages_may_begin_with_a_dash(listener: Listener, arguments: list[str]) -> None:
    assert run("send", listener.address, *arguments).returncode == 0
    assert [listener.line(), listener.line()] == ["-x", "--reply"]
    assert run("send", listener.address, "--reply", "-", "-1").stdout == "-\n-1\n"


def test_lines_of_several_clients_do_not_mix(listener: Listener) -> None:
    texts = [letter * 50 for letter in "abcd"]

    def send_many(text: str) -> None:
        with listener.connect() as sock:
            for _ in range(500):
                send_msg(sock, text.encode())

    threads = [threading.Thread(target=send_many, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    received = [listener.line() for _ in range(500 * len(texts))]
    for thread in threads:
        thread.join()
    assert sorted(received) == sorted(texts * 500)


def test_a_peer_that_keeps_talking_does_not_keep_send_from_ending() -> None:
    stop = threading.Event()

    def talk() -> None:
        conn, _ = server.accept()
        with conn, contextlib.suppress(OSError):
            while not stop.wait(0.05):
                send_msg(conn, b"tick")

    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        thread = threading.Thread(target=talk)
        thread.start()
        try:
            assert run("send", f"{host}:{port}", "hello").returncode == 0
        finally:
            stop.set()
            thread.join()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("redirection", [">/dev/full", "<&-"])
def test_odd_redirections_are_no_traceback(listener: Listener, redirection: str) -> None:
    framing_command = f"{sys.executable} -m {framing.__name__}"
    commands = [f"{framing_command} demo", f"{framing_command} send {listener.address}"]
    for command in commands:
        done = subprocess.run(
            ["/bin/sh", "-c", f"{command} {redirection}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert "Traceback" not in done.stderr
        if "demo" in command and "full" in redirection:
            assert done.stderr.startswith("framing: cannot write to standard output: No space")
            assert done.returncode == 1

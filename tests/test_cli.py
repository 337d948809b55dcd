"""The command line as a person drives it: real processes that talk over loopback."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import framing
from framing import LineFramer, recv_msg, send_msg
from framing.cli import main

from .processes import COMMAND, TIMEOUT, Listener, lines_of, run


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
        (["send", listener.address, "--framer", "header", '{"a":1,"a":2}'], "twice"),
        (["send", listener.address, "--max-size", "4", "hello"], "at most 4 bytes"),
        (["inspect", "no such file"], "framing: no such file: No such file or directory\n"),
        (["inspect", "."], "framing: .: Is a directory\n"),
        (["send-file", "no such file", nobody], "framing: no such file: No such file or dir"),
        (["send-file", ".", nobody], "framing: .: not a regular file\n"),
        (["send-file", __file__, nobody], "Connection refused"),
        (["send-file", __file__, "no such host:1"], "no such host:1: "),
        (["recv-file", "127.0.0.1:0", "no such folder"], "no such folder: no such directory\n"),
        (["recv-file", "127.0.0.1:0", __file__], "test_cli.py: not a directory\n"),
        (["recv-file", listener.address, "."], "Address already in use\n"),
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
        (["send", "http://127.0.0.1:9000", "x"], "expected HOST:PORT"),
        (["send", "[::1:9000", "x"], "expected HOST:PORT"),
        (["send", "fe80::1%eth0:9000"], "write an IPv6 address as [fe80::1%eth0]:9000"),
        (["send", "::1:9000"], "write an IPv6 address as [::1]:9000"),
        (["send", "127.0.0.1:9", "--framer", "xml"], "no framer is called 'xml'"),
        (["send", "127.0.0.1:9", "--framer", "length:I"], "write '!I'"),
        (["send", "127.0.0.1:9", "--framer", "struct"], "struct needs something after its colon"),
        (["send", "127.0.0.1:9", "--framer", "delimiter:"], "delimiter needs something"),
        (["send", "127.0.0.1:9", "--framer", "length:"], "length needs something"),
        (["send", "127.0.0.1:٣"], "expected HOST:PORT"),
        (["send", "127.0.0.1:" + "9" * 5000], "a port up to 65535"),
        (["send", "127.0.0.1:9", "--reply", "-x"], "write -- before messages"),
        (["listen", "127.0.0.1:9", "--", "x"], "unrecognized arguments:"),
        (["send", "127.0.0.1:9", "--framer", "delimiter:\\x"], "escapes"),
        (["send", "127.0.0.1:9", "--framer", "lines:utf-16"], "the encoding 'utf-16'"),
        (["send", "127.0.0.1:9", "--nope", "x"], "unrecognized arguments: --nope"),
        (["listen", "127.0.0.1:9", "--max-size", "-1"], "expected a number of bytes"),
        (["inspect", "--max-size", "1k"], "expected a number of bytes, not 1k"),
        (["inspect", "--framer", "struct:!I", "--max-size", "9"], "have one size"),
        (["inspect", "a", "b"], "unrecognized arguments: b"),
        (["send-file", "a"], "ADDRESS"),
        (["send-file", "a", "127.0.0.1:9", "--framer", "lines"], "files go as header"),
        (["recv-file", "127.0.0.1:9"], "DIR"),
        (["recv-file", "127.0.0.1:9", ".", "--framer", "length"], "files go as header"),
        (["recv-file", "127.0.0.1:9", ".", "--max-size", "-3"], "expected a number of bytes"),
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
@pytest.mark.parametrize(
    ("command", "first"), [("demo", "Five messages"), ("inspect --framer lines", "  number")]
)
def test_a_closed_pipe_is_no_traceback(command: str, first: str) -> None:
    shell = f"yes hello | head -n 50000 | {shlex.join(COMMAND)} {command} | head -n 1"
    done = subprocess.run(
        ["/bin/sh", "-c", shell], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.stdout.startswith(first)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("command", "example"),
    [
        ("", "framing listen 127.0.0.1:9000 --echo"),
        ("listen", "framing listen 127.0.0.1:9000 --echo"),
        ("send", "framing send 127.0.0.1:9000 < messages.txt"),
        ("inspect", "framing inspect capture.bin"),
        ("send-file", "framing send-file photo.jpg 127.0.0.1:9000"),
        ("recv-file", "framing recv-file 127.0.0.1:9000 downloads"),
    ],
)
def test_help_has_examples(command: str, example: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    assert example in capsys.readouterr().out
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
@pytest.mark.parametrize("redirection", [">/dev/full", "<&-", ">&-", "2>&-"])
def test_odd_redirections_are_no_traceback(listener: Listener, redirection: str) -> None:
    framing_command = f"{sys.executable} -m {framing.__name__}"
    commands = [
        f"{framing_command} {command}"
        for command in ("demo", f"send {listener.address}", "inspect", "inspect -", "inspect x")
    ]
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


GOOD = framing.LengthPrefixFramer().encode(b"hello") + framing.LengthPrefixFramer().encode(b"\xff")
HTTP = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("from_file", [True, False])
@pytest.mark.parametrize(
    ("capture", "rows", "reason"),
    [
        (b"", 0, ""),
        (GOOD, 2, ""),
        (GOOD + HTTP, 2 + 3, "at byte 14: expected at most 16777216 bytes (max_size)"),
        (GOOD + b"\0\0\0\5hel", 2 + 1, "at byte 14: the stream ended after 7 bytes of a message"),
        (random.Random(1).randbytes(1000), 4, "at byte 0: expected at most 16777216 bytes"),
    ],
    ids=["nothing", "good", "another protocol", "cut", "random"],
)
def test_inspect_tells_where_messages_are_and_where_they_break(
    capture: bytes, rows: int, reason: str, from_file: bool, tmp_path: Path
) -> None:
    path = tmp_path / "capture.bin"
    path.write_bytes(capture)
    done = run("inspect", str(path)) if from_file else run("inspect", stdin=capture)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["number", "offset", "size", "message"]
    assert len(lines) == 1 + rows
    if rows > 1 and capture.startswith(GOOD):
        assert lines[1].split() == ["1", "0", "9", "hello"]
        assert lines[2].split() == ["2", "9", "5", "ff"]
    assert done.returncode == bool(reason)
    name = str(path) if from_file else "standard input"
    assert done.stderr.startswith(f"framing: {name}: {reason}" if reason else "")
    assert done.stderr.count("\n") == bool(reason)
    assert ("is the peer speaking HTTP?" in done.stderr) == capture.endswith(HTTP)


def test_inspect_shows_each_message_as_it_comes() -> None:
    with subprocess.Popen(
        [*COMMAND, "inspect", "--framer", "lines"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        lines = lines_of(process.stdout)
        assert "message" in lines.get(timeout=TIMEOUT)
        for text in ("one", "two"):
            process.stdin.write(text.encode() + b"\n")
            process.stdin.flush()
            assert lines.get(timeout=TIMEOUT).endswith(text)
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0


def test_a_larger_limit_lets_larger_messages_through() -> None:
    capture = framing.LengthPrefixFramer(max_size=2**25).encode(bytes(2**24 + 1))
    assert run("inspect", stdin=capture).returncode == 1
    done = run("inspect", "--max-size", str(2**25), stdin=capture)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_host_is_this_one(listener: Listener) -> None:
    _, port = listener.address.split(":")
    assert run("send", f":{port}", "hello").returncode == 0
    assert listener.line() == "hello"


@pytest.mark.parametrize("listener", [["--echo"]], indirect=True)
def test_answers_that_nobody_wants_do_not_stop_the_sender(listener: Listener) -> None:
    count = 20_000  # which is more than the buffers of both ways hold
    texts = "\n".join(["x" * 500] * count)
    reading = threading.Thread(target=lambda: [listener.line() for _ in range(count)])
    reading.start()
    assert run("send", listener.address, stdin=texts).returncode == 0
    reading.join()


@pytest.mark.parametrize(
    "arguments", [["inspect", "--", "-odd"], ["send-file", "--", "-odd", ":9"]]
)
def test_a_file_may_begin_with_a_dash(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stderr == "framing: -odd: No such file or directory\n"

"""What the commands do where no person at a terminal gets them to: call by call."""

from __future__ import annotations

import argparse
import errno
import io
import runpy
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from framing import LengthPrefixFramer, StructFramer, cli, commands, recv_msg, send_msg
from framing.files import recv_file, send_file
from framing.header_body import HeaderBodyFramer
from framing.notation import parse_message
from framing.terminal import CommandError, progress

from .pairs import tcp_pair, unix_pair

FRAMER = LengthPrefixFramer("!B", max_size=5)


class Clients:
    """A listening socket that nobody has to connect to: what accept() returns or raises."""

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)

    def accept(self) -> object:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome


def accept(*outcomes: object) -> tuple[socket.socket, str]:
    return commands._accept(Clients(*outcomes))  # type: ignore[arg-type]


def test_listening_goes_on_whatever_becomes_of_a_client(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "_ACCEPT_TIMEOUT", 0)
    here, there = unix_pair()
    with here, there:
        accepted = accept(
            TimeoutError(),
            ConnectionAbortedError(errno.ECONNABORTED, "left"),
            OSError(errno.EMFILE, "Too many open files"),
            (there, ("127.0.0.1", 5000)),
        )
        assert accepted == (there, "127.0.0.1:5000")
        assert there.gettimeout() is None
    note = "cannot accept a connection now: Too many open files\n"
    assert capsys.readouterr().err == note


def test_listening_ends_where_it_cannot_go_on() -> None:
    with pytest.raises(CommandError, match="cannot accept a connection: Bad file descriptor"):
        accept(OSError(errno.EBADF, "Bad file descriptor"))


@pytest.mark.parametrize("host", ["", "127.0.0.1", "localhost"])
def test_no_host_is_any(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    with commands._listener((host, 0)) as listener:
        address = listener.getsockname()
    assert address[0] in ({"0.0.0.0"} if not host else {"127.0.0.1", "::1"})  # noqa: S104
    assert f":{address[1]}, until Ctrl-C" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rest", "note"),
    [
        (b"", "peer closed the connection"),
        (b"\5cut", "peer: the stream ended after 4 bytes of a message of 6"),
        (b"\6longer", "peer: expected at most 5 bytes (max_size)"),
    ],
)
@pytest.mark.parametrize("echo", [True, False])
def test_how_a_client_leaves_is_told(
    rest: bytes, note: str, echo: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = tcp_pair()
    with here:
        send_msg(here, b"hello", framer=FRAMER)
        here.sendall(rest)
        here.shutdown(socket.SHUT_WR)
        commands._serve(there, "peer", argparse.Namespace(framer=FRAMER, echo=echo))
        if echo:
            assert recv_msg(here, framer=FRAMER) == b"hello"
    shown = capsys.readouterr()
    assert shown.out == "hello\n"
    first, second = shown.err.splitlines()
    assert first == "peer connected"
    assert second.startswith(note)


def test_a_peer_that_was_gone_before_the_end_is_told() -> None:
    with socket.socket() as sock, pytest.raises(CommandError, match="may not have read all"):
        commands._end(sock)  # as of a connection that was reset


def test_a_peer_that_never_stops_is_not_waited_for() -> None:
    here, there = unix_pair()
    with here, there:
        here.sendall(bytes(10))
        with pytest.raises(TimeoutError):
            commands._wait_for_close(there, -1)
        here.sendall(bytes(100_000))
        here.shutdown(socket.SHUT_WR)
        commands._wait_for_close(there, 10)


@contextmanager
def sending_a_file(path: Path, *, checksum: bool) -> Iterator[tuple[Future[None], socket.socket]]:
    """Yield what becomes of the command that sends it, and the connection that it is sent over."""
    with ThreadPoolExecutor() as executor, socket.create_server(("127.0.0.1", 0)) as server:
        options = argparse.Namespace(
            address=server.getsockname(), paths=[path], framer=HeaderBodyFramer(), checksum=checksum
        )
        sending = executor.submit(commands.send_files, options)
        conn, _ = server.accept()
        with conn:
            yield sending, conn


def test_a_receiver_that_never_says_that_it_is_done_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(commands, "_CLOSE_FILES_TIMEOUT", 0.01)
    (tmp_path / "f").write_bytes(b"hello")
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with sending_a_file(tmp_path / "f", checksum=True) as (sending, conn):
        assert recv_file(conn, inbox).read_bytes() == b"hello"
        with pytest.raises(CommandError, match="has not said that it has everything"):
            sending.result(10)


def test_a_reset_after_the_last_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"hello")
    with sending_a_file(tmp_path / "f", checksum=False) as (sending, conn):
        while conn.recv(1000):
            pass
        commands._reset_on_close(conn)
        conn.close()
        with pytest.raises(CommandError, match="has refused a file, or stopped"):
            sending.result(10)


@pytest.mark.parametrize("reply", [True, False])
def test_a_reset_after_the_last_message_is_told(reply: bool) -> None:
    with ThreadPoolExecutor() as executor, socket.create_server(("127.0.0.1", 0)) as server:
        options = argparse.Namespace(
            address=server.getsockname(), messages=["hello"], framer=FRAMER, reply=reply
        )
        sending = executor.submit(commands.send, options)
        conn, _ = server.accept()
        assert recv_msg(conn, framer=FRAMER) == b"hello"
        if reply:
            send_msg(conn, b"world", framer=FRAMER)
        assert conn.recv(1) == b""
        commands._reset_on_close(conn)
        conn.close()
        with pytest.raises(CommandError, match="reset"):
            sending.result(10)


def test_a_sender_of_what_the_listener_cannot_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"hello")
    here, there = tcp_pair()
    with here:
        send_file(here, tmp_path / "f")
        here.shutdown(socket.SHUT_WR)
        commands._serve(there, "peer", argparse.Namespace(framer=FRAMER, echo=False))
        with pytest.raises(ConnectionResetError):
            here.recv(1)


def test_a_record_too_large_for_the_machine_is_told() -> None:
    with pytest.raises(ValueError, match="too large for this machine"):
        parse_message(StructFramer("!9999999999999s"), "x")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_takes_any_size_that_a_peer_announces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    with progress("f") as report:
        report(0, 10**400)
        report(2048, 10**400)
    assert "f:" in shown.getvalue()


def test_of_a_file_that_never_begins_no_bar_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    with pytest.raises(FileExistsError), progress("f"):
        raise FileExistsError
    assert shown.getvalue() == ""


def test_an_interrupt_while_the_program_is_loaded_ends_it_quietly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupt)
    with pytest.raises(SystemExit) as caught:
        runpy.run_module(cli.__package__ or "", run_name="__main__")
    assert caught.value.code == 130

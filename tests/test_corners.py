"""Lines and branches that only chance, another system or a rare race would reach."""

from __future__ import annotations

import errno
import io
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from framing import (
    DecodeError,
    Framer,
    LengthPrefixFramer,
    MessageSocket,
    ReadExactly,
    Steps,
    connect,
    recv_msg,
)
from framing import transport as transport_module
from framing.cli import main
from framing.message_socket import _Exactly
from framing.notation import show_message
from framing.sockets import check_is_connected
from framing.stream_decoder import StreamDecoder
from framing.terminal import show_size

from .pairs import Pair, unix_pair

# Another thread is faster


def stolen(monkeypatch: pytest.MonkeyPatch, method: str) -> list[Any]:
    """Let "another thread" take the first message just before *method* would."""
    taken: list[Any] = []
    take, real = StreamDecoder.take, getattr(StreamDecoder, method)

    def late(decoder: StreamDecoder[Any], *arguments: Any) -> Any:
        if not taken and decoder.ready is not None:
            taken.append(take(decoder))
        return real(decoder, *arguments)

    monkeypatch.setattr(StreamDecoder, method, late)
    return taken


@pytest.mark.parametrize("own", [None, 10])
def test_who_comes_too_late_waits_for_the_next_message(
    own: float | None, plain_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = plain_pair
    server.settimeout(own)
    receiver = MessageSocket(server)
    client.sendall(b"\0\0\0\1a" + b"\0\0\0\1b")
    taken = stolen(monkeypatch, "take")
    assert receiver.recv() == b"b"
    assert taken == [b"a"]


def test_so_does_who_receives_into_a_buffer(
    plain_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = plain_pair
    receiver = MessageSocket(server)
    client.sendall(b"\0\0\0\1a" + b"\0\0\0\2bb")
    taken = stolen(monkeypatch, "take_into")
    assert receiver.recv_into(bytearray(5)) in (1, 2)
    assert taken == [b"a"]


def test_so_does_who_waits_for_exact_bytes(
    plain_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = plain_pair
    receiver = MessageSocket(server)
    client.sendall(b"abcd")
    taken = stolen(monkeypatch, "take")
    assert receiver.recv_exactly(2) == b"cd"
    assert taken == [b"ab"]


def test_a_wait_may_end_for_nothing(plain_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system says that there is something to receive, and another has it by then."""
    client, server = plain_pair
    server.settimeout(None)
    receiver, poll = MessageSocket(server), transport_module._poll
    calls: list[int] = []

    def hasty(*arguments: Any) -> bool:
        calls.append(1)
        if len(calls) == 1:
            return True
        client.sendall(b"\0\0\0\1a")
        return poll(*arguments)

    monkeypatch.setattr(transport_module, "_poll", hasty)
    assert receiver.recv(timeout=10) == b"a"
    assert len(calls) > 1


def test_pending_does_not_wait_for_what_tls_has_not_finished(
    plain_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, server = plain_pair
    receiver = MessageSocket(server)
    monkeypatch.setattr(receiver._transport, "bytes_decrypted", lambda: 1)
    assert not receiver.pending()


# What the system may do


def test_a_system_may_take_less_than_it_was_given() -> None:
    client, server = unix_pair()
    client.settimeout(None)
    with MessageSocket(client) as sender, server:
        sender._outgoing._send_plainly = lambda data: client.send(memoryview(data)[:3])
        sender.send(b"hello")
        assert sender.unsent == 0
        assert recv_msg(server) == b"hello"


def test_another_error_than_not_connected_is_left_to_the_next_call() -> None:
    class Odd:
        def getpeername(self) -> None:
            raise OSError(errno.EINVAL, "reset, as macOS says it")

    odd: Any = Odd()
    check_is_connected(odd)


def test_a_connection_that_cannot_be_wrapped_is_closed() -> None:
    class Nonsense(LengthPrefixFramer):
        def _window(self) -> int:
            raise ZeroDivisionError

    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(ZeroDivisionError):
            connect(listener.getsockname(), Nonsense())
        conn, _ = listener.accept()
        with conn:
            conn.settimeout(10)
            assert conn.recv(1) == b""


# Framers that others write


class Failing(LengthPrefixFramer):
    """Has a fast path that fails, as the plain one does."""

    def read_message(self) -> Steps[bytes]:
        yield ReadExactly(1)
        raise ValueError("never good enough")

    def read_batch(self, *_: object) -> tuple[Iterator[bytes], int, int]:
        raise ValueError("never good enough")


class Nothing(Framer[Any]):
    def encode_parts(self, message: Any) -> list[Any]:
        return [message]

    def read_message(self) -> Steps[Any]:
        yield ReadExactly(1)


def test_a_fast_path_that_fails_does_so_in_its_turn(pair: Pair) -> None:
    client, server = pair
    server.settimeout(None)
    client.sendall(b"xyz")
    receiver = MessageSocket(server, Failing(max_size=9))
    with pytest.raises(DecodeError, match="never good enough") as caught:
        receiver.recv()
    assert caught.value.offset == 0


def test_none_is_no_message_over_a_socket(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"xyz")
    with pytest.raises(RuntimeError, match="read None"):
        recv_msg(server, framer=Nothing(max_size=9))


# Parts that stand for themselves


def test_no_body_is_nothing_to_receive() -> None:
    decoder = StreamDecoder(LengthPrefixFramer(), stepwise=True)
    assert list(decoder.receive_body(lambda *_: pytest.fail("nothing is to come"))) == []


def test_exact_bytes_are_a_format_like_others() -> None:
    assert _Exactly(2).decode(_Exactly(2).encode(b"hi")) == b"hi"


def test_messages_that_detach_the_connection_end_the_sending(plain_pair: Pair) -> None:
    client, _ = plain_pair
    sender = MessageSocket(client)

    def messages() -> Iterator[bytes]:
        yield bytes(70_000)
        sender.detach()
        yield bytes(70_000)
        yield b"never taken"

    with pytest.raises((io.UnsupportedOperation, OSError)):
        sender.send_many(messages())


def test_bytes_that_are_no_text_are_shown_as_they_are_written() -> None:
    assert show_message(b"\xff\0") == r"b'\xff\x00'"


def test_sizes_have_units_up_to_the_largest() -> None:
    assert show_size(5 * 1024**4) == "5.0 TiB"


def test_output_may_go_to_anything_with_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "capture").write_bytes(b"\0\0\0\5hello")
    monkeypatch.setattr(sys, "stdout", output := io.StringIO())
    assert main(["inspect", str(tmp_path / "capture")]) == 0
    assert "hello" in output.getvalue()

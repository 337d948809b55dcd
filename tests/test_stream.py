"""``send_msg`` and ``recv_msg`` on real sockets, and on badly behaved ones."""

from __future__ import annotations

import array
import errno
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import framing
from framing import (
    DecodeError,
    DelimiterFramer,
    EncodeError,
    EndOfStreamError,
    IncompleteMessageError,
    LengthPrefixFramer,
    LineFramer,
    MessageTooLargeError,
    StructFramer,
    recv_msg,
    send_msg,
)
from framing import stream as stream_module

from .fakes import INTERRUPTIONS, ScriptedSocket
from .interruptions import Interruption, interrupted_at
from .pairs import (
    Pair,
    fill,
    receive_exactly,
    tcp_pair,
    tls_pair,
    unix_pair,
    wrapped_pair,
)
from .strategies import FORMATS, Format, samples

every_format = pytest.mark.parametrize("format", FORMATS, ids=repr)


@every_format
def test_messages_arrive_one_by_one(format: Format[Any], pair: Pair) -> None:
    client, server = pair
    messages = samples(format)
    assert messages
    for message in messages:
        send_msg(client, message, framer=format.framer)
    for message in messages:
        assert recv_msg(server, framer=format.framer) == format.received(message)


def test_the_default_is_a_length_and_the_payload(pair: Pair) -> None:
    client, server = pair
    send_msg(client, b"hello")
    assert server.recv(100) == b"\0\0\0\5hello"
    server.sendall(b"\0\0\0\0\0\0\0\2hi")
    assert recv_msg(client) == b""
    assert recv_msg(client) == b"hi"


@every_format
def test_nothing_after_the_message_is_taken(format: Format[Any], pair: Pair) -> None:
    client, server = pair
    for message in samples(format):
        client.sendall(format.framer.encode(message) + b"rest")
        assert recv_msg(server, framer=format.framer) == format.received(message)
        assert server.recv(100) == b"rest"


@every_format
def test_nothing_after_the_message_is_taken_when_it_comes_byte_by_byte(
    format: Format[Any], plain_pair: Pair
) -> None:
    client, server = plain_pair
    server.setblocking(False)
    for message in samples(format):
        wire = format.framer.encode(message)
        for i in range(len(wire)):
            with pytest.raises(BlockingIOError):
                recv_msg(server, framer=format.framer)
            client.sendall(wire[i : i + 1])
            wait_for_bytes(server)
        client.sendall(b"rest")
        wait_for_bytes(server)
        assert recv_msg(server, framer=format.framer) == format.received(message)
        wait_for_bytes(server)
        assert server.recv(100) == b"rest"


def wait_for_bytes(sock: socket.socket) -> None:
    sock.settimeout(10)
    sock.recv(1, socket.MSG_PEEK)
    sock.setblocking(False)


@every_format
@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_an_interruption_at_any_byte_loses_nothing(
    format: Format[Any], interruption: Callable[[], Exception]
) -> None:
    for message in samples(format):
        wire = format.framer.encode(message)
        sizes = [size for _ in wire for size in (interruption(), 1)]
        sock: Any = ScriptedSocket(wire * 2, sizes)
        attempts = 0
        while True:
            try:
                received = recv_msg(sock, framer=format.framer)
                break
            except type(interruption()):
                attempts += 1
        assert received == format.received(message)
        assert attempts == len(wire)
        assert recv_msg(sock, framer=format.framer) == format.received(message)
        with pytest.raises(EndOfStreamError):
            recv_msg(sock, framer=format.framer)


@every_format
def test_a_timeout_at_any_byte_loses_nothing(format: Format[Any], plain_pair: Pair) -> None:
    client, server = plain_pair
    server.settimeout(0.001)
    for message in samples(format)[:3]:
        wire = format.framer.encode(message)
        for i in range(min(len(wire), 20)):
            with pytest.raises(TimeoutError):
                recv_msg(server, framer=format.framer)
            client.sendall(wire[i : i + 1])
        client.sendall(wire[20:])
        server.settimeout(10)
        assert recv_msg(server, framer=format.framer) == format.received(message)
        server.settimeout(0.001)


@every_format
def test_a_cut_at_any_byte_is_told(format: Format[Any]) -> None:
    for message in samples(format):
        wire = format.framer.encode(message)
        for cut in range(1, len(wire)):
            sock: Any = ScriptedSocket(wire + wire[:cut])
            assert recv_msg(sock, framer=format.framer) == format.received(message)
            try:
                recv_msg(sock, framer=format.framer)
            except IncompleteMessageError as error:
                assert error.received == cut
                with pytest.raises(IncompleteMessageError) as again:
                    recv_msg(sock, framer=format.framer)
                assert again.value == error
            except DecodeError:
                assert isinstance(format.framer, LineFramer | DelimiterFramer)
            else:
                assert isinstance(format.framer, LineFramer | DelimiterFramer)
                with pytest.raises(EndOfStreamError):
                    recv_msg(sock, framer=format.framer)


def test_a_closed_connection_is_the_end_of_the_stream(pair: Pair) -> None:
    client, server = pair
    send_msg(client, b"last")
    client.shutdown(socket.SHUT_WR)  # close() resets TLS, whose session tickets nobody has read
    assert recv_msg(server) == b"last"
    for _ in range(2):
        with pytest.raises(EndOfStreamError, match="ended"):
            recv_msg(server)
    with pytest.raises(EndOfStreamError, match="ended"):
        recv_msg(server, framer=LineFramer())


def test_a_reset_connection_is_the_sockets_error(plain_pair: Pair) -> None:
    client, server = plain_pair
    client.sendall(b"\0\0\0\5he")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    with pytest.raises(ConnectionResetError):
        recv_msg(server)


def test_bytes_that_break_the_format_do_so_every_time(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    for _ in range(2):
        with pytest.raises(MessageTooLargeError, match=r"is the peer speaking HTTP\?") as caught:
            recv_msg(server)
    assert caught.value.size == 0x47455420
    assert caught.value.limit == 16 * 1024 * 1024
    with pytest.raises(ValueError, match="received in part"):
        recv_msg(server, framer=LineFramer())


def test_a_part_received_belongs_to_its_framer(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"\0\0\0\5he")
    server.settimeout(0.001)
    with pytest.raises(TimeoutError):
        recv_msg(server)
    with pytest.raises(ValueError, match=r"LengthPrefixFramer.* was received in part"):
        recv_msg(server, framer=LineFramer())
    client.sendall(b"llo")
    server.settimeout(10)
    assert recv_msg(server, framer=LengthPrefixFramer("!I")) == b"hello"


def test_framers_may_alternate_between_messages(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"\0\0\0\2hi" + b"line\r\n" + b"\0\0\0\3you" + b"\0\1")
    assert recv_msg(server) == b"hi"
    assert recv_msg(server, framer=LineFramer()) == "line"
    assert recv_msg(server) == b"you"
    assert recv_msg(server, framer=StructFramer("!H")) == (1,)


@pytest.mark.parametrize("framer", [LengthPrefixFramer(), DelimiterFramer(b"\r\n")], ids=repr)
def test_large_messages_go_through_small_buffers(
    pair: Pair, framer: LengthPrefixFramer | DelimiterFramer
) -> None:
    client, server = pair
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    messages = [bytes([48 + i]) * (120_000 * i) for i in range(4)]

    def send_all() -> None:
        for message in messages:
            send_msg(client, message, framer=framer)

    sender = threading.Thread(target=send_all)
    sender.start()
    for message in messages:
        assert recv_msg(server, framer=framer) == message
    sender.join()


def test_a_buffer_of_items_is_sent_as_its_bytes(pair: Pair) -> None:
    client, server = pair
    numbers = array.array("H", range(1000))
    send_msg(client, memoryview(numbers))
    assert recv_msg(server) == numbers.tobytes()


def test_a_message_that_cannot_be_sent_leaves_the_stream_whole(pair: Pair) -> None:
    client, server = pair
    with pytest.raises(EncodeError):
        send_msg(client, b"too long", framer=LengthPrefixFramer(max_size=4))
    with pytest.raises(TypeError, match="encode the text first"):
        send_msg(client, "text")  # type: ignore[call-overload]
    send_msg(client, b"fine")
    assert recv_msg(server) == b"fine"


def test_a_send_that_times_out_before_the_first_byte_can_be_tried_again(plain_pair: Pair) -> None:
    client, server = plain_pair
    client.setblocking(False)
    filler = fill(client)
    for message in (b"x" * 100, b"x" * 100_000):
        with pytest.raises(BlockingIOError):
            send_msg(client, message)
    client.settimeout(0.001)
    with pytest.raises(TimeoutError):
        send_msg(client, b"hello")
    client.settimeout(10)
    receive_exactly(server, filler)
    send_msg(client, b"hello")
    assert recv_msg(server) == b"hello"


@pytest.mark.parametrize("make_pair", [tcp_pair, wrapped_pair, tls_pair])
def test_a_send_cut_off_in_the_middle_breaks_the_stream(make_pair: Callable[[], Pair]) -> None:
    client, server = make_pair()
    with client, server:
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            send_msg(client, bytes(16 * 1024 * 1024))
        with pytest.raises(ConnectionError, match="cut off in the middle of a message"):
            send_msg(client, b"next")


def test_a_send_cut_off_by_a_signal_breaks_the_stream() -> None:
    sock: Any = ScriptedSocket(sizes=[2, KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        send_msg(sock, b"hello")
    assert sock.sent == b"\0\0"
    with pytest.raises(ConnectionError, match="cut off"):
        send_msg(sock, b"hello")


@pytest.mark.usefixtures("without_collection")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
@pytest.mark.parametrize("make_pair", [unix_pair, wrapped_pair])
def test_a_handlers_timeout_is_not_taken_for_the_sockets(make_pair: Callable[[], Pair]) -> None:
    """``signal.alarm`` with a handler that raises TimeoutError is a common way to give up."""
    client, server = make_pair()
    with client, server, raising_after(0.05, TimeoutError("from the handler")):
        client.settimeout(None)
        with pytest.raises(TimeoutError, match="from the handler"):
            send_msg(client, bytes(16 * 1024 * 1024))  # the peer reads nothing
        with pytest.raises(ConnectionError, match="cut off in the middle of a message"):
            send_msg(client, b"next")


@pytest.mark.usefixtures("without_collection")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_a_handlers_timeout_before_anything_was_sent_does_no_harm() -> None:
    client, server = unix_pair()
    with client, server:
        client.setblocking(False)
        filler = fill(client)
        client.settimeout(None)
        with raising_after(0.05, TimeoutError("from the handler")), pytest.raises(TimeoutError):
            send_msg(client, b"hello")
        receive_exactly(server, filler)
        send_msg(client, b"hello")
        assert recv_msg(server) == b"hello"


@contextmanager
def raising_after(seconds: float, error: Exception) -> Iterator[None]:
    def handler(*_: object) -> None:
        raise error

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_a_handlers_error_inside_recv_is_not_taken_for_the_sockets() -> None:
    class Interrupted(ScriptedSocket):
        """Bytes have left the system when a handler, which lives elsewhere, raises."""

        def recv(self, bufsize: int) -> bytes:
            super().recv(min(2, bufsize))
            exec("raise TimeoutError", {"__name__": "a handler's module"})  # noqa: S102
            return b""

    sock: Any = Interrupted(b"\0\0\0\5hello")
    with pytest.raises(TimeoutError):
        recv_msg(sock)
    with pytest.raises(ConnectionError, match="bytes may be lost"):
        recv_msg(sock)


def test_a_subclass_that_overrides_sending_is_used() -> None:
    class Counting(socket.socket):
        sent = 0

        def sendall(self, data: Any, flags: int = 0, /) -> None:
            self.sent += memoryview(data).nbytes
            super().sendall(data, flags)

    client, server = unix_pair()
    counting = Counting(client.family, client.type, client.proto, client.detach())
    with counting, server:
        send_msg(counting, b"hello")
        assert counting.sent == 9
        assert recv_msg(server) == b"hello"


def test_a_receive_cut_off_by_a_signal_where_bytes_may_be_lost_is_refused() -> None:
    sock: Any = ScriptedSocket(b"\0\0\0\5hello", [2, KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        recv_msg(sock)
    with pytest.raises(ConnectionError, match="bytes may be lost"):
        recv_msg(sock)


@pytest.mark.usefixtures("without_collection")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
@pytest.mark.parametrize(
    "framer", [LengthPrefixFramer(), DelimiterFramer(), LengthPrefixFramer("!B")], ids=repr
)
def test_a_signal_at_any_moment_loses_nothing(
    plain_pair: Pair, framer: LengthPrefixFramer | DelimiterFramer
) -> None:
    """Interrupt a receiver every few dozen microseconds, wherever that happens to be."""
    client, server = plain_pair
    messages = [b"%d" % i * (i % 60) for i in range(3000)]

    def send_all() -> None:
        client.sendall(b"".join(map(framer.encode, messages)))
        client.shutdown(socket.SHUT_WR)

    class Interrupted(BaseException):
        pass

    armed = False
    interruptions = 0

    def interrupt(*_: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise Interrupted

    received = []
    sender = threading.Thread(target=send_all)
    previous = signal.signal(signal.SIGALRM, interrupt)
    sender.start()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
        while True:
            try:
                with suppress(EndOfStreamError):
                    while True:
                        armed = True
                        message = recv_msg(server, framer=framer)
                        armed = False
                        received.append(message)
                break
            except Interrupted:
                interruptions += 1
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        sender.join()
    assert interruptions
    if sys.version_info < (3, 11):
        # Python 3.10 runs handlers between the return of any function and the caller's next
        # step, so a message that was returned can be lost there: none is ever misread.
        assert len(received) > len(messages) - interruptions
        assert set(received) <= set(messages)
    else:
        assert received == messages


@every_format
def test_an_interruption_at_any_line_loses_nothing(format: Format[Any]) -> None:
    sent = samples(format)[:2] * 2
    wire = b"".join(map(format.framer.encode, sent))
    for line in count(1):
        client, server = unix_pair()
        with client, server:
            client.sendall(wire + b"rest")
            received: list[Any] = []
            with interrupted_at(line) as places:
                while len(received) < len(sent):
                    try:
                        received.append(recv_msg(server, framer=format.framer))
                    except Interruption:
                        assert places
            assert received == list(map(format.received, sent)), places
            assert server.recv(100) == b"rest"
        if not places:
            break
    assert line > 30


@pytest.mark.parametrize("framer", [LengthPrefixFramer(), DelimiterFramer()], ids=repr)
def test_two_interruptions_at_any_lines_lose_nothing(
    framer: LengthPrefixFramer | DelimiterFramer,
) -> None:
    """The second comes while the message that the first one cut off is read the slower way."""
    sent = [b"hi", b"you"]
    client, server = unix_pair()
    with client, server:
        for first in count(1):
            for second in count(first % 5 + 1, 5):  # all of them would take half a minute
                client.sendall(b"".join(map(framer.encode, sent)))
                received: list[bytes] = []
                interruptions: list[str] = []
                for line in (first, second):
                    with interrupted_at(line) as places, suppress(Interruption):
                        while len(received) < len(sent):
                            received.append(recv_msg(server, framer=framer))
                    interruptions += places
                while len(received) < len(sent):
                    received.append(recv_msg(server, framer=framer))
                assert received == sent, interruptions
                if len(interruptions) < 2:
                    break
            if not interruptions:
                break
    assert first > 30


@pytest.mark.parametrize("feature", ["sendmsg", "MSG_PEEK"])
def test_it_works_without(feature: str, monkeypatch: pytest.MonkeyPatch, plain_pair: Pair) -> None:
    if feature == "sendmsg":
        monkeypatch.setattr(stream_module, "_HAS_SENDMSG", False)
    else:
        monkeypatch.setattr(stream_module, "_MSG_PEEK", None)
    client, server = plain_pair
    messages = [b"", b"hello", b"x" * 100_000]
    for framer in (LengthPrefixFramer(), DelimiterFramer(b"\r\n")):
        sender = threading.Thread(
            target=lambda framer=framer: [
                send_msg(client, each, framer=framer) for each in messages
            ]
        )
        sender.start()
        for message in messages:
            assert recv_msg(server, framer=framer) == message
        sender.join()


@given(parts=st.lists(st.binary(max_size=30), max_size=6), repeats=st.integers(1, 400))
def test_many_parts_are_all_sent(parts: list[bytes], repeats: int) -> None:
    """A framer of one's own may return more parts than the system takes at once."""
    client, server = unix_pair()
    with client, server:
        many = [*parts * repeats, bytes(20_000)]
        stream_module._State(client).send(client, many)
        client.close()
        received = b""
        while chunk := server.recv(100_000):
            received += chunk
        assert received == b"".join(many)


def test_a_datagram_socket_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with pytest.raises(ValueError, match="expected a stream socket"):
            send_msg(sock, b"hello")
        with pytest.raises(ValueError, match="expected a stream socket"):
            recv_msg(sock)


def test_an_unconnected_socket_raises_its_own_error() -> None:
    with socket.socket() as sock:
        for attempt in (lambda: send_msg(sock, b"hello"), lambda: recv_msg(sock)):
            with pytest.raises(OSError) as caught:  # noqa: PT011  # the number tells
                attempt()
            assert caught.value.errno in {errno.ENOTCONN, errno.EPIPE}


def test_nothing_is_kept_of_a_socket_that_is_gone() -> None:
    client, server = unix_pair()
    with client, server:
        send_msg(client, b"hello")
        recv_msg(server)
    before = len(stream_module._states)
    del client, server
    assert len(stream_module._states) == before - 2


def test_importing_it_stays_cheap() -> None:
    import subprocess

    heavy = {"asyncio", "ssl", "dataclasses", "inspect", "argparse", "socketserver"}
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, {framing.__name__}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not heavy & set(loaded)

"""``MessageSocket``: what it receives, and how it takes over, switches and ends a connection."""

from __future__ import annotations

import errno
import gc
import inspect
import io
import itertools
import socket
import ssl
import struct
import sysconfig
import time
import tracemalloc
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from framing import (
    BadMessageError,
    Buffer,
    DecodeError,
    DelimiterFramer,
    EndOfStreamError,
    Framer,
    IncompleteMessageError,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    MessageTooLargeError,
    Steps,
    StructFramer,
    connect,
    recv_msg,
    send_msg,
)

from .conditions import needs, not_on_pypy
from .fakes import INTERRUPTIONS, MisbehavingSocket, ScriptedSends
from .pairs import (
    MIB,
    TRANSIENT,
    Pair,
    Task,
    by_recv,
    by_recv_msg,
    every_pair,
    every_receiver,
    everything,
    has_unread,
    reset,
    send_and_end,
    small_buffers,
    tcp_pair,
    tls_contexts,
    tls_pair,
    unix_pair,
    wait_until,
    wrapped_pair,
)
from .strategies import Format, every_format, samples

# Messages go through


@every_format
def test_messages_of_every_format_arrive_and_then_the_end(format: Format[Any], pair: Pair) -> None:
    client, server = (MessageSocket(sock, format.framer) for sock in pair)
    messages = samples(format)
    received = list(map(format.received, messages))
    for message in messages:
        client.send(message)
    assert [server.recv() for _ in messages] == received
    sending = Task(server.send_many, iter(messages * 30))
    assert [client.recv() for _ in messages * 30] == received * 30
    sending.result()
    server.sock.shutdown(socket.SHUT_WR)
    assert list(client) == []
    for _ in range(2):
        with pytest.raises(EndOfStreamError):
            client.recv()


@pytest.mark.parametrize("size", [0, 1, 5, 513, 16_384, 65_536, 100_000, 2 * MIB])
def test_messages_of_any_size_go_through_and_into_buffers(pair: Pair, size: int) -> None:
    client, server = map(MessageSocket, pair)
    payloads = [bytes([65 + i]) * size for i in range(3)]
    messages: list[Buffer] = [payloads[0], bytearray(payloads[1]), memoryview(payloads[2]), b"end"]

    def send() -> None:
        for message in messages:
            client.send(message)
        client.send_many(messages)
        client.send_many(messages)

    sending = Task(send)
    for _ in range(2):
        assert [server.recv() for _ in messages] == messages
    buffer = bytearray(b"." * (size + 10))
    for payload in payloads:
        for smaller in {0, size - 1} if size else ():
            with pytest.raises(ValueError, match=rf"at least {size} bytes, .*, not {smaller}$"):
                server.recv_into(bytearray(smaller))
        assert server.recv_into(memoryview(buffer)) == size
        assert buffer == payload + b"." * 10
    assert server.recv() == b"end"
    sending.result()


@every_format
def test_interruptions_at_any_byte_lose_nothing(format: Format[Any]) -> None:
    client, server = unix_pair()
    receiver = MessageSocket(
        MisbehavingSocket.around(server, *INTERRUPTIONS, InterruptedError), format.framer
    )
    messages = samples(format)
    with client, receiver:
        client.sendall(b"".join(map(format.framer.encode, messages)))
        client.shutdown(socket.SHUT_WR)
        assert everything(receiver.recv, but=TRANSIENT) == list(map(format.received, messages))


@pytest.mark.parametrize("way", ["recv_msg", "recv", "iteration"])
def test_a_chat_survives_a_line_in_another_encoding_and_timeouts(way: str, pair: Pair) -> None:
    client, server = pair
    client.sendall("caf\xe9\n".encode() + b"caf\xe9\nne")
    if way == "iteration":
        receive: Callable[[], Any] = iter(MessageSocket(server, LineFramer())).__next__
    else:
        receive = (by_recv if way == "recv" else by_recv_msg)(server, LineFramer())
    assert receive() == "caf\xe9"
    with pytest.raises(BadMessageError, match="utf-8") as caught:
        receive()
    assert (caught.value.recoverable, caught.value.offset) == (True, 6)
    server.settimeout(0.001)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            receive()
    send_and_end(client, b"xt\n")
    server.settimeout(10)
    assert receive() == "next"
    for _ in range(2):
        with pytest.raises((EndOfStreamError, StopIteration)):
            receive()


def test_bytes_received_distinguishes_a_slow_peer_from_a_silent_one(plain_pair: Pair) -> None:
    client, server = plain_pair
    conn = MessageSocket(server)
    seen = [conn.bytes_received]
    for piece in (b"\0\0\0\3", b"a", b""):
        client.sendall(piece)
        with pytest.raises(TimeoutError):
            conn.recv(timeout=0.05)
        seen.append(conn.bytes_received)
    assert seen == [0, 4, 5, 5]
    client.sendall(b"bc12")
    assert (conn.recv(), conn.recv_exactly(2)) == (b"abc", b"12")
    assert conn.switch(LineFramer()).bytes_received == 9


def test_bytes_received_counts_those_of_a_payload_that_stalls(pair: Pair) -> None:
    client, server = pair
    conn = MessageSocket(server)
    client.sendall(struct.pack("!I", 100_000) + bytes(50_000))
    for size in (50_004, 100_004):
        with pytest.raises(TimeoutError):
            conn.recv_into(bytearray(100_000), timeout=0.05)
        assert conn.bytes_received == min(size, 100_003)
        client.sendall(bytes(49_999 if size < 100_000 else 1))
    assert conn.recv() == bytes(100_000)


# A socket that blocks, on which the usual case is received in one step


def blocking(pair: Pair, framer: Framer[Any]) -> tuple[socket.socket, MessageSocket[Any]]:
    client, server = pair
    server.settimeout(None)
    return client, MessageSocket(server, framer)


def test_what_is_skipped_is_not_taken_for_messages(plain_pair: Pair) -> None:
    skipped, message = LengthPrefixFramer().encode(b"no") * 5, LengthPrefixFramer().encode(b"yes")
    client, conn = blocking(plain_pair, LengthPrefixFramer(max_size=20, oversize="skip"))
    client.sendall(struct.pack("!I", len(skipped)))
    with pytest.raises(MessageTooLargeError):
        conn.recv()
    client.sendall(skipped + message)
    assert conn.recv() == b"yes"


def test_the_rest_of_a_line_is_not_taken_for_one(plain_pair: Pair) -> None:
    client, conn = blocking(plain_pair, DelimiterFramer())
    client.sendall(b"ab")
    with pytest.raises(TimeoutError):
        conn.recv(timeout=0.05)
    client.sendall(b"c\n")
    assert conn.recv() == b"abc"


def test_what_pending_has_found_is_received_first(plain_pair: Pair) -> None:
    client, conn = blocking(plain_pair, LengthPrefixFramer())
    message = LengthPrefixFramer().encode(b"message")
    client.sendall(message + b"\xff" + message + message)
    assert (conn.recv(), conn.recv_exactly(1)) == (b"message", b"\xff")
    assert conn.pending()
    assert [conn.recv(), conn.recv()] == [b"message"] * 2


def test_what_was_received_ahead_is_given_back(plain_pair: Pair) -> None:
    client, conn = blocking(plain_pair, LengthPrefixFramer())
    message = LengthPrefixFramer().encode(b"message")
    client.sendall(message * 3)
    assert conn.recv() == b"message"
    assert conn.detach()[1] == message * 2


# recv_into and recv_exactly


def test_bytes_that_break_the_format_can_be_taken_as_they_are(pair: Pair) -> None:
    client, server = pair
    conn = MessageSocket(server)
    client.sendall(b"\xff\xff\xff\xff" + LengthPrefixFramer().encode(b"hello"))
    for _ in range(2):
        with pytest.raises(MessageTooLargeError):
            conn.recv()
    assert (conn.recv_exactly(4), conn.recv()) == (b"\xff\xff\xff\xff", b"hello")


def test_a_stream_that_stalls_and_ends_inside_recv_into_is_an_error(pair: Pair) -> None:
    client, server = pair
    client.sendall(struct.pack("!I", 100_000) + bytes(50_000))
    receiver = MessageSocket(server)
    with pytest.raises(TimeoutError):
        receiver.recv_into(bytearray(100_000), timeout=0.05)
    send_and_end(client, bytes(20_000))
    for _ in range(2):
        with pytest.raises(IncompleteMessageError) as caught:
            receiver.recv_into(bytearray(100_000))
        assert (caught.value.received, caught.value.expected) == (70_004, 100_004)


@pytest.mark.parametrize("timeout", [None, 60])
def test_the_offset_of_an_error_counts_all_bytes_before_its_message(
    timeout: float | None, plain_pair: Pair
) -> None:
    client, server = plain_pair
    server.settimeout(timeout)
    receiver = MessageSocket(server, LengthPrefixFramer(max_size=100_000))
    for size in (0, 1, 2, 300):
        client.sendall(struct.pack("!I", size) + bytes(size))
        assert receiver.recv() == bytes(size)
    client.sendall(struct.pack("!I", 100_000) + bytes(50_000))
    with pytest.raises(TimeoutError):
        receiver.recv_into(bytearray(100_000), timeout=0.05)
    client.sendall(bytes(50_000))
    assert receiver.recv_into(bytearray(100_000)) == 100_000
    client.sendall(b"\xff\xff\xff\xff")
    with pytest.raises(MessageTooLargeError) as caught:
        receiver.recv()
    assert caught.value.offset == 5 * 4 + 303 + 100_000


def test_recv_into_needs_lengths_and_a_buffer(plain_pair: Pair) -> None:
    class Upper(LengthPrefixFramer):
        def read_message(self) -> Steps[bytes]:
            return (yield from super().read_message()).upper()

    messages: Any = MessageSocket(plain_pair[0])
    plain_pair[1].sendall(b"\0\0\0\4\1\0\2\0")
    with pytest.raises(TypeError, match="can be written to, not bytes"):
        messages.recv_into(b"12345")
    numbers = memoryview(bytearray(4)).cast("H")
    assert messages.recv_into(numbers) == 4
    assert numbers.tobytes() == b"\1\0\2\0"
    for framer in (LineFramer(), Upper()):
        messages = messages.switch(framer)
        with pytest.raises(TypeError, match=f"a LengthPrefixFramer, not {type(framer).__name__}"):
            messages.recv_into(bytearray(5))


def test_exact_bytes_cut_short_stay_for_the_next_call(pair: Pair) -> None:
    client, server = pair
    receiver = MessageSocket(server)
    client.sendall(b"\0\0\0")
    with pytest.raises(TimeoutError):
        receiver.recv_exactly(10, timeout=0.01)
    client.sendall(b"\2hi" + b"1234567")
    assert receiver.recv() == b"hi"
    assert receiver.recv_exactly(3) == b"123"
    with pytest.raises(TimeoutError):
        receiver.recv_exactly(10, timeout=0.01)
    assert receiver.recv_exactly(1) == b"4"
    client.shutdown(socket.SHUT_WR)
    with pytest.raises(IncompleteMessageError, match=r"^the stream ended after 3 of 8 b") as caught:
        receiver.recv_exactly(8)
    assert (caught.value.received, caught.value.expected) == (3, 8)
    assert (receiver.recv_exactly(3), receiver.recv_exactly(0)) == (b"567", b"")
    with pytest.raises(EndOfStreamError):
        receiver.recv_exactly(1)
    with pytest.raises(EndOfStreamError):
        receiver.recv()
    with pytest.raises(ValueError, match=r"^n is a number of bytes, 0 or more, not -1$"):
        receiver.recv_exactly(-1)


def test_exact_bytes_behind_a_skipped_message_that_is_cut_off_are_an_error(pair: Pair) -> None:
    client, server = pair
    receiver = MessageSocket(server, LengthPrefixFramer(max_size=9, oversize="skip"))
    send_and_end(client, struct.pack("!I", 100) + bytes(60))
    with pytest.raises(MessageTooLargeError):
        receiver.recv()
    for _ in range(2):
        with pytest.raises(IncompleteMessageError) as caught:
            receiver.recv_exactly(1)
        assert (caught.value.received, caught.value.expected) == (64, 104)


def test_pending_is_about_messages_before_and_after_exact_bytes(plain_pair: Pair) -> None:
    client, server = plain_pair
    receiver = MessageSocket(server, LineFramer())
    client.sendall(b"12345a\nline")
    with pytest.raises(TimeoutError):
        receiver.recv_exactly(60, timeout=0.1)
    assert receiver.recv_exactly(5) == b"12345"
    assert receiver.pending()
    assert (receiver.recv(), receiver.recv_exactly(1)) == ("a", b"l")
    assert not receiver.pending()
    client.sendall(b"\n")
    assert receiver.recv() == "ine"


# Resets


@pytest.mark.parametrize("own", [None, 10])
@pytest.mark.parametrize("noticed_by", ["recv", "recv_into", "send"])
@pytest.mark.parametrize("is_wrapped_late", [False, True])
def test_a_reset_never_looks_like_the_end(
    is_wrapped_late: bool, noticed_by: str, own: float | None, plain_pair: Pair
) -> None:
    client, server = plain_pair
    client.settimeout(own)
    if not is_wrapped_late:
        side = MessageSocket(client)
        server.sendall(struct.pack("!I", 100_000) + b"hello")
        with pytest.raises(TimeoutError):
            side.recv_into(bytearray(100_000), timeout=0.05)
    reset(server)
    wait_until(lambda: has_unread(client))
    if is_wrapped_late:
        side = MessageSocket(client)
    receives: dict[str, Callable[[], object]] = {
        "recv": side.recv,
        "iteration": lambda: list(side),
        "recv_into": lambda: side.recv_into(bytearray(100_000)),
        "recv_exactly": lambda: side.recv_exactly(100_000),
    }
    with pytest.raises(ConnectionResetError):  # the system reports it once
        side.send(b"hello") if noticed_by == "send" else receives[noticed_by]()
    for receive in receives.values():
        with pytest.raises(ConnectionResetError):
            receive()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        side.send(b"anybody?")


def test_a_reset_in_the_middle_of_a_send_is_raised_by_all_that_follows(plain_pair: Pair) -> None:
    client, server = small_buffers(plain_pair)
    side = MessageSocket(client)
    sending = Task(side.send, bytes(3 * MIB))
    assert server.recv(10)
    reset(server)
    sending.result()  # the message has begun, so its rest is kept
    assert side.unsent
    with pytest.raises(ConnectionResetError):
        list(side)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        side.send(b"more")
    with pytest.raises((ConnectionResetError, BrokenPipeError)), side:
        pass
    assert side.fileno() == -1


# Taking over, switch and detach


def test_a_part_that_recv_msg_received_is_taken_over(pair: Pair) -> None:
    client, server = pair
    server.settimeout(0.01)
    client.sendall(b"\0\0\0\2hi\0\0\0\5he")
    assert recv_msg(server) == b"hi"
    with pytest.raises(TimeoutError):
        recv_msg(server)
    with pytest.raises(ValueError, match="received in part"):
        MessageSocket(server, LineFramer())
    receiver = MessageSocket(server)
    client.sendall(b"llo\0\0\0\3you")
    assert (receiver.recv(timeout=10), receiver.recv(timeout=10)) == (b"hello", b"you")
    client.sendall(b"GET ")
    with pytest.raises(MessageTooLargeError) as caught:
        receiver.recv(timeout=10)
    assert caught.value.offset == 22  # since recv_msg began


def test_its_socket_and_its_framer_can_be_seen(pair: Pair) -> None:
    side = MessageSocket(pair[1], LineFramer())
    assert side.sock is pair[1]
    assert side.fileno() == pair[1].fileno()
    assert side.framer == LineFramer()
    assert repr(side).startswith("<MessageSocket LineFramer(")
    side.close()
    assert "finished by close()" in repr(side)


def test_a_switch_goes_on_with_the_same_connection(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"\0\0\0\5hello" + b"line\n" * 2 + b"\0\1")
    old = MessageSocket(server)
    assert old.recv() == b"hello"
    lines = old.switch(LineFramer())
    assert (lines.recv(), lines.recv()) == ("line", "line")
    records = lines.switch(StructFramer("!H"))
    assert records.recv() == (1,)
    finished: Any
    for finished in (old, lines):
        calls: list[Callable[[], object]] = [finished.recv, finished.end, finished.detach]
        calls += [partial(finished.send, b""), partial(finished.send_many, [])]
        calls += [partial(list, finished)]
        for call in calls:
            with pytest.raises(io.UnsupportedOperation, match=r"finished by switch\(\)"):
                call()
    with pytest.raises(ValueError, match="expected a timeout"):
        old.close(timeout=-1)  # closes the connection, as the new one's does
    with old:  # as in: with connect(...) as conn: lines = conn.switch(...)
        records.send((3,))
    assert client.recv(10) == b"\0\3"
    assert client.recv(10) == b""
    with pytest.raises(OSError, match="this MessageSocket is closed"):
        records.recv()


def test_a_switch_keeps_what_is_unsent_and_the_attributes_of_a_subclass() -> None:
    class Named(MessageSocket[bytes]):
        name = "nobody"

    client, server = unix_pair()
    old = Named(ScriptedSends.around(client, 3, BlockingIOError()))
    old.name = "alice"
    with server:
        old.sock.setblocking(False)
        old.send(b"hello")
        new = old.switch(LineFramer())
        assert (new.unsent, vars(new)["name"]) == (6, "alice")
        new.send("line")
        assert server.recv(100) == b"\0\0\0\5helloline\n"
        new.close()


def test_a_switch_after_bad_bytes_gives_them_to_the_new_format(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"\0\0\0\2hiGET / HTTP/1.1\r\n")
    receiver = MessageSocket(server)
    assert receiver.recv() == b"hi"
    with pytest.raises(DecodeError):
        receiver.recv()
    assert receiver.switch(LineFramer()).recv() == "GET / HTTP/1.1"


@pytest.mark.parametrize("own", [None, 5, 0])
def test_detach_gives_the_socket_back_as_it_was(pair: Pair, own: float | None) -> None:
    client, server = pair
    client.sendall(b"\0\0\0\2hi\0\0\0\5he")
    server.settimeout(own)
    receiver = MessageSocket(server)
    assert receiver.recv(timeout=10) == b"hi"
    sock, rest = receiver.detach()
    assert (sock, rest, sock.gettimeout()) == (server, b"\0\0\0\5he", own)
    sock.settimeout(10)
    client.sendall(b"llo")
    assert sock.recv(10) == b"llo"
    with pytest.raises(io.UnsupportedOperation, match=r"finished by detach\(\)"):
        receiver.recv()
    receiver.close()
    send_msg(client, b"for anybody")
    assert recv_msg(sock) == b"for anybody"
    with pytest.raises(MessageTooLargeError) as caught:  # detach has told what was received
        client.sendall(b"GET ")
        recv_msg(sock)
    assert caught.value.offset == 6 + 15
    assert MessageSocket(sock).framer == LengthPrefixFramer()


def test_detach_is_refused_while_a_skipped_message_is_still_arriving(plain_pair: Pair) -> None:
    client, server = plain_pair
    receiver = MessageSocket(server, LengthPrefixFramer(max_size=9, oversize="skip"))
    client.sendall(struct.pack("!I", 100) + bytes(60))
    with pytest.raises(MessageTooLargeError):
        receiver.recv()
    with pytest.raises(ValueError, match="receive the next message first"):
        receiver.detach()
    client.sendall(bytes(40) + b"\0\0\0\2hi")
    assert receiver.recv() == b"hi"
    assert receiver.detach() == (server, b"")


def test_a_thread_that_waits_to_detach_keeps_nobody_from_sending(plain_pair: Pair) -> None:
    client, server = map(MessageSocket, plain_pair)
    receiving = Task(client.recv)
    receiving.wait_until_it_waits()
    detaching = Task(client.detach)
    detaching.wait_until_it_waits()
    client.send(b"question", timeout=60)
    server.send(server.recv().upper())
    assert receiving.result() == b"QUESTION"
    assert detaching.result() == (plain_pair[0], b"")


# end and close


@every_pair
def test_end_is_for_one_direction(make_pair: Callable[[], Pair]) -> None:
    one, other = map(MessageSocket, make_pair())
    with one, other:
        one.send(b"question")
        if make_pair is tls_pair:
            with pytest.raises(
                io.UnsupportedOperation, match=r"^TLS cannot .* last, or close the connection$"
            ):
                one.end()
        else:
            one.end()
            assert list(other) == [b"question"]
            with pytest.raises(BrokenPipeError):
                one.send(b"more")
        other.send_many([b"an", bytes(MIB // 8)])
        assert (one.recv(), one.recv()) == (b"an", bytes(MIB // 8))


@every_pair
@pytest.mark.parametrize("own", [None, 10])
@pytest.mark.parametrize("way", ["recv", "timeout", "recv_into"])
def test_close_wakes_threads_that_receive_before_the_number_is_free(
    make_pair: Callable[[], Pair], own: float | None, way: str
) -> None:
    """Else they would find another connection under that number, and wait for that."""
    client, server = make_pair()
    client.settimeout(own)
    waiting = MessageSocket(client)
    with server:
        server.sendall(struct.pack("!I", 100_000) + b"the first bytes")
        receive: Callable[[], object] = {
            "recv": waiting.recv,
            "timeout": lambda: waiting.recv(timeout=60),
            "recv_into": lambda: waiting.recv_into(bytearray(100_000)),
        }[way]
        tasks = [Task(receive), Task(list, waiting)]  # one waits for bytes, the other its turn
        for task in tasks:
            task.wait_until_it_waits()
        waiting.close()
        other, its_peer = unix_pair()  # most likely under the number that is free now
        with other, its_peer:
            its_peer.sendall(b"\0\0\0\5other")
            for task in tasks:
                error = task.error()
                assert isinstance(error, OSError)
                assert error.args == (errno.EBADF, "this MessageSocket is closed")
            assert other.recv(100) == b"\0\0\0\5other"
        assert server.recv(10) == b""
    for call in (waiting.recv, lambda: waiting.send(b"")):
        with pytest.raises(OSError, match=r"\] this MessageSocket is closed$") as caught:
            call()
        assert caught.value.errno == errno.EBADF
    assert waiting.pending()
    assert waiting.fileno() == -1


of_poll = needs("poll", "select does not see that a Unix socket takes no more for good")


@pytest.mark.parametrize("own", [None, 10])
@pytest.mark.parametrize("in_thread", [True, False])
@pytest.mark.parametrize(
    "make_pair",
    [tcp_pair, tls_pair, *(pytest.param(p, marks=of_poll) for p in (unix_pair, wrapped_pair))],
)
def test_leaving_by_an_exception_wakes_a_thread_that_sends_and_does_not_wait(
    make_pair: Callable[[], Pair], own: float | None, in_thread: bool
) -> None:
    client, server = small_buffers(make_pair())
    client.settimeout(own)
    with server:
        with pytest.raises(ZeroDivisionError), MessageSocket(client) as sender:
            if in_thread:
                sending = Task(sender.send, bytes(MIB))
                sending.wait_until_it_waits()
            else:
                sender.send(bytes(MIB), timeout=0.01)
                assert sender.unsent
            raise ZeroDivisionError
        if in_thread:
            sending.result()  # it had begun
        assert (sender.unsent, client.fileno()) == (0, -1)


def test_leaving_by_an_exception_tries_once_to_send_the_rest() -> None:
    client, server = unix_pair()
    client.settimeout(0)
    with server:
        busy = ScriptedSends.around(client, 3, BlockingIOError(), BlockingIOError())
        with pytest.raises(ZeroDivisionError), MessageSocket(busy) as sender:
            sender.send(b"hello")
            raise ZeroDivisionError
        assert (server.recv(100), server.recv(100)) == (b"\0\0\0", b"")


def test_close_raises_if_it_could_not_send_the_rest_and_the_peer_sees_a_reset(
    plain_pair: Pair,
) -> None:
    client, server = small_buffers(plain_pair)
    sender = MessageSocket(client)
    sender.send(bytes(8 * MIB), timeout=0.05)
    assert sender.unsent
    with pytest.raises(TimeoutError):
        sender.close(timeout=0.05)
    assert client.fileno() == -1
    sender.close()
    with pytest.raises(ConnectionResetError):
        while server.recv(MIB):
            pass


def test_close_tries_for_ten_seconds() -> None:
    assert inspect.signature(MessageSocket.close).parameters["timeout"].default == 10


def test_connect_connects(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with connect(address, LineFramer(), timeout=7) as client:
            accepted, _ = listener.accept()
            with accepted:
                assert client.sock.gettimeout() == 7
                assert client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                client.send("hello")
                assert accepted.recv(10) == b"hello\n"
        with connect(address) as plain:
            assert (plain.sock.gettimeout(), plain.framer) == (None, LengthPrefixFramer())
    with pytest.raises(ConnectionRefusedError, match=rf"{address[1]}; is the server running\?"):
        connect(address)
    if hasattr(socket, "AF_UNIX"):
        path = str(tmp_path / "socket")
        with pytest.raises(FileNotFoundError, match="is the server running"):
            connect(path)
        with socket.socket(socket.AF_UNIX) as local:
            local.bind(path)
            local.listen()
            with connect(path, timeout=7) as client_:
                assert client_.sock.gettimeout() == 7


def test_a_connection_that_is_not_made_in_time_is_not_called_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def create_connection(*_: object) -> socket.socket:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", create_connection)
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        connect(("127.0.0.1", 1))


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_tls_to_a_path_names_no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, server_context = tls_contexts()
    names: list[str | None] = []
    monkeypatch.setattr(server_context, "sni_callback", lambda _, name, __: names.append(name))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        accepting = Task(lambda: server_context.wrap_socket(listener.accept()[0], server_side=True))
        with connect(path, ssl=context, timeout=60) as client, accepting.result() as accepted:
            client.send(b"hello")
            assert recv_msg(accepted) == b"hello"
    assert names == [None]


def test_connect_closes_the_socket_if_the_peer_does_not_speak_tls() -> None:
    def serve() -> None:
        sock, _ = listener.accept()
        with sock, suppress(ConnectionResetError):
            sock.sendall(b"220 mail.example ESMTP\r\n")
            while sock.recv(1000):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = Task(serve)
        with pytest.raises(ssl.SSLError) as caught:
            connect(listener.getsockname(), timeout=60, ssl=ssl.create_default_context())
        serving.result()  # it has seen the end, though the error is still there
        del caught


# Time and memory


def test_a_line_and_exact_bytes_in_turn_take_linear_time() -> None:
    def seconds(pairs: int) -> float:
        client, server = unix_pair()
        with client, server:
            sending = Task(client.sendall, b"$3\r\nfoo\r\n" * pairs)
            conn = MessageSocket(server, LineFramer())
            start = time.process_time()
            for _ in range(pairs):
                assert (conn.recv(), conn.recv_exactly(5)) == ("$3", b"foo\r\n")
            took = time.process_time() - start
            sending.result()
        return took

    few = min(seconds(300) for _ in range(3))
    assert seconds(6000) < 20 * few * 5  # and not 20 * 20


def test_idle_connections_hold_no_buffers() -> None:
    encode = LengthPrefixFramer().encode
    states = [(encode(bytes(10)) * 100, 100), (encode(bytes(60_000)), 1)]
    states += [(encode(bytes(300_000)), 1), (struct.pack("!I", 16 * MIB), 0)]  # only announced
    pairs = [unix_pair() for _ in range(40)]
    gc.collect()
    tracemalloc.start()
    try:
        receivers = []
        for (here, there), (wire, count) in zip(pairs, states * 10, strict=True):
            receivers.append(MessageSocket(there))
            sending = Task(here.sendall, wire)
            for _ in range(count):
                receivers[-1].recv()
            sending.result()
            del sending
            with pytest.raises(TimeoutError):
                receivers[-1].recv(timeout=0)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        for sock in itertools.chain(*pairs):
            sock.close()
    assert held < len(pairs) * 6000  # bytes


@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="without a GIL, a BytesIO that grows takes several times its size",
)
@every_receiver
def test_a_large_message_costs_its_size_once(receiver: Callable[..., Any]) -> None:
    size = 32 * MIB
    here, there = unix_pair()
    wire = LengthPrefixFramer(max_size=size).encode(bytes(size))
    with here, there:
        sending = Task(here.sendall, wire)
        tracemalloc.start()
        try:
            message = receiver(there, LengthPrefixFramer(max_size=size))()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        sending.result()
    assert len(message) == size
    assert 0.9 <= peak / size <= 1.15


@not_on_pypy("it counts no references")
def test_closed_objects_are_not_reference_cycles() -> None:
    gc.collect()
    gc.disable()
    try:
        here, there = map(MessageSocket, unix_pair())
        references = [weakref.ref(here), weakref.ref(there)]
        here.close()
        there.close()
        del here, there
        assert [reference() for reference in references] == [None, None]
    finally:
        gc.enable()

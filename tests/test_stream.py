"""``send_msg`` and ``recv_msg`` on real sockets, and on badly behaved ones."""

from __future__ import annotations

import array
import errno
import gc
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import framing
from framing import (
    DecodeError,
    DelimiterFramer,
    EncodeError,
    EndOfStreamError,
    Framer,
    IncompleteMessageError,
    LengthPrefixFramer,
    LineFramer,
    MessageTooLargeError,
    ReadExactly,
    Steps,
    StructFramer,
    recv_msg,
    send_msg,
)

from .fakes import INTERRUPTIONS, ScriptedSocket
from .pairs import (
    Pair,
    Task,
    fill,
    receive_exactly,
    reset,
    small_buffers,
    tcp_pair,
    tls_pair,
    unix_pair,
    wait_until_bytes_come,
    wrapped_pair,
)
from .strategies import FORMATS, Format, every_format, samples

# Messages arrive


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
    for message in samples(format)[:3]:
        wire = format.framer.encode(message)
        for i in range(len(wire)):
            with pytest.raises(BlockingIOError):
                recv_msg(server, framer=format.framer)
            client.sendall(wire[i : i + 1])
            wait_until_bytes_come(server)
        client.sendall(b"rest")
        wait_until_bytes_come(server)
        assert recv_msg(server, framer=format.framer) == format.received(message)
        wait_until_bytes_come(server)
        assert server.recv(100) == b"rest"


def test_framers_may_alternate_between_messages(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"\0\0\0\2hi" + b"line\r\n" + b"\0\0\0\3you" + b"\0\1")
    assert recv_msg(server) == b"hi"
    assert recv_msg(server, framer=LineFramer()) == "line"
    assert recv_msg(server) == b"you"
    assert recv_msg(server, framer=StructFramer("!H")) == (1,)


@pytest.mark.parametrize(
    "framer", [LengthPrefixFramer(), DelimiterFramer(b"\r\n"), StructFramer("!500000s")], ids=repr
)
def test_large_messages_go_through_small_buffers(pair: Pair, framer: Framer[Any]) -> None:
    client, server = pair
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    payload = bytes(range(48, 248)) * 2500
    messages = (
        [(payload,)]
        if isinstance(framer, StructFramer)
        else [payload[:20_000], b"", payload[:100_000]]
    )

    def send_all() -> None:
        for message in messages:
            send_msg(client, message, framer=framer)

    sending = Task(send_all)
    for message in messages:
        assert recv_msg(server, framer=framer) == message
    sending.result()


def test_a_buffer_of_items_is_sent_as_its_bytes(pair: Pair) -> None:
    client, server = pair
    numbers = array.array("H", range(1000))
    send_msg(client, memoryview(numbers))
    assert recv_msg(server) == numbers.tobytes()


class ManyParts(Framer[list[bytes]]):
    """Messages of any number of parts."""

    def __init__(self) -> None:
        super().__init__(max_size=10**9)

    def encode_parts(self, message: list[bytes]) -> list[bytes]:
        return message

    def read_message(self) -> Steps[list[bytes]]:
        return [(yield ReadExactly(1))]


@pytest.mark.parametrize("make_pair", [unix_pair, wrapped_pair])
@pytest.mark.parametrize("size", [0, 1, 20, 5000])
@pytest.mark.parametrize("count", [1, 2, 1024, 3000])
def test_any_number_of_parts_is_sent(count: int, size: int, make_pair: Callable[[], Pair]) -> None:
    """More of them than the system takes in one call, too."""
    client, server = make_pair()
    parts = [b"%d" % (i % 10) * size for i in range(count)]
    with client, server, server.makefile("rb") as file:
        reading = Task(file.read)
        send_msg(client, [*parts, b"end"], framer=ManyParts())
        client.shutdown(socket.SHUT_WR)
        assert reading.result() == b"".join(parts) + b"end"


# Timeouts and interruptions


@every_format
@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_an_interruption_at_any_byte_loses_nothing(
    format: Format[Any], interruption: Callable[[], Exception]
) -> None:
    for message in samples(format):
        wire = format.framer.encode(message)
        sizes = [size for _ in wire for size in (interruption(), 1)]
        sock: Any = ScriptedSocket(wire * 2, sizes)
        for _ in wire:
            with pytest.raises(type(interruption())):
                recv_msg(sock, framer=format.framer)
        assert recv_msg(sock, framer=format.framer) == format.received(message)
        assert recv_msg(sock, framer=format.framer) == format.received(message)
        with pytest.raises(EndOfStreamError):
            recv_msg(sock, framer=format.framer)


@every_format
def test_a_timeout_at_any_byte_loses_nothing(format: Format[Any], plain_pair: Pair) -> None:
    client, server = plain_pair
    server.settimeout(0.001)
    for message in samples(format)[:2]:
        wire = format.framer.encode(message)
        for i in range(min(len(wire), 20)):
            with pytest.raises(TimeoutError):
                recv_msg(server, framer=format.framer)
            client.sendall(wire[i : i + 1])
        client.sendall(wire[20:])
        server.settimeout(10)
        assert recv_msg(server, framer=format.framer) == format.received(message)
        server.settimeout(0.001)


def test_a_part_received_belongs_to_its_format(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"\0\0\0\5he")
    server.settimeout(0.001)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            recv_msg(server)
        with pytest.raises(ValueError, match=r"LengthPrefixFramer.* was received in part"):
            recv_msg(server, framer=LineFramer())
    client.sendall(b"llo")
    server.settimeout(10)
    assert recv_msg(server, framer=LengthPrefixFramer("!I")) == b"hello"


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
        with pytest.raises(ConnectionError, match="cut off in the middle"):
            send_msg(client, b"next")


# The end of the stream, and what breaks it


@every_format
def test_a_cut_at_any_byte_is_an_error(format: Format[Any]) -> None:
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
                assert format.ends_with_the_stream
            else:
                assert format.ends_with_the_stream
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
    reset(client)
    with pytest.raises(ConnectionResetError):
        recv_msg(server)


def test_bytes_that_break_the_format_do_so_every_time(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    for _ in range(2):
        with pytest.raises(MessageTooLargeError, match=r"is the peer speaking HTTP\?") as caught:
            recv_msg(server)
        assert (caught.value.size, caught.value.limit) == (0x47455420, 16 * 1024 * 1024)
    with pytest.raises(MessageTooLargeError, match="HTTP"):  # in another format, too
        recv_msg(server, framer=LineFramer())


@pytest.mark.parametrize("kind", [LengthPrefixFramer, DelimiterFramer])
def test_a_limit_holds_to_the_byte(kind: Any, pair: Pair) -> None:
    client, server = pair
    for size in (9, 10):
        send_msg(client, b"x" * size, framer=kind(max_size=10))
    assert recv_msg(server, framer=kind(max_size=9)) == b"x" * 9
    with pytest.raises(MessageTooLargeError) as caught:
        recv_msg(server, framer=kind(max_size=9))
    assert caught.value.offset == len(kind().encode(b"x" * 9))


def breaking(framer: Framer[Any]) -> bytes | None:
    """Return bytes that break the format at once; ``None`` if these do not."""
    for wire in (b"\xff" * 300, bytes(300), b"x" * 300):
        try:
            framer.decoder().feed(wire).next_message()
        except DecodeError:
            return wire
    return None


@pytest.mark.parametrize("format", [each for each in FORMATS if breaking(each.framer)], ids=repr)
def test_an_error_is_placed_behind_all_that_was_received_before(format: Format[Any]) -> None:
    wires = list(map(format.framer.encode, samples(format) * 2))
    here, there = unix_pair()
    with here, there:
        for wire in wires:
            here.sendall(wire)
            recv_msg(there, framer=format.framer)
        here.sendall(breaking(format.framer) or b"")
        with pytest.raises(DecodeError) as caught:
            recv_msg(there, framer=format.framer)
    assert caught.value.offset == sum(map(len, wires))


def test_a_message_that_cannot_be_sent_leaves_the_stream_whole(pair: Pair) -> None:
    client, server = pair
    with pytest.raises(EncodeError):
        send_msg(client, b"too long", framer=LengthPrefixFramer(max_size=4))
    with pytest.raises(TypeError, match="encode"):
        send_msg(client, "text")  # type: ignore[call-overload]
    send_msg(client, b"fine")
    assert recv_msg(server) == b"fine"


# Sockets of other kinds


def test_a_socket_like_object_needs_recv_and_sendall_only() -> None:
    class Channel:
        """As an SSH library has it."""

        def __init__(self, sock: socket.socket) -> None:
            self.recv = sock.recv
            self.sendall = sock.sendall

    client, server = small_buffers(unix_pair())
    with client, server:
        here: Any = Channel(client)
        there: Any = Channel(server)
        for framer in (LengthPrefixFramer(), DelimiterFramer()):
            for message in (b"", b"hello", bytes(20_000)):
                sending = Task(send_msg, here, message, framer=framer)
                assert recv_msg(there, framer=framer) == message
                sending.result()
        client.close()
        with pytest.raises(EndOfStreamError):
            recv_msg(there)


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


def test_a_datagram_socket_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for call in (lambda: send_msg(sock, b"hello"), lambda: recv_msg(sock)):
            with pytest.raises(ValueError, match="expected a stream socket"):
                call()


def test_an_unconnected_socket_raises_its_own_error() -> None:
    with socket.socket() as sock:
        for attempt in (lambda: send_msg(sock, b"hello"), lambda: recv_msg(sock)):
            with pytest.raises(OSError) as caught:  # noqa: PT011  # the number tells
                attempt()
            assert caught.value.errno in {errno.ENOTCONN, errno.EPIPE}


def test_a_socket_is_not_kept_alive() -> None:
    client, server = unix_pair()
    sockets = [weakref.ref(client), weakref.ref(server)]
    send_msg(client, b"hello")
    recv_msg(server)
    client.close()
    server.close()
    del client, server
    gc.collect()
    assert [each() for each in sockets] == [None, None]


def test_importing_the_package_stays_cheap() -> None:
    heavy = {"asyncio", "ssl", "dataclasses", "inspect", "argparse", "socketserver", "logging"}
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, {framing.__name__}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not heavy & set(loaded)

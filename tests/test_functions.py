"""``send_msg`` and ``recv_msg``: on sockets, on what only looks like one, and on files."""

from __future__ import annotations

import array
import errno
import gc
import io
import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

import framing
from framing import (
    BadMessageError,
    DecodeError,
    DelimiterFramer,
    EndOfStreamError,
    Framer,
    IncompleteMessageError,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    MessageTooLargeError,
    ReadExactly,
    Steps,
    StructFramer,
    recv_msg,
    send_msg,
)

from .conditions import needs, not_on_pypy
from .fakes import INTERRUPTIONS, ScriptedSocket, made_of
from .pairs import (
    MIB,
    Pair,
    Task,
    fill,
    receive_exactly,
    send_and_end,
    small_buffers,
    smallest_buffer,
    tcp_pair,
    tls_pair,
    unix_pair,
    wait_until_bytes_come,
    wrapped_pair,
)
from .strategies import FORMATS, Format, every_format, samples

# Messages arrive


@every_format
def test_messages_arrive_and_nothing_behind_them_is_taken(format: Format[Any], pair: Pair) -> None:
    client, server = pair
    for message in samples(format):
        client.sendall(format.framer.encode(message) + b"rest")
        assert recv_msg(server, framer=format.framer) == format.received(message)
        assert server.recv(100) == b"rest"
        send_msg(server, message, framer=format.framer)
        assert recv_msg(client, framer=format.framer) == format.received(message)


def test_the_default_is_a_length_and_the_payload(pair: Pair) -> None:
    client, server = pair
    send_msg(client, b"hello")
    assert server.recv(100) == b"\0\0\0\5hello"
    server.sendall(b"\0\0\0\0\0\0\0\2hi")
    assert (recv_msg(client), recv_msg(client)) == (b"", b"hi")


def test_framers_may_alternate_between_messages(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"\0\0\0\2hi" + b"caf\xe9\ncaf\xe9\r\n" + b"\0\0\0\3you" + b"\0\1")
    assert recv_msg(server) == b"hi"
    with pytest.raises(BadMessageError):
        recv_msg(server, framer=LineFramer())
    assert recv_msg(server, framer=LineFramer("latin-1")) == "caf\xe9"
    assert recv_msg(server) == b"you"
    assert recv_msg(server, framer=StructFramer("!H")) == (1,)


@pytest.mark.parametrize(
    ("framer", "messages"),
    [
        (LengthPrefixFramer(), [bytes(20_000), b"", bytes(range(250)) * 800]),
        (DelimiterFramer(b"\r\n"), [b"x" * 10_000, b"", b"y"]),  # byte by byte on TLS
        (StructFramer("!500000s"), [(bytes(range(250)) * 2000,)]),
    ],
    ids=["prefix", "delimiter", "record"],
)
def test_large_messages_go_through_small_buffers(
    framer: Framer[Any], messages: list[Any], pair: Pair
) -> None:
    client, server = small_buffers(pair)
    sending = Task(lambda: [send_msg(client, each, framer=framer) for each in messages])
    assert [recv_msg(server, framer=framer) for _ in messages] == messages
    sending.result()


def test_a_buffer_of_items_is_sent_as_its_bytes(pair: Pair) -> None:
    numbers = array.array("H", range(1000))
    send_msg(pair[0], memoryview(numbers))
    assert recv_msg(pair[1]) == numbers.tobytes()


class ManyParts(Framer[list[bytes]]):
    """Messages of any number of parts."""

    def __init__(self) -> None:
        super().__init__(max_size=10**9)

    def encode_parts(self, message: list[bytes]) -> list[bytes]:
        return message

    def read_message(self) -> Steps[list[bytes]]:
        return [(yield ReadExactly(1))]


@pytest.mark.parametrize("make_pair", [unix_pair, wrapped_pair])
@pytest.mark.parametrize("size", [0, 20, 5000])
@pytest.mark.parametrize("count", [1, 2, 16, 3000])  # more than the system takes at once, too
def test_any_number_of_parts_is_sent(count: int, size: int, make_pair: Callable[[], Pair]) -> None:
    client, server = make_pair()
    parts = [b"%d" % (i % 10) * size for i in range(count)]
    with client, server, server.makefile("rb") as file:
        reading = Task(file.read)
        send_msg(client, [*parts, b"end"], framer=ManyParts())
        client.shutdown(socket.SHUT_WR)
        assert reading.result() == b"".join(parts) + b"end"


# Timeouts and interruptions


@every_format
def test_a_timeout_at_any_byte_loses_nothing_and_takes_no_more(
    format: Format[Any], plain_pair: Pair
) -> None:
    client, server = plain_pair
    receive = partial(recv_msg, server, framer=format.framer)
    for message in samples(format)[:3]:
        for i, byte in enumerate(format.framer.encode(message)):
            server.settimeout(0.001 if i % 2 else 0)
            with pytest.raises(TimeoutError if i % 2 else BlockingIOError):
                receive()
            client.sendall(bytes([byte]))
            wait_until_bytes_come(server)
        client.sendall(b"rest")
        server.settimeout(10)
        assert receive() == format.received(message)
        assert server.recv(100) == b"rest"


@pytest.mark.parametrize("sizes", [[1] * 9, [4, 5], [4, 2, 3], [2, 4, 3], [6, 3]], ids=str)
def test_without_a_framer_too_a_timeout_loses_nothing(sizes: list[int], pair: Pair) -> None:
    client, server = pair
    for message in (b"hello", b"world"):
        wire = b"\0\0\0\5" + message
        for size in sizes:
            server.settimeout(0.001)
            with pytest.raises(TimeoutError):
                recv_msg(server)
            client.sendall(wire[:size])
            wire = wire[size:]
        server.settimeout(10)
        assert recv_msg(server) == message


@every_format
def test_what_only_looks_like_a_socket_may_interrupt_at_any_byte(format: Format[Any]) -> None:
    for message in samples(format):
        wire = format.framer.encode(message)
        errors = [make() for make, _ in zip(cycle(INTERRUPTIONS), wire, strict=False)]
        sock: Any = ScriptedSocket(wire * 2, [each for error in errors for each in (error, 1)])
        for error in errors:
            with pytest.raises(type(error)):
                recv_msg(sock, framer=format.framer)
        for _ in range(2):
            assert recv_msg(sock, framer=format.framer) == format.received(message)
        with pytest.raises(EndOfStreamError):
            recv_msg(sock, framer=format.framer)


@pytest.mark.parametrize("size", [1, 4, 6])
def test_a_part_received_belongs_to_its_format(size: int, pair: Pair) -> None:
    client, server = pair
    wire = b"\0\0\0\5hello"
    client.sendall(wire[:size])
    server.settimeout(0.001)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            recv_msg(server)
        with pytest.raises(ValueError, match=r"LengthPrefixFramer.* was received in part"):
            recv_msg(server, framer=LineFramer())
    client.sendall(wire[size:])
    server.settimeout(10)
    assert recv_msg(server, framer=LengthPrefixFramer("!I")) == b"hello"


def test_a_part_that_no_rest_follows_stays_what_it_is(pair: Pair) -> None:
    client, server = pair
    send_and_end(client, b"\0\0\0\5he")
    for _ in range(2):
        with pytest.raises(IncompleteMessageError):
            recv_msg(server)
        with pytest.raises(ValueError, match=r"LengthPrefixFramer.* was received in part"):
            recv_msg(server, framer=LineFramer())


def test_before_the_first_byte_a_timeout_leaves_the_choice_of_the_format(pair: Pair) -> None:
    client, server = pair
    server.settimeout(0.001)
    with pytest.raises(TimeoutError):
        recv_msg(server)
    for framer in (LineFramer(), DelimiterFramer(b";"), LineFramer()):
        with pytest.raises(TimeoutError):
            recv_msg(server, framer=framer)
    server.settimeout(10)
    client.sendall(b"\0\0\0\2hi")
    assert recv_msg(server) == b"hi"


def test_behind_a_message_that_is_skipped_another_format_may_follow(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"\0\0\0\5he")
    with pytest.raises(MessageTooLargeError):
        recv_msg(server, framer=LengthPrefixFramer(max_size=4, oversize="skip"))
    client.sendall(b"llo" + b"a line\n")
    assert recv_msg(server, framer=LineFramer()) == "a line"


@needs("sendmsg", "otherwise sendall sends, which does not say how much went out")
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
            send_msg(client, bytes(16 * MIB))
        for use in (lambda: send_msg(client, b"next"), lambda: MessageSocket(client)):
            with pytest.raises(ConnectionError, match="cut off in the middle"):
                use()


def test_a_small_send_cut_off_in_the_middle_does_so_too() -> None:
    client, server = smallest_buffer()
    client.settimeout(0.05)
    with client, server:
        with pytest.raises(TimeoutError):
            send_msg(client, bytes(8000))
        with pytest.raises(ConnectionError, match="cut off in the middle"):
            send_msg(client, b"next")


def test_a_send_that_needed_a_second_call_leaves_no_doubt_about_the_next() -> None:
    client, server = smallest_buffer()
    with client, server:
        receiving = Task(recv_msg, server)
        send_msg(client, bytes(8000))
        assert receiving.result() == bytes(8000)
        client.settimeout(0)
        filler = fill(client)
        with pytest.raises(BlockingIOError):
            send_msg(client, b"x")
        receive_exactly(server, filler)
        send_msg(client, b"next")
        assert recv_msg(server) == b"next"


# The end of the stream, and what breaks it


def test_a_closed_connection_is_the_end_of_the_stream(pair: Pair) -> None:
    client, server = pair
    send_msg(client, b"last")
    client.shutdown(socket.SHUT_WR)  # close() resets TLS, whose session tickets nobody has read
    assert recv_msg(server) == b"last"
    framers: list[Framer[Any]] = [LengthPrefixFramer(), LengthPrefixFramer(), LineFramer()]
    for framer in framers:
        with pytest.raises(EndOfStreamError, match="ended"):
            recv_msg(server, framer=framer)


def test_bytes_that_break_the_format_do_so_every_time(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    framers: list[Framer[Any]] = [LengthPrefixFramer(), LengthPrefixFramer(), LineFramer()]
    for framer in framers:  # in another format, too
        with pytest.raises(MessageTooLargeError, match=r"is the peer speaking HTTP\?") as caught:
            recv_msg(server, framer=framer)
        assert (caught.value.size, caught.value.limit) == (0x47455420, 16 * MIB)


def breaking(framer: Framer[Any]) -> bytes | None:
    """Return bytes that break the format at once; ``None`` if these do not."""
    for wire in (b"\xff" * 300, bytes(300), b"x" * 300):
        try:
            framer.decoder().feed(wire).next_message()
        except DecodeError:
            return wire
    return None


@pytest.mark.parametrize("format", [each for each in FORMATS if breaking(each.framer)], ids=repr)
def test_an_error_is_placed_behind_all_that_was_received_before(
    format: Format[Any], plain_pair: Pair
) -> None:
    client, server = plain_pair
    wires = list(map(format.framer.encode, samples(format) * 2))
    for wire in wires:
        client.sendall(wire)
        recv_msg(server, framer=format.framer)
    client.sendall(breaking(format.framer) or b"")
    with pytest.raises(DecodeError) as caught:
        recv_msg(server, framer=format.framer)
    assert caught.value.offset == sum(map(len, wires))


# Streams of other kinds


class Channel:
    """A socket by composition, as an SSH library has it."""

    def __init__(self, sock: socket.socket) -> None:
        self.recv = sock.recv
        self.sendall = sock.sendall


@pytest.mark.parametrize("framer", [LengthPrefixFramer("!H"), DelimiterFramer()], ids=repr)
def test_a_socket_like_object_needs_recv_and_sendall_only(
    framer: Framer[bytes], plain_pair: Pair
) -> None:
    here: Any = Channel(plain_pair[0])
    there: Any = Channel(plain_pair[1])
    for message in (b"", b"hello", bytes(3000)):
        send_msg(here, message, framer=framer)
        assert recv_msg(there, framer=framer) == message
    plain_pair[0].close()
    with pytest.raises(EndOfStreamError):
        recv_msg(there)


def test_an_error_of_a_socket_like_object_stays_as_it_is() -> None:
    with socket.socket() as unconnected:
        channel: Any = Channel(unconnected)
        with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)) as caught:
            recv_msg(channel)
    assert caught.value.strerror == os.strerror(errno.ENOTCONN)  # no advice: it has no connect()


def test_a_subclass_that_overrides_sending_is_used() -> None:
    class Counting(socket.socket):
        sent = 0

        def sendall(self, data: Any, flags: int = 0, /) -> None:
            self.sent += memoryview(data).nbytes
            super().sendall(data, flags)

    client, server = unix_pair()
    with made_of(client, Counting) as counting, server:
        send_msg(counting, b"hello")
        assert counting.sent == 9
        assert recv_msg(server) == b"hello"


def test_messages_go_through_the_pipes_of_a_process() -> None:
    program = (
        "import sys, framing\n"
        "for message in iter(lambda: framing.recv_msg(sys.stdin.buffer), b'bye'):\n"
        "    framing.send_msg(sys.stdout.buffer, message.upper())\n"
    ).replace("framing", framing.__name__)
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    with process:
        for message in (b"hello", b"", b"x" * 100_000):
            send_msg(process.stdin, message)
            assert recv_msg(process.stdout) == message.upper()
        send_msg(process.stdin, b"bye")
        with pytest.raises(EndOfStreamError):
            recv_msg(process.stdout)
    assert process.returncode == 0


def test_a_file_that_grows_continues_after_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with open(path, "wb") as out, open(path, "rb") as log:
        for line in ("one", "two"):
            with pytest.raises(EndOfStreamError):
                recv_msg(log, framer=LineFramer())
            send_msg(out, line, framer=LineFramer())
            assert recv_msg(log, framer=LineFramer()) == line


@pytest.mark.skipif(not hasattr(os, "set_blocking"), reason="no such pipes here")
def test_a_pipe_that_is_empty_or_full_is_a_blocking_io_error() -> None:
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    again = rf"^\[Errno {errno.EWOULDBLOCK}\]"
    with open(reading, "rb", 0) as source, open(writing, "wb", 0) as drain:
        for piece in (b"\0\0\0\5", b"hel", b"lo"):
            with pytest.raises(BlockingIOError, match=rf"{again} no bytes have come yet$"):
                recv_msg(source)
            drain.write(piece)
        assert recv_msg(source) == b"hello"
        with pytest.raises(BlockingIOError, match=rf"{again} the file takes no more bytes$"):
            send_msg(drain, bytes(MIB))
        with pytest.raises(ConnectionError, match="cut off in the middle"):
            send_msg(drain, b"next")


def test_a_file_needs_only_the_method_that_is_used() -> None:
    class Drain:
        def __init__(self) -> None:
            self.written = b""

        def write(self, data: Any) -> int:
            self.written += data[:3]
            return len(data[:3])

    class Source:
        def __init__(self, data: bytes) -> None:
            self.read = io.BytesIO(data).read

    drain: Any = Drain()
    send_msg(drain, b"hello")
    source: Any = Source(drain.written)
    assert recv_msg(source) == b"hello"


class SerialPort(io.BytesIO):
    """Gives what has come, and nothing when its time is over."""

    timeout = 0.1

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(2, size or 0))

    read1 = read


def test_a_serial_port_that_is_silent_is_a_timeout_and_loses_nothing() -> None:
    port = SerialPort(b"\0\0\0\5hel")
    with pytest.raises(TimeoutError, match=r"^timed out: the peer has not sent enough$"):
        recv_msg(port)
    place = port.tell()
    port.write(b"lo")
    port.seek(place)
    assert recv_msg(port) == b"hello"


# What is kept beside a stream


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


@not_on_pypy("its objects can all be weakly referenced")
def test_a_stream_beside_which_nothing_can_be_kept_is_refused() -> None:
    class Bare:
        __slots__ = ()

        def read(self, _: int) -> bytes:
            raise AssertionError("nothing is read")

    text = r"^a Bare cannot be .* beside it: feed a decoder, as in .*\.decoder\(\)\.feed\(data\)$"
    with pytest.raises(TypeError, match=text):
        recv_msg(Bare())  # type: ignore[call-overload]

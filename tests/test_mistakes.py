"""Mistakes that people make and reports from the field: each one is noticed, and none is silent."""

from __future__ import annotations

import binascii
import gc
import io
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import framing
from framing import (
    BadMessageError,
    DecodeError,
    EndOfStreamError,
    Framer,
    FramingError,
    HeaderBodyFramer,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    MessageTooLargeError,
    ReadExactly,
    ReadUntil,
    Skip,
    Steps,
    connect,
    recv_msg,
    send_msg,
)

from .pairs import Pair, Task, tcp_pair, unix_pair

# Called with what a type checker would refuse.
RECV: Any = recv_msg
SEND: Any = send_msg
WRAP: Any = MessageSocket

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")


@pytest.fixture
def ends() -> Iterator[Pair]:
    here, there = unix_pair()
    with here, there:
        yield here, there


# The wrong object


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        (lambda sock: RECV(sock, 1024), "needs no size: leave out 1024"),
        (lambda sock: WRAP(sock).recv(1024), "needs no size: leave out 1024"),
        (lambda sock: SEND(b"hi", sock), "the socket comes first"),
        (lambda sock: SEND(sock, {"a": 1}), "JsonFramer"),
        (lambda sock: SEND(sock, "text"), r"text\.encode\(\)"),
        (lambda sock: RECV((sock, ("127.0.0.1", 1))), "take the first"),
        (lambda _: WRAP(io.BytesIO()), "use send_msg and recv_msg for files"),
        (lambda _: RECV(io.StringIO()), r"its \.buffer"),
        (lambda _: RECV(5), "a socket or a binary file, not int"),
    ],
)
def test_a_wrong_argument_is_a_type_error_that_says_what_to_write(
    call: Callable[[Any], Any], advice: str, ends: Pair
) -> None:
    with pytest.raises(TypeError, match=advice):
        call(ends[0])


def test_a_message_socket_is_not_for_the_functions(ends: Pair) -> None:
    conn = MessageSocket(ends[0])
    with pytest.raises(TypeError, match="call its own methods"):
        RECV(conn)
    with pytest.raises(TypeError, match="call its own methods"):
        SEND(conn, b"x")


@pytest.mark.parametrize("state", ["listening", "unconnected", "closed"])
@pytest.mark.parametrize(
    "call", [recv_msg, lambda sock: send_msg(sock, b"x"), MessageSocket], ids=["recv", "send", "MS"]
)
def test_a_socket_without_a_peer_gets_the_same_sentence_from_every_function(
    call: Callable[[Any], Any], state: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as sock:
        used = listener if state == "listening" else sock
        if state == "closed":
            used.close()
        with pytest.raises(OSError, match=r"expected a connected socket|was closed"):
            call(used)


class Channel:
    """A socket by composition, as an SSH channel is one."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def recv(self, size: int) -> bytes:
        return self._sock.recv(size)

    def sendall(self, data: Any) -> None:
        self._sock.sendall(data)


def test_what_only_looks_like_a_socket_works_with_the_functions_and_is_refused_elsewhere(
    ends: Pair,
) -> None:
    here, there = Channel(ends[0]), ends[1]
    SEND(here, b"hello")
    send_msg(there, b"you", framer=LengthPrefixFramer("!H"))
    assert recv_msg(there) == b"hello"
    assert RECV(here, framer=LengthPrefixFramer("!H")) == b"you"
    with pytest.raises(TypeError, match="use send_msg and recv_msg"):
        WRAP(here)


# One socket, two users


def test_a_socket_that_is_wrapped_again_is_refused_and_so_is_recv_msg_behind_its_back(
    ends: Pair,
) -> None:
    here, there = ends
    for word in (b"one", b"two", b"three"):
        send_msg(here, word)
    assert MessageSocket(there).recv() == b"one"
    gc.collect()  # that object is gone, and with it what it had received ahead
    for call in (MessageSocket, recv_msg):
        with pytest.raises(ValueError, match=r"belongs to a MessageSocket.*detach\(\)"):
            call(there)


def test_a_detached_socket_can_be_used_again(ends: Pair) -> None:
    here, there = ends
    sock, rest = MessageSocket(there).detach()
    assert (sock, rest) == (there, b"")
    send_msg(here, b"hello")
    assert recv_msg(sock) == b"hello"
    assert MessageSocket(sock).framer == LengthPrefixFramer()


def test_threads_that_share_recv_msg_lose_and_double_nothing() -> None:
    here, there = tcp_pair()
    count, received = 400, queue.Queue[bytes]()

    def receive() -> None:
        with suppress(EndOfStreamError):
            while True:
                received.put(recv_msg(there))

    with here, there:
        tasks = [Task(receive) for _ in range(4)]
        for number in range(count):
            send_msg(here, b"%d" % number * (number % 50 + 1))
        here.shutdown(socket.SHUT_WR)
        for task in tasks:
            task.result()
    got = sorted(received.get_nowait() for _ in range(count))
    assert got == sorted(b"%d" % number * (number % 50 + 1) for number in range(count))
    assert received.empty()


# Other bytes than expected


@pytest.mark.parametrize(
    ("wire", "hint"),
    [
        (b"hello", "these bytes are text"),
        (b"5         hello", "decimal number"),
        (b"\5\0\0\0hello", "it is 5 in little-endian: does the peer use '<I'"),
        (b'{"a": 1}\n', r"JsonFramer\(LineFramer\(\)\)"),
        (b"5:hello,", "NetstringFramer"),
        (b"Content-Length: 2\r\n\r\n{}", "ContentLengthFramer"),
        (b"GET / HTTP/1.1\r\n", "is the peer speaking HTTP"),
        (b"\x16\x03\x01\x02\x00", "is the peer speaking TLS"),
        (b"SSH-2.0-x\r\n", "is the peer speaking SSH"),
    ],
)
def test_a_refused_length_gets_a_hint_at_what_it_is(wire: bytes, hint: str) -> None:
    with pytest.raises(MessageTooLargeError, match=hint):
        LengthPrefixFramer().decoder().feed(wire).next_message()


@pytest.mark.parametrize(
    ("sender", "receiver", "message"),
    [
        (LengthPrefixFramer("<I"), LengthPrefixFramer("<I"), b"hello"),
        (framing.JsonFramer(LineFramer()), framing.JsonFramer(LineFramer()), {"a": 1}),
        (framing.NetstringFramer(), framing.NetstringFramer(), b"hello"),
        (framing.ContentLengthFramer(), framing.ContentLengthFramer(), b"{}"),
    ],
)
def test_the_format_that_a_hint_names_reads_it(
    sender: Framer[Any], receiver: Framer[Any], message: Any
) -> None:
    with pytest.raises(MessageTooLargeError) as caught:
        LengthPrefixFramer().decoder().feed(sender.encode(message)).next_message()
    assert type(receiver).__name__ in str(caught.value) or "'<I'" in str(caught.value)
    assert receiver.decode(sender.encode(message)) == message


def test_a_refused_connection_names_the_address_and_asks_for_the_server(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with pytest.raises(ConnectionRefusedError, match=rf"{address[1]}; is the server running\?"):
        connect(address)
    if hasattr(socket, "AF_UNIX"):
        with pytest.raises(FileNotFoundError, match="is the server running"):
            connect(str(tmp_path / "absent.sock"))


@pytest.mark.parametrize("size", [1000, 60_000, 1_000_000])
def test_no_text_of_an_error_is_long_whatever_the_peer_sent(size: int) -> None:
    key = "\x85" * size
    header = b'{"%s": 1, "%s": 2}' % (key.encode(), key.encode())
    framer = HeaderBodyFramer(max_header_size=2**24)
    with pytest.raises(FramingError) as caught:
        framer.decode(struct.pack("!I", len(header)) + header)
    assert len(str(caught.value)) <= 500


# One bad message


@needs_unix
@pytest.mark.parametrize("way", ["decoder", "recv_msg", "recv", "iteration"])
def test_a_chat_survives_a_line_in_another_encoding(way: str, ends: Pair) -> None:
    here, there = ends
    wire = "café\n".encode() + "café\n".encode("latin-1") + b"next\n"
    here.sendall(wire)
    here.shutdown(socket.SHUT_WR)
    receive: Callable[[], Any]
    if way == "decoder":
        receive = LineFramer().decoder().feed(wire).next_message
    elif way == "recv_msg":
        receive = lambda: recv_msg(there, framer=LineFramer())  # noqa: E731
    elif way == "recv":
        receive = MessageSocket(there, LineFramer()).recv
    else:
        receive = iter(MessageSocket(there, LineFramer())).__next__
    assert receive() == "café"
    with pytest.raises(BadMessageError, match="utf-8") as caught:
        receive()
    assert (caught.value.recoverable, caught.value.offset) == (True, 6)
    assert receive() == "next"


def test_a_line_may_be_read_in_another_encoding_after_a_bad_one(ends: Pair) -> None:
    here, there = ends
    here.sendall("caf\xe9\ncaf\xe9\n".encode("latin-1"))
    with pytest.raises(BadMessageError):
        recv_msg(there, framer=LineFramer())
    assert recv_msg(there, framer=LineFramer("latin-1")) == "caf\xe9"
    assert LineFramer(errors="replace").decode(b"caf\xe9\n") == "caf\ufffd"


@pytest.mark.parametrize("framer", [LengthPrefixFramer, framing.DelimiterFramer, LineFramer])
@pytest.mark.parametrize("total", [16 * 2**20, pytest.param(2**30, marks=pytest.mark.slow)])
def test_what_is_too_large_is_skipped_in_little_memory(framer: Any, total: int) -> None:
    import tracemalloc

    decoder = framer(max_size=10, oversize="skip").decoder()
    piece = bytes(2**18)
    decoder.feed(struct.pack("!I", total) if framer is LengthPrefixFramer else b"x")
    tracemalloc.start()
    try:
        errors = 0
        for _ in range(total // len(piece)):
            decoder.feed(piece)
            try:
                assert decoder.next_message() is None
            except MessageTooLargeError as error:
                assert error.recoverable
                errors += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (errors, peak < 2 * 2**20) == (1, True)
    end = b"\0\0\0\2hi" if framer is LengthPrefixFramer else b"\nhi\n"
    assert decoder.feed(end).next_message() in (b"hi", "hi")


# Formats that need more than a length


def _crc(data: bytes) -> bytes:
    return struct.pack("<H", binascii.crc_hqx(data, 0xFFFF))


class Serial(Framer[bytes]):
    """``<``, a size, a payload and its checksum, on a line that loses and invents bytes."""

    def __init__(self) -> None:
        super().__init__(max_size=1024)

    def encode_parts(self, message: bytes) -> list[bytes]:
        return [b"<" + struct.pack("<H", len(message)), message, _crc(message)]

    def read_message(self) -> Steps[bytes]:
        if (yield ReadExactly(1)) != b"<":
            yield Skip()
        size = int.from_bytes((yield ReadExactly(2)), "little")
        if size > self.max_size:
            yield Skip(1)
        body = yield ReadExactly(size)
        if (yield ReadExactly(2)) != _crc(body):
            yield Skip(1)
        return body


@pytest.mark.parametrize("chunk", [1, 7, 10_000])
def test_good_frames_behind_a_bogus_header_are_found(chunk: int) -> None:
    framer, decoder = Serial(), Serial().decoder()
    wire = b"<\x40\x00" + framer.encode(b"temp=21") * 6 + b"noise<" + framer.encode(b"end" * 30)
    found: list[bytes] = []
    for start in range(0, len(wire), chunk):
        found += decoder.feed(wire[start : start + chunk])
    assert found == [b"temp=21"] * 6 + [b"end" * 30]


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_the_earliest_delimiter_counts_and_of_two_at_one_place_the_longer(chunk: int) -> None:
    class Lines(Framer[bytes]):
        def __init__(self) -> None:
            super().__init__(max_size=80)

        def encode_parts(self, message: bytes) -> list[bytes]:
            return [message, b"\n"]

        def read_message(self) -> Steps[bytes]:
            return (yield ReadUntil((b"\r", b"\n", b"\r\n"), limit=80))

    decoder, found = Lines().decoder(), list[bytes]()
    for start in range(0, 12, chunk):
        found += decoder.feed(b"a\rb\r\nc\n\r\rd\r"[start : start + chunk])
    decoder.feed_eof()
    assert found + list(decoder) == [b"a", b"b", b"c", b"", b"", b"d"]


@pytest.mark.parametrize("error", [KeyError("k"), struct.error("s"), ZeroDivisionError("z")])
def test_an_exception_of_an_author_comes_out_as_a_decode_error(error: Exception) -> None:
    class Sloppy(Framer[bytes]):
        def __init__(self) -> None:
            super().__init__(max_size=1)

        def encode_parts(self, message: bytes) -> list[bytes]:
            return [message]

        def read_message(self) -> Steps[bytes]:
            yield ReadExactly(1)
            raise error

    with pytest.raises(DecodeError, match=r"Sloppy\.read_message") as caught:
        Sloppy().decoder().feed(b"x").next_message()
    assert caught.value.__cause__ is error


class Careless(Framer[Any]):
    """Does to the bytes of a peer what comes to mind, and checks nothing."""

    def __init__(self, steps: tuple[str, ...]) -> None:
        super().__init__(max_size=20, steps=steps)

    def encode_parts(self, message: Any) -> list[bytes]:
        return [message]

    def read_message(self) -> Steps[Any]:
        part: Any = yield ReadExactly(1)
        for step in vars(self)["steps"]:
            if step == "size":
                part = yield ReadExactly(part[0] % 9)
            elif step == "line":
                part = yield ReadUntil((b"\n", b"\n\n"), limit=part[-1] % 9)
            elif step == "number":
                part = yield ReadExactly(int(part))
            elif step == "skip":
                yield Skip(part[0] % 4)
            elif step == "record":
                part = struct.unpack("!H", part)
            elif step == "text":
                part = part.decode()
            elif step == "bad":
                raise BadMessageError("bad")
        return {"a": part}["a"] if len(part) % 5 else None


_STEPS = st.sampled_from(["size", "line", "number", "skip", "record", "text", "bad"])


@given(st.lists(_STEPS, max_size=4).map(tuple), st.binary(max_size=30), st.integers(1, 9))
def test_to_catch_framing_errors_is_enough_around_a_careless_format(
    steps: tuple[str, ...], data: bytes, chunk: int
) -> None:
    outcomes = []
    for size in (chunk, len(data) + 1):
        decoder, found = Careless(steps).decoder(), list[Any]()
        for start in range(0, len(data) + size, size):
            decoder.feed(data[start : start + size]) if start < len(data) else decoder.feed_eof()
            while True:
                try:
                    message = decoder.next_message()
                except FramingError as error:
                    found.append((type(error), vars(error)))
                    if not getattr(error, "recoverable", False):
                        break
                else:
                    if message is None:
                        break
                    found.append(message)
            if found and isinstance(found[-1], tuple) and not found[-1][1].get("recoverable"):
                break
        outcomes.append(found)
    assert outcomes[0] == outcomes[1]


# Pipes and files


def test_messages_go_through_the_pipes_of_a_process() -> None:
    program = (
        "import sys, framing\n"
        "while True:\n"
        "    try: message = framing.recv_msg(sys.stdin.buffer)\n"
        "    except framing.EndOfStreamError: break\n"
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
        process.stdin.close()
        with pytest.raises(EndOfStreamError):
            recv_msg(process.stdout)
    assert process.returncode == 0


def test_a_file_that_grows_goes_on_after_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with open(path, "wb") as out, open(path, "rb") as log:
        for line in ("one", "two"):
            with pytest.raises(EndOfStreamError):
                recv_msg(log, framer=LineFramer())
            send_msg(out, line, framer=LineFramer())
            assert recv_msg(log, framer=LineFramer()) == line


class SerialPort(io.BytesIO):
    """Gives what has come, and nothing when its time is over."""

    timeout = 0.1

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(2, size or 0))

    def read1(self, size: int | None = -1, /) -> bytes:
        return self.read(size)


def test_a_serial_port_that_is_silent_is_a_timeout_and_loses_nothing() -> None:
    port = SerialPort(b"\0\0\0\5hel")
    with pytest.raises(TimeoutError):
        recv_msg(port)
    place = port.tell()
    port.write(b"lo")
    port.seek(place)
    assert recv_msg(port) == b"hello"


# Time


def test_bytes_received_tells_a_slow_peer_from_a_silent_one(ends: Pair) -> None:
    here, there = ends
    conn = MessageSocket(there)
    seen = [conn.bytes_received]
    for piece in (b"\0\0\0\3", b"a", b""):
        here.sendall(piece)
        with pytest.raises(TimeoutError):
            conn.recv(timeout=0.01)
        seen.append(conn.bytes_received)
    assert seen == [0, 4, 5, 5]
    here.sendall(b"bc12")
    assert (conn.recv(), conn.recv_exactly(2)) == (b"abc", b"12")
    assert conn.switch(LineFramer()).bytes_received == 9


def test_closing_ends_though_the_peer_takes_nothing_and_the_peer_sees_it() -> None:
    here, there = tcp_pair()
    conn = MessageSocket(here)
    conn.send(bytes(8 << 20), timeout=0.05)
    assert conn.unsent
    with pytest.raises(TimeoutError):
        conn.close(timeout=0.1)
    with there, pytest.raises(ConnectionResetError):
        while there.recv(2**20):
            pass


# Signals and threads


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
@pytest.mark.parametrize("action", ["send", "close"])
def test_a_handler_that_uses_the_connection_gets_an_error_and_not_a_deadlock(
    action: str, ends: Pair
) -> None:
    here, there = ends
    conn, caught = MessageSocket(here), queue.Queue[BaseException]()

    def handler(*_: object) -> None:
        try:
            conn.send(b"bye") if action == "send" else conn.close()
        except RuntimeError as error:
            caught.put(error)
        reading.start()

    def drain() -> None:
        while there.recv(2**20):
            pass

    reading = threading.Thread(target=drain)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        conn.send(bytes(4 << 20), timeout=60)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert "signal handler" in str(caught.get_nowait())
    conn.close()
    reading.join(60)


def test_a_batch_that_waits_for_its_turn_in_vain_is_kept(ends: Pair) -> None:
    here, there = ends
    conn = MessageSocket(here)
    large = bytes(4 << 20)

    def messages() -> Iterator[bytes]:
        sending.append(Task(conn.send, large))
        sending[0].wait_until_it_waits()
        yield b"after it"

    sending: list[Task] = []
    with pytest.raises(TimeoutError):
        conn.send_many(messages(), timeout=0.1)
    assert conn.unsent > len(b"after it")
    receiving = Task(lambda: [recv_msg(there) for _ in range(2)])
    sending[0].result()
    conn.flush()
    assert receiving.result() == [large, b"after it"]
    assert conn.unsent == 0


def test_a_send_many_that_is_running_stops_when_its_object_is_switched(ends: Pair) -> None:
    here, there = ends
    old, source = MessageSocket(here), queue.Queue[Any]()
    sending = Task(old.send_many, iter(source.get, None))
    source.put(bytes(70_000))  # a batch of its own
    assert len(MessageSocket(there).recv()) == 70_000
    new = old.switch(LineFramer())
    source.put(b"two")
    source.put(None)
    with pytest.raises(io.UnsupportedOperation, match=r"finished by switch\(\)"):
        sending.result()
    new.send("line")
    there.settimeout(5)
    assert there.recv(100) == b"line\n"


class Interrupt(BaseException):
    pass


def interrupted(call: Callable[[], Any], at: int) -> bool:
    """Call with an interrupt before the *at*-th line of the library; return whether it came."""
    lines = 0
    root = os.path.dirname(framing.__file__)

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(root):
            return None
        if event == "line":
            lines += 1
            if lines == at:
                sys.settrace(None)
                raise Interrupt
        return trace

    sys.settrace(trace)
    try:
        call()
    except Interrupt:
        pass
    finally:
        sys.settrace(None)
    return lines >= at  # Python ignores it in a generator that is thrown away


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see there
@pytest.mark.usefixtures("without_collection")
@pytest.mark.parametrize("action", ["recv_into", "recv_exactly", "switch", "detach"])
def test_after_an_interruption_the_stream_goes_on_or_is_refused_and_is_never_misread(
    action: str,
) -> None:
    at, came = 0, True
    while came and at < 400:
        at += 3
        here, there = unix_pair()
        with here, there:
            there.settimeout(5)
            for number in range(10):
                send_msg(here, b"%d" % number * 3)
            here.shutdown(socket.SHUT_WR)
            conn: Any = MessageSocket(there)
            assert conn.recv() == b"000"
            buffer = bytearray(10)
            came = interrupted(
                {
                    "recv_into": lambda: conn.recv_into(buffer),  # noqa: B023
                    "recv_exactly": lambda: conn.recv_exactly(7),  # noqa: B023
                    "switch": lambda: conn.switch(LengthPrefixFramer()),  # noqa: B023
                    "detach": conn.detach,
                }[action],
                at,
            )
            if not came:
                break
            rest: list[bytes] = []
            try:
                rest.extend(iter(conn.recv, None))
            except EndOfStreamError:
                # All of them; or the interrupt came as the call returned what it had taken.
                expected = [b"%d" % number * 3 for number in range(10)]
                assert rest in (expected[1:], expected[2:]), at
            except (ConnectionError, ValueError, OSError, io.UnsupportedOperation):
                expected = [b"%d" % number * 3 for number in range(1, 10)]
                assert rest == expected[: len(rest)], at
    assert at > 3


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_an_interrupted_send_many_sends_what_it_took_or_refuses_to_go_on() -> None:
    def handler(*_: object) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, handler)
    outcomes: list[str] = []
    try:
        for round_ in range(60):
            here, there = unix_pair()
            with here, there:
                conn, numbers = MessageSocket(here), iter(range(3000))
                receiving = Task(lambda: list(map(int, MessageSocket(there))))  # noqa: B023
                try:
                    signal.setitimer(signal.ITIMER_REAL, 20e-6 * (round_ + 1))
                    conn.send_many(map(b"%d".__mod__, numbers))
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Interrupt:
                    outcomes.append("interrupted")
                try:
                    conn.send_many(map(b"%d".__mod__, numbers), timeout=30)
                except ConnectionError:
                    outcomes.append("refused")
                conn.sock.shutdown(socket.SHUT_WR)
                received = receiving.result()
                whole = len(received) in (0, 3000) or outcomes[-1:] == ["refused"]
                assert whole, round_
                assert received == list(range(len(received))), round_
    finally:
        signal.signal(signal.SIGALRM, before)
    assert "interrupted" in outcomes


def test_a_line_and_exact_bytes_in_turn_take_linear_time() -> None:
    def seconds(pairs: int) -> float:
        here, there = tcp_pair()
        with here, there:
            sending = Task(here.sendall, b"$3\r\nfoo\r\n" * pairs)
            conn = MessageSocket(there, LineFramer())
            start = time.process_time()
            for _ in range(pairs):
                assert (conn.recv(), conn.recv_exactly(5)) == ("$3", b"foo\r\n")
            took = time.process_time() - start
            sending.result()
        return took

    few = min(seconds(300) for _ in range(3))
    assert seconds(6000) < 20 * few * 5  # and not 20 * 20


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

"""The recipes of the documentation, with their bytes arriving one at a time."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from types import ModuleType
from typing import Any

import pytest

import framing
from framing import DecodeError, Framer, JsonFramer, LineFramer, MessageSocket
from framing.testing import check_framer

from .pairs import Task, tcp_pair, tls_contexts
from .programs import ENVIRONMENT, TIMEOUT
from .test_docs import ROOT, blocks_of

pytestmark = pytest.mark.skipif(
    framing.__name__ != "framing", reason="the recipes import the package by its own name"
)

BLOCKS = [each.text for each in blocks_of(ROOT / "docs" / "recipes.md")]
RECIPES = vars(sys.modules.setdefault("recipes", ModuleType("recipes")))  # pickle looks there
if framing.__name__ == "framing":
    exec("\n".join(BLOCKS), RECIPES)  # noqa: S102


def test_each_recipe_is_at_most_25_lines() -> None:
    for block in BLOCKS:
        lines = [line for line in block.splitlines() if line.strip()]
        assert len(lines) <= 25, block
        assert max(map(len, lines)) <= 100, block


# Formats

MESSAGES: dict[str, list[Any]] = {
    "MySqlFramer": [(0, b""), (255, b"x" * 300), (1, b"\x03select 1")],
    "ModbusFramer": [(1, 255, b"\x03\0\x6b\0\3"), (65_535, 0, b"x" * 253), (0, 0, b"\0")],
    "DecimalFramer": [b"hello", b"", b" " * 10, b"5         ", b"x" * 300],
    "SlipFramer": [b"hello", b"\xc0", b"\xdb", b"\xdb\xdc\xdb\xdd\xc0\xc0", bytes(range(256))],
    "CobsFramer": [
        *(b"", b"\0\0", b"hello", b"\0hello\0", b"11\0\0" * 9),
        *(b"x" * 253 + b"\0", b"x" * 254, b"x" * 254 + b"\0", b"x" * 255, b"x" * 508 + b"y"),
    ],
    "StxFramer": [b"hello", b"", b"\2\2\3\3", b"\3\2" * 40, b"\2" * 255],
    "MllpFramer": [b"MSH|^~\\&|\rPID|1\r", b"", b"\x0b\x1c\x0b", b"\x1c", b"\r\r"],
}
BAD = {
    "MySqlFramer": [b"\xff\xff\xff\0"],
    "ModbusFramer": [b"\0\1\0\1\0\6\1", b"\0\1\0\0\0\1\1", b"\0\1\0\0\1\xff\1"],
    "DecimalFramer": [
        *(b"-5        ", b"1_0       ", b"+5        ", b"         5", b"05        "),
        *(b"5 5       ", b"          ", b"9999999999", b"5\t        "),
    ],
    "SlipFramer": [b"a\xdbb\xc0", b"a\xdb\xc0"],
    "CobsFramer": [b"\5ab\0"],
}
REFUSED: dict[str, list[Any]] = {
    "MySqlFramer": [(256, b""), (0, bytes(2**24 - 1))],
    "ModbusFramer": [(0, 0, b""), (0, 0, b"x" * 254)],
    "DecimalFramer": [bytes(16 * 1024 * 1024 + 1)],
    "SlipFramer": [b"", bytes(65_537)],
    "CobsFramer": [bytes(65_537)],
    "StxFramer": [bytes(256)],
    "MllpFramer": [b"a\x1c\rb"],
}


def framer_of(name: str) -> Framer[Any]:
    framer: Framer[Any] = RECIPES[name]()
    return framer


def decoded(framer: Framer[Any], wire: bytes, size: int, *, eof: bool = True) -> list[Any]:
    decoder = framer.decoder()
    received: list[Any] = []
    for start in range(0, len(wire), size):
        received += decoder.feed(wire[start : start + size])
    if eof:
        decoder.feed_eof()
    return [*received, *decoder]


@pytest.mark.parametrize("name", MESSAGES)
def test_a_format_keeps_what_a_framer_promises(name: str) -> None:
    framer, messages = framer_of(name), MESSAGES[name]
    wires = [framer.encode(each) for each in messages]
    # Of the long ones, any cut takes long, and one byte at a time is enough.
    check_framer(
        framer, [each for each, wire in zip(messages, wires, strict=True) if len(wire) < 60]
    )
    assert decoded(framer, b"".join(wires), 1) == messages
    for wire in BAD.get(name, []):
        for size in (1, len(wire)):
            with pytest.raises(DecodeError):
                decoded(framer_of(name), wire, size)
    for message in REFUSED[name]:
        with pytest.raises(framing.EncodeError):
            framer_of(name).encode(message)


def test_filler_and_noise_belong_to_no_message() -> None:
    for name, wire, messages in [
        ("SlipFramer", b"\xc0\xc0hello\xc0\xc0\xc0", [b"hello"]),
        ("CobsFramer", b"\0\0\6hello\0\0", [b"hello"]),
        ("MllpFramer", b"\r\n\x0bhello\x1c\r\r\n", [b"hello"]),
    ]:
        for size in (1, len(wire)):
            assert decoded(framer_of(name), wire, size) == messages


def test_a_bad_packet_does_not_end_the_stream() -> None:
    for name, bad in [("SlipFramer", b"\xdb!\xc0"), ("CobsFramer", b"\x09x\0")]:
        decoder = framer_of(name).decoder().feed(bad + framer_of(name).encode(b"next"))
        with pytest.raises(framing.BadMessageError):
            decoder.next_message()
        assert decoder.next_message() == b"next"


def test_cobs_agrees_with_the_examples_of_its_author() -> None:
    framer = framer_of("CobsFramer")
    for message, wire in [
        (b"\0", "01 01 00"),
        (b"\0\0", "01 01 01 00"),
        (b"\x11\x22\0\x33", "03 11 22 02 33 00"),
        (b"\x11\x22\x33\x44", "05 11 22 33 44 00"),
        (b"\x11\0\0\0", "02 11 01 01 01 00"),
    ]:
        assert framer.encode(message) == bytes.fromhex(wire)
    full = bytes(range(1, 255))
    assert framer.decode(b"\xff" + full + b"\0") == full  # the shortest spelling


def test_good_frames_are_found_among_noise() -> None:
    framer = framer_of("StxFramer")
    good = [b"one", b"two", b"three", b"four"]
    one, two, three, four = map(framer.encode, good)
    lost = framer.encode(b"lost")
    wire = b"noise" + one + lost[:-1] + b"!" + two + b"\x02\x02" + three + lost[:4] + four
    wire += bytes(300)  # whatever a false start waits for
    for size in (1, 7, len(wire)):
        assert decoded(framer, wire, size, eof=False) == good


# Connections


@contextmanager
def connection(framer: Framer[Any]) -> Iterator[tuple[MessageSocket[Any], MessageSocket[Any]]]:
    here, there = tcp_pair()
    with MessageSocket(here, framer) as client, MessageSocket(there, framer) as server:
        yield client, server


def trickle(sock: socket.socket, wire: bytes) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for start in range(len(wire)):
        sock.sendall(wire[start : start + 1])


def test_answers_find_their_requests() -> None:
    framer = JsonFramer()
    here, there = tcp_pair()
    with there, MessageSocket(here, framer) as conn:
        requests = RECIPES["Requests"](conn)
        asking = [Task(requests.ask, name) for name in "abcde"]
        received = [framing.recv_msg(there, framer=framer) for _ in asking]
        for each in reversed(received):
            answer = {"id": each["id"], "answer": each["request"].upper()}
            trickle(there, framer.encode(answer))
        trickle(there, framer.encode({"id": 77, "answer": "too late"}))
        assert [task.result() for task in asking] == list("ABCDE")
        with pytest.raises((TimeoutError, FutureTimeoutError)):  # one class from Python 3.11 on
            requests.ask("nobody answers", timeout=0.01)
        waiting = Task(requests.ask, "the connection ends")
        framing.recv_msg(there, framer=framer)
        framing.recv_msg(there, framer=framer)
        there.close()
        with pytest.raises((OSError, EOFError)):
            waiting.result()
        with pytest.raises((OSError, EOFError)):
            requests.ask("later")


def test_a_request_is_sent_again_over_another_connection() -> None:
    def serve() -> None:
        listener.accept()[0].close()
        broken, _ = listener.accept()
        with broken:
            framing.recv_msg(broken)
            trickle(broken, b"\0\0\0\5HEL")
        with listener.accept()[0] as conn:
            trickle(conn, framing.LengthPrefixFramer().encode(framing.recv_msg(conn).upper()))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        serving = Task(serve)
        assert RECIPES["ask"](address, b"hello") == b"HELLO"
        serving.result()
    with pytest.raises(ConnectionRefusedError):
        RECIPES["ask"](address, b"hello", attempts=2)


def test_silence_is_told_from_a_slow_message() -> None:
    with connection(framing.LengthPrefixFramer()) as (client, server):
        client.send_many([b"", b"", b"hello"])
        assert RECIPES["recv_alive"](server, 1) == b"hello"
        stopped = Event()
        beating = Thread(target=RECIPES["keep_alive"], args=(client, 0.01, stopped))
        beating.start()
        assert server.recv() == server.recv() == b""
        stopped.set()
        beating.join()
        with pytest.raises(TimeoutError):
            while True:
                RECIPES["recv_alive"](server, 0.01)

        def drip() -> None:
            for byte in b"\0\0\0\4slow":
                client.sock.sendall(bytes([byte]))
                stopped.clear()
                stopped.wait(0.1)

        dripping = Task(drip)
        assert RECIPES["recv_alive"](server, 0.1) == b"slow"
        dripping.result()


def test_a_connection_changes_to_tls_and_injected_text_is_refused() -> None:
    client_context, server_context = tls_contexts()
    start_tls = RECIPES["start_tls"]
    with connection(LineFramer()) as (client, server):
        client.send("STARTTLS")
        assert server.recv() == "STARTTLS"
        server.send("ready")
        accepting = Task(start_tls, server, server_context, server_side=True)
        assert client.recv() == "ready"
        secure = start_tls(client, client_context, server_hostname="localhost")
        with secure, accepting.result() as other:
            secure.send("secret")
            assert other.recv() == "secret"
    with connection(LineFramer()) as (client, server):
        client.send_many(["STARTTLS", "injected"])
        assert server.recv() == "STARTTLS"
        with pytest.raises(ConnectionError, match="plain text"):
            start_tls(server, server_context, server_side=True)
        client.sock.close()


HANDING_OVER = """
import multiprocessing

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    worker = context.Process(target=work, args=(there,))
    worker.start()
    there.close()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = framing.connect(listener.getsockname(), timeout=30)
        client.send_many([b"one", b"two", b"three"])
        hand_over(listener.accept()[0], here)
    with client:
        client.end()
        print(*client, flush=True)
    here.close()
    worker.join(30)
    print(worker.exitcode)
"""


def test_another_process_goes_on_with_a_connection(tmp_path: Path) -> None:
    (block,) = (each for each in BLOCKS if "def hand_over" in each)
    program = tmp_path / "program.py"
    program.write_text(block + HANDING_OVER, "utf-8")
    done = subprocess.run(
        [sys.executable, str(program)],
        env=ENVIRONMENT,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("b'worker: one' b'worker: two' b'worker: three'\n0\n", "")


def test_a_proxy_line_comes_before_the_messages() -> None:
    accept_proxied = RECIPES["accept_proxied"]
    client, server = tcp_pair()
    with client, server:
        line = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"
        sending = Task(trickle, client, line + b"\0\0\0\5hello")
        conn, host, port = accept_proxied(server)
        assert (host, port) == ("192.0.2.1", 56_324)
        assert conn.recv() == b"hello"
        sending.result()
    for bad in (
        b"PROXY UNKNOWN\r\n",
        b"\0\0\0\5hello\r\n",
        b"x" * 200,
        b"PROXY TCP4 a\n b c 1 2\r\n",
    ):
        client, server = tcp_pair()
        with client, server:
            client.sendall(bad)
            with pytest.raises(DecodeError):
                accept_proxied(server)

"""Messages to and from programs that others wrote, in Python, JavaScript, Erlang and Java.

Each runs in a process of its own (``tests/peers``), and sends back every message that it
understood.  So a message that comes back went through their parser and ours, in both directions.
"""

from __future__ import annotations

import json
import queue
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from framing import (
    CodecFramer,
    ContentLengthFramer,
    DelimiterFramer,
    EndOfStreamError,
    Framer,
    IncompleteMessageError,
    JsonFramer,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    NetstringFramer,
    StructFramer,
    VarintFramer,
    connect,
    recv_msg,
    send_msg,
)

from .pairs import MIB
from .programs import TIMEOUT, lines_of

# What starts a program, what has to be installed for that, and by which package of Debian
PLATFORMS = {
    ".js": ("node", "node", "apt-get install nodejs"),
    ".escript": ("escript", "escript", "apt-get install erlang-base"),
    ".java": ("java", "javac", "apt-get install default-jdk-headless"),
}
PACKAGES = "frame-stream@4 length-prefixed-stream@2 vscode-jsonrpc@8"


@dataclass(frozen=True)
class Peer:
    """A format, and who else speaks it.

    Attributes:
        program: In ``tests/peers``.
        server: Which of those in it.
        framer: Our name for its format.
        largest: The largest payload that it carries, in bytes.
        make: Makes a message of a payload of letters.
        returns_rest: Whether it sends back the start of a message that was cut; others drop it.
    """

    program: str
    server: str
    framer: Framer[Any]
    largest: int = MIB
    make: Callable[[bytes], Any] = bytes
    returns_rest: bool = False

    def __str__(self) -> str:
        return f"{self.program}-{self.server}-{type(self.framer).__name__}"

    def messages(self) -> list[Any]:
        """Return messages of all sizes that mean something, both ways around each."""
        near = [0, 1, 2, 3, 255, 256, 1460, 16_383, 16_384, 65_535, 65_536, 300_000, MIB]
        sizes = {size + more for size in near for more in (-1, 0, 1)} | {self.largest}
        return [self.make(letters(size)) for size in sorted(sizes) if 0 <= size <= self.largest]


@cache
def letters(size: int) -> bytes:
    """Return bytes without line breaks that differ from place to place."""
    return bytes(random.Random(size).choices(b"abcdefghijklmnopqrstuvwxyz \0\xc0", k=size))


def text(payload: bytes) -> str:
    return payload.replace(b"\xc0", b"_").decode()


def record(payload: bytes) -> tuple[int, bytes, int]:
    return len(payload) % 65_536, payload[:8].ljust(8, b"\0"), -(len(payload) % 128)


def call(payload: bytes) -> dict[str, object]:
    return {"jsonrpc": "2.0", "method": "echo", "params": {"text": text(payload)}}


def plain(payload: bytes) -> str:
    return text(payload).replace("\0", "_")  # which Java encodes in its own way


PEERS = [
    Peer("twisted_echo.py", "Echo8", LengthPrefixFramer("!B"), 255),
    Peer("twisted_echo.py", "Echo16", LengthPrefixFramer("!H"), 65_535),
    Peer("twisted_echo.py", "Echo32", LengthPrefixFramer()),
    Peer("twisted_echo.py", "EchoLines", DelimiterFramer(b"\r\n")),
    Peer("twisted_echo.py", "EchoLinesOfUnix", DelimiterFramer()),
    Peer("twisted_echo.py", "EchoLinesOfUnix", LineFramer(), make=text),
    Peer("twisted_echo.py", "EchoNetstrings", NetstringFramer()),
    Peer("asyncio_echo.py", "read_length_prefix", LengthPrefixFramer(), returns_rest=True),
    Peer("asyncio_echo.py", "read_line", LineFramer(), make=text, returns_rest=True),
    Peer("asyncio_echo.py", "read_until", DelimiterFramer(b"\r\n"), returns_rest=True),
    Peer("asyncio_echo.py", "read_record", StructFramer("!H8sb"), make=record, returns_rest=True),
    Peer("multiprocessing_echo.py", "Connection", LengthPrefixFramer("!i")),
    Peer("node_echo.js", "lengthPrefix", LengthPrefixFramer(), returns_rest=True),
    Peer("node_echo.js", "lines", LineFramer(), make=text, returns_rest=True),
    Peer("npm_echo.js", "frame-stream-1", LengthPrefixFramer("!B"), 255),
    Peer("npm_echo.js", "frame-stream-2", LengthPrefixFramer("!H"), 65_535),
    Peer("npm_echo.js", "frame-stream-4", LengthPrefixFramer()),
    Peer("npm_echo.js", "length-prefixed-stream", VarintFramer()),
    Peer("npm_echo.js", "vscode-jsonrpc", JsonFramer(ContentLengthFramer()), make=call),
    Peer("erlang_echo.escript", "packet_1", LengthPrefixFramer("!B"), 255),
    Peer("erlang_echo.escript", "packet_2", LengthPrefixFramer("!H"), 65_535),
    Peer("erlang_echo.escript", "packet_4", LengthPrefixFramer()),
    Peer("erlang_echo.escript", "packet_line", DelimiterFramer()),
    Peer("JavaEcho.java", "readInt", LengthPrefixFramer("!i")),
    Peer(
        "JavaEcho.java",
        "readUTF",
        CodecFramer(LengthPrefixFramer("!H"), str.encode, bytes.decode),
        65_535,
        plain,
    ),
    Peer("JavaEcho.java", "readLine", LineFramer(), make=text, returns_rest=True),
]
every_peer = pytest.mark.parametrize("peer", PEERS, ids=str)


def command(program: str) -> list[str]:
    """Return how to start a program of ``tests/peers``; skip the test if something is missing."""
    path = str(Path(__file__).with_name("peers") / program)
    if program.endswith(".py"):
        if program.startswith("twisted") and find_spec("twisted") is None:
            pytest.skip("twisted is not installed: pip install twisted")
        return [sys.executable, path]
    name, needed, where = PLATFORMS[Path(program).suffix]
    if shutil.which(needed) is None:
        pytest.skip(f"{needed} is not installed: {where}")
    if program.startswith("npm"):
        found = subprocess.run(
            [name, "-e", "require('vscode-jsonrpc/node')"], capture_output=True, check=False
        )
        if found.returncode:
            pytest.skip(f"not installed, or not on NODE_PATH: npm install {PACKAGES}")
    return [name, path]


class Programs:
    """The peers that run."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[subprocess.Popen[bytes], dict[str, int]]] = {}

    def port(self, peer: Peer) -> int:
        if peer.program not in self._running:
            self._running[peer.program] = self._start(peer.program)
        return self._running[peer.program][1][peer.server]

    def _start(self, program: str) -> tuple[subprocess.Popen[bytes], dict[str, int]]:
        process = subprocess.Popen(command(program), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            lines, _ = lines_of(process.stdout)
            ports: dict[str, int] = json.loads(lines.get(timeout=TIMEOUT) or "")
        except queue.Empty:
            process.kill()
            process.wait()
            raise
        return process, ports

    def stop(self) -> None:
        for process, _ in self._running.values():
            assert process.stdin is not None
            process.stdin.close()
        for process, _ in self._running.values():
            assert process.wait(TIMEOUT) == 0


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    running = Programs()
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def sending(send: Callable[[], object]) -> Iterator[None]:
    """Send in a thread, since a peer stops to receive while nobody takes what it sends."""
    with ThreadPoolExecutor() as executor:
        future = executor.submit(send)
        yield
        future.result(TIMEOUT)


@every_peer
def test_messages_of_all_sizes_come_back(peer: Peer, programs: Programs) -> None:
    address = "127.0.0.1", programs.port(peer)
    messages = peer.messages()
    with connect(address, peer.framer, timeout=TIMEOUT) as side:
        for message in messages:
            with sending(partial(side.send, message)):
                assert side.recv() == message


@every_peer
def test_many_messages_at_once_come_back_in_order(peer: Peer, programs: Programs) -> None:
    address = "127.0.0.1", programs.port(peer)
    messages = [*peer.messages(), *(peer.make(letters(i % 50)) for i in range(3000))]
    random.Random(1).shuffle(messages)
    with (
        connect(address, peer.framer, timeout=TIMEOUT) as side,
        sending(lambda: side.send_many(iter(messages))),
    ):
        assert [side.recv() for _ in messages] == messages


@every_peer
def test_the_two_functions_speak_it_too(peer: Peer, programs: Programs) -> None:
    messages = peer.messages()

    def send() -> None:
        for message in messages:
            send_msg(sock, message, framer=peer.framer)

    with connected(programs.port(peer)) as sock, sending(send):
        for message in messages:
            assert recv_msg(sock, framer=peer.framer) == message


@every_peer
def test_they_take_what_is_cut_anywhere(peer: Peer, programs: Programs) -> None:
    messages = peer.messages()
    wire = b"".join(map(peer.framer.encode, messages[:12] + messages))
    chance = random.Random(2)

    def send() -> None:
        start = 0
        while start < len(wire):
            size = 1 if start < 2000 else chance.choice([1, 4, 100, 1460, 50_000, 300_000])
            sock.sendall(wire[start : start + size])
            start += size

    with connected(programs.port(peer)) as sock, sending(send):
        side = MessageSocket(sock, peer.framer)
        assert [side.recv() for _ in messages[:12] + messages] == messages[:12] + messages


@pytest.mark.parametrize("peer", [each for each in PEERS if each.returns_rest], ids=str)
def test_their_end_is_an_end_and_their_cut_is_a_cut(peer: Peer, programs: Programs) -> None:
    wire = peer.framer.encode(peer.make(b"hello, peer"))
    for cut in (0, len(wire) - 1):
        with connected(programs.port(peer)) as sock:
            sock.sendall(wire * 2 + wire[:cut])
            side = MessageSocket(sock, peer.framer)
            side.end()
            assert [side.recv(), side.recv()] == [peer.framer.decode(wire)] * 2
            if isinstance(peer.framer, LineFramer) and cut:
                assert side.recv() == peer.framer.decode(wire[:cut])
            elif cut:
                with pytest.raises(IncompleteMessageError) as caught:
                    side.recv()
                assert caught.value.received == cut
                continue
            with pytest.raises(EndOfStreamError):
                side.recv()


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sock

"""Files over a connection: whole under their name, or not there at all."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import json
import os
import random
import signal
import socket
import struct
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framing import (
    BadMessageError,
    DecodeError,
    EncodeError,
    EndOfStreamError,
    FramingError,
    HeaderBodyFramer,
    HeaderMessage,
    IncompleteMessageError,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    MessageTooLargeError,
    recv_msg,
    send_msg,
)
from framing.files import new_file, recv_file, send_file
from framing.files.names import why_refused
from framing.sockets.channel import Channel

from .fakes import MisbehavingSocket
from .pairs import MIB, Pair, fill, tcp_pair, tls_pair, unix_pair, wrapped_pair

Connection = socket.socket | MessageSocket[HeaderMessage]
Over = Callable[[socket.socket], Connection]
Ends = tuple[Connection, Connection]
Link = tuple[socket.socket, Connection]
Background = Callable[..., "Future[Any]"]

FRAMER = HeaderBodyFramer()
COURSE = HeaderBodyFramer("<i", size_key="filesize", name_key="filename")
MESSAGE = HeaderMessage({"id": 2}, b"message")
PIECE = 256 * 1024


def bare(sock: socket.socket) -> socket.socket:
    return sock


def messages(sock: socket.socket) -> MessageSocket[HeaderMessage]:
    return MessageSocket(sock, FRAMER)


def send(conn: Connection, message: HeaderMessage = MESSAGE) -> None:
    if isinstance(conn, MessageSocket):
        conn.send(message)
    else:
        send_msg(conn, message, framer=FRAMER)


def recv(conn: Connection) -> HeaderMessage:
    """Receive a message, and return it as it was before its size was filled in."""
    message = conn.recv() if isinstance(conn, MessageSocket) else recv_msg(conn, framer=FRAMER)
    header = {key: value for key, value in message.header.items() if key != "size"}
    return HeaderMessage(header, message.body)


def wire(body: bytes = b"hello", **header: Any) -> bytes:
    """Return a file as bytes, whatever its header claims."""
    encoded = json.dumps({"name": "f", "size": len(body), **header}).encode()
    return struct.pack("!I", len(encoded)) + encoded + body


AFTER = FRAMER.encode(MESSAGE)


def contents(directory: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in directory.iterdir() if each.is_file()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(os.urandom(300_001))
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    with open(path, "wb") as file:
        file.truncate(32 * MIB)
    return path


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


@pytest.fixture(params=[bare, messages])
def over(request: pytest.FixtureRequest) -> Over:
    """Return how to make a connection of a socket."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def ends(pair: Pair, over: Over) -> Ends:
    """Return both ends of a connection, of every kind."""
    return over(pair[0]), over(pair[1])


@pytest.fixture
def link(over: Over) -> Iterator[Link]:
    """Give a peer's socket, and the connection to it."""
    peer, sock = unix_pair()
    with peer, sock:
        yield peer, over(sock)


@pytest.fixture
def background() -> Iterator[Background]:
    """Give a function that makes a call in another thread, one after the other."""
    with ThreadPoolExecutor(1) as executor:
        yield executor.submit


# It arrives


@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("size", [0, 1, 65_536, 1_000_003])
def test_files_and_messages_arrive_as_they_were(
    ends: Ends, size: int, checksum: bool, inbox: Path, background: Background
) -> None:
    here, there = ends
    source = inbox.parent / "photo.jpg"
    source.write_bytes(os.urandom(size))
    background(send, here)
    background(send_file, here, source, checksum=checksum)
    background(send_file, here, source, name="2")
    sending = background(send, here)
    assert recv(there) == MESSAGE
    assert recv_file(there, inbox) == inbox / "photo.jpg"
    assert recv_file(there, inbox) == inbox / "2"
    assert recv(there) == MESSAGE
    sending.result()
    here.close()
    with pytest.raises((EndOfStreamError, ConnectionResetError)):  # TLS may reset the connection
        recv_file(there, inbox)
    assert contents(inbox) == dict.fromkeys(["photo.jpg", "2"], source.read_bytes())


@given(data=st.data(), body=st.binary(max_size=100), over=st.sampled_from([bare, messages]))
def test_any_cuts_give_the_same(
    data: st.DataObject, body: bytes, over: Over, tmp_path_factory: pytest.TempPathFactory
) -> None:
    inbox = tmp_path_factory.mktemp("inbox")
    stream = AFTER + wire(body) + AFTER
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))
    here, there = unix_pair()
    conn = over(there)
    with here, there, ThreadPoolExecutor() as executor:
        receiving = executor.submit(lambda: (recv(conn), recv_file(conn, inbox), recv(conn)))
        for start, end in itertools.pairwise([0, *cuts, len(stream)]):
            here.sendall(stream[start:end])
        first, path, last = receiving.result(timeout=10)
    assert (first, path.read_bytes(), last) == (MESSAGE, body, MESSAGE)


def test_a_byte_at_a_time_is_enough(over: Over, inbox: Path, background: Background) -> None:
    here, there = map(MisbehavingSocket.around, unix_pair())
    with here, there:
        background(send_file, over(here), io.BytesIO(b"hello" * 50), name="f")
        assert recv_file(over(there), inbox).read_bytes() == b"hello" * 50


def test_a_file_inside_a_file_is_not_received(link: Link, inbox: Path) -> None:
    """The bodies look like files, and may be there before the first file is asked for."""
    peer, conn = link
    inner = wire() * 3
    peer.sendall(AFTER + wire(inner, name="g") + wire(inner, name="../f") + AFTER)
    assert recv(conn) == MESSAGE
    assert recv_file(conn, inbox).read_bytes() == inner
    with pytest.raises(BadMessageError):
        recv_file(conn, inbox)
    assert recv(conn) == MESSAGE
    assert contents(inbox) == {"g": inner}


def test_a_file_may_be_larger_than_a_message(
    link: Link, inbox: Path, background: Background
) -> None:
    peer, conn = link
    background(peer.sendall, wire(bytes(FRAMER.max_size + 1)) + AFTER)
    assert recv_file(conn, inbox).stat().st_size == FRAMER.max_size + 1
    assert recv(conn) == MESSAGE


def test_a_message_that_is_not_a_file_stays(link: Link, inbox: Path) -> None:
    peer, conn = link
    long = HeaderMessage({"pad": "x" * 65_000, "id": 1}, b"long")
    for message in (MESSAGE, long, MESSAGE):
        peer.sendall(FRAMER.encode(message))
        for _ in range(2):
            with pytest.raises(
                DecodeError, match=r"with the key 'name' .* not '(id|pad)',"
            ) as info:
                recv_file(conn, inbox)
            assert not info.value.recoverable  # the next call does not continue behind it
            assert len(str(info.value)) < 500
        assert recv(conn) == message
    assert contents(inbox) == {}


def test_progress_is_reported_from_nothing_to_all(
    pair: Pair, source: Path, inbox: Path, background: Background
) -> None:
    size = source.stat().st_size
    sent: list[tuple[int, int]] = []
    received: list[tuple[int, int]] = []
    sending = background(send_file, pair[0], source, progress=lambda *at: sent.append(at))
    recv_file(pair[1], inbox, progress=lambda *at: received.append(at))
    sending.result()
    for calls in (sent, received):
        assert calls[0] == (0, size)
        assert calls[-1] == (size, size)
        assert calls == sorted(set(calls))
        assert len(calls) > 1


def test_memory_does_not_grow_with_the_file(
    ends: Ends, large: Path, inbox: Path, background: Background
) -> None:
    tracemalloc.start()
    try:
        sending = background(send_file, ends[0], large)
        path = recv_file(ends[1], inbox)
        sending.result()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size == 32 * MIB
    assert peak < 2 * MIB


@pytest.mark.parametrize("way", ["missing", "refused", "refused later"])
def test_without_sendfile_the_file_is_read(
    way: str, source: Path, link: Link, monkeypatch: pytest.MonkeyPatch, background: Background
) -> None:
    real, calls = getattr(os, "sendfile", None), itertools.count()

    def refuse(*arguments: int) -> int:
        if real and way == "refused later" and not next(calls):
            return int(real(*arguments[:3], 1000))
        raise OSError(errno.EINVAL, "cannot send from this file")

    monkeypatch.setattr(os, "sendfile", refuse, raising=False)
    if way == "missing":
        monkeypatch.delattr(os, "sendfile")
    peer, conn = link
    background(send_file, conn, source)
    assert recv(peer).body == source.read_bytes()


# The course protocol: struct.pack("i", ...), a JSON header with filename and filesize, the body


def test_the_course_protocol_can_be_sent(source: Path, background: Background) -> None:
    here, there = unix_pair()
    with here, there, there.makefile("rb") as file:
        background(send_file, here, source, name="电影.mp4", framer=COURSE)
        (header_size,) = struct.unpack("<i", file.read(4))
        header = json.loads(file.read(header_size).decode("utf-8"))
        assert header == {"filename": "电影.mp4", "filesize": 300_001}
        assert file.read(header["filesize"]) == source.read_bytes()


def test_the_course_protocol_can_be_received(over: Over, inbox: Path) -> None:
    here, there = unix_pair()
    header = json.dumps({"filename": "电影.mp4", "filesize": 5, "md5": "?"}).encode("utf-8")
    conn = there if over is bare else MessageSocket(there, COURSE)
    with here, there:
        here.sendall(struct.pack("<i", len(header)) + header + b"hello")
        if over is messages:
            with pytest.raises(ValueError, match="has a format already"):
                recv_file(conn, inbox, framer=HeaderBodyFramer("<H"))
        path = recv_file(conn, inbox, framer=COURSE)
    assert (path.name, path.read_bytes()) == ("电影.mp4", b"hello")


# Open files


def test_an_open_file_is_sent_whole(source: Path, inbox: Path) -> None:
    data = os.urandom(50_000)
    source.write_bytes(data)
    here, there = unix_pair()
    with (
        here, there, open(source, "rb") as reader, open(source, "rb", buffering=0) as raw,
        open(source, "r+b") as both, tempfile.TemporaryFile() as temporary,
        tempfile.NamedTemporaryFile() as named, tempfile.SpooledTemporaryFile() as spooled,
    ):  # fmt: skip
        files: list[Any] = [io.BytesIO(), temporary, named, spooled, both, reader, raw]
        for file in files:
            if file in (reader, raw):
                file.seek(1000)
            else:
                file.write(data)  # so its position is at its end, and some of it is buffered
            send_file(here, file, name="f", checksum=True)
            assert not file.closed
            assert recv_file(there, inbox, overwrite=True).read_bytes() == data
        send_file(here, reader)
        assert recv_file(there, inbox).name == source.name


def test_a_file_without_a_size_or_a_name_is_refused(source: Path, link: Link) -> None:
    peer, conn = link
    reading, writing = os.pipe()
    fifo = source.parent / "fifo"
    if hasattr(os, "mkfifo"):
        os.mkfifo(fifo)
    with open(reading, "rb") as pipe, peer.makefile("rb") as stream, open(source) as text:
        without_size: list[Any] = [source.parent, pipe, stream, *([fifo] if fifo.exists() else [])]
        for file in without_size:
            with pytest.raises(ValueError, match=r"expected a regular file.* save what comes"):
                send_file(conn, file, name="f")
        wrong: list[Any] = [text, io.StringIO("hello"), b"hello", 7, None]
        for file in wrong:
            with pytest.raises(TypeError, match="opened with 'rb'"):
                send_file(conn, file, name="f")
    with pytest.raises(ValueError, match="has no name: add name="):
        send_file(conn, io.BytesIO(b"hello"))
    with pytest.raises(FileNotFoundError):
        send_file(conn, "none")
    send(conn)
    assert recv(peer) == MESSAGE
    os.close(writing)


# Names from a peer

HOSTILE_NAMES = [
    *("", ".", "..", "../up", "/etc/passwd", "a/b", "a\\b", "..\\up", "C:evil", "C:\\evil"),
    *("\\\\host\\share", "a.txt:stream", "a\0b", "a\nb", "a\n", "a\x1b[2Jb", "a\x7fb", "a\x85b"),
    *("a\u2028b", "photo\u202egpj.exe", "x" * 256, "漢" * 86, "a.", "a ", "...", " ", "\u3000"),
    *("con", "CON", "nul.txt", "Aux.tar.gz", "com1", "LPT9.x", "COM¹", "con .txt", "CONIN$"),
    # hidden, options, invisible
    *(".bashrc", ".profile", ".git", "..a", "-rf", "--help", " a", "\u00a0a", "a\u00adb"),
    *("\u200b", "a\ufeff.txt", "a\u200d", "\u3164", "a\u115fb", "\u1160", "\uffa0", "\u2800"),
    *("a\u2065b", "a\U000e0041", "\ufe0f", "\u0301a", "a\u061cb"),
]
NAMES_OF_ANOTHER_TYPE: list[Any] = [None, 7, ["a"], {"a": 1}, True]
PLAIN_NAMES = [
    *("a", "a..b", "a-b", "~", "a b", "写真\u3000１.jpg", "漢字.txt", "x" * 255, "漢" * 85, "é"),
    *("console.txt", "com10", "COM", "nul_", "a'b\"c", "what?*<>|", "e\u0301", "❤\ufe0f.txt"),
]


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, *NAMES_OF_ANOTHER_TYPE], ids=ascii)
def test_a_name_that_is_not_plain_is_refused(name: Any, link: Link, inbox: Path) -> None:
    peer, conn = link
    peer.sendall(AFTER + wire(name=name) + AFTER)
    assert recv(conn) == MESSAGE
    with pytest.raises(BadMessageError, match="expected the name of one plain file") as info:
        recv_file(conn, inbox)
    assert info.value.offset == len(AFTER)
    assert str(info.value).isprintable()
    assert len(str(info.value)) < 300
    assert recv(conn) == MESSAGE
    assert contents(inbox) == contents(inbox.parent) == {}


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "a\udcff"], ids=ascii)
def test_a_name_that_is_not_plain_is_not_sent(name: str) -> None:
    here, there = unix_pair()
    with here, there:
        with pytest.raises(EncodeError, match="expected the name of one plain file"):
            send_file(here, io.BytesIO(b"hello"), name=name)
        send(here)
        assert recv(there) == MESSAGE


@pytest.mark.parametrize("name", PLAIN_NAMES, ids=ascii)
def test_a_plain_name_is_taken_as_it_is(name: str, inbox: Path) -> None:
    here, there = unix_pair()
    with here, there:
        send_file(here, io.BytesIO(b"hello"), name=name)
        assert recv_file(there, inbox) == inbox / name
    assert [each.name for each in inbox.iterdir()] == [name]


PARTS = st.sampled_from([*HOSTILE_NAMES, *PLAIN_NAMES, *"./\\:- \n$", "\u200b", "\u3164", "con"])


@given(st.lists(PARTS | st.text(max_size=3), max_size=4).map("".join))
def test_a_name_that_is_accepted_is_that_of_one_visible_file(name: str) -> None:
    reason = why_refused(name)
    assert reason.isprintable()
    if not reason:
        assert Path("dir", name).parts == ("dir", name)
        assert not set(name) & set("/\\:\0\n\u200b\u3164\u2800")
        assert name[0] not in ".- "
        assert name[-1] not in ". "
        assert len(os.fsencode(name)) <= 255
        assert name.partition(".")[0].strip().upper() not in {"CON", "NUL", "COM1"}


def test_a_name_that_this_system_cannot_store_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("ascii"))
    assert why_refused("é") == "this system cannot store some of its characters"


def test_you_may_choose_the_name(link: Link, inbox: Path) -> None:
    peer, conn = link
    peer.sendall(wire(name="../.bashrc") + AFTER)
    assert recv_file(conn, inbox, name=".other") == inbox / ".other"
    assert recv(conn) == MESSAGE
    assert contents(inbox) == {".other": b"hello"}


def test_you_may_choose_the_name_once_you_know_the_peers(link: Link, inbox: Path) -> None:
    here, there = link
    here.sendall(wire(b"hello", name="f") + wire(b"hello", name="../f"))
    assert recv_file(there, inbox, name=lambda name: f"new-{name}") == inbox / "new-f"
    with pytest.raises(BadMessageError, match="one plain file"):
        recv_file(there, inbox, name=str.upper)
    assert contents(inbox) == {"new-f": b"hello"}


# What else a peer may not do


@pytest.mark.parametrize("size", [6, 100_000, 2**70, 10**600])
def test_a_false_size_leaves_nothing(size: int, link: Link, inbox: Path) -> None:
    peer, conn = link
    sent = wire(size=size)
    peer.sendall(sent)
    peer.close()
    for receive in (lambda: recv_file(conn, inbox), lambda: recv(conn)):
        with pytest.raises(IncompleteMessageError) as info:
            receive()
        assert info.value.received == len(sent)
        assert info.value.expected == len(sent) - 5 + size
    assert contents(inbox) == {}


@pytest.mark.parametrize("size", [None, -1, "5", True, 5.0])
def test_a_file_without_a_size_breaks_the_format(size: Any, link: Link, inbox: Path) -> None:
    peer, conn = link
    peer.sendall(wire(size=size))
    for receive in (lambda: recv_file(conn, inbox), lambda: recv(conn)):
        with pytest.raises(DecodeError, match="size") as info:
            receive()
        assert not info.value.recoverable


def test_a_wrong_checksum_leaves_nothing(link: Link, inbox: Path) -> None:
    peer, conn = link
    right = hashlib.sha256(b"hello").hexdigest()
    wrong: list[Any] = [hashlib.sha256(b"jello").hexdigest(), right[:-1], "", 7, True, [right]]
    for digest in wrong:
        peer.sendall(wire(sha256=digest) + AFTER)
        with pytest.raises(BadMessageError, match="expected the SHA-256 digest") as info:
            recv_file(conn, inbox)
        assert info.value.offset is not None
        assert recv(conn) == MESSAGE
        assert contents(inbox) == {}
    peer.sendall(wire(sha256=right.upper()) + wire(sha256=None))
    for _ in range(2):
        assert recv_file(conn, inbox, overwrite=True).read_bytes() == b"hello"


def test_a_file_above_the_limit_is_refused_before_it_comes(link: Link, inbox: Path) -> None:
    peer, conn = link
    peer.sendall(wire(b"", size=6))
    with pytest.raises(MessageTooLargeError, match="at most 5 bytes") as info:
        recv_file(conn, inbox, max_size=5)
    assert (info.value.size, info.value.limit, info.value.offset) == (6, 5, 0)
    assert info.value.recoverable
    peer.sendall(b"hello!" + wire())
    assert recv_file(conn, inbox, max_size=5).read_bytes() == b"hello"
    with pytest.raises(ValueError, match="max_size"):
        recv_file(conn, inbox, max_size=-1)


def test_a_cut_at_any_byte_leaves_nothing(over: Over, inbox: Path) -> None:
    sent = wire(bytes(20), sha256=hashlib.sha256(bytes(20)).hexdigest())
    for size in range(len(sent)):
        here, there = unix_pair()
        conn = over(there)
        with there:
            here.sendall(sent[:size])
            here.close()
            for _ in range(2):
                with pytest.raises(IncompleteMessageError if size else EndOfStreamError):
                    recv_file(conn, inbox)
        assert contents(inbox) == {}


# What is in the directory already


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "directory"])
def test_what_is_there_is_only_replaced_if_you_say_so(
    kind: str, overwrite: bool, inbox: Path, link: Link
) -> None:
    path, other = inbox / "f", inbox.parent / "other"
    if kind == "directory":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(b"mine")
    else:
        path.symlink_to(other)
        if kind == "link":
            other.write_bytes(b"mine")
    before = path.lstat()
    peer, conn = link
    peer.sendall(wire() + AFTER)
    if overwrite and kind != "directory":
        assert recv_file(conn, inbox, overwrite=True) == path
        assert contents(inbox) == {"f": b"hello"}
        assert not path.is_symlink()
    else:
        with pytest.raises(IsADirectoryError if overwrite else FileExistsError) as info:
            recv_file(conn, inbox, overwrite=overwrite)
        assert info.value.filename == str(path)
        assert os.path.samestat(path.lstat(), before)
    assert recv(conn) == MESSAGE
    assert len(list(inbox.iterdir())) == 1
    assert other.exists() == (kind == "link")
    assert not other.exists() or other.read_bytes() == b"mine"  # never written through


def raising(error: BaseException) -> Callable[..., NoReturn]:
    def call(*_: object) -> NoReturn:
        raise error

    return call


def without_links(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    if way == "refused":
        monkeypatch.setattr(os, "link", raising(PermissionError(errno.EPERM, "no")), raising=False)
    elif way == "missing":
        monkeypatch.delattr(os, "link", raising=False)
    elif way == "as on Windows":
        monkeypatch.setattr(new_file, "_RENAMING_REPLACES", False)


@pytest.mark.parametrize("way", ["there", "refused", "missing", "as on Windows"])
def test_a_file_is_moved_with_or_without_hard_links(
    way: str, inbox: Path, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_links(monkeypatch, way)
    peer, conn = link
    peer.sendall(wire() * 2)
    path = recv_file(conn, inbox)
    assert contents(inbox) == {"f": b"hello"}
    path.unlink()
    if way != "as on Windows":  # whose renaming is needed for this
        with pytest.raises(FileExistsError) as info:
            recv_file(conn, inbox, progress=lambda *_: path.write_bytes(b"faster"))
        assert info.value.filename == str(path)
        assert contents(inbox) == {"f": b"faster"}


@pytest.mark.parametrize("way", ["link", "replace", "open"])
def test_if_it_cannot_be_moved_nothing_is_left(
    way: str, inbox: Path, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_links(monkeypatch, "refused")
    monkeypatch.setattr(os, way, raising(OSError(errno.EIO, "the disk is broken")))
    link[0].sendall(wire())
    with pytest.raises(OSError, match="the disk is broken"):
        recv_file(link[1], inbox)
    assert contents(inbox) == {}


# What goes wrong while it is received


class FullDisk(io.FileIO):
    """A file that takes a few bytes at a time, and then no more."""

    room = 50_000

    def write(self, data: Any, /) -> int:
        size = min(len(data), 1000, self.room)
        if not size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= size
        return super().write(data[:size])


def test_a_full_disk_leaves_nothing_and_the_connection_goes_on(
    link: Link, inbox: Path, monkeypatch: pytest.MonkeyPatch, background: Background
) -> None:
    def open_(path: str, *_: object, **__: object) -> FullDisk:
        return FullDisk(path, "xb")

    monkeypatch.setattr(new_file, "open", open_, raising=False)
    peer, conn = link
    background(peer.sendall, wire(bytes(300_000)) + AFTER + wire(bytes(20_000)))
    with pytest.raises(OSError, match="No space left"):
        recv_file(conn, inbox)
    assert recv(conn) == MESSAGE
    assert contents(inbox) == {}
    assert recv_file(conn, inbox).read_bytes() == bytes(20_000)


def test_the_directory_is_looked_for_before_anything_is_received(link: Link, inbox: Path) -> None:
    peer, conn = link
    peer.sendall(wire())
    with pytest.raises(NotADirectoryError):
        recv_file(conn, __file__)
    with pytest.raises(FileNotFoundError):
        recv_file(conn, inbox / "none")
    assert recv_file(conn, inbox).read_bytes() == b"hello"


def set_timeout(conn: Connection, seconds: float | None) -> None:
    (conn if isinstance(conn, socket.socket) else conn.sock).settimeout(seconds)


def test_a_timeout_before_the_body_loses_nothing(link: Link, inbox: Path) -> None:
    peer, conn = link
    set_timeout(conn, 0.001)
    for at in range(len(wire()) - 5):
        for receive in (lambda: recv_file(conn, inbox), lambda: recv(conn)):
            with pytest.raises(TimeoutError):
                receive()  # each continues with what the other one received
        peer.sendall(wire()[at : at + 1])
    peer.sendall(b"hello")
    set_timeout(conn, 10)
    assert recv_file(conn, inbox).read_bytes() == b"hello"


def test_a_timeout_inside_the_body_costs_that_file_only(link: Link, inbox: Path) -> None:
    peer, conn = link
    set_timeout(conn, 0.01)
    peer.sendall(wire(size=10))
    with pytest.raises(TimeoutError):
        recv_file(conn, inbox)
    assert contents(inbox) == {}
    peer.sendall(b"wo")
    with pytest.raises(TimeoutError):
        recv(conn)
    peer.sendall(b"rld" + AFTER + wire())
    assert recv(conn) == MESSAGE
    assert recv_file(conn, inbox).read_bytes() == b"hello"


@pytest.mark.parametrize(
    "receive",
    [
        lambda sock: recv_msg(sock, framer=LineFramer()),
        lambda sock: MessageSocket(sock, LineFramer()).recv(),
        lambda sock: MessageSocket(sock, FRAMER).switch(LineFramer()).recv(),
        lambda sock: MessageSocket(sock, FRAMER).recv_exactly(6).decode(),
        lambda sock: next(iter(MessageSocket(sock, LineFramer()))),
    ],
)
def test_the_rest_of_a_file_is_skipped_by_whatever_comes_next(
    receive: Callable[[socket.socket], str], inbox: Path
) -> None:
    here, there = unix_pair()
    there.settimeout(0.01)
    with here, there:
        here.sendall(wire(size=10))
        with pytest.raises(TimeoutError):
            recv_file(there, inbox)
        there.settimeout(10)
        here.sendall(b"world" + b"a line\n")
        assert receive(there) == "a line"


def test_a_socket_is_not_given_back_inside_a_file(inbox: Path) -> None:
    here, there = unix_pair()
    conn = messages(there)
    with here, there:
        here.sendall(wire(b"he", name="../f", size=5))
        with pytest.raises(BadMessageError):
            recv_file(conn, inbox)
        with pytest.raises(ValueError, match="still to come"):
            conn.detach()
        here.sendall(b"llo" + AFTER)
        assert recv(conn) == MESSAGE
        assert conn.detach() == (there, b"")


@pytest.mark.parametrize("calls", range(3))
def test_an_exception_out_of_progress_leaves_nothing(
    link: Link, calls: int, inbox: Path, background: Background
) -> None:
    peer, conn = link
    turns = itertools.count()
    interrupt = raising(KeyboardInterrupt())
    background(peer.sendall, wire(bytes(1_000_000)) + AFTER)
    with pytest.raises(KeyboardInterrupt):
        recv_file(conn, inbox, progress=lambda *_: next(turns) == calls and interrupt())
    assert contents(inbox) == {}
    assert recv(conn) == MESSAGE


def test_a_call_out_of_progress_does_not_take_the_file(link: Link, inbox: Path) -> None:
    peer, conn = link
    peer.sendall(wire() + AFTER)
    with pytest.raises(RuntimeError):
        recv_file(conn, inbox, progress=lambda *_: recv(conn))
    assert recv(conn) == MESSAGE
    assert contents(inbox) == {}


class Interruption(BaseException):
    """Like ``KeyboardInterrupt``: from outside, at any moment."""


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # closed all the same
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # which says so
@pytest.mark.usefixtures("without_collection")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no interval timers")
@pytest.mark.parametrize("make_pair", [unix_pair, wrapped_pair])
def test_signals_leave_all_or_nothing(
    make_pair: Callable[[], Pair], over: Over, inbox: Path, background: Background
) -> None:
    data, times, outcomes = os.urandom(400_000), random.Random(7), set()
    before = signal.signal(signal.SIGALRM, raising(Interruption()))
    try:
        for _ in range(30):
            here, there = make_pair()
            conn = over(there)
            with here, there:
                sending = background(here.sendall, wire(data) + AFTER)
                with suppress(Interruption):
                    signal.setitimer(signal.ITIMER_REAL, times.uniform(0.0001, 0.003))
                    recv_file(conn, inbox)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                found = contents(inbox)
                assert found in ({}, {"f": data})
                outcomes.add(len(found))
                (inbox / "f").unlink(missing_ok=True)
                try:
                    message = recv(conn)
                    assert (recv(conn) if message.body == data else message) == MESSAGE
                except ConnectionError:  # bytes may be lost, so nothing is read any more
                    there.close()
            sending.exception()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert outcomes == {0, 1}


# What goes wrong while it is sent


def check_is_cut(conn: Connection, source: Path) -> None:
    """Nothing follows a file that was cut off."""
    with pytest.raises(ConnectionError, match="cut off in the middle"):
        send(conn)
    with pytest.raises(ConnectionError, match="cut off in the middle"):
        send_file(conn, source)
    if isinstance(conn, MessageSocket):
        with pytest.raises(ConnectionError, match="cut off in the middle"):
            conn.detach()
    conn.close()


@pytest.mark.parametrize("size", [0, 1, 299_999])
def test_a_file_that_shrinks_is_noticed_and_nothing_follows(
    ends: Ends, size: int, source: Path, inbox: Path, background: Background
) -> None:
    receiving = background(recv_file, ends[1], inbox)
    with pytest.raises(OSError, match=f"300001 bytes were announced, but there are {size}"):
        send_file(ends[0], source, progress=lambda *_: os.truncate(source, size))
    check_is_cut(ends[0], source)
    with pytest.raises((IncompleteMessageError, ConnectionError)):
        receiving.result()
    assert contents(inbox) == {}


def test_a_file_that_grows_is_noticed_and_the_connection_goes_on(
    ends: Ends, source: Path, inbox: Path, background: Background
) -> None:
    data = source.read_bytes()
    receiving = background(recv_file, ends[1], inbox)
    with pytest.raises(OSError, match="but there are more"):
        send_file(ends[0], source, progress=lambda *_: source.write_bytes(data + b"more"))
    assert receiving.result().read_bytes() == data
    send(ends[0])
    assert recv(ends[1]) == MESSAGE


@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo"), reason="needs Linux's /proc")
def test_a_file_that_only_looks_empty_is_noticed(link: Link) -> None:
    with pytest.raises(OSError, match="0 bytes were announced, but there are more"):
        send_file(link[1], "/proc/cpuinfo", checksum=True)


@pytest.mark.parametrize("calls", range(4))
def test_an_exception_out_of_progress_cuts_the_file_off(
    link: Link, calls: int, source: Path, background: Background
) -> None:
    peer, conn = link
    turns = itertools.count()
    interrupt = raising(KeyboardInterrupt())
    receiving = background(recv, peer)
    file = io.BytesIO(bytes(3 * PIECE))
    with pytest.raises(KeyboardInterrupt):
        send_file(conn, file, name="f", progress=lambda *_: next(turns) == calls and interrupt())
    if calls in (1, 2):
        check_is_cut(conn, source)
        with pytest.raises(IncompleteMessageError):
            receiving.result()
    else:  # before the first byte, or when the last one is out
        send(conn)
        assert receiving.result().body == (bytes(3 * PIECE) if calls else b"message")


def test_an_interruption_behind_the_header_cuts_the_file_off(
    link: Link, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Channel.send

    def send_and_interrupt(*args: Any, **kwargs: Any) -> NoReturn:
        real(*args, **kwargs)
        raise Interruption

    monkeypatch.setattr(Channel, "send", send_and_interrupt)
    with pytest.raises(Interruption):
        send_file(link[1], source)
    monkeypatch.undo()
    check_is_cut(link[1], source)


def test_a_timeout_before_the_first_byte_costs_nothing(link: Link) -> None:
    peer, conn = link
    set_timeout(peer, 0)
    sock = conn if isinstance(conn, socket.socket) else conn.sock
    sock.settimeout(0)
    filled = fill(sock)
    sock.settimeout(0.01)
    with pytest.raises(TimeoutError):
        send_file(conn, io.BytesIO(b"hello"), name="f")
    while filled:
        filled -= len(peer.recv(filled))
    send_file(conn, io.BytesIO(b"hello"), name="f")
    assert recv(peer).body == b"hello"


def test_a_timeout_inside_the_file_cuts_it_off(ends: Ends, large: Path) -> None:
    set_timeout(ends[0], 0.05)
    with pytest.raises(TimeoutError):
        send_file(ends[0], large)
    check_is_cut(ends[0], large)


def test_unsent_bytes_go_before_the_file(source: Path, background: Background) -> None:
    client, there = unix_pair()
    with messages(client) as here, there:
        here.send(HeaderMessage({}, bytes(MIB)), timeout=0)
        assert here.unsent
        background(send_file, here, source)
        assert recv(there).body == bytes(MIB)
        assert recv(there).body == source.read_bytes()


def test_a_slow_file_may_take_longer_than_the_timeout(
    source: Path, inbox: Path, background: Background
) -> None:
    """The timeout is for each wait, not for the whole."""
    client, server = unix_pair()
    for sock in (client, server):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        sock.settimeout(0.3)
    slowly = threading.Event()
    with messages(client) as here, messages(server) as there:
        background(send_file, here, source)
        path = recv_file(there, inbox, progress=lambda *_: slowly.wait(0.02))
        assert path.read_bytes() == source.read_bytes()


# Threads


def test_other_threads_send_whole_messages_before_and_after(
    over: Over, source: Path, inbox: Path
) -> None:
    pair = tcp_pair()
    here, there = map(over, pair)
    with pair[0], pair[1], ThreadPoolExecutor() as executor:
        for name in "abc":
            executor.submit(send_file, here, source, name=name)
            for _ in range(20):
                executor.submit(send, here)
        for _ in range(3 + 60):
            try:
                recv_file(there, inbox)
            except DecodeError:
                assert recv(there) == MESSAGE
    assert contents(inbox) == dict.fromkeys("abc", source.read_bytes())


@pytest.mark.parametrize(
    ("make_pair", "over"),
    [(wrapped_pair, bare), (wrapped_pair, messages), (tls_pair, messages)],  # not TLS by itself
)
def test_another_thread_receives_undisturbed_while_a_file_is_sent(
    make_pair: Callable[[], Pair], over: Over, inbox: Path, large: Path
) -> None:
    here, there = map(over, make_pair())
    with ThreadPoolExecutor() as executor, here, there:
        sending = executor.submit(send_file, here, large)
        receiving = executor.submit(lambda: [recv(here) for _ in range(300)])
        file = executor.submit(recv_file, there, inbox)
        for _ in range(300):
            send(there)
        assert receiving.result() == [MESSAGE] * 300
        sending.result()
        assert file.result().stat().st_size == 32 * MIB


def test_a_connection_that_is_closed_ends_a_transfer(large: Path, inbox: Path) -> None:
    client, server = tcp_pair()
    client.settimeout(None)
    server.settimeout(None)
    here, there = messages(client), messages(server)
    moving = threading.Event()
    with ThreadPoolExecutor() as executor:
        sending = executor.submit(send_file, here, large)
        receiving = executor.submit(recv_file, there, inbox, progress=lambda *_: moving.set())
        moving.wait(10)
        there.close()
        assert isinstance(receiving.exception(), (OSError, FramingError))
        assert isinstance(sending.exception(), OSError)
    check_is_cut(here, large)
    assert contents(inbox) == {}
    for call in (lambda: send_file(there, large), lambda: recv_file(there, inbox)):
        with pytest.raises(OSError, match="closed"):
            call()


@pytest.mark.skipif(
    not (hasattr(os, "sendfile") and hasattr(socket, "MSG_DONTWAIT")),
    reason="needs sendfile, which takes a number",
)
def test_a_file_never_goes_to_another_connection(source: Path) -> None:
    """Another thread closes the socket, and its number is another connection's at once."""
    here, there = unix_pair()
    other_here, other_there = unix_pair()
    closed: list[int] = []

    def close_meanwhile(done: int, _: int) -> None:
        if done and not closed:
            closed.append(here.fileno())
            here.close()
            os.dup2(other_here.fileno(), closed[0])

    with there, other_here, other_there:
        with pytest.raises((OSError, ValueError)):
            send_file(here, source, progress=close_meanwhile)
        os.close(closed[0])
        other_there.settimeout(0)
        with pytest.raises(BlockingIOError):
            other_there.recv(1)


# Misuse


def test_what_is_not_a_connection_for_files_is_refused(source: Path, inbox: Path) -> None:
    def check(conn: Any, error: type[Exception], match: str) -> None:
        for call in (lambda: send_file(conn, source), lambda: recv_file(conn, inbox)):
            with pytest.raises(error, match=match):
                call()

    here, there = unix_pair()
    with here, there, socket.socket() as unconnected, there.makefile("rb") as file:
        check("downloads", TypeError, "expected a socket, not str")
        check(file, TypeError, "expected a socket, not BufferedReader")
        check(unconnected, OSError, "expected a connected socket")
        here.setblocking(False)
        check(here, ValueError, "expected a socket that blocks")
        here.setblocking(True)
        conn = MessageSocket(here, LengthPrefixFramer())
        check(conn, TypeError, "expected a HeaderBodyFramer")
        check(here, ValueError, "belongs to a MessageSocket")
        digests = MessageSocket(conn.detach()[0], HeaderBodyFramer(name_key="sha256"))
        check(digests, ValueError, "the key 'sha256' is for a file's digest")

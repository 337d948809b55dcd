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
import stat
import struct
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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

from .fakes import MisbehavingSocket
from .pairs import MIB, Pair, fill, tcp_pair, tls_pair, unix_pair, wrapped_pair

Connection = socket.socket | MessageSocket[HeaderMessage]
Over = Callable[[socket.socket], Connection]

FRAMER = HeaderBodyFramer()
COURSE = HeaderBodyFramer("<i", size_key="filesize", name_key="filename")
AFTER = HeaderMessage({"id": 2}, b"after")


def bare(sock: socket.socket) -> socket.socket:
    return sock


def messages(sock: socket.socket) -> MessageSocket[HeaderMessage]:
    return MessageSocket(sock, FRAMER)


every_connection = pytest.mark.parametrize("over", [bare, messages])


def send(conn: Connection, message: HeaderMessage) -> None:
    if isinstance(conn, MessageSocket):
        conn.send(message)
    else:
        send_msg(conn, message, framer=FRAMER)


def recv(conn: Connection) -> HeaderMessage:
    """Receive a message, and return it as it was before its size was filled in."""
    message = conn.recv() if isinstance(conn, MessageSocket) else recv_msg(conn, framer=FRAMER)
    header = {key: value for key, value in message.header.items() if key != "size"}
    return HeaderMessage(header, message.body)


def wire(header: dict[str, Any], body: bytes = b"") -> bytes:
    """Return a file as bytes, whatever its header claims."""
    encoded = json.dumps(header).encode()
    return struct.pack("!I", len(encoded)) + encoded + body


HELLO = wire({"name": "f", "size": 5}, b"hello")


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


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as executor:
        yield executor


# It arrives


@every_connection
@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("size", [0, 1, 65_536, 1_000_003])
def test_a_file_arrives_as_it_was(
    pair: Pair, over: Over, inbox: Path, size: int, checksum: bool, executor: ThreadPoolExecutor
) -> None:
    here, there = map(over, pair)
    source = inbox.parent / "photo.jpg"
    source.write_bytes(os.urandom(size))
    sending = executor.submit(send_file, here, source, checksum=checksum)
    assert recv_file(there, inbox) == inbox / "photo.jpg"
    sending.result()
    assert contents(inbox) == {"photo.jpg": source.read_bytes()}


@every_connection
def test_files_and_messages_follow_one_another(
    pair: Pair, over: Over, source: Path, inbox: Path, executor: ThreadPoolExecutor
) -> None:
    here, there = map(over, pair)

    def send_all() -> None:
        send(here, AFTER)
        send_file(here, source, name="1")
        send_file(here, source, name="2", checksum=True)
        send(here, AFTER)
        send_file(here, source, name="3")

    sending = executor.submit(send_all)
    assert recv(there) == AFTER
    assert recv_file(there, inbox).name == "1"
    assert recv_file(there, inbox).name == "2"
    assert recv(there) == AFTER
    assert recv_file(there, inbox).name == "3"
    sending.result()
    assert set(contents(inbox).values()) == {source.read_bytes()}
    (here if isinstance(here, socket.socket) else here.sock).close()
    with pytest.raises((EndOfStreamError, ConnectionResetError)):  # TLS may reset the connection
        recv_file(there, inbox)


@given(data=st.data(), body=st.binary(max_size=100), over=st.sampled_from([bare, messages]))
def test_any_cuts_give_the_same(
    data: st.DataObject, body: bytes, over: Over, tmp_path_factory: pytest.TempPathFactory
) -> None:
    inbox = tmp_path_factory.mktemp("inbox")
    stream = b"".join(map(FRAMER.encode, [AFTER, HeaderMessage({"name": "f"}, body), AFTER]))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))
    here, there = unix_pair()
    conn = over(there)
    with here, there, ThreadPoolExecutor() as executor:
        receiving = executor.submit(lambda: (recv(conn), recv_file(conn, inbox), recv(conn)))
        for start, end in itertools.pairwise([0, *cuts, len(stream)]):
            here.sendall(stream[start:end])
        first, path, last = receiving.result(timeout=10)
    assert (first, path.read_bytes(), last) == (AFTER, body, AFTER)


@every_connection
def test_a_byte_at_a_time_is_enough(
    over: Over, tmp_path: Path, inbox: Path, executor: ThreadPoolExecutor
) -> None:
    here, there = map(MisbehavingSocket.around, unix_pair())
    (tmp_path / "small").write_bytes(b"hello" * 50)
    with here, there:
        sending = executor.submit(send_file, over(here), tmp_path / "small")
        assert recv_file(over(there), inbox).read_bytes() == b"hello" * 50
        sending.result()


def test_a_file_inside_a_file_is_not_received(inbox: Path) -> None:
    """The bytes of a body look like files, and are there before the first one is asked for."""
    inner = HELLO * 3
    here, there = unix_pair()
    with here, messages(there) as conn:
        here.sendall(FRAMER.encode(AFTER) + wire({"name": "g", "size": len(inner)}, inner))
        here.sendall(wire({"name": "../f", "size": len(inner)}, inner) + FRAMER.encode(AFTER))
        assert recv(conn) == AFTER  # and the rest with it
        assert recv_file(conn, inbox).read_bytes() == inner
        with pytest.raises(BadMessageError):
            recv_file(conn, inbox)
        assert recv(conn) == AFTER
    assert contents(inbox) == {"g": inner}


@every_connection
def test_a_file_may_be_larger_than_a_message(
    over: Over, inbox: Path, executor: ThreadPoolExecutor
) -> None:
    size = FRAMER.max_size + 1
    here, there = unix_pair()
    with here, there:
        executor.submit(
            here.sendall, wire({"name": "f", "size": size}, bytes(size)) + FRAMER.encode(AFTER)
        )
        conn = over(there)
        assert recv_file(conn, inbox).stat().st_size == size
        assert recv(conn) == AFTER


@every_connection
def test_a_message_that_is_not_a_file_stays(plain_pair: Pair, over: Over, inbox: Path) -> None:
    here, there = map(over, plain_pair)
    long = HeaderMessage({"pad": "x" * 65_000, "id": 1}, b"long")
    for message in (AFTER, long, AFTER):
        send(here, message)
        for _ in range(2):
            with pytest.raises(DecodeError, match=r"a file, with the key 'name'.*not '") as caught:
                recv_file(there, inbox)
            assert not caught.value.recoverable  # the next call does not continue behind it
            assert len(str(caught.value)) < 500
        assert recv(there) == message
    assert contents(inbox) == {}


def test_progress_is_reported_from_nothing_to_all(
    pair: Pair, source: Path, inbox: Path, executor: ThreadPoolExecutor
) -> None:
    size = source.stat().st_size
    sent: list[tuple[int, int]] = []
    received: list[tuple[int, int]] = []
    executor.submit(send_file, pair[0], source, progress=lambda *at: sent.append(at))
    recv_file(pair[1], inbox, progress=lambda *at: received.append(at))
    executor.shutdown()
    for calls in (sent, received):
        assert calls[0] == (0, size)
        assert calls[-1] == (size, size)
        assert calls == sorted(set(calls))
        assert len(calls) > 1


@every_connection
def test_memory_does_not_grow_with_the_file(
    over: Over, large: Path, inbox: Path, executor: ThreadPoolExecutor
) -> None:
    here, there = tcp_pair()
    with here, there:
        tracemalloc.start()
        try:
            sending = executor.submit(send_file, over(here), large)
            path = recv_file(over(there), inbox)
            sending.result()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert path.stat().st_size == 32 * MIB
    assert peak < 2 * MIB


@pytest.mark.parametrize("way", ["missing", "refused", "refused later"])
def test_without_sendfile_the_file_is_read(
    way: str,
    source: Path,
    inbox: Path,
    monkeypatch: pytest.MonkeyPatch,
    executor: ThreadPoolExecutor,
) -> None:
    real, calls = getattr(os, "sendfile", None), itertools.count()

    def refuse(*arguments: int) -> int:
        if real and way == "refused later" and not next(calls):
            return int(real(*arguments[:3], 1000))
        raise OSError(errno.EINVAL, "cannot send from this file")

    monkeypatch.setattr(os, "sendfile", refuse, raising=False)
    if way == "missing":
        monkeypatch.delattr(os, "sendfile")
    here, there = unix_pair()
    with here, there:
        sending = executor.submit(send_file, here, source)
        assert recv_file(there, inbox).read_bytes() == source.read_bytes()
        sending.result()


# The course protocol: struct.pack("i", ...), a JSON header with filename and filesize, the body


def test_a_peer_of_the_course_protocol_can_be_sent_to(
    source: Path, executor: ThreadPoolExecutor
) -> None:
    here, there = unix_pair()
    with here, there.makefile("rb") as file:
        sending = executor.submit(send_file, here, source, name="电影.mp4", framer=COURSE)
        (header_size,) = struct.unpack("<i", file.read(4))
        header = json.loads(file.read(header_size).decode("utf-8"))
        assert file.read(header["filesize"]) == source.read_bytes()
        assert header == {"filename": "电影.mp4", "filesize": 300_001}
        sending.result()
    there.close()


@every_connection
def test_a_peer_of_the_course_protocol_can_be_received_from(over: Over, inbox: Path) -> None:
    here, there = unix_pair()
    header = json.dumps({"filename": "电影.mp4", "filesize": 5, "md5": "?"}).encode("utf-8")
    conn: Any = there if over is bare else MessageSocket(there, COURSE)
    with here, there:
        here.sendall(struct.pack("<i", len(header)) + header + b"hello")
        if over is bare:
            path = recv_file(conn, inbox, framer=COURSE)
        else:
            with pytest.raises(ValueError, match="has a format already"):
                recv_file(conn, inbox, framer=HeaderBodyFramer("<H"))
            path = recv_file(conn, inbox)
    assert (path.name, path.read_bytes()) == ("电影.mp4", b"hello")


# Open files


def test_an_open_file_is_sent_whole(source: Path, inbox: Path) -> None:
    data = source.read_bytes()[:100_000]
    here, there = unix_pair()
    here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MIB)
    source.write_bytes(data)
    with (
        here, there, tempfile.TemporaryFile() as temporary, tempfile.NamedTemporaryFile() as named,
        tempfile.SpooledTemporaryFile() as spooled, open(source, "rb") as reader,
        open(source, "rb", buffering=0) as raw, open(source, "r+b") as both,
    ):  # fmt: skip
        both.seek(50_000)
        files: list[Any] = [io.BytesIO(data), temporary, named, spooled, reader, raw, both]
        for file in files:
            file.seek(0)
            if file not in (reader, raw):
                file.write(data)  # to the end, and part of it is still buffered
            send_file(here, file, name="f", checksum=True)
            assert not file.closed
            assert recv_file(there, inbox, overwrite=True).read_bytes() == data
        send_file(here, reader)
        assert recv_file(there, inbox).name == source.name


def test_a_file_without_a_size_or_a_name_is_refused(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent)
    reading, writing = os.pipe()
    here, there = unix_pair()
    refused: list[Any] = [source.parent, open(reading, "rb"), here.makefile("rb")]
    if hasattr(os, "mkfifo"):
        os.mkfifo("fifo")
        refused.append("fifo")
    with here, there, refused[1], refused[2], open(source) as text, open("new", "wb") as written:
        for file in refused:
            with pytest.raises(ValueError, match="expected a regular file"):
                send_file(here, file, name="f")
        for wrong in (text, io.StringIO("hello"), b"hello", 7, None):
            with pytest.raises(TypeError, match="opened with 'rb'"):
                send_file(here, wrong, name="f")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="read"):
            send_file(here, written)
        with pytest.raises(ValueError, match="has no name: add name="):
            send_file(here, io.BytesIO(b"hello"))
        with pytest.raises(FileNotFoundError):
            send_file(here, "none")
        send(here, AFTER)
        assert recv(there) == AFTER
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


@every_connection
@pytest.mark.parametrize("name", [*HOSTILE_NAMES, *NAMES_OF_ANOTHER_TYPE], ids=ascii)
def test_a_name_that_is_not_plain_is_refused(name: Any, over: Over, inbox: Path) -> None:
    here, there = unix_pair()
    conn = over(there)
    with here, there:
        here.sendall(FRAMER.encode(AFTER) + wire({"name": name, "size": 5}, b"hello"))
        here.sendall(FRAMER.encode(AFTER))
        assert recv(conn) == AFTER
        with pytest.raises(BadMessageError, match="expected the name of one plain file") as caught:
            recv_file(conn, inbox)
        assert caught.value.offset == len(FRAMER.encode(AFTER))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300
        assert recv(conn) == AFTER
    assert contents(inbox) == contents(inbox.parent) == {}


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "a\udcff"], ids=ascii)
def test_a_name_that_is_not_plain_is_not_sent(name: str, source: Path) -> None:
    here, there = unix_pair()
    with here, there:
        with pytest.raises(EncodeError, match="expected the name of one plain file"):
            send_file(here, source, name=name)
        send(here, AFTER)
        assert recv(there) == AFTER


@pytest.mark.parametrize("name", PLAIN_NAMES, ids=ascii)
def test_a_plain_name_is_taken_as_it_is(name: str, inbox: Path) -> None:
    here, there = unix_pair()
    with here, there:
        send_file(here, io.BytesIO(b"hello"), name=name)
        assert recv_file(there, inbox) == inbox / name
    assert [each.name for each in inbox.iterdir()] == [name]


PIECES = st.sampled_from([*HOSTILE_NAMES, *PLAIN_NAMES, *"./\\:- \n$", "\u200b", "\u3164", "con"])


@given(st.lists(PIECES | st.text(max_size=3), max_size=4).map("".join))
def test_a_name_that_is_accepted_is_that_of_one_visible_file(name: str) -> None:
    reason = why_refused(name)
    assert reason.isprintable()
    if not reason:
        assert Path("dir", name).parts == ("dir", name)
        assert not set(name) & set("/\\:\0\n\u200b\u3164\u2800")
        assert name[0] not in ".- "
        assert name[-1] not in ". "
        assert name.isprintable() or name.strip() == name
        assert len(os.fsencode(name)) <= 255
        assert name.partition(".")[0].strip().upper() not in {"CON", "NUL", "COM1"}


def test_a_name_that_this_system_cannot_store_is_refused(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("ascii"))
    assert why_refused("é") == "this system cannot store some of its characters"


@every_connection
def test_you_may_choose_the_name(over: Over, inbox: Path) -> None:
    here, there = unix_pair()
    with here, there:
        here.sendall(wire({"name": "../.bashrc", "size": 5}, b"hello") + FRAMER.encode(AFTER))
        conn = over(there)
        assert recv_file(conn, inbox, name=".other") == inbox / ".other"
        assert recv(conn) == AFTER
    assert contents(inbox) == {".other": b"hello"}


# What else a peer may not do


@every_connection
@pytest.mark.parametrize("size", [6, 100_000, 2**70, 10**600])
def test_a_false_size_leaves_nothing(size: int, over: Over, inbox: Path) -> None:
    here, there = unix_pair()
    conn = over(there)
    sent = wire({"name": "f", "size": size}, b"hello")
    with there:
        here.sendall(sent)
        here.close()
        for receive in (lambda: recv_file(conn, inbox), lambda: recv(conn)):
            with pytest.raises(IncompleteMessageError) as caught:
                receive()
            assert caught.value.received == len(sent)
            assert caught.value.expected == len(sent) - 5 + size
    assert contents(inbox) == {}


@every_connection
@pytest.mark.parametrize("size", [None, -1, "5", True, 5.0])
def test_a_file_without_a_size_breaks_the_format(size: Any, over: Over, inbox: Path) -> None:
    here, there = unix_pair()
    conn = over(there)
    with here, there:
        here.sendall(wire({"name": "f", "size": size}, b"hello"))
        for receive in (lambda: recv_file(conn, inbox), lambda: recv(conn)):
            with pytest.raises(DecodeError, match="size") as caught:
                receive()
            assert not caught.value.recoverable


@every_connection
def test_a_wrong_checksum_leaves_nothing(over: Over, inbox: Path) -> None:
    here, there = unix_pair()
    conn = over(there)
    right = hashlib.sha256(b"hello").hexdigest()
    with here, there:
        for digest in (hashlib.sha256(b"jello").hexdigest(), right[:-1], "", 7, True, [right]):
            here.sendall(wire({"name": "f", "size": 5, "sha256": digest}, b"hello"))
            here.sendall(FRAMER.encode(AFTER))
            with pytest.raises(BadMessageError, match="SHA-256") as caught:
                recv_file(conn, inbox)
            assert caught.value.offset is not None
            assert recv(conn) == AFTER
            assert contents(inbox) == {}
        for digest in (right.upper(), None):
            here.sendall(wire({"name": "f", "size": 5, "sha256": digest}, b"hello"))
            assert recv_file(conn, inbox, overwrite=True).read_bytes() == b"hello"


@every_connection
def test_a_file_above_the_limit_is_refused_before_it_comes(over: Over, inbox: Path) -> None:
    here, there = unix_pair()
    conn = over(there)
    with here, there:
        here.sendall(wire({"name": "f", "size": 6}))
        with pytest.raises(MessageTooLargeError, match="at most 5 bytes") as caught:
            recv_file(conn, inbox, max_size=5)
        assert (caught.value.size, caught.value.limit, caught.value.offset) == (6, 5, 0)
        assert caught.value.recoverable
        here.sendall(b"hello!" + HELLO)
        assert recv_file(conn, inbox, max_size=5).read_bytes() == b"hello"
        with pytest.raises(ValueError, match="max_size"):
            recv_file(conn, inbox, max_size=-1)


@every_connection
def test_a_cut_at_any_byte_leaves_nothing(over: Over, inbox: Path) -> None:
    digest = hashlib.sha256(bytes(20)).hexdigest()
    sent = wire({"name": "f", "size": 20, "sha256": digest}, bytes(20))
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
    kind: str, overwrite: bool, inbox: Path, tmp_path: Path
) -> None:
    path, other = inbox / "f", tmp_path / "other"
    if kind == "directory":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(b"mine")
    else:
        path.symlink_to(other)
        if kind == "link":
            other.write_bytes(b"mine")
    before = path.lstat()
    here, there = unix_pair()
    with here, there:
        here.sendall(HELLO + FRAMER.encode(AFTER))
        if overwrite and kind != "directory":
            assert recv_file(there, inbox, overwrite=True) == path
            assert contents(inbox) == {"f": b"hello"}
            assert not path.is_symlink()
        else:
            with pytest.raises(IsADirectoryError if overwrite else FileExistsError) as caught:
                recv_file(there, inbox, overwrite=overwrite)
            assert caught.value.filename == str(path)
            assert os.path.samestat(path.lstat(), before)
        assert recv(there) == AFTER
    assert len(list(inbox.iterdir())) == 1
    assert other.exists() == (kind == "link")
    if kind == "link":
        assert other.read_bytes() == b"mine"  # never written through


def without_links(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    if way == "refused":
        monkeypatch.setattr(os, "link", refuse, raising=False)
    elif way == "missing":
        monkeypatch.delattr(os, "link", raising=False)
    elif way == "as on Windows":
        monkeypatch.setattr(new_file, "_RENAMING_REPLACES", False)


@pytest.mark.parametrize("way", ["there", "refused", "missing", "as on Windows"])
def test_a_file_is_moved_with_or_without_hard_links(
    way: str, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_links(monkeypatch, way)
    here, there = unix_pair()
    with here, there:
        here.sendall(HELLO * 2)
        path = recv_file(there, inbox)
        assert contents(inbox) == {"f": b"hello"}
        path.unlink()
        if way != "as on Windows":  # where this renaming would not replace the file
            with pytest.raises(FileExistsError) as caught:
                recv_file(there, inbox, progress=lambda *_: path.write_bytes(b"faster"))
            assert caught.value.filename == str(path)
            assert contents(inbox) == {"f": b"faster"}


@pytest.mark.parametrize("way", ["link", "replace", "open"])
def test_if_it_cannot_be_moved_nothing_is_left(
    way: str, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.EIO, "the disk is broken")

    without_links(monkeypatch, "refused")
    monkeypatch.setattr(os, way, refuse)
    here, there = unix_pair()
    with here, there:
        here.sendall(HELLO)
        with pytest.raises(OSError, match="the disk is broken"):
            recv_file(there, inbox)
    assert contents(inbox) == {}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_the_file_has_the_permissions_of_a_new_one(inbox: Path) -> None:
    here, there = unix_pair()
    (inbox / "other").write_bytes(b"")
    with here, there:
        here.sendall(HELLO)
        mode = recv_file(there, inbox).stat().st_mode
    assert stat.S_IMODE(mode) == stat.S_IMODE((inbox / "other").stat().st_mode)


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


@every_connection
def test_a_full_disk_leaves_nothing_and_the_connection_goes_on(
    over: Over, source: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = lambda path, *_, **__: FullDisk(path, "xb")  # noqa: E731
    monkeypatch.setattr(new_file, "open", opened, raising=False)
    here, there = map(over, unix_pair())
    with ThreadPoolExecutor(1) as executor:  # one after the other
        executor.submit(send_file, here, source)
        executor.submit(send, here, AFTER)
        executor.submit(send_file, here, io.BytesIO(bytes(20_000)), name="small")
        with pytest.raises(OSError, match="No space left"):
            recv_file(there, inbox)
        assert recv(there) == AFTER
        assert contents(inbox) == {}
        assert recv_file(there, inbox).read_bytes() == bytes(20_000)
    here.close()
    there.close()


def test_the_directory_is_looked_for_before_anything_is_received(inbox: Path) -> None:
    here, there = unix_pair()
    with here, there:
        here.sendall(HELLO)
        with pytest.raises(NotADirectoryError):
            recv_file(there, __file__)
        with pytest.raises(FileNotFoundError):
            recv_file(there, inbox / "none")
        assert recv_file(there, inbox).read_bytes() == b"hello"


@every_connection
def test_a_timeout_before_the_body_loses_nothing(over: Over, inbox: Path) -> None:
    here, there = unix_pair()
    there.settimeout(0.001)
    conn = over(there)
    with here, there:
        for at in range(len(HELLO) - 5):
            with pytest.raises(TimeoutError):
                recv_file(conn, inbox)
            with pytest.raises(TimeoutError):
                recv(conn)  # a part that one call received is there for another one
            here.sendall(HELLO[at : at + 1])
        here.sendall(b"hello")
        there.settimeout(10)
        assert recv_file(conn, inbox).read_bytes() == b"hello"


@every_connection
def test_a_timeout_inside_the_body_costs_that_file_only(over: Over, inbox: Path) -> None:
    here, there = unix_pair()
    there.settimeout(0.01)
    conn = over(there)
    with here, there:
        here.sendall(wire({"name": "f", "size": 10}, b"hello"))
        with pytest.raises(TimeoutError):
            recv_file(conn, inbox)
        assert contents(inbox) == {}
        here.sendall(b"he")
        with pytest.raises(TimeoutError):
            recv(conn)
        here.sendall(b"llo" + FRAMER.encode(AFTER) + HELLO)
        assert recv(conn) == AFTER
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
        here.sendall(wire({"name": "f", "size": 10}, b"hello"))
        with pytest.raises(TimeoutError):
            recv_file(there, inbox)
        there.settimeout(10)
        here.sendall(b"world" + b"a line\n")
        assert receive(there) == "a line"


def test_nobody_is_given_the_rest_of_a_file_with_the_socket(inbox: Path) -> None:
    here, there = unix_pair()
    conn = messages(there)
    with here, there:
        here.sendall(wire({"name": "../f", "size": 5}, b"he"))
        with pytest.raises(BadMessageError):
            recv_file(conn, inbox)
        with pytest.raises(ValueError, match="still to come"):
            conn.detach()
        here.sendall(b"llo" + FRAMER.encode(AFTER))
        assert recv(conn) == AFTER
        sock, data = conn.detach()
        assert (sock, data) == (there, b"")


@every_connection
def test_an_exception_out_of_progress_leaves_nothing(
    over: Over, source: Path, inbox: Path
) -> None:
    for calls in range(1, 100):
        here, there = map(over, unix_pair())
        turns = itertools.count(1)

        def interrupt(*_: int) -> None:
            if next(turns) == calls:  # noqa: B023
                raise KeyboardInterrupt

        with ThreadPoolExecutor(1) as executor:
            executor.submit(send_file, here, source)
            executor.submit(send, here, AFTER)
            try:
                recv_file(there, inbox, progress=interrupt)
                break
            except KeyboardInterrupt:
                assert contents(inbox) == {}
                assert recv(there) == AFTER
            finally:
                there.close()
        here.close()
    here.close()
    assert 3 < calls < 100
    assert contents(inbox) == {"source.bin": source.read_bytes()}


@every_connection
def test_a_call_out_of_progress_does_not_take_the_file(over: Over, inbox: Path) -> None:
    here, there = unix_pair()
    conn = over(there)
    with here, there:
        here.sendall(HELLO + FRAMER.encode(AFTER))
        with pytest.raises(RuntimeError):
            recv_file(conn, inbox, progress=lambda *_: recv(conn))
        assert recv(conn) == AFTER
    assert contents(inbox) == {}


class Interruption(BaseException):
    """Like ``KeyboardInterrupt``: from outside, at any moment."""


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # closed all the same
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # which says so
@pytest.mark.usefixtures("without_collection")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no interval timers")
@every_connection
@pytest.mark.parametrize("make_pair", [unix_pair, wrapped_pair])
def test_signals_leave_all_or_nothing(
    make_pair: Callable[[], Pair], over: Over, inbox: Path
) -> None:
    def interrupt(*_: object) -> NoReturn:
        raise Interruption

    data, times = os.urandom(400_000), random.Random(7)
    before = signal.signal(signal.SIGALRM, interrupt)
    outcomes = set()
    try:
        for _ in range(30):
            here, there = make_pair()
            conn = over(there)
            with here, there, ThreadPoolExecutor(1) as executor:
                executor.submit(here.sendall, wire({"name": "f", "size": len(data)}, data))
                executor.submit(here.sendall, FRAMER.encode(AFTER))
                try:
                    signal.setitimer(signal.ITIMER_REAL, times.uniform(0.0001, 0.003))
                    recv_file(conn, inbox)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Interruption:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                found = contents(inbox)
                assert found in ({}, {"f": data})
                outcomes.add(len(found))
                (inbox / "f").unlink(missing_ok=True)
                try:
                    message = recv(conn)
                    assert (recv(conn) if message.body == data else message) == AFTER
                except ConnectionError:
                    outcomes.add(-1)  # it may have cost bytes, so nothing is read
                    there.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert {0, 1} <= outcomes


# What goes wrong while it is sent


def check_is_cut(conn: Connection, source: Path) -> None:
    """Nothing follows a file that was cut, and the peer learns of it."""
    with pytest.raises(ConnectionError, match="cut off in the middle"):
        send(conn, AFTER)
    with pytest.raises(ConnectionError, match="cut off in the middle"):
        send_file(conn, source)
    if isinstance(conn, MessageSocket):
        with pytest.raises(ConnectionError):
            conn.detach()
    conn.close()


@every_connection
@pytest.mark.parametrize("size", [0, 1, 299_999])
def test_a_file_that_shrinks_is_noticed_and_nothing_follows(
    pair: Pair, over: Over, size: int, source: Path, inbox: Path, executor: ThreadPoolExecutor
) -> None:
    here, there = map(over, pair)
    receiving = executor.submit(recv_file, there, inbox)
    with pytest.raises(OSError, match=f"300001 bytes were announced, but there are {size}"):
        send_file(here, source, progress=lambda *_: os.truncate(source, size))
    check_is_cut(here, source)
    with pytest.raises((IncompleteMessageError, ConnectionError)):
        receiving.result()
    assert contents(inbox) == {}


@every_connection
def test_a_file_that_grows_is_noticed_and_the_connection_goes_on(
    plain_pair: Pair, over: Over, source: Path, inbox: Path, executor: ThreadPoolExecutor
) -> None:
    here, there = map(over, plain_pair)
    data = source.read_bytes()
    receiving = executor.submit(recv_file, there, inbox)
    with pytest.raises(OSError, match="but there are more"):
        send_file(here, source, progress=lambda *_: source.write_bytes(data + b"more") and None)
    assert receiving.result().read_bytes() == data
    send(here, AFTER)
    assert recv(there) == AFTER


@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo"), reason="needs Linux's /proc")
def test_a_file_that_only_looks_empty_is_noticed() -> None:
    here, there = unix_pair()
    with here, there, pytest.raises(OSError, match="0 bytes were announced, but there are more"):
        send_file(here, "/proc/cpuinfo", checksum=True)


@every_connection
@pytest.mark.parametrize("calls", range(4))
def test_an_exception_out_of_progress_cuts_the_file_off(
    over: Over, calls: int, source: Path, inbox: Path, executor: ThreadPoolExecutor
) -> None:
    here, there = map(over, unix_pair())
    turns = itertools.count()

    def interrupt(*_: int) -> None:
        if next(turns) == calls:
            raise KeyboardInterrupt

    receiving = executor.submit(recv_file, there, inbox)
    with pytest.raises(KeyboardInterrupt):
        send_file(here, io.BytesIO(bytes(256 * 1024 * 3)), name="f", progress=interrupt)
    if calls in (1, 2):
        check_is_cut(here, source)
        with pytest.raises(IncompleteMessageError):
            receiving.result()
    else:  # before the first byte, or when the last one is out
        sending = executor.submit(send_file, here, source)
        if calls:
            assert receiving.result().stat().st_size == 256 * 1024 * 3
            receiving = executor.submit(recv_file, there, inbox)
        assert receiving.result().read_bytes() == source.read_bytes()
        sending.result()
    here.close()
    there.close()


@every_connection
def test_a_timeout_before_the_first_byte_costs_nothing(
    over: Over, source: Path, inbox: Path, executor: ThreadPoolExecutor
) -> None:
    client, there = unix_pair()
    client.settimeout(0)
    filled = fill(client)
    client.settimeout(0.01)
    here = over(client)
    with there:
        with pytest.raises(TimeoutError):
            send_file(here, source)
        while filled:
            filled -= len(there.recv(filled))
        client.settimeout(10)
        executor.submit(send_file, here, source)
        assert recv_file(there, inbox).read_bytes() == source.read_bytes()
        here.close()


@every_connection
def test_a_timeout_inside_the_file_cuts_it_off(pair: Pair, over: Over, large: Path) -> None:
    pair[0].settimeout(0.05)
    here = over(pair[0])
    with pytest.raises(TimeoutError):
        send_file(here, large)
    check_is_cut(here, large)


def test_unsent_bytes_go_before_the_file(
    source: Path, inbox: Path, executor: ThreadPoolExecutor
) -> None:
    client, there = unix_pair()
    here = messages(client)
    with here, there:
        here.send(HeaderMessage({}, bytes(MIB)), timeout=0)
        assert here.unsent
        executor.submit(send_file, here, source)
        assert recv(there).body == bytes(MIB)
        assert recv_file(there, inbox).read_bytes() == source.read_bytes()


def test_a_slow_file_may_take_longer_than_the_timeout(
    source: Path, inbox: Path, executor: ThreadPoolExecutor
) -> None:
    """The timeout is for each wait, not for the whole."""
    client, server = unix_pair()
    for sock in (client, server):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        sock.settimeout(0.3)
    slowly = threading.Event()
    with messages(client) as here, messages(server) as there:
        executor.submit(send_file, here, source)
        path = recv_file(there, inbox, progress=lambda *_: slowly.wait(0.02))
        assert path.read_bytes() == source.read_bytes()


# Threads


def test_other_threads_send_whole_messages_before_and_after(
    source: Path, inbox: Path, executor: ThreadPoolExecutor
) -> None:
    for over in (bare, messages):
        here, there = map(over, tcp_pair())
        for name in "abc":
            executor.submit(send_file, here, source, name=name)
            executor.submit(lambda: [send(here, AFTER) for _ in range(20)])  # noqa: B023
        for _ in range(3 + 60):
            try:
                recv_file(there, inbox, overwrite=True)
            except DecodeError:
                assert recv(there) == AFTER
        assert contents(inbox) == dict.fromkeys("abc", source.read_bytes())
        here.close()
        there.close()


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
            send(there, AFTER)
        assert receiving.result() == [AFTER] * 300
        sending.result()
        assert file.result().stat().st_size == 32 * MIB


def test_a_connection_that_is_closed_ends_a_transfer(
    large: Path, inbox: Path, executor: ThreadPoolExecutor
) -> None:
    client, server = tcp_pair()
    client.settimeout(None)
    server.settimeout(None)
    here, there = messages(client), messages(server)
    moving = threading.Event()
    sending = executor.submit(send_file, here, large)
    receiving = executor.submit(recv_file, there, inbox, progress=lambda *_: moving.set())
    moving.wait(10)
    there.close()
    with pytest.raises((OSError, FramingError)):
        receiving.result()
    with pytest.raises(OSError):  # noqa: PT011  # one of several
        sending.result()
    check_is_cut(here, large)
    assert contents(inbox) == {}
    for call in (lambda: send_file(there, large), lambda: recv_file(there, inbox)):
        with pytest.raises(OSError, match="closed"):
            call()


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
        try:
            with pytest.raises((OSError, ValueError)):
                send_file(here, source, progress=close_meanwhile)
        finally:
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
    with here, there:
        check("downloads", TypeError, "expected a socket, not str")
        check(there.makefile("rb"), TypeError, "expected a socket, not BufferedReader")
        with socket.socket() as unconnected:
            check(unconnected, OSError, "expected a connected socket")
        here.setblocking(False)
        check(here, ValueError, "expected a socket that blocks")
        here.setblocking(True)
        conn = MessageSocket(here, LengthPrefixFramer())
        check(conn, TypeError, "expected a HeaderBodyFramer")
        check(here, ValueError, "belongs to a MessageSocket")
        digests = MessageSocket(conn.detach()[0], HeaderBodyFramer(name_key="sha256"))
        check(digests, ValueError, "the key 'sha256' is for a file's digest")

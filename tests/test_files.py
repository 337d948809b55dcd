"""Files over a connection: whole under their name, or not there at all."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import json
import os
import random
import re
import signal
import socket
import ssl
import struct
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import framing
from framing import DecodeError, HeaderBodyFramer, HeaderMessage, LineFramer, MessageSocket
from framing.files import new_file, recv_file, send_file

from .conditions import not_on_pypy
from .fakes import WrappedSocket, made_of
from .pairs import (
    MIB,
    Pair,
    Task,
    fill,
    interrupted,
    raising,
    tcp_pair,
    tls_pair,
    unix_pair,
    wrapped_pair,
)

Messages = MessageSocket[HeaderMessage]
Connection = socket.socket | Messages
Over = Callable[..., Connection]
Ends = tuple[Connection, Connection]
Patch = pytest.MonkeyPatch

FRAMER = HeaderBodyFramer()
SMALL = HeaderBodyFramer(max_size=MIB)
COURSE = HeaderBodyFramer("<i", size_key="filesize", name_key="filename")
MESSAGE = HeaderMessage({"id": 2}, b"message")
AFTER = FRAMER.encode(MESSAGE)
PIECE = 256 * 1024


def bare(sock: socket.socket, _: object = None) -> socket.socket:
    return sock


def messages(sock: socket.socket, framer: HeaderBodyFramer = FRAMER) -> Messages:
    return MessageSocket(sock, framer)


def send(conn: Connection, count: int = 1) -> None:
    for _ in range(count):
        if isinstance(conn, MessageSocket):
            conn.send(MESSAGE)
        else:
            framing.send_msg(conn, MESSAGE, framer=FRAMER)


def recv(conn: Connection) -> HeaderMessage:
    """Receive a message, and return it as it was before its size was filled in."""
    if isinstance(conn, MessageSocket):
        header, body = conn.recv()
    else:
        header, body = framing.recv_msg(conn, framer=FRAMER)
    return HeaderMessage({key: header[key] for key in header if key != "size"}, body)


def wire(body: bytes = b"hello", **header: Any) -> bytes:
    """Return a file as bytes, whatever its header claims."""
    encoded = json.dumps({"name": "f", "size": len(body), **header}).encode()
    return struct.pack("!I", len(encoded)) + encoded + body


@dataclass
class Link:
    """A connection to *peer*, and the folder for its files."""

    peer: socket.socket
    sock: socket.socket
    conn: Connection
    inbox: Path

    def file(self, **options: Any) -> Path:
        return recv_file(self.conn, self.inbox, **options)

    @property
    def stored(self) -> dict[str, bytes]:
        """All files in the folder and beside it."""
        files = (each for each in self.inbox.parent.rglob("*") if each.is_file())
        return {each.name: each.read_bytes() for each in files}

    def refuses(self, file: bytes, error: Any, match: Any = None, **options: Any) -> Any:
        """Return the error for *file*, which leaves nothing, and after which the next comes."""
        before = self.stored
        self.peer.sendall(file + AFTER)
        with pytest.raises(error, match=match) as info:
            self.file(**options)
        assert recv(self.conn) == MESSAGE
        assert self.stored == before
        return info.value


@pytest.fixture(params=[bare, messages])
def over(request: pytest.FixtureRequest) -> Over:
    """Return how to make a connection of a socket."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    path = tmp_path / "computer" / "inbox"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def link(over: Over, inbox: Path) -> Iterator[Link]:
    peer, sock = unix_pair()
    with peer, sock:
        yield Link(peer, sock, over(sock), inbox)


@pytest.fixture
def ends(pair: Pair, over: Over) -> Ends:
    """Return both ends of a connection, of every kind."""
    return over(pair[0]), over(pair[1])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(os.urandom(300_001))
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that is larger than what the system takes at once."""
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 32 * MIB)
    return path


# It arrives


@pytest.mark.parametrize("size", [0, 1, 65_536, 1_000_003])
def test_files_and_messages_arrive(ends: Ends, size: int, source: Path, inbox: Path) -> None:
    """And progress is reported from nothing to all."""
    (here, there), data = ends, os.urandom(size)
    source.write_bytes(data)
    sent: list[tuple[int, int]] = []
    received: list[tuple[int, int]] = []

    def send_all() -> None:
        send(here)
        send_file(here, source, checksum=size % 2 == 1, progress=lambda *at: sent.append(at))
        send_file(here, source, name="2")
        send(here)

    sending = Task(send_all)
    assert recv(there) == MESSAGE
    first = recv_file(there, inbox, progress=lambda *at: received.append(at))
    assert (first, recv_file(there, inbox)) == (inbox / "source.bin", inbox / "2")
    assert sorted(os.listdir(inbox)) == ["2", "source.bin"]
    assert first.read_bytes() == (inbox / "2").read_bytes() == data
    assert recv(there) == MESSAGE
    sending.result()
    for calls in (sent, received):
        assert calls == sorted(set(calls))
        assert (calls[0], calls[-1]) == ((0, size), (size, size))
        assert len(calls) > (size > PIECE) + (size > 0)
    here.close()
    with pytest.raises((EOFError, ConnectionResetError)):  # TLS may reset the connection
        recv_file(there, inbox)


@given(data=st.data(), body=st.binary(max_size=100), over=st.sampled_from([bare, messages]))
def test_any_cuts_give_the_same(
    data: st.DataObject, body: bytes, over: Over, tmp_path_factory: pytest.TempPathFactory
) -> None:
    inbox = tmp_path_factory.mktemp("inbox")
    stream = AFTER + wire(body) + AFTER
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))
    here, there = unix_pair()
    conn = over(there)
    with here, there:
        receiving = Task(lambda: (recv(conn), recv_file(conn, inbox).read_bytes(), recv(conn)))
        for start, end in itertools.pairwise([0, *cuts, len(stream)]):
            here.sendall(stream[start:end])
        assert receiving.result() == (MESSAGE, body, MESSAGE)


def test_a_file_inside_a_file_is_not_received(link: Link) -> None:
    """The bodies look like files, and may be there before the first file is asked for."""
    inner = wire() * 3
    link.peer.sendall(AFTER + wire(inner, name="g"))
    assert recv(link.conn) == MESSAGE
    assert link.file().read_bytes() == inner
    link.refuses(wire(inner, name="../f"), framing.BadMessageError)


def test_a_message_that_is_not_a_file_stays(link: Link) -> None:
    long = HeaderMessage({"pad": "x" * 65_000, "id": 1}, b"long")
    offset = 0
    for message in (MESSAGE, long, MESSAGE):
        link.peer.sendall(FRAMER.encode(message))
        for _ in range(2):
            match = r"with the key 'name' .* not '(id|pad)',"
            with pytest.raises(DecodeError, match=match) as info:
                link.file()
            assert not info.value.recoverable  # the next call does not continue behind it
            assert info.value.offset == offset
            assert len(str(info.value)) < 500
        assert recv(link.conn) == message
        offset += len(FRAMER.encode(message))
    assert link.stored == {}


def test_a_large_file_takes_little_memory(pair: Pair, over: Over, large: Path, inbox: Path) -> None:
    here, there = (over(sock, SMALL) for sock in pair)
    os.truncate(large, 8 * MIB)
    tracemalloc.start()
    sending = Task(send_file, here, large, checksum=True, framer=SMALL)
    path = recv_file(there, inbox, framer=SMALL)
    sending.result()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size == 8 * MIB
    assert peak < 2 * MIB


@pytest.mark.parametrize("way", ["missing", "refused", "refused later"])
def test_sendfile_may_be_missing(way: str, source: Path, link: Link, monkeypatch: Patch) -> None:
    real, calls = getattr(os, "sendfile", None), itertools.count()

    def refuse(*arguments: int) -> int:
        if real and way == "refused later" and not next(calls):
            return int(real(*arguments[:3], 1000))
        raise OSError(errno.EINVAL, "cannot send from this file")

    monkeypatch.setattr(os, "sendfile", refuse, raising=False)
    if way == "missing":
        monkeypatch.delattr(os, "sendfile")
    sending = Task(send_file, link.conn, source, checksum=True)
    header, body = recv(link.peer)
    assert (body, header["sha256"]) == (source.read_bytes(), hashlib.sha256(body).hexdigest())
    sending.result()


@pytest.mark.parametrize("over", [bare], indirect=True)
def test_the_course_protocol_is_one_framer_away(link: Link) -> None:
    """struct.pack("i", ...), a JSON header with filename and filesize, and the body."""
    send_file(link.sock, io.BytesIO(b"hello"), name="电影.mp4", framer=COURSE)
    sent = link.peer.recv(1000)
    (size,) = struct.unpack("<i", sent[:4])
    assert json.loads(sent[4 : 4 + size].decode()) == {"filename": "电影.mp4", "filesize": 5}
    assert sent[4 + size :] == b"hello"
    link.peer.sendall(sent)
    recv_file(link.sock, link.inbox, framer=COURSE)
    assert link.stored == {"电影.mp4": b"hello"}


def test_without_options_a_file_has_a_name_and_a_size(link: Link, source: Path) -> None:
    sending = Task(send_file, link.conn, source)
    message = framing.recv_msg(link.peer, framer=FRAMER)
    assert message.header == {"name": source.name, "size": source.stat().st_size}
    sending.result()


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
    reading, writing = os.pipe()
    fifo = source.parent / "fifo"
    if hasattr(os, "mkfifo"):
        os.mkfifo(fifo)
    with (
        open(reading, "rb") as pipe, link.peer.makefile("rb") as stream,
        open(source) as text, open(os.devnull, "rb") as null,
    ):  # fmt: skip
        without_size: list[Any] = [source.parent, pipe, stream, null]
        without_size += [fifo] if fifo.exists() else []
        wrong: list[Any] = [text, io.StringIO("hello"), b"hello", 7, None]
        for files, error, match in (
            (without_size, ValueError, "^expected a regular file, .* or send it in messages$"),
            (wrong, TypeError, r"^expected a path, a file opened with 'rb' or .*\), not {}$"),
        ):
            for file in files:
                with pytest.raises(error, match=match.format(type(file).__name__)):
                    send_file(link.conn, file, name="f")
    with pytest.raises(ValueError, match=r"^this BytesIO has no name: add name='\.\.\.'$"):
        send_file(link.conn, io.BytesIO(b"hello"))
    with pytest.raises(FileNotFoundError):
        send_file(link.conn, "none")
    send(link.conn)
    assert recv(link.peer) == MESSAGE
    os.close(writing)


# Names from a peer

NOT_PLAIN = [
    *("", ".", "..", "../up", "/etc/passwd", "a/b", "a\\b", "..\\up", "C:evil", "C:\\evil"),
    *("\\\\host\\share", "a.txt:stream", "a\0b", "a\nb", "a\n", "a\x1b[2Jb", "a\x7fb", "a\x85b"),
    *("a\u2028b", "photo\u202egpj.exe", "x" * 256, "漢" * 86, "a.", "a ", "...", " ", "\u3000"),
    *("con", "CON", "nul.txt", "Aux.tar.gz", "com1", "LPT9.x", "COM¹", "con .txt", "CONIN$"),
    # hidden, options, invisible
    *(".bashrc", ".profile", ".git", "..a", "-rf", "--help", " a", "\u00a0a", "a\u00adb"),
    *("\u200b", "a\ufeff.txt", "a\u200d", "\u3164", "a\u115fb", "\u1160", "\uffa0", "\u2800"),
    *("a\u2065b", "a\U000e0041", "\ufe0f", "\u0301a", "a\u061cb"),
]
OF_ANOTHER_TYPE: list[Any] = [None, 7, ["a"], {"a": 1}, True]
PLAIN = [
    *("a", "a..b", "a-b", "~", "a b", "写真\u3000１.jpg", "漢字.txt", "x" * 255, "漢" * 85, "é"),
    *("console.txt", "com10", "COM", "nul_", "a'b\"c", "what?*<>|", "e\u0301", "❤\ufe0f.txt"),
]
EMPTY = io.BytesIO(b"")


@pytest.mark.parametrize("name", [*NOT_PLAIN, *OF_ANOTHER_TYPE, "a\udcff"], ids=ascii)
def test_a_name_that_is_not_plain_is_neither_received_nor_sent(name: Any, link: Link) -> None:
    link.peer.sendall(AFTER)
    assert recv(link.conn) == MESSAGE
    text = f"^expected the name of one plain file, not {re.escape(repr(name)[:70])}.*: (it|this) "
    if name != "a\udcff":  # which is not JSON
        error = link.refuses(wire(name=name), framing.BadMessageError, text)
        assert error.offset == len(AFTER)
        assert str(error).isprintable()
        assert len(str(error)) < 300
    if isinstance(name, str):
        with pytest.raises(framing.EncodeError, match=text):
            send_file(link.conn, EMPTY, name=name)
        send(link.conn)
        assert recv(link.peer) == MESSAGE


def test_a_plain_name_is_taken_as_it_is(link: Link) -> None:
    for name in PLAIN:
        send_file(link.peer, EMPTY, name=name)
        assert link.file() == link.inbox / name
    assert sorted(os.listdir(link.inbox)) == sorted(PLAIN)


PARTS = st.sampled_from([*NOT_PLAIN, *PLAIN, *"./\\:- \n$", "\u200b", "\u3164", "con"])


@given(st.lists(PARTS | st.integers(0, sys.maxunicode).map(chr), max_size=4).map("".join))
def test_a_name_that_is_accepted_is_that_of_one_visible_file(name: str) -> None:
    here, there = unix_pair()
    with here, there:
        try:
            send_file(here, EMPTY, name=name)
        except framing.EncodeError as error:
            assert str(error).isprintable()
            return
    assert Path("dir", name).parts == ("dir", name)
    assert not set(name) & set("/\\:\0\n\u200b\u3164\u2800")
    assert name[0] not in ".- "
    assert name[-1] not in ". "
    assert len(os.fsencode(name)) <= 255
    assert name.partition(".")[0].strip().upper() not in {"CON", "NUL", "COM1"}


def test_a_name_that_this_system_cannot_store_is_refused(link: Link, monkeypatch: Patch) -> None:
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("ascii"))
    text = ": this system cannot store some of its characters"
    link.refuses(wire(name="é"), framing.BadMessageError, text)


def test_you_may_choose_the_name(link: Link) -> None:
    link.peer.sendall(wire(name="../.bashrc") + wire())
    assert link.file(name=".other") == link.inbox / ".other"
    assert link.file(name=lambda name: f"new-{name}") == link.inbox / "new-f"
    link.refuses(wire(name="../f"), framing.BadMessageError, "one plain file", name=str.upper)
    assert link.stored == {".other": b"hello", "new-f": b"hello"}


# What else a peer may not do


def test_a_cut_at_any_byte_leaves_nothing(over: Over, inbox: Path) -> None:
    whole = wire(bytes(20), sha256=hashlib.sha256(bytes(20)).hexdigest())
    body = len(whole) - 20
    cuts = [(whole[:at], len(whole) if at >= body else None) for at in range(1, len(whole))]
    for size in (6, 100_000, 2**70, 10**600):  # more than will come
        sent = wire(size=size)
        cuts.append((sent, len(sent) - 5 + size))
    for sent, expected in cuts:
        here, there = unix_pair()
        with there:
            here.sendall(AFTER + sent)
            here.close()
            link = Link(here, there, over(there), inbox)
            assert recv(link.conn) == MESSAGE
            for receive in (link.file, partial(recv, link.conn)):
                with pytest.raises(framing.IncompleteMessageError) as info:
                    receive()
                assert info.value.received == len(sent)
                assert expected in {None, info.value.expected}
        assert link.stored == {}


@pytest.mark.parametrize("size", [None, -1, "5", True, 5.0])
def test_a_file_without_a_size_breaks_the_format(size: Any, link: Link) -> None:
    link.peer.sendall(wire(size=size))
    for receive in (link.file, partial(recv, link.conn)):
        with pytest.raises(DecodeError, match="size") as info:
            receive()
        assert not info.value.recoverable


def test_a_wrong_checksum_leaves_nothing(link: Link) -> None:
    right = hashlib.sha256(b"hello").hexdigest()
    wrong = hashlib.sha256(b"jello").hexdigest()
    for digest in (wrong, right[:-1], "", 7, True, [right]):
        text = rf"^expected the SHA-256 digest {re.escape(repr(digest)[:60])}.*, not {right} "
        error = link.refuses(wire(sha256=digest), framing.BadMessageError, text)
        assert error.offset is not None
    link.peer.sendall(wire(sha256=right.upper()) + wire(sha256=None))
    for _ in range(2):
        assert link.file(overwrite=True).read_bytes() == b"hello"


def test_a_file_above_the_limit_is_refused_before_it_comes(link: Link) -> None:
    link.peer.sendall(wire(b"", size=6))
    with pytest.raises(framing.MessageTooLargeError, match="at most 5 bytes") as info:
        link.file(max_size=5)
    assert (info.value.size, info.value.limit, info.value.offset) == (6, 5, 0)
    assert info.value.recoverable
    link.peer.sendall(b"hello!" + wire(b"friends") * 2 + wire())
    for offset in (len(wire(b"hello!")), len(wire(b"hello!") + wire(b"friends"))):
        with pytest.raises(framing.MessageTooLargeError, match="at most 5 bytes") as info:
            link.file(max_size=5)
        assert (info.value.size, info.value.offset) == (7, offset)
    assert link.file(max_size=5).read_bytes() == b"hello"
    with pytest.raises(ValueError, match=r"^max_size is .* 0 or more, not -1$"):
        link.file(max_size=-1)


def test_a_part_of_a_file_belongs_to_its_format(inbox: Path) -> None:
    here, there = unix_pair()
    there.settimeout(0.01)
    with here, there:
        here.sendall(wire()[:10])
        with pytest.raises(TimeoutError):
            recv_file(there, inbox)
        with pytest.raises(ValueError, match="was received in part"):
            framing.recv_msg(there)
        here.sendall(wire()[10:])
        assert recv_file(there, inbox).read_bytes() == b"hello"


def test_what_was_received_ahead_counts_for_the_place_of_an_error(inbox: Path) -> None:
    here, there = unix_pair()
    file, other = wire(b"hello!"), HeaderMessage({f"key {n:02}": n for n in range(20)}, b"")
    keys = ", ".join(map(repr, [*other.header, "size"]))[:117]
    errors = {
        len(AFTER): r"at most 5 bytes \(max_size\), not 6 \(",
        len(AFTER + file): rf"a file, with the key 'name' in its header, not {keys}\.\.\. \(",
    }
    with here, there:
        conn = messages(there)
        here.sendall(AFTER + file + FRAMER.encode(other))
        assert recv(conn) == MESSAGE
        for offset, text in errors.items():
            with pytest.raises(DecodeError, match=text) as info:
                recv_file(conn, inbox, max_size=5)
            assert info.value.offset == offset


# What is in the directory already


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "directory"])
def test_what_is_there_is_kept(kind: str, overwrite: bool, link: Link, tmp_path: Path) -> None:
    path, other = link.inbox / "f", tmp_path / "other"
    if kind == "directory":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(b"mine")
    else:
        path.symlink_to(other)
        if kind == "link":
            other.write_bytes(b"mine")
    before = path.lstat()
    if overwrite and kind != "directory":
        link.peer.sendall(wire() + AFTER)
        assert link.file(overwrite=True) == path
        assert link.stored == {"f": b"hello"}
        assert not path.is_symlink()
        assert recv(link.conn) == MESSAGE
    else:
        kind_of_error = IsADirectoryError if overwrite else FileExistsError
        error = link.refuses(wire(), kind_of_error, overwrite=overwrite)
        assert error.filename == str(path)
        number = errno.EISDIR if overwrite else errno.EEXIST
        assert (error.errno, error.strerror) == (number, os.strerror(number))
        assert os.path.samestat(path.lstat(), before)
    assert os.listdir(link.inbox) == ["f"]
    assert other.exists() == (kind == "link")
    assert not other.exists() or other.read_bytes() == b"mine"  # never written through


# Whether there are hard links, and the calls that move a file.
MOVING = {
    "there": ["link"],
    "refused": ["replace", "open"],
    "missing": ["replace", "open"],
    "as on Windows": ["rename"],
}


@pytest.mark.parametrize("way", MOVING)
def test_hard_links_may_be_missing(way: str, link: Link, monkeypatch: Patch) -> None:
    if way == "refused":
        monkeypatch.setattr(os, "link", raising(PermissionError(errno.EPERM, "no")), raising=False)
    elif way == "missing":
        monkeypatch.delattr(os, "link", raising=False)
    elif way == "as on Windows":
        monkeypatch.setattr(new_file, "_RENAMING_REPLACES", False)
    link.peer.sendall(wire())
    path = link.file()
    assert link.stored == {"f": b"hello"}
    path.unlink()
    if way != "as on Windows":  # whose renaming is needed for this
        link.peer.sendall(wire() + AFTER)
        with pytest.raises(FileExistsError) as info:
            link.file(progress=lambda *_: path.write_bytes(b"faster"))
        assert info.value.filename == str(path)
        assert link.stored == {"f": b"faster"}
        assert recv(link.conn) == MESSAGE
        path.unlink()
    for call in MOVING[way]:
        with monkeypatch.context() as patch:
            broken = raising(OSError(errno.EIO, "the disk is broken"))
            patch.setattr(os, call, broken, raising=False)
            link.refuses(wire(), OSError, "the disk is broken")


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


def test_a_full_disk_leaves_nothing(link: Link, monkeypatch: Patch) -> None:
    real = open

    def full(path: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        return FullDisk(path, mode) if mode == "xb" else real(path, mode, *rest, **options)

    monkeypatch.setattr("builtins.open", full)
    link.refuses(wire(bytes(60_000)), OSError, "No space left")
    link.peer.sendall(wire(bytes(20_000)))
    assert link.file().read_bytes() == bytes(20_000)


def test_the_directory_is_looked_for_before_anything_is_received(link: Link) -> None:
    link.peer.sendall(wire())
    for directory, number in ((__file__, errno.ENOTDIR), ("none", errno.ENOENT)):
        with pytest.raises(OSError, match=re.escape(os.strerror(number))) as info:
            recv_file(link.conn, link.inbox / directory)
        assert (info.value.errno, str(info.value.filename)) == (number, str(link.inbox / directory))
    assert link.file().read_bytes() == b"hello"


def test_a_timeout_costs_nothing_before_the_body_and_then_that_file_only(link: Link) -> None:
    def check_times_out() -> None:
        link.sock.settimeout(0.001)
        for receive in (link.file, partial(recv, link.conn)):
            with pytest.raises(TimeoutError):
                receive()  # each continues with what the other one received
        link.sock.settimeout(60)

    for byte in wire()[:-5]:
        check_times_out()
        link.peer.sendall(bytes([byte]))
    link.peer.sendall(b"hello" + wire(b"wo", name="g", size=5))
    assert link.file().read_bytes() == b"hello"
    check_times_out()
    link.peer.sendall(b"rld" + AFTER + wire(name="next"))
    assert recv(link.conn) == MESSAGE
    assert link.file().name == "next"
    assert link.stored == {"f": b"hello", "next": b"hello"}


@pytest.mark.parametrize(
    "receive",
    [
        lambda sock: framing.recv_msg(sock, framer=LineFramer()),
        lambda sock: MessageSocket(sock, LineFramer()).recv(),
        lambda sock: MessageSocket(sock, FRAMER).switch(LineFramer()).recv(),
        lambda sock: MessageSocket(sock, FRAMER).recv_exactly(6).decode(),
        lambda sock: next(iter(MessageSocket(sock, LineFramer()))),
    ],
)
def test_the_rest_of_a_file_is_skipped(receive: Callable[..., str], inbox: Path) -> None:
    here, there = unix_pair()
    there.settimeout(0.01)
    with here, there:
        here.sendall(wire(size=6))
        with pytest.raises(TimeoutError):
            recv_file(there, inbox)
        there.settimeout(60)
        here.sendall(b"!" + b"a line\n")
        assert receive(there) == "a line"


@pytest.mark.parametrize("over", [messages], indirect=True)
def test_a_socket_is_not_given_back_inside_a_file(link: Link) -> None:
    assert isinstance(link.conn, MessageSocket)
    link.peer.sendall(wire(b"he", name="../f", size=5))
    with pytest.raises(framing.BadMessageError):
        link.file()
    with pytest.raises(ValueError, match="still to come"):
        link.conn.detach()
    link.peer.sendall(b"llo" + AFTER)
    assert recv(link.conn) == MESSAGE
    assert link.conn.detach() == (link.sock, b"")


def interrupting(calls: int) -> Callable[[int, int], None]:
    """Return a function to call for progress, which is interrupted after some *calls*."""
    turns = itertools.count()

    def progress(*_: int) -> None:
        if next(turns) == calls:
            raise KeyboardInterrupt

    return progress


def test_an_exception_out_of_progress_leaves_nothing(link: Link) -> None:
    for calls in range(3):
        sending = Task(link.peer.sendall, wire(bytes(1_000_000)) + AFTER)
        with pytest.raises(KeyboardInterrupt):
            link.file(progress=interrupting(calls))
        assert link.stored == {}
        assert recv(link.conn) == MESSAGE
        sending.result()
    link.refuses(wire(), RuntimeError, progress=lambda *_: recv(link.conn))


class Interruption(BaseException):
    """Like ``KeyboardInterrupt``: from outside, at any moment."""


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # closed all the same
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # which says so
@pytest.mark.usefixtures("without_collection")
@not_on_pypy("it can interrupt between taking a turn and noting that")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no interval timers")
@pytest.mark.parametrize("make_pair", [unix_pair, wrapped_pair])
def test_signals_leave_all_or_nothing(make_pair: Any, over: Over, inbox: Path) -> None:
    data, times, outcomes = os.urandom(400_000), random.Random(7), set()
    before = signal.signal(signal.SIGALRM, raising(Interruption()))
    try:
        for _ in range(30):
            here, there = make_pair()
            link = Link(here, there, over(there), inbox)
            with here, there:
                sending = Task(here.sendall, wire(data) + AFTER)
                with suppress(Interruption):
                    signal.setitimer(signal.ITIMER_REAL, times.uniform(0.0001, 0.003))
                    link.file()
                    signal.setitimer(signal.ITIMER_REAL, 0)
                found = link.stored
                assert found in ({}, {"f": data})
                outcomes.add(len(found))
                (inbox / "f").unlink(missing_ok=True)
                try:
                    message = recv(link.conn)
                    assert (recv(link.conn) if message.body == data else message) == MESSAGE
                except ConnectionError:  # bytes may be lost, so nothing is read any more
                    there.close()
            sending.error()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert outcomes == {0, 1}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("without_collection")
def test_an_interruption_at_any_line_leaves_all_or_nothing(over: Over, inbox: Path) -> None:
    """And what follows is received, or refused."""
    for at in itertools.count(0, 2):
        here, there = unix_pair()
        with here, there:
            link = Link(here, there, over(there), inbox)
            here.sendall(AFTER + wire() + AFTER)
            assert recv(link.conn) == MESSAGE
            came = interrupted(link.file, at)
            assert link.stored in ({}, {"f": b"hello"}), at
            (inbox / "f").unlink(missing_ok=True)
            with suppress(ConnectionError):
                message = recv(link.conn)
                assert (recv(link.conn) if message.body == b"hello" else message) == MESSAGE, at
        if not came:
            break
    assert at > 100


# What goes wrong while it is sent


def check_is_cut(conn: Connection, source: Path) -> None:
    """Nothing follows a file that was cut off."""
    calls: list[Callable[[], object]] = [lambda: send(conn), lambda: send_file(conn, source)]
    if isinstance(conn, MessageSocket):
        calls.append(conn.detach)
        assert conn.unsent == 0
    for call in calls:
        with pytest.raises(ConnectionError, match="cut off in the middle"):
            call()
    conn.close()


@pytest.mark.parametrize("size", [0, 1, 299_999])
def test_a_file_that_shrinks_is_cut_off(ends: Ends, size: int, source: Path, inbox: Path) -> None:
    receiving = Task(recv_file, ends[1], inbox)
    text = "the file's size changed while it was sent, or it is not a file on a disk: 300001 bytes"
    with pytest.raises(OSError, match=f"^{text} were announced, but there are {size}$"):
        send_file(ends[0], source, progress=lambda *_: os.truncate(source, size))
    check_is_cut(ends[0], source)
    assert isinstance(receiving.error(), (framing.IncompleteMessageError, ConnectionError))
    assert not any(inbox.iterdir())


def test_a_file_that_grows_is_noticed(ends: Ends, source: Path, inbox: Path) -> None:
    data = source.read_bytes()
    receiving = Task(recv_file, ends[1], inbox)
    with pytest.raises(OSError, match="but there are more"):
        send_file(ends[0], source, progress=lambda *_: source.write_bytes(data + b"more"))
    assert receiving.result().read_bytes() == data
    send(ends[0])
    assert recv(ends[1]) == MESSAGE
    if os.path.exists("/proc/cpuinfo"):  # which only looks empty
        with pytest.raises(OSError, match="0 bytes were announced, but there are more"):
            send_file(ends[0], "/proc/cpuinfo", checksum=True)


@pytest.mark.parametrize("calls", range(4))
def test_an_exception_out_of_progress_cuts_it_off(link: Link, calls: int, source: Path) -> None:
    receiving, file = Task(recv, link.peer), io.BytesIO(bytes(3 * PIECE))
    with pytest.raises(KeyboardInterrupt):
        send_file(link.conn, file, name="f", progress=interrupting(calls))
    if calls in (1, 2):
        check_is_cut(link.conn, source)
        assert isinstance(receiving.error(), framing.IncompleteMessageError)
    else:  # before the first byte, or when the last one is out
        send(link.conn)
        assert receiving.result().body == (file.getvalue() if calls else b"message")


class Interrupting(WrappedSocket):
    """A socket on which a signal comes when its first bytes are out."""

    def send(self, data: Any, flags: int = 0, /) -> int:
        super().send(data, flags)
        raise Interruption

    def sendmsg(self, buffers: Any, *_: Any) -> int:
        return self.send(b"".join(buffers))


def test_an_interruption_behind_the_header_cuts_the_file_off(over: Over, source: Path) -> None:
    peer, sock = unix_pair()
    with peer, made_of(sock, Interrupting) as interrupting:
        conn = over(interrupting)
        with pytest.raises(Interruption):
            send_file(conn, source)
        check_is_cut(conn, source)


def test_a_timeout_before_the_first_byte_costs_nothing(link: Link) -> None:
    link.peer.settimeout(0)
    link.sock.settimeout(0)
    filled = fill(link.sock)
    link.sock.settimeout(0.01)
    with pytest.raises(TimeoutError):
        send_file(link.conn, io.BytesIO(b"hello"), name="f")
    while filled:
        filled -= len(link.peer.recv(filled))
    send_file(link.conn, io.BytesIO(b"hello"), name="f")
    assert recv(link.peer).body == b"hello"


def test_a_timeout_inside_the_file_cuts_it_off(pair: Pair, over: Over, large: Path) -> None:
    pair[0].settimeout(0.05)
    conn = over(pair[0])
    with pytest.raises(TimeoutError):
        send_file(conn, large)
    check_is_cut(conn, large)


class Full(WrappedSocket):
    """One that takes no more, and has perhaps encrypted what it was given, as TLS."""

    def send(self, *_: object) -> int:
        raise ssl.SSLWantWriteError


def test_a_header_that_tls_may_have_begun_to_send_cuts_the_file_off(
    over: Over, source: Path
) -> None:
    peer, sock = unix_pair()
    sock.settimeout(0.05)
    with peer, made_of(sock, Full) as full:
        conn = over(full)
        with pytest.raises(TimeoutError):
            send_file(conn, source)
        check_is_cut(conn, source)


class Stalled(WrappedSocket):
    """TLS that has waited in vain, and may have sent a part."""

    unwrap = None

    def send(self, *_: object) -> int:
        raise TimeoutError


def test_a_header_that_tls_waited_with_in_vain_cuts_the_file_off(source: Path) -> None:
    peer, sock = unix_pair()
    with peer, made_of(sock, Stalled) as stalled:
        with pytest.raises(TimeoutError):
            send_file(stalled, source)
        check_is_cut(stalled, source)


def test_unsent_bytes_go_before_the_file(source: Path) -> None:
    client, there = unix_pair()
    with messages(client) as here, there:
        here.send(HeaderMessage({}, bytes(MIB)), timeout=0)
        assert here.unsent
        sending = Task(send_file, here, source)
        assert recv(there).body == bytes(MIB)
        assert recv(there).body == source.read_bytes()
        sending.result()


def test_a_slow_file_may_take_longer_than_the_timeout(source: Path, inbox: Path) -> None:
    """The timeout is for each wait, not for the whole."""
    client, server = unix_pair()
    for sock in (client, server):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        sock.settimeout(0.3)
    slowly = threading.Event()
    with messages(client) as here, messages(server) as there:
        sending = Task(send_file, here, source)
        path = recv_file(there, inbox, progress=lambda *_: slowly.wait(0.02))
        assert path.read_bytes() == source.read_bytes()
        sending.result()


# Threads


@pytest.mark.parametrize(
    ("make_pair", "over"),
    [(tcp_pair, bare), (wrapped_pair, bare), (wrapped_pair, messages), (tls_pair, messages)],
)
def test_threads_mix_nothing(make_pair: Any, over: Over, inbox: Path, large: Path) -> None:
    os.truncate(large, 2 * MIB)
    here, there = map(over, make_pair())
    with here, there:
        tasks = [Task(send_file, here, large, name=name) for name in "abc"]
        tasks += [Task(send, here, 20) for _ in range(3)]
        receiving = Task(lambda: [recv(here) for _ in range(300)])
        sending = Task(send, there, 300)
        for _ in range(3 + 60):
            try:
                recv_file(there, inbox)
            except DecodeError:
                assert recv(there) == MESSAGE
        assert receiving.result() == [MESSAGE] * 300
        for task in (sending, *tasks):
            task.result()
    found = {each.name: each.read_bytes() == bytes(2 * MIB) for each in inbox.iterdir()}
    assert found == dict.fromkeys("abc", True)


def test_waiting_for_another_thread_is_a_wait_too(link: Link, source: Path) -> None:
    tasks = Task(recv, link.conn), Task(send_file, link.conn, io.BytesIO(bytes(MIB)), name="f")
    for task in tasks:
        task.wait_until_it_waits()
    link.sock.settimeout(0.01)
    for call in (link.file, lambda: send_file(link.conn, source)):
        with pytest.raises(TimeoutError, match=r"^timed out: another thread is using"):
            call()
    link.sock.settimeout(60)
    send(link.peer)
    assert tasks[0].result() == MESSAGE
    assert recv(link.peer).body == bytes(MIB)
    tasks[1].result()


def test_a_connection_that_is_closed_ends_a_transfer(large: Path, inbox: Path) -> None:
    pair = tcp_pair()
    here, there = map(messages, pair)
    for sock in pair:
        sock.settimeout(None)
    moving = threading.Event()
    sending = Task(send_file, here, large)
    receiving = Task(recv_file, there, inbox, progress=lambda *_: moving.set())
    assert moving.wait(60)
    there.close()
    assert isinstance(receiving.error(), (OSError, framing.FramingError))
    assert isinstance(sending.error(), OSError)
    check_is_cut(here, large)
    assert not any(inbox.iterdir())
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


def test_what_is_not_a_connection_for_files_is_refused(source: Path, inbox: Path) -> None:
    def check(conn: Any, error: type[Exception], match: str) -> None:
        for call in (lambda: send_file(conn, source), lambda: recv_file(conn, inbox)):
            with pytest.raises(error, match=match):
                call()

    here, there = unix_pair()
    with here, there, socket.socket() as unconnected, there.makefile("rb") as file:
        check(file, TypeError, "expected a socket, not BufferedReader")
        check(unconnected, OSError, "expected a connected socket")
        here.setblocking(False)
        check(here, ValueError, "^expected a socket that blocks")
        here.setblocking(True)
        conn = MessageSocket(here, framing.LengthPrefixFramer())
        check(conn, TypeError, "expected a HeaderBodyFramer")
        with pytest.raises(ValueError, match="has a format already"):
            recv_file(conn, inbox, framer=COURSE)  # type: ignore[arg-type]
        check(here, ValueError, "belongs to a MessageSocket")
        digests = MessageSocket(conn.detach()[0], HeaderBodyFramer(name_key="sha256"))
        check(digests, ValueError, "^the key 'sha256' is for a file's digest: use another size_key")

"""Files over a connection: whole under their name, or not there at all."""

from __future__ import annotations

import errno
import gc
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
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framing import (
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
    body,
    file_names,
    files,
    message_socket,
    new_file,
    recv_msg,
    send_msg,
    stream,
    stream_decoder,
)
from framing.files import recv_file, send_file

from .fakes import MisbehavingSocket, WrappedSocket
from .interruptions import Interruption, interrupted_at
from .pairs import (
    MIB,
    Pair,
    fill,
    retried,
    tcp_pair,
    tls_pair,
    unix_pair,
    wait_until,
    wrapped_pair,
)

Connection = socket.socket | MessageSocket[HeaderMessage]

FRAMER = HeaderBodyFramer()
BEFORE, AFTER = HeaderMessage({"id": 1}, b"before"), HeaderMessage({"id": 2}, b"after")


def messages(sock: socket.socket) -> MessageSocket[HeaderMessage]:
    return MessageSocket(sock, FRAMER)


def bare(sock: socket.socket) -> socket.socket:
    return sock


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
    """Return a file on the wire, whatever its header claims."""
    encoded = json.dumps(header).encode()
    return struct.pack("!I", len(encoded)) + encoded + body


def contents(directory: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in directory.iterdir() if each.is_file()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(os.urandom(300_001))
    return path


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


# It arrives


@every_connection
@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("size", [0, 1, 65_536, 1_000_003])
def test_a_file_arrives_as_it_was(
    pair: Pair,
    over: Callable[[socket.socket], Connection],
    inbox: Path,
    size: int,
    checksum: bool,
) -> None:
    here, there = map(over, pair)
    source = inbox.parent / "photo.jpg"
    source.write_bytes(os.urandom(size))
    with ThreadPoolExecutor() as executor:
        sending = executor.submit(send_file, here, source, checksum=checksum)
        assert recv_file(there, inbox) == inbox / "photo.jpg"
        sending.result()
    assert contents(inbox) == {"photo.jpg": source.read_bytes()}


@every_connection
def test_files_and_messages_follow_one_another(
    pair: Pair, over: Callable[[socket.socket], Connection], source: Path, inbox: Path
) -> None:
    here, there = map(over, pair)

    def send_all() -> None:
        send(here, BEFORE)
        send_file(here, source, name="1")
        send_file(here, source, name="2", checksum=True)
        send(here, AFTER)
        send_file(here, source, name="3")

    with ThreadPoolExecutor() as executor:
        sending = executor.submit(send_all)
        assert recv(there) == BEFORE
        assert recv_file(there, inbox).name == "1"
        assert recv_file(there, inbox).name == "2"
        assert recv(there) == AFTER
        assert recv_file(there, inbox).name == "3"
        sending.result()
    assert set(contents(inbox).values()) == {source.read_bytes()}
    (here if isinstance(here, socket.socket) else here.sock).close()
    # TLS that is closed with something unread resets the connection.
    with pytest.raises((EndOfStreamError, ConnectionResetError)):
        recv_file(there, inbox)


def test_on_the_wire_a_file_is_a_message(source: Path, inbox: Path) -> None:
    data = source.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    here, there = unix_pair()
    with here, there, ThreadPoolExecutor(1) as executor:
        sending = executor.submit(send_file, here, source, checksum=True)
        message = recv_msg(there, framer=FRAMER)
        sending.result()
        assert message.header == {"name": "source.bin", "size": len(data), "sha256": digest}
        assert message.body == data
        executor.submit(send_msg, there, HeaderMessage({"name": "x"}, data), framer=FRAMER)
        assert recv_file(here, inbox).read_bytes() == data


@given(data=st.data(), body=st.binary(max_size=100), over=st.sampled_from([bare, messages]))
def test_any_cuts_give_the_same(
    data: st.DataObject,
    body: bytes,
    over: Callable[[socket.socket], Connection],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    inbox = tmp_path_factory.mktemp("inbox")
    stream = b"".join(map(FRAMER.encode, [BEFORE, HeaderMessage({"name": "f"}, body), AFTER]))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))
    here, there = unix_pair()
    conn = over(there)
    with here, there, ThreadPoolExecutor() as executor:
        receiving = executor.submit(lambda: (recv(conn), recv_file(conn, inbox), recv(conn)))
        for start, end in itertools.pairwise([0, *cuts, len(stream)]):
            here.sendall(stream[start:end])
        first, path, last = receiving.result(timeout=10)
    assert (first, path.read_bytes(), last) == (BEFORE, body, AFTER)


@every_connection
def test_a_byte_at_a_time_is_enough(
    over: Callable[[socket.socket], Connection], tmp_path: Path, inbox: Path
) -> None:
    client, server = unix_pair()
    here, there = map(MisbehavingSocket.around, (client, server))
    source = tmp_path / "small"
    source.write_bytes(b"hello" * 50)
    with here, there, ThreadPoolExecutor() as executor:
        sending = executor.submit(send_file, over(here), source)
        assert recv_file(over(there), inbox).read_bytes() == b"hello" * 50
        sending.result()


def test_what_was_received_ahead_is_not_lost(inbox: Path) -> None:
    here, there = unix_pair()
    receiver = messages(there)
    with here, receiver:
        for body in (b"small", bytes(100_000)):
            stream = FRAMER.encode(HeaderMessage({"name": "f"}, body)) + FRAMER.encode(AFTER)
            with ThreadPoolExecutor() as executor:
                executor.submit(here.sendall, FRAMER.encode(BEFORE) + stream)
                assert recv(receiver) == BEFORE  # and much of the file with it
                if len(body) < 100:
                    wait_until(receiver.pending)  # which decodes the file as a message
                assert recv_file(receiver, inbox, overwrite=True).read_bytes() == body
                assert recv(receiver) == AFTER


@every_connection
def test_a_file_too_large_for_a_message_can_be_received_as_a_file(
    over: Callable[[socket.socket], Connection], inbox: Path
) -> None:
    size = FRAMER.max_size + 1
    here, there = unix_pair()
    conn = over(there)
    with here, there, ThreadPoolExecutor(1) as executor:
        executor.submit(here.sendall, wire({"name": "f", "size": size}, bytes(size)))
        executor.submit(here.sendall, FRAMER.encode(AFTER))
        if isinstance(conn, MessageSocket):
            with pytest.raises(MessageTooLargeError):
                conn.recv()
        assert recv_file(conn, inbox).stat().st_size == size
        assert recv(conn) == AFTER


@every_connection
def test_a_message_that_is_no_file_stays(
    plain_pair: Pair, over: Callable[[socket.socket], Connection], inbox: Path
) -> None:
    here, there = map(over, plain_pair)
    for _ in range(2):
        send(here, BEFORE)
        for _ in range(2):
            with pytest.raises(DecodeError, match=r"expected a file, .* the key 'name'"):
                recv_file(there, inbox)
        assert recv(there) == BEFORE
    assert contents(inbox) == {}


def test_another_format_of_the_same_kind_will_do(source: Path, inbox: Path) -> None:
    framer = HeaderBodyFramer("<H", size_key="length", max_header_size=200)
    here, there = (MessageSocket(each, framer) for each in unix_pair())
    with here, there, ThreadPoolExecutor() as executor:
        sending = executor.submit(send_file, here, source)
        assert recv_file(there, inbox).read_bytes() == source.read_bytes()
        sending.result()
        with pytest.raises(EncodeError, match="max_header_size"):
            send_file(here, source, name="x" * 200)
        here.send(HeaderMessage({}, b"still here"))
        assert there.recv().body == b"still here"


def test_progress_is_told_from_nothing_to_all(source: Path, inbox: Path) -> None:
    size = source.stat().st_size
    sent: list[tuple[int, int]] = []
    received: list[tuple[int, int]] = []
    here, there = unix_pair()
    with here, there, ThreadPoolExecutor() as executor:
        executor.submit(send_file, here, source, progress=lambda *at: sent.append(at))
        recv_file(there, inbox, progress=lambda *at: received.append(at))
    for calls in (sent, received):
        assert calls[0] == (0, size)
        assert calls[-1] == (size, size)
        assert calls == sorted(set(calls))
        assert len(calls) > 1


@every_connection
def test_memory_does_not_grow_with_the_file(
    over: Callable[[socket.socket], Connection], tmp_path: Path, inbox: Path
) -> None:
    source = tmp_path / "large"
    with open(source, "wb") as file:
        file.truncate(64 * MIB)
    here, there = tcp_pair()
    with here, there, ThreadPoolExecutor() as executor:
        tracemalloc.start()
        try:
            sending = executor.submit(send_file, over(here), source)
            path = recv_file(over(there), inbox)
            sending.result()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert path.stat().st_size == 64 * MIB
    assert peak < 2 * MIB


@pytest.mark.parametrize("way", ["missing", "refused", "refused later"])
def test_without_sendfile_the_file_is_read(
    way: str, source: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "missing":
        monkeypatch.delattr(os, "sendfile", raising=False)
    else:
        real, calls = getattr(os, "sendfile", None), itertools.count()

        def refuse(*arguments: int) -> int:
            if real and way == "refused later" and not next(calls):
                return int(real(*arguments[:3], 1000))
            raise OSError(errno.EINVAL, "cannot send from this file")

        monkeypatch.setattr(os, "sendfile", refuse, raising=False)
    here, there = unix_pair()
    with here, there, ThreadPoolExecutor() as executor:
        sending = executor.submit(send_file, here, source)
        assert recv_file(there, inbox).read_bytes() == source.read_bytes()
        sending.result()


def test_other_threads_send_whole_messages_before_and_after(source: Path, inbox: Path) -> None:
    here, there = map(messages, tcp_pair())
    with here, there, ThreadPoolExecutor() as executor:
        for name in "abc":
            executor.submit(send_file, here, source, name=name)
            executor.submit(here.send_many, [AFTER] * 50)
        for _ in range(3 + 150):
            try:
                recv_file(there, inbox)
            except DecodeError:
                assert recv(there) == AFTER
    assert contents(inbox) == dict.fromkeys("abc", source.read_bytes())


# What a peer may not do

HOSTILE_NAMES: list[Any] = [
    *("", ".", "..", "../up", "/etc/passwd", "a/b", "a\\b", "..\\up", "C:evil", "C:\\evil"),
    *("\\\\host\\share", "a.txt:stream", "a\0b", "a\nb", "a\x1b[2Jb", "a\x7fb", "a\x85b"),
    *("a\u2028b", "photo\u202egpj.exe", "x" * 256, "漢" * 86, "a.", "a ", "...", " "),
    *("con", "CON", "nul.txt", "Aux.tar.gz", "com1", "LPT9.x", "COM¹", "con .txt", "CONIN$"),
    *(None, 7, ["a"], {"a": 1}, True),
]
PLAIN_NAMES = [
    *("a", ".bashrc", "..a", "a..b", "-rf", "~", "a b", "漢字.txt", "x" * 255, "漢" * 85),
    *("console.txt", "com10", "COM", "nul_", "a'b\"c", "what?*<>|", "é", "e\u0301", "👩\u200d🚀"),
]


@every_connection
@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
def test_a_name_that_is_no_plain_one_is_refused(
    name: Any, over: Callable[[socket.socket], Connection], inbox: Path
) -> None:
    here, there = unix_pair()
    conn = over(there)
    with here, there:
        here.sendall(FRAMER.encode(BEFORE) + wire({"name": name, "size": 5}, b"hello"))
        here.sendall(FRAMER.encode(AFTER))
        assert recv(conn) == BEFORE
        with pytest.raises(DecodeError, match="expected the name of one plain file") as caught:
            recv_file(conn, inbox)
        assert caught.value.offset == len(FRAMER.encode(BEFORE))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 250
        assert recv(conn) == AFTER
    assert contents(inbox) == {}
    assert contents(inbox.parent) == {}


@pytest.mark.parametrize("name", HOSTILE_NAMES[:-5], ids=ascii)
def test_nor_is_it_sent(name: str, source: Path) -> None:
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
        here.sendall(wire({"name": name, "size": 5}, b"hello"))
        assert recv_file(there, inbox) == inbox / name
    assert [each.name for each in inbox.iterdir()] == [name]


def test_a_name_that_is_no_text_for_json_is_not_sent() -> None:
    here, there = unix_pair()
    with here, there, pytest.raises(EncodeError, match="no character to be read"):
        send_file(here, __file__, name="\udcff")


@every_connection
@pytest.mark.parametrize("size", [6, 100_000, 2**70, 10**600])
def test_a_lying_size_leaves_nothing(
    size: int, over: Callable[[socket.socket], Connection], inbox: Path
) -> None:
    here, there = unix_pair()
    conn = over(there)
    with here, there:
        sent = wire({"name": "f", "size": size}, b"hello")
        here.sendall(sent)
        here.close()
        for receive in (lambda: recv_file(conn, inbox), lambda: recv(conn)):
            with pytest.raises(IncompleteMessageError) as caught:
                receive()
            assert caught.value.received == len(sent)
            assert caught.value.expected == len(sent) - 5 + size
    assert contents(inbox) == {}


@pytest.mark.parametrize(
    "header", [{"name": "f"}, {"name": "f", "size": -1}, {"name": "f", "size": "5"}]
)
def test_a_file_without_a_size_breaks_the_format(header: dict[str, Any], inbox: Path) -> None:
    for over in (bare, messages):
        here, there = unix_pair()
        conn = over(there)
        with here, there:
            here.sendall(wire(header, b"hello"))
            for receive in (lambda: recv_file(conn, inbox), lambda: recv(conn)):  # noqa: B023
                with pytest.raises(DecodeError, match="size"):
                    receive()


@every_connection
def test_a_wrong_checksum_leaves_nothing(
    over: Callable[[socket.socket], Connection], inbox: Path
) -> None:
    here, there = unix_pair()
    conn = over(there)
    right = hashlib.sha256(b"hello").hexdigest()
    with here, there:
        for digest in (hashlib.sha256(b"jello").hexdigest(), right[:-1], "", 7, True, [right]):
            here.sendall(wire({"name": "f", "size": 5, "sha256": digest}, b"hello"))
            here.sendall(FRAMER.encode(AFTER))
            with pytest.raises(DecodeError, match="SHA-256") as caught:
                recv_file(conn, inbox)
            assert caught.value.offset is not None
            assert recv(conn) == AFTER
            assert contents(inbox) == {}
        here.sendall(wire({"name": "f", "size": 5, "sha256": right.upper()}, b"hello"))
        assert recv_file(conn, inbox).read_bytes() == b"hello"
        here.sendall(wire({"name": "g", "size": 5, "sha256": None}, b"hello"))
        assert recv_file(conn, inbox).read_bytes() == b"hello"


@every_connection
def test_a_file_above_the_limit_is_refused_before_it_comes(
    over: Callable[[socket.socket], Connection], inbox: Path
) -> None:
    here, there = unix_pair()
    conn = over(there)
    with here, there:
        here.sendall(wire({"name": "f", "size": 6}))
        with pytest.raises(MessageTooLargeError, match="at most 5 bytes") as caught:
            recv_file(conn, inbox, max_size=5)
        assert (caught.value.size, caught.value.limit, caught.value.offset) == (6, 5, 0)
        here.sendall(b"hello!" + wire({"name": "f", "size": 5}, b"hello"))
        assert recv_file(conn, inbox, max_size=5).read_bytes() == b"hello"
    for wrong in (-1, 1.5, True, "5"):
        with pytest.raises((ValueError, TypeError), match="max_size"):
            recv_file(there, inbox, max_size=wrong)  # type: ignore[arg-type]


@every_connection
def test_a_cut_at_any_byte_leaves_nothing(
    over: Callable[[socket.socket], Connection], inbox: Path
) -> None:
    sent = wire(
        {"name": "f", "size": 20, "sha256": hashlib.sha256(bytes(20)).hexdigest()}, bytes(20)
    )
    for size in range(len(sent)):
        here, there = unix_pair()
        conn = over(there)
        with here, there:
            here.sendall(sent[:size])
            here.close()
            error = IncompleteMessageError if size else EndOfStreamError
            for _ in range(2):
                with pytest.raises(error):
                    recv_file(conn, inbox)
        assert contents(inbox) == {}


# What is there already


@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "directory"])
def test_what_is_there_is_not_replaced(kind: str, inbox: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    place_something(kind, inbox / "f", other)
    before = contents(inbox), contents(tmp_path)
    here, there = unix_pair()
    with here, there:
        here.sendall(wire({"name": "f", "size": 5}, b"hello") + FRAMER.encode(AFTER))
        with pytest.raises(FileExistsError) as caught:
            recv_file(there, inbox)
        assert caught.value.filename == str(inbox / "f")
        assert recv(there) == AFTER
    assert (contents(inbox), contents(tmp_path)) == before
    assert len(list(inbox.iterdir())) == 1


@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "directory"])
def test_it_is_replaced_if_wished_and_never_written_through(
    kind: str, inbox: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    place_something(kind, inbox / "f", other)
    here, there = unix_pair()
    with here, there:
        here.sendall(wire({"name": "f", "size": 5}, b"hello") + FRAMER.encode(AFTER))
        if kind == "directory":
            with pytest.raises(IsADirectoryError):
                recv_file(there, inbox, overwrite=True)
        else:
            assert recv_file(there, inbox, overwrite=True).read_bytes() == b"hello"
            assert not (inbox / "f").is_symlink()
        assert recv(there) == AFTER
    assert other.exists() == (kind == "link")
    if kind == "link":
        assert other.read_bytes() == b"other"
    assert len(list(inbox.iterdir())) == 1


def place_something(kind: str, path: Path, other: Path) -> None:
    if kind == "directory":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(b"mine")
    else:
        if kind == "link":
            other.write_bytes(b"other")
        try:
            path.symlink_to(other)
        except OSError:
            pytest.skip("no symbolic links here")


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_came_since_is_not_replaced(
    has_links: bool, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_links:
        without_links(monkeypatch)

    def another_is_faster(*_: int) -> None:
        (inbox / "f").write_bytes(b"faster")

    here, there = unix_pair()
    with here, there:
        here.sendall(wire({"name": "f", "size": 5}, b"hello"))
        with pytest.raises(FileExistsError) as caught:
            recv_file(there, inbox, progress=another_is_faster)
        assert caught.value.filename == str(inbox / "f")
    assert contents(inbox) == {"f": b"faster"}


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse, raising=False)


@pytest.mark.parametrize("way", ["refused", "missing"])
def test_a_file_system_without_hard_links_will_do(
    way: str, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_links(monkeypatch)
    if way == "missing":
        monkeypatch.delattr(os, "link")
    here, there = unix_pair()
    with here, there:
        here.sendall(wire({"name": "f", "size": 5}, b"hello"))
        recv_file(there, inbox)
    assert contents(inbox) == {"f": b"hello"}


@pytest.mark.parametrize("way", ["link", "replace"])
def test_if_it_cannot_be_moved_nothing_is_left(
    way: str, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    if way == "replace":
        without_links(monkeypatch)
    monkeypatch.setattr(os, way, refuse, raising=False)
    here, there = unix_pair()
    with here, there:
        here.sendall(wire({"name": "f", "size": 5}, b"hello"))
        with pytest.raises(OSError, match="the disk is broken"):
            recv_file(there, inbox)
    assert contents(inbox) == {}


def test_renaming_serves_where_it_replaces_nothing(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    without_links(monkeypatch)
    monkeypatch.setattr(new_file, "_RENAMING_REPLACES", False)
    here, there = unix_pair()
    with here, there:
        here.sendall(wire({"name": "f", "size": 5}, b"hello"))
        recv_file(there, inbox)
    assert contents(inbox) == {"f": b"hello"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_the_file_has_the_permissions_of_a_new_one(inbox: Path) -> None:
    here, there = unix_pair()
    (inbox / "other").write_bytes(b"")
    with here, there:
        here.sendall(wire({"name": "f", "size": 0}))
        mode = recv_file(there, inbox).stat().st_mode
    assert stat.S_IMODE(mode) == stat.S_IMODE((inbox / "other").stat().st_mode)


# What goes wrong here


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
    over: Callable[[socket.socket], Connection],
    source: Path,
    inbox: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        new_file, "open", lambda path, *_, **__: FullDisk(path, "xb"), raising=False
    )
    here, there = map(over, unix_pair())
    with ThreadPoolExecutor(1) as executor:  # one after the other
        sending = executor.submit(send_file, here, source)
        with pytest.raises(OSError, match="No space left"):
            recv_file(there, inbox)
        sent = executor.submit(send, here, AFTER)
        assert recv(there) == AFTER
        sending.result()
        sent.result()
        assert contents(inbox) == {}
        small = inbox.parent / "small"
        small.write_bytes(bytes(20_000))
        executor.submit(send_file, here, small)
        assert recv_file(there, inbox).read_bytes() == bytes(20_000)
    for conn in (here, there):
        conn.close()


def test_a_directory_that_is_none_is_told_before_anything_is_received(
    source: Path, inbox: Path
) -> None:
    here, there = unix_pair()
    with here, there:
        here.sendall(wire({"name": "f", "size": 5}, b"hello"))
        with pytest.raises(NotADirectoryError):
            recv_file(there, source)
        with pytest.raises(FileNotFoundError):
            recv_file(there, inbox / "none")
        assert recv_file(there, inbox).read_bytes() == b"hello"


@every_connection
def test_a_timeout_before_the_file_loses_nothing(
    over: Callable[[socket.socket], Connection], inbox: Path
) -> None:
    sent = wire({"name": "f", "size": 5}, b"hello")
    here, there = unix_pair()
    there.settimeout(0.001)
    conn = over(there)
    with here, there:
        for at in range(len(sent) - 6):
            here.sendall(sent[at : at + 1])
            with pytest.raises(TimeoutError):
                recv_file(conn, inbox)
        here.sendall(sent[-6:])
        assert retried(lambda: recv_file(conn, inbox)).read_bytes() == b"hello"


@every_connection
def test_a_part_of_a_message_is_gone_on_with_as_a_file(
    over: Callable[[socket.socket], Connection], inbox: Path
) -> None:
    sent = wire({"name": "f", "size": 5}, b"hello")
    here, there = unix_pair()
    there.settimeout(0.001)
    conn = over(there)
    with here, there:
        for size in (2, 10, len(sent) - 6):
            here.sendall(sent[:size])
            with pytest.raises(TimeoutError):
                recv(conn)
            with pytest.raises(TimeoutError):
                recv_file(conn, inbox)
            with pytest.raises(TimeoutError):
                recv(conn)
            there.settimeout(10)
            here.sendall(sent[size:])
            assert recv_file(conn, inbox, overwrite=True).read_bytes() == b"hello"
            there.settimeout(0.001)


@every_connection
def test_a_timeout_inside_the_file_costs_the_file_only(
    over: Callable[[socket.socket], Connection], inbox: Path
) -> None:
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
        here.sendall(b"llo" + FRAMER.encode(AFTER) + wire({"name": "f", "size": 2}, b"hi"))
        assert recv(conn) == AFTER
        assert recv_file(conn, inbox).read_bytes() == b"hi"


def test_what_is_left_of_a_file_is_skipped_whoever_goes_on(inbox: Path) -> None:
    lines = LineFramer()

    def cut_off() -> Pair:
        here, there = unix_pair()
        there.settimeout(0.01)
        here.sendall(wire({"name": "f", "size": 10}, b"hello"))
        with pytest.raises(TimeoutError):
            recv_file(there, inbox)
        there.settimeout(10)
        here.sendall(b"world" + b"a line\n")
        return here, there

    here, there = cut_off()
    with here, there:
        assert recv_msg(there, framer=lines) == "a line"
    here, there = cut_off()
    with here, MessageSocket(there, lines) as conn:
        assert conn.recv() == "a line"
    here, there = cut_off()
    with here, MessageSocket(there, FRAMER).switch(lines) as conn:
        assert conn.recv() == "a line"
    here, there = cut_off()
    with here, MessageSocket(there, FRAMER) as other:
        assert other.recv_exactly(6) == b"a line"
    here, there = cut_off()
    with here, MessageSocket(there, lines) as conn:
        assert list(itertools.islice(conn, 1)) == ["a line"]
    here, there = cut_off()
    with here, MessageSocket(there, LengthPrefixFramer()) as prefixed:
        here.sendall(b"")
        with pytest.raises(MessageTooLargeError) as caught:
            prefixed.recv()
        assert caught.value.offset == len(wire({"name": "f", "size": 10})) + 10


@every_connection
def test_an_exception_out_of_progress_leaves_nothing(
    over: Callable[[socket.socket], Connection], source: Path, inbox: Path
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


EVERY_MODULE = files, new_file, file_names, body, stream, stream_decoder, message_socket


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # closed all the same
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # which says so
@pytest.mark.parametrize("has_links", [True, False])
@every_connection
def test_an_interruption_at_any_line_leaves_all_or_nothing(
    over: Callable[[socket.socket], Connection],
    has_links: bool,
    inbox: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not has_links:
        without_links(monkeypatch)
    data = os.urandom(100_000)
    for line in itertools.count(1):
        here, there = unix_pair()
        conn = over(there)
        with here, there, ThreadPoolExecutor(1) as executor:
            executor.submit(here.sendall, wire({"name": "f", "size": len(data)}, data))
            with interrupted_at(line, EVERY_MODULE) as places, suppress(Interruption):
                recv_file(conn, inbox)
            assert contents(inbox) in ({}, {"f": data}), places
            executor.submit(here.sendall, FRAMER.encode(AFTER))
            (inbox / "f").unlink(missing_ok=True)
            # Either the file is still to come, or its rest is skipped.
            message = recv(conn)
            if message.body == data:
                message = recv(conn)
            assert message == AFTER, places
        if not places:
            break
    assert line > 50


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("without_collection")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no interval timers")
@every_connection
def test_real_signals_leave_all_or_nothing(
    over: Callable[[socket.socket], Connection], inbox: Path
) -> None:
    def interrupt(*_: object) -> NoReturn:
        raise Interruption

    data = os.urandom(400_000)
    times = random.Random(7)
    before = signal.signal(signal.SIGALRM, interrupt)
    outcomes = set()
    try:
        for _ in range(40):
            here, there = unix_pair()
            conn = over(there)
            with here, there, ThreadPoolExecutor(1) as executor:
                executor.submit(here.sendall, wire({"name": "f", "size": len(data)}, data))
                executor.submit(here.sendall, FRAMER.encode(AFTER))
                try:
                    signal.setitimer(signal.ITIMER_REAL, times.uniform(0.0001, 0.002))
                    recv_file(conn, inbox)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Interruption:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                if (found := contents(inbox)) not in ({}, {"f": data}):
                    gc.collect()  # an exception may keep what it went through for a while
                    found = contents(inbox)
                assert found in ({}, {"f": data})
                outcomes.add(bool(found))
                (inbox / "f").unlink(missing_ok=True)
                message = recv(conn)
                assert (recv(conn) if message.body == data else message) == AFTER
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert outcomes == {True, False}


# The side that sends


@every_connection
@pytest.mark.parametrize("size", [1, 299_999])
def test_a_source_that_shrinks_is_told_and_nothing_follows(
    over: Callable[[socket.socket], Connection], size: int, source: Path, inbox: Path
) -> None:
    here, there = map(over, tcp_pair())

    def shrink(*_: int) -> None:
        os.truncate(source, size)

    with ThreadPoolExecutor() as executor:
        receiving = executor.submit(recv_file, there, inbox)
        with pytest.raises(OSError, match=f"changed its size .* 300001 .* there are {size}"):
            send_file(here, source, progress=shrink)
        with pytest.raises(ConnectionError, match="cut off in"):
            send(here, AFTER)
        with pytest.raises(ConnectionError, match="cut off in"):
            send_file(here, source)
        here.close()
        with pytest.raises(IncompleteMessageError):
            receiving.result()
    there.close()
    assert contents(inbox) == {}


@every_connection
def test_a_source_that_grows_is_told_and_the_connection_goes_on(
    over: Callable[[socket.socket], Connection], source: Path, inbox: Path
) -> None:
    here, there = map(over, tcp_pair())
    data = source.read_bytes()

    def grow(*_: int) -> None:
        with open(source, "ab") as file:
            file.write(b"more")

    with ThreadPoolExecutor() as executor:
        receiving = executor.submit(recv_file, there, inbox)
        with pytest.raises(OSError, match="changed its size"):
            send_file(here, source, progress=grow)
        assert receiving.result().read_bytes() == data
        send(here, AFTER)
        assert recv(there) == AFTER
    here.close()
    there.close()


@every_connection
def test_a_source_that_cannot_be_sent_costs_nothing(
    over: Callable[[socket.socket], Connection], tmp_path: Path
) -> None:
    here, there = map(over, unix_pair())
    with pytest.raises(FileNotFoundError):
        send_file(here, tmp_path / "none")
    with pytest.raises(ValueError, match="expected a regular file"):
        send_file(here, tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ValueError, match="expected a regular file"):
            send_file(here, tmp_path / "pipe")
    send(here, AFTER)
    assert recv(there) == AFTER
    here.close()
    there.close()


@every_connection
def test_a_full_way_and_a_timeout_before_the_first_byte_cost_nothing(
    over: Callable[[socket.socket], Connection], source: Path, inbox: Path
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
        with ThreadPoolExecutor() as executor:
            executor.submit(send_file, here, source)
            assert recv_file(there, inbox).read_bytes() == source.read_bytes()
        here.close()


@every_connection
@pytest.mark.parametrize("is_plain", [True, False])
def test_a_timeout_inside_the_file_ends_the_sending(
    over: Callable[[socket.socket], Connection], is_plain: bool, tmp_path: Path
) -> None:
    source = tmp_path / "large"
    with open(source, "wb") as file:
        file.truncate(8 * MIB)
    client, there = tcp_pair()
    client = client if is_plain else WrappedSocket.around(client)
    client.settimeout(0.05)
    here = over(client)
    with there:
        with pytest.raises(TimeoutError):
            send_file(here, source)
        with pytest.raises(ConnectionError, match="cut off in"):
            send(here, AFTER)
        here.close()


def test_a_slow_file_may_take_longer_than_the_timeout(source: Path, inbox: Path) -> None:
    """The timeout is for each wait, not for the whole."""
    client, server = unix_pair()
    for sock in (client, server):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        sock.settimeout(0.5)
    started = threading.Event()

    def slowly(*_: int) -> None:
        started.wait(0.02)  # so that all of it takes longer than 0.5 s

    data = source.read_bytes()
    here, there = messages(client), messages(server)
    with here, there, ThreadPoolExecutor() as executor:
        executor.submit(send_file, here, source)
        assert recv_file(there, inbox, progress=slowly).read_bytes() == data


def test_a_closed_connection_ends_a_transfer(tmp_path: Path, inbox: Path) -> None:
    source = tmp_path / "large"
    with open(source, "wb") as file:
        file.truncate(64 * MIB)
    client, server = tcp_pair()
    client.settimeout(None)
    server.settimeout(None)
    here, there = messages(client), messages(server)
    moving = threading.Event()
    with ThreadPoolExecutor() as executor:
        sending = executor.submit(send_file, here, source)
        receiving = executor.submit(recv_file, there, inbox, progress=lambda *_: moving.set())
        moving.wait()
        there._close_now()
        with pytest.raises((OSError, FramingError)):
            receiving.result()
        with pytest.raises(OSError):  # noqa: PT011  # one of several
            sending.result()
        with pytest.raises(ConnectionError, match="cut off"):
            here.send(AFTER)
        here.close()
    assert contents(inbox) == {}


@every_connection
def test_a_socket_that_does_not_wait_is_refused(
    over: Callable[[socket.socket], Connection], source: Path, inbox: Path
) -> None:
    client, server = unix_pair()
    client.setblocking(False)
    conn = over(client)
    with client, server:
        with pytest.raises(ValueError, match="expected a socket that blocks"):
            send_file(conn, source)
        with pytest.raises(ValueError, match="expected a socket that blocks"):
            recv_file(conn, inbox)


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


def test_detaching_after_a_refused_file_leaves_none_of_it(inbox: Path) -> None:
    smuggled = FRAMER.encode(HeaderMessage({"cmd": "smuggled"}, b""))
    for ahead in (0, 3, len(smuggled)):
        here, there = unix_pair()
        here.sendall(wire({"name": "../f", "size": len(smuggled)}, smuggled[:ahead]))
        conn = messages(there)
        with here, there:
            with pytest.raises(DecodeError):
                recv_file(conn, inbox)
            here.sendall(smuggled[ahead:] + FRAMER.encode(AFTER))
            sock, data = conn.detach()
            assert data == b""
            assert recv(sock) == AFTER


def test_detaching_after_a_cut_file_does_not_make_the_connection_good(tmp_path: Path) -> None:
    source = tmp_path / "large"
    with open(source, "wb") as file:
        file.truncate(8 * MIB)
    client, there = tcp_pair()
    client.settimeout(0.05)
    here = messages(client)
    with there:
        with pytest.raises(TimeoutError):
            send_file(here, source)
        sock, _ = here.detach()
        with sock, pytest.raises(ConnectionError, match="cut off in the middle"):
            send(sock, AFTER)


def test_a_call_out_of_progress_does_not_cut_the_file_short(inbox: Path) -> None:
    here, there = unix_pair()
    with here, there, ThreadPoolExecutor(1) as executor:
        executor.submit(here.sendall, wire({"name": "f", "size": 500_000}, bytes(500_000)))
        executor.submit(here.sendall, FRAMER.encode(AFTER))
        with pytest.raises(RuntimeError, match="another call has received a part"):
            recv_file(there, inbox, progress=lambda done, _: done and recv(there))
    assert contents(inbox) == {}


@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo"), reason="needs Linux's /proc")
def test_a_file_that_only_looks_empty_is_told_of(inbox: Path) -> None:
    here, there = unix_pair()
    with here, there:
        with pytest.raises(OSError, match="0 bytes were announced, and there are more"):
            send_file(here, "/proc/cpuinfo", checksum=True)
        assert recv_file(there, inbox).read_bytes() == b""


@pytest.mark.parametrize(
    ("make_pair", "over"),
    [(wrapped_pair, bare), (wrapped_pair, messages), (tls_pair, messages)],  # not TLS as it is
)
def test_another_thread_receives_undisturbed_while_a_file_is_sent(
    make_pair: Callable[[], Pair],
    over: Callable[[socket.socket], Connection],
    tmp_path: Path,
    inbox: Path,
) -> None:
    source = tmp_path / "large"
    source.write_bytes(bytes(8 * MIB))
    here, there = map(over, make_pair())
    with ThreadPoolExecutor() as executor, here, there:
        sending = executor.submit(send_file, here, source)
        receiving = executor.submit(lambda: [recv(here) for _ in range(300)])
        file = executor.submit(recv_file, there, inbox)
        for _ in range(300):
            send(there, AFTER)
        assert receiving.result() == [AFTER] * 300
        sending.result()
        assert file.result().stat().st_size == 8 * MIB


@pytest.mark.parametrize("error", [PermissionError, Interruption])
def test_a_name_that_cannot_be_taken_leaves_nothing(
    error: type[BaseException], inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise error

    without_links(monkeypatch)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(error), new_file.new_file(inbox / "f", overwrite=False) as file:
        file.write(b"hello")
    assert contents(inbox) == {}


def test_an_interruption_of_the_cleaning_up_does_not_prevent_it(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, interruptions = Path.unlink, [Interruption]

    def interrupted_once(path: Path, missing_ok: bool = False) -> None:
        if interruptions:
            raise interruptions.pop()
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", interrupted_once)
    with pytest.raises(Interruption), new_file.new_file(inbox / "f", overwrite=False):
        raise ValueError
    assert contents(inbox) == {}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_without_hard_links_leaves_all_or_nothing(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_links(monkeypatch)
    for line in itertools.count(1):
        here, there = unix_pair()
        with here, there:
            here.sendall(wire({"name": "f", "size": 5}, b"hello"))
            with interrupted_at(line, [new_file]) as places, suppress(Interruption):
                recv_file(there, inbox)
        gc.collect()
        assert contents(inbox) in ({}, {"f": b"hello"}), places
        (inbox / "f").unlink(missing_ok=True)
        if not places:
            break
    assert line > 10


def test_a_name_that_this_system_cannot_store_is_refused(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("ascii"))
    here, there = unix_pair()
    with here, there:
        here.sendall(wire({"name": "é", "size": 5}, b"hello") + FRAMER.encode(AFTER))
        with pytest.raises(DecodeError, match="which lacks some of its characters"):
            recv_file(there, inbox)
        assert recv(there) == AFTER


def test_only_the_format_of_files_will_do(source: Path, inbox: Path) -> None:
    class Shouting(HeaderBodyFramer):
        def encode_parts(self, message: HeaderMessage) -> tuple[bytes, bytes | memoryview]:
            return super().encode_parts(HeaderMessage(message.header, message.body.upper()))

    for framer in (LengthPrefixFramer(), Shouting()):
        client, server = unix_pair()
        conn: Any = MessageSocket(client, framer)
        with conn, server:
            with pytest.raises(TypeError, match="expected a HeaderBodyFramer"):
                send_file(conn, source)
            with pytest.raises(TypeError, match="expected a HeaderBodyFramer"):
                recv_file(conn, inbox)


@pytest.mark.parametrize("key", ["name", "sha256"])
def test_the_size_has_a_key_of_its_own(key: str, source: Path, inbox: Path) -> None:
    client, server = unix_pair()
    conn = MessageSocket(client, HeaderBodyFramer(size_key=key))
    with conn, server:
        for call in (lambda: send_file(conn, source), lambda: recv_file(conn, inbox)):
            with pytest.raises(ValueError, match="see size_key"):
                call()


def test_a_finished_message_socket_says_so(source: Path, inbox: Path) -> None:
    client, server = unix_pair()
    with server:
        conn = messages(client)
        conn.close()
        with pytest.raises(OSError, match="closed"):
            send_file(conn, source)
        with pytest.raises(OSError, match="closed"):
            recv_file(conn, inbox)


def test_a_directory_may_be_given_by_a_link(inbox: Path) -> None:
    """It is the user's own choice."""
    link = inbox.parent / "link"
    try:
        link.symlink_to(inbox)
    except OSError:
        pytest.skip("no symbolic links here")
    here, there = unix_pair()
    with here, there:
        here.sendall(wire({"name": "f", "size": 5}, b"hello"))
        assert recv_file(there, link) == link / "f"
    assert contents(inbox) == {"f": b"hello"}

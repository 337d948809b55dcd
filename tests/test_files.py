"""Files over a connection: whole under their name, or not there at all."""

from __future__ import annotations

import errno
import gc
import hashlib
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
from typing import Any

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
    recv_msg,
    send_msg,
)
from framing.files import recv_file, send_file

from .fakes import MisbehavingSocket, WrappedSocket
from .pairs import (
    MIB,
    Pair,
    Task,
    fill,
    raising,
    retried,
    small_buffers,
    tcp_pair,
    tls_pair,
    unix_pair,
    wait_until,
    wrapped_pair,
)

Connection = socket.socket | MessageSocket[HeaderMessage]
Over = Callable[[socket.socket], Connection]

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


def send_file_and_message(conn: Connection, source: Path) -> None:
    send_file(conn, source)
    send(conn, AFTER)


def send_after(other: Task, conn: Connection) -> None:
    other.result()
    send(conn, AFTER)


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
    over: Over,
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
    pair: Pair, over: Over, source: Path, inbox: Path
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
    with here, there:
        sending = Task(send_file, here, source, checksum=True)
        message = recv_msg(there, framer=FRAMER)
        sending.result()
        assert message.header == {"name": "source.bin", "size": len(data), "sha256": digest}
        assert message.body == data
        sending = Task(send_msg, there, HeaderMessage({"name": "x"}, data), framer=FRAMER)
        assert recv_file(here, inbox).read_bytes() == data
        sending.result()


@given(data=st.data(), body=st.binary(max_size=100), over=st.sampled_from([bare, messages]))
def test_any_cuts_give_the_same(
    data: st.DataObject,
    body: bytes,
    over: Over,
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
def test_a_byte_at_a_time_is_enough(over: Over, tmp_path: Path, inbox: Path) -> None:
    client, server = unix_pair()
    here, there = map(MisbehavingSocket.around, (client, server))
    source = tmp_path / "small"
    source.write_bytes(b"hello" * 50)
    with here, there, ThreadPoolExecutor() as executor:
        sending = executor.submit(send_file, over(here), source)
        assert recv_file(over(there), inbox).read_bytes() == b"hello" * 50
        sending.result()


@pytest.mark.parametrize("body", [b"small", bytes(100_000)], ids=len)
def test_a_file_that_was_received_ahead_is_not_lost(body: bytes, inbox: Path) -> None:
    here, there = unix_pair()
    receiver = messages(there)
    with here, receiver:
        stream = FRAMER.encode(HeaderMessage({"name": "f"}, body)) + FRAMER.encode(AFTER)
        sending = Task(here.sendall, FRAMER.encode(BEFORE) + stream)
        assert recv(receiver) == BEFORE  # and much of the file with it
        if len(body) < 100:
            wait_until(receiver.pending)  # which decodes the file as a message
        assert recv_file(receiver, inbox).read_bytes() == body
        assert recv(receiver) == AFTER
        sending.result()


@every_connection
def test_a_file_too_large_for_a_message_can_be_received_as_a_file(over: Over, inbox: Path) -> None:
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
def test_a_message_that_is_not_a_file_stays(plain_pair: Pair, over: Over, inbox: Path) -> None:
    here, there = map(over, plain_pair)
    for _ in range(2):
        send(here, BEFORE)
        for _ in range(2):
            with pytest.raises(DecodeError, match="the key 'name'"):
                recv_file(there, inbox)
        assert recv(there) == BEFORE
    assert contents(inbox) == {}


def test_another_format_of_the_same_kind_can_be_used(source: Path, inbox: Path) -> None:
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


def test_progress_is_reported_from_nothing_to_all(source: Path, inbox: Path) -> None:
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
def test_memory_does_not_grow_with_the_file(over: Over, tmp_path: Path, inbox: Path) -> None:
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
    *("a", "a..b", "~", "a b", "漢字.txt", "x" * 255, "漢" * 85, "console.txt", "com10", "COM"),
    *("nul_", "a'b\"c", "what?*<>|", "é", "e\u0301", "👩🚀"),
]


@every_connection
@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
def test_a_name_that_is_not_plain_is_refused(name: Any, over: Over, inbox: Path) -> None:
    here, there = unix_pair()
    conn = over(there)
    with here, there:
        here.sendall(FRAMER.encode(BEFORE) + wire({"name": name, "size": 5}, b"hello"))
        here.sendall(FRAMER.encode(AFTER))
        assert recv(conn) == BEFORE
        with pytest.raises(DecodeError, match="name of one plain file") as caught:
            recv_file(conn, inbox)
        assert caught.value.offset == len(FRAMER.encode(BEFORE))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 250
        assert recv(conn) == AFTER
    assert contents(inbox) == {}
    assert contents(inbox.parent) == {}


@pytest.mark.parametrize("name", [*HOSTILE_NAMES[:-5], "\udcff"], ids=ascii)
def test_a_name_that_is_not_plain_is_not_sent(name: str) -> None:
    here, there = unix_pair()
    with here, there:
        with pytest.raises(EncodeError):
            send_file(here, __file__, name=name)
        send(here, AFTER)
        assert recv(there) == AFTER


@pytest.mark.parametrize("name", PLAIN_NAMES, ids=ascii)
def test_a_plain_name_is_taken_as_it_is(name: str, inbox: Path) -> None:
    here, there = unix_pair()
    with here, there:
        here.sendall(wire({"name": name, "size": 5}, b"hello"))
        assert recv_file(there, inbox) == inbox / name
    assert [each.name for each in inbox.iterdir()] == [name]


def test_a_name_that_this_system_cannot_store_is_refused(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("ascii"))
    here, there = unix_pair()
    with here, there:
        here.sendall(wire({"name": "é", "size": 5}, b"hello") + FRAMER.encode(AFTER))
        with pytest.raises(DecodeError):
            recv_file(there, inbox)
        assert recv(there) == AFTER


@every_connection
@pytest.mark.parametrize("size", [6, 100_000, 2**70, 10**600])
def test_a_lying_size_leaves_nothing(size: int, over: Over, inbox: Path) -> None:
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


@every_connection
def test_a_wrong_checksum_leaves_nothing(over: Over, inbox: Path) -> None:
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
def test_a_file_above_the_limit_is_refused_before_it_comes(over: Over, inbox: Path) -> None:
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
def test_a_cut_at_any_byte_leaves_nothing(over: Over, inbox: Path) -> None:
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


KINDS = pytest.mark.parametrize("kind", ["file", "link", "dangling link", "directory"])


@KINDS
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_there_is_replaced_only_if_wished_and_never_written_through(
    kind: str, overwrite: bool, inbox: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    place_something(kind, inbox / "f", other)
    before = contents(inbox), contents(tmp_path)
    here, there = unix_pair()
    with here, there:
        here.sendall(wire({"name": "f", "size": 5}, b"hello") + FRAMER.encode(AFTER))
        if overwrite and kind != "directory":
            assert recv_file(there, inbox, overwrite=True).read_bytes() == b"hello"
            assert not (inbox / "f").is_symlink()
        else:
            error = IsADirectoryError if overwrite else FileExistsError
            with pytest.raises(error) as caught:
                recv_file(there, inbox, overwrite=overwrite)
            assert caught.value.filename == str(inbox / "f")
            assert contents(inbox) == before[0]
        assert recv(there) == AFTER
    assert contents(tmp_path) == before[1]
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
def test_a_file_system_without_hard_links_is_enough(
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


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_the_file_has_the_permissions_of_a_new_one(inbox: Path) -> None:
    here, there = unix_pair()
    (inbox / "other").write_bytes(b"")
    with here, there:
        here.sendall(wire({"name": "f", "size": 0}))
        mode = recv_file(there, inbox).stat().st_mode
    assert stat.S_IMODE(mode) == stat.S_IMODE((inbox / "other").stat().st_mode)


# What goes wrong here


@every_connection
def test_a_full_disk_leaves_nothing_and_the_connection_goes_on(
    over: Over, source: Path, inbox: Path
) -> None:
    """Here, a limit of the size of files stands for it, which is there half way."""
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    here, there = map(over, unix_pair())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    sending = Task(send_file_and_message, here, source)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError) as caught:  # noqa: PT011  # the number tells
            recv_file(there, inbox)
        assert caught.value.errno == errno.EFBIG
        assert contents(inbox) == {}
        assert recv(there) == AFTER
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sending.result()
        for conn in (here, there):
            conn.close()


def test_a_missing_directory_is_an_error_before_anything_is_received(
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
def test_a_timeout_before_the_file_loses_nothing(over: Over, inbox: Path) -> None:
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
def test_a_part_of_a_message_is_continued_as_a_file(over: Over, inbox: Path) -> None:
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
def test_a_timeout_inside_the_file_costs_the_file_only(over: Over, inbox: Path) -> None:
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


def stopped_inside_a_file(inbox: Path) -> Pair:
    """Return a pair over which half a file was received, and the rest and a line have come."""
    here, there = unix_pair()
    there.settimeout(0.01)
    here.sendall(wire({"name": "f", "size": 10}, b"hello"))
    with pytest.raises(TimeoutError):
        recv_file(there, inbox)
    there.settimeout(10)
    here.sendall(b"world" + b"a line\n")
    return here, there


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
def test_the_rest_of_a_file_is_skipped_whatever_comes_next(
    receive: Callable[[socket.socket], str], inbox: Path
) -> None:
    here, there = stopped_inside_a_file(inbox)
    with here, there:
        assert receive(there) == "a line"


def test_the_rest_of_a_file_counts_in_the_offset_of_an_error(inbox: Path) -> None:
    here, there = stopped_inside_a_file(inbox)
    with here, MessageSocket(there, LengthPrefixFramer()) as prefixed:
        with pytest.raises(MessageTooLargeError) as caught:
            prefixed.recv()
        assert caught.value.offset == len(wire({"name": "f", "size": 10})) + 10


@every_connection
@pytest.mark.parametrize("calls", [1, 2])
def test_an_exception_out_of_progress_leaves_nothing(
    calls: int, over: Over, source: Path, inbox: Path
) -> None:
    here, there = map(over, unix_pair())
    turns = itertools.count(1)

    def interrupt(*_: int) -> None:
        if next(turns) == calls:
            raise KeyboardInterrupt

    sending = Task(send_file_and_message, here, source)
    with pytest.raises(KeyboardInterrupt):
        recv_file(there, inbox, progress=interrupt)
    assert contents(inbox) == {}
    assert recv(there) == AFTER
    sending.result()
    here.close()
    there.close()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # closed all the same
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # which says so
@pytest.mark.usefixtures("without_collection")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no interval timers")
@every_connection
def test_real_signals_leave_all_or_nothing(over: Over, inbox: Path) -> None:
    class Interruption(BaseException):
        pass

    data = os.urandom(400_000)
    times = random.Random(7)
    before = signal.signal(signal.SIGALRM, raising(Interruption))
    outcomes = set()
    try:
        for _ in range(40):
            here, there = unix_pair()
            conn = over(there)
            sending = Task(here.sendall, wire({"name": "f", "size": len(data)}, data))
            with suppress(Interruption):
                signal.setitimer(signal.ITIMER_REAL, times.uniform(0.0001, 0.002))
                recv_file(conn, inbox)
                signal.setitimer(signal.ITIMER_REAL, 0)
            if (found := contents(inbox)) not in ({}, {"f": data}):
                gc.collect()  # an exception may keep what it went through for a while
                found = contents(inbox)
            assert found in ({}, {"f": data})
            outcomes.add(bool(found))
            (inbox / "f").unlink(missing_ok=True)
            # Either the file is still to come, or its rest is skipped, or nothing is certain.
            sending_on = Task(send_after, sending, here)
            with suppress(ConnectionError):
                message = recv(conn)
                assert (recv(conn) if message.body == data else message) == AFTER
            there.close()
            sending_on.join(60)
            here.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert outcomes == {True, False}


# The side that sends


@every_connection
@pytest.mark.parametrize("size", [1, 299_999])
def test_a_source_that_shrinks_is_an_error_and_nothing_follows(
    over: Over, size: int, source: Path, inbox: Path
) -> None:
    here, there = map(over, tcp_pair())

    def shrink(*_: int) -> None:
        os.truncate(source, size)

    receiving = Task(recv_file, there, inbox)
    with pytest.raises(OSError, match=f"changed its size .* 300001 .* there are {size}"):
        send_file(here, source, progress=shrink)
    with pytest.raises(ConnectionError):
        send(here, AFTER)
    with pytest.raises(ConnectionError):
        send_file(here, source)
    here.close()
    assert isinstance(receiving.error(), IncompleteMessageError)
    there.close()
    assert contents(inbox) == {}


@every_connection
def test_a_source_that_grows_is_an_error_and_the_connection_goes_on(
    over: Over, source: Path, inbox: Path
) -> None:
    here, there = map(over, tcp_pair())
    data = source.read_bytes()

    def grow(*_: int) -> None:
        with open(source, "ab") as file:
            file.write(b"more")

    receiving = Task(recv_file, there, inbox)
    with pytest.raises(OSError, match="changed its size"):
        send_file(here, source, progress=grow)
    assert receiving.result().read_bytes() == data
    send(here, AFTER)
    assert recv(there) == AFTER
    here.close()
    there.close()


@every_connection
def test_a_source_that_cannot_be_sent_costs_nothing(over: Over, tmp_path: Path) -> None:
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
    over: Over, source: Path, inbox: Path
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
    over: Over, is_plain: bool, tmp_path: Path
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
        with pytest.raises(ConnectionError):
            send(here, AFTER)
        here.close()


def test_a_slow_file_may_take_longer_than_the_timeout(source: Path, inbox: Path) -> None:
    """The timeout is for each wait, not for the whole."""
    client, server = small_buffers(unix_pair())
    for sock in (client, server):
        sock.settimeout(0.5)
    never = threading.Event()
    data = source.read_bytes()

    def slow(*_: int) -> None:
        never.wait(0.02)

    here, there = messages(client), messages(server)
    with here, there:
        sending = Task(send_file, here, source)
        assert recv_file(there, inbox, progress=slow).read_bytes() == data
        sending.result()


def test_a_closed_connection_ends_a_transfer(tmp_path: Path, inbox: Path) -> None:
    source = tmp_path / "large"
    with open(source, "wb") as file:
        file.truncate(64 * MIB)
    client, server = tcp_pair()
    client.settimeout(None)
    server.settimeout(None)
    here, there = messages(client), messages(server)
    moving = threading.Event()
    sending = Task(send_file, here, source)
    receiving = Task(recv_file, there, inbox, progress=lambda *_: moving.set())
    moving.wait(60)
    there.close()
    assert isinstance(receiving.error(), OSError | FramingError)
    assert isinstance(sending.error(), OSError)
    with pytest.raises(ConnectionError):
        here.send(AFTER)
    here.close()
    assert contents(inbox) == {}


@every_connection
def test_a_socket_that_does_not_wait_is_refused(over: Over, source: Path, inbox: Path) -> None:
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
        with sock, pytest.raises(ConnectionError, match="in the middle"):
            send(sock, AFTER)


@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo"), reason="needs Linux's /proc")
def test_a_file_that_only_looks_empty_is_an_error(inbox: Path) -> None:
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
    over: Over,
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


def test_other_formats_and_finished_connections_are_refused(source: Path, inbox: Path) -> None:
    class Shouting(HeaderBodyFramer):
        def encode_parts(self, message: HeaderMessage) -> tuple[bytes, bytes | memoryview]:
            return super().encode_parts(HeaderMessage(message.header, message.body.upper()))

    framers: list[Any] = [LengthPrefixFramer(), Shouting(), FRAMER]
    for framer in framers:
        client, server = unix_pair()
        conn: Any = MessageSocket(client, framer)
        error: Any = TypeError, "HeaderBodyFramer"
        if framer is FRAMER:
            conn.close()
            error = OSError, "closed"
        with conn, server:
            for call in (lambda: send_file(conn, source), lambda: recv_file(conn, inbox)):  # noqa: B023
                with pytest.raises(error[0], match=error[1]):
                    call()


@pytest.mark.parametrize("key", ["name", "sha256"])
def test_the_size_has_a_key_of_its_own(key: str, source: Path, inbox: Path) -> None:
    client, server = unix_pair()
    conn = MessageSocket(client, HeaderBodyFramer(size_key=key))
    with conn, server:
        for call in (lambda: send_file(conn, source), lambda: recv_file(conn, inbox)):
            with pytest.raises(ValueError, match="see size_key"):
                call()


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

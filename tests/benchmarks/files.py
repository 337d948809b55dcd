"""A file sent and received, within one folder: better one in memory, as the disk is not meant."""

from __future__ import annotations

import filecmp
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from framing.files import recv_file, send_file

from . import sides
from .harness import Contest, Contestant, Goal, Scale, Watch
from .large import payload
from .loads import Load
from .sides import Side, go

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
RECEIVED = "source"


# The far sides send


def bare_send(source: Path, sock: socket.socket, _load: Load) -> None:
    sides.wait_for_go(sock)
    with open(source, "rb") as file:
        offset = 0
        size = os.fstat(file.fileno()).st_size
        while offset < size:
            offset += os.sendfile(sock.fileno(), file.fileno(), offset, size - offset)


def socket_send(source: Path, sock: socket.socket, _load: Load) -> None:
    sides.wait_for_go(sock)
    with open(source, "rb") as file:
        sock.sendfile(file)


def framing_send(source: Path, sock: socket.socket, _load: Load) -> None:
    sides.wait_for_go(sock)
    send_file(sock, source)


# The near sides receive


def bare_receive(target: Path, sock: socket.socket, load: Load, watch: Watch) -> None:
    left = load.size
    with go(sock, watch):
        buffer = memoryview(bytearray(256 * 1024))
        with open(target / RECEIVED, "wb", buffering=0) as file:
            while left:
                size = sock.recv_into(buffer[:left])
                if not size:
                    raise EOFError
                file.write(buffer[:size])
                left -= size


def copy_makefile(target: Path, sock: socket.socket, _load: Load, watch: Watch) -> None:
    with go(sock, watch), sock.makefile("rb") as source, open(target / RECEIVED, "wb") as file:
        shutil.copyfileobj(source, file)


def framing_receive(target: Path, sock: socket.socket, _load: Load, watch: Watch) -> None:
    with go(sock, watch):
        recv_file(sock, target)


WAYS: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
    "framing": (framing_receive, framing_send),
    "makefile, copyfileobj": (copy_makefile, socket_send),
}
if hasattr(os, "sendfile"):
    WAYS["os.sendfile, recv_into, write"] = bare_receive, bare_send


def contestant(side: Side, name: str, load: Load, source: Path) -> Contestant:
    receive, send = WAYS[name]

    def carry(*, compare: bool) -> float:
        watch = Watch()
        with tempfile.TemporaryDirectory(dir=source.parent) as target:
            near, far = partial(receive, Path(target)), partial(send, source)
            sides.play(side, near, far, load, watch)
            received = Path(target, RECEIVED)
            assert received.stat().st_size == load.size, name
            assert not compare or filecmp.cmp(received, source, shallow=False), name
        return watch.seconds

    def check() -> None:
        carry(compare=True)

    return Contestant(name, partial(carry, compare=False), check)


def contests(scale: Scale, side: Side) -> Iterator[Contest]:
    load = Load(1, scale.file // 16 * 16)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        source = Path(folder, RECEIVED)
        source.write_bytes(payload(load.size))
        payload.cache_clear()
        contestants = [contestant(side, name, load, source) for name in WAYS]
        goals = [Goal("framing", "os.sendfile, recv_into, write", least=0.9)]
        size = f"{load.size / 2**20:.0f} MiB"
        yield Contest("files", size, contestants, goals, load.size, "byte", share=2.0)

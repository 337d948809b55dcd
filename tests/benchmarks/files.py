"""A file, sent and received within one folder: better one in memory, as the disk is not meant."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from framing.files import recv_file, send_file

from . import sides
from .harness import OURS, Contest, Contestant, Goal, Scale, Watch
from .load import Load
from .sides import Side, go


def framing_send(source: Path, sock: socket.socket, _load: Load) -> None:
    sides.wait_for_go(sock)
    send_file(sock, source)


def bare_send(source: Path, sock: socket.socket, _load: Load) -> None:
    sides.wait_for_go(sock)
    with open(source, "rb") as file:
        sock.sendfile(file)


def framing_receive(target: Path, sock: socket.socket, _load: Load, watch: Watch) -> None:
    with go(sock, watch):
        recv_file(sock, target)


def bare_receive(target: Path, sock: socket.socket, load: Load, watch: Watch) -> None:
    left = load.size
    with go(sock, watch):
        buffer = memoryview(bytearray(256 * 1024))
        with open(target / "source", "wb", buffering=0) as file:
            while left:
                size = sock.recv_into(buffer[:left])
                if not size:
                    raise EOFError("truncated")
                file.write(buffer[:size])
                left -= size


def copy_makefile(target: Path, sock: socket.socket, _load: Load, watch: Watch) -> None:
    with go(sock, watch), sock.makefile("rb") as source, open(target / "source", "wb") as file:
        shutil.copyfileobj(source, file)


FILES: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
    OURS: (framing_receive, framing_send),
    "sock.sendfile, recv_into": (bare_receive, bare_send),
    "sock.sendfile, makefile, copyfileobj": (copy_makefile, bare_send),
}


def contestant(side: Side, name: str, load: Load, source: Path) -> Contestant:
    receive, send = FILES[name]

    def run() -> float:
        watch = Watch()
        with tempfile.TemporaryDirectory(dir=source.parent) as target:
            near, far = partial(receive, Path(target)), partial(send, source)
            sides.play(side, near, far, load, watch)
            assert Path(target, source.name).stat().st_size == load.size, name
        return watch.seconds

    return Contestant(name, run)


def memory_folder(size: int) -> str | None:
    """Return a folder in memory with room for *size* bytes, if there is one."""
    folder = "/dev/shm"  # noqa: S108 - a folder of its own is made in it
    return folder if Path(folder).is_dir() and shutil.disk_usage(folder).free > size else None


def contests(scale: Scale, side: Side) -> Iterator[Contest]:
    load = Load(1, scale.file)
    with tempfile.TemporaryDirectory(dir=memory_folder(3 * load.size)) as folder:
        source = Path(folder, "source")
        source.write_bytes(load.messages[0])
        contestants = [contestant(side, name, load, source) for name in FILES]
        goal = Goal(OURS, "sock.sendfile, recv_into", 1.1)
        yield Contest(f"file of {scale.file // 2**20} MiB", contestants, [goal], share=1.5)

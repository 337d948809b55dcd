"""``send_file`` and ``recv_file`` against the bare system calls, over TCP on loopback.

    python tests/benchmarks/files.py [FOLDER]

One process sends a file of 600 MiB to itself, within FOLDER: by default the temporary folder,
better one in memory.  The ways take turns, and every line is the best of several runs.  The
last column is the speed by that of the bare system calls, so more is better.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from framing import HeaderBodyFramer, MessageSocket
from framing.files import recv_file, send_file

SIZE = 600 * 1024 * 1024
RUNS = 5

Transfer = Callable[[socket.socket, socket.socket, Path, Path], None]


def bare(client: socket.socket, server: socket.socket, source: Path, folder: Path) -> None:
    def send() -> None:
        with open(source, "rb") as file:
            offset = 0
            while sent := os.sendfile(client.fileno(), file.fileno(), offset, SIZE):
                offset += sent

    in_thread = threading.Thread(target=send)
    in_thread.start()
    buffer = memoryview(bytearray(256 * 1024))
    left = SIZE
    with open(folder / "received", "wb", buffering=0) as file:
        while left:
            size = server.recv_into(buffer[:left])
            file.write(buffer[:size])
            left -= size
    in_thread.join()


def framed(client: socket.socket, server: socket.socket, source: Path, folder: Path) -> None:
    sender = threading.Thread(target=send_file, args=(client, source))
    sender.start()
    recv_file(server, folder)
    sender.join()


def checked(client: socket.socket, server: socket.socket, source: Path, folder: Path) -> None:
    sender = threading.Thread(target=send_file, args=(client, source), kwargs={"checksum": True})
    sender.start()
    recv_file(server, folder)
    sender.join()


def message_sockets(
    client: socket.socket, server: socket.socket, source: Path, folder: Path
) -> None:
    here, there = (MessageSocket(sock, HeaderBodyFramer()) for sock in (client, server))
    sender = threading.Thread(target=send_file, args=(here, source))
    sender.start()
    recv_file(there, folder)
    sender.join()


def seconds(transfer: Transfer, source: Path) -> float:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server, tempfile.TemporaryDirectory(dir=source.parent) as folder:
        start = perf_counter()
        transfer(client, server, source, Path(folder))
        return perf_counter() - start


def memory() -> int:
    """Return the most memory that this process has used, in bytes."""
    if sys.platform != "linux":
        return 0
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) * 1024


def main() -> None:
    ways: dict[str, Transfer] = {
        "os.sendfile, recv_into and write": bare,
        "send_file, recv_file": framed,
        "... over MessageSocket": message_sockets,
        "... with a checksum": checked,
    }
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as folder:
        source = Path(folder, "source")
        with open(source, "wb") as file:
            file.writelines(os.urandom(1024 * 1024) for _ in range(SIZE // (1024 * 1024)))
        before = memory()
        seconds(framed, source)
        growth = (memory() - before) / 1024 / 1024
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(RUNS):
            for name, transfer in ways.items():
                best[name] = min(best[name], seconds(transfer, source))
    first = best["os.sendfile, recv_into and write"]
    print(f"{SIZE // 1024 // 1024} MiB")
    for name, taken in best.items():
        print(f"{name:<36}{SIZE / taken / 1e9:8.2f} GB/s{first / taken:8.2f}")
    print(f"\nsend_file and recv_file made the process grow by {growth:.1f} MiB.")


if __name__ == "__main__":
    main()

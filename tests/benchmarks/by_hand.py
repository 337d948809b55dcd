"""The loops that people write by hand: the careless ones, and those that are correct."""

from __future__ import annotations

import socket
import struct
from typing import Protocol

LIMIT = 256 * 1024 * 1024


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def send(sock: socket.socket, message: bytes) -> None:
    sock.sendall(struct.pack("!I", len(message)) + message)


def recv_carelessly(sock: socket.socket) -> bytes:
    (size,) = struct.unpack("!I", sock.recv(4))
    return sock.recv(size)


def recv_correctly(sock: socket.socket) -> bytes:
    (size,) = struct.unpack("!I", recv_exactly(sock, 4))
    if size > LIMIT:
        raise ValueError("too large")
    return recv_exactly(sock, size)


def recv_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise EOFError("truncated")
        data += chunk
    return data


def read_carelessly(file: Readable) -> bytes:
    (size,) = struct.unpack("!I", file.read(4))
    return file.read(size)


def read_correctly(file: Readable) -> bytes:
    prefix = file.read(4)
    if len(prefix) < 4:
        raise EOFError("truncated")
    (size,) = struct.unpack("!I", prefix)
    if size > LIMIT:
        raise ValueError("too large")
    payload = file.read(size)
    if len(payload) < size:
        raise EOFError("truncated")
    return payload


def read_all_carelessly(file: Readable) -> bytes:
    payload = b""
    while prefix := file.read(4):
        (size,) = struct.unpack("!I", prefix)
        payload = file.read(size)
    return payload


def read_all_correctly(file: Readable) -> bytes:
    payload = b""
    while prefix := file.read(4):
        if len(prefix) < 4:
            raise EOFError("truncated")
        (size,) = struct.unpack("!I", prefix)
        if size > LIMIT:
            raise ValueError("too large")
        payload = file.read(size)
        if len(payload) < size:
            raise EOFError("truncated")
    return payload


def read_all_tuned(file: Readable) -> bytes:
    """The correct loop, tuned: it looks up the names only once."""
    payload = b""
    read, unpack = file.read, struct.Struct("!I").unpack
    while prefix := read(4):
        if len(prefix) < 4:
            raise EOFError("truncated")
        (size,) = unpack(prefix)
        if size > LIMIT:
            raise ValueError("too large")
        payload = read(size)
        if len(payload) < size:
            raise EOFError("truncated")
    return payload

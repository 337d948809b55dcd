"""Sockets that behave as badly as real ones are allowed to."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any


class WrappedSocket(socket.socket):
    """A real socket whose methods are Python functions, as an ``SSLSocket``'s are."""

    @classmethod
    def around(cls, sock: socket.socket) -> WrappedSocket:
        return cls(sock.family, sock.type, sock.proto, sock.detach())

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        if flags:
            raise ValueError("non-zero flags not allowed, as in ssl.SSLSocket.recv")
        return super().recv(bufsize)


class ScriptedSocket:
    """Not a socket at all: gives out *wire* as *sizes* say, and takes sends as they say.

    A size that is an exception is raised instead, once.  After the last size, everything
    goes through; after the last byte, the peer has closed.
    """

    type = socket.SOCK_STREAM

    def __init__(self, wire: bytes = b"", sizes: Sequence[int | BaseException] = ()) -> None:
        self.wire = wire
        self.sizes = list(sizes)
        self.sent = b""

    def _next(self, most: int) -> int:
        if not self.sizes:
            return most
        size = self.sizes.pop(0)
        if isinstance(size, BaseException):
            raise size
        return min(size, most)

    def recv(self, bufsize: int) -> bytes:
        size = self._next(bufsize) if self.wire else 0
        data, self.wire = self.wire[:size], self.wire[size:]
        return data

    def sendall(self, data: Any) -> None:
        view = memoryview(data).cast("B")
        while view:
            size = self._next(len(view))
            self.sent += view[:size]
            view = view[size:]


# What interrupts a call without the connection being at fault
INTERRUPTIONS: list[Callable[[], Exception]] = [
    TimeoutError,
    BlockingIOError,
    ssl.SSLWantReadError,
]

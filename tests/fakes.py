"""Sockets that behave as badly as real ones are allowed to."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

S = TypeVar("S", bound=socket.socket)


def made_of(sock: socket.socket, kind: type[S]) -> S:
    """Return a socket of another class for the same connection."""
    timeout = sock.gettimeout()
    made = kind(sock.family, sock.type, sock.proto, sock.detach())
    made.settimeout(timeout)
    return made


class WrappedSocket(socket.socket):
    """A real socket whose methods are Python functions, as an ``SSLSocket``'s are."""

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
        if isinstance(size, int):
            return min(size, most)
        try:
            raise size
        finally:
            del size  # which its traceback leads to

    def recv(self, bufsize: int) -> bytes:
        size = self._next(bufsize) if self.wire else 0
        data, self.wire = self.wire[:size], self.wire[size:]
        return data

    def send(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        size = self._next(len(view))
        self.sent += view[:size]
        return size

    def sendall(self, data: Any) -> None:
        view = memoryview(data).cast("B")
        while view:
            view = view[self.send(view) :]


# What interrupts a call without the connection being at fault
INTERRUPTIONS: list[Callable[[], Exception]] = [
    TimeoutError,
    BlockingIOError,
    ssl.SSLWantReadError,
]


class MisbehavingSocket(socket.socket):
    """A real socket that moves one byte at a time, and raises an error before each.

    The errors are those of INTERRUPTIONS and ``InterruptedError``, which older systems raise.
    """

    interruptions: Sequence[Callable[[], Exception]] = ()
    limit = 1
    _calls = 0

    @classmethod
    def around(
        cls, sock: socket.socket, *interruptions: Callable[[], Exception], limit: int = 1
    ) -> MisbehavingSocket:
        made = made_of(sock, cls)
        made.interruptions, made.limit = interruptions, limit
        return made

    def _interrupt(self) -> None:
        self._calls += 1
        turn = self._calls % (len(self.interruptions) + 1)
        if turn:
            interruption = self.interruptions[turn - 1]
            raise interruption()

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        self._interrupt()
        return super().recv(min(bufsize, self.limit), flags)

    def recv_into(self, buffer: Any, *_: int) -> int:
        self._interrupt()
        return super().recv_into(memoryview(buffer)[: self.limit])

    def send(self, data: Any, flags: int = 0, /) -> int:
        self._interrupt()
        return super().send(memoryview(data)[: self.limit], flags)

    def sendmsg(self, buffers: Any, *rest: Any) -> int:
        self._interrupt()
        return super().sendmsg([memoryview(b"".join(buffers))[: self.limit]], *rest)


class ScriptedSends(socket.socket):
    """A real socket whose sends take as many bytes as *sizes* say, or raise the errors there."""

    sizes: list[int | BaseException]

    @classmethod
    def around(cls, sock: socket.socket, *sizes: int | BaseException) -> ScriptedSends:
        made = made_of(sock, cls)
        made.sizes = list(sizes)
        return made

    def send(self, data: Any, flags: int = 0, /) -> int:
        view = memoryview(data).cast("B")
        if not self.sizes:
            return super().send(view, flags)
        size = self.sizes.pop(0)
        if isinstance(size, int):
            return super().send(view[:size], flags)
        try:
            raise size
        finally:
            del size  # which its traceback leads to

    def sendmsg(self, buffers: Any, *_: Any) -> int:
        return self.send(b"".join(buffers))


class ScriptedDatagramSocket:
    """A UDP socket of Windows, or of nowhere: does what *script* says, one step a call.

    A step is an error to raise, or a datagram to receive.  After the last one, sends go
    through, and there is nothing to receive.
    """

    type = socket.SOCK_DGRAM

    def __init__(
        self,
        *script: OSError | tuple[bytes, Any],
        family: int = socket.AF_INET,
        peer: Any = None,
    ) -> None:
        self.script = list(script)
        self.family = family
        self.peer = peer
        self.attempts = 0
        self.sent: list[tuple[bytes, Any]] = []
        self.options: list[tuple[int, int, Any]] = []
        self.timeout: float | None = None

    def gettimeout(self) -> float | None:
        return self.timeout

    def settimeout(self, timeout: float | None) -> None:
        self.timeout = timeout

    def setblocking(self, _: bool) -> None: ...

    def getpeername(self) -> Any:
        if self.peer is None:
            raise OSError(errno.ENOTCONN, "not connected")
        return self.peer

    def getsockopt(self, level: int, option: int) -> int:
        return int((level, option, 1) in self.options)

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        self.options.append((level, option, value))

    def send(self, data: Any) -> int:
        return self.sendto(data, self.peer)

    def sendto(self, data: Any, address: Any) -> int:
        self.attempts += 1
        if self.script and isinstance(error := self.script[0], OSError):
            del self.script[0]
            raise error
        self.sent.append((bytes(data), address))
        return len(data)

    def recvfrom(self, bufsize: int, _flags: int = 0, /) -> tuple[bytes, Any]:
        if not self.script:
            raise BlockingIOError(errno.EAGAIN, "nothing to receive")
        step = self.script.pop(0)
        if isinstance(step, OSError):
            raise step
        if len(step[0]) > bufsize:
            raise OSError(10040, "a message sent on a datagram socket was larger than the buffer")
        return step

"""What has to be known of a socket before it is read from or written to."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .buffer import Buffer

__all__: list[str] = []

A = TypeVar("A")
R = TypeVar("R")

# POSIX lets a system refuse more parts at once: _XOPEN_IOV_MAX in limits.h.
MOST_PARTS = 16
# Up to this size a copy of a message is cheaper than passing its parts to the system.
JOIN_SIZE = 16 * 1024


def check_is_socket(sock: Any) -> None:
    """Raise a ``TypeError`` if *sock* has not the methods of a socket."""
    if not (hasattr(sock, "recv") and hasattr(sock, "sendall")):
        is_accepted = type(sock) is tuple and sock and isinstance(sock[0], socket.socket)
        advice = ": take the first of the two that accept() returns" if is_accepted else ""
        raise TypeError(f"expected a socket, not {type(sock).__name__}{advice}")


def check_is_stream(sock: socket.socket) -> None:
    """Raise an error if *sock* is no socket, or carries datagrams."""
    check_is_socket(sock)
    kind = getattr(sock, "type", socket.SOCK_STREAM)
    if kind != socket.SOCK_STREAM:
        raise ValueError(
            f"expected a stream socket (SOCK_STREAM), not {kind!r}: datagrams keep their"
            " boundaries, so framer.encode() and framer.decode() are enough there"
        )


def check_is_connected(sock: socket.socket) -> None:
    """Raise an ``OSError`` if *sock* was never connected.

    One that the peer has reset has no peer either, and may still hold bytes from it: what tells
    them apart is that a connected socket has a port of its own, and does not listen.
    """
    try:
        sock.getpeername()
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            return
        address = sock.getsockname()
        has_port = isinstance(address, tuple) and len(address) > 1 and address[1] != 0
        if not has_port or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(
                errno.ENOTCONN,
                "expected a connected socket: call connect() first, or take one from accept()",
            ) from None
    except AttributeError:  # no socket, but something that behaves like one
        return


def check_address(address: tuple[Any, ...]) -> None:
    """Raise an error if *address* is not a host and a port.

    The system takes port 65,536 for port 0, and does not say so.
    """
    if not isinstance(address, (tuple, list)) or len(address) < 2:
        raise TypeError(f"expected a host and a port, such as ('127.0.0.1', 9000), not {address!r}")
    port = address[1]
    if isinstance(port, int) and not 0 <= port <= 65_535:
        raise ValueError(f"expected a port from 0 to 65535, not {port}")


def is_plain(sock: socket.socket) -> bool:
    """Return whether the methods of *sock* are the C functions of the standard library.

    Those of TLS are not, nor those of a subclass that overrides them.
    """
    return all(
        getattr(type(sock), name, None) is getattr(socket.socket, name, None)
        for name in ("recv", "recv_into", "send", "sendmsg", "sendall")
    )


class Guard:
    """The calls of a method that bytes may be lost in, if a signal's exception ends one.

    A method that is written in Python can be interrupted after the system has taken or given
    bytes and before anybody was told.  The stream cannot be trusted then, so the guard lets no
    further call through.

    Args:
        sock: Whose methods are called.
        advice: What to say then.
    """

    __slots__ = ("_advice", "_is_unsure", "_modules")

    def __init__(self, sock: socket.socket, advice: str) -> None:
        self._modules = {__name__, *(each.__module__ for each in type(sock).__mro__)}
        self._advice = advice
        self._is_unsure = False

    def check(self) -> None:
        """Raise a ``ConnectionError`` if a call was interrupted."""
        if self._is_unsure:
            raise ConnectionError(self._advice)

    def call(self, method: Callable[[A], R], argument: A, keep: Callable[[R], object]) -> None:
        """Call ``keep(method(argument))``.

        Raises:
            ConnectionError: An earlier call was interrupted.
            OSError: As *method* raised it; nothing is lost then.
        """
        self.check()
        self._is_unsure = True
        try:
            result = method(argument)
        except OSError as error:
            self._is_unsure = not self._is_its_own(error)
            raise
        keep(result)
        self._is_unsure = False

    def _is_its_own(self, error: OSError) -> bool:
        """Return whether the socket raised *error*, and not a signal handler meanwhile.

        A handler is a function of Python, so its own frame is the one that raised.
        """
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
        module = traceback.tb_frame.f_globals.get("__name__") if traceback is not None else None
        return module in self._modules


def skip(parts: Sequence[Buffer], size: int) -> Iterator[memoryview]:
    """Yield what is left of *parts* after their first *size* bytes."""
    for part in parts:
        view = memoryview(part)
        if size < view.nbytes:
            yield view.cast("B")[size:]
        size = max(0, size - view.nbytes)

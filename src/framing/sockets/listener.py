"""Sockets that listen: on a host and a port, or at the path of a Unix socket."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from .checks import check_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext

# How many clients the system keeps waiting; as many as it takes by default.
BACKLOG = 128


def open_listener(address: tuple[str, int] | str) -> tuple[socket.socket, Callable[[], None]]:
    """Return a socket that listens, and what to call before you close it.

    A host name is looked up as IPv4.  The address can be used again at once after a restart, but
    not on Windows, where that would let another program take over a port in use.

    Args:
        address: The host and the port, which may be 0 for a free one; or the path of a Unix
            socket.  If a socket is there already that no program listens on, it is replaced.

    Raises:
        OSError: The address is in use, or is not one of this machine.
    """
    check_address(address)
    if isinstance(address, str):
        return _open_at_path(address)
    host, port = address[:2]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG), _do_nothing


def check_is_for_servers(context: SSLContext | None) -> None:
    """Raise a ``ValueError`` if *context* is one for clients, which would fail for each client."""
    if context is not None and context.protocol.name == "PROTOCOL_TLS_CLIENT":
        raise ValueError(
            "expected a TLS context for servers, such as"
            " ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) with a certificate loaded"
        )


def _do_nothing() -> None:
    """Leave everything as it is: a port is free as soon as it is closed."""


def _open_at_path(path: str) -> tuple[socket.socket, Callable[[], None]]:
    if not hasattr(socket, "AF_UNIX"):
        raise OSError(errno.EAFNOSUPPORT, "this system has no Unix sockets: use a host and a port")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_stale(path):
                raise OSError(error.errno, f"{error.strerror}: {path!r}") from None
            os.unlink(path)
            sock.bind(path)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock, partial(_remove, path, _identity(path))


def _is_stale(path: str) -> bool:
    """Return whether there is a socket at *path*, and no program listens on it."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False  # to connect to any other file is refused too
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            probe.connect(path)
    except ConnectionRefusedError:
        return True
    except OSError:  # would block, for example: somebody listens who is busy
        return False
    return False


def _identity(path: str) -> tuple[int, int] | None:
    with suppress(OSError, ValueError):  # a name in Linux's abstract space is not a file
        status = os.lstat(path)
        return status.st_dev, status.st_ino
    return None


def _remove(path: str, identity: tuple[int, int] | None) -> None:
    """Remove the socket at *path*, unless another one is there by now."""
    if identity is not None and _identity(path) == identity:
        with suppress(OSError):
            os.unlink(path)

"""Sockets that listen: on a host and a port, or at the path of a Unix socket."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .checks import check_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext


def open_listener(address: tuple[str, int] | str) -> tuple[socket.socket, Callable[[], object]]:
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
        sock = _open_at_path(address)
        is_file = not address.startswith("\0")  # as names in Linux's abstract space do
        return sock, partial(_remove, address, os.lstat(address)) if is_file else bool
    host, port = address[:2]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family), bool


def check_is_for_servers(context: SSLContext | None) -> None:
    """Raise a ``ValueError`` if *context* is one for clients, which would fail for each client."""
    if context is not None and context.protocol.name == "PROTOCOL_TLS_CLIENT":
        raise ValueError("expected a TLS context for servers, made with ssl.Purpose.CLIENT_AUTH")


def _open_at_path(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        if _is_stale(path):
            os.unlink(path)
        sock.bind(path)
        sock.listen()
    except OSError as error:
        sock.close()
        error.filename = path
        raise
    return sock


def _is_stale(path: str) -> bool:
    """Return whether there is a socket at *path*, and no program listens on it."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # somebody who listens may be busy
        # (To connect to any other file is refused too.)
        return Path(path).is_socket() and probe.connect_ex(path) == errno.ECONNREFUSED


def _remove(path: str, status: os.stat_result) -> None:
    """Remove the socket at *path*, unless another one is there by now."""
    with suppress(OSError):
        if os.path.samestat(os.lstat(path), status):
            os.unlink(path)

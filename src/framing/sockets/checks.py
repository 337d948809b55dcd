"""What a socket and an address have to be, and what to say if they are something else."""

from __future__ import annotations

import _socket
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TypeAlias

    Address: TypeAlias = "tuple[Any, ...] | str"


def is_plain(sock: Any) -> bool:
    """Return whether the methods of *sock* are the C functions of the standard library.

    Those of TLS are not, nor those of a subclass that overrides them, nor gevent's.
    """
    return isinstance(sock, _socket.socket) and all(
        getattr(type(sock), name, None) is getattr(_socket.socket, name, None)
        for name in ("recv", "recv_into", "send", "sendmsg", "sendall")
    )


def refuse(thing: object, wanted: str = "a socket") -> TypeError:
    """Return the error for *thing*, which is not *wanted*, with what to write instead."""
    kind = type(thing).__name__
    advice = ""
    if isinstance(thing, tuple) and thing and isinstance(thing[0], socket.socket):
        advice = ": accept() returns a socket and an address; take the first, as in conn, _ ="
        advice += " listener.accept()"
    elif kind == "MessageSocket":
        advice = ": call its own methods, conn.send(message) and conn.recv()"
    elif isinstance(thing, (bytes, bytearray, memoryview, str)):
        advice = ": the socket comes first, as in send_msg(sock, message)"
    elif kind in {"StreamReader", "StreamWriter"}:
        advice = ": use framing.aio for asyncio"
    elif hasattr(thing, "read") or hasattr(thing, "write"):
        advice = ": use send_msg and recv_msg for files and pipes"
    elif hasattr(thing, "recv") and hasattr(thing, "sendall"):
        advice = ": use send_msg and recv_msg, which need only its recv and sendall"
    return TypeError(f"expected {wanted}, not {kind}{advice}")


def check_is_stream(sock: Any) -> None:
    """Raise a ``ValueError`` if *sock* carries datagrams."""
    kind = getattr(sock, "type", socket.SOCK_STREAM)
    if isinstance(kind, int) and kind != socket.SOCK_STREAM:
        raise ValueError(
            f"expected a stream socket (SOCK_STREAM), not {kind!r}: datagrams keep their"
            " boundaries, so framer.encode() and framer.decode() are enough there"
        )


def check_is_connected(sock: Any) -> None:
    """Raise an ``OSError`` if *sock* was closed or never connected, or listens.

    A socket that the peer has reset has no peer either, and may still hold bytes from it.  But it
    has a port of its own and does not listen, unlike one that was never connected.
    """
    try:
        if sock.fileno() < 0:
            raise OSError(errno.EBADF, "expected an open socket, but this one was closed")
        sock.getpeername()
    except OSError as error:
        if error.errno == errno.EBADF:
            raise
        if error.errno not in {errno.ENOTCONN, errno.EINVAL}:
            return
        address = sock.getsockname()
        has_port = isinstance(address, tuple) and len(address) > 1 and address[1] != 0
        if not has_port or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(
                errno.ENOTCONN,
                "expected a connected socket: call connect() first, or take one from accept()",
            ) from None
    except AttributeError:  # not a socket, but something that behaves like one
        return


def check_address(address: Any) -> None:
    """Raise an error if *address* is neither a host and a port nor the path of a Unix socket.

    The system silently takes port 65,536 for port 0.
    """
    if isinstance(address, str):
        if ":" in address and "/" not in address:
            host, _, port = address.rpartition(":")
            raise TypeError(
                f"expected a host and a port, or the path of a Unix socket, not {address!r}:"
                f" write ({host!r}, {port})"
            )
        if not hasattr(socket, "AF_UNIX"):
            raise OSError(
                errno.EAFNOSUPPORT, "this system has no Unix sockets: use a host and a port"
            )
        return
    if not isinstance(address, (tuple, list)) or len(address) < 2:
        raise TypeError(
            "expected a host and a port, such as ('127.0.0.1', 9000), or the path of a Unix"
            f" socket, not {address!r}"
        )
    port = address[1]
    if isinstance(port, int) and not 0 <= port <= 65_535:
        raise ValueError(f"expected a port from 0 to 65535, not {port}")


def explained_refusal(error: OSError, address: Address) -> OSError:
    """Return what to raise for *error*: one sentence, if nothing listens at *address*."""
    number = error.errno
    if number is None and f"[Errno {errno.ECONNREFUSED}]" in str(error):
        number = errno.ECONNREFUSED  # asyncio has put the texts of several errors into one
    if number not in {errno.ECONNREFUSED, errno.ENOENT}:
        return error
    shown = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
    text = f"{os.strerror(number)}: nothing listens at {shown}; is the server running?"
    return OSError(number, text)  # of the class that fits the number

r"""Whole messages over UDP, without its surprises.

UDP keeps the boundaries of messages, so there is nothing to frame: a datagram comes whole or
not at all.  What goes wrong is size, truncation, permission and stray errors, and each
function here takes care of its part of that::

    open_datagram        a socket with the options that have to be set before it is bound
    send_datagram        refuses what UDP cannot carry
    recv_datagram        never returns part of a datagram
    request_datagram     asks, asks again, and knows the answer from other datagrams
    join_multicast       (and leave_multicast) a group, of IPv4 or of IPv6

They keep nothing between two calls and never change a socket's timeout, so any number of
threads may use them, on one socket too.

A framer turns messages into datagrams and back, one each: ``framer.encode`` before
``send_datagram``, ``framer.decode`` after ``recv_datagram``.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import sys
from contextlib import contextmanager
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from .errors import EncodeError, TruncatedDatagramError
from .sockets import check_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .buffer import Buffer

__all__ = [
    "Datagram",
    "join_multicast",
    "leave_multicast",
    "open_datagram",
    "recv_datagram",
    "request_datagram",
    "send_datagram",
]

# Host and port; for IPv6 the flow and the scope may follow, and do in what a socket returns.
Address = tuple[str, int] | tuple[str, int, int, int]

# The length field of UDP has 16 bits, as that of IP has.  It counts UDP's header of 8 bytes;
# that of IPv4 counts the header of IPv4 too, 20 bytes, that of IPv6 not its own (RFC 768,
# RFC 791 section 3.1, RFC 8200 section 3).
_MOST_OVER_IPV4 = 65_535 - 20 - 8
_MOST_OVER_IPV6 = 65_535 - 8
_MAPPED = bytes(10) + b"\xff\xff"  # the beginning of ::ffff:192.0.2.1: IPv4 on an IPv6 socket
# No datagram is larger, so none is cut that has this much room.
_LARGEST = 65_535

# Linux tells the true size of a datagram to those who pass MSG_TRUNC.  Elsewhere that is no
# flag to pass, though the constant may exist.
_MSG_TRUNC: int | None = (
    getattr(socket, "MSG_TRUNC", None) if sys.platform in ("linux", "android") else None
)
_WSAEMSGSIZE = 10040  # Windows: a datagram was larger than the buffer
_MSG_DONTWAIT: int = getattr(socket, "MSG_DONTWAIT", 0)
_POLL = getattr(select, "poll", None)
# Windows takes the number of an interface in place of its address; others take both.
_HAS_MREQN = sys.platform != "win32"
# Where several sockets on one port need an option of its own for that.
_NEEDS_REUSE_PORT = sys.platform == "darwin" or "bsd" in sys.platform

# What ICMP may have said of an earlier datagram, beside ConnectionRefusedError and
# ConnectionResetError.
_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETRESET}
# Each failed attempt to send takes one error of an earlier datagram away.
_MOST_ATTEMPTS = 8
# More than the queue of a socket holds by default, at their smallest; a flood has no end.
_MOST_DRAINED = 1000
_LONGEST_WAIT = 24 * 60 * 60.0  # seconds; poll takes no more than 24 days


class Datagram(NamedTuple):
    """A datagram that was received.

    Attributes:
        data: Its bytes.  It may be empty: that is a datagram like others, and not an end.
        address: Where it came from, to send an answer to: host and port, for IPv6 followed
            by flow and scope.
    """

    data: bytes
    address: Address


def open_datagram(
    bind: Address | None = None,
    *,
    family: int | None = None,
    broadcast: bool = False,
    reuse_address: bool = False,
) -> socket.socket:
    r"""Return a new UDP socket.

        >>> with open_datagram(("127.0.0.1", 0)) as server, open_datagram() as client:
        ...     send_datagram(client, b"hello", server.getsockname())
        ...     recv_datagram(server).data
        b'hello'

    Args:
        bind: The local host and port to receive at: port 0 for any that is free, host ``""``
            for all of IPv4, ``"::"`` for all of IPv6.  By default the system chooses, when
            the socket first sends.
        family: ``socket.AF_INET`` or ``socket.AF_INET6``.  By default that of *bind*, and
            IPv4 where a host has both, as ``localhost`` may, or where there is no *bind*.
        broadcast: Allow to send to broadcast addresses.
        reuse_address: Let several sockets have the same port, as those that receive from one
            multicast group on one machine must.  Not for anything else: of what is sent to
            the machine itself each datagram reaches one of them, and on Windows any program
            may take the port over in this way.

    Raises:
        OSError: As the system raised it: the port is taken, or ``socket.gaierror`` for a
            host that has no address in *family*.
        TypeError: *bind* is no host and port.
        ValueError: There is no such port.
    """
    where: Address | None = None
    if bind is not None:
        family, where = _resolve(bind, family or 0, socket.AI_PASSIVE)
    sock = socket.socket(family or socket.AF_INET, socket.SOCK_DGRAM)
    try:
        _set_options(sock, broadcast, reuse_address)
        if where is not None:
            sock.bind(where)
    except BaseException:
        sock.close()
        raise
    return sock


def send_datagram(
    sock: socket.socket,
    data: Buffer,
    address: Address | None = None,
    *,
    ignore_refused: bool | None = None,
) -> None:
    """Send one datagram.

    A datagram may get lost on its way, without a word.  One of more than about 1400 bytes
    travels in several packets, and is lost with each of them.

    Args:
        sock: A UDP socket; its timeout applies.
        data: The bytes to send, none at all included.
        address: The host and port to send to, of the family of *sock*: a name such as
            ``localhost`` is looked up in that family.  A link-local host of IPv6 names its
            interface, ``"fe80::1%eth0"``.  ``"<broadcast>"`` is everybody on the network.
            By default the peer that *sock* is connected to.
        ignore_refused: An earlier datagram could not be delivered, and the system tells of
            it now, instead of sending this one.  True to send this one all the same; False
            to raise the error, with *data* not sent.  By default True where *sock* is not
            connected, since it may be another peer's, and False where it is.

    Raises:
        EncodeError: *data* is more than UDP can carry: 65,507 bytes over IPv4, 65,527 over
            IPv6.  (Some systems send less: macOS 9,216 bytes, unless the socket is from
            :func:`open_datagram`, or has a larger send buffer.)
        TypeError: *data* is not made of bytes, or *sock* is no socket.
        PermissionError: *address* is for broadcast, and *sock* was not opened for that.
        ConnectionRefusedError: Nobody received an earlier datagram; ``ConnectionResetError``
            on Windows.  See *ignore_refused*.
        OSError: As the socket raised it.
        ValueError: *sock* is a stream socket.
    """
    view = _view_of(data)
    if view.nbytes > _MOST_OVER_IPV4:
        _check_size(sock, view.nbytes, address)
    _check_kind(sock)
    if address is not None and "%" in address[0]:  # sendto would forget the interface
        address = _resolve(address, sock.family)[1]
    failures = 0
    while True:
        try:
            _send(sock, view, address)
            return
        except OSError as error:  # noqa: PERF203  # there is one attempt, nearly always
            failures += 1
            if failures == _MOST_ATTEMPTS or not _is_ignored(sock, error, ignore_refused):
                raise


def recv_datagram(
    sock: socket.socket, max_size: int = 65_535, *, ignore_refused: bool | None = None
) -> Datagram:
    """Receive one datagram, whole.

    Args:
        sock: A UDP socket; its timeout applies, to the call as a whole.
        max_size: The largest datagram to accept, in bytes; by default none is too large.
        ignore_refused: An earlier datagram, sent from *sock*, could not be delivered, and the
            system tells of it now.  True to go on receiving; False to raise the error, which
            takes nothing away from what there is to receive.  By default True where *sock*
            is not connected, since a server must not end because a client did, and False
            where it is.

    Returns:
        The datagram and where it came from.

    Raises:
        TruncatedDatagramError: The datagram was larger than *max_size*.  It is gone, and the
            next call gets the next one.
        ConnectionRefusedError: Nobody received an earlier datagram; ``ConnectionResetError``
            on Windows.  See *ignore_refused*.
        OSError: As the socket raised it; ``TimeoutError`` and ``BlockingIOError`` are two.
        ValueError: *sock* is a stream socket, or *max_size* is negative.
    """
    _check_kind(sock)
    if max_size < 0:
        raise ValueError(f"max_size is a number of bytes, 0 or more, not {max_size}")
    started = monotonic()
    while True:
        try:
            return _receive(sock, max_size)
        except OSError as error:
            if not _is_ignored(sock, error, ignore_refused):
                raise
        if timeout := sock.gettimeout():  # otherwise there is no time to keep count of
            deadline = started + timeout
            with _without_timeout(sock) as handle:
                datagram = _receive_by(handle, deadline, max_size, ignore_refused)
            if datagram is None:
                raise TimeoutError("timed out")
            return datagram


def request_datagram(
    sock: socket.socket,
    data: Buffer,
    address: Address | None,
    *,
    timeout: float = 1.0,
    retries: int = 3,
    accept: Callable[[bytes], bool] | None = None,
    ignore_refused: bool | None = None,
) -> Datagram:
    """Send a request, and wait for its answer; ask again if none comes.

    What was waiting on *sock* before is thrown away, since it cannot be the answer.  An
    answer to an earlier request may still come later, and from the right address: where that
    matters, put a number into each request, and let *accept* look for it in the answer.

    Args:
        sock: A UDP socket, blocking or not, that no other thread receives from meanwhile.
            Its own timeout has no influence on the waiting.
        data: The request.
        address: Where to send it, as for :func:`send_datagram`; the answer has to come from
            there, so this is no broadcast or multicast address.  ``None`` for the peer that
            *sock* is connected to.
        timeout: How long to wait for an answer to each request, in seconds.
        retries: How many times to send the request again: it is sent ``1 + retries`` times at
            most, and the call takes ``timeout`` seconds for each.
        accept: Whether bytes that came from *address* are the answer.  By default they are.
        ignore_refused: As for :func:`send_datagram`: by default nobody receiving at *address*
            looks like silence where *sock* is not connected, and is an error where it is.

    Returns:
        The answer, and the address that it came from.

    Raises:
        TimeoutError: No answer came.
        EncodeError: *data* is more than UDP can carry.
        ConnectionRefusedError: Nobody receives at *address*; ``ConnectionResetError`` on
            Windows.  See *ignore_refused*.
        OSError: As the socket raised it.
        ValueError: *timeout* is not above 0, or *retries* is negative; or *sock* is a stream
            socket.
    """
    if not timeout > 0:
        raise ValueError(f"timeout is a number of seconds, more than 0, not {timeout}")
    if retries < 0:
        raise ValueError(f"retries is a number of requests, 0 or more, not {retries}")
    _check_kind(sock)
    if address is not None:
        _, address = _resolve(address, sock.family)
    peer = address or sock.getpeername()
    others = 0

    def ask(handle: socket.socket) -> Datagram | None:
        # In a function of its own, so that the socket's timeout is set again after a signal
        # handler that raises at the end of a turn: see MessageSocket.
        nonlocal others
        for _ in range(1 + retries):
            send_datagram(sock, data, address, ignore_refused=ignore_refused)
            deadline = monotonic() + timeout
            while datagram := _receive_by(handle, deadline, _LARGEST, ignore_refused):
                if _is_from(peer, datagram) and (accept is None or accept(datagram.data)):
                    return datagram
                others += 1
        return None

    with _without_timeout(sock) as handle:
        _drain(handle)
        answer = ask(handle)
    if answer is not None:
        return answer
    raise TimeoutError(
        f"expected an answer from {peer} within {timeout} s (timeout) of one of"
        f" {1 + retries} requests (1 + retries), but none came, and {others} other datagrams"
    )


def join_multicast(sock: socket.socket, group: str, interface: str | int | None = None) -> None:
    """Receive what is sent to a multicast group, at the port that *sock* is bound to.

    Args:
        sock: A UDP socket; to share its port with others on this machine, one opened with
            ``reuse_address=True``.
        group: An address of the family of *sock*: 224.0.0.0 to 239.255.255.255, or one of
            IPv6 that begins with ``ff``, where ``"ff02::1%eth0"`` names the interface too.
        interface: Where to receive from: the name or number of an interface, or for an IPv4
            group the address that this machine has there.  By default the system chooses.

    Raises:
        ValueError: *group* is no multicast address, or not of the family of *sock*.
        OSError: There is no such interface, or *sock* is in that group already.
    """
    membership = _membership(sock, group, interface)
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)


def leave_multicast(sock: socket.socket, group: str, interface: str | int | None = None) -> None:
    """Undo :func:`join_multicast`, given the same.  Closing the socket does it too.

    Raises:
        ValueError: As for :func:`join_multicast`.
        OSError: *sock* is not in that group, or not on that interface.
    """
    membership = _membership(sock, group, interface)
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, membership)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, membership)


# Opening


def _set_options(sock: socket.socket, broadcast: bool, reuse_address: bool) -> None:
    # macOS and the BSDs refuse a datagram that is larger than the buffer, 9,216 bytes to send
    # and 42,080 to receive by default.
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        if sock.getsockopt(socket.SOL_SOCKET, buffer) < _LARGEST:
            sock.setsockopt(socket.SOL_SOCKET, buffer, _LARGEST)
    if broadcast:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if reuse_address:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if _NEEDS_REUSE_PORT:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


# Addresses


def _resolve(address: Address, family: int, flags: int = 0) -> tuple[int, Address]:
    """Return the family and the numbers of *address*: those of IPv4 where it has both."""
    check_address(address)
    found = socket.getaddrinfo(address[0] or None, address[1], family, socket.SOCK_DGRAM, 0, flags)
    family, _, _, _, numbers = min(found, key=lambda each: each[0] != socket.AF_INET)
    if len(address) == 4:
        numbers = (*numbers[:2], *address[2:])
    return family, numbers  # type: ignore[return-value]  # (int, bytes): a Python without IPv6


def _is_from(peer: Address, datagram: Datagram) -> bool:
    """Return whether *datagram* came from *peer*, both in numbers.

    IPv6 adds a flow, which is no part of the address, and a scope, which is one of link-local
    addresses only, and which 0 leaves open.
    """
    address = datagram.address
    return address[:2] == peer[:2] and peer[3:] in {(), (0,), address[3:]}


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


# Sending


def _view_of(data: Buffer) -> memoryview:
    try:
        view = memoryview(data)
    except TypeError:
        kind = type(data).__name__
        advice = ": encode the text first" if kind == "str" else ""
        raise TypeError(f"expected bytes, bytearray or memoryview, not {kind}{advice}") from None
    return view if view.c_contiguous else memoryview(view.tobytes())


def _check_size(sock: socket.socket, size: int, address: Address | None) -> None:
    """Raise an error if *size*, which is more than IPv4 carries, is too much to *address*."""
    limit = _MOST_OVER_IPV4
    if sock.family == socket.AF_INET6:
        peer = sock.getpeername() if address is None else _resolve(address, sock.family)[1]
        if not socket.inet_pton(socket.AF_INET6, peer[0]).startswith(_MAPPED):
            limit = _MOST_OVER_IPV6
    if size > limit:
        raise EncodeError(
            f"expected a datagram of at most {limit} bytes, the limit of UDP, not {size}:"
            " send several, or use TCP"
        )


def _send(sock: socket.socket, view: memoryview, address: Address | None) -> None:
    try:
        if address is None:
            sock.send(view)
        else:
            sock.sendto(view, address)
    except PermissionError as error:
        is_allowed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
        if error.errno != errno.EACCES or address is None or is_allowed:
            raise
        raise PermissionError(
            errno.EACCES,
            f"permission denied to send to {address}: if that is a broadcast address, open the"
            " socket with open_datagram(broadcast=True), or set its option SO_BROADCAST",
        ) from error


def _check_kind(sock: socket.socket) -> None:
    try:
        kind = _kind_of(sock)
    except TypeError:  # no socket, but it may behave like one
        if not hasattr(sock, "type"):
            raise TypeError(f"expected a UDP socket, not {type(sock).__name__}") from None
        kind = sock.type
    if kind == socket.SOCK_STREAM:
        raise ValueError(
            f"expected a datagram socket (SOCK_DGRAM), not {sock.type!r}:"
            " send_msg and recv_msg are for streams"
        )


# The attribute of C: to make a SocketKind of it takes half as long as sending.
_kind_of: Callable[[socket.socket], int] = vars(socket.SocketType)["type"].__get__


def _is_ignored(sock: socket.socket, error: OSError, ignore_refused: bool | None) -> bool:
    """Return whether *error* tells of an earlier datagram, and is not to be told."""
    is_refused = isinstance(error, (ConnectionRefusedError, ConnectionResetError))
    if not is_refused and error.errno not in _UNREACHABLE:
        return False
    return not _is_connected(sock) if ignore_refused is None else ignore_refused


# Receiving


def _receive(sock: socket.socket, max_size: int, flags: int = 0) -> Datagram:
    """Receive one datagram as *sock* does, within its timeout."""
    if _MSG_TRUNC is not None and max_size < _LARGEST:
        buffer = bytearray(max_size)
        size, address = sock.recvfrom_into(buffer, 0, flags | _MSG_TRUNC)
        if size > max_size:
            raise TruncatedDatagramError(
                f"expected a datagram of at most {max_size} bytes (max_size), not {size}",
                received=max_size,
                size=size,
            )
        data = bytes(memoryview(buffer)[:size])
    else:
        # A new buffer of 64 KiB would have to be cleared, and its content to be copied: half
        # as much time again as all of this call.
        data, address = _receive_one_more(sock, max_size, flags)
    return Datagram(data, address)


def _receive_one_more(sock: socket.socket, max_size: int, flags: int) -> tuple[bytes, Address]:
    """Receive one datagram with room for one byte more, which tells if it is too large."""
    try:
        data, address = sock.recvfrom(max_size + 1, flags)
        is_truncated = len(data) > max_size
    except OSError as error:
        if error.errno != _WSAEMSGSIZE:
            raise
        is_truncated = True
    if is_truncated:
        raise TruncatedDatagramError(
            f"expected a datagram of at most {max_size} bytes (max_size), not more",
            received=max_size,
        )
    return data, address


# Receiving with a deadline, which is another than the timeout of the socket


@contextmanager
def _without_timeout(sock: socket.socket) -> Iterator[socket.socket]:
    """Lend a handle of *sock* that does not wait, given MSG_DONTWAIT.

    For the system a socket with a timeout is non-blocking: it is the Python object that
    waits.  So another object for it can do without, and nobody else notices.
    """
    if not sock.gettimeout():  # blocking, where MSG_DONTWAIT is enough, or non-blocking
        yield sock
        return
    with sock.dup() as handle:
        handle.setblocking(False)
        yield handle


def _receive_by(
    sock: socket.socket, deadline: float, max_size: int, ignore_refused: bool | None
) -> Datagram | None:
    """Receive one datagram, ``None`` if none comes until *deadline*."""
    while (left := deadline - monotonic()) > 0:
        if _is_readable(sock, left):
            datagram = _take(sock, max_size, ignore_refused)
            if datagram is not None:
                return datagram
    return None


def _drain(sock: socket.socket) -> None:
    """Throw away what there is to receive."""
    for _ in range(_MOST_DRAINED):
        if not _is_readable(sock, 0):
            return
        _take(sock, _LARGEST, ignore_refused=True)


def _take(sock: socket.socket, max_size: int, ignore_refused: bool | None) -> Datagram | None:
    """Receive what made *sock* readable, ``None`` if that was no datagram after all."""
    try:
        return _receive(sock, max_size, _MSG_DONTWAIT)
    except BlockingIOError:
        return None  # another thread was faster, or the checksum was wrong
    except OSError as error:
        if not _is_ignored(sock, error, ignore_refused):
            raise
        return None


def _is_readable(sock: socket.socket, seconds: float) -> bool:
    """Wait for something to receive, an error included."""
    seconds = min(seconds, _LONGEST_WAIT)
    if _POLL is None:
        return bool(select.select([sock], [], [], seconds)[0])
    # Unlike select, poll takes descriptors above 1023.
    poll = _POLL()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(ceil(seconds * 1000)))


# Multicast


def _membership(sock: socket.socket, group: str, interface: str | int | None) -> bytes:
    """Return the structure that says which group on which interface.

    Source: RFC 3678 section 4.1 for IPv4, RFC 3493 section 5.2 for IPv6.
    """
    if not isinstance(group, str):
        raise TypeError(f"expected the address of a group as text, not {type(group).__name__}")
    host, _, scope = group.partition("%")
    address = _packed(host, sock.family)
    if address is None:
        raise ValueError(
            f"expected the address of a group, of the same family as the socket"
            f" ({sock.family!r}), not {group!r}"
        )
    is_ipv4 = sock.family == socket.AF_INET
    if not (224 <= address[0] < 240 if is_ipv4 else address[0] == 255):
        raise ValueError(
            "expected a multicast address, 224.0.0.0 to 239.255.255.255 or beginning with ff in"
            f" IPv6, not {group!r}"
        )
    if interface is None:
        interface = scope or 0
    if is_ipv4:
        return address + _ipv4_interface(interface)
    return address + struct.pack("@I", _index_of(interface))


def _ipv4_interface(interface: str | int) -> bytes:
    own_address = _packed(str(interface), socket.AF_INET)
    if own_address is not None:
        return own_address  # the rest of struct ip_mreq
    if _HAS_MREQN:
        return struct.pack("@4xi", _index_of(interface))  # of struct ip_mreqn: also no address
    return struct.pack("!I", _index_of(interface))  # of struct ip_mreq: the address 0.0.0.index


def _index_of(interface: str | int) -> int:
    if isinstance(interface, int) or interface.isdecimal():
        return int(interface)
    try:
        return socket.if_nametoindex(interface)
    except (AttributeError, OSError):  # not every system has names for them
        raise OSError(
            errno.ENODEV, f"no network interface is called {interface!r}; its number may do instead"
        ) from None


def _packed(host: str, family: int) -> bytes | None:
    """Return the bytes of the address *host*, ``None`` if it is not one of *family*."""
    try:
        return socket.inet_pton(family, host)
    except OSError:
        return None

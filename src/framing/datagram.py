r"""Whole messages over UDP, without its surprises.

UDP keeps the boundaries of messages, so there is nothing to frame: a datagram arrives whole
or not at all.  The pitfalls are size, truncation, permissions and late errors, and each
function here handles its part::

    open_datagram        a socket, with the options that must be set before it is bound
    send_datagram        refuses what UDP cannot carry
    recv_datagram        never returns part of a datagram
    request_datagram     asks, asks again, and picks the answer out of other datagrams
    join_multicast       (and leave_multicast) for groups of IPv4 and IPv6

They keep nothing between two calls and never change a socket's timeout, so several threads
may use them, even on one socket.  Receiving takes 64 KiB of memory for the time of the call.

A framer turns a message into a datagram and back: call ``framer.encode`` before
``send_datagram``, and ``framer.decode`` after ``recv_datagram``.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import sys
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import EncodeError, TruncatedDatagramError

if TYPE_CHECKING:
    from collections.abc import Callable

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

# Host and port; for IPv6, flow and scope may follow, as in the addresses a socket returns.
Address = tuple[str, int] | tuple[str, int, int, int]

# The length fields of UDP and IP have 16 bits.  UDP's counts its own header of 8 bytes, and
# IPv4's also its own of 20 bytes; IPv6's does not (RFC 768; RFC 791, 3.1; RFC 8200, 3).
_LARGEST = 65_535
_MOST_OVER_IPV4 = _LARGEST - 20 - 8
_ROOM = _LARGEST + 1
_MAPPED = bytes(10) + b"\xff\xff"  # how ::ffff:192.0.2.1 begins: IPv4 on an IPv6 socket

# The number behind sock.type, which takes a microsecond to become a member of an enum.
_kind_of = socket.SocketType.type.__get__
_DATAGRAMS = int(socket.SOCK_DGRAM)

_MSG_DONTWAIT: int = getattr(socket, "MSG_DONTWAIT", 0)
_POLL = getattr(select, "poll", None)
# Windows takes the number of an interface in place of its address; other systems take both.
_HAS_MREQN = sys.platform != "win32"
# Some systems need one more option before several sockets can share a port.
_NEEDS_REUSE_PORT = sys.platform == "darwin" or "bsd" in sys.platform

# How ICMP reports an earlier datagram, besides ConnectionRefusedError and ConnectionResetError.
_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETRESET}
# Each failed attempt to send uses up one error of an earlier datagram.
_ATTEMPTS = range(7)  # before the last one
# More than a socket's queue holds by default.  There must be a limit: a flood never ends.
_MOST_DRAINED = 1000
_LONGEST_WAIT = 2_000_000.0  # seconds, which is 23 days; poll takes at most 24


class Datagram(NamedTuple):
    """A datagram that you received.

    Attributes:
        data: Its bytes.  An empty datagram is a message like any other, not an end.
        address: The sender's address, to send an answer to: host and port, for IPv6 followed
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
        bind: The local host and port to receive at: port 0 for any free port, host ``""`` for
            all addresses of IPv4, ``"::"`` for all of IPv6.  By default the system chooses
            when you first send.
        family: ``socket.AF_INET`` or ``socket.AF_INET6``.  By default the family of *bind*:
            IPv4 if the host has both, as ``localhost`` often does.  Without *bind*, IPv4.
        broadcast: Allow sending to broadcast addresses.
        reuse_address: Let several sockets share the port, so that several programs on one
            machine can receive from a multicast group or a broadcast.  Use it for nothing
            else: a datagram sent to the machine itself reaches only one of them, and on
            Windows any program can take over the port.

    Raises:
        OSError: The port is taken, for example; ``socket.gaierror`` if the host has no
            address in *family*.
        TypeError: *bind* is not a host and a port.
        ValueError: The port is not from 0 to 65535.
    """
    family, where = (family, None) if bind is None else _resolve(bind, family, socket.AI_PASSIVE)
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

    A datagram can get lost without any error.  One of more than about 1,400 bytes travels in
    several packets, and is lost if any of them is.

    Args:
        sock: A UDP socket; its timeout applies.
        data: The bytes to send; there may be none.
        address: The host and port to send to.  A name such as ``localhost`` is looked up in
            the family of *sock*.  A link-local host of IPv6 names its interface:
            ``"fe80::1%eth0"``.  ``"<broadcast>"`` means everybody on the local network.
            By default, the peer that *sock* is connected to.
        ignore_refused: What to do if the system reports that an *earlier* datagram could not
            be delivered, instead of sending this one.  True: send this one anyway.  False:
            raise the error; *data* has not been sent.  By default True if *sock* is not
            connected, since the error may be about another peer, and False if it is.

    Raises:
        EncodeError: *data* is larger than UDP can carry: 65,507 bytes over IPv4, 65,527 over
            IPv6.  (macOS sends at most 9,216 bytes, unless the socket comes from
            :func:`open_datagram` or has a larger send buffer.)
        TypeError: *data* is not bytes, or *sock* is not a socket.
        PermissionError: *address* may be a broadcast address, and *sock* was not opened with
            ``broadcast=True``.
        ConnectionRefusedError: No program received an earlier datagram;
            ``ConnectionResetError`` on Windows.  See *ignore_refused*.
        OSError: Any other error of the socket.
        ValueError: *sock* is a stream socket, or the port is not from 0 to 65535.
    """
    _check_kind(sock)
    if isinstance(address, tuple) and ("%" in address[0] or not 0 <= address[1] <= 65_535):
        # sendto would drop the interface, and raise an OverflowError or take 65536 for 0
        address = _resolve(address, sock.family)[1]
    for _ in _ATTEMPTS:
        try:
            return _send(sock, data, address)
        except OSError as error:  # noqa: PERF203  # the first attempt nearly always succeeds
            if not _is_ignored(sock, error, ignore_refused):
                raise
    return _send(sock, data, address)


def recv_datagram(
    sock: socket.socket, max_size: int = 65_535, *, ignore_refused: bool | None = None
) -> Datagram:
    """Receive one datagram, whole.

    Args:
        sock: A UDP socket; its timeout applies to the whole call.
        max_size: The largest datagram to accept, in bytes; by default, any.
        ignore_refused: What to do if the system reports that an earlier datagram, sent from
            *sock*, could not be delivered.  True: go on receiving.  False: raise the error;
            no datagram is lost by that.  By default True if *sock* is not connected, since a
            server must not stop because one client did, and False if it is.

    Returns:
        The datagram and its sender's address.

    Raises:
        TruncatedDatagramError: The datagram was larger than *max_size*.  It is gone; the next
            call receives the next one.
        ConnectionRefusedError: No program received an earlier datagram;
            ``ConnectionResetError`` on Windows.  See *ignore_refused*.
        OSError: Any other error of the socket, such as ``TimeoutError`` or
            ``BlockingIOError``.
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
        if timeout := sock.gettimeout():
            break  # part of it is over, and another call on the socket would start it again
    datagram = _receive_by(sock, started + timeout, max_size, ignore_refused)
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
    """Send a request and wait for its answer; ask again if none comes.

    Datagrams that were waiting on *sock* before the call are thrown away: they cannot be the
    answer.  The answer to an *earlier* request may still arrive during the call.  If that
    matters, put a number into each request and let *accept* look for it in the answer.

    Args:
        sock: A UDP socket, blocking or not.  No other thread may receive from it meanwhile.
            Its own timeout does not affect the waiting.
        data: The request.
        address: Where to send it, as in :func:`send_datagram`; only an answer from there
            counts.  ``None`` for the peer that *sock* is connected to.
        timeout: How long to wait for an answer to each request, in seconds.
        retries: How many times to send the request again.  It is sent at most ``1 + retries``
            times, and the call takes up to ``timeout`` seconds for each.
        accept: Called with the bytes that came from *address*; returns whether they are the
            answer.  By default they are.
        ignore_refused: As in :func:`send_datagram`.  If no program receives at *address*, the
            call times out if this is true, and raises if it is false.

    Returns:
        The answer and the address that it came from.

    Raises:
        TimeoutError: No answer came.
        EncodeError: *data* is larger than UDP can carry.
        ConnectionRefusedError: No program receives at *address*; ``ConnectionResetError`` on
            Windows.  See *ignore_refused*.
        OSError: Any other error of the socket.
        ValueError: *timeout* is not above 0, *retries* is negative, or *sock* is a stream
            socket.  Or *address* is a broadcast or multicast address, where many can answer:
            send once and collect every answer until the time is over, as in "UDP, broadcast
            and multicast" in the documentation.
    """
    if not timeout > 0:
        raise ValueError(f"timeout is a number of seconds, more than 0, not {timeout}")
    if retries < 0:
        raise ValueError(f"retries is a number of requests, 0 or more, not {retries}")
    _check_kind(sock)
    if address is not None:
        _, address = _resolve(address, sock.family)
    peer = address or sock.getpeername()
    _check_is_one_host(sock, peer[0])
    others = 0
    for _ in range(_MOST_DRAINED):
        if not _receive_by(sock, 0, _LARGEST, ignore_refused=True):
            break
    for _ in range(1 + retries):
        send_datagram(sock, data, address, ignore_refused=ignore_refused)
        deadline = monotonic() + timeout
        while monotonic() < deadline:
            datagram = _receive_by(sock, deadline, _LARGEST, ignore_refused)
            if datagram and _is_from(peer, datagram) and (not accept or accept(datagram.data)):
                return datagram
            others += datagram is not None
    raise TimeoutError(
        f"expected an answer from {peer} within {timeout} s (timeout) of one of"
        f" {1 + retries} requests (1 + retries), but none came; {others} other datagrams did"
    )


def join_multicast(sock: socket.socket, group: str, interface: str | int | None = None) -> None:
    """Receive what is sent to a multicast group, at the port that *sock* is bound to.

    Args:
        sock: A UDP socket.  To share its port with other programs on this machine, open it
            with ``reuse_address=True``.
        group: An address of the family of *sock*: 224.0.0.0 to 239.255.255.255, or one of
            IPv6 that begins with ``ff``.  ``"ff02::1%eth0"`` names the interface too.
        interface: Where to receive: the name or number of an interface or, for an IPv4 group,
            this machine's address there.  By default the system chooses.

    Raises:
        TypeError: *group* is not a string.
        ValueError: *group* is not a multicast address of the family of *sock*.
        OSError: The interface does not exist, or *sock* is already in that group.
    """
    options = socket.IP_ADD_MEMBERSHIP, socket.IPV6_JOIN_GROUP
    _change_membership(sock, options, group, interface)


def leave_multicast(sock: socket.socket, group: str, interface: str | int | None = None) -> None:
    """Undo :func:`join_multicast`, with the same arguments.  Closing the socket does so too.

    Raises:
        TypeError: *group* is not a string.
        ValueError: *group* is not a multicast address of the family of *sock*.
        OSError: *sock* is not in that group, or not on that interface.
    """
    options = socket.IP_DROP_MEMBERSHIP, socket.IPV6_LEAVE_GROUP
    _change_membership(sock, options, group, interface)


# Opening


def _set_options(sock: socket.socket, broadcast: bool, reuse_address: bool) -> None:
    # macOS and the BSDs refuse datagrams that are larger than the socket's buffer, which has
    # 9,216 bytes for sending and 42,080 for receiving by default.
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        if sock.getsockopt(socket.SOL_SOCKET, buffer) < _LARGEST:
            sock.setsockopt(socket.SOL_SOCKET, buffer, _LARGEST)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, broadcast)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse_address)
    if reuse_address and _NEEDS_REUSE_PORT:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _check_kind(sock: socket.socket) -> None:
    try:
        if _kind_of(sock) == _DATAGRAMS:
            return
    except TypeError:  # it may be something like a socket
        pass
    kind = getattr(sock, "type", None)
    if kind is None:
        raise TypeError(f"expected a UDP socket, not {type(sock).__name__}")
    if kind == socket.SOCK_STREAM:
        raise ValueError(f"expected a datagram socket (SOCK_DGRAM), not {kind!r}: use send_msg")


# Addresses


def _resolve(address: Address, family: int | None, flags: int = 0) -> tuple[int, Address]:
    """Return the family and the numbers of *address*: those of IPv4 if it has both."""
    if not isinstance(address, (tuple, list)) or len(address) < 2:
        raise TypeError(f"expected a host and a port, such as ('127.0.0.1', 9000), not {address!r}")
    host, port = address[:2]
    if isinstance(port, int) and not 0 <= port <= 65_535:  # the system takes 65536 for 0
        raise ValueError(f"expected a port from 0 to 65535, not {port}")
    name = {"": None, "<broadcast>": "255.255.255.255"}.get(host, host)
    found = socket.getaddrinfo(name, port, family or 0, socket.SOCK_DGRAM, 0, flags)
    kind, *_, numbers = min(found, key=lambda each: each[0] != socket.AF_INET)
    whole: Any = (*numbers[:2], *(address[2:] or numbers[2:]))
    return kind, whole


def _packed(host: str, family: int) -> bytes | None:
    """Return the bytes of the address *host*, ``None`` if it is not one of *family*."""
    try:
        return socket.inet_pton(family, host)
    except OSError:
        return None


def _is_from(peer: Address, datagram: Datagram) -> bool:
    """Return whether *datagram* came from *peer*, both in numbers.

    IPv6 adds a flow, which is not part of the address, and a scope, which only link-local
    addresses have; scope 0 means any.
    """
    address = datagram.address
    return address[:2] == peer[:2] and peer[3:] in {(), (0,), address[3:]}


def _check_is_one_host(sock: socket.socket, host: str) -> None:
    """Raise a ``ValueError`` if what *sock* sends to *host*, in numbers, can reach many."""
    packed = (_packed(host, sock.family) or b"").removeprefix(_MAPPED)
    if _is_multicast(packed) or _is_broadcast(sock, packed):
        raise ValueError(
            f"{host} is a broadcast or multicast address, so many can answer: call send_datagram"
            " once, then recv_datagram until the time is over, and collect every answer"
        )


def _is_multicast(packed: bytes) -> bool:
    return packed[0] >> 4 == 14 if len(packed) == 4 else packed[:1] == b"\xff"


def _is_broadcast(sock: socket.socket, packed: bytes) -> bool:
    """Return whether *packed* is known to be a broadcast address.

    Only the system knows that of each network.  Linux and Windows refuse to connect a socket
    to it without SO_BROADCAST: EACCES, 10013 on Windows.  Connecting a UDP socket sends nothing.
    """
    if len(packed) != 4 or not _may_broadcast(sock):  # without it, the send is refused
        return packed == b"\xff\xff\xff\xff"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex((socket.inet_ntoa(packed), 9)) in {errno.EACCES, 10013}


def _may_broadcast(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)


# Sending


def _send(sock: socket.socket, data: Buffer, address: Address | None) -> None:
    try:
        if address is None:
            sock.send(data)
        else:
            sock.sendto(data, address)
    except OSError as error:
        size = memoryview(data).nbytes
        # Below this size, EMSGSIZE is about the path: perhaps that of an earlier datagram.
        if error.errno == errno.EMSGSIZE and size > _MOST_OVER_IPV4:
            limit = "at most 65507 bytes over IPv4, 65527 over IPv6"
            raise EncodeError(f"UDP carries {limit}, not {size}: send several datagrams") from None
        if error.errno == errno.EACCES and address and not _may_broadcast(sock):
            advice = "if it is a broadcast address, use open_datagram(broadcast=True)"
            raise PermissionError(errno.EACCES, f"cannot send to {address}: {advice}") from error
        raise


def _is_ignored(sock: socket.socket, error: OSError, ignore_refused: bool | None) -> bool:
    """Return whether *error* is about an earlier datagram, and should not be raised."""
    if not isinstance(error, ConnectionError) and error.errno not in _UNREACHABLE:
        return False
    if ignore_refused is not None:
        return ignore_refused
    try:
        sock.getpeername()
    except OSError:  # not connected
        return True
    return False


# Receiving


def _receive(sock: socket.socket, max_size: int, flags: int = 0) -> Datagram:
    """Receive one datagram as *sock* does, within its timeout.

    There is room for any datagram, whatever *max_size* is: so the true size is known on every
    system.  That costs no time, since Python gives back the memory that was not used.
    """
    room = _ROOM if max_size < _ROOM else max_size + 1
    data, address = sock.recvfrom(room, flags)
    if len(data) <= max_size:
        return tuple.__new__(Datagram, (data, address))  # half the time of Datagram()
    size = len(data) if len(data) < room else None  # of a Unix socket, which has no such limit
    text = f"expected a datagram of at most {max_size} bytes (max_size), not {size or 'more'}"
    raise TruncatedDatagramError(text, received=max_size, size=size)


# Receiving until a deadline that is not the socket's own timeout


def _receive_by(
    sock: socket.socket, deadline: float, max_size: int, ignore_refused: bool | None
) -> Datagram | None:
    """Receive one datagram, ``None`` if none is there by *deadline*.

    To the system, a socket with a timeout is non-blocking; the Python object does the waiting.
    So a second object for the same socket can do without, and other threads do not notice.
    """
    with sock.dup() as handle:
        if handle.gettimeout():  # a blocking socket stays as it is: MSG_DONTWAIT is enough
            handle.setblocking(False)
        while _is_readable(handle, left := deadline - monotonic()):
            try:
                return _receive(handle, max_size, _MSG_DONTWAIT)
            # Another thread was faster, or the checksum was wrong.
            except BlockingIOError:  # noqa: PERF203  # rare
                if left <= 0:
                    break
            except OSError as error:
                if not _is_ignored(handle, error, ignore_refused):
                    raise
    return None


def _is_readable(sock: socket.socket, seconds: float) -> bool:
    """Wait for something to receive: a datagram or an error."""
    seconds = min(max(seconds, 0), _LONGEST_WAIT)
    if _POLL is None:
        return bool(select.select([sock], [], [], seconds)[0])
    poll = _POLL()  # which takes descriptors above 1023 too, unlike select
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(ceil(seconds * 1000)))


# Multicast


def _change_membership(
    sock: socket.socket, options: tuple[int, int], group: str, interface: str | int | None
) -> None:
    """Set the first of *options* for IPv4, the second for IPv6.

    Source: RFC 3678 section 4.1 for IPv4, RFC 3493 section 5.2 for IPv6.
    """
    if not isinstance(group, str):
        raise TypeError(f"expected the address of a group as text, not {type(group).__name__}")
    host, _, scope = group.partition("%")
    packed = _packed(host, sock.family)
    if packed is None or not _is_multicast(packed):
        raise ValueError(
            f"expected a multicast address for {sock.family!r}, not {group!r}: 224.0.0.0 to"
            " 239.255.255.255 for IPv4, or one that begins with ff for IPv6"
        )
    where = str((scope or 0) if interface is None else interface)
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, options[0], packed + _ipv4_interface(where))
    else:
        index = struct.pack("@I", _index_of(where))
        sock.setsockopt(socket.IPPROTO_IPV6, options[1], packed + index)


def _ipv4_interface(interface: str) -> bytes:
    """Return the rest of a ``struct ip_mreqn`` without address, or of a ``struct ip_mreq``."""
    if address := _packed(interface, socket.AF_INET):
        return address
    # Windows takes a number in place of the address: 0.0.0.number.
    return struct.pack("@4xi" if _HAS_MREQN else "!I", _index_of(interface))


def _index_of(interface: str) -> int:
    return int(interface) if interface.isdecimal() else socket.if_nametoindex(interface)

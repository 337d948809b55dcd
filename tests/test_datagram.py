"""Datagrams over real sockets on loopback, and over some that fail as other systems do."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from random import randbytes, randrange
from socket import AF_INET, AF_INET6, SO_BROADCAST, SOL_SOCKET
from typing import Any

import pytest

from framing import (
    Datagram,
    EncodeError,
    TruncatedDatagramError,
    datagram,
    join_multicast,
    leave_multicast,
    open_datagram,
    recv_datagram,
    request_datagram,
    send_datagram,
)

from .conditions import needs
from .fakes import ScriptedDatagramSocket, made_of
from .pairs import Task

Sock = socket.socket
Ends = tuple[Sock, Sock]
Open = Callable[..., Sock]
Patch = pytest.MonkeyPatch

IPV4, IPV6, MAPPED = "127.0.0.1", "::1", "::ffff:127.0.0.1"
BOUND = 60  # seconds until a test that hangs ends
BLOCKED = BlockingIOError(errno.EAGAIN, "nothing to receive")


def has_ipv6() -> bool:
    with suppress(OSError), open_datagram((IPV6, 0)):
        return True
    return False


def on_ipv6(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6"))


# It can be made to report errors as Windows does, and takes broadcasts on loopback.
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
every_timeout = pytest.mark.parametrize("timeout", [None, 30.0, 0.0])


@pytest.fixture
def open_socket() -> Iterator[Open]:
    """Open sockets as ``open_datagram`` does, with a timeout, and close them after the test."""
    with ExitStack() as stack:

        def open(*arguments: Any, **options: Any) -> Sock:
            sock = stack.enter_context(open_datagram(*arguments, **options))
            sock.settimeout(BOUND)
            return sock

        yield open


@pytest.fixture
def server(open_socket: Open) -> Sock:
    return open_socket((IPV4, 0))


@pytest.fixture
def client(open_socket: Open) -> Sock:
    return open_socket((IPV4, 0))


@pytest.fixture(params=[IPV4, on_ipv6(IPV6)])
def ends(request: pytest.FixtureRequest, open_socket: Open) -> Ends:
    """A server and a client, of IPv4 and of IPv6."""
    return open_socket((request.param, 0)), open_socket((request.param, 0))


@contextmanager
def raises_errno(number: int) -> Iterator[None]:
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the text depends on the system
        yield
    assert caught.value.errno == number


# Size


@pytest.mark.parametrize("connected", [False, True])
def test_a_datagram_arrives_whole_up_to_the_limit_of_udp(connected: bool, ends: Ends) -> None:
    server, client = ends
    limit = 65_507 if client.family == AF_INET else 65_527
    address = server.getsockname()
    if connected:
        client.connect(address)
        address = None
    for size in (0, 1, 1472, 65_507, limit):
        data = randbytes(size)
        for max_size in (65_535, size):
            send_datagram(client, memoryview(data), address)
            assert recv_datagram(server, max_size) == Datagram(data, client.getsockname())
    words = memoryview(bytes(70_000)).cast("I")  # the size is in bytes, not in items
    for large, size in ((bytes(limit + 1), limit + 1), (words, 70_000)):
        limits = "at most 65507 bytes over IPv4, 65527 over IPv6"
        text = f"^UDP carries {limits}, not {size}: send several datagrams$"
        with pytest.raises(EncodeError, match=text):
            send_datagram(client, large, address)
    data_as_text: Any = "text"
    with pytest.raises(TypeError, match="bytes-like object is required, not"):
        send_datagram(client, data_as_text, address)


def test_a_truncated_datagram_is_an_error_and_the_next_is_intact(ends: Ends) -> None:
    server, client = ends
    for size, max_size in [(1, 0), (101, 100), (65_507, 9000)]:
        for data in (bytes(size), b"", b"next"):
            send_datagram(client, data, server.getsockname())
        text = rf"expected a datagram of at most {max_size} bytes \(max_size\), not {size}$"
        with pytest.raises(TruncatedDatagramError, match=text) as caught:
            recv_datagram(server, max_size)
        assert (caught.value.received, caught.value.size) == (max_size, size)
        assert caught.value.recoverable
        assert [recv_datagram(server, 4).data for _ in range(2)] == [b"", b"next"]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_the_size_of_a_truncated_unix_datagram_is_unknown() -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with here, there:
        here.send(bytes(70_000))
        here.send(bytes(70_000))
        with pytest.raises(TruncatedDatagramError, match="not more") as caught:
            recv_datagram(there)
        assert (caught.value.received, caught.value.size) == (65_535, None)
        assert len(recv_datagram(there, 70_000).data) == 70_000


# Opening


EVERYWHERE = ("", 0)


@pytest.mark.parametrize(
    ("bind", "family", "host"),
    [
        *((each, None, "0.0.0.0") for each in (None, EVERYWHERE)),  # noqa: S104
        ((IPV4, 0), None, IPV4),
        *(on_ipv6(each, AF_INET6, "::") for each in (None, EVERYWHERE)),
        on_ipv6((IPV6, 0), None, IPV6),
    ],
)
def test_the_family_is_that_of_the_address(bind: Any, family: Any, host: str) -> None:
    with open_datagram(bind, family=family) as sock:
        assert (sock.type, sock.family) == (socket.SOCK_DGRAM, AF_INET6 if ":" in host else AF_INET)
        assert sock.getsockname()[0] == host
        assert bool(sock.getsockname()[1]) == bool(bind)


def test_a_host_of_both_families_is_ipv4_and_of_another_an_error(
    server: Sock, monkeypatch: Patch
) -> None:
    with pytest.raises(socket.gaierror):
        open_datagram((IPV6, 0), family=AF_INET)
    ipv6 = (AF_INET6, socket.SOCK_DGRAM, 17, "", (IPV6, 0, 0, 0))
    ipv4 = (AF_INET, socket.SOCK_DGRAM, 17, "", (IPV4, 0))
    other = (AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.2", 9))
    sock = scripted(server, BLOCKED, (b"answer", (IPV4, 9)))
    assert ask(sock, ("", 9)).address == (IPV4, 9)  # this machine
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [ipv6, other, ipv4])
    sock = scripted(server, BLOCKED, (b"answer", ("127.0.0.2", 9)))
    assert ask(sock, ("localhost", 9)).address == ("127.0.0.2", 9)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [ipv6, ipv4])
    with open_datagram(("localhost", 0)) as sock:
        assert sock.getsockname()[0] == IPV4


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="no SO_REUSEPORT")
@pytest.mark.parametrize("needed", [False, True])
def test_a_port_is_shared_only_on_request(needed: bool, server: Sock, monkeypatch: Patch) -> None:
    with raises_errno(errno.EADDRINUSE):
        open_datagram(server.getsockname())
    gc.collect()  # a socket that is still open would warn here, which is an error
    monkeypatch.setattr(datagram, "_NEEDS_REUSE_PORT", needed)
    with (
        open_datagram((IPV4, 0), reuse_address=True) as first,
        open_datagram(first.getsockname(), reuse_address=True) as second,
    ):
        assert bool(second.getsockopt(SOL_SOCKET, socket.SO_REUSEPORT)) == needed
    assert not server.getsockopt(SOL_SOCKET, socket.SO_REUSEPORT)


def test_small_buffers_are_enlarged(open_socket: Open, monkeypatch: Patch) -> None:
    monkeypatch.setattr(datagram, "_LARGEST", 250_000)
    sock = open_socket()
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        assert sock.getsockopt(SOL_SOCKET, buffer) >= 250_000


# Multicast


def some_group() -> str:
    """Return a group that no other program on this machine is in."""
    return f"239.255.{randrange(1, 255)}.{randrange(1, 255)}"


def loopback() -> str:
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))


@pytest.fixture
def multicaster(open_socket: Open) -> Sock:
    sock = open_socket()
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(IPV4))
    return sock


@pytest.mark.parametrize("interface", [IPV4, loopback()])
def test_a_group_is_joined_and_left(interface: str, open_socket: Open, multicaster: Sock) -> None:
    group, member = some_group(), open_socket(("", 0))
    port = member.getsockname()[1]
    join_multicast(member, group, interface)
    send_datagram(multicaster, b"to the group", (group, port))
    assert recv_datagram(member).data == b"to the group"
    leave_multicast(member, group, interface)
    send_datagram(multicaster, b"to those who are left", (group, port))
    send_datagram(multicaster, b"to you", (IPV4, port))
    assert recv_datagram(member).data == b"to you"
    with raises_errno(errno.EADDRNOTAVAIL):
        leave_multicast(member, group, interface)


def test_what_is_not_a_group_for_the_socket_is_refused() -> None:
    groups = {
        AF_INET: ("ff02::1", "localhost", "223.255.255.255", "240.0.0.0"),
        AF_INET6: ("224.0.0.1", "fe80::1%1", "::ffff:224.0.0.1"),
    }
    for family, hosts in groups.items():
        sock: Any = ScriptedDatagramSocket(family=family)
        for group in hosts:
            text = (
                f"^expected a multicast address for .*{family.name}.*, not '{group}': 224.0.0.0 to"
                " 239.255.255.255 for IPv4, or one that begins with ff for IPv6$"
            )
            for change in (join_multicast, leave_multicast):
                with pytest.raises(ValueError, match=text):
                    change(sock, group)
        assert sock.options == []


LO = (loopback(), socket.if_nametoindex(loopback()))


@pytest.mark.parametrize(
    ("group", "interface", "has_mreqn", "expected"),
    [
        ("224.0.0.1", None, True, struct.pack("@4si", bytes(4), 0)),
        ("224.0.0.1", 5, True, struct.pack("@4si", bytes(4), 5)),
        ("224.0.0.1", "5", True, struct.pack("@4si", bytes(4), 5)),
        ("224.0.0.1", "192.0.2.1", True, b"\xc0\0\2\1"),
        ("224.0.0.1", 300, False, b"\0\0\1\x2c"),
        ("224.0.0.1", "192.0.2.1", False, b"\xc0\0\2\1"),
        (f"ff02::1%{LO[0]}", None, True, struct.pack("@I", LO[1])),
        ("ff02::1%77", LO[1], True, struct.pack("@I", LO[1])),
        ("ff02::1", LO[0], True, struct.pack("@I", LO[1])),
        ("ff02::1", None, True, bytes(4)),
    ],
)
def test_the_interface_has_the_form_that_the_system_takes(
    group: str, interface: Any, has_mreqn: bool, expected: bytes, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(datagram, "_HAS_MREQN", has_mreqn)
    level, join, leave, family = (
        (socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.IPV6_LEAVE_GROUP, AF_INET6)
        if ":" in group
        else (socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.IP_DROP_MEMBERSHIP, AF_INET)
    )
    sock: Any = ScriptedDatagramSocket(family=family)
    join_multicast(sock, group, interface)
    leave_multicast(sock, group, interface)
    membership = socket.inet_pton(family, group.partition("%")[0]) + expected
    assert sock.options == [(level, each, membership) for each in (join, leave)]


def test_an_ipv6_host_may_name_its_interface() -> None:
    sock: Any = ScriptedDatagramSocket(family=AF_INET6)
    for address in ((f"fe80::1%{LO[0]}", 9), (f"fe80::1%{LO[0]}", 9, 0, 77)):
        send_datagram(sock, b"", address)
    assert sock.sent == [(b"", ("fe80::1", 9, 0, each)) for each in (LO[1], 77)]
    sock = ScriptedDatagramSocket(family=AF_INET)
    with pytest.raises(socket.gaierror):
        send_datagram(sock, b"", (f"fe80::1%{LO[0]}", 9))


# Errors, most of them about earlier datagrams


@pytest.mark.parametrize("host", [pytest.param("127.255.255.255", marks=on_linux), "<broadcast>"])
def test_broadcast_without_permission_says_how_to_get_it(host: str, client: Sock) -> None:
    advice = r"if it is a broadcast address, use open_datagram\(broadcast=True\)"
    text = rf"cannot send to .*{host}.*\): {advice}$"
    with pytest.raises(PermissionError, match=text) as caught:
        send_datagram(client, b"to all", (host, 9))
    assert caught.value.errno == errno.EACCES


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EMSGSIZE, errno.ENOBUFS])
@pytest.mark.parametrize("address", [None, (IPV4, 9)])
def test_other_errors_pass_through(number: int, address: Any) -> None:
    error = OSError(number, "the system says no")  # EMSGSIZE: the path carries less
    sock: Any = ScriptedDatagramSocket(error, error, peer=(IPV4, 9))
    sock.setsockopt(SOL_SOCKET, SO_BROADCAST, int(number == errno.EACCES and bool(address)))
    for call in (
        lambda: send_datagram(sock, bytes(65_507), address, ignore_refused=True),
        lambda: recv_datagram(sock, ignore_refused=True),
    ):
        with pytest.raises(OSError, match="the system says no") as caught:
            call()
        assert caught.value is error


def refused_address() -> Any:
    """Return an address at which nobody receives."""
    with open_datagram((IPV4, 0)) as sock:
        return sock.getsockname()


def report_errors(sock: Sock) -> Sock:
    """Make Linux report errors to an unconnected socket, as Windows does."""
    sock.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
    return sock


@on_linux
@every_timeout
def test_a_server_survives_its_clients(timeout: Any, server: Sock, client: Sock) -> None:
    report_errors(server).settimeout(timeout)
    for _ in range(3):
        send_datagram(server, b"anybody?", refused_address())
        client.sendto(b"hello", server.getsockname())
        assert recv_datagram(server) == (b"hello", client.getsockname())
    assert server.gettimeout() == timeout
    if timeout is not None:
        server.settimeout(timeout and 0.01)
        send_datagram(server, b"anybody?", refused_address())
        with pytest.raises(TimeoutError if timeout else BlockingIOError):
            recv_datagram(server)


@every_timeout
def test_a_connected_socket_reports_errors(timeout: Any, client: Sock, open_socket: Open) -> None:
    address = refused_address()
    client.connect(address)
    send_datagram(client, b"anybody?")
    with pytest.raises(ConnectionRefusedError):
        recv_datagram(client)
    send_datagram(client, b"anybody?")
    client.settimeout(timeout)
    open_socket(address).sendto(b"now I am", client.getsockname())
    assert recv_datagram(client, ignore_refused=True) == (b"now I am", address)


@pytest.mark.parametrize("name", ["REFUSED", "RESET", "HOSTUNREACH", "NETUNREACH", "NETRESET"])
def test_late_errors_are_ignored_unless_the_socket_is_connected(name: str) -> None:
    number = getattr(errno, f"ECONN{name}", None) or getattr(errno, f"E{name}")
    late = OSError(number, "about an earlier datagram")
    sock: Any = ScriptedDatagramSocket(late, late, (b"hello", (IPV4, 9)), *[late] * 7)
    assert recv_datagram(sock).data == b"hello"
    send_datagram(sock, b"hello", (IPV4, 9))  # the eighth attempt
    assert sock.sent == [(b"hello", (IPV4, 9))]
    for peer, ignore_refused in ((None, False), ((IPV4, 9), None)):
        sock = ScriptedDatagramSocket(late, late, peer=peer)
        with raises_errno(number):
            recv_datagram(sock, ignore_refused=ignore_refused)
        with raises_errno(number):
            send_datagram(sock, b"lost", (IPV4, 9), ignore_refused=ignore_refused)
        assert sock.sent == sock.script == []
    sock = ScriptedDatagramSocket(*[late] * 1000)
    with raises_errno(number):
        send_datagram(sock, b"hello", (IPV4, 9))
    assert sock.attempts == 8


def test_errors_are_ignored_on_request_whenever_they_come(server: Sock) -> None:
    late = ConnectionRefusedError(errno.ECONNREFUSED, "about an earlier datagram")
    answer = b"answer", (IPV4, 9)
    sock = scripted(server, BLOCKED, late, answer, peer=answer[1])
    assert ask(sock, None, ignore_refused=True) == answer
    sock = scripted(server, late, BLOCKED, late, answer, peer=answer[1])
    sock.settimeout(0.5)
    assert recv_datagram(sock, ignore_refused=True) == answer


@on_linux
@pytest.mark.parametrize("passed", [20, BOUND])
def test_errors_do_not_stretch_the_time(passed: int, server: Sock, monkeypatch: Patch) -> None:
    send_datagram(report_errors(server), b"anybody?", refused_address())
    times, waits = iter([1000.0, 1000.0 + passed]), []
    monkeypatch.setattr(datagram, "monotonic", lambda: next(times))
    monkeypatch.setattr(datagram, "_is_readable", lambda _, seconds: waits.append(seconds))
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        recv_datagram(server)
    assert waits == [BOUND - passed]
    assert server.gettimeout() == BOUND


# Request and answer


@contextmanager
def answering(server: Sock, answer: Callable[[bytes], Any], count: int = 1) -> Iterator[None]:
    """Let *server* answer *count* requests, or leave some unanswered, while the block runs."""

    def serve() -> None:
        for _ in range(count):
            request, address = recv_datagram(server)
            if (data := answer(request)) is not None:
                send_datagram(server, data, address)

    serving = Task(serve)
    yield
    serving.result()


def ask(sock: Sock, server: Sock | Any, **options: Any) -> Datagram:
    address = server.getsockname() if isinstance(server, Sock) else server
    return request_datagram(sock, b"request", address, **{"timeout": BOUND, **options})


@pytest.mark.parametrize(
    ("host", "timeout", "lacking"),
    [
        (IPV4, None, {}),
        (IPV4, 0.0, {}),
        (IPV4, 30.0, {"_POLL": None}),
        (IPV4, None, {"_POLL": None, "_MSG_DONTWAIT": 0}),
        on_ipv6(IPV6, 30.0, {"_MSG_DONTWAIT": 0}),
    ],
)
def test_a_request_is_repeated_until_the_right_answer(
    host: str, timeout: Any, lacking: Any, open_socket: Open, monkeypatch: Patch
) -> None:
    """The server ignores two requests, and a stranger answers each."""
    for name, value in lacking.items():
        monkeypatch.setattr(datagram, name, value)
    server, client, stranger = (open_socket((host, 0)) for _ in range(3))
    client.settimeout(timeout)
    requests = []

    def answer(request: bytes) -> bytes | None:
        requests.append(request)
        send_datagram(stranger, b"from a stranger", client.getsockname())
        return b"answer" if len(requests) == 3 else None

    with answering(server, answer, count=3):
        received = ask(client, server, timeout=0.05, retries=1000)
    assert received == Datagram(b"answer", server.getsockname())
    assert requests == [b"request"] * 3
    assert client.gettimeout() == timeout


@every_timeout
def test_silence_is_a_timeout_after_the_retries(timeout: Any, server: Sock, client: Sock) -> None:
    client.settimeout(timeout)
    text = (
        r"expected an answer from .*127\.0\.0\.1.* within 0\.001 s \(timeout\) of one of"
        r" 100 requests \(1 \+ retries\), but none came; 0 other datagrams did"
    )
    with pytest.raises(TimeoutError, match=text):
        ask(client, server, timeout=0.001, retries=99)
    assert client.gettimeout() == timeout
    server.setblocking(False)
    assert [recv_datagram(server).data for _ in range(100)] == [b"request"] * 100
    with pytest.raises(BlockingIOError):
        recv_datagram(server)


def test_by_default_it_waits_a_second_four_times(client: Sock, monkeypatch: Patch) -> None:
    hours = itertools.count(0, 3600)
    monkeypatch.setattr(datagram, "monotonic", lambda: next(hours))
    with pytest.raises(TimeoutError, match=r"within 1\.0 s \(timeout\) of one of 4 requests"):
        request_datagram(client, b"request", client.getsockname())


def test_the_system_does_the_waiting(server: Sock, client: Sock) -> None:
    calls = []

    class Counting(Sock):
        def dup(self) -> Counting:
            calls.append("dup")
            return super().dup()

        def recvfrom(self, *arguments: Any) -> Any:
            calls.append("recvfrom")
            return super().recvfrom(*arguments)

    with made_of(client, Counting) as sock, pytest.raises(TimeoutError):
        ask(sock, server, timeout=0.2, retries=0)
    assert len(calls) < 10


def test_the_answer_comes_after_the_request_and_is_accepted(server: Sock, client: Sock) -> None:
    for data in (b"", bytes(65_507)):
        for late in (b"late", b"", b"later"):
            send_datagram(server, late, client.getsockname())
        with answering(server, lambda _, data=data: data):  # type: ignore[misc]
            assert ask(client, server, timeout=float("inf"), retries=0).data == data

    def answer(request: bytes) -> bytes:
        send_datagram(server, b"6: to another request", client.getsockname())
        return b"7: to this " + request

    with answering(server, answer):
        received = ask(client, server, accept=lambda data: data.startswith(b"7:"))
    assert received.data == b"7: to this request"


def test_strangers_do_not_stretch_the_time(server: Sock, client: Sock, open_socket: Open) -> None:
    stranger, stop = open_socket(), threading.Event()
    address = client.getsockname()

    def flood() -> None:
        while not stop.is_set():
            send_datagram(stranger, bytes(9000), address)

    flooding = Task(flood)
    with pytest.raises(TimeoutError, match=r"none came; [1-9]\d* other datagrams did"):
        ask(client, server, timeout=0.05, retries=1)
    stop.set()
    flooding.result()


@on_linux
def test_a_refused_request_is_silence_on_an_unconnected_socket(client: Sock) -> None:
    report_errors(client)
    with pytest.raises(TimeoutError, match="2 requests"):
        ask(client, refused_address(), timeout=0.01, retries=1)
    with pytest.raises(ConnectionRefusedError):
        ask(client, refused_address(), ignore_refused=False)


def test_a_connected_request_is_refused(client: Sock, open_socket: Open) -> None:
    address = refused_address()
    client.connect(address)
    with pytest.raises(ConnectionRefusedError):
        ask(client, None)
    send_datagram(client, b"anybody?")  # refused, and reported too late to be of interest
    with answering(open_socket(address), lambda _: b"answer"):
        assert ask(client, None) == (b"answer", address)


@pytest.mark.parametrize("host", ["localhost", on_ipv6("::FFFF:7f00:1")])
def test_a_host_is_looked_up_once(
    host: str, server: Sock, open_socket: Open, monkeypatch: Patch
) -> None:
    client, look_up, hosts = open_socket((IPV4, 0)), socket.getaddrinfo, []
    if ":" in host:
        client = open_socket(family=AF_INET6)
        client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)

    def counted(host: str, port: int, family: int, *rest: Any) -> Any:
        hosts.append((host, family))
        return look_up(host, port, family, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", counted)
    answers = iter([None, b"answer"])
    with answering(server, lambda _: next(answers), count=2):
        address = host, server.getsockname()[1]
        assert ask(client, address, timeout=0.05, retries=1000).data == b"answer"
    assert hosts == [(host, client.family)]


@needs("MSG_DONTWAIT", "without it, a blocking socket blocks")
@every_timeout
def test_false_alarms_pass(timeout: Any, server: Sock, client: Sock, monkeypatch: Patch) -> None:
    """As happens if a checksum is wrong, or if another thread is faster."""
    wait, lies, all_told = datagram._is_readable, [True] * 5, threading.Event()

    def is_readable(*given: Any) -> bool:
        if lies:
            return lies.pop()
        all_told.set()
        return wait(*given)

    monkeypatch.setattr(datagram, "_is_readable", is_readable)
    if timeout is not None:  # such a socket does not need it
        monkeypatch.setattr(datagram, "_MSG_DONTWAIT", 0)
    client.settimeout(timeout)
    with answering(server, lambda _: b"answer" if all_told.wait(BOUND) else None):
        assert ask(client, server).data == b"answer"


def scripted(ready: Sock, *script: Any, **options: Any) -> Any:
    """Return a scripted socket that always says that it is readable, as *ready* is."""
    sock: Any = ScriptedDatagramSocket(*script, **options)
    ready.sendto(b"", ready.getsockname())
    sock.fileno = ready.fileno
    sock.dup = lambda: nullcontext(sock)
    return sock


def test_a_flood_does_not_keep_the_request_from_being_sent(server: Sock) -> None:
    sock = scripted(server, *[(b"", (IPV4, 9))] * 5000)
    assert ask(sock, (IPV4, 9)).data == b""
    assert sock.sent == [(b"request", (IPV4, 9))]


@pytest.mark.parametrize("broadcast", [0, 1])
@pytest.mark.parametrize(
    ("peer", "address", "same"),
    [
        ((IPV4, 9), (IPV4, 10), False),
        ((IPV4, 9), ("127.0.0.2", 9), False),
        (("223.255.255.255", 9), ("223.255.255.255", 9), True),
        (("240.0.0.1", 65_535), ("240.0.0.1", 65_535), True),
        (("::1", 9, 0, 0), ("::1", 9, 7, 0), True),  # the flow is not part of it
        (("ff::1", 9), ("ff::1", 9, 0, 0), True),  # no group, since it is 00ff::1
        ((MAPPED, 9), (MAPPED, 9, 0, 0), True),
        (("fe80::1", 9, 0, 2), ("fe80::1", 9, 0, 2), True),
        (("fe80::1", 9, 0, 2), ("fe80::1", 9, 0, 3), False),
        (("fe80::1", 9, 0, 0), ("fe80::1", 9, 0, 3), True),  # any interface
    ],
)
def test_an_answer_comes_from_the_very_host(
    peer: Any, address: Any, same: bool, broadcast: int, server: Sock
) -> None:
    family = AF_INET6 if ":" in peer[0] else AF_INET
    sock = scripted(server, BLOCKED, (b"answer", address), family=family)
    sock.setsockopt(SOL_SOCKET, SO_BROADCAST, broadcast)
    if same:
        assert ask(sock, peer) == (b"answer", address)
    else:
        with pytest.raises(TimeoutError, match="1 other datagrams did"):
            ask(sock, peer, timeout=0.01, retries=0)


@needs("poll", "select takes only small descriptors")
def test_a_descriptor_may_have_any_number(server: Sock, client: Sock) -> None:
    fcntl = pytest.importorskip("fcntl")
    try:
        high = fcntl.fcntl(client, fcntl.F_DUPFD_CLOEXEC, 1100)
        os.close(fcntl.fcntl(client, fcntl.F_DUPFD_CLOEXEC, 1101))
    except OSError:
        pytest.skip("this process may not have so many descriptors")
    with socket.socket(fileno=high) as sock, answering(server, lambda _: b"answer"):
        assert ask(sock, server).data == b"answer"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda sock: recv_datagram(sock, -1), "max_size is a number of bytes, 0 or more, not -1"),
        (lambda sock: ask(sock, sock, timeout=0), "timeout is .* seconds, more than 0, not 0"),
        (lambda sock: ask(sock, sock, timeout=float("nan")), "more than 0, not nan"),
        (lambda sock: ask(sock, sock, retries=-1), "retries is .* requests, 0 or more, not -1"),
        (lambda _: open_datagram(("", -1)), "expected a port from 0 to 65535, not -1"),
        (lambda sock: ask(sock, ("", 65_536)), "0 to 65535, not 65536"),
        (lambda sock: send_datagram(sock, b"", (IPV4, -1)), "0 to 65535, not -1"),
        (lambda sock: send_datagram(sock, b"", (IPV4, 65_536)), "0 to 65535, not 65536"),
        (lambda _: open_datagram("host:9"), r"such as \('127.0.0.1', 9000\), not 'host:9'"),  # type: ignore[arg-type]
        (lambda _: open_datagram(("host",)), r"expected a host and a port, .* not \('host',\)"),  # type: ignore[arg-type]
        (lambda sock: join_multicast(sock, 5), r"a group as text, not int$"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_are_refused(call: Any, text: str, server: Sock) -> None:
    with pytest.raises((TypeError, ValueError), match=text):
        call(server)


def test_only_a_datagram_socket_will_do() -> None:
    with socket.socket() as stream:
        calls: Any = (partial(send_datagram, data=b""), recv_datagram, partial(ask, server=None))
        for call in calls:
            with pytest.raises(ValueError, match=r"datagram socket \(SOCK_DGRAM\), not .*STREAM"):
                call(stream)
            with pytest.raises(TypeError, match="expected a UDP socket, not int"):
                call(5)


# Discovery

REFUSAL = "broadcast or multicast .* send_datagram once, then recv_datagram .* every answer"


@pytest.mark.parametrize("way", [pytest.param("broadcast", marks=on_linux), "multicast"])
def test_the_advice_finds_every_answer(way: str, open_socket: Open, multicaster: Sock) -> None:
    first = open_socket(("", 0), reuse_address=True)
    port = first.getsockname()[1]
    devices = [first, open_socket(("", port), reuse_address=True)]
    host, client = "127.255.255.255", open_socket(broadcast=True)
    if way == "multicast":
        host, client = some_group(), multicaster
        for device in devices:
            join_multicast(device, host, IPV4)
    with pytest.raises(ValueError, match=f"{host} is a {REFUSAL}"):
        ask(client, (host, port))
    send_datagram(client, b"discover", (host, port))
    for number, device in enumerate(devices):
        assert recv_datagram(device).data == b"discover"
        send_datagram(device, b"%d" % number, (IPV4, client.getsockname()[1]))
    assert {recv_datagram(client).data for _ in devices} == {b"0", b"1"}
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        recv_datagram(client)


def test_a_request_to_many_is_refused() -> None:
    hosts = {
        AF_INET: ("255.255.255.255", "224.0.0.0", "239.255.255.255"),
        AF_INET6: ("ff02::1", "::ffff:224.0.0.1", "::ffff:255.255.255.255"),
    }
    for family, host in ((family, host) for family, each in hosts.items() for host in each):
        sock: Any = ScriptedDatagramSocket(family=family, peer=(host, 9))
        given = "<broadcast>" if host == "255.255.255.255" else host
        for address in (None, (host, 9), (given, 9)):
            with pytest.raises(ValueError, match=f"{host} is a {REFUSAL}"):
                ask(sock, address)
        assert sock.sent == []

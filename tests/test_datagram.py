"""Datagrams over real sockets on loopback, and over some that fail as others do."""

from __future__ import annotations

import array
import errno
import gc
import random
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from .fakes import ScriptedDatagramSocket
from .strategies import FORMATS, Format

Open = Callable[..., socket.socket]
Pair = tuple[socket.socket, socket.socket]

IPV4, IPV6 = "127.0.0.1", "::1"


def has_ipv6() -> bool:
    try:
        open_datagram((IPV6, 0)).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on loopback")
needs_recverr = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux can be asked to tell an unconnected socket"
)
every_host = pytest.mark.parametrize("host", [IPV4, pytest.param(IPV6, marks=needs_ipv6)])
every_timeout = pytest.mark.parametrize("timeout", [None, 30.0, 0.0])


@pytest.fixture
def open_socket() -> Iterator[Open]:
    """Open sockets as ``open_datagram`` does, with a timeout, and close them after the test."""
    with ExitStack() as stack:

        def open(*arguments: Any, **options: Any) -> socket.socket:
            sock = stack.enter_context(open_datagram(*arguments, **options))
            sock.settimeout(10)
            return sock

        yield open


@pytest.fixture
def server(open_socket: Open) -> socket.socket:
    return open_socket((IPV4, 0))


@pytest.fixture
def client(open_socket: Open) -> socket.socket:
    return open_socket((IPV4, 0))


@pytest.fixture(params=["its size told", "one byte more"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the size of a truncated datagram can be told; the test runs both ways."""
    if request.param == "one byte more":
        monkeypatch.setattr(datagram, "_MSG_TRUNC", None)
    return datagram._MSG_TRUNC is not None


# Whole datagrams


@every_host
@pytest.mark.parametrize("size", [0, 1, 1472, 9000, 65_507])
@pytest.mark.usefixtures("either_way")
def test_datagrams_of_every_size_arrive_whole(host: str, size: int, open_socket: Open) -> None:
    server, client = open_socket((host, 0)), open_socket((host, 0))
    data = random.Random(size).randbytes(size)
    for max_size in (65_535, size):
        send_datagram(client, data, server.getsockname())
        assert recv_datagram(server, max_size) == Datagram(data, client.getsockname())


@needs_ipv6
def test_ipv6_carries_more(open_socket: Open) -> None:
    server, client = open_socket((IPV6, 0)), open_socket(family=socket.AF_INET6)
    send_datagram(client, bytes(65_527), server.getsockname())
    assert recv_datagram(server).data == bytes(65_527)
    with pytest.raises(EncodeError, match=r"at most 65527 bytes.*not 65528"):
        send_datagram(client, bytes(65_528), server.getsockname())


def test_an_empty_datagram_is_one_and_not_the_end(
    server: socket.socket, client: socket.socket
) -> None:
    for data in (b"", b"", b"more"):
        send_datagram(client, data, server.getsockname())
    assert [recv_datagram(server).data for _ in range(3)] == [b"", b"", b"more"]


def test_a_connected_socket_needs_no_address(server: socket.socket, client: socket.socket) -> None:
    client.connect(server.getsockname())
    send_datagram(client, b"hello")
    data, address = recv_datagram(server)
    send_datagram(server, data.upper(), address)
    assert recv_datagram(client) == (b"HELLO", server.getsockname())


@pytest.mark.parametrize(
    "data",
    [
        bytearray(b"abcd"),
        memoryview(b"abcd"),
        memoryview(b"a-b-c-d-")[::2],
        array.array("I", b"abcd"),
    ],
)
def test_anything_made_of_bytes_can_be_sent(
    data: Any, server: socket.socket, client: socket.socket
) -> None:
    send_datagram(client, data, server.getsockname())
    assert recv_datagram(server).data == b"abcd"


@pytest.mark.parametrize(
    ("data", "text"), [("text", "not str: encode the text first"), (5, "not int"), (None, "not")]
)
def test_what_is_not_made_of_bytes_is_refused(
    data: Any, text: str, server: socket.socket, client: socket.socket
) -> None:
    with pytest.raises(TypeError, match=f"expected bytes, bytearray or memoryview, {text}"):
        send_datagram(client, data, server.getsockname())


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A socket and one connected to it, for properties: they outlive an example."""
    with open_datagram((IPV4, 0)) as server, open_datagram() as client:
        client.connect(server.getsockname())
        server.settimeout(10)
        yield server, client


@pytest.mark.parametrize("format", FORMATS, ids=repr)
@given(st.data())
def test_a_framer_works_over_datagrams(
    format: Format[Any], pair: Pair, data: st.DataObject
) -> None:
    server, client = pair
    message = data.draw(format.messages)
    send_datagram(client, format.framer.encode(message))
    assert format.framer.decode(recv_datagram(server).data) == format.received(message)


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 40)), max_size=5))
def test_a_datagram_is_whole_or_an_error(pair: Pair, sent: list[tuple[bytes, int]]) -> None:
    server, client = pair
    for data, _ in sent:
        send_datagram(client, data)
    for data, max_size in sent:
        try:
            assert recv_datagram(server, max_size).data == data
            assert len(data) <= max_size
        except TruncatedDatagramError as error:
            told = len(data) if datagram._MSG_TRUNC is not None else None
            assert (error.received, error.size) == (max_size, told)
            assert len(data) > max_size


@pytest.mark.usefixtures("either_way")
def test_threads_share_a_socket(server: socket.socket, client: socket.socket) -> None:
    sent = [bytes([i]) * (i + 1) for i in range(150)]

    def receive(max_size: int) -> list[bytes]:
        return list(iter(lambda: recv_datagram(server, max_size).data, b"end"))

    with ThreadPoolExecutor() as executor:
        receiving = [executor.submit(receive, size) for size in (200, 65_535, 300, 65_535)]
        for data in [*sent, *[b"end"] * 4]:
            send_datagram(client, data, server.getsockname())
        received = [data for each in receiving for data in each.result()]
    assert sorted(received) == sorted(sent)


# Too large


def mapped(sock: socket.socket) -> tuple[str, int]:
    return "::ffff:127.0.0.1", sock.getsockname()[1]


@pytest.mark.parametrize("connected", [False, True])
def test_more_than_udp_carries_is_refused_before_the_system_sees_it(
    connected: bool, server: socket.socket, client: socket.socket
) -> None:
    address = None if connected else server.getsockname()
    if connected:
        client.connect(server.getsockname())
    with pytest.raises(EncodeError, match=r"at most 65507 bytes, the limit of UDP, not 65508"):
        send_datagram(client, bytes(65_508), address)
    with pytest.raises(EncodeError, match="not 65508"):  # counted in bytes, not in items
        send_datagram(client, memoryview(bytes(65_508)).cast("I"), address)
    send_datagram(client, b"next", address)
    assert recv_datagram(server).data == b"next"


@needs_ipv6
@pytest.mark.parametrize("connected", [False, True])
def test_ipv4_on_an_ipv6_socket_has_the_limit_of_ipv4(
    connected: bool, open_socket: Open, server: socket.socket
) -> None:
    client = open_socket(family=socket.AF_INET6)
    client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    address = None if connected else mapped(server)
    if connected:
        client.connect(mapped(server))
    with pytest.raises(EncodeError, match="at most 65507 bytes"):
        send_datagram(client, bytes(65_508), address)
    send_datagram(client, bytes(65_507), address)
    assert len(recv_datagram(server).data) == 65_507


@pytest.mark.parametrize(
    ("family", "address", "limit"),
    [
        (socket.AF_INET, (IPV4, 9), 65_507),
        (socket.AF_INET6, ("::1", 9), 65_527),
        (socket.AF_INET6, ("::1", 9, 0, 0), 65_527),
        (socket.AF_INET6, ("::FFFF:7f00:1", 9), 65_507),
        (socket.AF_INET6, ("::ffff:0:7f00:1", 9), 65_527),  # not mapped, but translated
    ],
)
def test_the_limit_depends_on_the_address(family: int, address: Any, limit: int) -> None:
    sock: Any = ScriptedDatagramSocket(family=family)
    send_datagram(sock, bytes(limit), address)
    with pytest.raises(EncodeError, match=f"at most {limit} bytes"):
        send_datagram(sock, bytes(limit + 1), address)
    assert [len(data) for data, _ in sock.sent] == [limit]


# Truncation


@every_host
@pytest.mark.parametrize(("size", "max_size"), [(1, 0), (101, 100), (1472, 100), (65_507, 9000)])
def test_a_truncated_datagram_is_an_error_and_the_next_is_intact(
    host: str, size: int, max_size: int, open_socket: Open, either_way: bool
) -> None:
    server, client = open_socket((host, 0)), open_socket((host, 0))
    send_datagram(client, bytes(size), server.getsockname())
    send_datagram(client, b"next", server.getsockname())
    told = str(size) if either_way else "more"
    text = rf"expected a datagram of at most {max_size} bytes \(max_size\), not {told}$"
    with pytest.raises(TruncatedDatagramError, match=text) as caught:
        recv_datagram(server, max_size)
    assert caught.value.received == max_size
    assert caught.value.size == (size if either_way else None)
    assert recv_datagram(server) == (b"next", client.getsockname())


@pytest.mark.parametrize("size", [101, 102, 5000])
def test_a_truncated_datagram_is_the_same_error_on_windows(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagram, "_MSG_TRUNC", None)
    sock: Any = ScriptedDatagramSocket((bytes(size), (IPV4, 9)), (b"next", (IPV4, 9)))
    with pytest.raises(TruncatedDatagramError, match="at most 100 bytes") as caught:
        recv_datagram(sock, 100)
    assert (caught.value.received, caught.value.size) == (100, None)
    assert recv_datagram(sock, 100).data == b"next"


def test_a_limit_is_no_negative_number(server: socket.socket) -> None:
    with pytest.raises(ValueError, match="max_size is a number of bytes, 0 or more, not -1"):
        recv_datagram(server, -1)


# Opening


@pytest.mark.parametrize(
    ("bind", "options", "family"),
    [
        (None, {}, socket.AF_INET),
        ((IPV4, 0), {}, socket.AF_INET),
        (("", 0), {}, socket.AF_INET),
        ((IPV4, 0), {"family": socket.AF_INET}, socket.AF_INET),
        pytest.param((IPV6, 0), {}, socket.AF_INET6, marks=needs_ipv6),
        pytest.param((IPV6, 0, 0, 0), {}, socket.AF_INET6, marks=needs_ipv6),
        pytest.param(("", 0), {"family": socket.AF_INET6}, socket.AF_INET6, marks=needs_ipv6),
        pytest.param(None, {"family": socket.AF_INET6}, socket.AF_INET6, marks=needs_ipv6),
    ],
)
def test_the_family_is_that_of_the_address(
    bind: Any, options: Any, family: int, open_socket: Open
) -> None:
    sock = open_socket(bind, **options)
    assert (sock.family, sock.type) == (family, socket.SOCK_DGRAM)
    assert bool(bind) == bool(sock.getsockname()[1])


def test_localhost_is_ipv4_where_it_is_both(
    open_socket: Open, client: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    ipv6 = (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("::1", 0, 0, 0))
    ipv4 = (socket.AF_INET, socket.SOCK_DGRAM, 17, "", (IPV4, 0))
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_: [ipv6, ipv4])
        server = open_socket(("localhost", 0))
    assert server.getsockname()[0] == IPV4
    send_datagram(client, b"hello", ("localhost", server.getsockname()[1]))
    assert recv_datagram(server).data == b"hello"


def test_a_socket_that_cannot_be_bound_is_closed(server: socket.socket) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011  # its text differs between systems
        open_datagram(server.getsockname())
    assert caught.value.errno == errno.EADDRINUSE
    gc.collect()  # an open one would warn here, which is an error


@pytest.mark.parametrize("bind", [("::1", 0), ("no.such.host.invalid", 0)])
def test_a_host_of_another_family_is_an_error(bind: Any) -> None:
    with pytest.raises(socket.gaierror):
        open_datagram(bind, family=socket.AF_INET)


def test_a_port_is_shared_only_when_asked(open_socket: Open) -> None:
    first = open_socket((IPV4, 0), reuse_address=True)
    with pytest.raises(OSError) as caught:  # noqa: PT011
        open_socket(first.getsockname())
    assert caught.value.errno == errno.EADDRINUSE
    second = open_socket(first.getsockname(), reuse_address=True)
    assert first.getsockname() == second.getsockname()


def test_small_buffers_are_enlarged(open_socket: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagram, "_LARGEST", 250_000)
    sock = open_socket()
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        assert sock.getsockopt(socket.SOL_SOCKET, buffer) >= 250_000


def test_a_stream_socket_is_refused() -> None:
    with socket.create_server((IPV4, 0)) as listener:
        here = socket.create_connection(listener.getsockname()[:2], timeout=10)
        there, _ = listener.accept()
    with here, there:
        text = r"expected a datagram socket \(SOCK_DGRAM\), not .*STREAM.*send_msg and recv_msg"
        with pytest.raises(ValueError, match=text):
            send_datagram(here, b"hello")
        there.sendall(b"hello")
        with pytest.raises(ValueError, match=text):
            recv_datagram(here)


# Broadcast


def test_broadcast(open_socket: Open) -> None:
    server, client = open_socket(("", 0)), open_socket(broadcast=True)
    send_datagram(client, b"to all", ("127.255.255.255", server.getsockname()[1]))
    assert recv_datagram(server).data == b"to all"


@pytest.mark.parametrize("host", ["127.255.255.255", "<broadcast>"])
def test_broadcast_without_permission_says_how_to_get_it(host: str, client: socket.socket) -> None:
    text = rf"{host}.*broadcast.*open_datagram\(broadcast=True\).*SO_BROADCAST"
    with pytest.raises(PermissionError, match=text) as caught:
        send_datagram(client, b"to all", (host, 9))
    assert caught.value.errno == errno.EACCES


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_another_lack_of_permission_passes_through(number: int) -> None:
    error = PermissionError(number, "a firewall says no")
    sock: Any = ScriptedDatagramSocket(error)
    if number == errno.EACCES:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    with pytest.raises(PermissionError) as caught:
        send_datagram(sock, b"hello", (IPV4, 9))
    assert caught.value is error


# Multicast


def some_group() -> str:
    """Return a group that no other test, and nobody else on this machine, is in."""
    return f"239.255.{random.randrange(1, 255)}.{random.randrange(1, 255)}"


def some_ipv6_group() -> str:
    """Return one whose datagrams stay on this machine."""
    return f"ff01::{random.randrange(1, 0xFFFF):x}:{random.randrange(1, 0xFFFF):x}"


def loopback() -> str:
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))


def ipv6_interface() -> str | None:
    """Return an interface with IPv6 multicast, which Linux's loopback has not."""
    for _, name in socket.if_nameindex():
        with suppress(OSError), open_datagram(("::", 0)) as sock:
            group = some_ipv6_group()
            join_multicast(sock, group, name)
            send_datagram(sock, b"", (f"{group}%{name}", sock.getsockname()[1]))
            sock.settimeout(1)
            recv_datagram(sock)
            return name
    return None


@pytest.fixture
def interface() -> str:
    name = ipv6_interface() if has_ipv6() else None
    if name is None:
        pytest.skip("no interface with IPv6 multicast")
    return name


def multicast_sender(open_socket: Open) -> socket.socket:
    sock = open_socket()
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(IPV4))
    return sock


@pytest.mark.parametrize(
    "interface",
    [lambda: IPV4, loopback, lambda: socket.if_nametoindex(loopback())],
    ids=["address", "name", "number"],
)
def test_multicast(interface: Callable[[], str | int], open_socket: Open) -> None:
    group, server, client = some_group(), open_socket(("", 0)), multicast_sender(open_socket)
    port = server.getsockname()[1]
    join_multicast(server, group, interface())
    send_datagram(client, b"to the group", (group, port))
    assert recv_datagram(server).data == b"to the group"

    leave_multicast(server, group, interface())
    send_datagram(client, b"to those who are left", (group, port))
    send_datagram(client, b"to you", (IPV4, port))
    assert recv_datagram(server).data == b"to you"
    with pytest.raises(OSError) as caught:  # noqa: PT011
        leave_multicast(server, group, interface())
    assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize("needs_reuse_port", [False, True])
def test_several_sockets_receive_from_one_group(
    needs_reuse_port: bool, open_socket: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    if needs_reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        pytest.skip("no SO_REUSEPORT")
    monkeypatch.setattr(datagram, "_NEEDS_REUSE_PORT", needs_reuse_port)
    group, first = some_group(), open_socket(("", 0), reuse_address=True)
    port = first.getsockname()[1]
    servers = [first, open_socket(("", port), reuse_address=True)]
    for server in servers:
        if hasattr(socket, "SO_REUSEPORT"):
            shared = server.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
            assert bool(shared) == needs_reuse_port
        join_multicast(server, group, IPV4)
    send_datagram(multicast_sender(open_socket), b"to the group", (group, port))
    assert [recv_datagram(server).data for server in servers] == [b"to the group"] * 2


@pytest.mark.parametrize("way", ["scope", "name", "number"])
def test_multicast_of_ipv6(way: str, interface: str, open_socket: Open) -> None:
    group, server = some_ipv6_group(), open_socket(("::", 0))
    client = open_socket(family=socket.AF_INET6)
    where: dict[str, tuple[Any, ...]] = {
        "scope": (f"{group}%{interface}",),
        "name": (group, interface),
        "number": (group, socket.if_nametoindex(interface)),
    }
    address = (f"{group}%{interface}", server.getsockname()[1])
    join_multicast(server, *where[way])
    send_datagram(client, b"to the group", address)
    assert recv_datagram(server).data == b"to the group"

    leave_multicast(server, *where[way])
    with pytest.raises(OSError) as caught:  # noqa: PT011
        leave_multicast(server, *where[way])
    assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize("change", [join_multicast, leave_multicast])
@pytest.mark.parametrize(
    ("family", "group", "text"),
    [
        (socket.AF_INET, "ff02::1", "same family as the socket .*AF_INET.*not 'ff02::1'"),
        (socket.AF_INET6, "224.0.0.1", "same family as the socket .*AF_INET6.*not '224.0.0.1'"),
        (socket.AF_INET, "localhost", "not 'localhost'"),
        (socket.AF_INET, "", "not ''"),
        (socket.AF_INET, "223.255.255.255", "224.0.0.0 to 239.255.255.255"),
        (socket.AF_INET, "240.0.0.0", "224.0.0.0 to 239.255.255.255"),
        (socket.AF_INET6, "fe80::1%1", "beginning with ff in IPv6, not 'fe80::1%1'"),
        (socket.AF_INET6, "::ffff:224.0.0.1", "beginning with ff"),
    ],
)
def test_what_is_no_group_for_the_socket_is_refused(
    family: socket.AddressFamily, group: str, text: str, change: Callable[..., None]
) -> None:
    sock = ScriptedDatagramSocket(family=family)
    with pytest.raises(ValueError, match=text):
        change(sock, group)
    assert sock.options == []


@every_host
def test_an_interface_that_does_not_exist_is_named(host: str, open_socket: Open) -> None:
    group = "224.0.0.1" if host == IPV4 else "ff02::1"
    with pytest.raises(OSError, match="no network interface is called 'nowhere0'") as caught:
        join_multicast(open_socket((host, 0)), group, "nowhere0")
    assert caught.value.errno == errno.ENODEV


@pytest.mark.parametrize(
    ("interface", "has_mreqn", "membership"),
    [
        (None, True, struct.pack("@4s4si", b"\xe0\0\0\1", bytes(4), 0)),
        (5, True, struct.pack("@4s4si", b"\xe0\0\0\1", bytes(4), 5)),
        ("5", True, struct.pack("@4s4si", b"\xe0\0\0\1", bytes(4), 5)),
        ("192.0.2.1", True, b"\xe0\0\0\1\xc0\0\2\1"),
        (None, False, b"\xe0\0\0\1\0\0\0\0"),
        (300, False, b"\xe0\0\0\1\0\0\1\x2c"),
        ("192.0.2.1", False, b"\xe0\0\0\1\xc0\0\2\1"),
    ],
)
def test_an_interface_is_told_as_the_system_takes_it(
    interface: Any, has_mreqn: bool, membership: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagram, "_HAS_MREQN", has_mreqn)
    sock: Any = ScriptedDatagramSocket()
    join_multicast(sock, "224.0.0.1", interface)
    leave_multicast(sock, "224.0.0.1", interface)
    assert sock.options == [
        (socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership),
        (socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, membership),
    ]


def test_an_ipv6_group_may_name_its_interface() -> None:
    sock: Any = ScriptedDatagramSocket(family=socket.AF_INET6)
    index = socket.if_nametoindex(loopback())
    for group, interface in ((f"ff02::1%{loopback()}", None), ("ff02::1%7", index)):
        join_multicast(sock, group, interface)
    membership = socket.inet_pton(socket.AF_INET6, "ff02::1") + struct.pack("@I", index)
    assert sock.options == [(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)] * 2


# The scope of IPv6


def link_local(interface: str, open_socket: Open) -> str:
    """Return this machine's own address on *interface*, by talking to itself."""
    sock, group = open_socket(("::", 0)), some_ipv6_group()
    join_multicast(sock, group, interface)
    send_datagram(sock, b"", (f"{group}%{interface}", sock.getsockname()[1]))
    address = recv_datagram(sock).address
    if not address[0].startswith("fe80:"):
        pytest.skip("no link-local address")
    return address[0]


def test_a_link_local_host_names_its_interface(interface: str, open_socket: Open) -> None:
    host = f"{link_local(interface, open_socket)}%{interface}"
    server = open_socket((host, 0))
    port, scope = server.getsockname()[1], socket.if_nametoindex(interface)
    assert server.getsockname()[3] == scope
    client = open_socket((host.partition("%")[0], 0, 0, scope))
    assert client.getsockname()[3] == scope
    send_datagram(client, b"hello", (host, port))
    data, address = recv_datagram(server)
    assert (data, address[3:]) == (b"hello", (scope,))
    with answering(server, lambda request: request.upper()):
        assert request_datagram(client, b"hello", (host, port)).data == b"HELLO"


def test_the_interface_reaches_the_system() -> None:
    sock: Any = ScriptedDatagramSocket(family=socket.AF_INET6)
    scope = socket.if_nametoindex(loopback())
    send_datagram(sock, b"hello", (f"fe80::1%{loopback()}", 9))
    send_datagram(sock, b"hello", ("fe80::1", 9, 0, 77))
    assert [address for _, address in sock.sent] == [
        ("fe80::1", 9, 0, scope),
        ("fe80::1", 9, 0, 77),
    ]


# Errors of earlier datagrams


def refused_address() -> Any:
    """Return an address at which nobody receives."""
    with open_datagram((IPV4, 0)) as sock:
        return sock.getsockname()


def tell_errors(sock: socket.socket) -> socket.socket:
    """Let Linux tell an unconnected socket what Windows always tells it."""
    sock.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
    return sock


@needs_recverr
@every_timeout
def test_an_unconnected_receiver_survives_a_refused_datagram(
    timeout: float | None, server: socket.socket, client: socket.socket
) -> None:
    tell_errors(server).settimeout(timeout)
    for _ in range(3):
        send_datagram(server, b"anybody?", refused_address())
        client.sendto(b"hello", server.getsockname())
        assert recv_datagram(server) == (b"hello", client.getsockname())
    assert server.gettimeout() == timeout


@needs_recverr
def test_an_unconnected_receiver_can_be_told(server: socket.socket, client: socket.socket) -> None:
    send_datagram(tell_errors(server), b"anybody?", refused_address())
    client.sendto(b"hello", server.getsockname())
    with pytest.raises(ConnectionRefusedError):
        recv_datagram(server, ignore_refused=False)
    assert recv_datagram(server, ignore_refused=False).data == b"hello"


def test_a_connected_receiver_is_told(client: socket.socket) -> None:
    client.connect(refused_address())
    send_datagram(client, b"anybody?")
    with pytest.raises(ConnectionRefusedError):
        recv_datagram(client)


@every_timeout
def test_a_connected_receiver_can_survive(
    timeout: float | None, client: socket.socket, open_socket: Open
) -> None:
    address = refused_address()
    client.connect(address)
    client.settimeout(timeout)
    send_datagram(client, b"anybody?")
    server = open_socket(address)
    server.sendto(b"now I am", client.getsockname())
    assert recv_datagram(client, ignore_refused=True) == (b"now I am", address)


@needs_recverr
@pytest.mark.parametrize("ignore", [None, True])
def test_a_refused_datagram_does_not_swallow_the_next(
    ignore: bool | None, server: socket.socket, client: socket.socket
) -> None:
    for _ in range(3):
        send_datagram(tell_errors(client), b"anybody?", refused_address())
        send_datagram(client, b"hello", server.getsockname(), ignore_refused=ignore)
        assert recv_datagram(server).data == b"hello"


@needs_recverr
def test_a_sender_can_be_told(server: socket.socket, client: socket.socket) -> None:
    send_datagram(tell_errors(client), b"anybody?", refused_address())
    with pytest.raises(ConnectionRefusedError):
        send_datagram(client, b"lost", server.getsockname(), ignore_refused=False)
    send_datagram(client, b"hello", server.getsockname(), ignore_refused=False)
    assert recv_datagram(server).data == b"hello"


def test_a_connected_sender_is_told_unless_it_ignores(
    client: socket.socket, open_socket: Open
) -> None:
    address = refused_address()
    client.connect(address)
    send_datagram(client, b"anybody?")
    with pytest.raises(ConnectionRefusedError):
        send_datagram(client, b"anybody?")
    send_datagram(client, b"anybody?")
    server = open_socket(address)
    send_datagram(client, b"hello", ignore_refused=True)
    assert recv_datagram(server).data == b"hello"


def reset() -> ConnectionResetError:
    return ConnectionResetError(10054, "An existing connection was forcibly closed")


LATE_ERRORS: list[Callable[[], OSError]] = [
    reset,
    lambda: ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
    lambda: OSError(errno.EHOSTUNREACH, "no route"),
    lambda: OSError(errno.ENETUNREACH, "no network"),
    lambda: OSError(errno.ENETRESET, "its time to live ran out"),
]


@pytest.mark.parametrize("late", LATE_ERRORS)
def test_a_late_error_is_ignored_however_the_system_calls_it(late: Callable[[], OSError]) -> None:
    sock: Any = ScriptedDatagramSocket(late(), late(), (b"hello", (IPV4, 9)), late(), late())
    assert recv_datagram(sock).data == b"hello"
    send_datagram(sock, b"hello", (IPV4, 9))
    assert sock.sent == [(b"hello", (IPV4, 9))]


@pytest.mark.parametrize("late", LATE_ERRORS)
def test_a_late_error_is_told_on_a_connected_socket(late: Callable[[], OSError]) -> None:
    sock: Any = ScriptedDatagramSocket(late(), late(), peer=(IPV4, 9))
    with pytest.raises(OSError):  # noqa: PT011  # the texts are above
        recv_datagram(sock)
    with pytest.raises(OSError):  # noqa: PT011
        send_datagram(sock, b"hello")
    assert sock.sent == []


def test_an_error_of_its_own_is_told() -> None:
    error = OSError(errno.ENOBUFS, "no room")
    sock: Any = ScriptedDatagramSocket(error, error)
    with pytest.raises(OSError, match="no room"):
        recv_datagram(sock, ignore_refused=True)
    with pytest.raises(OSError, match="no room"):
        send_datagram(sock, b"hello", (IPV4, 9), ignore_refused=True)


def test_sending_gives_up_in_the_end() -> None:
    sock: Any = ScriptedDatagramSocket(*[reset() for _ in range(1000)])
    with pytest.raises(ConnectionResetError):
        send_datagram(sock, b"hello", (IPV4, 9))
    assert sock.attempts == 8


@needs_recverr
def test_ignored_errors_leave_the_timeout_as_it_is(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_errors(server).settimeout(60)
    send_datagram(server, b"anybody?", refused_address())
    times = iter([1000.0, 1060.0])  # the error comes when the time is up
    monkeypatch.setattr(datagram, "monotonic", lambda: next(times))
    with pytest.raises(TimeoutError, match="timed out"):
        recv_datagram(server)
    assert server.gettimeout() == 60


@needs_recverr
def test_a_timeout_after_ignored_errors(server: socket.socket) -> None:
    tell_errors(server).settimeout(0.05)
    send_datagram(server, b"anybody?", refused_address())
    with pytest.raises(TimeoutError, match="timed out"):
        recv_datagram(server)


@needs_recverr
def test_nothing_to_receive_after_ignored_errors(server: socket.socket) -> None:
    tell_errors(server).setblocking(False)
    send_datagram(server, b"anybody?", refused_address())
    with pytest.raises(BlockingIOError):
        recv_datagram(server)


# Request and answer


@contextmanager
def answering(
    server: socket.socket, answer: Callable[[bytes], bytes | None], count: int = 1
) -> Iterator[None]:
    """Let *server* answer *count* requests, or not, while the block runs."""

    def serve() -> None:
        for _ in range(count):
            request, address = recv_datagram(server)
            data = answer(request)
            if data is not None:
                send_datagram(server, data, address)

    with ThreadPoolExecutor() as executor:
        serving = executor.submit(serve)
        yield
        serving.result()


@pytest.fixture(params=["poll", "select"])
def either_wait(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "select":
        monkeypatch.setattr(datagram, "_POLL", None)


@pytest.fixture(params=["MSG_DONTWAIT", "no MSG_DONTWAIT"])
def either_flag(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no MSG_DONTWAIT":
        monkeypatch.setattr(datagram, "_MSG_DONTWAIT", 0)


@every_host
@every_timeout
@pytest.mark.usefixtures("either_wait", "either_flag")
def test_a_request_is_repeated_until_the_right_answer(
    host: str, timeout: float | None, open_socket: Open
) -> None:
    """The server drops two requests, and a stranger answers each."""
    server, client, stranger = (open_socket((host, 0)) for _ in range(3))
    client.settimeout(timeout)
    requests = []

    def answer(request: bytes) -> bytes | None:
        requests.append(request)
        send_datagram(stranger, b"from a stranger", client.getsockname())
        return b"answer" if len(requests) == 3 else None

    with answering(server, answer, count=3):
        received = request_datagram(
            client, b"request", server.getsockname(), timeout=0.1, retries=50
        )
    assert received == Datagram(b"answer", server.getsockname())
    assert requests == [b"request"] * 3
    assert client.gettimeout() == timeout


@every_timeout
def test_silence_is_a_timeout_after_the_retries(
    timeout: float | None, server: socket.socket, client: socket.socket
) -> None:
    client.settimeout(timeout)
    text = (
        r"expected an answer from .*127\.0\.0\.1.* within 0\.05 s \(timeout\) of one of"
        r" 3 requests \(1 \+ retries\), but none came, and 0 other datagrams"
    )
    with pytest.raises(TimeoutError, match=text):
        request_datagram(client, b"request", server.getsockname(), timeout=0.05, retries=2)
    assert client.gettimeout() == timeout
    server.setblocking(False)
    assert [recv_datagram(server).data for _ in range(3)] == [b"request"] * 3
    with pytest.raises(BlockingIOError):
        recv_datagram(server)


@every_timeout
def test_what_came_before_the_request_is_no_answer(
    timeout: float | None, server: socket.socket, client: socket.socket
) -> None:
    for data in (b"late", b"", b"later"):
        send_datagram(server, data, client.getsockname())
    client.settimeout(timeout)
    with answering(server, lambda _: b"answer"):
        received = request_datagram(client, b"request", server.getsockname(), timeout=10)
    assert received.data == b"answer"


def test_answers_can_be_declined(server: socket.socket, client: socket.socket) -> None:
    def answer(request: bytes) -> bytes:
        send_datagram(server, b"6: to another request", client.getsockname())
        return b"7: to " + request

    with answering(server, answer):
        received = request_datagram(
            client,
            b"this one",
            server.getsockname(),
            timeout=10,
            accept=lambda data: data.startswith(b"7:"),
        )
    assert received.data == b"7: to this one"


def test_declining_fails_as_it_fails(server: socket.socket, client: socket.socket) -> None:
    def accept(data: bytes) -> bool:
        raise LookupError(data)

    with answering(server, lambda _: b"answer"), pytest.raises(LookupError, match="answer"):
        request_datagram(client, b"request", server.getsockname(), timeout=10, accept=accept)
    assert client.gettimeout() == 10


@pytest.mark.parametrize("data", [b"", bytes(65_507)], ids=len)
def test_an_answer_has_any_size(data: bytes, server: socket.socket, client: socket.socket) -> None:
    with answering(server, lambda _: data):
        received = request_datagram(client, b"request", server.getsockname(), timeout=10)
    assert received.data == data


def test_strangers_do_not_stretch_the_time(
    server: socket.socket, client: socket.socket, open_socket: Open
) -> None:
    stranger, stop = open_socket(), threading.Event()
    address = client.getsockname()

    def flood() -> None:
        while not stop.is_set():
            send_datagram(stranger, bytes(9000), address)

    with ThreadPoolExecutor() as executor:
        flooding = executor.submit(flood)
        try:
            with pytest.raises(TimeoutError, match=r"but none came, and \d+ other datagrams"):
                request_datagram(client, b"?", server.getsockname(), timeout=0.05, retries=1)
        finally:
            stop.set()
        flooding.result()


def test_a_flood_does_not_keep_the_request_from_being_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sock: Any = ScriptedDatagramSocket(*[(b"flood", (IPV4, 7))] * 5000)
    sock.script[1500:1500] = [(b"answer", (IPV4, 9))]
    monkeypatch.setattr(datagram, "_is_readable", lambda *_: True)
    assert request_datagram(sock, b"request", (IPV4, 9), timeout=60).data == b"answer"
    assert len(sock.sent) == 1


@every_timeout
@needs("MSG_DONTWAIT", "otherwise a blocking socket is its thread's own")
def test_waking_up_for_nothing_does_not_end_the_waiting(
    timeout: float | None,
    server: socket.socket,
    client: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when a checksum is wrong, or another thread was faster."""
    wait = datagram._is_readable
    lies = [True] * 5
    monkeypatch.setattr(
        datagram, "_is_readable", lambda *given: bool(lies and lies.pop()) or wait(*given)
    )
    client.settimeout(timeout)
    with answering(server, lambda _: b"answer"):
        received = request_datagram(client, b"request", server.getsockname(), timeout=10)
    assert received.data == b"answer"
    assert not lies


@needs_recverr
def test_a_refused_request_is_silence_on_an_unconnected_socket(client: socket.socket) -> None:
    with pytest.raises(TimeoutError, match="2 requests"):
        request_datagram(
            tell_errors(client), b"request", refused_address(), timeout=0.05, retries=1
        )
    with pytest.raises(ConnectionRefusedError):
        request_datagram(client, b"request", refused_address(), ignore_refused=False)


def test_a_refused_request_is_told_on_a_connected_socket(
    client: socket.socket, open_socket: Open
) -> None:
    address = refused_address()
    client.connect(address)
    with pytest.raises(ConnectionRefusedError):
        request_datagram(client, b"request", None)
    send_datagram(client, b"anybody?")  # refused, and told too late to be of interest
    with answering(open_socket(address), lambda _: b"answer"):
        assert request_datagram(client, b"request", None, timeout=10) == (b"answer", address)


def test_a_name_is_looked_up_once(
    server: socket.socket, client: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up, names = socket.getaddrinfo, []

    def counted(name: str, *arguments: Any) -> Any:
        names.append(name)
        return look_up(name, *arguments)

    monkeypatch.setattr(socket, "getaddrinfo", counted)
    answers = iter([None, b"answer"])
    with answering(server, lambda _: next(answers), count=2):
        address = ("localhost", server.getsockname()[1])
        received = request_datagram(client, b"request", address, timeout=0.1, retries=50)
    assert received == (b"answer", server.getsockname())
    assert names == ["localhost"]


@needs_ipv6
@pytest.mark.parametrize("host", ["::ffff:127.0.0.1", "::FFFF:7f00:1"])
def test_a_request_to_ipv4_from_an_ipv6_socket(
    host: str, server: socket.socket, open_socket: Open
) -> None:
    client = open_socket(family=socket.AF_INET6)
    client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    with answering(server, lambda _: b"answer"):
        address = (host, server.getsockname()[1])
        assert request_datagram(client, b"request", address, timeout=10).data == b"answer"


@pytest.mark.parametrize(
    ("peer", "address", "same"),
    [
        ((IPV4, 9), (IPV4, 9), True),
        ((IPV4, 9), (IPV4, 10), False),
        ((IPV4, 9), ("127.0.0.2", 9), False),
        (("::1", 9, 0, 0), ("::1", 9, 7, 0), True),  # the flow is no part of it
        (("::1", 9, 7, 0), ("::1", 9, 0, 0), True),
        (("fe80::1", 9, 0, 2), ("fe80::1", 9, 0, 2), True),
        (("fe80::1", 9, 0, 2), ("fe80::1", 9, 0, 3), False),
        (("fe80::1", 9, 0, 0), ("fe80::1", 9, 0, 3), True),  # any interface
        (("fe80::1", 9, 0, 2), ("fe80::2", 9, 0, 2), False),
    ],
)
def test_an_answer_comes_from_the_very_address(peer: Any, address: Any, same: bool) -> None:
    assert datagram._is_from(peer, Datagram(b"", address)) == same


@needs("poll", "select takes no more")
def test_a_descriptor_has_any_number(server: socket.socket, client: socket.socket) -> None:
    fcntl = pytest.importorskip("fcntl")
    try:
        high = fcntl.fcntl(client.fileno(), fcntl.F_DUPFD_CLOEXEC, 1100)
    except OSError:
        pytest.skip("this process may not have so many descriptors")
    with socket.socket(fileno=high) as sock, answering(server, lambda _: b"answer"):
        received = request_datagram(sock, b"request", server.getsockname(), timeout=10)
    assert received.data == b"answer"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"timeout": 0}, "timeout is a number of seconds, more than 0, not 0"),
        ({"timeout": -1.0}, "more than 0, not -1.0"),
        ({"timeout": float("nan")}, "more than 0, not nan"),
        ({"retries": -1}, "retries is a number of requests, 0 or more, not -1"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: Any, text: str, server: socket.socket, client: socket.socket
) -> None:
    with pytest.raises(ValueError, match=text):
        request_datagram(client, b"request", server.getsockname(), **options)


def test_waiting_may_be_unlimited(server: socket.socket, client: socket.socket) -> None:
    with answering(server, lambda _: b"answer"):
        received = request_datagram(
            client, b"request", server.getsockname(), timeout=float("inf"), retries=0
        )
    assert received.data == b"answer"

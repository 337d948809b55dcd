"""What networks, peers and machines do to a connection, and what a user gets of it.

Faults that are about one module are beside that module's other tests.
"""

from __future__ import annotations

import os
import socket
import socketserver
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import framing
from framing import (
    DecodeError,
    DelimiterFramer,
    EndOfStreamError,
    Framer,
    HeaderBodyFramer,
    IncompleteMessageError,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    StructFramer,
    connect,
    recv_msg,
    send_msg,
)
from framing.server import MessageRequestHandler

from .netstring import NetstringFramer
from .pairs import (
    MIB,
    Pair,
    Task,
    every_pair,
    fill,
    has_unread,
    reset,
    small_buffers,
    tcp_pair,
    unix_pair,
    wait_until,
)

# A message stops somewhere.  Each of these is a state of the receiver: what came before that.
STATES: dict[str, tuple[Framer[Any], bytes, bytes]] = {
    "nothing": (LengthPrefixFramer(), b"", b"\0\0\0\5hello"),
    "in the prefix": (LengthPrefixFramer(), b"\0\0", b"\0\5hello"),
    "after the prefix": (LengthPrefixFramer(), b"\0\0\0\5", b"hello"),
    "in the payload": (LengthPrefixFramer(), b"\0\0\0\5hel", b"lo"),
    "in a large payload": (
        LengthPrefixFramer(),
        struct.pack("!I", 300_000) + bytes(150_000),
        bytes(150_000),
    ),
    "before the delimiter": (DelimiterFramer(b"\r\n"), b"hello", b"\r\n"),
    "in the delimiter": (DelimiterFramer(b"\r\n"), b"hello\r", b"\n"),
    "in a character": (LineFramer(), "hello 漢".encode()[:-1], "漢\n".encode()[2:]),
    "in the header": (HeaderBodyFramer(), b'\0\0\0\x0a{"siz', b'e":5}hello'),
    "after the header": (HeaderBodyFramer(), b'\0\0\0\x0a{"size":5}', b"hello"),
    "in the body": (HeaderBodyFramer(), b'\0\0\0\x0a{"size":5}he', b"llo"),
    "in a record": (StructFramer("!H8s"), b"\0\1alice", b"\0\0\0"),
    "of another's format": (NetstringFramer(), b"5:hel", b"lo,"),
}
every_state = pytest.mark.parametrize("state", STATES)


def over_socket(sock: socket.socket, framer: Framer[Any]) -> Callable[[], Any]:
    return lambda: recv_msg(sock, framer=framer)


def over_message_socket(sock: socket.socket, framer: Framer[Any]) -> Callable[[], Any]:
    return MessageSocket(sock, framer).recv


every_receiver = pytest.mark.parametrize("receiver", [over_socket, over_message_socket])


@every_state
@every_receiver
def test_a_stall_in_any_state_is_a_timeout_and_loses_nothing(
    state: str, receiver: Callable[..., Callable[[], Any]], pair: Pair
) -> None:
    framer, before, after = STATES[state]
    client, server = pair
    server.settimeout(0.001)
    receive = receiver(server, framer)
    sending = Task(client.sendall, before)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            receive()
    server.settimeout(60)
    receiving = Task(receive)
    sending.result()
    client.sendall(after)
    assert receiving.result() == framer.decode(before + after)


@every_state
@every_receiver
def test_a_reset_in_any_state_is_the_sockets_error(
    state: str, receiver: Callable[..., Callable[[], Any]]
) -> None:
    framer, before, _ = STATES[state]
    client, server = tcp_pair()
    with server:
        client.sendall(before[:100])
        receiving = Task(receiver(server, framer))
        wait_until(lambda: not has_unread(server))  # a reset throws away what nobody has read
        reset(client)
        with pytest.raises(ConnectionResetError):
            receiving.result()


@every_state
@every_receiver
def test_a_drip_of_single_bytes_in_any_state_is_a_message_in_the_end(
    state: str, receiver: Callable[..., Callable[[], Any]], plain_pair: Pair
) -> None:
    framer, before, after = STATES[state]
    client, server = plain_pair
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    start, rest = (before + after)[:-20], (before + after)[-20:]
    receiving = Task(receiver(server, framer))
    client.sendall(start)
    for byte in rest:
        client.sendall(bytes([byte]))
    assert receiving.result() == framer.decode(before + after)


# The other direction


def test_a_reset_while_sending_is_the_sockets_error() -> None:
    client, server = small_buffers(tcp_pair())
    with client:
        sending = Task(send_msg, client, bytes(4 * MIB))
        server.recv(1)
        reset(server)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            sending.result()
        with pytest.raises(ConnectionError, match="in the middle"):
            send_msg(client, b"more")


def test_a_reset_while_a_rest_is_unsent_is_raised_by_the_next_send() -> None:
    client, server = small_buffers(tcp_pair())
    sender = MessageSocket(client)
    sender.send(bytes(4 * MIB), timeout=0.01)
    assert sender.unsent
    reset(server)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        sender.send(b"more")
    with pytest.raises((ConnectionResetError, BrokenPipeError)), sender:
        pass
    assert sender.fileno() == -1


@every_pair
def test_a_full_send_buffer_is_a_timeout_before_the_first_byte(
    make_pair: Callable[[], Pair],
) -> None:
    client, server = make_pair()
    with server:
        sender = MessageSocket(client)
        sender.send(bytes(8 * MIB), timeout=0.05)  # begun, so its rest is kept
        unsent = sender.unsent
        assert unsent
        with pytest.raises(TimeoutError):
            sender.send(b"another", timeout=0.05)
        assert sender.unsent <= unsent
        receiver = MessageSocket(server)
        receiving = Task(lambda: [receiver.recv() for _ in range(2)])
        sender.send(b"another")
        assert receiving.result() == [bytes(8 * MIB), b"another"]
        sender.close()


# Descriptors

_OUT_OF_DESCRIPTORS = """
import errno, os, resource, socket, sys, threading
from socketserver import ThreadingTCPServer
import framing
from framing.files import recv_file
from framing.server import MessageRequestHandler

inbox = sys.argv[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (60, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

class Echo(MessageRequestHandler):
    def handle(self):
        for message in self.messages:
            self.messages.send(message)

def use_up():
    while True:
        try:
            taken.append(os.dup(0))
        except OSError as error:
            assert error.errno == errno.EMFILE
            return

def refused(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        assert error.errno == errno.EMFILE, error
    else:
        raise AssertionError(f"{call} needed no descriptor")
    before = len(taken)
    use_up()
    assert len(taken) == before, "one was left open, and closed since"

taken = []
ThreadingTCPServer.daemon_threads = True
with ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    first = framing.connect(server.server_address, timeout=10)
    first.send(b"hello")
    assert first.recv() == b"hello"
    here, there = socket.socketpair()
    file = framing.HeaderMessage({"name": "f", "size": 5}, b"hello")
    framing.send_msg(here, file, framer=framing.HeaderBodyFramer())
    framing.send_msg(here, b"next")

    use_up()
    refused(framing.connect, server.server_address)
    refused(recv_file, there, inbox)
    first.send(b"still there?")  # what is open goes on
    assert first.recv() == b"still there?"
    os.close(taken.pop())  # enough for the client's side, and not for the server's
    late = framing.connect(server.server_address, timeout=10)
    late.send(b"patience")
    for each in taken:
        os.close(each)

    assert late.recv() == b"patience"  # the server has taken it up since
    assert os.listdir(inbox) == []
    assert framing.recv_msg(there) == b"next"  # what was left of the file is skipped
    server.shutdown()
    for each in (first, late, here, there):
        each.close()
print("good")
"""


def run_script(script: str, *arguments: str, timeout: float = 60) -> str:
    """Run *script* in a process of its own, whose limits are its own."""
    done = subprocess.run(
        [sys.executable, "-c", script.replace("framing", framing.__name__), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_descriptors_what_is_open_goes_on_and_nothing_is_left(tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="Windows has no such limit")
    assert run_script(_OUT_OF_DESCRIPTORS, str(tmp_path)) == "good\n"


# Peers that want memory


ANNOUNCEMENTS: list[tuple[Framer[Any], bytes]] = [
    (LengthPrefixFramer(max_size=2**32), b"\xff\xff\xff\xff"),
    (LengthPrefixFramer("!Q", max_size=2**62), struct.pack("!Q", 2**32)),
    (HeaderBodyFramer(max_size=2**32), b'\0\0\0\x13{"size":4294967295}'),
    (HeaderBodyFramer(max_header_size=2**32), b"\xff\xff\xff\xff"),
    (NetstringFramer(max_size=2**32), b"4294967295:"),
]


@pytest.mark.parametrize(("framer", "announcement"), ANNOUNCEMENTS, ids=repr)
@every_receiver
def test_an_announcement_of_4_gib_costs_nothing_until_bytes_come(
    framer: Framer[Any],
    announcement: bytes,
    receiver: Callable[..., Callable[[], Any]],
    plain_pair: Pair,
) -> None:
    client, server = plain_pair
    server.settimeout(0.01)
    client.sendall(announcement + b"and a few bytes")
    receive = receiver(server, framer)
    tracemalloc.start()
    try:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                receive()
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()
    client.close()
    with pytest.raises(IncompleteMessageError):
        receive()


@pytest.mark.parametrize(
    "framer", [LengthPrefixFramer(), HeaderBodyFramer(), LengthPrefixFramer("!Q")], ids=repr
)
@every_receiver
def test_by_default_an_announcement_of_4_gib_is_refused_at_once(
    framer: Framer[Any], receiver: Callable[..., Callable[[], Any]], plain_pair: Pair
) -> None:
    client, server = plain_pair
    client.sendall(b"\xff\xff\xff\xff" * 2)
    with pytest.raises(framing.MessageTooLargeError) as caught:
        receiver(server, framer)()
    assert caught.value.size is not None
    assert caught.value.size >= 2**32 - 1


_SILENT_PEERS = """
import os, resource, socket, sys, tracemalloc
import framing

wanted = int(sys.argv[1])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
most = wanted + 64 if hard == resource.RLIM_INFINITY else min(wanted + 64, hard)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
count = min(wanted, most - 64)

listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
finish, finished = os.pipe()
if os.fork() == 0:  # the peers
    os.close(finished)
    peers = []
    for _ in range(count):
        peer = socket.create_connection(listener.getsockname(), timeout=60)
        peer.sendall((16 * 1024 * 1024).to_bytes(4, "big"))
        peers.append(peer)
    os.read(finish, 1)  # until the other process closes it
    os._exit(0)

tracemalloc.start()
before = tracemalloc.get_traced_memory()[0]
connections = []
for _ in range(count):
    sock, _ = listener.accept()
    sock.settimeout(60)
    while len(sock.recv(4, socket.MSG_PEEK)) < 4:
        pass
    connection = framing.MessageSocket(sock)
    try:
        connection.recv(timeout=0)
    except TimeoutError:
        pass
    connections.append(connection)
after, peak = tracemalloc.get_traced_memory()
print(count, (peak - before) // count)
"""


def test_a_thousand_connections_that_announce_and_go_silent_are_cheap() -> None:
    """Each has announced 16 MiB."""
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 1064:
        pytest.skip(f"this machine lets a process have {hard} descriptors only")
    wished = "10000" if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else "1000"
    count, each = map(int, run_script(_SILENT_PEERS, wished, timeout=300).split())
    assert count >= 1000
    assert each < 6000  # bytes of Python objects, the socket's own among them


# Half-open connections


@pytest.mark.parametrize("make_pair", [tcp_pair, unix_pair])
def test_a_peer_that_ended_its_side_can_still_be_sent_to(make_pair: Callable[[], Pair]) -> None:
    client, server = map(MessageSocket, make_pair())
    with client, server:
        client.send(b"the last question")
        client.end()
        assert list(server) == [b"the last question"]
        for _ in range(2):
            with pytest.raises(EndOfStreamError):
                server.recv()
        server.send_many([b"an", b"answer", bytes(MIB // 8)])
        server.end()
        assert list(client) == [b"an", b"answer", bytes(MIB // 8)]


@pytest.mark.parametrize("make_pair", [tcp_pair, unix_pair])
def test_a_peer_that_ended_its_side_inside_a_message_can_still_be_answered(
    make_pair: Callable[[], Pair],
) -> None:
    client, server = make_pair()
    with client, MessageSocket(server) as receiver:
        client.sendall(b"\0\0\0\5hel")
        client.shutdown(socket.SHUT_WR)
        with pytest.raises(IncompleteMessageError) as caught:
            receiver.recv()
        assert (caught.value.received, caught.value.expected) == (7, 9)
        receiver.send(b"two bytes are missing")
        assert recv_msg(client) == b"two bytes are missing"


def test_a_peer_that_vanished_is_a_timeout(plain_pair: Pair) -> None:
    """Its cable is cut: nothing comes, and what is sent fills up the way to it."""
    client, server = plain_pair
    connection = MessageSocket(server)
    with pytest.raises(TimeoutError):
        connection.recv(timeout=0.01)
    server.setblocking(False)
    fill(server)
    server.settimeout(10)
    with pytest.raises(TimeoutError):
        connection.send(b"anybody?", timeout=0.01)
    assert connection.unsent == 0
    client.close()


# Another protocol

OTHERS = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(range(200)),
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
}


@pytest.mark.parametrize("protocol", OTHERS)
@pytest.mark.parametrize("framer", [LengthPrefixFramer(), HeaderBodyFramer()], ids=repr)
@every_receiver
def test_another_protocol_on_the_port_is_named(
    protocol: str,
    framer: Framer[Any],
    receiver: Callable[..., Callable[[], Any]],
    pair: Pair,
) -> None:
    client, server = pair
    client.sendall(OTHERS[protocol])
    with pytest.raises(DecodeError, match=rf"is the peer speaking {protocol}\?"):
        receiver(server, framer)()


@pytest.mark.parametrize("protocol", OTHERS)
@pytest.mark.parametrize(
    "framer", [DelimiterFramer(), LineFramer(), StructFramer("!H8s"), NetstringFramer()], ids=repr
)
def test_another_protocol_is_messages_or_an_error_and_then_the_end(
    protocol: str, framer: Framer[Any], plain_pair: Pair
) -> None:
    client, server = plain_pair
    client.sendall(OTHERS[protocol])
    client.close()
    receiver = MessageSocket(server, framer)
    with pytest.raises((EndOfStreamError, DecodeError, IncompleteMessageError)):
        for _ in range(len(OTHERS[protocol]) + 1):
            receiver.recv()


# All at once


def test_a_server_serves_good_clients_among_all_of_these() -> None:
    class Echo(MessageRequestHandler[bytes]):
        timeout = 10

        def handle(self) -> None:
            for message in self.messages:
                self.messages.send(message)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            errors.append(sys.exc_info()[0])

    errors: list[type[BaseException] | None] = []
    silent: list[socket.socket] = []
    with Server(("127.0.0.1", 0), Echo) as server:
        serving = Task(server.serve_forever, 0.01)
        address: tuple[str, int] = server.server_address  # type: ignore[assignment]
        good = connect(address, timeout=10)
        for beginning in (b"", b"\0\0", b"\0\0\0\5hel", b"\xff\xff\xff\xff", *OTHERS.values()):
            for leave in (socket.socket.close, reset, silent.append):
                client = socket.create_connection(address, timeout=10)
                client.sendall(beginning)
                leave(client)
                good.send(beginning)
                assert good.recv() == beginning
        good.close()
        for client in silent:
            client.close()
        # Those cut inside a message, and those that broke the format, without the resets.
        wait_until(lambda: len(errors) >= 2 * 2 + 4 * 2)
        server.shutdown()
        serving.result()
    assert set(errors) <= {
        IncompleteMessageError,
        framing.MessageTooLargeError,
        ConnectionResetError,
        BrokenPipeError,
    }

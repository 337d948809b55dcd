"""What networks, peers and machines do to a connection, and what a user gets of it."""

from __future__ import annotations

import errno
import os
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from framing import (
    EndOfStreamError,
    Framer,
    FramingError,
    HeaderBodyFramer,
    HeaderMessage,
    IncompleteMessageError,
    LengthPrefixFramer,
    MessageSocket,
    connect,
    recv_msg,
    send_msg,
)
from framing.files import recv_file

from .netstring import NetstringFramer
from .pairs import (
    MIB,
    Pair,
    Task,
    every_receiver,
    has_unread,
    reset,
    send_and_end,
    small_buffers,
    tcp_pair,
    unix_pair,
    wait_until,
    wrapped_pair,
)
from .strategies import Format, every_format, one_of_each_class, samples

Receiver = Callable[..., Callable[[], Any]]

# A message stops somewhere


@one_of_each_class
@every_receiver
def test_a_stall_is_a_timeout_and_a_drip_of_single_bytes_a_message_in_the_end(
    receiver: Receiver, format: Format[Any], pair: Pair
) -> None:
    client, server = pair
    receive = receiver(server, format.framer)
    for message in samples(format)[:2]:
        wire = format.framer.encode(message)
        middle, last = len(wire) // 2, len(wire) - 1
        for start, stop in ((0, middle), (middle, last)):
            server.settimeout(0.001)
            sending = Task(client.sendall, wire[start:stop])
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    receive()
            sending.result()
        server.settimeout(60)
        receiving = Task(receive)
        client.sendall(wire[last:])
        assert receiving.result() == format.received(message)


@one_of_each_class
@every_receiver
def test_a_reset_anywhere_in_a_message_is_the_sockets_error(
    receiver: Receiver, format: Format[Any]
) -> None:
    wire = format.framer.encode(samples(format)[0])
    for size in {0, 1, len(wire) // 2, len(wire) - 1} - {len(wire)}:
        client, server = tcp_pair()
        with server:
            client.sendall(wire[:size])
            receiving = Task(receiver(server, format.framer))
            wait_until(lambda: not has_unread(server))  # noqa: B023  # it would be thrown away
            reset(client)
            with pytest.raises(ConnectionResetError):
                receiving.result()


@every_format
@every_receiver
@pytest.mark.parametrize("make_pair", [unix_pair, wrapped_pair])
def test_a_cut_at_any_byte_is_an_error(
    make_pair: Callable[[], Pair], receiver: Receiver, format: Format[Any]
) -> None:
    def outcome() -> Any:
        try:
            return receive()
        except FramingError as error:
            return error

    for message in samples(format)[:3]:
        wire = format.framer.encode(message)
        for cut in range(1, len(wire), 1 + len(wire) // 8):
            client, server = make_pair()
            with client, server:
                receive = receiver(server, format.framer)
                send_and_end(client, wire + wire[:cut])
                assert receive() == format.received(message)
                first, second = outcome(), outcome()
            if isinstance(first, IncompleteMessageError):
                assert (first.received, second) == (cut, first)
            else:
                assert format.ends_with_the_stream
                assert isinstance(second, EndOfStreamError) or second == first


# The other direction


def test_a_reset_while_sending_is_the_sockets_error(plain_pair: Pair) -> None:
    client, server = small_buffers(plain_pair)
    sending = Task(send_msg, client, bytes(4 * MIB))
    server.recv(1)
    reset(server)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        sending.result()
    with pytest.raises(ConnectionError, match="in the middle"):
        send_msg(client, b"more")


# Descriptors


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Let this process open nothing, and check in the end that nothing has been left open."""
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def next_number() -> int:
        number = os.dup(0)
        os.close(number)
        return number

    free = next_number()
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert next_number() == free


def test_without_descriptors_what_is_open_goes_on_and_nothing_is_left(
    tmp_path: Path, plain_pair: Pair
) -> None:
    client, server = plain_pair
    file = HeaderMessage({"name": "f", "size": 5}, b"hello")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with no_more_descriptors():
            with pytest.raises(OSError, match="Too many open files") as caught:
                connect(listener.getsockname())
            assert caught.value.errno == errno.EMFILE
            send_msg(client, file, framer=HeaderBodyFramer())
            with pytest.raises(OSError, match="Too many open files"):
                recv_file(server, tmp_path)
            send_msg(client, b"next")
            assert recv_msg(server) == b"next"  # what was left of the file is skipped
            with pytest.raises(TimeoutError):
                MessageSocket(server).recv(timeout=0.01)
        assert os.listdir(tmp_path) == []


# Peers that want memory

ANNOUNCEMENTS: list[tuple[Framer[Any], bytes]] = [
    (LengthPrefixFramer(max_size=2**32), b"\xff\xff\xff\xff"),
    (HeaderBodyFramer(max_size=2**32), b'\0\0\0\x13{"size":4294967295}'),
    (HeaderBodyFramer(max_header_size=2**32), b"\xff\xff\xff\xff"),
    (NetstringFramer(max_size=2**32), b"4294967295:"),
]


@pytest.mark.parametrize(("framer", "announcement"), ANNOUNCEMENTS, ids=repr)
@every_receiver
def test_an_announcement_of_4_gib_costs_nothing_until_bytes_come(
    framer: Framer[Any], announcement: bytes, receiver: Receiver, plain_pair: Pair
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

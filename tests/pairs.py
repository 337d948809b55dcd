"""Connected pairs of sockets, of every kind, and calls that wait on them in another thread."""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import framing
from framing import EndOfStreamError, Framer, LengthPrefixFramer, MessageSocket, recv_msg

from .fakes import WrappedSocket, made_of

LIBRARY = os.path.dirname(framing.__file__)
Pair = tuple[socket.socket, socket.socket]

MIB = 1024 * 1024
# What ends a call, and not the connection
TRANSIENT = (TimeoutError, BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def tcp_pair() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname()[:2], timeout=60)
        server, _ = listener.accept()
    server.settimeout(60)
    return client, server


def unix_pair() -> Pair:
    client, server = socket.socketpair()
    client.settimeout(60)
    server.settimeout(60)
    return client, server


def wrapped_pair() -> Pair:
    """A pair that cannot peek, send parts at once or be read in one step: like TLS."""
    client, server = (made_of(sock, WrappedSocket) for sock in unix_pair())
    client.settimeout(60)
    server.settimeout(60)
    return client, server


@cache
def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    trustme = pytest.importorskip("trustme")  # which needs a library that some Pythons lack
    authority = trustme.CA()
    client = ssl.create_default_context()
    authority.configure_trust(client)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    return client, server


def tls_pair() -> Pair:
    client_context, server_context = tls_contexts()
    client, server = tcp_pair()
    with ThreadPoolExecutor() as executor:
        accepting = executor.submit(server_context.wrap_socket, server, server_side=True)
        secure = client_context.wrap_socket(client, server_hostname="localhost")
        return secure, accepting.result()


ALL_PAIRS = [tcp_pair, unix_pair, wrapped_pair, tls_pair]
every_pair = pytest.mark.parametrize("make_pair", ALL_PAIRS)


# Both ways to receive messages: with the function, and with the object.


def by_recv_msg(sock: socket.socket, framer: Framer[Any]) -> Callable[[], Any]:
    if framer == LengthPrefixFramer():  # the default, for which there is a shorter path
        return lambda: recv_msg(sock)
    return lambda: recv_msg(sock, framer=framer)


def by_recv(sock: socket.socket, framer: Framer[Any]) -> Callable[[], Any]:
    return MessageSocket(sock, framer).recv


every_receiver = pytest.mark.parametrize("receiver", [by_recv_msg, by_recv])


def fill(sock: socket.socket) -> int:
    """Fill the way to the peer, and return how many bytes it took."""
    total = 0
    try:
        while True:
            total += sock.send(bytes(100_000))
    except BlockingIOError:
        return total


def receive_exactly(sock: socket.socket, size: int) -> None:
    while size:
        size -= len(sock.recv(min(size, 100_000)))


def send_and_end(sock: socket.socket, data: bytes) -> None:
    """Send *data* and the end of the stream.  (close() may reset TLS.)"""
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def small_buffers(pair: Pair) -> Pair:
    for sock in pair:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return pair


def smallest_buffer() -> Pair:
    """Return a pair on which messages of a few thousand bytes go out in pieces."""
    client, server = unix_pair()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # it gets the least there is
    return client, server


def everything(receive: Callable[[], Any], *, but: tuple[type[Exception], ...]) -> list[Any]:
    """Return all that *receive* gives until the end, trying again after the errors in *but*."""
    received = []
    while True:
        try:
            received.append(receive())
        except but:
            pass
        except EndOfStreamError:
            return received


def retried(call: Callable[[], Any]) -> Any:
    """Return what *call* does once nothing interrupts it any more."""
    while True:
        with suppress(*TRANSIENT):
            return call()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another thread or in the network."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def reset(sock: socket.socket) -> None:
    """Close a TCP connection as the system of a crashed peer does: what was under way is lost."""
    linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    sock.close()


def has_unread(sock: socket.socket) -> bool:
    """Return whether the system holds bytes for *sock*, or knows of its end."""
    return bool(select.select([sock], [], [], 0)[0])


def wait_until_bytes_come(sock: socket.socket) -> None:
    wait_until(lambda: has_unread(sock))


def raising(error: BaseException | type[BaseException]) -> Callable[..., object]:
    """Return a handler of signals that raises *error*."""

    def handler(*_: object) -> None:
        raise error

    return handler


class Task(threading.Thread):
    """A call in a thread of its own, and its result."""

    def __init__(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        super().__init__(daemon=True)  # so that one that hangs does not keep the tests from ending
        self._call = partial(call, *arguments, **options)
        self._outcome: Future[Any] = Future()
        self.start()

    def run(self) -> None:
        try:
            self._outcome.set_result(self._call())
        except BaseException as error:  # it is raised by result()
            self._outcome.set_exception(error)

    def result(self) -> Any:
        """Wait for the call to end; return or raise what it did."""
        return self.result_within(60)

    def result_within(self, seconds: float) -> Any:
        return self._outcome.result(seconds)

    def error(self) -> BaseException | None:
        return self._outcome.exception(60)

    @property
    def is_done(self) -> bool:
        return self._outcome.done()

    def wait_until_it_waits(self) -> None:
        has_stopped = stops(self.ident)
        wait_until(lambda: self.is_done or has_stopped())


def is_in_library(frame: FrameType | None) -> bool:
    while frame and not frame.f_code.co_filename.startswith(LIBRARY):
        frame = frame.f_back
    return frame is not None


def stops(thread: int | None, looks: int = 20) -> Callable[[], bool]:
    """Return what to ask until *thread* stands still in the library: most likely, it waits."""
    places: list[object] = []
    number = next((each.native_id for each in threading.enumerate() if each.ident == thread), 0)
    state = Path(f"/proc/self/task/{number}/stat")

    def has_stopped() -> bool:
        frame = sys._current_frames().get(thread or 0)
        # On a busy machine, it may stand still and be ready to run; on Linux, that can be seen.
        sleeps = not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "S"
        is_here = frame and sleeps and is_in_library(frame)
        places.append((frame.f_code, frame.f_lasti) if frame and is_here else object())
        return len(places) > looks and len(set(places[-looks:])) == 1

    return has_stopped


class Interrupted(BaseException):
    """What a handler raises here, as ``KeyboardInterrupt`` comes from the handler of SIGINT."""


UNINTERRUPTED = {"run", "write_new_file", "_receive_directly"}


def interrupted(call: Callable[[], Any], at: int, *, after_c: bool = False) -> bool:
    """Call with an interrupt before the *at*-th line of the library; return whether it came.

    But for the lines of UNINTERRUPTED, of which some are never interrupted by a real handler.
    With 0, it does not come.  With *after_c*, it comes behind a function of C that the library has
    called, as real ones may.

    It is called in a thread, where nothing stays behind.  (In one that goes on, a free-threaded
    Python can take the interrupt for an error that is being handled, for good.)
    """
    places = 0
    begin: Any = sys.setprofile if after_c else sys.settrace

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal places
        code = frame.f_code
        if not code.co_filename.startswith(LIBRARY) or code.co_name in UNINTERRUPTED:
            return None
        # A class is called by C too, and its __init__ returns to that.
        is_c = event == "c_return" or (event == "return" and code.co_name == "__init__")
        if is_c if after_c else event == "line":
            places += 1
            if places == at:
                begin(None)
                raise Interrupted
        return trace

    def run() -> None:
        before: Any = sys.getprofile() if after_c else sys.gettrace()
        if at:
            begin(trace)
        try:
            call()
        except Interrupted:
            pass
        finally:
            begin(before)

    Task(run).result()
    return places >= at  # Python ignores it in a generator that is thrown away

"""What each command of the command line does, given its options."""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import socket
import stat
import struct
import sys
from contextlib import contextmanager, suppress
from threading import Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from .errors import EndOfStreamError, FramingError
from .files import recv_file, send_file
from .inspection import HEADING, Broken, inspect, show_broken, show_found
from .message_socket import MessageSocket
from .notation import parse_message, show_message
from .stream import recv_msg, send_msg
from .terminal import CommandError, note, progress, reason, show, show_address

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from .framer import Framer

__all__: list[str] = []

_CONNECT_TIMEOUT = 10.0
# How long to wait, after the last message, for the peer to have read them all; and after the
# last file, for it to have written them.
_CLOSE_TIMEOUT = 1.0
_CLOSE_FILES_TIMEOUT = 60.0
# How often to look for Ctrl-C, which does not interrupt accept() on Windows.
_ACCEPT_TIMEOUT = 0.5
# Descriptors, or memory: those who are served go on, and make room in time.
_OUT_OF_SOMETHING = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_READ_SIZE = 64 * 1024
# How wide lines may be that are not for a terminal.
_WIDTH = 120


# listen


def listen(options: argparse.Namespace) -> None:
    """Print each message that arrives, from any number of clients at once."""
    with _listener(options.address) as listener:
        while True:
            conn, peer = _accept(listener)
            Thread(target=_serve, args=(conn, peer, options), daemon=True).start()


@contextmanager
def _listener(address: tuple[str, int]) -> Iterator[socket.socket]:
    """Listen, and tell where: the system chooses a port for 0."""
    try:
        family, address = _address_to_bind(*address)
        listener = socket.create_server(address, family=family)
    except (OSError, UnicodeError) as error:
        raise CommandError(f"cannot listen on {show_address(address)}: {reason(error)}") from None
    with listener:
        listener.settimeout(_ACCEPT_TIMEOUT)
        note(f"listening on {show_address(listener.getsockname())}, until Ctrl-C")
        yield listener


def _address_to_bind(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """Return the first address that *host* has; for none, any of IPv4."""
    if not host:
        return socket.AF_INET, (host, port)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, _, _, _, address = found[0]
    return family, address


def _accept(listener: socket.socket) -> tuple[socket.socket, str]:
    """Return the connection to the next client, and its address as text."""
    while (accepted := _accept_in_time(listener)) is None:
        pass
    conn, peer = accepted
    conn.settimeout(None)
    return conn, show_address(peer)


def _accept_in_time(listener: socket.socket) -> tuple[socket.socket, tuple[Any, ...]] | None:
    try:
        return listener.accept()
    except (TimeoutError, ConnectionError):  # nobody, or somebody who has left already
        return None
    except OSError as error:
        if error.errno not in _OUT_OF_SOMETHING:
            raise CommandError(f"cannot accept a connection: {reason(error)}") from None
        note(f"cannot accept a connection now: {reason(error)}")
        sleep(_ACCEPT_TIMEOUT)  # until some have left
        return None


def _serve(conn: socket.socket, peer: str, options: argparse.Namespace) -> None:
    """Print the messages of one client until it leaves; tell how it left."""
    with conn:
        note(f"{peer} connected")
        try:
            while True:
                message = recv_msg(conn, framer=options.framer)
                show(show_message(message))
                if options.echo:
                    send_msg(conn, message, framer=options.framer)
        except EndOfStreamError:
            note(f"{peer} closed the connection")
        except (FramingError, OSError) as error:
            note(f"{peer}: {reason(error)}")
            _reset_on_close(conn)


# send


def send(options: argparse.Namespace) -> None:
    """Send messages from the command line or standard input, and print the answers."""
    with _connection(options.address) as sock:
        # Answers that nobody reads would fill the way back, until the peer could not go on.
        lost: list[OSError] = []
        ignoring = Thread(target=_ignore_answers, args=(sock, lost), daemon=True)
        if not options.reply:
            ignoring.start()
        for text in options.messages or _lines_of_stdin():
            _send_text(sock, text, options.framer)
            if options.reply:
                show(show_message(recv_msg(sock, framer=options.framer)))
        _end(sock)
        if not options.reply:
            ignoring.join(_CLOSE_TIMEOUT)
            if lost:
                raise lost[0]
        else:
            with suppress(TimeoutError):
                _wait_for_close(sock, _CLOSE_TIMEOUT)


def _ignore_answers(sock: socket.socket, lost: list[OSError]) -> None:
    try:
        while sock.recv(_READ_SIZE):
            pass
    except OSError as error:
        lost.append(error)


@contextmanager
def _connection(address: tuple[str, int]) -> Iterator[socket.socket]:
    """Connect, and say of every error on the connection whose it is."""
    host, port = address
    name = show_address(address)
    try:
        with socket.create_connection((host or "localhost", port), _CONNECT_TIMEOUT) as sock:
            sock.settimeout(None)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield sock
    except EndOfStreamError:
        raise CommandError(f"{name} closed the connection without an answer") from None
    except (FramingError, OSError, UnicodeError) as error:
        raise CommandError(f"{name}: {reason(error)}") from None


def _lines_of_stdin() -> Iterator[str]:
    """Yield the lines of standard input, with bytes that are no UTF-8 kept as they are."""
    if sys.stdin is not None:  # as it is where it was closed
        for line in sys.stdin.buffer:
            text = line.decode(errors="surrogateescape")
            yield text.removesuffix("\n").removesuffix("\r")


def _send_text(sock: socket.socket, text: str, framer: Framer[Any]) -> None:
    try:
        message = parse_message(framer, text)
        send_msg(sock, message, framer=framer)
    except (ValueError, TypeError) as error:
        shown = repr(text) if len(text) <= 60 else f"{text[:60]!r}..."
        raise CommandError(f"cannot send {shown}: {error}") from None


def _end(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        raise CommandError(
            "the peer closed the connection, and may not have read all messages"
        ) from None


def _wait_for_close(sock: socket.socket, seconds: float) -> None:
    """Wait until the peer has read to the end, and closed the connection too.

    Closing at once could lose messages: where answers came that nobody reads, close() resets
    the connection, and the peer may not have read to the end by then.

    Raises:
        TimeoutError: It has not by then.
        OSError: It has reset the connection.
    """
    end = monotonic() + seconds
    while True:
        sock.settimeout(max(0.001, end - monotonic()))
        if not sock.recv(_READ_SIZE):
            return
        if monotonic() > end:
            raise TimeoutError


# inspect


def inspect_file(options: argparse.Namespace) -> None:
    """Print where each message is in captured bytes, and where they are broken."""
    path = None if options.file == "-" else options.file
    name = "standard input" if path is None else path or "''"
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else _WIDTH
    try:
        with _capture(path) as file:
            show(HEADING)
            for found in inspect(iter(lambda: file.read1(_READ_SIZE), b""), options.framer):
                if isinstance(found, Broken):
                    for line in show_broken(found):
                        show(line)
                    raise CommandError(f"{name}: at byte {found.offset}: {found.reason}")
                show(show_found(found, width))
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror or error}") from None


@contextmanager
def _capture(file: str | None) -> Iterator[Any]:
    if file is not None:
        with open(file, "rb") as opened:
            yield opened
    else:
        yield sys.stdin.buffer if sys.stdin is not None else io.BytesIO()


# send-file and recv-file


def send_files(options: argparse.Namespace) -> None:
    """Send files, one after another, and wait until the receiver has them all."""
    for path in options.paths:
        _check_source(path)
    with _connection(options.address) as sock:
        messages = MessageSocket(sock, options.framer)
        for path in options.paths:
            with progress(path.name) as report:
                send_file(messages, path, checksum=options.checksum, progress=report)
        _end(sock)
        try:
            _wait_for_close(sock, _CLOSE_FILES_TIMEOUT)
        except TimeoutError:
            raise CommandError("the receiver has not said that it has everything") from None
        except ConnectionError:
            raise CommandError("the receiver has refused a file, or stopped") from None


def _check_source(path: Path) -> None:
    """Say what is wrong with a file before anything is sent."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before opening, which for a pipe would wait
            raise CommandError(f"{path}: not a regular file")
        with open(path, "rb"):
            pass
    except OSError as error:
        raise CommandError(reason(error)) from None


def recv_files(options: argparse.Namespace) -> None:
    """Receive the files that one client sends, and print where they are."""
    for number in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
        signal.signal(number, _leave)
    if not options.directory.is_dir():
        kind = "not a" if options.directory.exists() else "no such"
        raise CommandError(f"{options.directory}: {kind} directory")
    with _listener(options.address) as listener:
        while True:
            conn, peer = _accept(listener)
            with conn:
                if _recv_files_of(conn, peer, options):
                    return


def _leave(number: int, _: object) -> None:
    """Exit as after Ctrl-C, so that no half-written file stays."""
    sys.exit(128 + number)


def _recv_files_of(conn: socket.socket, peer: str, options: argparse.Namespace) -> int:
    """Receive files until the client has no more, and return how many."""
    messages = MessageSocket(conn, options.framer)
    limits = {"max_size": options.max_size, "overwrite": options.overwrite}
    count = 0
    try:
        while True:
            with progress(peer) as report:
                path = recv_file(messages, options.directory, progress=report, **limits)
            count += 1
            show(str(path))
    except EndOfStreamError:
        return count
    except BaseException as error:
        _reset_on_close(conn)
        if isinstance(error, (FramingError, OSError)):
            raise CommandError(f"{peer}: {reason(error)}") from None
        raise


def _reset_on_close(conn: socket.socket) -> None:
    """Let the sender know that not everything arrived: a clean end would say that it has."""
    linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
    with suppress(OSError):
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

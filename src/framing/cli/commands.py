r"""What each command does, given its options.

The docstring of a command is its ``--help``.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import stat
import struct
import sys
from contextlib import closing, contextmanager, nullcontext, suppress
from itertools import count
from select import select
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..errors import EndOfStreamError, FramingError, shortened
from ..files import recv_file, send_file
from ..formats.header_body import HeaderMessage
from ..server import serve
from ..sockets.message_socket import MessageSocket, connect
from .inspection import HEADING, Broken, inspect, show_item
from .notation import as_typed, parse_message, show_message, unescape
from .terminal import (
    CommandError,
    Progress,
    is_terminal,
    note,
    printable,
    reason,
    show,
    show_address,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ..framer import Framer
    from ..server import Server

# How long to wait, after the last message or file, until the peer has read everything.
_CLOSE_TIMEOUT = 1.0
_CLOSE_FILES_TIMEOUT = 60.0
# How long a client may take to begin its first file while another one waits, and to read why
# its file was refused.
_BEGIN_TIMEOUT = 30.0
_REFUSE_TIMEOUT = 5.0
_READ_SIZE = 64 * 1024
# How wide lines are that do not go to a terminal.
_WIDTH = 120


# listen


def listen(options: argparse.Namespace) -> None:
    """Print each message from any client.

    Examples:
      framing listen 127.0.0.1:9000 --echo
      framing listen 127.0.0.1:0            (any free port, which is printed)
      framing listen :9000 --framer lines   (on every network interface)
      framing listen ./chat.sock            (a Unix socket)
    """
    numbers = count(1)

    def handle(conn: MessageSocket[Any]) -> None:
        client = _name_of_client(conn, next(numbers))
        note(f"{client} connected")
        while _print_messages(conn, client, options.echo):
            pass

    with _server(handle, options) as server:
        server.serve_forever()


def _name_of_client(conn: MessageSocket[Any], number: int) -> str:
    """Return the client's address, or a number: on a Unix socket, clients have no address."""
    with suppress(OSError):
        if address := conn.sock.getpeername():
            return show_address(address)
    return f"client {number}"


def _print_messages(conn: MessageSocket[Any], client: str, echo: bool) -> bool:
    """Print messages until one is bad or the client leaves; return whether to continue."""
    try:
        for message in conn:
            show(f"{client}: {show_message(message)}")
            if echo:
                conn.send(message)
        note(f"{client} closed the connection")
    except (FramingError, OSError) as error:
        note(f"{client}: {reason(error)}")
        if getattr(error, "recoverable", False):
            return True
        _reset_on_close(conn.sock)
    return False


@contextmanager
def _server(
    handle: Callable[[MessageSocket[Any]], None], options: argparse.Namespace
) -> Iterator[Server]:
    """Listen where the options say, and print where that is: port 0 is any free port."""
    try:
        server = serve(handle, options.address, options.framer)
    except (OSError, UnicodeError) as error:
        where = show_address(options.address)
        raise CommandError(f"cannot listen on {where}: {reason(error)}") from None
    with server:
        note(f"listening on {show_address(server.address)}, until Ctrl-C")
        yield server


# send


def send(options: argparse.Namespace) -> None:
    r"""Send messages.

    Examples:
      framing send 127.0.0.1:9000 hello "how are you?" --reply
      framing send 127.0.0.1:9000 < messages.txt
      framing send 127.0.0.1:9000 --escape '\x02\x45\n'
      framing send 127.0.0.1:9000 --framer header '{"id": 7} the body'
      framing send 127.0.0.1:9000 --framer 'struct:!H8sb' 7,alice,-1
      framing send 127.0.0.1:9000 --framer myformats:Chat hello
      framing send 127.0.0.1:9000 -- --a-message-with-dashes
    """
    with _connection(options) as conn:
        # Replies that nobody reads would fill the buffers until the peer could not go on.
        lost: list[OSError] = []
        ignoring = Thread(target=_ignore_replies, args=(conn.sock, lost), daemon=True)
        if not options.reply:
            ignoring.start()
        for text in options.message or _lines_of_stdin():
            _send_text(conn, text, options)
            if options.reply:
                show(show_message(_reply(conn, options.timeout)))
        try:
            conn.end()
        except OSError:
            raise CommandError("the peer left, and may not have read all messages") from None
        if not options.reply:
            ignoring.join(_CLOSE_TIMEOUT)
            if lost:
                raise lost[0]
        else:
            with suppress(TimeoutError):
                _wait_for_close(conn.sock, _CLOSE_TIMEOUT)


def _ignore_replies(sock: socket.socket, lost: list[OSError]) -> None:
    try:
        while sock.recv(_READ_SIZE):
            pass
    except OSError as error:
        lost.append(error)


def _reply(conn: MessageSocket[Any], seconds: float) -> Any:
    try:
        return conn.recv(timeout=seconds)
    except TimeoutError:
        raise CommandError(f"no reply arrived within {seconds:g} seconds (--timeout)") from None


@contextmanager
def _connection(options: argparse.Namespace) -> Iterator[MessageSocket[Any]]:
    """Connect, and name the address in every error of the connection."""
    address = options.address
    name = show_address(address)
    if isinstance(address, tuple):
        address = address[0] or "localhost", address[1]
    try:
        with connect(address, options.framer, timeout=options.timeout) as conn:
            conn.sock.settimeout(None)
            yield conn
    except EndOfStreamError:
        raise CommandError(f"{name} closed the connection without a reply") from None
    except (FramingError, OSError, UnicodeError) as error:
        why = reason(error)
        raise CommandError(why if name in why else f"{name}: {why}") from None


def _lines_of_stdin() -> Iterator[str]:
    """Yield the lines of standard input; bytes that are not UTF-8 survive."""
    with _stdin() as file:
        for line in file:
            text = line.decode(errors="surrogateescape")
            yield text.removesuffix("\n").removesuffix("\r")


def _send_text(conn: MessageSocket[Any], text: str, options: argparse.Namespace) -> None:
    try:
        to_bytes = unescape if options.escape else bytes.fromhex if options.hex else as_typed
        conn.send(parse_message(options.framer, to_bytes(text)))
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise CommandError(f"cannot send {shortened(ascii(text))}: {reason(error)}") from None


def _wait_for_close(
    sock: socket.socket, seconds: float, hear: Callable[[bytes], object] = len
) -> None:
    """Wait until the peer has read everything and closed the connection too.

    Closing at once could lose messages: if replies have arrived and were not read, close() resets
    the connection, and the peer may not have read everything by then.

    Raises:
        TimeoutError: It has not closed the connection in time.
        OSError: It has reset the connection.
    """
    end = monotonic() + seconds
    while True:
        sock.settimeout(max(0.001, end - monotonic()))
        if not (data := sock.recv(_READ_SIZE)):
            return
        hear(data)
        if monotonic() > end:
            raise TimeoutError


# inspect


def inspect_file(options: argparse.Namespace) -> None:
    """List the messages in captured bytes, and what is wrong with them.

    Examples:
      framing inspect capture.bin
      nc -l 9000 | framing inspect --framer lines
      framing inspect --framer 'length:<H' < capture.bin | head

    A capture holds the bytes that one side sent.  Offsets and sizes are in bytes on the wire.
    The exit status is 1 if a message is bad.
    """
    is_stdin = options.file in (None, "-")
    name = "standard input" if is_stdin else options.file or "''"
    width = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else _WIDTH
    broken: list[Broken] = []
    try:
        with _stdin() if is_stdin else open(options.file, "rb") as file:
            show(HEADING)
            for item in inspect(iter(lambda: file.read1(_READ_SIZE), b""), options.framer):
                for line in show_item(item, width):
                    show(line)
                if isinstance(item, Broken):
                    broken.append(item)
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror or error}") from None
    for item in broken[-1:]:
        why = f"bad messages: {len(broken)}" if item.recoverable else printable(item.reason)
        raise CommandError(f"{name}: at byte {item.offset}: {why}")


def _stdin() -> AbstractContextManager[Any]:
    """Return standard input, which is not closed by ``with``."""
    return nullcontext(io.BytesIO() if sys.stdin is None else sys.stdin.buffer)


# send-file


def send_files(options: argparse.Namespace) -> None:
    """Send files, and wait until the receiver has them.

    Examples:
      framing send-file photo.jpg 127.0.0.1:9000
      framing send-file *.jpg 192.168.1.7:9000 --checksum
    """
    for path in options.path:
        _check_source(path)
    with _connection(options) as conn:
        hear = _hear_refusals(conn.framer)
        shown = Progress()

        def report(done: int, total: int) -> None:
            shown.report(done, total)
            if select([conn.sock], [], [], 0)[0]:
                hear(conn.sock.recv(_READ_SIZE))

        try:
            with closing(shown):
                for path in options.path:
                    shown.begin(path.name)
                    send_file(conn, path, checksum=options.checksum, progress=report)
            conn.end()
            _wait_for_close(conn.sock, _CLOSE_FILES_TIMEOUT, hear)
        except TimeoutError:
            raise CommandError("the receiver has not said that it has everything") from None
        except ConnectionError:
            with suppress(OSError):
                _wait_for_close(conn.sock, _CLOSE_TIMEOUT, hear)
            raise CommandError("the receiver refused a file, or stopped") from None


def _check_source(path: Path) -> None:
    """Find out what is wrong with a file before anything is sent."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before opening, since a pipe would wait
            raise CommandError(f"{path}: not a regular file")
        with open(path, "rb"):
            pass
    except OSError as error:
        raise CommandError(reason(error)) from None


def _hear_refusals(framer: Framer[HeaderMessage]) -> Callable[[bytes], None]:
    """Return a function for the bytes that the receiver of files sends.

    It raises an error for a message whose header has the key "error": why a file is refused.
    """
    decoder = framer.decoder()

    def hear(data: bytes) -> None:
        with suppress(FramingError):  # whatever else the receiver sends does not matter
            for message in decoder.feed(data):
                if "error" in message.header:
                    why = printable(shortened(str(message.header["error"]), 300))
                    raise CommandError(f"the receiver refused a file: {why}")

    return hear


# recv-file


def recv_files(options: argparse.Namespace) -> None:
    """Receive the files of one sender, and print where they are.

    Examples:
      framing recv-file 127.0.0.1:9000 downloads
      framing recv-file :9000 downloads --max-size 1G

    It waits until a client sends a file.  Files that are there already are kept.
    """
    for number in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
        signal.signal(number, _exit)
    if not options.dir.is_dir():
        kind = "not a" if options.dir.exists() else "no such"
        raise CommandError(f"{options.dir}: {kind} directory")
    # Only the server's socket is used.  Files are received in this thread, so that Ctrl-C ends it
    # as it ends any other function, and no half-written file stays.
    with _server(print, options) as server:
        while not _receive_all(_accept(server.socket), server.socket, options):
            pass


def _exit(number: int, _: object) -> None:
    """Exit as after Ctrl-C, so that no half-written file stays."""
    sys.exit(128 + number)


def _accept(listener: socket.socket) -> socket.socket:
    while True:
        with suppress(TimeoutError, ConnectionError):  # no client came, or it has disconnected
            sock, _ = listener.accept()
            return sock


def _receive_all(
    sock: socket.socket, listener: socket.socket, options: argparse.Namespace
) -> list[Path]:
    """Receive files until the client has no more, and return where they are."""
    sock.settimeout(_BEGIN_TIMEOUT)
    # However this program ends, the sender learns that not everything has arrived.
    _reset_on_close(sock)
    paths: list[Path] = []
    with MessageSocket(sock, options.framer) as conn, closing(Progress()) as shown:
        client = _name_of_client(conn, 1)
        try:
            while True:
                paths.append(_receive(conn, listener, shown, options))
                shown.close()  # before another line follows its own
                show(str(paths[-1]))
        except EndOfStreamError:
            _reset_on_close(sock, False)
        except (FramingError, OSError) as error:
            _refuse(conn, error)
            if shown.name:  # of a file that had begun
                raise CommandError(f"{client}: {reason(error)}") from None
            note(f"{client}: {reason(error)}")
    return paths


def _receive(
    conn: MessageSocket[HeaderMessage],
    listener: socket.socket,
    shown: Progress,
    options: argparse.Namespace,
) -> Path:
    """Receive one file.

    A client may take its time to begin, as for a checksum, while no other client is waiting.
    """

    def begin(name: str) -> str:
        conn.sock.settimeout(None)
        shown.begin(name)
        return name

    limits = {"max_size": options.max_size, "overwrite": options.overwrite}
    while True:
        with suppress(TimeoutError):
            return recv_file(conn, options.dir, name=begin, progress=shown.report, **limits)
        if shown.name or select([listener], [], [], 0)[0]:
            raise TimeoutError("the sender was silent for too long")


def _refuse(conn: MessageSocket[HeaderMessage], error: Exception) -> None:
    """Send the reason to the peer, and wait a moment so that it can read it."""
    file = getattr(error, "filename", None)
    why = getattr(error, "strerror", None) or shortened(str(error), 200)
    why = f"{os.path.basename(file)}: {why}" if file else why  # our folders are not its business
    with suppress(FramingError, OSError):
        conn.send(HeaderMessage({"error": why}, b""), timeout=_REFUSE_TIMEOUT)
        conn.sock.shutdown(socket.SHUT_WR)
        _wait_for_close(conn.sock, _REFUSE_TIMEOUT)


def _reset_on_close(sock: socket.socket, reset: bool = True) -> None:
    """Reset the connection when it is closed: a clean end would say that all went well."""
    linger = struct.pack("hh" if os.name == "nt" else "ii", reset, 0)
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

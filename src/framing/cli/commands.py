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
from ..sockets.channel import RESET
from ..sockets.message_socket import MessageSocket, connect
from .inspection import HEADING, Broken, inspect, show_item
from .notation import as_typed, parse_message, show_message, unescape
from .terminal import CommandError, Progress, is_terminal, note, reason, show, show_address

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

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

_numbers = count(1)


# listen


def listen(options: argparse.Namespace) -> None:
    """Print each message from any client.

    Examples:
      framing listen 127.0.0.1:9000 --echo
      framing listen 127.0.0.1:0            (any free port, which is printed)
      framing listen :9000 --framer lines   (on every network interface)
      framing listen ./chat.sock            (a Unix socket)
    """

    def handle(conn: MessageSocket[Any]) -> None:
        client = _name_of(conn.sock)
        note(f"{client} connected")
        while True:
            try:
                for message in conn:
                    show(f"{client}: {show_message(message)}")
                    if options.echo:
                        conn.send(message)
            except (FramingError, OSError) as error:  # noqa: PERF203  # rare
                note(f"{client}: {reason(error)}")
                if not getattr(error, "recoverable", False):
                    _reset_on_close(conn.sock)
                    return
            else:
                note(f"{client} closed the connection")
                return

    with _server(handle, options) as server:
        server.serve_forever()


def _name_of(sock: socket.socket) -> str:
    """Return a client's address, or a number: on a Unix socket, clients have no address."""
    address = ""
    with suppress(OSError):  # the client may have left
        address = sock.getpeername()
    return show_address(address or f"client {next(_numbers)}")


def _server(handle: Callable[[MessageSocket[Any]], object], options: argparse.Namespace) -> Server:
    """Listen where the options say, and print where that is: port 0 is any free port."""
    try:
        server = serve(handle, options.address, options.framer)
    except (OSError, UnicodeError) as error:
        where = show_address(options.address)
        raise CommandError(f"cannot listen on {where}: {reason(error)}") from None
    note(f"listening on {show_address(server.address)}, until Ctrl-C")
    return server


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
        replies = None if options.reply else _Replies(conn.sock)
        for text in options.message or _lines_of_stdin():
            _send_text(conn, text, options)
            if options.reply:
                show(show_message(_reply(conn, options.timeout)))
        with suppress(OSError):  # of a connection that is lost: replies have the reason
            conn.end()
        (replies or _Replies(conn.sock)).end_within(_CLOSE_TIMEOUT)


class _Replies(Thread):
    """Takes what the peer sends while this program sends: left alone, it would fill the buffers.

    It also finds out whether the peer has read everything.  Closing at once could lose messages:
    if replies have arrived and were not read, ``close()`` resets the connection.
    """

    def __init__(self, sock: socket.socket, hear: Callable[[bytes], object] = len) -> None:
        super().__init__(daemon=True)
        self._sock, self._hear = sock, hear
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            while data := self._sock.recv(_READ_SIZE):
                self._hear(data)
        except (OSError, CommandError) as error:
            self._error = error

    def end_within(self, seconds: float) -> bool:
        """Return whether the peer has closed the connection; raise what went wrong before."""
        self.join(seconds)
        if self._error is not None:
            raise self._error
        return not self.is_alive()


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
    for line in _stdin():
        yield line.decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")


def _send_text(conn: MessageSocket[Any], text: str, options: argparse.Namespace) -> None:
    try:
        to_bytes = unescape if options.escape else bytes.fromhex if options.hex else as_typed
        conn.send(parse_message(options.framer, to_bytes(text)))
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise CommandError(f"cannot send {shortened(ascii(text))}: {reason(error)}") from None


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
    width = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else _WIDTH
    broken: list[Broken] = []
    with nullcontext(_stdin()) if options.file == "-" else open(options.file, "rb") as file:
        show(HEADING)
        for item in inspect(iter(lambda: file.read1(_READ_SIZE), b""), options.framer):
            for line in show_item(item, width):
                show(line)
            if isinstance(item, Broken):
                broken.append(item)
    if broken:
        name = "standard input" if options.file == "-" else options.file
        last = broken[-1]
        why = f"bad messages: {len(broken)}" if last.recoverable else last.reason
        raise CommandError(f"{name}: at byte {last.offset}: {why}")


def _stdin() -> Any:
    return io.BytesIO() if sys.stdin is None else sys.stdin.buffer


# send-file


def send_files(options: argparse.Namespace) -> None:
    """Send files, and wait until the receiver has them.

    Examples:
      framing send-file photo.jpg 127.0.0.1:9000
      framing send-file *.jpg 192.168.1.7:9000 --checksum
    """
    for path in options.path:
        if not stat.S_ISREG(path.stat().st_mode):  # before it is opened, since a pipe would wait
            raise CommandError(f"{path}: not a regular file")
        path.open("rb").close()  # what is wrong with it is known before anything is sent
    with _connection(options) as conn:
        replies, shown = _Replies(conn.sock, _hear_refusals(conn.framer)), Progress()

        def report(done: int, total: int) -> None:
            shown.report(done, total)
            replies.end_within(0)

        try:
            with closing(shown):
                for path in options.path:
                    shown.begin(path.name)
                    send_file(conn, path, checksum=options.checksum, progress=report)
            with suppress(OSError):
                conn.end()
            if not replies.end_within(_CLOSE_FILES_TIMEOUT):
                raise CommandError("the receiver has not said that it has everything")
        except ConnectionError:
            with suppress(OSError):
                replies.end_within(_CLOSE_TIMEOUT)
            raise CommandError("the receiver refused a file, or stopped") from None


def _hear_refusals(framer: Framer[HeaderMessage]) -> Callable[[bytes], None]:
    """Return a function for the bytes that the receiver of files sends.

    It raises an error for a message whose header has the key "error": why a file is refused.
    """
    decoder = framer.decoder()

    def hear(data: bytes) -> None:
        with suppress(FramingError):  # whatever else the receiver sends does not matter
            for message in decoder.feed(data):
                if "error" in message.header:
                    why = shortened(str(message.header["error"]), 300)
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
        # To exit as after Ctrl-C leaves no half-written file.
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    if not options.dir.is_dir():
        raise CommandError(f"{options.dir}: no such directory")
    # Only the server's socket is used.  Files are received in this thread, so that Ctrl-C ends it
    # as it ends any other function, and no half-written file stays.
    with _server(print, options) as server:
        is_done = False
        while not is_done:
            with suppress(TimeoutError, ConnectionError):  # no client came, or it has disconnected
                sock, _ = server.socket.accept()
                is_done = _receive_all(sock, server.socket, options)


def _receive_all(sock: socket.socket, listener: socket.socket, options: argparse.Namespace) -> bool:
    """Receive files until the client has no more, and return whether it had any."""

    def begin(name: str) -> str:
        sock.settimeout(None)
        shown.begin(name)
        return name

    sock.settimeout(_BEGIN_TIMEOUT)
    # However this program ends, the sender learns that not everything has arrived.
    _reset_on_close(sock)
    limits = {"max_size": options.max_size, "overwrite": options.overwrite}
    framer: Framer[HeaderMessage] = options.framer
    with MessageSocket(sock, framer) as conn, closing(Progress()) as shown:
        client = _name_of(sock)
        try:
            while True:
                with suppress(TimeoutError):
                    path = recv_file(conn, options.dir, name=begin, progress=shown.report, **limits)
                    shown.close()  # before another line follows its own
                    show(str(path))
                    continue
                # It may take its time to begin, as for a checksum, while no other client waits.
                if shown.name or select([listener], [], [], 0)[0]:
                    raise TimeoutError("the sender was silent for too long")
        except EndOfStreamError:
            _reset_on_close(sock, False)
        except (FramingError, OSError) as error:
            _refuse(conn, error)
            if shown.name:  # of a file that had begun
                raise CommandError(f"{client}: {reason(error)}") from None
            note(f"{client}: {reason(error)}")
        return bool(shown.name)


def _refuse(conn: MessageSocket[HeaderMessage], error: Exception) -> None:
    """Send the reason to the peer, and wait a moment so that it can read it."""
    file = getattr(error, "filename", None)
    why = getattr(error, "strerror", None) or shortened(str(error), 200)
    why = f"{os.path.basename(file)}: {why}" if file else why  # our folders are not its business
    end = monotonic() + _REFUSE_TIMEOUT
    with suppress(FramingError, OSError):
        conn.send(HeaderMessage({"error": why}, b""), timeout=_REFUSE_TIMEOUT)
        conn.sock.shutdown(socket.SHUT_WR)
        conn.sock.settimeout(_REFUSE_TIMEOUT)
        while conn.sock.recv(_READ_SIZE) and monotonic() < end:
            pass


def _reset_on_close(sock: socket.socket, reset: bool = True) -> None:
    """Reset the connection when it is closed: a clean end would say that all went well."""
    level, option, value = RESET
    with suppress(OSError):
        sock.setsockopt(level, option, value if reset else bytes(len(value)))

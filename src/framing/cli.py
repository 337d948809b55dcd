"""The command line: ``python -m framing``, installed as ``framing`` as well."""

from __future__ import annotations

import argparse
import io
import os
import socket
import sys
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any

from . import __version__
from .demo import run as run_demo
from .errors import EndOfStreamError, FramingError
from .notation import FRAMERS, parse_framer, parse_message, show_message
from .stream import recv_msg, send_msg

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .framer import Framer

_CONNECT_TIMEOUT = 10.0
# How long to wait, after the last message, for the peer to have read them all.
_CLOSE_TIMEOUT = 1.0

_EXAMPLES = r"""
examples:
  framing demo
  framing listen 127.0.0.1:9000 --echo
  framing send 127.0.0.1:9000 hello 'how are you?' --reply
  framing send 127.0.0.1:9000 --framer 'delimiter:\r\n' < messages.txt
  framing listen '[::1]:9000' --framer 'struct:!H8sb'
"""


class _CommandError(Exception):
    """What went wrong, in one line for the user."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit status.

    Returns:
        0 for success, 1 for a failure told in one line on standard error.  Wrong usage exits
        with 2, and an interrupt (Ctrl-C) with 130, as shells have it.
    """
    options = _parse(arguments)
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    try:
        options.run(options)
    except _CommandError as failure:
        print(f"framing: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    # Messages behind an option, as in `send ADDRESS --framer lines hello`, come here.
    if rest and (not hasattr(options, "messages") or any(each.startswith("-") for each in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.messages += rest
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="framing",
        description="Whole messages over TCP.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"framing {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="show the problem and its cure, on this machine")
    demo.set_defaults(run=lambda _: run_demo(_show))

    framed = argparse.ArgumentParser(add_help=False)
    framed.add_argument("address", type=_address, metavar="ADDRESS", help="HOST:PORT")
    framed.add_argument(
        "--framer",
        type=_framer,
        default="length",
        help=f"the wire format: {FRAMERS} (default: length)",
    )

    listen = commands.add_parser(
        "listen", parents=[framed], help="print each message that arrives, from any client"
    )
    listen.add_argument("--echo", action="store_true", help="send each message back")
    listen.set_defaults(run=_listen)

    send = commands.add_parser("send", parents=[framed], help="send messages")
    send.add_argument(
        "messages", nargs="*", metavar="MESSAGE", help="default: the lines of standard input"
    )
    send.add_argument("--reply", action="store_true", help="print one answer to each message")
    send.set_defaults(run=_send)
    return parser


def _address(text: str) -> tuple[str, int]:
    """Return the host and the port in ``HOST:PORT``, ``[HOST]:PORT`` or ``:PORT``."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise argparse.ArgumentTypeError(f"write an IPv6 address as [{host}]:{port}")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, such as 127.0.0.1:9000, not {text}")
    return host, int(port)


def _framer(text: str) -> Framer[Any]:
    try:
        return parse_framer(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# listen


def _listen(options: argparse.Namespace) -> None:
    with _open_listener(*options.address) as listener:
        _note(f"listening on {_show_address(listener.getsockname())}, until Ctrl-C")
        while True:
            conn, peer = _accept(listener)
            Thread(target=_serve, args=(conn, _show_address(peer), options), daemon=True).start()


def _open_listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        address = _show_address((host, port))
        raise _CommandError(f"cannot listen on {address}: {_reason(error)}") from None


def _accept(listener: socket.socket) -> tuple[socket.socket, tuple[Any, ...]]:
    try:
        return listener.accept()
    except OSError as error:  # out of descriptors, say
        raise _CommandError(f"cannot accept a connection: {_reason(error)}") from None


def _serve(conn: socket.socket, peer: str, options: argparse.Namespace) -> None:
    """Print the messages of one client until it leaves; tell how it left."""
    _note(f"{peer} connected")
    with conn:
        try:
            while True:
                message = recv_msg(conn, framer=options.framer)
                _show(show_message(message))
                if options.echo:
                    send_msg(conn, message, framer=options.framer)
        except EndOfStreamError:
            _note(f"{peer} closed the connection")
        except (FramingError, OSError) as error:
            _note(f"{peer}: {_reason(error)}")


# send


def _send(options: argparse.Namespace) -> None:
    texts: Iterable[str] = options.messages or map(_without_line_break, sys.stdin)
    address = _show_address(options.address)
    try:
        with socket.create_connection(options.address, timeout=_CONNECT_TIMEOUT) as sock:
            sock.settimeout(None)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for text in texts:
                _send_text(sock, text, options.framer)
                if options.reply:
                    _show(show_message(recv_msg(sock, framer=options.framer)))
            _close(sock)
    except (FramingError, OSError) as error:
        raise _CommandError(f"{address}: {_reason(error)}") from None


def _without_line_break(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _send_text(sock: socket.socket, text: str, framer: Framer[Any]) -> None:
    try:
        message = parse_message(framer, text)
        send_msg(sock, message, framer=framer)
    except (ValueError, TypeError) as error:
        raise _CommandError(f"cannot send {text!r}: {error}") from None


def _close(sock: socket.socket) -> None:
    """End the stream, and wait until the peer has read it.

    Closing at once could lose messages: where answers came that nobody reads, close() resets
    the connection, and the peer may not have read to the end by then.
    """
    sock.shutdown(socket.SHUT_WR)
    sock.settimeout(_CLOSE_TIMEOUT)
    with suppress(TimeoutError):
        while sock.recv(65_536):
            pass


# What both print


def _show(text: str) -> None:
    """Print a line on standard output."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Whoever read it has left, as `| head` does.  Without a word, and from any thread.
        os._exit(1)


def _note(text: str) -> None:
    """Print a line on standard error, where it does not mix with messages."""
    print(text, file=sys.stderr, flush=True)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error)


def _show_address(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

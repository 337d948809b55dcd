"""The command line: ``python -m framing``, installed as ``framing`` as well."""

from __future__ import annotations

import argparse
import io
import os
import re
import socket
import sys
from contextlib import suppress
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from . import __version__
from .demo import run as run_demo
from .errors import EndOfStreamError, FramingError
from .notation import FRAMERS, parse_framer, parse_message, show_message
from .stream import recv_msg, send_msg

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .framer import Framer

_CONNECT_TIMEOUT = 10.0
# How long to wait, after the last message, for the peer to have read them all.
_CLOSE_TIMEOUT = 1.0
# How often to look for Ctrl-C, which does not interrupt accept() on Windows.
_ACCEPT_TIMEOUT = 0.5

_EXAMPLES = r"""
examples:
  framing demo
  framing listen 127.0.0.1:9000 --echo
  framing send 127.0.0.1:9000 hello "how are you?" --reply
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
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options.run(options)
    except _CommandError as failure:
        _note(f"framing: {failure}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    end = given.index("--") if "--" in given else len(given)
    options, rest = parser.parse_known_args(given[:end])
    takes_messages = "messages" in options
    # Messages behind an option, as in `send ADDRESS --framer lines hello`, come in the rest.
    if any(map(_is_option, rest)) or (rest + given[end:] and not takes_messages):
        advice = " (write -- before messages that begin with -)" if takes_messages else ""
        parser.error(f"unrecognized arguments: {' '.join(rest + given[end:])}{advice}")
    if takes_messages:
        options.messages += rest + given[end + 1 :]
    return options


def _is_option(text: str) -> bool:
    return text.startswith("-") and not text[1:2].isdecimal() and text != "-"


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
    framed.add_argument("address", type=_address, metavar="ADDRESS", help="HOST:PORT, [IPv6]:PORT")
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
        "messages",
        nargs="*",
        metavar="MESSAGE",
        help="default: the lines of standard input; -- before any that begin with -",
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
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65_535:
        raise argparse.ArgumentTypeError(
            f"expected HOST:PORT, such as 127.0.0.1:9000, with a port up to 65535, not {text}"
        )
    return host, int(port)


def _framer(text: str) -> Framer[Any]:
    try:
        return parse_framer(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# listen


def _listen(options: argparse.Namespace) -> None:
    with _open_listener(*options.address) as listener:
        listener.settimeout(_ACCEPT_TIMEOUT)
        _note(f"listening on {_show_address(listener.getsockname())}, until Ctrl-C")
        while True:
            accepted = _accept(listener)
            if accepted is not None:
                conn, peer = accepted
                client = conn, _show_address(peer), options
                Thread(target=_serve, args=client, daemon=True).start()


def _open_listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        address = _show_address((host, port))
        raise _CommandError(f"cannot listen on {address}: {_reason(error)}") from None


def _accept(listener: socket.socket) -> tuple[socket.socket, tuple[Any, ...]] | None:
    """Return the next client and its address, if one has come in time."""
    try:
        return listener.accept()
    except (TimeoutError, ConnectionError):  # nobody, or somebody who has left already
        return None
    except OSError as error:  # out of descriptors, say
        raise _CommandError(f"cannot accept a connection: {_reason(error)}") from None


def _serve(conn: socket.socket, peer: str, options: argparse.Namespace) -> None:
    """Print the messages of one client until it leaves; tell how it left."""
    with conn:
        _note(f"{peer} connected")
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
    address = _show_address(options.address)
    try:
        with socket.create_connection(options.address, timeout=_CONNECT_TIMEOUT) as sock:
            sock.settimeout(None)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for text in options.messages or _lines_of_stdin():
                _send_text(sock, text, options.framer)
                if options.reply:
                    _show(show_message(recv_msg(sock, framer=options.framer)))
            _close(sock)
    except EndOfStreamError:
        raise _CommandError(f"{address} closed the connection without an answer") from None
    except (FramingError, OSError, UnicodeError) as error:
        raise _CommandError(f"{address}: {_reason(error)}") from None


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
        raise _CommandError(f"cannot send {_shortened(text)}: {error}") from None


def _shortened(text: str) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}..."


def _close(sock: socket.socket) -> None:
    """End the stream, and wait a moment for the peer to have read it.

    Closing at once could lose messages: where answers came that nobody reads, close() resets
    the connection, and the peer may not have read to the end by then.
    """
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        raise _CommandError(
            "the peer closed the connection, and may not have read all messages"
        ) from None
    end = monotonic() + _CLOSE_TIMEOUT
    with suppress(TimeoutError):
        while (left := end - monotonic()) > 0:
            sock.settimeout(left)
            if not sock.recv(65_536):
                break


# What both print

_printing = Lock()


def _show(text: str) -> None:
    """Print a line on standard output, whole, from any thread."""
    try:
        with _printing:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
    except OSError as error:
        # Whoever read it has left, as `| head` does, or the disk is full.  Other threads may be
        # waiting for clients, so leave from here.
        if not isinstance(error, BrokenPipeError):
            _note(f"framing: cannot write to standard output: {_reason(error)}")
        os._exit(1)


def _note(text: str) -> None:
    """Print a line on standard error, where it does not mix with messages."""
    with suppress(OSError), _printing:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _reason(error: Exception) -> str:
    """Return what went wrong, without what Python adds to the system's own words."""
    reason = getattr(error, "strerror", None) or str(error)
    return reason.partition(" (while attempting")[0]


def _show_address(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

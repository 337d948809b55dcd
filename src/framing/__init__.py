r"""Whole messages over TCP, and over any other stream of bytes.

TCP delivers a stream, not messages: two sends can arrive as one recv, and one send as several.
This package puts the boundaries back::

    framing.send_msg(sock, b"hello")
    message = framing.recv_msg(sock)     # b"hello": a whole message, and nothing after it

A *framer* is a wire format.  Both functions take one as ``framer=``:

    LengthPrefixFramer("!I")    length, payload: bytes (the default)
    DelimiterFramer(b"\n")      payload, delimiter: bytes
    LineFramer()                lines of text: str
    JsonFramer()                JSON inside another format: any JSON value
    HeaderBodyFramer()          a JSON header, a body: HeaderMessage(header, body)
    StructFramer("!H8sb")       records of fixed size: tuple

and NetstringFramer, VarintFramer, ContentLengthFramer and CodecFramer.

An app makes a MessageSocket of its connection.  That is faster, and threads may share it::

    with framing.connect(("127.0.0.1", 9000)) as conn:
        conn.send(b"hello")
        for message in conn:             # until the clean end
            ...

A server calls a function with a MessageSocket for each client::

    def echo(conn):
        for message in conn:
            conn.send(message)

    with framing.serve(echo, ("127.0.0.1", 9000)) as server:
        server.serve_forever()

Without a socket, a framer encodes a message and a *decoder* takes a stream apart, however it is
cut:

    >>> import framing
    >>> framer = framing.LengthPrefixFramer()
    >>> framer.encode(b"hello")
    b'\x00\x00\x00\x05hello'
    >>> decoder = framer.decoder()
    >>> list(decoder.feed(b"\x00\x00\x00\x05he"))
    []
    >>> list(decoder.feed(b"llo"))
    [b'hello']

Errors are FramingErrors: EncodeError for a message that a format cannot carry, DecodeError for
bytes that break it, EndOfStreamError if the peer has closed between two messages,
IncompleteMessageError if it has inside one.  The socket's own errors, such as TimeoutError, pass
through; after a timeout, the next call continues where the last one stopped.

To send and receive files, use framing.files.  For asyncio, use framing.aio.  To write a wire
format of your own, subclass Framer.  UDP keeps message boundaries; the datagram functions handle
its other pitfalls.
"""

from __future__ import annotations

from importlib import import_module
from types import FunctionType
from typing import TYPE_CHECKING, Any

from .buffer import Buffer
from .decoder import Decoder
from .errors import (
    BadMessageError,
    DecodeError,
    EncodeError,
    EndOfStreamError,
    FramingError,
    IncompleteMessageError,
    MessageTooLargeError,
    TruncatedDatagramError,
)
from .formats.length_prefix import LengthPrefixFramer
from .framer import Framer
from .requests import ReadExactly, ReadUntil, Skip, Steps
from .sockets.functions import recv_msg, send_msg
from .sockets.message_socket import MessageSocket, connect

if TYPE_CHECKING:
    from . import aio, files, server, testing  # noqa: F401  # mypy refuses aio as aio here
    from .datagram import (
        Datagram,
        join_multicast,
        leave_multicast,
        open_datagram,
        recv_datagram,
        request_datagram,
        send_datagram,
    )
    from .formats.codec import CodecFramer
    from .formats.content_length import ContentLengthFramer
    from .formats.delimiter import DelimiterFramer
    from .formats.header_body import HeaderBodyFramer, HeaderMessage
    from .formats.json import JsonFramer
    from .formats.lines import LineFramer
    from .formats.netstring import NetstringFramer
    from .formats.record import StructFramer
    from .formats.varint import VarintFramer
    from .server import serve

__all__ = [
    "BadMessageError",
    "Buffer",
    "CodecFramer",
    "ContentLengthFramer",
    "Datagram",
    "DecodeError",
    "Decoder",
    "DelimiterFramer",
    "EncodeError",
    "EndOfStreamError",
    "Framer",
    "FramingError",
    "HeaderBodyFramer",
    "HeaderMessage",
    "IncompleteMessageError",
    "JsonFramer",
    "LengthPrefixFramer",
    "LineFramer",
    "MessageSocket",
    "MessageTooLargeError",
    "NetstringFramer",
    "ReadExactly",
    "ReadUntil",
    "Skip",
    "Steps",
    "StructFramer",
    "TruncatedDatagramError",
    "VarintFramer",
    "connect",
    "join_multicast",
    "leave_multicast",
    "open_datagram",
    "recv_datagram",
    "recv_msg",
    "request_datagram",
    "send_datagram",
    "send_msg",
    "serve",
]

__version__ = "0.2.0"

# Loaded when they are first used: most programs do not need them, nor the modules they import.
_LAZY_MODULES = ("aio", "files", "server", "testing")
_LAZY = {
    ".datagram": "Datagram join_multicast leave_multicast open_datagram recv_datagram"
    " request_datagram send_datagram",
    ".formats.codec": "CodecFramer",
    ".formats.content_length": "ContentLengthFramer",
    ".formats.delimiter": "DelimiterFramer",
    ".formats.header_body": "HeaderBodyFramer HeaderMessage",
    ".formats.json": "JsonFramer",
    ".formats.lines": "LineFramer",
    ".formats.netstring": "NetstringFramer",
    ".formats.record": "StructFramer",
    ".formats.varint": "VarintFramer",
    ".server": "serve",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY_MODULES:
        return import_module(f".{name}", __name__)
    for module, names in _LAZY.items():
        if name in names.split():
            loaded = import_module(module, __name__)
            for each in names.split():
                globals()[each] = value = getattr(loaded, each)
                value.__module__ = __name__
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_LAZY_MODULES, "__version__"])


# Public classes and functions say "framing." in tracebacks and reprs.
for _each in list(globals().values()):
    if isinstance(_each, (type, FunctionType)) and _each.__module__.startswith(f"{__name__}."):
        _each.__module__ = __name__

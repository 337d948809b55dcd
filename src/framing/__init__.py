r"""Whole messages over TCP, and over any other stream of bytes.

TCP delivers a stream, not messages: two sends can arrive as one recv, and one send as several.
This package puts the boundaries back::

    framing.send_msg(sock, b"hello")
    message = framing.recv_msg(sock)     # b"hello", whole, and nothing after it

A *framer* is a wire format, and both functions take one as ``framer=``:

    LengthPrefixFramer("!I")    length, payload: bytes (the default)
    DelimiterFramer(b"\n")      payload, delimiter: bytes
    LineFramer()                lines of text: str
    HeaderBodyFramer()          a JSON header, a body: HeaderMessage(header, body)
    StructFramer("!H8sb")       records of fixed size: tuple

An app that owns its connection makes a MessageSocket of it, which is faster, and which many
threads may share::

    with framing.connect(("127.0.0.1", 9000)) as messages:
        messages.send(b"hello")
        for message in messages:         # until the clean end
            ...

Without a socket, a framer encodes a message and a *decoder* takes a stream apart, however it
is cut:

    >>> import framing
    >>> framer = framing.LengthPrefixFramer()
    >>> framer.encode(b"hello")
    b'\x00\x00\x00\x05hello'
    >>> decoder = framer.decoder()
    >>> list(decoder.feed(b"\x00\x00\x00\x05he"))
    []
    >>> list(decoder.feed(b"llo"))
    [b'hello']

What goes wrong is a FramingError: EncodeError for a message that a format cannot carry,
DecodeError for bytes that break it, EndOfStreamError when the peer has closed between two
messages, IncompleteMessageError when it has inside one.  The socket's own errors, TimeoutError
among them, pass through; after a timeout, the next call goes on where the last one stopped.

Who writes a server with socketserver derives from framing.server.MessageRequestHandler; files
of any size are sent and received by framing.files.send_file and recv_file.  A wire format of
your own is a class with two methods: see framing.Framer.

UDP keeps the boundaries of messages.  What else it does to them, open_datagram, send_datagram,
recv_datagram and request_datagram take care of.
"""

import sys
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
from .formats.codec import CodecFramer
from .formats.content_length import ContentLengthFramer
from .formats.delimiter import DelimiterFramer
from .formats.header_body import HeaderBodyFramer, HeaderMessage
from .formats.json import JsonFramer
from .formats.length_prefix import LengthPrefixFramer
from .formats.lines import LineFramer
from .formats.netstring import NetstringFramer
from .formats.record import StructFramer
from .formats.varint import VarintFramer
from .framer import Framer
from .requests import ReadExactly, ReadUntil, Skip, Steps

__version__ = "0.2.0"

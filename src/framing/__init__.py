"""Whole messages over TCP, and over any other stream of bytes.

TCP delivers a stream, not messages: two sends can arrive as one recv, and one send as several.
This package puts the boundaries back.

    import framing

    framing.send_msg(sock, b"hello")
    message = framing.recv_msg(sock)     # b"hello", whole, and nothing after it
"""

from .buffer import Buffer
from .decoder import Decoder
from .delimiter import DelimiterFramer, LineFramer
from .errors import (
    DecodeError,
    EncodeError,
    EndOfStreamError,
    FramingError,
    IncompleteMessageError,
    MessageTooLargeError,
    TruncatedDatagramError,
)
from .framer import Framer
from .header_body import HeaderBodyFramer, HeaderMessage
from .length_prefix import LengthPrefixFramer
from .record import StructFramer
from .requests import ReadExactly, ReadUntil, Steps
from .stream import recv_msg, send_msg

__all__ = [
    "Buffer",
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
    "LengthPrefixFramer",
    "LineFramer",
    "MessageTooLargeError",
    "ReadExactly",
    "ReadUntil",
    "Steps",
    "StructFramer",
    "TruncatedDatagramError",
    "recv_msg",
    "send_msg",
]

__version__ = "0.1.0"

"""What is in captured bytes: where each message is, and where the format is broken.

It takes time in proportion to the bytes, and holds one message and one chunk at a time.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import FramingError
from ..formats.header_body import HeaderMessage
from .notation import show_message
from .terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..decoder import Decoder
    from ..framer import Framer

# How many of the bytes that break the format are shown.
_BYTES_SHOWN = 64
_BYTES_PER_ROW = 16


class Found(NamedTuple):
    """A message.

    Attributes:
        number: 1 for the first message.
        offset: Where it starts in the stream, in bytes.
        size: How many bytes it takes up on the wire.
        message: The message itself.
    """

    number: int
    offset: int
    size: int
    message: Any


class Broken(NamedTuple):
    """A bad message.

    Attributes:
        number: As of a good message.
        offset: Where it starts in the stream, in bytes.
        data: The first bytes from there on; empty if the messages behind it can be read.
        reason: What is wrong with it.
        recoverable: Whether more messages may follow.
    """

    number: int
    offset: int
    data: bytes
    reason: str
    recoverable: bool


def inspect(chunks: Iterable[bytes], framer: Framer[Any]) -> Iterator[Found | Broken]:
    """Yield the messages in *chunks*, good and bad.

    It ends with the first bad message after which the start of the next one is unknown.
    """
    decoder = framer.decoder()
    decoder.decode_singly()
    number = 1
    for chunk in chain(chunks, (None,)):
        if chunk is None:
            decoder.feed_eof()
        else:
            decoder.feed(chunk)
        while (item := _next_item(decoder, number)) is not None:
            yield item
            if isinstance(item, Broken) and not item.recoverable:
                return
            number += 1


def _next_item(decoder: Decoder[Any], number: int) -> Found | Broken | None:
    """Return the next message, or what is wrong with it; ``None`` if bytes are missing."""
    try:
        for message in decoder:
            size = decoder.last_size
            return Found(number, decoder.offset - size, size, message)
    except FramingError as error:
        offset = getattr(error, "offset", None)
        recoverable = getattr(error, "recoverable", False)
        data = b"" if recoverable else decoder.unread()[:_BYTES_SHOWN]
        offset = decoder.offset if offset is None else offset
        return Broken(number, offset, data, error.args[0], recoverable)
    return None


# How it looks

HEADING = f"{'number':>8} {'offset':>12} {'size':>10}  message"


def show_item(item: Found | Broken, width: int) -> Iterator[str]:
    """Yield the lines about *item*, with as much of a message as fits into *width* columns."""
    if isinstance(item, Found):
        place = f"{item.number:>8} {item.offset:>12} {item.size:>10}  "
        yield place + preview(item.message, max(16, width - len(place)))
    elif item.recoverable:
        yield f"{item.number:>8} {item.offset:>12} {'bad':>10}  {preview(item.reason, width - 34)}"
    else:
        yield from _hexadecimal(item.offset, item.data)


def _hexadecimal(offset: int, data: bytes) -> Iterator[str]:
    """Yield lines with *data* in the way that other tools show bytes."""
    for start in range(0, len(data), _BYTES_PER_ROW):
        row = data[start : start + _BYTES_PER_ROW]
        text = re.sub("[^ -~]", ".", row.decode("latin-1"))
        yield f"{'':>8} {offset + start:>12}  {row.hex(' '):<{3 * _BYTES_PER_ROW}} {text}"


def preview(message: Any, width: int) -> str:
    r"""Return the beginning of *message*, as text if it is text and else in hexadecimal.

    >>> preview(b"hello\n", 20), preview(b"\x00\x01\xff", 20), preview(b"x" * 100, 20)
    ('hello\\n', '00 01 ff', 'xxxxxxxxxxxxxxxxx...')
    """
    if isinstance(message, bytes):
        # A byte takes up at least one column, and a character is at most four bytes.
        text = _text_of(message[: 4 * width]) or message[:width].hex(" ")
    elif isinstance(message, HeaderMessage):
        header = show_message(HeaderMessage(message.header, b"")).rstrip()
        text = f"{header} {preview(message.body, width)}".rstrip()
    else:
        text = show_message(message[: width + 1] if isinstance(message, str) else message)
    return text if len(text) <= width else text[: width - 3] + "..."


def _text_of(data: bytes) -> str:
    """Return *data* as one line of text; nothing if it is not text, or was cut from text."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if error.end < len(data) or error.reason != "unexpected end of data":
            return ""
        text = data[: error.start].decode()
    if any(each < " " and each not in "\t\r\n" for each in text):
        return ""
    return printable(text)

"""What is in captured bytes: where each message is, and where the format is broken.

It takes time in proportion to the bytes, and holds one message and one chunk at a time.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
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

_Utf8Decoder = getincrementaldecoder("utf-8")


class Found(NamedTuple):
    """A message: its number, from 1 on; its place and its size in the stream, in bytes."""

    number: int
    offset: int
    size: int
    message: Any


class Broken(NamedTuple):
    """A bad message: what is wrong with it, and whether more messages may follow.

    If none can, *data* are the first bytes of it.
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
        decoder.feed_eof() if chunk is None else decoder.feed(chunk)
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
        offset = getattr(error, "offset", decoder.offset)
        recoverable = getattr(error, "recoverable", False)
        data = b"" if recoverable else decoder.unread()[:_BYTES_SHOWN]
        return Broken(number, offset, data, error.args[0], recoverable)
    return None


# How it looks

HEADING = f"{'number':>8} {'offset':>12} {'size':>10}  message"


def show_item(item: Found | Broken, width: int) -> Iterator[str]:
    """Yield the lines about *item*, with as much of a message as fits into *width* columns."""
    if isinstance(item, Found) or item.recoverable:
        size, text = item[2:4] if isinstance(item, Found) else ("bad", item.reason)
        place = f"{item.number:>8} {item.offset:>12} {size:>10}  "
        yield place + preview(text, max(16, width - len(place)))
        return
    for start in range(0, len(item.data), _BYTES_PER_ROW):
        row = item.data[start : start + _BYTES_PER_ROW]
        text = re.sub("[^ -~]", ".", row.decode("latin-1"))
        yield f"{'':>8} {item.offset + start:>12}  {row.hex(' '):<{3 * _BYTES_PER_ROW}} {text}"


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
        text = _Utf8Decoder().decode(data)  # which leaves out a character that is cut off
    except UnicodeDecodeError:
        return ""
    return "" if re.search(r"[\0-\x08\x0b\x0c\x0e-\x1f]", text) else printable(text)

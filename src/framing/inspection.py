"""What is in captured bytes: where each message is, and where the format is broken."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import FramingError
from .header_body import HeaderMessage
from .notation import show_message
from .stream_decoder import StreamDecoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .framer import Framer

__all__: list[str] = []

# How many of the bytes to show that break the format.
_BYTES_SHOWN = 64
_BYTES_A_ROW = 16


class Found(NamedTuple):
    """A message, and where it is.

    Attributes:
        number: From 1 on.
        offset: Where it starts, in bytes from the first.
        size: That of all of it on the wire, in bytes.
        message: The message.
    """

    number: int
    offset: int
    size: int
    message: Any


class Broken(NamedTuple):
    """The end of the messages, where bytes follow that are none.

    Attributes:
        offset: Where they start.
        data: The first of them, as far as they have come.
        reason: What is wrong with them.
    """

    offset: int
    data: bytes
    reason: str


def inspect(chunks: Iterable[bytes], framer: Framer[Any]) -> Iterator[Found | Broken]:
    """Yield the messages in *chunks*, and at last what is broken, if anything is.

    One message at a time is held in memory, and one chunk.
    """
    decoder = StreamDecoder(framer, stepwise=True)
    number = offset = 0
    try:
        for chunk in chain(chunks, (None,)):
            if chunk is None:
                decoder.feed_eof()
            else:
                decoder.feed(chunk)
            while not decoder.is_at_end and (message := decoder.next_message()) is not None:
                number += 1
                yield Found(number, offset, decoder.offset - offset, message)
                offset = decoder.offset
    except FramingError as error:
        yield Broken(offset, decoder.unread()[:_BYTES_SHOWN], error.args[0])


# How it looks

HEADING = f"{'number':>8} {'offset':>12} {'size':>10}  message"


def show_found(found: Found, width: int) -> str:
    """Return a line about one message, with as much of it as fits into *width* columns."""
    number, offset, size, message = found
    place = f"{number:>8} {offset:>12} {size:>10}  "
    return place + preview(message, max(16, width - len(place)))


def show_broken(broken: Broken) -> Iterator[str]:
    """Yield lines with the bytes that break the format, as other tools show bytes."""
    for start in range(0, len(broken.data), _BYTES_A_ROW):
        row = broken.data[start : start + _BYTES_A_ROW]
        text = re.sub("[^ -~]", ".", row.decode("latin-1"))
        yield f"{'':>8} {broken.offset + start:>12}  {row.hex(' '):<{3 * _BYTES_A_ROW}} {text}"


def preview(message: Any, width: int) -> str:
    r"""Return the beginning of *message*: text where it is text, hexadecimal where not.

    >>> preview(b"hello\n", 20), preview(b"\x00\x01\xff", 20), preview(b"x" * 100, 20)
    ('hello\\n', '00 01 ff', 'xxxxxxxxxxxxxxxxx...')
    """
    if isinstance(message, bytes):
        # Each byte is a column at least, and a character at most four bytes.
        text = _text_of(message[: 4 * width]) or message[:width].hex(" ")
    elif isinstance(message, HeaderMessage):
        header = show_message(HeaderMessage(message.header, b"")).rstrip()
        text = f"{header} {preview(message.body, width)}".rstrip()
    else:
        text = show_message(message[: width + 1] if isinstance(message, str) else message)
    return text if len(text) <= width else text[: width - 3] + "..."


def _text_of(data: bytes) -> str:
    """Return *data* as a line of text; nothing where it is no text, or was cut from one."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if error.end < len(data) or error.reason != "unexpected end of data":
            return ""
        text = data[: error.start].decode()
    if any(each < " " and each not in "\t\r\n" for each in text):
        return ""
    return show_message(text)

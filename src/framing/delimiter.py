r"""Messages that end with a delimiter, and lines of text.

    +-- payload --+-- delimiter --+
    |  h e l l o  |      0a       |

What a person can type and read, and what many text protocols use.  A payload cannot hold the
delimiter, and a reader has to look at every byte.
"""

from __future__ import annotations

import codecs
from io import BytesIO
from itertools import repeat
from typing import TYPE_CHECKING

from .errors import DecodeError, EncodeError
from .framer import Framer, check_limit, payload_view
from .requests import ReadUntil

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from .buffer import Buffer
    from .requests import Steps

__all__ = ["DelimiterFramer", "LineFramer"]


class DelimiterFramer(Framer[bytes]):
    r"""The payload, then a delimiter.

        +-- payload --+-- delimiter --+
        |  h e l l o  |      0a       |

    Args:
        delimiter: The bytes that end a message, at least one.
        final: What an unterminated last message is when the stream ends: an
            :class:`IncompleteMessageError` with ``"error"``, a message with ``"emit"``.
        max_size: The largest payload, in bytes, sent or received; the delimiter does not count.

    Raises:
        ValueError: *delimiter* is empty, *final* is another word, or *max_size* is negative.

    >>> from framing import DelimiterFramer
    >>> DelimiterFramer().encode(b"hello")
    b'hello\n'
    >>> list(DelimiterFramer(b"\r\n").decoder().feed(b"one\r\ntwo\r\nthr"))
    [b'one', b'two']
    """

    delimiter: bytes
    final: Literal["error", "emit"]
    _payload: ReadUntil

    def __init__(
        self,
        delimiter: bytes = b"\n",
        *,
        final: Literal["error", "emit"] = "error",
        max_size: int = 16 * 1024 * 1024,
    ) -> None:
        if not isinstance(delimiter, bytes):
            raise TypeError(f"the delimiter is bytes, such as b'\\n', not {delimiter!r}")
        if not delimiter:
            raise ValueError("the delimiter is one byte or more, not empty")
        if final not in ("error", "emit"):
            raise ValueError(f"final is 'error' or 'emit', not {final!r}")
        check_limit("max_size", max_size)
        payload = ReadUntil(
            delimiter, limit=max_size, limit_name="max_size", or_end=final == "emit"
        )
        super().__init__(delimiter=delimiter, final=final, max_size=max_size, _payload=payload)

    def encode(self, message: Buffer) -> bytes:
        r"""Return *message* as it goes on the wire.

            +-- payload --+-- delimiter --+
            |  h e l l o  |      0a       |

        Args:
            message: The payload, 0 to ``max_size`` bytes.

        Returns:
            *message*, then the delimiter.

        Raises:
            EncodeError: *message* is larger than ``max_size``, or the delimiter would be found
                before its end.
            TypeError: *message* is not made of bytes.
        """
        return b"".join(self.encode_parts(message))

    def encode_parts(self, message: Buffer) -> tuple[bytes, bytes]:
        """Return *message*, as bytes, and the delimiter.

        Raises:
            EncodeError: *message* is larger than ``max_size``, or the delimiter would be found
                before its end.
            TypeError: *message* is not made of bytes.
        """
        payload = bytes(payload_view(message, self.max_size))
        place = payload.find(self.delimiter)
        if place < 0:  # it may still be found half in the payload, half in its own place
            end = payload[max(0, len(payload) - len(self.delimiter) + 1) :]
            place = (end + self.delimiter).find(self.delimiter) + len(payload) - len(end)
        if place < len(payload):
            raise EncodeError(
                f"the delimiter {self.delimiter!r} would be found at byte {place} of the payload,"
                " before its end: escape it there, or use LengthPrefixFramer"
            )
        return payload, self.delimiter

    def read_message(self) -> Steps[bytes]:
        """Read up to the delimiter."""
        return (yield self._payload)

    def read_batch(self, block: bytes, start: int, stop: int) -> tuple[Iterator[bytes], int, int]:
        """Read the messages in ``block[start:stop]`` at once."""
        messages: Iterator[bytes]
        if self.delimiter == b"\n":
            end = block.rfind(b"\n", start, stop) + 1 or start
            messages = lines_of(block[start:end])
        else:
            payloads = _split(block[start:stop], self.delimiter)
            end = stop - len(payloads.pop())
            messages = iter(payloads)
        return messages, end, stop - end + 1


# Fast ways through a block, for long lines.  bytes.split looks for one byte without memchr, and
# for two more slowly still, while BytesIO looks for a line break at the memory's speed.  It
# takes longer for short lines, so the first line of a block decides.
_LONG_LINE = 192


def _has_long_lines(block: bytes, start: int) -> bool:
    return block.find(b"\n", start, start + _LONG_LINE) < 0


def _split(data: bytes, delimiter: bytes) -> list[bytes]:
    r"""Return ``data.split(delimiter)``, in a fifth of the time for long lines and ``\r\n``."""
    if delimiter.find(b"\n") != len(delimiter) - 1 or not _has_long_lines(data, 0):
        return data.split(delimiter)
    *lines, rest = *BytesIO(data).readlines(), b""
    if lines and not lines[-1].endswith(delimiter):
        rest = lines.pop()
    if not all(map(bytes.endswith, lines, repeat(delimiter))):
        return data.split(delimiter)  # some line breaks are no delimiters
    return [*map(bytes.removesuffix, lines, repeat(delimiter)), rest]


class Lines(map):  # type: ignore[type-arg]  # a map of either type, and 3.10 cannot say so
    r"""The lines of a block that ends with ``\n``, cut as they are taken.

    A list of all lines would not stay in the processor's nearest cache.
    """

    file: BytesIO
    size: int

    def __length_hint__(self) -> int:
        return int(self.file.tell() < self.size)


def lines_of(block: bytes) -> Lines:
    """Return the lines of *block*, without their line breaks."""
    file = BytesIO(block)
    lines = Lines(bytes.removesuffix, file, repeat(b"\n"))
    lines.file, lines.size = file, len(block)
    return lines


def texts_of(block: bytes) -> Lines:
    r"""Return the lines of *block*, which is ASCII, as text without ``\n`` or ``\r\n``."""
    lines = lines_of(block)
    stripped = map(bytes.removesuffix, lines, repeat(b"\r")) if b"\r" in block else lines
    texts = Lines(bytes.decode, stripped)
    texts.file, texts.size = lines.file, lines.size
    return texts


class LineFramer(Framer[str]):
    r"""Lines of text: sends ``\n``, accepts ``\n`` and ``\r\n``.

        +-- text, encoded --+-- \n --+
        |     h e l l o     |   0a   |

    A lone ``\r`` and Unicode's other line breaks are text like any other.  An unterminated
    last line counts as a line, as it does in a file; it keeps a ``\r`` that it ends with.

    Args:
        encoding: A text encoding in which ``\n`` and ``\r`` are single bytes as in ASCII, and
            those bytes nothing else: UTF-8, ASCII, Latin-1, cp1252, GBK, Shift JIS ...; not
            UTF-16.
        max_size: The longest line, in bytes, sent or received; its line break does not count.

    Raises:
        ValueError: *encoding* is unknown or not of that kind, or *max_size* is negative.

    >>> from framing import LineFramer
    >>> LineFramer().encode("hello")
    b'hello\n'
    >>> list(LineFramer().decoder().feed(b"one\r\ntwo\nthr"))
    ['one', 'two']
    """

    encoding: str
    _line: ReadUntil

    def __init__(self, encoding: str = "utf-8", *, max_size: int = 1024 * 1024) -> None:
        check_limit("max_size", max_size)
        line = ReadUntil(b"\n", limit=max_size, limit_name="max_size", optional=b"\r", or_end=True)
        super().__init__(encoding=_line_encoding(encoding), max_size=max_size, _line=line)

    def encode_parts(self, message: str) -> tuple[bytes, bytes]:
        r"""Return the encoded text, and ``\n``.

        Args:
            message: One line, without a line break: no ``\n`` in it, no ``\r`` at its end.

        Raises:
            EncodeError: *message* is none, is longer than ``max_size``, or *encoding* has no
                bytes for it that decode to it.
            TypeError: *message* is no ``str``.
        """
        if not isinstance(message, str):
            raise TypeError(f"expected a str, not {type(message).__name__}")
        if "\n" in message:
            place = message.index("\n")
            raise EncodeError(f"expected one line, but there is a line break at character {place}")
        if message.endswith("\r"):
            raise EncodeError("expected a line that does not end with '\\r': the reader drops it")
        try:
            payload = message.encode(self.encoding)
            same = self.encoding in _EXACT_ENCODINGS or payload.decode(self.encoding) == message
        except UnicodeError as error:
            raise EncodeError(f"the line cannot be sent in {self.encoding}: {error}") from None
        if not same:
            raise EncodeError(f"the line would come back changed from {self.encoding}")
        return bytes(payload_view(payload, self.max_size)), b"\n"

    def read_message(self) -> Steps[str]:
        """Read up to the line break, and decode."""
        line = yield self._line
        try:
            return line.decode(self.encoding)
        except UnicodeError as error:
            raise DecodeError(f"expected a line in {self.encoding}: {error}") from None

    def read_batch(self, block: bytes, start: int, stop: int) -> tuple[Iterator[str], int, int]:
        """Read the lines in ``block[start:stop]`` at once."""
        if self.encoding not in _EXACT_ENCODINGS:
            return super().read_batch(block, start, stop)
        end = block.rfind(b"\n", start, stop) + 1 or start
        enough = stop - end + 1
        if _has_long_lines(block, start) and (data := block[start:end]).isascii():
            return texts_of(data), end, enough
        try:
            text = block[start:end].decode(self.encoding)
        except UnicodeDecodeError as error:
            end = block.rfind(b"\n", start, start + error.start) + 1 or start
            enough = 0
            text = block[start:end].decode(self.encoding)
        lines = text.split("\n")
        lines.pop()
        if "\r" in text:
            lines = [*map(str.removesuffix, lines, repeat("\r"))]
        return iter(lines), end, enough


# Every text that these can encode comes back equal, and no state is carried between lines.
_EXACT_ENCODINGS = frozenset({"utf-8", "ascii", "iso8859-1"})


def _line_encoding(name: str) -> str:
    """Return the codec's own name of an encoding that can be cut at its line breaks.

    Raises:
        ValueError: It cannot be, or is unknown.
    """
    try:
        encoding = codecs.lookup(name).name
        breaks = [each.encode(encoding) for each in ("", "\n", "\r", "a\nb")]
        # Escapes of other encodings that stand for a line break: UTF-7, raw_unicode_escape
        hidden = [each.decode(encoding, "replace") for each in (b"+AAo-", b"\\u000a", b"\\n")]
    except (LookupError, UnicodeError) as error:
        raise ValueError(f"no text encoding for lines: {name!r} ({error})") from None
    if breaks != [b"", b"\n", b"\r", b"a\nb"] or any("\n" in each for each in hidden):
        raise ValueError(
            f"the encoding {name!r} does not write line breaks, and nothing else, as the bytes"
            " 0a and 0d: use another one, such as UTF-8, or LengthPrefixFramer for encoded text"
        )
    return encoding

r"""Lines of text.

    +-- text, encoded --+-- \n --+
    |     h e l l o     |   0a   |

This is what a person can type and read.
"""

from __future__ import annotations

import codecs
from itertools import repeat
from typing import TYPE_CHECKING

from ..errors import BadMessageError, EncodeError
from ..framer import Framer, check_choice, check_limit, payload_view
from ..requests import ReadUntil
from .blocks import has_long_lines, has_longer, texts_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from ..requests import Steps


class LineFramer(Framer[str]):
    r"""Lines of text: sends ``\n``, accepts ``\n`` and ``\r\n``.

        +-- text, encoded --+-- \n --+
        |     h e l l o     |   0a   |

    A lone ``\r`` and Unicode's other line breaks are ordinary characters.  An unterminated last
    line counts as a line, as it does in a file; it keeps a ``\r`` at its end.

    Args:
        encoding: A text encoding in which ``\n`` and ``\r`` are the same single bytes as in
            ASCII, and those bytes mean nothing else: UTF-8, ASCII, Latin-1, cp1252, GBK,
            Shift JIS, for example; not UTF-16.
        errors: How to decode bytes that are not valid in *encoding*, as in ``bytes.decode``:
            ``"strict"`` raises a :class:`BadMessageError` for the line and continues with the
            next one; ``"replace"`` and the others never fail.  Encoding is always strict, except
            that ``"surrogateescape"`` works in both directions.
        oversize: What to do with a received line that is longer than *max_size*: ``"error"``
            ends the stream; ``"skip"`` raises the same error, and continues with the next line.
        max_size: The longest line, in bytes, to send or to receive, without its line break.

    Raises:
        ValueError: *encoding* is unknown or not of that kind, *errors* is unknown, *oversize* is
            another word, or *max_size* is negative.

    >>> from framing import LineFramer
    >>> LineFramer().encode("hello")
    b'hello\n'
    >>> list(LineFramer().decoder().feed(b"one\r\ntwo\nthr"))
    ['one', 'two']
    """

    encoding: str
    errors: str
    oversize: Literal["error", "skip"]
    _line: ReadUntil
    _encode_errors: str

    def __init__(
        self,
        encoding: str = "utf-8",
        *,
        errors: str = "strict",
        oversize: Literal["error", "skip"] = "error",
        max_size: int = 1024 * 1024,
    ) -> None:
        try:
            codecs.lookup_error(errors)
        except (LookupError, TypeError):
            raise ValueError(
                f"errors is 'strict', 'replace' or another handler of bytes.decode, not {errors!r}"
            ) from None
        check_choice("oversize", oversize, ("error", "skip"))
        line = ReadUntil(
            (b"\n", b"\r\n"),
            limit=check_limit("max_size", max_size),
            or_end=True,
            oversize=oversize,
            limit_name="max_size",
        )
        super().__init__(
            encoding=_line_encoding(encoding), errors=errors, oversize=oversize, max_size=max_size,
            _line=line, _encode_errors=errors if errors == "surrogateescape" else "strict",
        )  # fmt: skip

    def encode_parts(self, message: str) -> tuple[bytes, bytes]:
        r"""Return the encoded text, and ``\n``.

        Args:
            message: One line without its line break: it may not contain ``\n``, and may not end
                with ``\r``.

        Raises:
            EncodeError: *message* contains a line break, is too long, or cannot be encoded
                without loss.
            TypeError: *message* is not a ``str``.
        """
        if not isinstance(message, str):
            raise TypeError(f"expected a str, not {type(message).__name__}")
        if "\n" in message:
            place = message.index("\n")
            raise EncodeError(f"expected one line, but found a line break at character {place}")
        if message.endswith("\r"):
            raise EncodeError("expected a line that does not end with '\\r': the reader drops it")
        try:
            payload = message.encode(self.encoding, self._encode_errors)
            is_same = self.encoding in _EXACT_ENCODINGS
            is_same = is_same or payload.decode(self.encoding, self._encode_errors) == message
        except UnicodeError as error:
            raise EncodeError(f"the line cannot be sent in {self.encoding}: {error}") from None
        if not is_same:
            raise EncodeError(f"the line would come back changed from {self.encoding}")
        return bytes(payload_view(payload, self.max_size)), b"\n"

    def read_message(self) -> Steps[str]:
        """Read up to the line break, and decode."""
        line = yield self._line
        try:
            return line.decode(self.encoding, self.errors)
        except UnicodeError as error:
            raise BadMessageError(f"expected a line in {self.encoding}: {error}") from None

    def split_block(self, data: bytes, start: int, stop: int) -> tuple[Iterator[str], int, int]:
        """Split a block into lines: see :attr:`Framer.split_block`."""
        if self.encoding not in _EXACT_ENCODINGS or self.errors not in _LOCAL_HANDLERS:
            return iter(()), start, 0
        end = data.rfind(b"\n", start, stop) + 1 or start
        block = data[start:end]
        if end - start > self.max_size and has_longer(block, b"\n", self.max_size):
            return iter(()), start, 0
        missing = 1 if start < end and stop - end <= self.max_size else 0
        if has_long_lines(block, 0) and block.isascii():
            return texts_of(block), end, missing
        try:
            text = block.decode(self.encoding, self.errors)
        except UnicodeDecodeError as error:  # up to the bad line
            end = data.rfind(b"\n", start, start + error.start) + 1 or start
            missing = 0
            text = data[start:end].decode(self.encoding)
        lines = text.split("\n")
        lines.pop()
        if "\r" in text:
            lines = list(map(str.removesuffix, lines, repeat("\r")))
        return iter(lines), end, missing


# Every text that these can encode comes back equal, and no state is carried between lines.
_EXACT_ENCODINGS = frozenset({"utf-8", "ascii", "iso8859-1"})
# With these, a block decodes to the same text as its lines do.
_LOCAL_HANDLERS = frozenset({"strict", "replace", "ignore", "surrogateescape", "backslashreplace"})


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
        raise ValueError(f"not a text encoding for lines: {name!r} ({error})") from None
    if breaks != [b"", b"\n", b"\r", b"a\nb"] or any("\n" in each for each in hidden):
        raise ValueError(
            f"the encoding {name!r} does not write line breaks, and nothing else, as the bytes"
            " 0a and 0d: use another one, such as UTF-8, or LengthPrefixFramer for encoded text"
        )
    return encoding

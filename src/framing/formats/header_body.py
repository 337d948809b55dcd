r"""Messages of a header, a JSON object, and a body of bytes: for files, requests, answers.

    +-- header length --+------------ header -------------+-- body --+
    |    00 00 00 1b    | { "name": "a.txt", "size": 5 }  | h e l l o |

The header says what the body is, and how long.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import DecodeError, EncodeError
from .fields import LengthField
from ..framer import Framer, check_limit, payload_view
from ..requests import ReadExactly

if TYPE_CHECKING:
    from ..requests import Steps

__all__ = ["HeaderBodyFramer", "HeaderMessage"]

_MAX_DEPTH = 64
# The largest number of digits that every Python takes, whatever sys.set_int_max_str_digits says.
_MAX_DIGITS = 640


class HeaderMessage(NamedTuple):
    """A header, and the body that it describes.

    Attributes:
        header: What JSON can carry as an object.
        body: The bytes.
    """

    header: dict[str, Any]
    body: bytes


class HeaderBodyFramer(Framer[HeaderMessage]):
    r"""The length of a header; the header, a JSON object in UTF-8; the body.

        +-- length: u32, big-endian --+-------- header --------+-- body --+
        |         00 00 00 0a         | { "size": 5 }           | h e l l o |

    ``header[size_key]`` is the size of the body; ``encode`` fills it in.

    Args:
        format: The length field, as a ``struct`` format of one integer with its byte order.
        size_key: The header's key for the size of the body.
        name_key: The header's key for the name of a file, for :mod:`framing.files`.
        max_header_size: The largest header, in bytes, sent or received.  One above what the
            length field can hold is lowered to that.
        max_size: The largest body, in bytes, sent or received.

    Raises:
        ValueError: *format* is no portable format of one integer, or a limit is negative.

    >>> from framing import HeaderBodyFramer, HeaderMessage
    >>> HeaderBodyFramer().encode(HeaderMessage({"name": "a.txt"}, b"hello"))
    b'\x00\x00\x00\x19{"name":"a.txt","size":5}hello'
    >>> HeaderBodyFramer().decode(b'\x00\x00\x00\x0a{"size":2}hi')
    HeaderMessage(header={'size': 2}, body=b'hi')
    """

    format: str
    size_key: str
    name_key: str
    max_header_size: int
    _field: LengthField

    def __init__(
        self,
        format: str = "!I",
        *,
        size_key: str = "size",
        name_key: str = "name",
        max_header_size: int = 64 * 1024,
        max_size: int = 16 * 1024 * 1024,
    ) -> None:
        if not isinstance(size_key, str):
            raise TypeError(f"size_key is a str, as every key in JSON is, not {size_key!r}")
        field = LengthField(format)
        super().__init__(
            format=format,
            size_key=size_key,
            name_key=name_key,
            max_header_size=min(check_limit("max_header_size", max_header_size), field.max_payload),
            max_size=max_size,
            _field=field,
        )

    def encode_parts(self, message: HeaderMessage) -> tuple[bytes, bytes | memoryview]:
        """Return the header behind its length, and the body itself, not copied.

        Args:
            message: A :class:`HeaderMessage`, or any pair of a ``dict`` and bytes.  The
                header's *size_key* may be missing: it is filled in, in a copy.

        Raises:
            EncodeError: The header is not what JSON can carry and bring back equal, nests
                deeper than 64, has another size for the body, or one of the two is too large.
            TypeError: *message* is no such pair.
        """
        header, body = _pair(message)
        payload = payload_view(body, self.max_size)
        return self.encode_head(header, len(payload)), payload

    def encode_head(self, header: dict[str, Any], body_size: int) -> bytes:
        """Return what goes before a body: the header, behind its length."""
        announced = header.get(self.size_key, body_size)
        if isinstance(announced, bool) or announced != body_size:
            raise EncodeError(
                f"header[{self.size_key!r}] is {announced!r}, and the body has {body_size}"
                " bytes: leave the size out, and it is filled in"
            )
        encoded = self._encode_header({**header, self.size_key: body_size})
        return self._field.pack(len(encoded)) + encoded

    def _encode_header(self, header: dict[str, Any]) -> bytes:
        try:
            encoded = _ENCODER.encode(header).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise EncodeError(f"the header is not what JSON can carry: {error}") from None
        if len(encoded) > self.max_header_size:
            raise EncodeError(
                f"expected a header of at most {self.max_header_size} bytes (max_header_size),"
                f" not {len(encoded)}"
            )
        try:
            received = _parse(encoded)
        except DecodeError as error:
            raise EncodeError(f"the reader would refuse the header: {error}") from None
        if received != header:
            raise EncodeError(
                "the header would come back changed: its keys are to be strings, and its values"
                " dict, list, str, int, float, bool or None"
            )
        return encoded

    def read_message(self) -> Steps[HeaderMessage]:
        """Read the length, the header, and the body that it announces."""
        header, size = yield from self.read_head()
        body = yield ReadExactly(self.check_size(size), last=True)
        return HeaderMessage(header, body)

    def read_head(self) -> Steps[Head]:
        """Read the length and the header."""
        field = yield ReadExactly(self._field.width)
        size = self._field.unpack(field, self.max_header_size, "max_header_size")
        header = _parse((yield ReadExactly(size)))
        return Head(header, self._body_size(header))

    def _body_size(self, header: dict[str, Any]) -> int:
        if self.size_key not in header:
            raise DecodeError(f"expected a header with the key {self.size_key!r}")
        size = header[self.size_key]
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise DecodeError(
                f"expected the size of the body in {self.size_key!r}, not {shortened(size)}"
            )
        return size


def shortened(value: object) -> str:
    """Return the ``repr`` of something in a header, of which a peer may have sent a lot."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


class Head(NamedTuple):
    """What comes before a body."""

    header: dict[str, Any]
    body_size: int


def _pair(message: HeaderMessage) -> tuple[dict[str, Any], Any]:
    if not isinstance(message, tuple) or len(message) != 2:
        raise TypeError(f"expected HeaderMessage(header, body), not {type(message).__name__}")
    if not isinstance(message[0], dict):
        raise TypeError(f"expected a dict as header, not {type(message[0]).__name__}")
    return message


# Headers: JSON, but only what every reader understands alike


def _parse(data: bytes) -> dict[str, Any]:
    """Return the header that *data* holds, or raise the DecodeError that says what is wrong."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"expected a header in UTF-8: {error}") from None
    if _depth(text) > _MAX_DEPTH:
        raise DecodeError(f"expected a header that nests at most {_MAX_DEPTH} deep")
    try:
        header = HEADER_DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise DecodeError(f"expected a header in JSON: {error}") from None
    if not isinstance(header, dict):
        raise DecodeError(f"expected a JSON object as header, not {text[:40]!r}")
    if "\\u" in text:
        _check_surrogates(header)
    return header


def _depth(text: str) -> int:
    """Return how deep *text* nests; too much where it is no JSON or hardly nests at all."""
    most = text.count("{") + text.count("[")
    if most <= _MAX_DEPTH:
        return most
    depth = most = 0
    in_string = False
    for mark in _DEPTH_MARKS.findall(text):
        if mark == '"':
            in_string = not in_string
        elif not in_string:
            depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(mark, 0)
            most = max(most, depth)
    return most


_DEPTH_MARKS = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


def _check_surrogates(header: dict[str, Any]) -> None:
    try:
        _ENCODER.encode(header).encode()
    except UnicodeEncodeError:
        raise DecodeError("expected a header of Unicode text, not a lone surrogate") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise DecodeError(f"expected a header without the key {twice!r} twice in one object")
    return members


def _integer(digits: str) -> int:
    size = len(digits.lstrip("-"))
    if size > _MAX_DIGITS:
        raise DecodeError(f"expected integers of at most {_MAX_DIGITS} digits, not {size}")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise DecodeError(f"expected finite numbers, not {digits[:40]}")
    return number


def _constant(name: str) -> float:
    raise DecodeError(f"expected finite numbers, not {name}")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
HEADER_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_float, parse_constant=_constant
)

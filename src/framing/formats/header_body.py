r"""Messages of a header, which is a JSON object, and a body of bytes.

    +-- header length --+---------- header ---------+--- body ---+
    |    00 00 00 19    | {"name":"a.txt","size":5} | h e l l o  |

The header says what the body is and how long it is: for files, requests and answers.  Headers are
strict JSON, so that all readers understand them alike.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import DecodeError, EncodeError, shortened
from ..framer import Framer, check_limit, payload_view
from ..requests import ReadExactly
from .fields import LengthField
from .nesting import check_nesting

if TYPE_CHECKING:
    from ..requests import Steps

_MAX_DEPTH = 64
# The largest number of digits that every Python converts: see sys.set_int_max_str_digits.
_MAX_DIGITS = 640


class HeaderMessage(NamedTuple):
    """A header, and the body that it describes.

    Attributes:
        header: A JSON object.
        body: The bytes.
    """

    header: dict[str, Any]
    body: bytes


class HeaderBodyFramer(Framer[HeaderMessage]):
    r"""The length of a header; the header, a JSON object in UTF-8; the body.

        +-- length: u32, big-endian --+-- header --+--- body ---+
        |         00 00 00 0a         | {"size":5} | h e l l o  |

    ``header[size_key]`` is the size of the body; ``encode`` fills it in.  A header with the same
    key twice, a NaN or infinite number, an integer of more than 640 digits, a lone surrogate, or
    more than 64 levels is refused in both directions.

    Args:
        format: The length field, as a ``struct`` format of one integer with its byte order.
        size_key: The header's key for the size of the body.
        name_key: The header's key for the name of a file, for :mod:`framing.files`.
        max_header_size: The largest header, in bytes, to send or to receive.  A limit above what
            the length field can hold is lowered to that.
        max_size: The largest body, in bytes, to send or to receive.

    Raises:
        ValueError: *format* is not a portable format of one integer, the two keys are the same,
            or a limit is negative.

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
        for option, key in (("size_key", size_key), ("name_key", name_key)):
            if not isinstance(key, str):
                raise TypeError(f"{option} is a str, as all keys in JSON are, not {key!r}")
        if size_key == name_key:
            raise ValueError(f"size_key and name_key are two keys, but both are {size_key!r}")
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
            message: A :class:`HeaderMessage`, or any pair of a ``dict`` and bytes.  The header's
                *size_key* may be missing: it is filled in, in a copy.

        Raises:
            EncodeError: The header cannot be sent as JSON and come back equal, has another size
                for the body, or one of the two is too large.
            TypeError: *message* is not such a pair.
        """
        if not isinstance(message, tuple) or len(message) != 2:
            raise TypeError(f"expected HeaderMessage(header, body), not {type(message).__name__}")
        header, body = message
        payload = payload_view(body, self.max_size)
        return self.encode_head(header, len(payload)), payload

    def encode_head(self, header: dict[str, Any], body_size: int) -> bytes:
        """Return what is sent before a body.  For framing.files, whose bodies have any size.

        Raises:
            EncodeError: As for :meth:`encode_parts`.
            TypeError: *header* is not a ``dict``.
        """
        if not isinstance(header, dict):
            raise TypeError(f"expected a dict as header, not {type(header).__name__}")
        announced = header.get(self.size_key, body_size)
        if isinstance(announced, bool) or announced != body_size:
            raise EncodeError(
                f"header[{self.size_key!r}] is {announced!r}, but the body has {body_size} bytes:"
                " leave the size out, and it is filled in"
            )
        encoded = _encode({**header, self.size_key: body_size})
        if len(encoded) > self.max_header_size:
            raise EncodeError(
                f"expected a header of at most {self.max_header_size} bytes (max_header_size),"
                f" not {len(encoded)}"
            )
        return self._field.pack(len(encoded)) + encoded

    def read_message(self) -> Steps[HeaderMessage]:
        """Read the length, the header, and the body that it announces."""
        header, size = yield from self.read_head()
        return HeaderMessage(header, (yield ReadExactly(self.check_size(size), last=True)))

    def read_head(self) -> Steps[tuple[dict[str, Any], int]]:
        """Read the length and the header.  For framing.files, which receives the body itself.

        Returns:
            The header, and the size of the body, which may be larger than ``max_size``.
        """
        field = yield ReadExactly(self._field.width)
        length = self._field.unpack(field, self.max_header_size, "max_header_size")
        data = yield ReadExactly(length)
        try:
            header = _parse(data)
        except (ValueError, RecursionError) as error:
            raise DecodeError(f"expected a JSON object as header: {error}") from None
        if self.size_key not in header:
            keys = shortened(", ".join(map(repr, header)), 120) or "no key at all"
            raise DecodeError(
                f"expected a header with the key {self.size_key!r}, not one with {keys}:"
                " see size_key="
            )
        size = header[self.size_key]
        if type(size) is not int or size < 0:
            raise DecodeError(
                f"expected the size of the body in {self.size_key!r}, not {shortened(repr(size))}"
            )
        return header, size


# Headers are JSON, but only what all readers understand alike


def _encode(header: dict[str, Any]) -> bytes:
    try:
        encoded = _ENCODER.encode(header).encode()
        is_same = _parse(encoded) == header
    except (TypeError, ValueError, RecursionError) as error:
        raise EncodeError(f"the header cannot be sent as a JSON object: {error}") from None
    if not is_same:
        raise EncodeError(
            "the header would come back changed: expected keys that are strings, and values that"
            " are dict, list, str, int, float, bool or None"
        )
    return encoded


def _parse(data: bytes) -> dict[str, Any]:
    header = HEADER_DECODER.decode(data.decode())
    if not isinstance(header, dict):
        raise ValueError(f"this is of type {type(header).__name__}")
    check_nesting(header, _MAX_DEPTH)
    if b"\\u" in data:
        _ENCODER.encode(header).encode()  # fails at a lone surrogate
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise ValueError(f"the key {shortened(repr(key))} is twice in one object")
        members[key] = value
    return members


def _integer(digits: str) -> int:
    size = len(digits.lstrip("-"))
    if size > _MAX_DIGITS:
        raise ValueError(f"an integer has {size} digits, more than {_MAX_DIGITS}")
    return int(digits)


def _finite(number: str) -> float:
    value = float(number)
    if not isfinite(value):
        raise ValueError(f"{shortened(number, 40)} is not a finite number")
    return value


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
HEADER_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_finite, parse_constant=_finite
)

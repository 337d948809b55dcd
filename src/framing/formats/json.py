r"""JSON, inside another format.

    +-- length ---+-- JSON, UTF-8 --+     +-- JSON, UTF-8 --+-- \n --+
    |  00 00 00 0b |  {"hello":1}    |     |  {"hello":1}    |   0a   |

On the left, it is inside a :class:`LengthPrefixFramer`; on the right, inside a
:class:`LineFramer`, which makes it JSON lines.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..framer import Framer, check_is_framer
from .codec import CodecFramer
from .length_prefix import LengthPrefixFramer
from .nesting import check_nesting

if TYPE_CHECKING:
    from typing import NoReturn

_LENGTH_PREFIX = LengthPrefixFramer()
# Half of the recursion limit, so that what can be sent can be received.
_MAX_DEPTH = 500


class JsonFramer(CodecFramer[Any]):
    r"""Any JSON value but a bare ``null``, inside another format.

    ``JsonFramer(LineFramer())`` is JSON lines (also called NDJSON), and
    ``JsonFramer(ContentLengthFramer())`` is what language servers speak.

    Tuples come back as lists.  Everything else comes back equal, or is refused.  Of duplicate
    keys in a received object, the last one counts.

    Args:
        framer: The format inside, with ``bytes`` or ``str`` as messages.  Its ``max_size`` and
            ``oversize`` apply to the encoded messages.

    Raises:
        TypeError: *framer* is not a framer.

    Source: RFC 8259; https://jsonlines.org

    >>> from framing import JsonFramer, LineFramer
    >>> framer = JsonFramer(LineFramer())
    >>> framer.encode({"name": "Zoë", "tags": [1, 2.5, True, None]})
    b'{"name":"Zo\xc3\xab","tags":[1,2.5,true,null]}\n'
    >>> list(framer.decoder().feed(b'{"a": 1}\n[]\n"text"\n'))
    [{'a': 1}, [], 'text']
    """

    def __init__(self, framer: Framer[str] | Framer[bytes] = _LENGTH_PREFIX) -> None:
        check_is_framer(framer)
        inside: Framer[Any] = framer
        encode, decode = (_text, _value) if _takes_text(inside) else (_utf8, _value_of_utf8)
        super().__init__(inside, encode, decode)

    def _options(self) -> dict[str, Any]:
        return {"framer": self.framer}


def _takes_text(framer: Framer[Any]) -> bool:
    """Return whether *framer* carries ``str``, and not ``bytes``."""
    try:
        framer.encode("0")
    except Exception:  # of any kind: it may be a CodecFramer
        return False
    return True


# Encoding

# With skipkeys, it leaves keys that it cannot encode to check_nesting, which finds all bad ones.
_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, skipkeys=True, separators=(",", ":")
)


def _utf8(value: object) -> bytes:
    if value is None:
        raise ValueError("a bare null is not a message: put it in a list, for example")
    text = _ENCODER.encode(value)  # first, since it refuses what contains itself
    check_nesting(value, _MAX_DEPTH)
    return text.encode()


def _text(value: object) -> str:
    return _utf8(value).decode()


# Decoding


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _value(text: str) -> Any:
    value = _DECODER.decode(text)
    if value is None:
        raise ValueError("a bare null is not a message")
    return value


def _value_of_utf8(payload: bytes) -> Any:
    return _value(payload.decode())

r"""Framers and messages as text: what is typed on the command line, and what it prints.

A framer is a word, and after a colon its details: ``length``, ``length:<I``,
``delimiter:\r\n``, ``lines:gbk``, ``struct:!H8sb``, ``json:lines``.  A framer of the user's own
is the module it is in and its name: ``myformats:Chat``.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..formats.content_length import ContentLengthFramer
from ..formats.delimiter import DelimiterFramer
from ..formats.header_body import HEADER_DECODER, HeaderBodyFramer, HeaderMessage
from ..formats.json import JsonFramer
from ..formats.length_prefix import LengthPrefixFramer
from ..formats.lines import LineFramer
from ..formats.netstring import NetstringFramer
from ..formats.record import StructFramer
from ..formats.varint import VarintFramer
from ..framer import Framer
from .terminal import printable

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = (
    r"length, length:<I, delimiter:\r\n, lines, lines:gbk, header, struct:!H8sb, json,"
    " json-lines, netstring, varint, content-length, or mymodule:MyFramer"
)

# Each is called with the text after the colon, if there is one, and with max_size, if given.
_FRAMERS: dict[str, Callable[..., Framer[Any]]] = {
    "length": LengthPrefixFramer,
    "delimiter": lambda *text, **limit: DelimiterFramer(*map(unescape, text), **limit),
    "lines": LineFramer,
    "header": HeaderBodyFramer,
    "struct": StructFramer,
    "json": lambda inner="length", max_size=None: JsonFramer(parse_framer(inner, max_size)),
}
_FRAMERS_WITHOUT_DETAILS: dict[str, Callable[..., Framer[Any]]] = {
    "json-lines": lambda **limit: JsonFramer(LineFramer(**limit)),
    "netstring": NetstringFramer,
    "varint": VarintFramer,
    "content-length": ContentLengthFramer,
}


# Framers


def parse_framer(text: str, max_size: int | None = None) -> Framer[Any]:
    """Return the framer that *text* names, with its own limit or *max_size*.

    Raises:
        ValueError: There is no such framer.
    """
    kind, colon, detail = text.partition(":")
    limit = {} if max_size is None else {"max_size": max_size}
    if text in _FRAMERS_WITHOUT_DETAILS:
        return _FRAMERS_WITHOUT_DETAILS[text](**limit)
    if kind not in _FRAMERS and colon:
        return _own_framer(kind, detail, limit)
    if kind not in _FRAMERS:
        raise ValueError(f"unknown framer {text!r}: expected one of {EXAMPLES}")
    if not detail and (colon or kind == "struct"):
        raise ValueError(f"{kind} needs something after its colon: expected one of {EXAMPLES}")
    if limit and kind == "struct":
        raise ValueError("struct records have a fixed size, so they take no other limit")
    return _FRAMERS[kind](*[detail] * bool(colon), **limit)


def _own_framer(module: str, name: str, limit: dict[str, int]) -> Framer[Any]:
    if "" not in sys.path:  # as the installed command has it
        sys.path.insert(0, "")
    text = f"{module}:{name}"
    try:
        found: object = getattr(import_module(module), name)
        framer = found(**limit) if isinstance(found, type) else found
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ValueError(f"unknown framer {text!r} ({why}): expected one of {EXAMPLES}") from None
    if not isinstance(framer, Framer):
        raise ValueError(f"{text} is not a Framer, nor a class of them, but {found!r:.80}")
    if limit and framer is found:
        raise ValueError(f"{text} is a framer with a max_size of its own: name its class instead")
    return framer


# Messages


def unescape(text: str) -> bytes:
    r"""Return the bytes that *text* stands for: ``\r``, ``\x00`` and so on are escapes."""
    return as_typed(text).decode("unicode_escape").encode("latin-1")


def as_typed(text: str) -> bytes:
    """Return *text*, which came from a shell or standard input, as the bytes that it was."""
    return text.encode(errors="surrogateescape")


def parse_message(framer: Framer[Any], data: bytes) -> Any:
    """Return the message for *framer* that was typed as *data*.

    Headers and JSON are written as JSON, the values of a record with commas between them.

    Raises:
        ValueError: *data* does not stand for a message.
    """
    text = data.decode(errors="surrogateescape")
    if isinstance(framer, HeaderBodyFramer):
        if not text.startswith("{"):
            return HeaderMessage({}, data)
        header, end = HEADER_DECODER.raw_decode(text)
        return HeaderMessage(header, as_typed(text[end:].removeprefix(" ")))
    if isinstance(framer, StructFramer):
        return _parse_record(framer, text)
    if isinstance(framer, JsonFramer):
        return json.loads(text)
    try:
        with suppress(ValueError):  # that is for the caller, who sends it
            framer.encode(data)
    except (TypeError, AttributeError):  # it carries text, as a framer of the user's own may
        return text
    return data


_VALUES: dict[type, Callable[[str], Any]] = {
    bytes: as_typed,
    int: lambda text: int(text, 0),
    float: float,
    bool: lambda text: bool(json.loads(text.lower())),
}


def _parse_record(framer: StructFramer, text: str) -> tuple[Any, ...]:
    kinds = list(map(type, framer.decode(bytes(framer.max_size))))
    values = text.split(",") if text else []
    if len(values) != len(kinds):
        raise ValueError(
            f"{framer.format} takes {len(kinds)} values with commas between them, not {len(values)}"
        )
    return tuple(_VALUES[kind](value.strip()) for kind, value in zip(kinds, values, strict=True))


def show_message(message: Any) -> str:
    """Return *message* as one line of text that cannot steer a terminal."""
    if isinstance(message, HeaderMessage):
        return f"{_show_json(message.header)} {show_message(message.body)}"
    if isinstance(message, tuple):
        return ", ".join(map(show_message, message))
    if isinstance(message, bytes):
        try:
            return printable(message.decode())
        except UnicodeDecodeError:
            return repr(message)
    if isinstance(message, (dict, list)):
        return _show_json(message)
    return printable(str(message))


def _show_json(value: Any) -> str:
    return printable(json.dumps(value, ensure_ascii=False, default=str))

r"""Framers and messages as text: what is typed on the command line, and printed by it.

A framer is a word, and after a colon what distinguishes it: ``length``, ``length:<I``,
``delimiter:\r\n``, ``lines``, ``lines:gbk``, ``header``, ``struct:!H8sb``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .delimiter import DelimiterFramer, LineFramer
from .header_body import HEADER_DECODER, HeaderBodyFramer, HeaderMessage
from .length_prefix import LengthPrefixFramer
from .record import StructFramer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .framer import Framer

FRAMERS = r"length, length:<I, delimiter:\r\n, lines, header, struct:!H8sb"

_FRAMERS: dict[str, Callable[..., Framer[Any]]] = {
    "length": LengthPrefixFramer,
    "delimiter": lambda *text, **limit: DelimiterFramer(*map(_unescape, text), **limit),
    "lines": LineFramer,
    "header": HeaderBodyFramer,
    "struct": StructFramer,
}


def parse_framer(text: str, max_size: int | None = None) -> Framer[Any]:
    """Return the framer that *text* names, with its limit or another.

    Raises:
        ValueError: It names none, or one that cannot exist.
    """
    kind, colon, detail = text.partition(":")
    if kind not in _FRAMERS:
        raise ValueError(f"no framer is called {kind!r}: expected one such as {FRAMERS}")
    if not detail and (colon or kind == "struct"):
        raise ValueError(f"{kind} needs something after its colon: expected one such as {FRAMERS}")
    if max_size is not None and kind == "struct":
        raise ValueError("the records of struct have one size, and no other limit")
    limit = {} if max_size is None else {"max_size": max_size}
    return _FRAMERS[kind](detail, **limit) if colon else _FRAMERS[kind](**limit)


def _unescape(text: str) -> bytes:
    r"""Return the bytes that *text* stands for: ``\r``, ``\x00`` and the like are escapes."""
    try:
        return text.encode().decode("unicode_escape").encode("latin-1")
    except UnicodeError as error:
        raise ValueError(f"{text!r} is no text with escapes such as \\r\\n: {error}") from None


def parse_message(framer: Framer[Any], text: str) -> Any:
    """Return the message for *framer* that *text* stands for.

    Bytes are *text* in UTF-8.  A header is a JSON object in front of the body, or left out.
    The values of a record stand between commas.

    Raises:
        ValueError: It stands for none.
    """
    if isinstance(framer, LineFramer):
        return text
    if isinstance(framer, HeaderBodyFramer):
        return _parse_header(text)
    if isinstance(framer, StructFramer):
        return _parse_record(framer, text)
    return _to_bytes(text)


def _to_bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # as the shell's arguments are decoded


def _parse_header(text: str) -> HeaderMessage:
    if not text.startswith("{"):
        return HeaderMessage({}, _to_bytes(text))
    try:
        header, end = HEADER_DECODER.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"what begins with {{ is a header, in JSON: {error}") from None
    return HeaderMessage(header, _to_bytes(text[end:].removeprefix(" ")))


def _parse_record(framer: StructFramer, text: str) -> tuple[Any, ...]:
    try:
        kinds = list(map(type, framer.decode(bytes(framer.max_size))))
    except MemoryError:
        raise ValueError(f"{framer.format} is too large for this machine") from None
    values = text.split(",") if text else []
    if len(values) != len(kinds):
        raise ValueError(
            f"{framer.format} takes {len(kinds)} values with commas between them,"
            f" and {text!r} has {len(values)}"
        )
    return tuple(_VALUES[kind](value.strip()) for kind, value in zip(kinds, values, strict=True))


def _to_bool(text: str) -> bool:
    try:
        return {"0": False, "false": False, "1": True, "true": True}[text.lower()]
    except KeyError:
        raise ValueError(f"expected true or false, not {text!r}") from None


_VALUES: dict[type, Callable[[str], Any]] = {
    bytes: _to_bytes,
    int: lambda text: int(text, 0),
    float: float,
    bool: _to_bool,
}


def show_message(message: Any) -> str:
    """Return *message* as one line of text that does nothing to a terminal."""
    if isinstance(message, HeaderMessage):
        header = json.dumps(message.header, ensure_ascii=False)
        return f"{_printable(header)} {show_message(message.body)}"
    if isinstance(message, tuple):
        return ", ".join(map(show_message, message))
    if isinstance(message, bytes):
        try:
            return _printable(message.decode())
        except UnicodeDecodeError:
            return repr(message)
    return _printable(str(message))


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()

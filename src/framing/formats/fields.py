"""Fixed-size binary fields: ``struct`` formats that mean the same on every machine.

:func:`portable_struct` compiles such a format.  A :class:`LengthField` is the one integer that
says how many bytes of payload follow.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from struct import Struct, calcsize
from struct import error as StructError
from typing import TYPE_CHECKING, Any

from ..errors import DecodeError, MessageTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable

_INTEGERS = "bBhHiIlLqQ"

# The first bytes that peers of other protocols send.
_FIRST_BYTES = {
    "HTTP": (
        *(b"GET ", b"HEAD", b"POST", b"PUT ", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE"),
        *(b"PATCH", b"HTTP", b"PRI "),
    ),
    "SSH": (b"SSH-",),
    "TLS": (b"\x16\x03",),
}
_LIKELY_SIZE = 2**20  # for a hint, the largest size that a peer is likely to mean


class PortableStruct(Struct):
    """A compiled format that can be pickled, as framers can."""

    def __reduce__(self) -> tuple[type[PortableStruct], tuple[str]]:
        return PortableStruct, (self.format,)


def portable_struct(format: str) -> PortableStruct:
    """Compile a ``struct`` *format* whose layout does not depend on the machine.

    Raises:
        ValueError: *format* is not a ``struct`` format, or does not begin with ``!``, ``<`` or
            ``>``.
    """
    if not isinstance(format, str):
        raise TypeError(f"a struct format is a str such as '!I', not {format!r}")
    if format[:1] not in ("!", "<", ">"):
        raise ValueError(
            f"the layout of the struct format {format!r} depends on the machine:"
            f" write {_portable(format)}"
        )
    if re.search(r"(?<!\d)0+p", format):
        raise ValueError(f"a Pascal string of no size, 0p, in {format!r}: write 1p or more")
    try:
        return PortableStruct(format)
    except (StructError, UnicodeError) as error:
        raise ValueError(f"{format!r} is not a struct format: {error}") from None


def _portable(native: str) -> str:
    """Return what to write instead of a *native* format, with its padding spelled out."""
    codes = native.lstrip("@=").replace(" ", "") or "I"
    try:
        padded = codes if native.startswith("=") else _padded(codes)
    except StructError:  # not a format at all
        padded = codes
    if padded == codes:
        return f"'!{codes}' for big-endian (network byte order) or '<{codes}' for little-endian"
    order = "<" if sys.byteorder == "little" else ">"
    return (
        f"'{order}{padded}' for what a C program sends on a machine like this one (with the sizes"
        f" and the padding, x, of its compiler), or '!{codes}' for big-endian without padding"
    )


def _padded(codes: str) -> str:
    """Return the *codes* of a native format with the sizes and the padding that C gives them."""
    native, result = "@", ""
    for count, code in re.findall(r"(\d*)([a-zA-Z?])", codes):
        gap = calcsize(f"{native}0{code}") - calcsize(f"<{result}")  # 0 items, but aligned
        native += count + code
        portable = _EIGHT_BYTES.get(code, code) if calcsize(f"@{code}") == 8 else code
        result += (f"{gap}x" if gap > 1 else "x" * gap) + count + portable
    return result


_EIGHT_BYTES = {"l": "q", "L": "Q", "n": "q", "N": "Q", "P": "Q"}


class LengthField:
    """An integer in front of a payload, with the payload's size.

    Args:
        format: A ``struct`` format of one integer, with its byte order.
        includes_itself: Whether the integer counts its own bytes too.

    Attributes:
        width: The size of the field itself, in bytes.
        max_payload: The largest payload size that the field can hold.

    Raises:
        ValueError: *format* is not of that kind.
    """

    __slots__ = ("_included", "_struct", "max_payload", "pack", "unpack_from", "width")

    pack: Callable[[int], bytes]
    """Return the field that announces a payload of so many bytes, ``max_payload`` at most."""

    def __init__(self, format: str, *, includes_itself: bool = False) -> None:
        field = portable_struct(format)
        code = format[1:]
        if len(code) != 1 or code not in _INTEGERS:
            raise ValueError(
                f"expected a struct format of one integer, such as '!I' or '<H', not {format!r}"
            )
        bits = 8 * field.size - (1 if code.islower() else 0)
        self._struct = field
        self.unpack_from: Callable[..., tuple[Any, ...]] = field.unpack_from
        self.width: int = field.size
        self._included = field.size if includes_itself else 0
        self.max_payload: int = 2**bits - 1 - self._included
        self.pack = self._pack_including_itself if includes_itself else field.pack

    def __reduce__(self) -> tuple[object, ...]:
        return partial(LengthField, includes_itself=bool(self._included)), (self._struct.format,)

    def _pack_including_itself(self, payload_size: int) -> bytes:
        return self._struct.pack(payload_size + self._included)

    def unpack(self, field: bytes, limit: int, limit_name: str) -> int:
        """Return the payload size that *field* announces.

        Raises:
            MessageTooLargeError: It is above *limit*, which the option *limit_name* sets.
            DecodeError: No payload has this size.
        """
        (length,) = self._struct.unpack(field)
        size: int = length - self._included
        if 0 <= size <= limit:
            return size
        hint = self._hint(field, limit)
        if size > limit:
            raise MessageTooLargeError(
                f"expected at most {limit} bytes ({limit_name}),"
                f" but the length field {field!r} announces {size}{hint}",
                size=size,
                limit=limit,
            )
        raise DecodeError(
            f"expected a length of {self._included} or more,"
            f" but the length field {field!r} says {length}{hint}"
        )

    def _hint(self, field: bytes, limit: int) -> str:
        """Return a question for the error's text, if *field* looks like something else."""
        for protocol, beginnings in _FIRST_BYTES.items():
            if any(_begins(field, each) for each in beginnings):
                return f": is the peer speaking {protocol}?"
        if self.width > 1 and field.strip(b" ").isdigit():
            return ": these bytes are a decimal number: does the peer send its lengths as text?"
        if _TEXT.fullmatch(field) and self.width > 1:
            return (
                ": these bytes are text: does the peer send with send_msg, and with the same"
                f" framer?{_text_format(field)}"
            )
        order = "!" if self._struct.format[0] == "<" else "<"
        other = LengthField(order + self._struct.format[1:], includes_itself=bool(self._included))
        (length,) = other.unpack_from(field)
        if 0 <= length - other._included <= min(limit, _LIKELY_SIZE):
            name = {"<": "little-endian", "!": "big-endian"}[order]
            return f": it is {length} in {name}: does the peer use {other._struct.format!r}?"
        return ""


_TEXT = re.compile(rb"[\t\r\n\x20-\x7e]+|[\t\r\n\x20-\x7e]*[\xc2-\xf4][\x80-\xbf]+.*", re.DOTALL)


def _begins(field: bytes, beginning: bytes) -> bool:
    size = min(len(beginning), len(field))
    return size >= min(len(beginning), 4) and field[:size] == beginning[:size]


def _text_format(field: bytes) -> str:
    """Return a guess at the format of *field*, which is text."""
    if field.lstrip()[:1] in (b"{", b"["):
        return " They look like JSON: JsonFramer(LineFramer()) reads JSON lines."
    if _begins(field, b"Content-Length") or _begins(field, b"content-length"):
        return " They look like a Content-Length header: ContentLengthFramer reads those."
    if re.match(rb"\d+:", field):
        return " They look like a netstring: NetstringFramer reads those."
    return ""

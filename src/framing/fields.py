"""Fixed-size binary fields: ``struct`` formats that mean the same on every machine.

:func:`portable_struct` compiles any such format; a :class:`LengthField` is the one integer
that says how many bytes of payload follow.
"""

from __future__ import annotations

import re
from functools import partial
from struct import Struct
from struct import error as StructError
from typing import TYPE_CHECKING

from .errors import DecodeError, MessageTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable

_INTEGERS = "bBhHiIlLqQ"

# What peers of other protocols send first.  Where it is read as a length, the error says so.
_FIRST_BYTES = {
    "HTTP": (
        *(b"GET ", b"HEAD", b"POST", b"PUT ", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE"),
        *(b"PATCH", b"HTTP", b"PRI "),
    ),
    "SSH": (b"SSH-",),
    "TLS": (b"\x16\x03",),
}


class PortableStruct(Struct):
    """A compiled format that can be pickled, as framers can."""

    def __reduce__(self) -> tuple[type[PortableStruct], tuple[str]]:
        return PortableStruct, (self.format,)


def portable_struct(format: str) -> PortableStruct:
    """Compile a ``struct`` *format* whose layout does not depend on the machine.

    Raises:
        ValueError: *format* is no ``struct`` format, or does not begin with ``!``, ``<`` or
            ``>``.
    """
    if not isinstance(format, str):
        raise TypeError(f"a struct format is a str such as '!I', not {format!r}")
    if format[:1] not in ("!", "<", ">"):
        codes = format.lstrip("@=") or "I"
        raise ValueError(
            f"the layout of the struct format {format!r} depends on the machine: write"
            f" '!{codes}' for big-endian (network byte order) or '<{codes}' for little-endian"
        )
    if re.search(r"(?<!\d)0+p", format):
        raise ValueError(f"a Pascal string of no size, 0p, in {format!r}: write 1p or more")
    try:
        return PortableStruct(format)
    except (StructError, UnicodeError) as error:
        raise ValueError(f"{format!r} is no struct format: {error}") from None


class LengthField:
    """An integer before a payload, with the payload's size.

    Args:
        format: A ``struct`` format of one integer, with its byte order.
        includes_itself: Whether the integer counts its own bytes too.

    Attributes:
        width: The size of the field itself, in bytes.
        max_payload: The largest payload size that the field can tell.

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
        self.unpack_from = field.unpack_from
        self.width = field.size
        self._included = field.size if includes_itself else 0
        self.max_payload = 2**bits - 1 - self._included
        self.pack = self._pack_including_itself if includes_itself else field.pack

    def __reduce__(self) -> tuple[object, ...]:
        return partial(LengthField, includes_itself=self._included > 0), (self._struct.format,)

    def _pack_including_itself(self, payload_size: int) -> bytes:
        return self._struct.pack(payload_size + self._included)

    def unpack(self, field: bytes, limit: int, limit_name: str) -> int:
        """Return the payload size that *field* announces.

        Raises:
            MessageTooLargeError: It is above *limit*, which *limit_name* sets.
            DecodeError: No payload has this size.
        """
        (length,) = self._struct.unpack(field)
        size: int = length - self._included
        if 0 <= size <= limit:
            return size
        hint = _other_protocol(field)
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


def _other_protocol(field: bytes) -> str:
    """Return a question for the error's text if *field* is how another protocol begins."""
    for protocol, beginnings in _FIRST_BYTES.items():
        for beginning in beginnings:
            size = min(len(beginning), len(field))
            if size >= min(len(beginning), 4) and field[:size] == beginning[:size]:
                return f": is the peer speaking {protocol}?"
    return ""

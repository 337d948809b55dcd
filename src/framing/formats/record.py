r"""Records of one fixed layout, a ``struct`` format.

    +-- number --+------ name ------+-- flag --+      "!H8sb"
    |   00 07    |  a l i c e 0 0 0 |    01    |

The stream needs no lengths or delimiters, because every message has the same size.
"""

from __future__ import annotations

from struct import error as StructError
from typing import TYPE_CHECKING, Any

from ..errors import EncodeError
from ..framer import Framer
from ..requests import ReadExactly
from .fields import portable_struct

if TYPE_CHECKING:
    from collections.abc import Iterator
    from struct import Struct

    from ..requests import Steps


class StructFramer(Framer[tuple[Any, ...]]):
    r"""Fixed-size records: the values of one ``struct`` format.

        +-- H: u16 --+------- 8s -------+-- b: i8 --+
        |   00 07    |  a l i c e 0 0 0 |    01     |

    A message is a tuple with one value for each of the format's.  Two kinds of values may
    come back as another: an ``s`` shorter than its field is padded with zero bytes, and a
    float is rounded to the width of its field.

    Args:
        format: A ``struct`` format with its byte order, such as ``"!H8sb"``.

    Raises:
        ValueError: *format* is not a portable ``struct`` format, or has no bytes.

    >>> from framing import StructFramer
    >>> StructFramer("!H8sb").encode((7, b"alice", 1))
    b'\x00\x07alice\x00\x00\x00\x01'
    >>> StructFramer("!H8sb").decode(b'\x00\x07alice\x00\x00\x00\x01')
    (7, b'alice\x00\x00\x00', 1)
    """

    format: str
    _struct: Struct

    def __init__(self, format: str) -> None:
        record = portable_struct(format)
        if not record.size:
            raise ValueError(f"a record of the struct format {format!r} has no bytes")
        super().__init__(format=format, max_size=record.size, _struct=record)

    def _options(self) -> dict[str, Any]:
        return {"format": self.format}  # max_size follows from it

    def encode_parts(self, message: tuple[Any, ...]) -> tuple[bytes]:
        """Return the record of *message*.

        Args:
            message: As many values as *format* has, each of the type and in the range of its
                place in it.

        Raises:
            EncodeError: *message* does not fit *format*, or would come back changed.
            TypeError: *message* is not a tuple.
        """
        if not isinstance(message, tuple):
            raise TypeError(f"expected a tuple of values, not {type(message).__name__}")
        try:
            wire = self._struct.pack(*message)
        except (StructError, OverflowError, TypeError) as error:  # the last on PyPy
            raise EncodeError(
                f"the values do not fit the format {self.format!r}: {error}"
            ) from None
        for sent, received in zip(message, self._struct.unpack(wire), strict=True):
            if not _is_same(sent, received):
                raise EncodeError(
                    f"the format {self.format!r} would turn {sent!r} into {received!r}"
                )
        return (wire,)

    def read_message(self) -> Steps[tuple[Any, ...]]:
        """Read one record."""
        return self._struct.unpack((yield ReadExactly(self._struct.size, last=True)))

    def split_block(
        self, data: bytes, start: int, stop: int
    ) -> tuple[Iterator[tuple[Any, ...]], int, int]:
        """Split a block into records: see :attr:`Framer.split_block`."""
        size = self._struct.size
        end = stop - (stop - start) % size
        return self._struct.iter_unpack(data[start:end]), end, end + size - stop


def _is_same(sent: object, received: object) -> bool:
    """Return whether *received* is *sent*, but for the padding of an ``s`` and for rounding."""
    if isinstance(sent, (bytes, bytearray)) and isinstance(received, bytes):
        return received == sent.ljust(len(received), b"\0") or received == sent
    return (isinstance(sent, float) and isinstance(received, float)) or received == sent

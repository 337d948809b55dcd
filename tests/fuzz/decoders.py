"""Any bytes, cut anywhere, for every wire format.

An input names a format, then how to read and to cut, then the stream:

    +-- format --+-- 8 r + n --+-- n sizes of chunks --+-- stream --+
    |  one byte  |  one byte   |      a byte each      |    rest    |

What must hold is in ``outcomes.check``, as for the contract.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from framing import Framer

from .. import outcomes
from ..outcomes import READERS, Reader
from ..strategies import FORMATS

# The corpus goes by their places: if one is not added at the end, change the inputs, too.
FRAMERS: list[Framer[Any]] = [each.framer for each in FORMATS]
MOST_CUTS = 7


class Input(NamedTuple):
    """What an input stands for."""

    framer: Framer[Any]
    read: Reader
    sizes: bytes
    stream: bytes


def take_apart(data: bytes) -> Input:
    kind, how = data[:2].ljust(2, b"\0")
    reader, count = divmod(how, MOST_CUTS + 1)
    return Input(
        FRAMERS[kind % len(FRAMERS)],
        READERS[reader % len(READERS)],
        data[2 : 2 + count],
        data[2 + count :],
    )


def put_together(framer: Framer[Any], sizes: bytes, stream: bytes) -> bytes:
    """Return the input for them."""
    return bytes([FRAMERS.index(framer), len(sizes)]) + sizes + stream


def check(data: bytes) -> None:
    """Raise an error if the library does not do with an input what it promises."""
    framer, read, sizes, stream = take_apart(data)
    outcomes.check(framer, stream, outcomes.cut(stream, *sizes), read)

"""Any bytes, cut anywhere, for every wire format.

An input names a format, then how to read and to cut, then the stream:

    +-- format --+-- 32 b + 8 r + n --+-- n sizes of chunks --+-- stream --+
    |  one byte  |      one byte      |      a byte each      |    rest    |

If *b* is odd, the decoder handles a few bytes as it otherwise handles many thousands: what is
decoded at once, what is moved rather than copied, how long a line is a long one.

What must hold is in ``outcomes.check``, as for the contract.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

from framing import Framer

from .. import outcomes
from ..outcomes import READERS, Reader, few_bytes_are_many
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
    few_are_many: bool


def take_apart(data: bytes) -> Input:
    kind, how = data[:2].ljust(2, b"\0")
    reader, count = divmod(how, MOST_CUTS + 1)
    return Input(
        FRAMERS[kind % len(FRAMERS)],
        READERS[reader % len(READERS)],
        data[2 : 2 + count],
        data[2 + count :],
        bool(reader // len(READERS) % 2),
    )


def put_together(
    framer: Framer[Any], sizes: bytes, stream: bytes, *, few_are_many: bool = False
) -> bytes:
    """Return the input for them."""
    return bytes([FRAMERS.index(framer), 32 * few_are_many + len(sizes)]) + sizes + stream


def check(data: bytes) -> None:
    """Raise an error if the library does not do with an input what it promises."""
    framer, read, sizes, stream, few_are_many = take_apart(data)
    with few_bytes_are_many() if few_are_many else nullcontext():
        outcomes.check(framer, stream, outcomes.cut(stream, *sizes), read)

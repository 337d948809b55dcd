r"""Netstrings: the length in decimal digits, the payload, and a comma.

    +-- digits --+-- : --+-- payload --+-- , --+
    |     5      |   :   |  h e l l o  |   ,   |

People can read the length, and the comma shows when the two sides disagree about it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import DecodeError
from ..framer import Framer, check_limit, payload_view
from ..requests import ReadExactly, ReadUntil
from .blocks import split_sized

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..buffer import Buffer
    from ..requests import Steps

# Enough for any size in 64 bits, so that a length above max_size is reported as such.
_MOST_DIGITS = 20
_HEADER = re.compile(rb"(0|[1-9][0-9]{0,18}):")


class NetstringFramer(Framer[bytes]):
    r"""Netstrings, as in Twisted's ``NetstringReceiver``, SCGI and qmail.

        +-- digits --+-- : --+-- payload --+-- , --+
        |     5      |   :   |  h e l l o  |   ,   |

    A length with a leading zero is refused.

    Args:
        max_size: The largest payload, in bytes, to send or to receive.

    Raises:
        ValueError: *max_size* is negative.

    Source: D. J. Bernstein, "Netstrings" (1997), https://cr.yp.to/proto/netstrings.txt

    >>> from framing import NetstringFramer
    >>> NetstringFramer().encode(b"hello")
    b'5:hello,'
    >>> list(NetstringFramer().decoder().feed(b"5:hello,0:,2:h"))
    [b'hello', b'']
    """

    _digits: ReadUntil

    def __init__(self, *, max_size: int = 16 * 1024 * 1024) -> None:
        most = max(_MOST_DIGITS, len(str(check_limit("max_size", max_size))))
        super().__init__(max_size=max_size, _digits=ReadUntil(b":", limit=most))

    def encode_parts(self, message: Buffer) -> tuple[bytes | memoryview, ...]:
        """Return the length and its colon, *message* itself, not copied, and the comma.

        Raises:
            EncodeError: *message* is larger than ``max_size``.
            TypeError: *message* is not made of bytes.
        """
        payload = payload_view(message, self.max_size)
        return b"%d:" % len(payload), payload, b","

    def read_message(self) -> Steps[bytes]:
        """Read the length, the payload, and the comma."""
        digits = yield self._digits
        if not digits.isdigit() or (digits[0] == 0x30 and digits != b"0"):
            raise DecodeError(f"expected a length in decimal digits before ':', not {digits!r}")
        size = self.check_size(int(digits))
        payload = yield ReadExactly(size + 1, True)
        if payload[size] != 0x2C:
            raise DecodeError(
                f"expected ',' after a payload of {size} bytes, not {payload[size:]!r}"
            )
        return payload[:size]

    def split_block(self, data: bytes, start: int, stop: int) -> tuple[Iterator[bytes], int, int]:
        """Split a block into messages: see :attr:`Framer.split_block`."""
        return split_sized(data, start, stop, header=_HEADER, tail=b",", max_size=self.max_size)

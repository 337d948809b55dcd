"""A wire format that the package does not have, written against its public contract alone.

Netstrings: http://cr.yp.to/proto/netstrings.txt
"""

from __future__ import annotations

from framing import DecodeError, EncodeError, Framer, ReadExactly, ReadUntil, Steps


class NetstringFramer(Framer[bytes]):
    """``b"hello"`` is ``b"5:hello,"``."""

    def __init__(self, *, max_size: int = 1024 * 1024) -> None:
        super().__init__(max_size=max_size)

    def encode_parts(self, message: bytes) -> list[bytes]:
        if len(message) > self.max_size:
            raise EncodeError(f"expected at most {self.max_size} bytes, not {len(message)}")
        return [b"%d:" % len(message), message, b","]

    def read_message(self) -> Steps[bytes]:
        digits = yield ReadUntil(b":", limit=len(str(self.max_size)))
        if not digits.isdigit() or digits != b"%d" % int(digits):
            raise DecodeError(f"expected a decimal length, not {digits!r}")
        size = self.check_size(int(digits))
        payload = yield ReadExactly(size + 1, last=True)
        if payload[-1:] != b",":
            raise DecodeError(f"expected a comma after the payload, not {payload[-1:]!r}")
        return payload[:-1]

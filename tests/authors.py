"""Wire formats that the package does not have, as their authors write them."""

from __future__ import annotations

from framing import EncodeError, Framer, ReadExactly, ReadUntil, Skip, Steps


class AnyOfFramer(Framer[bytes]):
    """A payload, then one of several delimiters: by default a line break of any system."""

    delimiters: tuple[bytes, ...]
    or_end: bool

    def __init__(
        self,
        delimiters: tuple[bytes, ...] = (b"\r", b"\r\n", b"\n"),
        *,
        or_end: bool = False,
        max_size: int = 1024,
    ) -> None:
        super().__init__(max_size=max_size, delimiters=delimiters, or_end=or_end)

    def encode_parts(self, message: bytes) -> list[bytes]:
        if len(message) > self.max_size or any(each in message for each in self.delimiters):
            raise EncodeError("expected a short line")
        return [message, self.delimiters[-1]]

    def read_message(self) -> Steps[bytes]:
        return (yield ReadUntil(self.delimiters, limit=self.max_size, or_end=self.or_end))


class MarkedFramer(Framer[bytes]):
    """A mark, a size, a payload and its sum, on a line that loses and invents bytes.

    Whatever is not that is skipped.
    """

    def __init__(self, *, max_size: int = 255) -> None:
        super().__init__(max_size=max_size)

    def encode_parts(self, message: bytes) -> list[bytes]:
        if len(message) > self.max_size:
            raise EncodeError(f"expected at most {self.max_size} bytes, not {len(message)}")
        return [bytes([1, len(message)]), message, bytes([sum(message) % 256])]

    def read_message(self) -> Steps[bytes]:
        if (yield ReadExactly(1)) != b"\1":
            yield Skip()
        (size,) = yield ReadExactly(1)
        if size > self.max_size:
            yield Skip(1)  # what looked like a mark, but not what follows it
        payload = yield ReadExactly(size + 1, last=True)
        if payload[-1] != sum(payload[:-1]) % 256:
            yield Skip(1)
        return payload[:-1]

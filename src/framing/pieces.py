"""What was received of one message, before there is a decoder for it."""

from __future__ import annotations

__all__: list[str] = []


class Pieces:
    """The bytes of a message as they were received, one call of ``recv`` after another.

    Attributes:
        prefix: The first; ``None`` if it has not come.
        payload: The second, likewise.  (An attribute is set in half the time of a list's item.)
        more: All of them instead, where a message may have another number.
    """

    __slots__ = ("more", "payload", "prefix")

    def __init__(self) -> None:
        self.prefix: bytes | None = None
        self.payload: bytes | None = None
        self.more: list[bytes] = []

    def join(self) -> bytes:
        """Return all of them as one."""
        return b"".join([*filter(None, (self.prefix, self.payload)), *self.more])

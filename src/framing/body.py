"""A body that memory is not to hold: bytes of the stream that are received past the decoder.

It begins where its message's head ends.  Whatever becomes of it, the next message begins where
it ends: what nobody receives is skipped.
"""

from __future__ import annotations

from .errors import IncompleteMessageError

__all__: list[str] = []


class Body:
    """The bytes of one body that have not been received.

    Args:
        read: How many bytes of its message have been read in front of it.

    Attributes:
        size: How many bytes follow those.
        counts: How many were received past the decoder.  Who receives some appends to it, in
            one step for a signal handler.
    """

    __slots__ = ("counts", "read", "size")

    def __init__(self, read: int) -> None:
        self.read = read
        self.size = 0
        self.counts: list[int] = []

    @property
    def left(self) -> int:
        """How many bytes are still to come."""
        return self.size - sum(self.counts)

    def fold(self) -> None:
        """Keep the counts short, since they are added up again and again."""
        self.counts[:] = (sum(self.counts),)

    def incomplete(self) -> IncompleteMessageError:
        """Return the error for a stream that has ended here."""
        received, expected = self.read + sum(self.counts), self.read + self.size
        return IncompleteMessageError(
            f"the stream ended after {received} bytes of a message of {expected}",
            received=received,
            expected=expected,
        )

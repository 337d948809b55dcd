"""Every exception that this package raises on its own account.

    FramingError
    ├── EncodeError               our side: this format cannot carry that message
    ├── DecodeError               the peer's side: these bytes break the format
    │   ├── MessageTooLargeError  ... by a length above the limit
    │   └── TruncatedDatagramError
    ├── EndOfStreamError          the stream ended cleanly, between two messages
    └── IncompleteMessageError    the stream ended inside a message

Each class is also the built-in that fits it (``ValueError`` or ``EOFError``), pickles, and
equals another of the same class, text and attributes.  What a socket raises (``OSError``,
``TimeoutError``) passes through this package unchanged.
"""

from __future__ import annotations

from typing import TypeVar

__all__ = [
    "DecodeError",
    "EncodeError",
    "EndOfStreamError",
    "FramingError",
    "IncompleteMessageError",
    "MessageTooLargeError",
    "TruncatedDatagramError",
]


class FramingError(Exception):
    """The base of every error below: ``except FramingError`` catches them all."""

    # Attributes live in the instance's ``__dict__``: pickle restores it after calling the
    # class with ``args``, so everything beside the text has a default.

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self.args == other.args and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), self.args))


class EncodeError(FramingError, ValueError):
    """This format cannot carry that message; no byte of it has gone anywhere."""


class DecodeError(FramingError, ValueError):
    """The received bytes break the format; nothing after them can be trusted.

    Attributes:
        offset: Where the offending message starts in the stream, in bytes.  The decoder
            fills it in; ``None`` until then.
    """

    def __init__(self, text: str, *, offset: int | None = None) -> None:
        super().__init__(text)
        self.offset = offset

    def __str__(self) -> str:
        text = super().__str__()
        if self.offset is None:
            return text
        return f"{text} (in the message at byte {self.offset} of the stream)"


class MessageTooLargeError(DecodeError):
    r"""A received message is larger than the limit.

    >>> from framing import LengthPrefixFramer, MessageTooLargeError
    >>> decoder = LengthPrefixFramer(max_size=1024).decoder()
    >>> try:
    ...     decoder.feed(b"\x7f\xff\xff\xff").next_message()
    ... except MessageTooLargeError as error:
    ...     print(error.size, "is more than", error.limit)
    2147483647 is more than 1024

    Attributes:
        size: The announced size, in payload bytes; ``None`` where it is not known, as
            when no delimiter has come yet.
        limit: The largest size allowed, in payload bytes.
        offset: As in :class:`DecodeError`.
    """

    def __init__(
        self,
        text: str = "the message is too large",
        *,
        size: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__(text, offset=offset)
        self.size = size
        self.limit = limit


class TruncatedDatagramError(DecodeError):
    """A datagram was larger than the buffer that received it, and its rest is gone.

    Attributes:
        received: How many bytes of it came.
        size: How many bytes it had; ``None`` where the system does not tell.
        offset: ``None``: a datagram has no place in a stream.
    """

    def __init__(
        self,
        text: str = "the datagram was cut short",
        *,
        received: int = 0,
        size: int | None = None,
    ) -> None:
        super().__init__(text)
        self.received = received
        self.size = size


class EndOfStreamError(FramingError, EOFError):
    """The stream ended cleanly, at the boundary between two messages."""


class IncompleteMessageError(FramingError, EOFError):
    r"""The stream ended inside a message.

    >>> from framing import IncompleteMessageError, LengthPrefixFramer
    >>> try:
    ...     LengthPrefixFramer().decode(b"\x00\x00\x00\x05he")
    ... except IncompleteMessageError as error:
    ...     print(error)
    the stream ended after 6 bytes of a message of 9

    Attributes:
        received: How many bytes of the message came, counted on the wire.
        expected: How many bytes the whole message has on the wire; ``None`` where what
            came does not tell.
    """

    def __init__(
        self,
        text: str = "the stream ended inside a message",
        *,
        received: int = 0,
        expected: int | None = None,
    ) -> None:
        super().__init__(text)
        self.received = received
        self.expected = expected


_E = TypeVar("_E", bound=FramingError)


def fresh_copy(error: _E) -> _E:
    """Return an equal error that has not been raised yet, so holds no traceback."""
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    return copy

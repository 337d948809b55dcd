"""The exceptions that this package raises.

    FramingError
    ├── EncodeError               your side: the format cannot carry this message
    ├── DecodeError               the peer's side: these bytes break the format
    │   ├── BadMessageError       ... but the next message can still be found
    │   ├── MessageTooLargeError  ... because a length is above the limit
    │   └── TruncatedDatagramError
    ├── EndOfStreamError          the stream ended cleanly, between two messages
    └── IncompleteMessageError    the stream ended inside a message

Each class also subclasses the matching built-in (``ValueError`` or ``EOFError``), can be pickled,
and compares equal by class, text and attributes.  Errors of the socket itself (``OSError``,
``TimeoutError``) pass through unchanged.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

# Long enough for every text of this package; what a peer sent may be longer.
_LONGEST_TEXT = 400


class FramingError(Exception):
    """The base class of all exceptions below: ``except FramingError`` catches them all.

    The documentation explains every text under *Troubleshooting*.
    """

    # Attributes live in the instance's __dict__, which pickle restores after it has called the
    # class with *args*.  So every argument after the text needs a default.

    def __init__(self, text: str = "") -> None:
        super().__init__(shortened(text, _LONGEST_TEXT))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FramingError) or type(self) is not type(other):
            return NotImplemented
        return self.args == other.args and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), self.args))


class EncodeError(FramingError, ValueError):
    """The format cannot carry this message.  No byte of it was sent."""


class DecodeError(FramingError, ValueError):
    """The received bytes break the format.

    Attributes:
        offset: Where the bad message starts in the stream, in bytes; filled in by the decoder,
            ``None`` until then.
        recoverable: Whether the next call continues behind the bad message.  If it is false,
            the start of the next message is unknown: close the connection.
    """

    recoverable: bool

    def __init__(self, text: str = "", *, offset: int | None = None) -> None:
        super().__init__(text)
        self.offset = offset
        self.recoverable = False

    def __str__(self) -> str:
        place = f" (in the message at byte {self.offset} of the stream)"
        return super().__str__() + ("" if self.offset is None else place)


class BadMessageError(DecodeError):
    r"""One message is bad, and the next one can still be read.

    For example, a line that is not valid UTF-8, or a payload that is not JSON.  The decoder
    raises it once; the next call returns the next message.

    >>> from framing import BadMessageError, LineFramer
    >>> decoder = LineFramer().decoder().feed(b"caf\xe9\nnext\n")
    >>> try:
    ...     decoder.next_message()
    ... except BadMessageError as error:
    ...     print(error.recoverable)
    True
    >>> decoder.next_message()
    'next'
    """

    def __init__(self, text: str = "", *, offset: int | None = None) -> None:
        super().__init__(text, offset=offset)
        self.recoverable = True


class MessageTooLargeError(DecodeError):
    r"""A received message is larger than the limit.

    It is recoverable only if the framer was made with ``oversize="skip"``.

    >>> from framing import LengthPrefixFramer, MessageTooLargeError
    >>> decoder = LengthPrefixFramer(max_size=1024).decoder()
    >>> try:
    ...     decoder.feed(b"\x7f\xff\xff\xff").next_message()
    ... except MessageTooLargeError as error:
    ...     print(error.size, "is more than", error.limit)
    2147483647 is more than 1024

    Attributes:
        size: The announced size, in payload bytes; ``None`` if it is not known, for example
            while no delimiter has been found.
        limit: The largest size allowed, in payload bytes.
        offset: As in :class:`DecodeError`.
        recoverable: As in :class:`DecodeError`.
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
    """A datagram was larger than the receive buffer, and the rest of it was lost.

    The next datagram is not affected, so this error is recoverable.

    Attributes:
        received: How many bytes of the datagram arrived.
        size: How many bytes the datagram had; ``None`` if the system does not report it.
        offset: ``None``: a datagram has no place in a stream.
    """

    def __init__(
        self,
        text: str = "the datagram was truncated",
        *,
        received: int = 0,
        size: int | None = None,
    ) -> None:
        super().__init__(text)
        self.received = received
        self.size = size
        self.recoverable = True


class EndOfStreamError(FramingError, EOFError):
    """The stream ended cleanly, between two messages."""


class IncompleteMessageError(FramingError, EOFError):
    r"""The stream ended inside a message.

    >>> from framing import IncompleteMessageError, LengthPrefixFramer
    >>> try:
    ...     LengthPrefixFramer().decode(b"\x00\x00\x00\x05he")
    ... except IncompleteMessageError as error:
    ...     print(error)
    the stream ended after 6 bytes of a message of 9

    Attributes:
        received: How many bytes of the message arrived, length field and delimiter included.
        expected: How many bytes the whole message has on the wire; ``None`` if that is not
            known.
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


E = TypeVar("E", bound=FramingError)


def fresh_copy(error: E) -> E:
    """Return an equal error that has not been raised yet, so it holds no traceback."""
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    copy.__cause__ = error.__cause__
    return copy


def shortened(text: str, most: int = 80) -> str:
    """Return *text*, which may hold what a peer sent, in at most *most* characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def is_from_signal_handler(error: BaseException) -> bool:
    """Return whether a signal handler raised *error*, and not the code that it interrupted.

    A handler may raise anything, a ``TimeoutError`` of ``signal.alarm`` for example.  Such an
    exception passes through unchanged: neither the peer nor the author of a format caused it.
    """
    handlers = set(_handler_codes())
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code not in handlers:
        traceback = traceback.tb_next
    return traceback is not None


def _handler_codes() -> Iterator[Any]:
    """Yield the code objects of the installed signal handlers."""
    # This is what the signal module is made of.  That one makes enums of the numbers, which takes
    # 180 us for all of them, and these are asked for at every bad line of a peer.
    signal: Any = sys.modules.get("_signal")  # without it, there are no handlers in Python
    for number in range(1, signal.NSIG) if signal else ():
        handler = signal.getsignal(number)
        if callable(handler):
            handler = getattr(handler, "func", handler)  # functools.partial
            function = handler if hasattr(handler, "__code__") else type(handler).__call__
            yield getattr(function, "__code__", None)

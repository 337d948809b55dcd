r"""Messages behind their length: the format that most programs should use.

    +-- length --+-- payload --+
    | 00 00 00 05 |  h e l l o  |

Any bytes can be a payload, none is looked at, and a reader knows from the first bytes on how
many it has to wait for.
"""

from __future__ import annotations

from struct import error as StructError
from typing import TYPE_CHECKING

from .buffer import LARGE_PIECE
from .fields import LengthField
from .framer import Framer, check_limit, payload_view
from .requests import ReadExactly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .buffer import Buffer
    from .pieces import Pieces
    from .requests import Steps

__all__ = ["LengthPrefixFramer"]

# Up to this size, copying a payload behind its length costs less than handing over two pieces.
_SHORT = 8 * 1024
_SHORT_AMONG_MANY = 16 * 1024


class LengthPrefixFramer(Framer[bytes]):
    r"""The size of the payload as an integer, then the payload.

        +-- length: u32, big-endian --+-- payload --+
        |         00 00 00 05         |  h e l l o  |

    The default is what tokio's ``LengthDelimitedCodec``, Twisted's ``Int32StringReceiver``,
    Erlang's ``{packet, 4}`` and Netty's 4-byte ``LengthFieldPrepender`` speak.  ``"!H"`` and
    ``"!B"`` are ``Int16StringReceiver``, ``{packet, 2}`` and so on; ``"!i"`` is what
    ``multiprocessing.connection`` sends up to 2 GiB - 1.

    Args:
        format: The length field, as a ``struct`` format of one integer with its byte order:
            ``"!B"``, ``"!H"``, ``"!I"``, ``"<I"``, ``"!Q"``, ``"!i"`` ...
        includes_prefix: Whether the length counts the length field itself.
        max_size: The largest payload, in bytes, sent or received.  One above what the length
            field can hold is lowered to that.

    Raises:
        ValueError: *format* is no portable format of one integer, or *max_size* is negative.

    >>> from framing import LengthPrefixFramer
    >>> LengthPrefixFramer().encode(b"hello")
    b'\x00\x00\x00\x05hello'
    >>> LengthPrefixFramer("<H", includes_prefix=True).encode(b"hello")
    b'\x07\x00hello'
    """

    format: str
    includes_prefix: bool
    _field: LengthField
    _prefix: ReadExactly
    _short: int
    _at_once: int

    def __init__(
        self,
        format: str = "!I",
        *,
        includes_prefix: bool = False,
        max_size: int = 16 * 1024 * 1024,
    ) -> None:
        field = LengthField(format, includes_itself=includes_prefix)
        super().__init__(
            format=format,
            includes_prefix=bool(includes_prefix),
            max_size=min(check_limit("max_size", max_size), field.max_payload),
            _field=field,
            _short=min(max_size, field.max_payload, _SHORT),
            _at_once=min(max_size, LARGE_PIECE - 1),
            _prefix=ReadExactly(field.width),
        )

    def encode(self, message: Buffer) -> bytes:
        r"""Return *message* as it goes on the wire.

            +-- length: u32, big-endian --+-- payload --+
            |         00 00 00 05         |  h e l l o  |

        Args:
            message: The payload, 0 to ``max_size`` bytes.

        Returns:
            The length field, then *message*.

        Raises:
            EncodeError: *message* is larger than ``max_size``.
            TypeError: *message* is not made of bytes.
        """
        return b"".join(self.encode_parts(message))

    def encode_parts(self, message: Buffer) -> tuple[bytes | memoryview, ...]:
        """Return the length field, and *message* itself, not copied; a short one in one piece.

        Raises:
            EncodeError: *message* is larger than ``max_size``.
            TypeError: *message* is not made of bytes.
        """
        if type(message) is bytes and len(message) <= self._short:  # in half the time
            return (self._field.pack(len(message)) + message,)
        payload = payload_view(message, self.max_size)
        return self._field.pack(len(payload)), payload

    def encode_some(self, messages: Iterator[Buffer], parts: list[Buffer], size: int) -> bool:
        """Append the wire bytes of *messages* to *parts*, until that is *size* bytes or more."""
        append = parts.append
        pack = self._field.pack
        most = min(self.max_size, _SHORT_AMONG_MANY)
        for message in messages:
            if type(message) is bytes and len(message) <= most:
                wire = pack(len(message)) + message
                size -= len(wire)
                append(wire)
            else:
                pieces = self.encode_parts(message)
                size -= sum(map(len, pieces))
                parts += pieces if size <= 0 else (b"".join(pieces),)
            if size <= 0:
                return True
        return False

    def read_message(self) -> Steps[bytes]:
        """Read the length, then as many bytes."""
        field = yield self._prefix
        size = self._field.unpack(field, self.max_size, "max_size")
        return (yield ReadExactly(size, last=True))

    def _receive_at_once(
        self, receive: Callable[[int], bytes], pieces: Pieces
    ) -> tuple[bytes, int] | None:
        if self.includes_prefix:
            return super()._receive_at_once(receive, pieces)
        width = self._field.width
        (pieces.prefix,) = map(receive, (width,))
        if len(pieces.prefix) != width:
            return None
        (size,) = self._field.unpack_from(pieces.prefix)
        if not 0 < size <= self._at_once:
            return None
        (pieces.payload,) = map(receive, (size,))
        payload = pieces.payload
        return (payload, width + size) if len(payload) == size else None

    def read_batch(self, block: bytes, start: int, stop: int) -> tuple[Iterator[bytes], int, int]:
        """Read the messages in ``block[start:stop]`` at once."""
        if self.includes_prefix:  # rare, and telling it apart in the loop costs the others 8%
            return super().read_batch(block, start, stop)
        messages: list[bytes] = []
        append = messages.append
        unpack_from = self._field.unpack_from
        width = self._field.width
        try:
            (size,) = unpack_from(block, start)
            if start + width + size == stop and size >= 0:  # one, and alone: an answer, say
                return iter([block[start + width : stop]]), stop, width
            while True:  # until it runs out of bytes, one way or the other
                (size,) = unpack_from(block, start)
                begin = start + width
                end = begin + size
                if not begin <= end <= stop:
                    break
                append(block[begin:end])
                start = end
        except StructError:
            return iter(messages), start, width
        return iter(messages), start, width + size if 0 <= size <= self.max_size else 0

r"""Messages behind their length: the format that most programs should use.

    +-- length --+-- payload --+
    | 00 00 00 05 |  h e l l o  |

Any bytes can be a payload, none of them is looked at, and the reader knows from the first bytes
on how many it has to wait for.
"""

from __future__ import annotations

from struct import error as StructError
from typing import TYPE_CHECKING

from ..errors import MessageTooLargeError
from ..framer import Framer, check_choice, check_limit, payload_view
from ..requests import ReadExactly, Refuse
from .fields import LengthField

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from ..buffer import Buffer
    from ..requests import Steps

# Up to this size, copying a payload behind its length costs less than sending two pieces.
SHORT = 8 * 1024


class LengthPrefixFramer(Framer[bytes]):
    r"""The size of the payload as an integer, then the payload.

        +-- length: u32, big-endian --+-- payload --+
        |         00 00 00 05         |  h e l l o  |

    The default is the format of tokio's ``LengthDelimitedCodec``, Twisted's
    ``Int32StringReceiver``, Erlang's ``{packet, 4}`` and Netty's 4-byte ``LengthFieldPrepender``.
    ``"!H"`` and ``"!B"`` are ``Int16StringReceiver``, ``{packet, 2}`` and so on; ``"!i"`` is what
    ``multiprocessing.connection`` sends up to 2 GiB - 1.

    Args:
        format: The length field, as a ``struct`` format of one integer with its byte order:
            ``"!B"``, ``"!H"``, ``"!I"``, ``"<I"``, ``"!Q"``, ``"!i"`` ...
        includes_prefix: Whether the length counts the length field itself.
        oversize: What to do with a received message that is larger than *max_size*:
            ``"error"`` ends the stream; ``"skip"`` raises the same error, and continues with the
            next message.
        max_size: The largest payload, in bytes, to send or to receive.  A limit above what the
            length field can hold is lowered to that.

    Raises:
        ValueError: *format* is not a portable format of one integer, *oversize* is another
            word, or *max_size* is negative.

    >>> from framing import LengthPrefixFramer
    >>> LengthPrefixFramer().encode(b"hello")
    b'\x00\x00\x00\x05hello'
    >>> LengthPrefixFramer("<H", includes_prefix=True).encode(b"hello")
    b'\x07\x00hello'
    """

    format: str
    includes_prefix: bool
    oversize: Literal["error", "skip"]
    _field: LengthField
    _prefix: ReadExactly
    _short: int

    def __init__(
        self,
        format: str = "!I",
        *,
        includes_prefix: bool = False,
        oversize: Literal["error", "skip"] = "error",
        max_size: int = 16 * 1024 * 1024,
    ) -> None:
        field = LengthField(format, includes_itself=includes_prefix)
        most = min(check_limit("max_size", max_size), field.max_payload)
        super().__init__(
            format=format,
            includes_prefix=bool(includes_prefix),
            oversize=check_choice("oversize", oversize, ("error", "skip")),
            max_size=most,
            _field=field,
            _prefix=ReadExactly(field.width),
            _short=min(most, SHORT),
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
        if type(message) is bytes and len(message) <= self._short:  # half the time
            return (self._field.pack(len(message)) + message,)
        payload = payload_view(message, self.max_size)
        return self._field.pack(len(payload)), payload

    def read_message(self) -> Steps[bytes]:
        """Read the length, then as many bytes."""
        field = yield self._prefix
        try:
            size = self._field.unpack(field, self.max_size, "max_size")
        except MessageTooLargeError as error:
            if self.oversize == "skip" and error.size is not None:
                yield Refuse(error, error.size)
            raise
        return (yield ReadExactly(size, True))

    def split_block(self, data: bytes, start: int, stop: int) -> tuple[Iterator[bytes], int, int]:
        """Split a block into messages: see :attr:`Framer.split_block`."""
        messages: list[bytes] = []
        if self.includes_prefix:  # rare, and to tell it apart in the loop costs the others 8%
            return iter(messages), start, 0
        append = messages.append
        unpack_from = self._field.unpack_from
        width = self._field.width
        limit, most = stop, self.max_size
        if stop - start > most:
            limit = start + most  # in these bytes, no payload can be too large
        try:
            (size,) = unpack_from(data, start)
            if start + width + size == limit and size >= 0:  # one, and alone: an answer, say
                return iter((data[start + width : limit],)), limit, 0
            while True:  # until it runs out of bytes, one way or the other
                (size,) = unpack_from(data, start)
                begin = start + width
                end = begin + size
                if not begin <= end <= limit:
                    break
                append(data[begin:end])
                start = end
        except StructError:  # the length field itself is cut
            return iter(messages), start, start + width - stop
        return iter(messages), start, end - stop if 0 <= size <= most else 0

r"""Messages that end with a delimiter.

    +-- payload --+-- delimiter --+
    |  h e l l o  |      0a       |

This is what many text protocols use.  A payload cannot hold the delimiter, and the reader has to
look at every byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import EncodeError
from ..framer import Framer, check_choice, check_limit, payload_view
from ..requests import ReadUntil
from .blocks import has_longer, lines_of, split

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from ..buffer import Buffer
    from ..requests import Steps


class DelimiterFramer(Framer[bytes]):
    r"""The payload, then a delimiter.

        +-- payload --+-- delimiter --+
        |  h e l l o  |      0a       |

    Args:
        delimiter: The bytes that end a message, at least one.
        final: What an unterminated last message is when the stream ends: an
            :class:`IncompleteMessageError` with ``"error"``, a message with ``"emit"``.
        oversize: What to do with a received message that is larger than *max_size*:
            ``"error"`` ends the stream; ``"skip"`` raises the same error, and continues behind
            the next delimiter.
        max_size: The largest payload, in bytes, to send or to receive, without its delimiter.

    Raises:
        ValueError: *delimiter* is empty, *final* or *oversize* is another word, or *max_size* is
            negative.

    >>> from framing import DelimiterFramer
    >>> DelimiterFramer().encode(b"hello")
    b'hello\n'
    >>> list(DelimiterFramer(b"\r\n").decoder().feed(b"one\r\ntwo\r\nthr"))
    [b'one', b'two']
    """

    delimiter: bytes
    final: Literal["error", "emit"]
    oversize: Literal["error", "skip"]
    _payload: ReadUntil

    def __init__(
        self,
        delimiter: bytes = b"\n",
        *,
        final: Literal["error", "emit"] = "error",
        oversize: Literal["error", "skip"] = "error",
        max_size: int = 16 * 1024 * 1024,
    ) -> None:
        if not isinstance(delimiter, bytes):
            raise TypeError(f"the delimiter is bytes, such as b'\\n', not {delimiter!r}")
        if not delimiter:
            raise ValueError("the delimiter is one byte or more, not empty")
        check_choice("final", final, ("error", "emit"))
        check_choice("oversize", oversize, ("error", "skip"))
        payload = ReadUntil(
            delimiter,
            limit=check_limit("max_size", max_size),
            or_end=final == "emit",
            oversize=oversize,
            limit_name="max_size",
        )
        super().__init__(
            delimiter=delimiter, final=final, oversize=oversize, max_size=max_size,
            _payload=payload,
        )  # fmt: skip

    def encode(self, message: Buffer) -> bytes:
        r"""Return *message* as it goes on the wire.

            +-- payload --+-- delimiter --+
            |  h e l l o  |      0a       |

        Args:
            message: The payload, 0 to ``max_size`` bytes.

        Returns:
            *message*, then the delimiter.

        Raises:
            EncodeError: *message* is larger than ``max_size``, or the delimiter would be found
                before its end.
            TypeError: *message* is not made of bytes.
        """
        return b"".join(self.encode_parts(message))

    def encode_parts(self, message: Buffer) -> tuple[bytes, bytes]:
        """Return *message*, as bytes, and the delimiter.

        Raises:
            EncodeError: *message* is larger than ``max_size``, or the delimiter would be found
                before its end.
            TypeError: *message* is not made of bytes.
        """
        payload = bytes(payload_view(message, self.max_size))
        place = payload.find(self.delimiter)
        if place < 0:  # it may still be found half in the payload, half in its own place
            end = payload[max(0, len(payload) - len(self.delimiter) + 1) :]
            place = (end + self.delimiter).find(self.delimiter) + len(payload) - len(end)
        if place < len(payload):
            raise EncodeError(
                f"the delimiter {self.delimiter!r} would be found at byte {place} of the payload,"
                " before its end: escape it there, or use LengthPrefixFramer"
            )
        return payload, self.delimiter

    def read_message(self) -> Steps[bytes]:
        """Read up to the delimiter."""
        return (yield self._payload)

    def split_block(self, data: bytes, start: int, stop: int) -> tuple[Iterator[bytes], int, int]:
        """Split a block into messages: see :attr:`Framer.split_block`."""
        messages: Iterator[bytes]
        if self.delimiter == b"\n":
            end = data.rfind(b"\n", start, stop) + 1 or start
            messages = lines_of(data[start:end])
        else:
            payloads = split(data[start:stop], self.delimiter)
            end = stop - len(payloads.pop())
            messages = iter(payloads)
        if stop - start > self.max_size and has_longer(
            data[start:end], self.delimiter, self.max_size
        ):
            return iter(()), start, 0
        return messages, end, 1 if stop - end <= self.max_size and start < end else 0

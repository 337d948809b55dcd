r"""Messages behind a base-128 varint: Protocol Buffers' length-delimited messages.

    +-- varint --+-- payload --+      +--- varint ---+-- payload of 300 --+
    |     05     |  h e l l o  |      |    ac  02    |       ...          |

A short length takes one byte, a longer one more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import DecodeError
from ..framer import Framer, payload_view
from ..requests import ReadExactly

if TYPE_CHECKING:
    from ..buffer import Buffer
    from ..requests import Steps

_BYTE = ReadExactly(1)
_MOST_BITS = 70  # a varint has ten bytes at most


class VarintFramer(Framer[bytes]):
    r"""The size of the payload as a base-128 varint, then the payload.

        +-- varint --+-- payload --+      +--- varint ---+-- payload of 300 --+
        |     05     |  h e l l o  |      |    ac  02    |       ...          |

    A varint holds seven bits in each byte, the lowest first; the top bit says that another byte
    follows.  This is what Protocol Buffers' libraries read and write as *delimited* messages:
    Java's ``writeDelimitedTo``, C++'s ``SerializeDelimitedToOstream``, Python's
    ``google.protobuf.proto.serialize_length_prefixed``.  For the messages themselves, wrap it in
    a :class:`CodecFramer`.

    Args:
        max_size: The largest payload, in bytes, to send or to receive.

    Raises:
        ValueError: *max_size* is negative.

    Source: Protocol Buffers, "Encoding", "Base 128 Varints" and "Length-Delimited Records",
    https://protobuf.dev/programming-guides/encoding/

    >>> from framing import VarintFramer
    >>> VarintFramer().encode(b"hello")
    b'\x05hello'
    >>> VarintFramer().encode(bytes(300))[:2]
    b'\xac\x02'
    """

    def __init__(self, *, max_size: int = 16 * 1024 * 1024) -> None:
        super().__init__(max_size=max_size)

    def encode_parts(self, message: Buffer) -> tuple[bytes | memoryview, ...]:
        """Return the length, and *message* itself, not copied.

        Raises:
            EncodeError: *message* is larger than ``max_size``.
            TypeError: *message* is not made of bytes.
        """
        payload = payload_view(message, self.max_size)
        size, varint = len(payload), bytearray()
        while size > 0x7F:
            varint.append(size & 0x7F | 0x80)
            size >>= 7
        varint.append(size)
        return bytes(varint), payload

    def read_message(self) -> Steps[bytes]:
        """Read the length, byte by byte, then the payload.

        A length that could be shorter, such as ``85 00`` for 5, is accepted, as Protocol Buffers
        does.
        """
        size = shift = 0
        byte = 0x80
        while byte > 0x7F:
            if shift == _MOST_BITS:
                raise DecodeError("expected a varint of at most 10 bytes as the length")
            (byte,) = yield _BYTE
            size |= (byte & 0x7F) << shift
            shift += 7
        return (yield ReadExactly(self.check_size(size), True))

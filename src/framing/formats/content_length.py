r"""Messages behind a ``Content-Length`` header: the base protocol of LSP and DAP.

    +------- header fields --------+- empty line -+-- payload --+
    | Content-Length: 5  \r  \n    |    \r  \n    |  h e l l o  |

This is how editors talk to language servers (LSP) and to debuggers (DAP).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import DecodeError
from ..framer import Framer, payload_view
from ..requests import ReadExactly, ReadUntil
from .blocks import split_sized

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..buffer import Buffer
    from ..requests import Steps

_HEADER = ReadUntil(b"\r\n\r\n", limit=8 * 1024)
_USUAL_HEADER = re.compile(rb"Content-Length: ([0-9]{1,19})\r\n\r\n")
# A name is a token of RFC 9110, section 5.6.2, so no space comes before the colon: otherwise two
# readers could find different lengths in one header.
_FIELD = re.compile(rb"([!#$%&'*+.^`|~\w-]+):([^\r\n\0]*)")
_DIGITS = re.compile(rb"[0-9]{1,640}")  # as many as every Python converts


class ContentLengthFramer(Framer[bytes]):
    r"""A header with the size of the payload, an empty line, then the payload.

        +------- header fields --------+- empty line -+-- payload --+
        | Content-Length: 5  \r  \n    |    \r  \n    |  h e l l o  |

    The payload of LSP and DAP is JSON: ``JsonFramer(ContentLengthFramer())``.  Only
    ``Content-Length`` is sent.  Other fields are accepted and ignored, up to 8 KiB of them; case
    makes no difference in names.

    Args:
        max_size: The largest payload, in bytes, to send or to receive.

    Raises:
        ValueError: *max_size* is negative.

    Source: Language Server Protocol 3.17, "Base Protocol",
    https://microsoft.github.io/language-server-protocol/specifications/lsp/3.17/specification/

    >>> from framing import ContentLengthFramer
    >>> ContentLengthFramer().encode(b"hello")
    b'Content-Length: 5\r\n\r\nhello'
    """

    def __init__(self, *, max_size: int = 16 * 1024 * 1024) -> None:
        super().__init__(max_size=max_size)

    def encode_parts(self, message: Buffer) -> tuple[bytes | memoryview, ...]:
        """Return the header, and *message* itself, not copied.

        Raises:
            EncodeError: *message* is larger than ``max_size``.
            TypeError: *message* is not made of bytes.
        """
        payload = payload_view(message, self.max_size)
        return b"Content-Length: %d\r\n\r\n" % len(payload), payload

    def read_message(self) -> Steps[bytes]:
        """Read the header, then the payload."""
        size = _content_length((yield _HEADER))
        return (yield ReadExactly(self.check_size(size), True))

    def split_block(self, data: bytes, start: int, stop: int) -> tuple[Iterator[bytes], int, int]:
        """Split a block into messages: see :attr:`Framer.split_block`."""
        return split_sized(
            data, start, stop, header=_USUAL_HEADER, tail=b"", max_size=self.max_size
        )


def _content_length(header: bytes) -> int:
    """Return the size that *header* announces, or raise a :class:`DecodeError`."""
    sizes = set()
    for line in header.split(b"\r\n"):
        field = _FIELD.fullmatch(line)
        if field is None:
            raise DecodeError(f"expected a field such as 'Content-Length: 5', not {line!r:.80}")
        name, value = field[1].lower(), field[2].strip(b" \t")
        if name == b"content-length":
            if not _DIGITS.fullmatch(value):
                raise DecodeError(f"expected Content-Length in decimal digits, not {value!r:.80}")
            sizes.add(int(value))
    if len(sizes) != 1:
        raise DecodeError(f"expected one Content-Length, not {len(sizes)}, in {header!r:.200}")
    return sizes.pop()

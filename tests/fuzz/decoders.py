"""Any bytes, cut anywhere, for every wire format.

An input names a framer, then how to read and to cut, then the stream:

    +-- framer --+-- 8 r + n --+-- n sizes of chunks --+-- stream --+
    |  one byte  |  one byte   |      a byte each      |    rest    |

What must hold: the stream gives messages, then a clean end or a ``FramingError``, and never
another exception; and the same ones however it is cut and read, by the fast path and without.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from framing import (
    DecodeError,
    DelimiterFramer,
    EncodeError,
    Framer,
    FramingError,
    HeaderBodyFramer,
    IncompleteMessageError,
    LengthPrefixFramer,
    LineFramer,
    StructFramer,
)

from ..netstring import NetstringFramer
from ..outcomes import READERS, Outcome, Reader, outcome, pieces, without_fast_path

# The corpus goes by their places: another joins at the end.
FRAMERS: list[Framer[Any]] = [
    LengthPrefixFramer(),
    LengthPrefixFramer("!B"),
    LengthPrefixFramer("<H", max_size=40),
    LengthPrefixFramer(">b"),
    LengthPrefixFramer("<q", max_size=4),
    LengthPrefixFramer("!H", includes_prefix=True),
    LengthPrefixFramer("<b", includes_prefix=True, max_size=5),
    DelimiterFramer(),
    DelimiterFramer(max_size=4),
    DelimiterFramer(b"\r\n"),
    DelimiterFramer(b"\r\n", final="emit", max_size=3),
    DelimiterFramer(b"aba", max_size=8),
    DelimiterFramer(b"aaaa", final="emit"),
    DelimiterFramer(b"\0", max_size=0),
    LineFramer(),
    LineFramer(max_size=5),
    LineFramer("latin-1"),
    LineFramer("gbk", max_size=8),
    LineFramer("shift_jis"),
    HeaderBodyFramer(),
    HeaderBodyFramer("!B", size_key="n", max_header_size=60, max_size=9),
    StructFramer("!H8sb"),
    StructFramer("<B"),
    StructFramer(">fd?c"),
    StructFramer("<6p2xq"),
    NetstringFramer(),
    NetstringFramer(max_size=9),
]
MOST_CUTS = 7
# What these receive, they may refuse to send: a text that has other bytes in its encoding too,
# numbers that take more digits than they came in, NaN, a Pascal string that claims too much; and
# with final="emit", a last payload that ends with half a delimiter.
MAY_NOT_GO_BACK = (LineFramer, StructFramer, HeaderBodyFramer)


class Input(NamedTuple):
    """What an input stands for."""

    framer: Framer[Any]
    read: Reader
    sizes: bytes
    stream: bytes


def take_apart(data: bytes) -> Input:
    kind, how = data[:2].ljust(2, b"\0")
    reader, count = divmod(how, MOST_CUTS + 1)
    return Input(
        FRAMERS[kind % len(FRAMERS)],
        READERS[reader % len(READERS)],
        data[2 : 2 + count],
        data[2 + count :],
    )


def put_together(framer: Framer[Any], sizes: bytes, stream: bytes) -> bytes:
    """Return the input for them."""
    return bytes([FRAMERS.index(framer), len(sizes)]) + sizes + stream


def check(data: bytes) -> None:
    """Raise an error if the library does not do with an input what it promises."""
    framer, read, sizes, stream = take_apart(data)
    plain = without_fast_path(framer)
    expected = outcome(plain.decoder(), [stream])
    for message in expected.items:
        if not isinstance(message, FramingError):
            check_sending_on(framer, message)
    cut = list(pieces(stream, sizes))
    assert outcome(framer.decoder(), [stream], read) == expected
    assert outcome(framer.decoder(), cut, read) == expected
    assert outcome(framer.decoder(), pieces(stream, b"\1")) == expected
    assert outcome(plain.decoder(), cut, read) == expected
    check_offset(framer, stream, expected.end)
    check_unread(framer, cut)
    check_decode(framer, stream, expected)


def check_sending_on(framer: Framer[Any], message: Any) -> None:
    try:
        wire = framer.encode(message)
    except EncodeError:
        assert isinstance(framer, MAY_NOT_GO_BACK) or getattr(framer, "final", "") == "emit"
        return
    assert repr(framer.decode(wire)) == repr(message)


def check_offset(framer: Framer[Any], stream: bytes, error: FramingError | str) -> None:
    decoder = framer.decoder()
    outcome(decoder, [stream])
    rest = decoder.unread()
    assert stream.endswith(rest)
    if isinstance(error, DecodeError):
        assert error.offset == len(stream) - len(rest)
    elif isinstance(error, IncompleteMessageError):
        assert error.received == len(rest)
    else:
        assert rest == b""


def check_unread(framer: Framer[Any], chunks: list[bytes]) -> None:
    """Take the first message of each chunk, at most, and the rest from another decoder."""
    decoder = framer.decoder()
    taken: list[Any] = []
    fed = b""
    try:
        for chunk in chunks:
            fed += chunk
            message = decoder.feed(chunk).next_message()
            if message is not None:
                taken.append(message)
    except FramingError as error:
        if getattr(error, "recoverable", False):
            return
    rest = decoder.unread()
    assert b"".join(chunks).find(rest) >= 0
    again = outcome(framer.decoder(), [rest], eof=False)
    whole = outcome(framer.decoder(), [fed], eof=False)
    assert repr(taken + again.items) == repr(whole.items)
    assert type(again.end) is type(whole.end)


def check_decode(framer: Framer[Any], stream: bytes, expected: Outcome) -> None:
    try:
        message = framer.decode(stream)
    except FramingError as refusal:
        assert str(refusal)
        errors = [each for each in expected.items if isinstance(each, FramingError)]
        assert errors or expected.end != "end" or len(expected.items) != 1
    else:
        assert expected == Outcome([message], "end")

"""The table of wire formats, and strategies for their messages and for streams of them."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import Any, AnyStr, Generic, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from framing import (
    CodecFramer,
    ContentLengthFramer,
    DelimiterFramer,
    EncodeError,
    Framer,
    HeaderBodyFramer,
    HeaderMessage,
    JsonFramer,
    LengthPrefixFramer,
    LineFramer,
    NetstringFramer,
    StructFramer,
    VarintFramer,
)

from . import netstring
from .authors import AnyOfFramer, MarkedFramer

M = TypeVar("M")


@dataclass(frozen=True, eq=False)
class Format(Generic[M]):
    """A framer, messages to try on it, and what they are when they come back."""

    framer: Framer[M]
    candidates: SearchStrategy[M]
    received: Callable[[M], M] = lambda message: message

    @cached_property
    def messages(self) -> SearchStrategy[M]:
        """The candidates that the framer accepts."""
        return self.candidates.filter(self.accepts)

    def accepts(self, message: M) -> bool:
        try:
            self.framer.encode(message)
        except EncodeError:
            return False
        return True

    @property
    def ends_with_the_stream(self) -> bool:
        """Whether the end of the stream may end a message, as it ends a line."""
        framer = innermost(self.framer)
        return isinstance(framer, LineFramer) or getattr(framer, "final", "") == "emit"

    def __repr__(self) -> str:
        return re.sub(" at 0x[0-9A-Fa-f]+", "", repr(self.framer))  # of a function


def innermost(framer: Framer[Any]) -> Framer[Any]:
    """Return the format that finds the boundaries."""
    while isinstance(framer, CodecFramer):
        framer = framer.framer
    return framer


def samples(format: Format[Any]) -> list[Any]:
    """Return messages for *format* of several kinds, long ones where it carries them."""
    kinds: list[Any] = [
        *(b"hello", b"", b"a", b"x" * 200),
        *("hello", "", "a", "漢字" * 2, "x" * 200),
        *(HeaderMessage({"id": 7}, b"hello"), HeaderMessage({}, b"")),
        *((7, b"alice", 1), (200,), (1.5, 2.5, True, b"c"), (b"pascal"[:5], -5)),
        *(5, -(10**18), {"漢": [1, 2.5, None, {}]}, []),
    ]
    return [each for each in kinds if _carries(format, each)]


def longest_message(format: Format[Any], size: int) -> Any:
    """Return a message for *format* with a payload of *size* bytes."""
    text = "x" * size
    kinds: list[Any] = [text.encode(), text, text[2:], HeaderMessage({}, text.encode())]
    return next(each for each in kinds if _carries(format, each))


def _carries(format: Format[Any], message: Any) -> bool:
    """Return whether *message*, of any type, is one for *format*."""
    try:
        return format.accepts(message)
    except TypeError:
        return False


# Messages

# Few different bytes, so that delimiters, digits and lengths meet by chance.
INTERESTING = [b"\0", b"\x01", b"\x04", b"\xff", b"\n", b"\r", b"\r\n", b"a", b"b", b"aba", b":"]


def repeated(part: AnyStr, size: int) -> AnyStr:
    """Return *part*, over and over: to draw as many single bytes takes a millisecond."""
    return (part * size)[:size]


payloads = st.one_of(
    st.binary(max_size=12),
    st.lists(st.sampled_from(INTERESTING), max_size=8).map(b"".join),
    st.builds(repeated, st.binary(min_size=1, max_size=5), st.integers(250, 300)),
)
texts = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="a\r\v\u2028é漢", max_size=8),
    st.builds(repeated, st.text(alphabet="abé", min_size=1, max_size=5), st.integers(250, 260)),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
headers = st.dictionaries(
    st.text(max_size=6).filter(lambda key: key not in {"size", "n"}), json_values
)
header_messages = st.builds(HeaderMessage, headers, st.binary(max_size=20))


def sized(key: str) -> Callable[[HeaderMessage], HeaderMessage]:
    return lambda sent: HeaderMessage({**sent.header, key: len(sent.body)}, sent.body)


def through_json(sent: Any) -> Any:
    return json.loads(json.dumps(sent))


def decompressed(payload: bytes) -> bytes:
    """Return at most 1 KiB, since a few bytes can stand for gigabytes."""
    decompressor = zlib.decompressobj()
    data = decompressor.decompress(payload, 1024)
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("cut, or too long")
    return data


_RECORD_VALUES: dict[str, SearchStrategy[Any]] = {
    "?": st.booleans(),
    "b": st.integers(-128, 127),
    "B": st.integers(0, 255),
    "h": st.integers(-(2**15), 2**15 - 1),
    "H": st.integers(0, 2**16 - 1),
    "q": st.integers(-(2**63), 2**63 - 1),
    "f": st.floats(width=32, allow_nan=False),
    "d": st.floats(allow_nan=False),
    "c": st.binary(min_size=1, max_size=1),
    "8s": st.binary(max_size=9),
    "6p": st.binary(max_size=6),
}


def record(order: str, *codes: str) -> Format[Any]:
    """Return a format of records, and what struct makes of its values."""
    format = order + "".join(codes)
    values = [_RECORD_VALUES[code] for code in codes if code in _RECORD_VALUES]
    return Format(
        StructFramer(format),
        st.tuples(*values),
        lambda sent: struct.unpack(format, struct.pack(format, *sent)),
    )


# Every wire format, with the options that change how it is read. The contract, both ways to
# receive and the exhaustive tests of interruptions run on each: a new framer joins by one line.
FORMATS: list[Format[Any]] = [
    Format(LengthPrefixFramer(), payloads),
    Format(LengthPrefixFramer("!B"), payloads),
    Format(LengthPrefixFramer("<H", max_size=260), payloads),
    Format(LengthPrefixFramer(">b"), payloads),
    Format(LengthPrefixFramer("!i"), payloads),
    Format(LengthPrefixFramer("<q", max_size=4), payloads),
    Format(LengthPrefixFramer("!Q", max_size=0), payloads),
    Format(LengthPrefixFramer("!H", includes_prefix=True), payloads),
    Format(LengthPrefixFramer("<b", includes_prefix=True, max_size=5), payloads),
    Format(DelimiterFramer(), payloads),
    Format(DelimiterFramer(max_size=4), payloads),
    Format(DelimiterFramer(b"\r\n"), payloads),
    Format(DelimiterFramer(b"\r\n", final="emit", max_size=3), payloads),
    Format(DelimiterFramer(b"aba", max_size=8), payloads),
    Format(DelimiterFramer(b"aaaa", final="emit"), payloads),
    Format(DelimiterFramer(b"\0", max_size=0), payloads),
    Format(LineFramer(), texts),
    Format(LineFramer(max_size=5), texts),
    Format(LineFramer("latin-1"), texts),
    Format(LineFramer("gbk", max_size=8), texts),
    Format(HeaderBodyFramer(), header_messages, sized("size")),
    Format(
        HeaderBodyFramer("<H", size_key="n", max_header_size=60, max_size=9),
        header_messages,
        sized("n"),
    ),
    record("!", "H", "8s", "b"),
    record("<", "B"),
    record(">", "f", "d", "?", "c"),
    record("<", "6p", "2x", "q"),
    Format(LengthPrefixFramer("!B", oversize="skip", max_size=9), payloads),
    Format(DelimiterFramer(oversize="skip", max_size=9), payloads),
    Format(DelimiterFramer(b"\r\n", oversize="skip", max_size=3), payloads),
    Format(DelimiterFramer(b"aba", final="emit", oversize="skip", max_size=4), payloads),
    Format(LineFramer(errors="replace", oversize="skip", max_size=9), texts),
    Format(NetstringFramer(), payloads),
    Format(NetstringFramer(max_size=9), payloads),
    Format(netstring.NetstringFramer(), payloads),
    Format(VarintFramer(), payloads),
    Format(ContentLengthFramer(max_size=9), payloads),
    Format(JsonFramer(), json_values, through_json),
    Format(JsonFramer(LineFramer()), json_values, through_json),
    Format(
        CodecFramer(LengthPrefixFramer("<H", max_size=1100), zlib.compress, decompressed), payloads
    ),
    Format(CodecFramer(LineFramer(oversize="skip", max_size=20), int.__repr__, int), st.integers()),
    Format(AnyOfFramer(), payloads),
    Format(MarkedFramer(), payloads),
    Format(MarkedFramer(max_size=4), payloads),
]
every_format = pytest.mark.parametrize("format", FORMATS, ids=repr)
one_of_each_class = pytest.mark.parametrize(
    "format", {type(each.framer): each for each in reversed(FORMATS)}.values(), ids=repr
)

# Streams


@cache
def streams(format: Format[Any]) -> SearchStrategy[bytes]:
    """Streams of good messages, damaged messages and noise."""
    good = format.messages.map(format.framer.encode)
    noise = st.one_of(
        st.sampled_from(INTERESTING),
        st.binary(max_size=6),
        st.sampled_from([b"GET / HTTP/1.1\r\n", b"\0\0\0\x0a", b'{"size":2}', b"3:", b","]),
        st.sampled_from(
            [b'{"n": [1, null]}', b"[NaN]", b"-1e9", b"null", b"Content-Length: 1\r\n"]
        ),
    )
    pieces = st.one_of(good, good, good, st.builds(damaged, good, st.data()), noise)
    return st.lists(pieces, max_size=6).map(b"".join)


def damaged(wire: bytes, data: st.DataObject) -> bytes:
    """Return *wire* cut, or with some bytes flipped, inserted or removed."""
    place = data.draw(st.integers(0, len(wire)))
    end = data.draw(st.integers(place, min(place + 2, len(wire))))
    return wire[:place] + data.draw(st.binary(max_size=2)) + wire[end:]


@st.composite
def chunks(draw: st.DrawFn, wire: bytes) -> list[bytes]:
    """Ways of cutting *wire*, empty chunks and single bytes included."""
    cuts = sorted(draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    if draw(st.booleans()):
        cuts = list(range(len(wire)))
    places = [0, *cuts, len(wire)]
    return [wire[start:end] for start, end in pairwise(places)]

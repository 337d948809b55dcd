"""The table of wire formats, and strategies for their messages and for streams of them."""

from __future__ import annotations

import inspect
import json
import re
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
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
    """A framer, and messages and streams to try on it.

    Attributes:
        framer: The wire format.
        candidates: Messages; those that the framer refuses are left out.
        pieces: What ``test_exhaustive`` makes all short streams of, mostly single bytes: those
            that mean something to the format, and one that does not.
        longest: How many of them a stream has at most.
        received: What a message is when it comes back.
    """

    framer: Framer[M]
    candidates: SearchStrategy[M]
    pieces: bytes | list[bytes] = b""
    longest: int = 0
    received: Callable[[M], M] = lambda message: message

    @cached_property
    def messages(self) -> SearchStrategy[M]:
        """The candidates that the framer accepts."""
        return self.candidates.filter(lambda message: carries(self.framer, message))

    @property
    def ends_with_the_stream(self) -> bool:
        """Whether the end of the stream may end a message, as it ends a line."""
        framer = self.framer
        while isinstance(framer, CodecFramer):
            framer = framer.framer
        is_emitted = getattr(framer, "final", "") == "emit"
        return isinstance(framer, LineFramer | AnyOfFramer) or is_emitted

    def __repr__(self) -> str:
        return re.sub(" at 0x[0-9A-Fa-f]+", "", repr(self.framer))  # of a function


def samples(format: Format[Any]) -> list[Any]:
    """Return messages for *format* of several kinds, long ones where it carries them."""
    kinds: list[Any] = [
        *(b"hello", b"", b"a", b"x" * 200),
        *("hello", "", "a", "漢字" * 2, "x" * 200),
        *(HeaderMessage({"id": 7}, b"hello"), HeaderMessage({}, b"")),
        *((7, -1), (1.5, 2.5, True, b"c"), (b"alice", b"pasca", -5)),
        *(5, -(10**18), {"漢": [1, 2.5, None, {}]}, []),
    ]
    return [each for each in kinds if carries(format.framer, each)]


def longest_message(framer: Framer[Any], size: int) -> Any:
    """Return a message for *framer* with a payload of *size* bytes."""
    text = "x" * size
    kinds: list[Any] = [text.encode(), text, text[2:], HeaderMessage({}, text.encode())]
    return next(each for each in kinds if carries(framer, each))


def with_limit(framer: Framer[Any], max_size: int) -> Framer[Any]:
    """Return the same format with another limit, if it has one."""
    names = inspect.signature(type(framer)).parameters
    if "max_size" not in names:
        return framer
    options = {name: getattr(framer, name) for name in names}
    return type(framer)(**options | {"max_size": max_size})


def carries(framer: Framer[Any], message: Any) -> bool:
    """Return whether *message*, of any type, is one for *framer*."""
    with suppress(EncodeError, TypeError):
        framer.encode(message)
        return True
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
short = st.binary(max_size=2) | st.sampled_from([b"", b"a", b"b", b"\n", b"abc", b"x" * 9])
texts = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="a\r\v\u2028é漢", max_size=8),
    st.builds(repeated, st.text(alphabet="abé", min_size=1, max_size=5), st.integers(250, 260)),
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
headers = st.dictionaries(st.text(max_size=6).filter(lambda key: key != "size"), json_values)
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


def record(
    format: str, *values: SearchStrategy[Any], pieces: bytes = b"", longest: int = 0
) -> Format[Any]:
    """Return a format of records, which come back as struct makes them."""

    def received(sent: tuple[Any, ...]) -> tuple[Any, ...]:
        return struct.unpack(format, struct.pack(format, *sent))

    return Format(StructFramer(format), st.tuples(*values), pieces, longest, received)


float_4, float_8 = st.floats(width=32, allow_nan=False), st.floats(allow_nan=False)
one_byte = st.binary(min_size=1, max_size=1)


# Every wire format, with the options that change how it is read. All tests of formats run on
# these, on every connection too: a new one joins by one line, and for test_exhaustive by a line in
# specifications.py.
FORMATS: list[Format[Any]] = [
    Format(LengthPrefixFramer(), payloads),
    Format(LengthPrefixFramer("!B"), payloads, b"\0\1\2", 6),
    Format(LengthPrefixFramer(">b", max_size=3), short, b"\0\1\3\xff", 6),
    Format(LengthPrefixFramer("<H", max_size=260), payloads, b"\0\1\2", 6),
    Format(LengthPrefixFramer("!I", max_size=0), short, b"\0\1", 10),
    Format(LengthPrefixFramer("!B", includes_prefix=True), payloads, b"\0\1\2\3", 6),
    Format(LengthPrefixFramer("!B", oversize="skip", max_size=1), short, b"\0\1\2\3", 6),
    Format(
        LengthPrefixFramer("<h", includes_prefix=True, oversize="skip", max_size=0),
        *(short, b"\0\2\4\xff", 6),
    ),
    Format(DelimiterFramer(), payloads, b"\na", 8),
    Format(DelimiterFramer(max_size=2), short, b"\na", 8),
    Format(DelimiterFramer(b"\0", max_size=0), short, b"\0a", 10),
    Format(DelimiterFramer(b"\r\n"), payloads, b"\r\na", 6),
    Format(DelimiterFramer(b"\r\n", final="emit", max_size=2), short, b"\r\na", 7),
    Format(DelimiterFramer(b"aba", max_size=3), short, b"abc", 7),
    Format(DelimiterFramer(b"aaaa", final="emit", max_size=4), short, b"ab", 9),
    Format(DelimiterFramer(oversize="skip", max_size=1), short, b"\na", 8),
    Format(DelimiterFramer(b"aba", oversize="skip", max_size=2), short, b"abc", 7),
    Format(
        DelimiterFramer(b"\r\n", final="emit", oversize="skip", max_size=0),
        *(short, b"\r\na", 7),
    ),
    Format(AnyOfFramer(), payloads, b"\r\na", 6),
    Format(AnyOfFramer(or_end=True, max_size=1), short, b"\r\na", 7),
    Format(AnyOfFramer((b"b", b"abc"), max_size=1), short, b"abc", 6),
    Format(LineFramer(), texts, b"\n\r\xc3\xa9", 5),
    Format(LineFramer(max_size=2), texts, b"\n\ra", 6),
    Format(LineFramer("latin-1", max_size=9), texts, b"\n\r\x85", 6),
    Format(LineFramer("gbk", max_size=8), texts, b"\n\r\x81@", 5),
    Format(LineFramer(errors="replace", oversize="skip", max_size=1), texts, b"\n\r\xff", 7),
    Format(HeaderBodyFramer(), header_messages, received=sized("size")),
    Format(
        HeaderBodyFramer("!B", size_key="", max_header_size=7, max_size=2),
        st.builds(HeaderMessage, st.just({}), short),
        [b"\6", b'{"":0}', b'{"":1}', b'{"":2}', b'{"":3}', b"\7", b"\n", b"\1", b"{", b"}"],
        *(3, sized("")),
    ),
    record("!Hb", st.integers(0, 999), st.integers(-128, 127), pieces=b"\0\1\xff", longest=6),
    record(">fd?c", float_4, float_8, st.booleans(), one_byte),
    record("<8s6p2xq", st.binary(max_size=9), st.binary(max_size=6), st.integers(-(2**63), 2**63)),
    Format(NetstringFramer(), payloads, b"01:,", 6),
    Format(NetstringFramer(max_size=9), short, b"12:,a", 6),
    Format(netstring.NetstringFramer(), payloads, b"12:,a", 6),
    Format(VarintFramer(), payloads, b"\0\1\x80\x82", 6),
    Format(ContentLengthFramer(max_size=300), payloads),
    Format(JsonFramer(), json_values, received=through_json),
    Format(JsonFramer(LineFramer()), json_values, received=through_json),
    Format(JsonFramer(LineFramer(oversize="skip", max_size=3)), json_values, b"\n[]1", 6),
    Format(CodecFramer(LineFramer(), int.__repr__, int), st.integers(), b"\n1a", 7),
    Format(CodecFramer(LengthPrefixFramer("<H"), zlib.compress, decompressed), payloads),
    Format(CodecFramer(netstring.NetstringFramer(), zlib.compress, decompressed), payloads),
    Format(MarkedFramer(), payloads),
    Format(MarkedFramer(max_size=2), short, b"\0\1\2\3", 6),
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
    return st.lists(pieces, max_size=6).map(b"".join) | st.binary(max_size=60)


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

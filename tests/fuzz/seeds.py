"""Inputs to begin with, from the wire bytes that are known to be right: ``golden.json``."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from framing import HeaderBodyFramer

from ..test_golden import RECEIVED
from .decoders import FRAMERS, put_together

# What parsers are known to trip over.
HEADERS = [
    b"{}",
    b'{"size":0}',
    b'{"size":-1}',
    b'{"size":true}',
    b'{"size":1,"size":1}',
    b'{"a":{"b":[1,2.5,-0.0,1e400,null,false]},"size":2}',
    b'{"\\ud800":NaN}',
    b'{"a":"\\u6f22\\ud83d\\ude00","size":1}',
    b'{"a":' + b"9" * 400 + b"}",
    b'{"a":' + b"[" * 70 + b"]" * 70 + b"}",
    b"\xef\xbb\xbf{}",
    b"[1,2]",
]


def seeds() -> Iterator[bytes]:
    """Yield each golden message as every framer's input: alone, cut, twice, and damaged."""
    for framer in FRAMERS:
        for vector in RECEIVED:
            if vector.framer == framer or type(vector.framer) is not type(framer):
                yield put_together(framer, b"", vector.wire)
            if vector.framer == framer:
                yield put_together(framer, b"\1\2", vector.wire * 2)
                yield put_together(framer, b"\3", vector.wire + vector.wire[:-1])
    for header in HEADERS:
        for framer in FRAMERS:
            if isinstance(framer, HeaderBodyFramer):
                size = len(header) % 256
                yield put_together(framer, b"", struct.pack(framer.format, size) + header + b"hi")
        yield put_together(FRAMERS[0], b"", header)

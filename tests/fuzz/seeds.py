"""Inputs to begin with: messages of every format, golden ones, and odd headers."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

from ..strategies import FORMATS, samples
from ..test_golden import RECEIVED
from .decoders import FRAMERS, put_together

# What parsers are known to trip over.
HEADERS = [
    *(b"{}", b'{"size":0}', b'{"size":-1}', b'{"size":true}', b'{"size":1,"size":1}', b"[1,2]"),
    b'{"a":{"b":[1,2.5,-0.0,1e400,null,false]},"size":2}',
    b'{"\\ud800":NaN}',
    b'{"a":"\\u6f22\\ud83d\\ude00","size":1}',
    b'{"a":' + b"9" * 400 + b"}",
    b'{"a":' + b"[" * 70 + b"]" * 70 + b"}",
    b"\xef\xbb\xbf{}",
]

FIELDS = [
    *(
        b"Content-Length: 2",
        b"content-length:2",
        b"CONTENT-LENGTH:\t 02 \t",
        b"Content-Length: 301",
    ),
    b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: 2",
    b"Content-Length: 2\r\nContent-Length: 2\r\nX-Empty:",
    b"Content-Length: 2\r\nContent-Length: 3",
    *(b"Content-Length : 2", b" Content-Length: 2", b"Content-Length: +2", b"Content-Length: \xb2"),
    b"Content-Length: 2\n: 3",
]


def seeds(target: str) -> Iterator[bytes]:
    """Yield inputs for *target*."""
    return walks() if target == "connections" else messages()


def walks() -> Iterator[bytes]:
    """Yield walks over both kinds of connections, each in both ways."""
    draw = random.Random(19)
    for kind in range(4):
        for _ in range(5):
            yield bytes([kind]) + draw.randbytes(150)


def messages() -> Iterator[bytes]:
    """Yield messages of every format: alone, cut, twice, and damaged."""
    for format in FORMATS:
        wires = list(map(format.framer.encode, samples(format)))
        wires += [each.wire for each in RECEIVED if type(each.framer) is type(format.framer)]
        stream = b"".join(wires)
        for sizes, data in (
            (b"", stream),
            (b"\1\2", stream),
            (b"\3", stream[:-1]),
            (b"", stream[1:]),
        ):
            yield put_together(format.framer, sizes, data)
        yield put_together(format.framer, b"\4\x10", stream, few_are_many=True)
    yield from (put_together(FRAMERS[0], b"", fields + b"\r\n\r\nhi") for fields in FIELDS)
    for header in HEADERS:
        wire = struct.pack("!I", len(header)) + header + b"hi"
        for framer in (FRAMERS[0], *(f for f in FRAMERS if hasattr(f, "max_header_size"))):
            yield put_together(framer, b"", wire)

"""What is particular to ``ContentLengthFramer``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framing import (
    ContentLengthFramer,
    DecodeError,
    EncodeError,
    IncompleteMessageError,
    MessageTooLargeError,
)

from .strategies import Format, payloads
from .streams import check, decode

FRAMER = ContentLengthFramer()
FORMAT = Format(ContentLengthFramer(max_size=280), payloads)


@given(st.data())
def test_messages_come_back_and_chunks_make_no_difference(data: st.DataObject) -> None:
    check(FORMAT, data)


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Length: 5",
        b"content-length:5",
        b"CONTENT-LENGTH:\t 5 \t",
        b"Content-Length: 005",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: 5",
        b"Content-Length: 5\r\nX-Empty:\r\nX-Content-Length: 9",
        b"Content-Length: 5\r\nX: " + b" " * 8000 + b"x",
    ],
    ids=lambda each: repr(each[:40]),
)
def test_a_header_of_other_writers_is_understood(header: bytes) -> None:
    usual = FRAMER.encode(b"hi")
    stream = usual + header + b"\r\n\r\nhello" + usual
    assert decode(FRAMER, stream) == [b"hi", b"hello", b"hi"]


DIGITS = "expected Content-Length in decimal digits, not "
FIELD = "expected a field such as 'Content-Length: 5', not "


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (b"Content-Length: +5", DIGITS + "b'+5'"),
        (b"Content-Length: -5", DIGITS + "b'-5'"),
        (b"Content-Length: 1_0", DIGITS + "b'1_0'"),
        (b"Content-Length: 5 5", DIGITS + "b'5 5'"),
        (b"Content-Length: 5,5", DIGITS + "b'5,5'"),
        (b"Content-Length: 0x5", DIGITS + "b'0x5'"),
        (b"Content-Length:", DIGITS + "b''"),
        (b"Content-Length: " + b"9" * 5000, DIGITS + "b'999"),
        ("Content-Length: ٥".encode(), DIGITS + "b'\\xd9\\xa5'"),
        (b"Content-Length : 5", FIELD + "b'Content-Length : 5'"),
        (b" Content-Length: 5", FIELD + "b' Content-Length: 5'"),
        (b"Content-Length: 5\nX: y", FIELD + "b'Content-Length: 5\\nX: y'"),
        (b"Content-Length: 5\r\n: y", FIELD + "b': y'"),
        (b"GET / HTTP/1.1", FIELD + "b'GET / HTTP/1.1'"),
        (b"", FIELD + "b''"),
        (b"Content-Size: 5", "expected one Content-Length, not 0, in b'Content-Size: 5'"),
        (
            b"Content-Length: 5\r\ncontent-length: 6",
            "expected one Content-Length, not 2, in b'Content-Length: 5\\r\\ncontent-length: 6'",
        ),
    ],
    ids=lambda each: repr(each[:40]),
)
def test_a_bad_header_is_fatal(header: bytes, text: str) -> None:
    usual = FRAMER.encode(b"hi")
    message, error = decode(FRAMER, usual + header + b"\r\n\r\nhello")
    assert (message, type(error), error.offset) == (b"hi", DecodeError, len(usual))
    assert str(error).startswith(text)


def test_the_limits_hold_to_the_byte() -> None:
    framer = ContentLengthFramer(max_size=5)
    assert decode(framer, framer.encode(b"hello")) == [b"hello"]
    with pytest.raises(EncodeError):
        framer.encode(b"hello!")
    for header, size in ((b"Content-Length: 6", 6), (b"content-length: 6", 6)):
        error = decode(framer, header + b"\r\n\r\nhello!")[0]
        assert isinstance(error, MessageTooLargeError)
        assert (error.size, error.limit) == (size, 5)
    header = b"Content-Length: 5\r\nX: ".ljust(8192, b"x")
    assert framer.decode(header + b"\r\n\r\nhello") == b"hello"
    with pytest.raises(MessageTooLargeError):
        framer.decode(header + b"x\r\n\r\nhello")


def test_a_truncated_message_reports_the_whole_size() -> None:
    (error,) = decode(FRAMER, b"Content-Length: 5\r\n\r\nhel")
    assert (type(error), error.received, error.expected) == (IncompleteMessageError, 24, 26)

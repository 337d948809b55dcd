"""What is particular to ``ContentLengthFramer``."""

from __future__ import annotations

import pytest

from framing import ContentLengthFramer, DecodeError, MessageTooLargeError

from .outcomes import check

FRAMER = ContentLengthFramer()
USUAL = FRAMER.encode(b"hi")


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
        b"Content-Length: 5\r\nX: " + b" " * 800 + b"x",
    ],
    ids=lambda each: repr(each[:40]),
)
def test_a_header_of_other_writers_is_understood(header: bytes) -> None:
    stream = USUAL + header + b"\r\n\r\nhello" + USUAL
    assert check(FRAMER, stream) == [b"hi", b"hello", b"hi"]


DIGITS = "expected Content-Length in decimal digits, not "
FIELD = "expected a field such as 'Content-Length: 5', not "


@pytest.mark.parametrize(
    ("header", "text"),
    [
        *(
            (f"Content-Length: {value}", f"{DIGITS}{value.encode()!r}")
            for value in ("+5", "-5", "1_0", "5 5", "5,5", "0x5", "", "٥", "X5X", "5\x0b")
        ),
        ("Content-Length: " + "9" * 5000, DIGITS + "b'999"),
        *(
            (header, f"{FIELD}{header.encode()!r}")
            for header in ("Content-Length : 5", " Content-Length: 5", "GET / HTTP/1.1", "")
        ),
        ("Content-Length: 5\nX: y", FIELD + r"b'Content-Length: 5\nX: y'"),
        ("Content-Length: 5\r\n: y", FIELD + "b': y'"),
        ("Content-Size: 5", "expected one Content-Length, not 0, in b'Content-Size: 5'"),
        (
            "Content-Length: 5\r\ncontent-length: 6",
            r"expected one Content-Length, not 2, in b'Content-Length: 5\r\ncontent-length: 6'",
        ),
    ],
    ids=lambda each: repr(each[:40]),
)
def test_a_bad_header_is_fatal(header: str, text: str) -> None:
    message, error = check(FRAMER, USUAL + header.encode() + b"\r\n\r\nhello")
    assert (message, type(error), error.offset) == (b"hi", DecodeError, len(USUAL))
    assert str(error).startswith(text)


def test_a_size_above_the_limit_is_too_large_whoever_wrote_it() -> None:
    for header in (b"Content-Length: 6", b"content-length: 6"):
        (error,) = check(ContentLengthFramer(max_size=5), header + b"\r\n\r\nhello!")
        assert (type(error), error.size, error.limit) == (MessageTooLargeError, 6, 5)


def test_a_header_has_8_kib_at_most() -> None:
    header = b"Content-Length: 5\r\nX: ".ljust(8192, b"x")
    assert FRAMER.decode(header + b"\r\n\r\nhello") == b"hello"
    with pytest.raises(MessageTooLargeError):
        FRAMER.decode(header + b"x\r\n\r\nhello")

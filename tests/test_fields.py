"""``struct`` formats that every machine reads alike, and lengths that announce payloads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from framing import (
    DecodeError,
    Framer,
    HeaderBodyFramer,
    LengthPrefixFramer,
    MessageTooLargeError,
    StructFramer,
)

of_one_integer = pytest.mark.parametrize("make", [LengthPrefixFramer, HeaderBodyFramer])
of_any_format = pytest.mark.parametrize(
    "make", [LengthPrefixFramer, HeaderBodyFramer, StructFramer]
)

Make = Callable[..., Framer[Any]]

MACHINE_DEPENDENT = (
    "the layout of the struct format {!r} depends on the machine: write"
    " '!{}' for big-endian (network byte order) or '<{}' for little-endian"
)


@of_any_format
@pytest.mark.parametrize("format", ["I", "@I", "=I", "i", "@l"])
def test_a_format_without_a_byte_order_is_refused_and_told_what_to_write(
    make: Make, format: str
) -> None:
    code = format[-1]
    with pytest.raises(ValueError, match="depends on the machine") as caught:
        make(format)
    assert str(caught.value) == MACHINE_DEPENDENT.format(format, code, code)


@of_any_format
@pytest.mark.parametrize("format", ["", "!", "!P", "!n", "!k", "!é", "!I\0", "!" + "9" * 30 + "s"])
def test_what_is_no_format_is_a_value_error(make: Make, format: str) -> None:
    with pytest.raises(ValueError, match="struct format"):
        make(format)


@of_any_format
@pytest.mark.parametrize("format", [None, b"!I", 4], ids=repr)
def test_a_format_is_a_str(make: Make, format: object) -> None:
    with pytest.raises(TypeError) as caught:
        make(format)
    assert str(caught.value) == f"a struct format is a str such as '!I', not {format!r}"


@of_one_integer
@pytest.mark.parametrize(
    "format", ["!", "!II", "!2I", "!1I", "! I", "!f", "!d", "!e", "!s", "!4s", "!?", "!c", "!x"]
)
def test_a_length_is_one_integer(make: Make, format: str) -> None:
    with pytest.raises(ValueError, match="one integer") as caught:
        make(format)
    assert str(caught.value) == (
        f"expected a struct format of one integer, such as '!I' or '<H', not {format!r}"
    )


@of_one_integer
@pytest.mark.parametrize("order", "!<>")
@pytest.mark.parametrize("code", "bBhHiIlLqQ")
def test_every_integer_of_every_byte_order_will_do(make: Make, order: str, code: str) -> None:
    assert make(order + code) == make(order + code)


# What a length may say


@pytest.mark.parametrize(
    ("framer", "wire", "says", "least"),
    [
        (LengthPrefixFramer("!b"), b"\xff", -1, 0),
        (LengthPrefixFramer("!i"), b"\xff\xff\xff\xfe", -2, 0),
        (HeaderBodyFramer("<h"), b"\0\x80", -32768, 0),
        (LengthPrefixFramer("!H", includes_prefix=True), b"\0\1", 1, 2),
        (LengthPrefixFramer("!I", includes_prefix=True), b"\0\0\0\0", 0, 4),
        (LengthPrefixFramer("<q", includes_prefix=True), b"\xff" * 8, -1, 8),
    ],
    ids=repr,
)
def test_a_length_below_the_least_is_refused(
    framer: Framer[Any], wire: bytes, says: int, least: int
) -> None:
    with pytest.raises(DecodeError) as caught:
        framer.decoder().feed(wire).next_message()
    assert caught.value == DecodeError(
        f"expected a length of {least} or more, but the length field {wire!r} says {says}",
        offset=0,
    )


@pytest.mark.parametrize(
    ("framer", "name"),
    [
        (LengthPrefixFramer(max_size=300), "max_size"),
        (HeaderBodyFramer(max_header_size=300), "max_header_size"),
    ],
    ids=repr,
)
def test_a_length_above_the_limit_is_refused_with_both(framer: Framer[Any], name: str) -> None:
    for size in (299, 300):
        assert framer.decoder().feed(size.to_bytes(4, "big")).next_message() is None
    with pytest.raises(MessageTooLargeError) as caught:
        framer.decoder().feed(b"\0\0\1\x2d").next_message()
    assert caught.value == MessageTooLargeError(
        f"expected at most 300 bytes ({name}),"
        r" but the length field b'\x00\x00\x01-' announces 301",
        size=301,
        limit=300,
        offset=0,
    )


# What looks like another protocol

HTTP = [b"GET / HTTP/1.1", b"HEAD / HTTP/1.1", b"POST / HTTP/1.1", b"PUT /a HTTP/1.1"]
HTTP += [b"DELETE /a HTTP/1.1", b"OPTIONS * HTTP/1.1", b"PATCH /a HTTP/1.1", b"CONNECT a:1 HTTP"]
HTTP += [b"TRACE / HTTP/1.1", b"HTTP/1.1 200 OK", b"PRI * HTTP/2.0"]
SSH = [b"SSH-2.0-OpenSSH_9.6"]
TLS = [b"\x16\x03\x01\x02\0\x01\0\x01", b"\x16\x03\x03\0\x7a\x02\0\0\x76"]


def text_of_error(framer: Framer[Any], wire: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        framer.decoder().feed(wire).next_message()
    return str(caught.value)


@of_one_integer
@pytest.mark.parametrize("format", ["!I", "<I", "!i", "!Q", "<q"])
@pytest.mark.parametrize(
    ("protocol", "wire"),
    [
        *(("HTTP", each) for each in HTTP),
        *(("SSH", each) for each in SSH),
        *(("TLS", each) for each in TLS),
    ],
)
def test_an_absurd_length_asks_whether_the_peer_speaks_another_protocol(
    make: Make, format: str, protocol: str, wire: bytes
) -> None:
    limits = {"max_size": 1000} | ({"max_header_size": 1000} if make is HeaderBodyFramer else {})
    text = text_of_error(make(format, **limits), wire)
    assert f": is the peer speaking {protocol}? (in the message at byte 0" in text
    assert text.count("is the peer speaking") == 1


def test_two_bytes_are_enough_for_a_tls_hello_alone() -> None:
    framer = LengthPrefixFramer("!H", max_size=100)
    assert "is the peer speaking TLS?" in text_of_error(framer, TLS[0])
    for wire in (b"GET /", b"HTTP", b"SSH-"):
        assert "is the peer" not in text_of_error(framer, wire)


@pytest.mark.parametrize(
    "wire",
    [
        *(b"\xff\xff\xff\xff", b"GETS", b"get ", b"POSH", b"SSH2", b"\x16\x02\x01\0"),
        *(b"\x17\x03\x03\0", b"PUTS", b"\x80\0\0\0", b" GET", b"TRAX", b"PRIM", b"HTML"),
    ],
)
def test_no_such_question_without_cause(wire: bytes) -> None:
    for format in ("!I", "!i"):
        assert "is the peer" not in text_of_error(LengthPrefixFramer(format), wire)


def test_no_such_question_where_the_length_is_fine() -> None:
    framer = LengthPrefixFramer(max_size=int.from_bytes(b"GET ", "big"))
    assert framer.decoder().feed(b"GET / HTTP/1.1").next_message() is None

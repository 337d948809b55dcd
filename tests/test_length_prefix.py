"""Lengths that announce what follows: ``LengthPrefixFramer`` and ``HeaderBodyFramer``."""

from __future__ import annotations

import copy
import pickle
import struct
from collections.abc import Callable
from typing import Any

import pytest

from framing import (
    DecodeError,
    EncodeError,
    Framer,
    HeaderBodyFramer,
    LengthPrefixFramer,
    MessageTooLargeError,
)

from .outcomes import check

MIB = 1024 * 1024

of_one_integer = pytest.mark.parametrize("make", [LengthPrefixFramer, HeaderBodyFramer])
Make = Callable[..., Framer[Any]]


@pytest.mark.parametrize("order", "!<>")
@pytest.mark.parametrize(
    ("code", "width", "bits"),
    [
        *(("b", 1, 7), ("B", 1, 8), ("h", 2, 15), ("H", 2, 16), ("i", 4, 31), ("I", 4, 32)),
        *(("l", 4, 31), ("L", 4, 32), ("q", 8, 63), ("Q", 8, 64)),
    ],
)
@pytest.mark.parametrize("includes_prefix", [False, True])
def test_max_size_is_lowered_to_what_the_length_can_hold(
    order: str, code: str, width: int, bits: int, includes_prefix: bool
) -> None:
    def framer(**options: Any) -> LengthPrefixFramer:
        return LengthPrefixFramer(order + code, includes_prefix=includes_prefix, **options)

    largest = 2**bits - 1 - width * includes_prefix
    wishes = [largest - 1, largest, largest + 1, 2**100]
    assert [framer(max_size=wish).max_size for wish in wishes] == [largest - 1] + [largest] * 3
    assert framer().max_size == min(16 * MIB, largest)
    size = framer().max_size if width <= 2 else 1000
    number = (size + width * includes_prefix).to_bytes(width, "little" if order == "<" else "big")
    assert framer().encode(bytes(size)) == number + bytes(size)
    assert framer().decode(number + bytes(size)) == bytes(size)
    if width <= 2:
        with pytest.raises(EncodeError, match=rf"{size} bytes \(max_size\), not {size + 1}"):
            framer().encode(bytes(size + 1))
    header_framer = HeaderBodyFramer(order + code, max_header_size=2**100)
    assert header_framer.max_header_size == 2**bits - 1
    assert header_framer.max_size == 16 * MIB


def test_a_payload_is_not_copied_to_be_sent() -> None:
    message = b"x" * 10_000
    assert LengthPrefixFramer().encode_parts(message)[1] is message
    buffer = bytearray(1000)
    part = LengthPrefixFramer().encode_parts(buffer)[1]
    assert isinstance(part, memoryview)
    assert part.obj is buffer


@pytest.mark.parametrize("message", ["text", 5, None, [104, 105]], ids=repr)
def test_something_else_than_bytes_is_a_type_error(message: Any) -> None:
    with pytest.raises(TypeError, match=f"memoryview, not {type(message).__name__}"):
        LengthPrefixFramer().encode(message)
    with pytest.raises(TypeError, match="encode"):
        LengthPrefixFramer().encode("text")  # type: ignore[arg-type]


def test_a_framer_equals_another_by_its_options_and_not_by_its_wire() -> None:
    truthy: bool = 1  # type: ignore[assignment]
    framer = LengthPrefixFramer("!B", includes_prefix=truthy)
    assert framer == LengthPrefixFramer("!B", includes_prefix=True, max_size=254)
    assert LengthPrefixFramer("!I") != LengthPrefixFramer(">I")
    shown = "LengthPrefixFramer(format='!B', includes_prefix=True, oversize='error', max_size=254)"
    assert repr(framer) == shown


@of_one_integer
def test_a_length_is_one_integer(make: Make) -> None:
    for format in ["!II", "!2I", "!1I", "!f", "!d", "!e", "!s", "!4s", "!?", "!c", "!x"]:
        with pytest.raises(ValueError, match="struct format of one integer"):
            make(format)
    for format in ("!", "! I"):
        with pytest.raises(ValueError, match="struct format of one integer"):
            make(format)


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
    (error,) = check(framer, wire)
    assert (type(error), error.offset) == (DecodeError, 0)
    for part in (f"{least} or more", repr(wire), str(says)):
        assert part in str(error)


@pytest.mark.parametrize(
    ("framer", "name", "limit", "wire"),
    [
        (LengthPrefixFramer(max_size=300), "max_size", 300, b"\0\0\1\x2d"),
        (HeaderBodyFramer(max_header_size=300), "max_header_size", 300, b"\0\0\1\x2d"),
        (LengthPrefixFramer("!Q"), "max_size", 16 * MIB, b"\xff" * 8),
    ],
    ids=repr,
)
def test_a_length_above_the_limit_is_refused_with_both(
    framer: Framer[Any], name: str, limit: int, wire: bytes
) -> None:
    size = int.from_bytes(wire, "big")
    for fine in (limit - 1, limit):
        assert framer.decoder().feed(fine.to_bytes(len(wire), "big")).next_message() is None
    (error,) = check(framer, wire)
    assert isinstance(error, MessageTooLargeError)
    assert (error.size, error.limit, error.offset) == (size, limit, 0)
    for part in (f"{limit} bytes ({name})", repr(wire), str(size)):
        assert part in str(error)


# What looks like another protocol

QUESTION = "is the peer speaking"
PROTOCOLS = {
    "HTTP": (
        *(b"GET / HTTP/1.1", b"HEAD / HTTP/1.1", b"POST / HTTP/1.1", b"PUT /a HTTP/1.1"),
        *(b"DELETE /a HTTP/1.1", b"OPTIONS * HTTP/1.1", b"PATCH /a HTTP/1.1", b"PRI * HTTP/2.0"),
        *(b"CONNECT a:1 HTTP", b"TRACE / HTTP/1.1", b"HTTP/1.1 200 OK"),
    ),
    "SSH": (b"SSH-2.0-OpenSSH_9.6",),
    "TLS": (b"\x16\x03\x01\x02\0\x01\0\x01", b"\x16\x03\x03\0\x7a\x02\0\0\x76"),
}


def text_of_error(framer: Framer[Any], wire: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        framer.decoder().feed(wire).next_message()
    return str(caught.value)


@of_one_integer
@pytest.mark.parametrize("format", ["!I", "<I", "!i", "!Q", "<q"])
def test_an_absurd_length_asks_whether_the_peer_speaks_another_protocol(
    make: Make, format: str
) -> None:
    limits = {"max_size": 1000} | ({"max_header_size": 1000} if make is HeaderBodyFramer else {})
    for protocol, wires in PROTOCOLS.items():
        for wire in wires:
            text = text_of_error(make(format, **limits), wire)
            assert f"{QUESTION} {protocol}?" in text
            assert text.count(QUESTION) == 1


def test_two_bytes_are_enough_for_a_tls_hello_alone() -> None:
    framer = LengthPrefixFramer("!H", max_size=100)
    assert f"{QUESTION} TLS?" in text_of_error(framer, b"\x16\x03")
    for wire in (b"GET /", b"HTTP", b"SSH-"):
        assert QUESTION not in text_of_error(framer, wire)


def test_other_bytes_raise_no_such_question() -> None:
    for wire in (
        *(b"\xff\xff\xff\xff", b"GETS", b"get ", b"POSH", b"SSH2", b"\x16\x02\x01\0", b"HTML"),
        *(b"\x17\x03\x03\0", b"PUTS", b"\x80\0\0\0", b" GET", b"TRAX", b"PRIM"),
    ):
        for format in ("!I", "!i"):
            assert QUESTION not in text_of_error(LengthPrefixFramer(format), wire)
    fine = LengthPrefixFramer(max_size=int.from_bytes(b"GET ", "big"))
    assert fine.decoder().feed(b"GET / HTTP/1.1").next_message() is None


def test_a_copy_includes_the_prefix_too() -> None:
    framer = LengthPrefixFramer(includes_prefix=True)
    for each in (framer, pickle.loads(pickle.dumps(framer)), copy.deepcopy(framer)):
        assert each.encode(b"hi") == b"\0\0\0\6hi"
        assert list(each.decoder().feed(b"\0\0\0\6hi")) == [b"hi"]


TEXT = ": these bytes are text: does the peer send with send_msg, and with the same framer?"
DECIMAL = ": these bytes are a decimal number: does the peer send its lengths as text?"
OTHER = ": it is {} in {}-endian: does the peer use {!r}?"


@pytest.mark.parametrize(
    ("format", "field", "hint"),
    [
        ("!I", b"   5", DECIMAL),
        ("!H", b"57", DECIMAL),
        ("!B", b"5", ""),
        ("!I", b"\t  5", TEXT),
        ("!I", b"X  5", TEXT),
        ("!H", b"Hi", TEXT),
        ("!B", b"H", ""),
        ("!B", b"\xc8", ""),
        ("!I", b"\5\0\0\0", OTHER.format(5, "little", "<I")),
        (">I", b"\x14\0\0\0", OTHER.format(20, "little", "<I")),
        ("<I", b"\0\0\0\5", OTHER.format(5, "big", "!I")),
        ("!I", b"\x15\0\0\0", ""),
        ("!I", b"\2\0\0\0", OTHER.format(2, "little", "<I")),
        ("!I+", b"\2\0\0\0", ""),
        ("!I+", b"\4\0\0\0", OTHER.format(4, "little", "<I")),
        ("!I+", b"\x18\0\0\0", OTHER.format(24, "little", "<I")),
        ("!I+", b"\x19\0\0\0", ""),
    ],
)
def test_a_field_of_a_message_too_large_may_look_like_something_else(
    format: str, field: bytes, hint: str
) -> None:
    includes = format.endswith("+")
    framer = LengthPrefixFramer(format.strip("+"), includes_prefix=includes, max_size=20)
    with pytest.raises(MessageTooLargeError) as caught:
        framer.decoder().feed(field).next_message()
    (length,) = struct.unpack(framer.format, field)
    size = length - len(field) * includes
    assert str(caught.value) == (
        f"expected at most 20 bytes (max_size), but the length field {field!r} announces"
        f" {size}{hint} (in the message at byte 0 of the stream)"
    )


@pytest.mark.parametrize(
    ("wire", "hint"),
    [
        *(
            (wire, " They look like JSON: JsonFramer(LineFramer()) reads JSON lines.")
            for wire in (b'{"a"', b"[1,2", b" [1]", b"\n {}")
        ),
        *(
            (wire, " They look like a Content-Length header: ContentLengthFramer reads those.")
            for wire in (b"Cont", b"cont")
        ),
        *(
            (wire, " They look like a netstring: NetstringFramer reads those.")
            for wire in (b"5:he", b"12:h")
        ),
        *((wire, "") for wire in (b"hell", b"Hi {", b"a5:h", b"COMP")),
    ],
)
def test_text_instead_of_a_length_is_named_with_the_format_that_it_looks_like(
    wire: bytes, hint: str
) -> None:
    text = text_of_error(LengthPrefixFramer(), wire)
    assert "these bytes are text: does the peer send with send_msg" in text
    assert f"with the same framer?{hint} (in the message at byte 0" in text

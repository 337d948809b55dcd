"""Lengths that announce what follows: ``LengthPrefixFramer`` and ``HeaderBodyFramer``."""

from __future__ import annotations

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

MIB = 1024 * 1024

of_one_integer = pytest.mark.parametrize("make", [LengthPrefixFramer, HeaderBodyFramer])
Make = Callable[..., Framer[Any]]


@pytest.mark.parametrize(
    ("format", "includes_prefix", "largest"),
    [
        ("!b", False, 127),
        ("!B", False, 255),
        ("<h", False, 2**15 - 1),
        ("!H", False, 2**16 - 1),
        ("!i", False, 2**31 - 1),
        ("!I", False, 2**32 - 1),
        (">l", False, 2**31 - 1),
        ("!L", False, 2**32 - 1),
        ("<q", False, 2**63 - 1),
        ("!Q", False, 2**64 - 1),
        ("!b", True, 127 - 1),
        ("!B", True, 255 - 1),
        ("!H", True, 2**16 - 1 - 2),
        ("!i", True, 2**31 - 1 - 4),
        ("!Q", True, 2**64 - 1 - 8),
    ],
)
def test_max_size_is_lowered_to_what_the_length_can_hold(
    format: str, includes_prefix: bool, largest: int
) -> None:
    def max_size(wish: int) -> int:
        framer = LengthPrefixFramer(format, includes_prefix=includes_prefix, max_size=wish)
        return framer.max_size

    assert [max_size(largest + more) for more in (-1, 0, 1)] == [largest - 1, largest, largest]
    assert max_size(2**100) == largest
    default = LengthPrefixFramer(format, includes_prefix=includes_prefix)
    assert default.max_size == min(16 * MIB, largest)


@pytest.mark.parametrize(
    "framer",
    [
        LengthPrefixFramer("!B"),
        LengthPrefixFramer("!b", includes_prefix=True),
        LengthPrefixFramer("!H"),
        LengthPrefixFramer("<H", includes_prefix=True),
        LengthPrefixFramer(max_size=10),
        LengthPrefixFramer(includes_prefix=True, max_size=10),
        LengthPrefixFramer("<q", max_size=0),
    ],
    ids=repr,
)
def test_the_limit_holds_to_the_byte_both_ways(framer: LengthPrefixFramer) -> None:
    for size in {max(0, framer.max_size - 1), framer.max_size}:
        message = b"x" * size
        assert framer.decode(framer.encode(message)) == message
    size = framer.max_size + 1
    for encode in (framer.encode, framer.encode_parts):
        with pytest.raises(EncodeError, match=rf"{framer.max_size} bytes \(max_size\), not {size}"):
            encode(bytes(size))


@pytest.mark.parametrize("includes_prefix", [False, True])
@pytest.mark.parametrize("behind", [0, 5])
def test_a_limit_holds_behind_other_messages_and_however_much_has_come(
    includes_prefix: bool, behind: int
) -> None:
    sender = LengthPrefixFramer(includes_prefix=includes_prefix)
    receiver = LengthPrefixFramer(includes_prefix=includes_prefix, max_size=10)
    good = [b"x" * 10] * behind
    start = b"".join(map(sender.encode, good))
    bad = sender.encode(b"x" * 11)
    for cut in (4, 5, len(bad)):
        decoder = receiver.decoder().feed(start + bad[:cut])
        assert [decoder.next_message() for _ in good] == good
        with pytest.raises(MessageTooLargeError) as caught:
            decoder.next_message()
        assert (caught.value.size, caught.value.limit) == (11, 10)
        assert caught.value.offset == len(start)


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


def test_any_true_value_includes_the_prefix() -> None:
    truthy: bool = 1  # type: ignore[assignment]
    assert LengthPrefixFramer(includes_prefix=truthy) == LengthPrefixFramer(includes_prefix=True)
    assert LengthPrefixFramer(includes_prefix=truthy).includes_prefix is True


def test_equal_wires_under_other_names_are_other_values() -> None:
    assert LengthPrefixFramer("!I") != LengthPrefixFramer(">I")
    assert LengthPrefixFramer("!B", max_size=255) == LengthPrefixFramer("!B")
    shown = repr(LengthPrefixFramer("!B"))
    for part in ("LengthPrefixFramer(format='!B', ", "includes_prefix=False", "max_size=255"):
        assert part in shown


def test_lengths_of_the_widest_field_do_not_wrap_around() -> None:
    framer = LengthPrefixFramer("!Q")
    with pytest.raises(MessageTooLargeError) as caught:
        framer.decoder().feed(b"\xff" * 8).next_message()
    assert caught.value.size == 2**64 - 1
    assert caught.value.limit == 16 * MIB


@of_one_integer
@pytest.mark.parametrize(
    "format", ["!", "!II", "!2I", "!1I", "! I", "!f", "!d", "!e", "!s", "!4s", "!?", "!c", "!x"]
)
def test_a_length_is_one_integer(make: Make, format: str) -> None:
    with pytest.raises(ValueError, match="struct format of one integer"):
        make(format)


@of_one_integer
@pytest.mark.parametrize("order", "!<>")
@pytest.mark.parametrize("code", "bBhHiIlLqQ")
def test_every_integer_of_every_byte_order_is_accepted(make: Make, order: str, code: str) -> None:
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
    assert caught.value.offset == 0
    for part in (f"{least} or more", repr(wire), str(says)):
        assert part in str(caught.value)


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
    error = caught.value
    assert (error.size, error.limit, error.offset) == (301, 300, 0)
    for part in (f"300 bytes ({name})", r"b'\x00\x00\x01-'", "301"):
        assert part in str(error)


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
    assert f"is the peer speaking {protocol}?" in text
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
def test_other_bytes_raise_no_such_question(wire: bytes) -> None:
    for format in ("!I", "!i"):
        assert "is the peer" not in text_of_error(LengthPrefixFramer(format), wire)


def test_a_fine_length_raises_no_such_question() -> None:
    framer = LengthPrefixFramer(max_size=int.from_bytes(b"GET ", "big"))
    assert framer.decoder().feed(b"GET / HTTP/1.1").next_message() is None

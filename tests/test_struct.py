"""``StructFramer``, and the ``struct`` formats that every machine reads alike."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from framing import (
    EncodeError,
    Framer,
    HeaderBodyFramer,
    IncompleteMessageError,
    LengthPrefixFramer,
    StructFramer,
)

from .outcomes import feed_all

Make = Callable[..., Framer[Any]]
of_any_format = pytest.mark.parametrize(
    "make", [LengthPrefixFramer, HeaderBodyFramer, StructFramer]
)

# Formats


@of_any_format
@pytest.mark.parametrize("format", ["I", "@I", "=I", "i"])
def test_a_format_without_a_byte_order_is_refused_and_the_error_says_what_to_write(
    make: Make, format: str
) -> None:
    with pytest.raises(ValueError, match="depends on the machine") as caught:
        make(format)
    assert repr(format) in str(caught.value)
    assert f"'!{format[-1]}'" in str(caught.value)
    assert "'<" in str(caught.value)


@pytest.mark.parametrize("format", ["H8sI", "@bqb0q", "l", "@cL?d", "3hi", "Hn"])
def test_the_advice_for_a_native_format_reads_what_a_c_program_sends(format: str) -> None:
    with pytest.raises(ValueError, match="depends on the machine") as caught:
        StructFramer(format)
    advice = str(caught.value).split("write '")[1].split("'")[0]
    record = struct.unpack(format, bytes(range(1, struct.calcsize(format) + 1)))
    assert StructFramer(advice).decode(struct.pack(format, *record)) == record


@of_any_format
@pytest.mark.parametrize("format", ["", "!", "!P", "!n", "!k", "!é", "!I\0", "!" + "9" * 30 + "s"])
def test_a_bad_format_is_a_value_error(make: Make, format: str) -> None:
    with pytest.raises(ValueError, match="struct format"):
        make(format)


@of_any_format
@pytest.mark.parametrize("format", [None, b"!I", 4], ids=repr)
def test_a_format_is_a_str(make: Make, format: object) -> None:
    with pytest.raises(TypeError, match=f"a str such as '!I', not {format!r}"):
        make(format)


# Records


@pytest.mark.parametrize("format", ["!", "<", ">", "!0s", "<0I", "!0x"])
def test_a_record_without_bytes_is_refused(format: str) -> None:
    with pytest.raises(ValueError, match=f"{format!r} has no bytes"):
        StructFramer(format)


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("!8s", (b"123456789",)),
        ("!2s", (b"abc",)),
        ("!s", (b"ab",)),
        ("!B0s", (1, b"x")),
        ("!10p", (b"1234567890",)),
        ("!p", (b"a",)),
        ("!8s", (bytearray(b"123456789"),)),
        ("!?", (2,)),
        ("!?", ("yes",)),
        ("!?", (None,)),
        ("!?", ([],)),
        ("!?", (b"",)),
        ("!?", (0.5,)),
    ],
)
def test_a_value_that_would_come_back_changed_is_refused(
    format: str, message: tuple[Any, ...]
) -> None:
    with pytest.raises(EncodeError) as caught:
        StructFramer(format).encode(message)
    assert f"{format!r} would turn {message[-1]!r} into " in str(caught.value)


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("!B", (256,)),
        ("!B", (-1,)),
        ("!b", (128,)),
        ("<h", (-(2**15) - 1,)),
        ("!Q", (2**64,)),
        ("!q", (2**200,)),
        ("!f", (1e39,)),
        ("!e", (65520.0,)),
        ("!d", (10**400,)),
        ("!c", (b"",)),
        ("!c", (b"ab",)),
        ("!4s", ("text",)),
        ("!B", (1.0,)),
        ("!B", ("1",)),
        ("!d", ("1",)),
        ("!B", (None,)),
        ("!HB", (1,)),
        ("!HB", (1, 2, 3)),
        ("!HB", ()),
        ("!4x", (0,)),
    ],
)
def test_values_that_do_not_fit_the_format_are_refused(
    format: str, message: tuple[Any, ...]
) -> None:
    with pytest.raises(EncodeError, match=f"fit the format {format!r}: "):
        StructFramer(format).encode(message)


@pytest.mark.parametrize("message", [[1, 2], 1, None, b"\0\1\2", {1: 2}], ids=repr)
def test_a_record_is_a_tuple(message: Any) -> None:
    with pytest.raises(TypeError, match=f"a tuple.*, not {type(message).__name__}"):
        StructFramer("!HB").encode(message)


@pytest.mark.parametrize(
    ("format", "sent", "received"),
    [
        ("!8s", (b"abc",), (b"abc\0\0\0\0\0",)),
        ("!8s", (b"12345678",), (b"12345678",)),
        ("!3s", (bytearray(b"a\0"),), (b"a\0\0",)),
        ("!10p", (b"123456789",), (b"123456789",)),
        ("!10p", (b"",), (b"",)),
        ("!f", (0.1,), (0.10000000149011612,)),
        ("!e", (1.0001,), (1.0,)),
        ("!d", (-math.inf,), (-math.inf,)),
        ("!d", (3,), (3.0,)),
        ("!?B", (True, True), (True, 1)),
        ("!??", (1, 0), (True, False)),
        ("<bBhHiIqQ", (-128, 255, -1, 1, -1, 1, -1, 1), (-128, 255, -1, 1, -1, 1, -1, 1)),
        ("!H2xB", (1, 2), (1, 2)),
        ("!4x", (), ()),
    ],
)
def test_values_come_back_but_for_padding_and_rounding(
    format: str, sent: tuple[Any, ...], received: tuple[Any, ...]
) -> None:
    framer = StructFramer(format)
    wire = framer.encode(sent)
    assert len(wire) == framer.max_size
    assert framer.decode(wire) == received
    assert list(framer.decoder().feed(wire * 3)) == [received] * 3


def test_nan_can_be_sent() -> None:
    (received,) = StructFramer("!f").decode(StructFramer("!f").encode((math.nan,)))
    assert math.isnan(received)


def test_a_named_tuple_is_a_tuple() -> None:
    class Reading(NamedTuple):
        sensor: int
        value: float

    message = StructFramer("!Hd").decode(StructFramer("!Hd").encode(Reading(7, 1.5)))
    assert message == (7, 1.5)
    assert type(message) is tuple


def test_max_size_is_the_records_size_and_not_an_option() -> None:
    assert StructFramer("!H8sb").max_size == 11
    assert repr(StructFramer("!H8sb")) == "StructFramer(format='!H8sb')"
    with pytest.raises(TypeError, match="max_size"):
        StructFramer("!H", max_size=2)  # type: ignore[call-arg]


def test_a_record_larger_than_what_is_decoded_at_once_comes_whole() -> None:
    framer = StructFramer("!300000sB")
    messages = [(b"a" * 300_000, 1), (b"b" * 300_000, 2)]
    wire = b"".join(map(framer.encode, messages))
    for size in (50_000, len(wire)):
        decoder = framer.decoder()
        received: list[tuple[Any, ...]] = []
        feed_all(decoder, wire, size, received)
        assert received == messages


def test_a_truncated_record_says_its_size() -> None:
    with pytest.raises(IncompleteMessageError) as caught:
        StructFramer("!H8sb").decode(bytes(10))
    assert (caught.value.received, caught.value.expected) == (10, 11)


@pytest.mark.parametrize(
    ("format", "value"), [("!d", 2**53 + 1), ("!f", 16_777_217), ("!d", Decimal("1E+999"))]
)
def test_a_number_that_a_float_cannot_hold_is_refused(format: str, value: Any) -> None:
    with pytest.raises(EncodeError, match="would turn"):
        StructFramer(format).encode((value,))


def test_an_integer_that_a_float_can_hold_is_sent() -> None:
    assert StructFramer("!df").decode(StructFramer("!df").encode((7, 2**24))) == (7.0, 2.0**24)


@pytest.mark.parametrize("format", ["!0p", "!H0pH", "!00p"])
def test_a_pascal_string_of_no_size_is_refused(format: str) -> None:
    with pytest.raises(ValueError, match="write 1p or more"):
        StructFramer(format)
    assert StructFramer("!10p").max_size == 10

"""``StructFramer``, and the ``struct`` formats that every machine reads alike."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from framing import EncodeError, Framer, HeaderBodyFramer, LengthPrefixFramer, StructFramer

from .conditions import not_on_pypy
from .outcomes import cut, results

ONLY_BYTES = not_on_pypy("its struct takes only bytes for s")

Make = Callable[..., Framer[Any]]
of_any_format = pytest.mark.parametrize(
    "make", [LengthPrefixFramer, HeaderBodyFramer, StructFramer]
)

# Formats


@of_any_format
@pytest.mark.parametrize(
    ("format", "codes"),
    [
        *((each, each.strip("@=")) for each in ("I", "@I", "=I", "i", "=k", "k", "Xk")),
        *(("@", "I"), ("=H I", "HI")),
    ],
)
def test_a_format_without_a_byte_order_is_refused_and_the_error_says_what_to_write(
    make: Make, format: str, codes: str
) -> None:
    advice = f"'!{codes}' for big-endian (network byte order) or '<{codes}' for little-endian"
    text = f"the layout of the struct format {format!r} depends on the machine: write {advice}"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        make(format)


@pytest.mark.parametrize("format", ["H8sI", "H 8sI", "@bqb0q", "l", "@cL?d", "3hi", "Hn", "bH"])
def test_the_advice_for_a_native_format_reads_what_a_c_program_sends(format: str) -> None:
    with pytest.raises(ValueError, match="depends on the machine") as caught:
        StructFramer(format)
    advice = str(caught.value).split("write '")[1].split("'")[0]
    assert "8sI" not in format or advice[1:] == "H8s2xI"
    assert "bH" not in format or advice[1:] == "bxH"
    record = struct.unpack(format, bytes(range(1, struct.calcsize(format) + 1)))
    assert StructFramer(advice).decode(struct.pack(format, *record)) == record


@of_any_format
def test_a_bad_format_is_refused(make: Make) -> None:
    for format in ("", "k", "!", "!P", "!n", "!k", "!é", "!I\0", "!" + "9" * 30 + "s"):
        with pytest.raises(ValueError, match="struct format"):
            make(format)
    for other in (None, b"!I", 4):
        with pytest.raises(TypeError, match=f"a str such as '!I', not {other!r}"):
            make(other)


# Records


def test_a_record_without_bytes_is_refused() -> None:
    for format in ("!", "<", ">", "!0s", "<0I", "!0x"):
        with pytest.raises(ValueError, match=f"{format!r} has no bytes"):
            StructFramer(format)
    for format in ("!0p", "!H0pH", "!00p"):
        with pytest.raises(ValueError, match="write 1p or more"):
            StructFramer(format)
    assert StructFramer("!10p").max_size == 10


@pytest.mark.parametrize(
    ("format", "messages"),
    [
        ("!8s", [b"123456789"]),
        pytest.param("!8s", [bytearray(b"123456789")], marks=ONLY_BYTES),
        ("!s", [b"ab"]),
        ("!0sB", [b"x"]),
        ("!10p", [b"1234567890"]),
        ("!p", [b"a"]),
        ("!?", [2, "yes", None, [], b"", 0.5]),
        ("!d", [2**53 + 1, Decimal("1E+999")]),
        ("!f", [16_777_217]),
    ],
)
def test_a_value_that_would_come_back_changed_is_refused(format: str, messages: list[Any]) -> None:
    for value in messages:
        with pytest.raises(EncodeError) as caught:
            StructFramer(format).encode((value, *[1] * ("B" in format)))
        assert f"{format!r} would turn {value!r} into " in str(caught.value)


@pytest.mark.parametrize(
    ("format", "messages"),
    [
        ("!B", [(256,), (-1,), (1.0,), ("1",), (None,)]),
        ("!b", [(128,)]),
        ("<h", [(-(2**15) - 1,)]),
        ("!Q", [(2**64,)]),
        ("!q", [(2**200,)]),
        ("!f", [(1e39,)]),
        ("!e", [(65520.0,)]),
        ("!d", [(10**400,), ("1",)]),
        ("!c", [(b"",), (b"ab",)]),
        ("!4s", [("text",)]),
        ("!HB", [(1,), (1, 2, 3), ()]),
        ("!4x", [(0,)]),
    ],
)
def test_values_that_do_not_fit_the_format_are_refused(format: str, messages: list[Any]) -> None:
    for message in messages:
        with pytest.raises(EncodeError, match=f"fit the format {format!r}: "):
            StructFramer(format).encode(message)


def test_records_may_begin_anywhere_in_what_was_received() -> None:
    decoder = StructFramer("!HB").decoder().feed(b"x" + bytes(7))
    assert decoder.take_exactly(1) == b"x"
    assert list(decoder) == [(0, 0)] * 2
    assert decoder.unread() == b"\0"


def test_a_record_is_a_tuple() -> None:
    message: Any
    for message in ([1, 2], 1, None, b"\0\1\2", {1: 2}):
        with pytest.raises(TypeError, match=f"a tuple.*, not {type(message).__name__}"):
            StructFramer("!HB").encode(message)


class Reading(NamedTuple):
    sensor: int
    value: float


@pytest.mark.parametrize(
    ("format", "sent", "received"),
    [
        ("!8s", (b"abc",), (b"abc\0\0\0\0\0",)),
        ("!8s", (b"12345678",), (b"12345678",)),
        pytest.param("!3s", (bytearray(b"a\0"),), (b"a\0\0",), marks=ONLY_BYTES),
        ("!10p", (b"123456789",), (b"123456789",)),
        ("!10p", (b"",), (b"",)),
        ("!f", (0.1,), (0.10000000149011612,)),
        ("!e", (1.0001,), (1.0,)),
        ("!d", (-math.inf,), (-math.inf,)),
        ("!df", (7, 2**24), (7.0, 2.0**24)),
        ("!f", (math.nan,), (math.nan,)),
        ("!?B", (True, True), (True, 1)),
        ("!??", (1, 0), (True, False)),
        ("<bBhHiIqQ", (-128, 255, -1, 1, -1, 1, -1, 1), (-128, 255, -1, 1, -1, 1, -1, 1)),
        ("!H2xB", (1, 2), (1, 2)),
        ("!4x", (), ()),
        ("!Hd", Reading(7, 1.5), (7, 1.5)),
    ],
)
def test_values_come_back_but_for_padding_and_rounding(
    format: str, sent: tuple[Any, ...], received: tuple[Any, ...]
) -> None:
    framer = StructFramer(format)
    wire = framer.encode(sent)
    assert len(wire) == framer.max_size
    assert results(framer.decoder(), [wire * 3]) == [received] * 3


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
        assert results(framer.decoder(), cut(wire, size)) == messages

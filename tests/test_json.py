"""``JsonFramer``: which values come back, and what is refused on either side."""

from __future__ import annotations

import json
import pickle
import sys
import zlib
from enum import Enum, IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framing import (
    BadMessageError,
    CodecFramer,
    ContentLengthFramer,
    DelimiterFramer,
    EncodeError,
    Framer,
    JsonFramer,
    LengthPrefixFramer,
    LineFramer,
    MessageTooLargeError,
)

from .strategies import Format, json_values
from .streams import check, decode

LINES = JsonFramer(LineFramer())
FORMATS = [
    Format(JsonFramer(framer), json_values)
    for framer in (
        LengthPrefixFramer("!H", oversize="skip", max_size=30),
        LineFramer(),
        LineFramer("latin-1"),
        DelimiterFramer(b"}"),
        ContentLengthFramer(),
        CodecFramer(LengthPrefixFramer(), zlib.compress, zlib.decompress),
        JsonFramer(LineFramer()),
    )
]


@pytest.mark.parametrize("format", FORMATS, ids=repr)
@given(st.data())
def test_messages_come_back_and_chunks_make_no_difference(
    format: Format[Any], data: st.DataObject
) -> None:
    check(format, data)


@given(Format(LINES, json_values).messages)
def test_the_json_module_reads_and_writes_the_same_lines(value: object) -> None:
    assert json.loads(LINES.encode(value)) == value
    assert LINES.decode(json.dumps(value).encode() + b"\n") == value


def test_of_duplicate_keys_the_last_one_counts() -> None:
    assert LINES.decode(b'{"a": 1, "a": 2}\n') == {"a": 2}


def test_the_default_is_behind_a_length() -> None:
    assert JsonFramer() == JsonFramer(LengthPrefixFramer())
    assert JsonFramer().encode({"é": [1]}) == b'\0\0\0\x0a{"\xc3\xa9":[1]}'
    assert JsonFramer().max_size == 16 * 1024 * 1024


class Name(str, Enum):
    KEY = "key"


class Number(IntEnum):
    FIVE = 5


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ((1, (2,), ()), [1, [2], []]),
        ({Name.KEY: Number.FIVE}, {"key": 5}),
        ([None, True, 1, 1.0, -0.0, 1e308, 10**640], [None, True, 1, 1.0, -0.0, 1e308, 10**640]),
        ("\0\x7f\u2028\U0001f600\n", "\0\x7f\u2028\U0001f600\n"),
        ("", ""),
        ({}, {}),
        (0, 0),
        (False, False),
    ],
    ids=repr,
)
def test_what_comes_back(sent: object, received: object) -> None:
    for framer in (JsonFramer(), LINES):
        assert repr(framer.decode(framer.encode(sent))) == repr(received)


def deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


CIRCLE: dict[Any, Any] = {}
CIRCLE["self"] = CIRCLE
CIRCLE_BEHIND_A_BAD_KEY: dict[Any, Any] = {}
CIRCLE_BEHIND_A_BAD_KEY[1,] = CIRCLE_BEHIND_A_BAD_KEY


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "a bare null is not a message"),
        ({1: "a"}, "keys are strings in JSON, not 1"),
        ([{"a": {None: 1}}], "keys are strings in JSON, not None"),
        ({"a": ({True: 1},)}, "keys are strings in JSON, not True"),
        ({(1, 2): "a"}, r"keys are strings in JSON, not \(1, 2\)"),
        (CIRCLE_BEHIND_A_BAD_KEY, r"keys are strings in JSON, not \(1,\)"),
        ({b"k": "a"}, "keys are strings in JSON, not b'k'"),
        (float("nan"), "Out of range float values"),
        ([float("inf")], "Out of range float values"),
        ({"k": -float("inf")}, "Out of range float values"),
        ("\ud800", "surrogates not allowed"),
        ({"\udfff": 1}, "surrogates not allowed"),
        (CIRCLE, "Circular reference"),
        (deep(501), "it nests more than 500 deep"),
        (deep(100_000), "RecursionError|it nests more than"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
@pytest.mark.parametrize(
    "framer", [JsonFramer(), JsonFramer(LineFramer(errors="surrogateescape"))], ids=["bytes", "str"]
)
def test_what_would_not_come_back_is_refused(framer: Framer[Any], value: Any, text: str) -> None:
    with pytest.raises(EncodeError, match=text) as caught:
        framer.encode(value)
    assert str(caught.value).startswith("JsonFramer cannot encode this message: ")


@pytest.mark.parametrize("value", [{1, 2}, [b"x"], {"k": ...}, 1j], ids=repr)
def test_what_is_not_json_at_all_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match="is not JSON serializable"):
        JsonFramer().encode(value)


def test_deep_values_come_back() -> None:
    for framer in (JsonFramer(), LINES):
        assert framer.decode(framer.encode(deep(500))) == deep(500)


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        (b"", json.JSONDecodeError),
        (b"{", json.JSONDecodeError),
        (b"{} {}", json.JSONDecodeError),
        (b"{'a': 1}", json.JSONDecodeError),
        (b"[1,]", json.JSONDecodeError),
        (b"tru", json.JSONDecodeError),
        (b"\xef\xbb\xbf{}", json.JSONDecodeError),  # a byte order mark
        (b"GET / HTTP/1.1", json.JSONDecodeError),
        (b" null ", ValueError),
        (b"NaN", ValueError),
        (b"[-Infinity]", ValueError),
        (b'"caf\xe9"', UnicodeDecodeError),
        ("{}".encode("utf-16"), UnicodeDecodeError),
        (b"[" * 500_000, RecursionError),
    ],
    ids=lambda each: repr(each)[:20],
)
def test_a_payload_that_is_not_json_costs_one_message(payload: bytes, cause: type) -> None:
    framer = JsonFramer()
    stream = b"".join(map(LengthPrefixFramer().encode, [b"[1]", payload, b"[2]"]))
    decoder = framer.decoder().feed(stream)
    assert decoder.next_message() == [1]
    with pytest.raises(BadMessageError) as caught:
        decoder.next_message()
    assert str(caught.value).startswith("JsonFramer cannot decode this message: ")
    assert isinstance(caught.value.__cause__, cause)
    assert caught.value.offset == 7
    assert decoder.next_message() == [2]
    if len(payload) < 100:
        assert decode(framer, stream) == [[1], caught.value, [2]]


def test_bad_lines_among_good_ones() -> None:
    stream = b'{"a": 1}\n\nnull\nx\n"caf\xe9"\n [2]\r\n"' + b"x" * 30 + b'"\n3'
    framer = JsonFramer(LineFramer(oversize="skip", max_size=20))
    found = decode(framer, stream)
    good = [each for each in found if not isinstance(each, ValueError)]
    assert good == [{"a": 1}, [2], 3]
    bad = [type(each) for each in found[1:-1] if isinstance(each, ValueError)]
    assert bad == [BadMessageError] * 4 + [MessageTooLargeError]


@pytest.mark.skipif(not hasattr(sys, "get_int_max_str_digits"), reason="a newer limit of Python's")
def test_an_integer_that_python_does_not_convert_is_a_bad_message() -> None:
    good = b"1" * 4300
    assert decode(LINES, good + b"\n") == [int(good)]
    assert isinstance(decode(LINES, good + b"0\n")[0], BadMessageError)


def test_it_is_a_value() -> None:
    assert repr(LINES) == f"JsonFramer(framer={LineFramer()!r})"
    for framer in (JsonFramer(), LINES):
        again = pickle.loads(pickle.dumps(framer))
        assert (again, hash(again)) == (framer, hash(framer))
    with pytest.raises(TypeError, match=r"such as LineFramer\(\)"):
        JsonFramer(LineFramer)  # type: ignore[arg-type]

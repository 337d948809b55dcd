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

from .outcomes import check, results
from .strategies import json_values

LINES = JsonFramer(LineFramer())


@pytest.mark.parametrize(
    "inner",
    [
        LengthPrefixFramer("!H", oversize="skip", max_size=30),
        LineFramer("latin-1"),
        DelimiterFramer(b"}"),
        ContentLengthFramer(),
        CodecFramer(LengthPrefixFramer(), zlib.compress, zlib.decompress),
        LINES,
    ],
    ids=repr,
)
def test_it_goes_around_any_format_of_bytes_or_text(inner: Framer[Any]) -> None:
    framer, other = JsonFramer(inner), "Zoë" if inner == LineFramer("latin-1") else "漢"
    values: list[Any] = [[1, 2.5, None], other, False, -(10**18)]
    stream = b"".join(map(framer.encode, values))
    assert check(framer, stream) == values
    check(framer, stream[:-1] + b"?" + stream)
    if "oversize='skip'" in repr(inner):
        *before, error, after = check(framer, stream + b"\0\x1f" + bytes(31) + framer.encode([3]))
        assert (before, after) == (values, [3])
        assert isinstance(error, MessageTooLargeError)


@given(json_values.filter(lambda value: value is not None))
def test_the_json_module_reads_and_writes_the_same_lines(value: object) -> None:
    assert json.loads(LINES.encode(value)) == value
    assert LINES.decode(json.dumps(value).encode() + b"\n") == value


def test_it_goes_around_a_format_of_a_single_character() -> None:
    assert JsonFramer(LineFramer(max_size=1)).encode(7) == b"7\n"


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
        assert framer.decode(framer.encode(deep(500))) == deep(500)
    assert LINES.decode(b'{"a": 1, "a": 2}\n') == {"a": 2}


def deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


CIRCLE: dict[Any, Any] = {}
CIRCLE["self"] = CIRCLE
CIRCLE_BEHIND_A_BAD_KEY: dict[Any, Any] = {}
CIRCLE_BEHIND_A_BAD_KEY[1,] = CIRCLE_BEHIND_A_BAD_KEY


KEYS = "keys are strings in JSON, not "
REFUSED: dict[str, list[Any]] = {
    ": a bare null is not a message: put it in a list, for example$": [None],
    KEYS + "1": [{1: "a"}, [{"a": {1: "a"}}, {"b": "a"}]],
    KEYS + "None": [[{"a": {None: 1}}]],
    KEYS + "True": [{"a": ({True: 1},)}],
    KEYS + r"\(1, 2\)": [{(1, 2): "a"}],
    KEYS + r"\(1,\)": [CIRCLE_BEHIND_A_BAD_KEY],
    KEYS + "b'k'": [{b"k": "a"}],
    "Out of range float values": [float("nan"), [float("inf")], {"k": -float("inf")}],
    "surrogates not allowed": ["\ud800", {"\udfff": 1}],
    "Circular reference": [CIRCLE],
    "it nests more than 500 deep": [deep(501)],
    "RecursionError|it nests more than": [deep(100_000)],
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_would_not_come_back_is_refused(text: str) -> None:
    for framer in (JsonFramer(), JsonFramer(LineFramer(errors="surrogateescape"))):
        for value in REFUSED[text]:
            with pytest.raises(EncodeError, match=f"^JsonFramer cannot encode this.*({text})"):
                framer.encode(value)


def test_what_is_not_json_at_all_is_a_type_error() -> None:
    for value in ({1, 2}, [b"x"], {"k": ...}, 1j):
        with pytest.raises(TypeError, match="is not JSON serializable"):
            JsonFramer().encode(value)


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        *(
            (payload, json.JSONDecodeError)
            for payload in (b"", b"{", b"{} {}", b"{'a': 1}", b"[1,]", b"tru", b"GET / HTTP/1.1")
        ),
        (b"\xef\xbb\xbf{}", json.JSONDecodeError),  # a byte order mark
        *((payload, ValueError) for payload in (b" null ", b"NaN", b"[-Infinity]")),
        *((payload, UnicodeDecodeError) for payload in (b'"caf\xe9"', "{}".encode("utf-16"))),
        (b"[" * 500_000, RecursionError),
    ],
    ids=lambda each: repr(each)[:20],
)
def test_a_payload_that_is_not_json_costs_one_message(payload: bytes, cause: type) -> None:
    framer = JsonFramer()
    stream = b"".join(map(LengthPrefixFramer().encode, [b"[1]", payload, b"[2]"]))
    good, error, other = results(framer.decoder(), [stream])
    assert (good, other) == ([1], [2])
    assert (type(error), error.offset) == (BadMessageError, 7)
    why = f"JsonFramer cannot decode this message: {cause.__name__}: {error.__cause__} (in "
    assert str(error).startswith(why)
    assert payload != b" null " or ": a bare null is not a message (in " in str(error)
    assert isinstance(error.__cause__, cause)
    if len(payload) < 100:
        check(framer, stream)


def test_bad_lines_among_good_ones() -> None:
    stream = b'{"a": 1}\n\nnull\nx\n"caf\xe9"\n [2]\r\n"' + b"x" * 30 + b'"\n3'
    framer = JsonFramer(LineFramer(oversize="skip", max_size=20))
    kinds = [type(each) if isinstance(each, ValueError) else each for each in check(framer, stream)]
    assert kinds == [{"a": 1}, *[BadMessageError] * 4, [2], MessageTooLargeError, 3]


@pytest.mark.skipif(not hasattr(sys, "get_int_max_str_digits"), reason="a newer limit of Python's")
def test_an_integer_that_python_does_not_convert_is_a_bad_message() -> None:
    good = b"1" * 4300
    integer, error = results(LINES.decoder(), [good + b"\n" + good + b"0\n"])
    assert (integer, type(error)) == (int(good), BadMessageError)


def test_it_is_a_value() -> None:
    assert repr(LINES) == f"JsonFramer(framer={LineFramer()!r})"
    for framer in (JsonFramer(), LINES):
        again = pickle.loads(pickle.dumps(framer))
        assert (again, hash(again)) == (framer, hash(framer))
    with pytest.raises(TypeError, match=r"such as LineFramer\(\)"):
        JsonFramer(LineFramer)  # type: ignore[arg-type]

"""``CodecFramer``: two functions around another format, and what they may do wrong."""

from __future__ import annotations

import pickle
import signal
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framing import (
    BadMessageError,
    CodecFramer,
    DelimiterFramer,
    EncodeError,
    Framer,
    LengthPrefixFramer,
    LineFramer,
    MessageTooLargeError,
    ReadExactly,
    Steps,
)

from .strategies import Format, payloads
from .streams import check, decode, results, without_fast_path


class OneByteLength(Framer[bytes]):
    """A format without a fast path."""

    def encode_parts(self, message: bytes) -> list[bytes]:
        return [bytes([len(message)]), message]

    def read_message(self) -> Steps[bytes]:
        (size,) = yield ReadExactly(1)
        return (yield ReadExactly(self.check_size(size), last=True))


def hexadecimal(text: str) -> bytes:
    """Return the bytes that *text* stands for, and fail in all the ways that there are."""
    if text == "00":
        raise StopIteration  # this ends a map()
    return None if text == "01" else bytes.fromhex(text)  # type: ignore[return-value]


def hex_of(number: int) -> bytes:
    return hex(number).encode()


def from_hex(digits: bytes) -> int:
    return int(digits, 16)


INTEGERS = CodecFramer(LineFramer(), str, int)
NUMBERS = st.one_of(st.integers(), st.integers(10**20, 10**22))
FORMATS = [
    Format(INTEGERS, NUMBERS),
    Format(CodecFramer(LineFramer(max_size=3, oversize="skip"), str, int), NUMBERS),
    Format(CodecFramer(OneByteLength(max_size=255), hex_of, from_hex), NUMBERS),
    Format(CodecFramer(LineFramer(), bytes.hex, hexadecimal), payloads.filter(lambda p: p > b"\1")),
    Format(CodecFramer(LengthPrefixFramer(), zlib.compress, zlib.decompress), payloads),
    Format(CodecFramer(INTEGERS, len, bytes), payloads.map(len).map(bytes)),
]


@pytest.mark.parametrize("format", FORMATS)
@given(st.data())
def test_messages_come_back_and_chunks_make_no_difference(
    format: Format[Any], data: st.DataObject
) -> None:
    check(format, data)


def fail(error: Exception) -> Callable[[object], Any]:
    def function(_: object) -> None:
        raise error

    return function


ERRORS = [ValueError("no"), KeyError("k"), StopIteration(), RecursionError("deep"), EOFError()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_message_that_cannot_be_decoded_costs_one_message(error: Exception) -> None:
    def decode_one(payload: bytes) -> bytes:
        return fail(error)(payload) if payload == b"bad" else payload

    framer = CodecFramer(DelimiterFramer(), bytes, decode_one)
    one, found, two = decode(framer, b"one\nbad\ntwo\n")
    assert (one, two) == (b"one", b"two")
    assert found == BadMessageError(
        f"CodecFramer cannot decode this message: {type(error).__name__}: {error}", offset=4
    )
    assert found.__cause__ is error


@pytest.mark.parametrize("inner", [LineFramer(), LengthPrefixFramer("!B")], ids=repr)
@pytest.mark.parametrize("good", [1, 10, 100, 10_000])
def test_bad_messages_among_good_ones_take_linear_time(inner: Framer[Any], good: int) -> None:
    calls = 0

    def count(payload: str | bytes) -> int:
        nonlocal calls
        calls += 1
        return int(payload)

    text = isinstance(inner, LineFramer)
    one, bad = map(inner.encode, ("1", "x") if text else (b"1", b"x"))
    copies = max(2, 5_000 // good)
    stream = (one * good + bad) * copies
    found = results(CodecFramer(inner, str, count).decoder(), [stream])
    assert len(found) == (good + 1) * copies
    assert calls < 10 * len(found)


def test_none_is_not_a_message() -> None:
    framer = CodecFramer(LineFramer(), str, {"a": 1, "b": None}.get)
    assert decode(framer, b"a\nb\na\n") == [
        1,
        BadMessageError("CodecFramer cannot use None as a message: decode returned it", offset=2),
        1,
    ]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_message_that_cannot_be_encoded_is_an_encode_error(error: Exception) -> None:
    with pytest.raises(EncodeError, match="CodecFramer cannot encode this message: ") as caught:
        CodecFramer(LineFramer(), fail(error), int).encode(1)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [TypeError("not a number"), EncodeError("too large")], ids=repr)
def test_errors_that_say_what_is_wrong_with_a_message_stay(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        CodecFramer(LineFramer(), fail(error), int).encode(1)
    assert caught.value is error


def test_the_limit_is_that_of_the_format_inside() -> None:
    framer = CodecFramer(LengthPrefixFramer(max_size=20), zlib.compress, zlib.decompress)
    assert framer.max_size == 20
    assert framer.decode(framer.encode(bytes(1000))) == bytes(1000)
    with pytest.raises(EncodeError):
        framer.encode(bytes(range(50)))
    with pytest.raises(MessageTooLargeError):
        framer.decode(b"\0\0\0\x15" + bytes(21))


@pytest.mark.parametrize("inner", [LineFramer(), CodecFramer(LineFramer(), str, str)])
def test_what_a_signal_handler_raises_passes_through(inner: Framer[str]) -> None:
    def interrupted(value: str) -> str:
        if is_armed:
            is_armed.clear()
            signal.raise_signal(signal.SIGINT)
        return value

    def handler(*_: object) -> None:
        raise TimeoutError("out of time")

    is_armed = [True]
    framer = CodecFramer(inner, interrupted, interrupted)
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(TimeoutError):
            framer.encode("x")
        for decoder in (framer.decoder(), without_fast_path(framer)):
            decoder.feed(b"one\ntwo\n")
            is_armed.append(True)
            with pytest.raises(TimeoutError):
                decoder.next_message()
            assert list(decoder) == ["one", "two"]
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_is_a_value_and_functions_are_compared_by_identity() -> None:
    equal = CodecFramer(LineFramer(), str, int)
    assert (equal, hash(equal)) == (INTEGERS, hash(INTEGERS))
    assert CodecFramer(LineFramer(), str, float) != INTEGERS
    assert CodecFramer(LineFramer(max_size=5), str, int) != INTEGERS
    assert pickle.loads(pickle.dumps(INTEGERS)) == INTEGERS
    inner = repr(LineFramer())
    assert repr(equal) == f"CodecFramer(framer={inner}, encode=<class 'str'>, decode=<class 'int'>)"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((LineFramer, str, int), r"expected a framer, such as LineFramer\(\), not "),
        ((LineFramer(), None, int), "encode is a function, not None"),
        ((LineFramer(), str, "utf-8"), "decode is a function, not 'utf-8'"),
    ],
)
def test_wrong_arguments_are_type_errors(arguments: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        CodecFramer(*arguments)


def test_msgspec_and_pydantic() -> None:
    msgspec = pytest.importorskip("msgspec")
    pydantic = pytest.importorskip("pydantic")
    msgspec_user = msgspec.defstruct("User", [("name", str), ("age", int)])
    pydantic_user = pydantic.create_model("User", name=(str, ...), age=(int, ...))
    users: list[tuple[Any, Any, Any]] = [
        (msgspec_user, msgspec.json.encode, msgspec.json.Decoder(msgspec_user).decode),
        (
            pydantic_user,
            lambda user: user.model_dump_json().encode(),
            pydantic_user.model_validate_json,
        ),
    ]
    for user, to_json, from_json in users:
        framer: CodecFramer[Any] = CodecFramer(DelimiterFramer(), to_json, from_json)
        wire = b'{"name":"Zoe","age":5}\n{"name":"Al","age":"old"}\n{"name":"Al","age":7}\n'
        zoe, error, al = decode(framer, wire)
        assert (zoe, al) == (user(name="Zoe", age=5), user(name="Al", age=7))
        assert isinstance(error, BadMessageError)
        assert type(error.__cause__).__name__ == "ValidationError"
        assert framer.decode(framer.encode(zoe)) == zoe

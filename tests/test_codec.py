"""``CodecFramer``: two functions around another format, and what they may do wrong."""

from __future__ import annotations

import pickle
import signal
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from framing import (
    BadMessageError,
    CodecFramer,
    DelimiterFramer,
    EncodeError,
    Framer,
    LengthPrefixFramer,
    LineFramer,
    MessageTooLargeError,
)

from .outcomes import check, results, without_fast_path

INTEGERS = CodecFramer(LineFramer(), str, int)


def test_it_goes_around_another_one() -> None:
    framer = CodecFramer(INTEGERS, len, bytes)
    assert framer.encode(bytes(3)) == b"3\n"
    assert check(framer, b"2\n0\n1\n") == [b"\0\0", b"", b"\0"]


def fail(error: Exception) -> Callable[[object], Any]:
    def function(_: object) -> None:
        raise error

    return function


# The third ends a map().
ERRORS = [ValueError("no"), KeyError("k"), StopIteration(), RecursionError("deep"), EOFError()]
every_error = pytest.mark.parametrize("error", ERRORS, ids=repr)


@every_error
def test_a_message_that_cannot_be_decoded_costs_one_message(error: Exception) -> None:
    def decode_one(payload: bytes) -> bytes:
        return fail(error)(payload) if payload == b"bad" else payload

    framer = CodecFramer(DelimiterFramer(), bytes, decode_one)
    text = f"CodecFramer cannot decode this message: {type(error).__name__}: {error}"
    for good in (1, 20):
        found = check(framer, b"one\n" * good + b"bad\ntwo\nbad\n")
        assert found[:good] == [b"one"] * good
        first, two, second = found[good:]
        assert (first, two) == (BadMessageError(text, offset=4 * good), b"two")
        assert second == BadMessageError(text, offset=4 * good + 8)
        assert first.__cause__ is error


@pytest.mark.parametrize("inner", [LineFramer(), LengthPrefixFramer("!B")], ids=repr)
def test_bad_messages_among_good_ones_take_linear_time(inner: Framer[Any]) -> None:
    calls = 0

    def count(payload: str | bytes) -> int:
        nonlocal calls
        calls += 1
        return int(payload)

    text = isinstance(inner, LineFramer)
    one, bad = map(inner.encode, ("1", "x") if text else (b"1", b"x"))
    for good in (1, 10, 100, 5_000):
        calls, copies = 0, max(2, 2_500 // good)
        stream = (one * good + bad) * copies
        found = results(CodecFramer(inner, str, count).decoder(), [stream])
        assert len(found) == (good + 1) * copies
        assert calls < 10 * len(found)


def test_none_is_not_a_message() -> None:
    to_text, from_text = {1: "a"}, {"a": 1}
    framer: CodecFramer[Any] = CodecFramer(LineFramer(), to_text.__getitem__, from_text.get)
    text = "CodecFramer cannot use None as a message: decode returned it"
    assert check(framer, b"a\nb\na\n") == [1, BadMessageError(text, offset=2), 1]


@every_error
def test_a_message_that_cannot_be_encoded_is_an_encode_error(error: Exception) -> None:
    with pytest.raises(EncodeError, match="CodecFramer cannot encode this message: ") as caught:
        CodecFramer(LineFramer(), fail(error), int).encode(1)
    assert caught.value.__cause__ is error
    for other in (TypeError("not a number"), EncodeError("too large")):
        with pytest.raises(type(other)) as caught_other:  # which say what is wrong with a message
            CodecFramer(LineFramer(), fail(other), int).encode(1)
        assert caught_other.value is other


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
        for each in (framer, without_fast_path(framer)):
            decoder = each.decoder().feed(b"one\ntwo\n")
            is_armed.append(True)
            with pytest.raises(TimeoutError):
                decoder.next_message()
            assert list(decoder) == ["one", "two"]
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_is_a_value_and_functions_are_compared_by_identity() -> None:
    equal = CodecFramer(LineFramer(), str, int)
    for each in (equal, pickle.loads(pickle.dumps(INTEGERS))):
        assert (each, hash(each)) == (INTEGERS, hash(INTEGERS))
    assert CodecFramer(LineFramer(), str, float) != INTEGERS
    assert CodecFramer(LineFramer(max_size=5), str, int) != INTEGERS
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
    to_json, from_json = (
        (lambda user: user.model_dump_json().encode()),
        pydantic_user.model_validate_json,
    )
    users: list[tuple[Any, Any, Any]] = [
        (msgspec_user, msgspec.json.encode, msgspec.json.Decoder(msgspec_user).decode),
        (pydantic_user, to_json, from_json),
    ]
    for user, encode, decode in users:
        framer: CodecFramer[Any] = CodecFramer(DelimiterFramer(), encode, decode)
        wire = b'{"name":"Zoe","age":5}\n{"name":"Al","age":"old"}\n{"name":"Al","age":7}\n'
        zoe, error, al = check(framer, wire)
        assert (zoe, al) == (user(name="Zoe", age=5), user(name="Al", age=7))
        assert isinstance(error, BadMessageError)
        assert type(error.__cause__).__name__ == "ValidationError"
        assert framer.decode(framer.encode(zoe)) == zoe

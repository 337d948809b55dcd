"""What every error is, has, says and survives."""

from __future__ import annotations

import copy
import pickle
import signal
import sys
from collections.abc import Callable
from functools import partial

import pytest

import framing
from framing import (
    BadMessageError,
    Buffer,
    DecodeError,
    EncodeError,
    EndOfStreamError,
    Framer,
    FramingError,
    IncompleteMessageError,
    MessageTooLargeError,
    ReadExactly,
    Steps,
    TruncatedDatagramError,
)

# Every class, with the classes by which it can be caught and all its attributes set.
ERRORS: list[tuple[FramingError, tuple[type[Exception], ...], dict[str, object]]] = [
    (FramingError("text"), (), {}),
    (EncodeError("text"), (ValueError,), {}),
    (DecodeError("text", offset=0), (ValueError,), {"offset": 0}),
    (BadMessageError("text", offset=1), (DecodeError, ValueError), {"offset": 1}),
    (
        MessageTooLargeError("text", size=9, limit=8, offset=7),
        (DecodeError, ValueError),
        {"size": 9, "limit": 8, "offset": 7},
    ),
    (
        TruncatedDatagramError("text", received=5, size=6),
        (DecodeError, ValueError),
        {"received": 5, "size": 6, "offset": None, "recoverable": True},
    ),
    (EndOfStreamError("text"), (EOFError,), {}),
    (
        IncompleteMessageError("text", received=3, expected=4),
        (EOFError,),
        {"received": 3, "expected": 4},
    ),
]


def test_every_error_class_is_listed_here() -> None:
    public = {getattr(framing, name) for name in framing.__all__}
    errors = {each for each in public if isinstance(each, type) and issubclass(each, FramingError)}
    assert {type(error) for error, _, _ in ERRORS} == errors


@pytest.mark.parametrize(("error", "bases", "attributes"), ERRORS)
def test_an_error_has_its_bases_and_attributes(
    error: FramingError, bases: tuple[type[Exception], ...], attributes: dict[str, object]
) -> None:
    for base in (ValueError, EOFError, OSError, DecodeError, FramingError):
        assert isinstance(error, base) == (base in (*bases, FramingError, type(error)))
    assert {name: getattr(error, name) for name in attributes} == attributes
    assert error.args == ("text",)


@pytest.mark.parametrize(("error", "attributes"), [(each, names) for each, _, names in ERRORS])
def test_copies_are_equal_and_no_other_errors(
    error: FramingError, attributes: dict[str, object]
) -> None:
    pickles = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(6)]
    for other in (*pickles, copy.copy(error), copy.deepcopy(error)):
        assert other is not error
        assert type(other) is type(error)
        assert other == error
        assert not other != error  # noqa: SIM202  # the other operator
        assert hash(other) == hash(error)
        assert (other.args, vars(other), str(other)) == (error.args, vars(error), str(error))
    assert [each for each, _, _ in ERRORS if each == error] == [error]
    assert any(hash(each) != hash(error) for each, _, _ in ERRORS)
    for value in (None, 77):
        for name, before in attributes.items():
            other = copy.copy(error)
            setattr(other, name, value)
            assert (other == error) == (before is value)
    other = copy.copy(error)
    other.args = ("other",)
    for each in (other, ValueError("text"), "text"):
        assert error != each


@pytest.mark.parametrize(
    ("error", "attributes"),
    [
        (DecodeError("text"), {"offset": None}),
        (MessageTooLargeError(), {"offset": None, "size": None, "limit": None}),
        (TruncatedDatagramError(), {"offset": None, "received": 0, "size": None}),
        (IncompleteMessageError(), {"received": 0, "expected": None}),
    ],
)
def test_unknown_attributes_are_none(error: FramingError, attributes: dict[str, object]) -> None:
    assert {name: getattr(error, name) for name in attributes} == attributes
    assert str(error)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *((each, "") for each in (FramingError, EncodeError, DecodeError, BadMessageError)),
        (EndOfStreamError, ""),
        (MessageTooLargeError, "the message is too large"),
        (TruncatedDatagramError, "the datagram was truncated"),
        (IncompleteMessageError, "the stream ended inside a message"),
    ],
)
def test_an_error_needs_no_text(kind: type[FramingError], text: str) -> None:
    assert str(kind()) == text


def test_long_texts_are_shortened() -> None:
    assert framing.errors.shortened("x" * 80) == "x" * 80
    assert framing.errors.shortened("x" * 81) == "x" * 77 + "..."


def raise_timeout(*_: object) -> None:
    raise TimeoutError("from the handler")


class Handler:
    def method(self, *_: object) -> None:
        raise_timeout()

    __call__ = method


class SignalsItself(Framer[bytes]):
    """A signal comes while it reads."""

    def encode_parts(self, message: bytes) -> list[Buffer]:
        return [message]

    def read_message(self) -> Steps[bytes]:
        byte = yield ReadExactly(1)
        signal.raise_signal(FIRST_SIGNAL)
        return byte


FIRST_SIGNAL = min(signal.valid_signals())


@pytest.mark.parametrize(
    "handler", [raise_timeout, partial(raise_timeout, 1), Handler(), Handler().method]
)
def test_what_a_signal_handler_raises_is_not_an_error_of_the_format(
    handler: Callable[..., None],
) -> None:
    before = signal.signal(FIRST_SIGNAL, handler)
    try:
        with pytest.raises(TimeoutError, match="from the handler"):
            SignalsItself(max_size=1).decode(b"x")
    finally:
        signal.signal(FIRST_SIGNAL, before)


def test_without_signals_there_are_no_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "_signal")
    with pytest.raises(BadMessageError):
        framing.LineFramer().decode(b"\xff\n")


def test_the_text_includes_the_offset_where_it_is_known() -> None:
    assert str(DecodeError("bad")) == "bad"
    assert str(DecodeError("bad", offset=0)) == "bad (in the message at byte 0 of the stream)"
    assert str(EncodeError("no")) == "no"
    assert str(EndOfStreamError("the end")) == "the end"


def test_an_error_that_is_raised_again_is_a_new_object() -> None:
    decoder = framing.LengthPrefixFramer(max_size=1).decoder().feed(b"\0\0\0\2")
    errors = []
    for _ in range(3):
        with pytest.raises(MessageTooLargeError) as caught:
            decoder.next_message()
        errors.append(caught.value)
    errors[0].offset = 77  # an error is the caller's to change
    assert errors[0] != errors[1] == errors[2]
    assert errors[1] is not errors[2]

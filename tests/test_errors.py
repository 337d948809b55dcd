"""What every error is, has, says and survives."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

import framing
from framing import (
    DecodeError,
    EncodeError,
    EndOfStreamError,
    FramingError,
    IncompleteMessageError,
    MessageTooLargeError,
    TruncatedDatagramError,
)

# Every class, with the classes by which it can be caught and all its attributes set.
ERRORS: list[tuple[FramingError, tuple[type[Exception], ...], dict[str, object]]] = [
    (FramingError("text"), (Exception,), {}),
    (EncodeError("text"), (FramingError, ValueError), {}),
    (DecodeError("text", offset=0), (FramingError, ValueError), {"offset": 0}),
    (
        MessageTooLargeError("text", size=9, limit=8, offset=7),
        (DecodeError, FramingError, ValueError),
        {"size": 9, "limit": 8, "offset": 7},
    ),
    (
        TruncatedDatagramError("text", received=5, size=6),
        (DecodeError, FramingError, ValueError),
        {"received": 5, "size": 6, "offset": None},
    ),
    (EndOfStreamError("text"), (FramingError, EOFError), {}),
    (
        IncompleteMessageError("text", received=3, expected=4),
        (FramingError, EOFError),
        {"received": 3, "expected": 4},
    ),
]
if hasattr(framing, "BadMessageError"):  # new in 0.2
    ERRORS.append(
        (
            framing.BadMessageError("text", offset=1),
            (DecodeError, FramingError, ValueError),
            {"offset": 1},
        )
    )
# The same classes with another text, and those with attributes with each of them changed.
OTHERS: list[FramingError] = [
    FramingError("other"),
    EncodeError("other"),
    DecodeError("other", offset=0),
    DecodeError("text", offset=1),
    DecodeError("text"),
    MessageTooLargeError("text", size=None, limit=8, offset=7),
    MessageTooLargeError("text", size=9, limit=9, offset=7),
    MessageTooLargeError("text", size=9, limit=8),
    TruncatedDatagramError("text", received=4, size=6),
    TruncatedDatagramError("text", received=5),
    EndOfStreamError("other"),
    IncompleteMessageError("text", received=4, expected=4),
    IncompleteMessageError("text", received=3),
]

every_error = pytest.mark.parametrize("error", [each for each, _, _ in ERRORS], ids=repr)


def test_every_error_class_is_listed_here() -> None:
    public = {getattr(framing, name) for name in framing.__all__}
    errors = {each for each in public if isinstance(each, type) and issubclass(each, FramingError)}
    assert {type(error) for error, _, _ in ERRORS} == errors


@pytest.mark.parametrize(("error", "bases", "attributes"), ERRORS)
def test_an_error_has_its_bases_and_attributes(
    error: FramingError, bases: tuple[type[Exception], ...], attributes: dict[str, object]
) -> None:
    for base in (ValueError, EOFError, OSError, DecodeError, FramingError):
        assert isinstance(error, base) == (base in (*bases, type(error)))
    assert {name: getattr(error, name) for name in attributes} == attributes
    assert error.args == ("text",)


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


def pickled(protocol: int) -> Callable[[FramingError], FramingError]:
    return lambda error: pickle.loads(pickle.dumps(error, protocol))


@every_error
@pytest.mark.parametrize("copied", [*map(pickled, range(6)), copy.copy, copy.deepcopy])
def test_a_copy_is_equal(
    error: FramingError, copied: Callable[[FramingError], FramingError]
) -> None:
    other = copied(error)
    assert other is not error
    assert type(other) is type(error)
    assert other == error
    assert not other != error  # noqa: SIM202  # the other operator
    assert hash(other) == hash(error)
    assert (other.args, vars(other), str(other)) == (error.args, vars(error), str(error))


@every_error
def test_other_errors_are_not_equal(error: FramingError) -> None:
    equal = [each for each, _, _ in ERRORS if each == error]
    assert equal == [error]
    assert error not in OTHERS
    for other in (ValueError("text"), "text"):
        assert error != other


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DecodeError("bad bytes"), "bad bytes"),
        (DecodeError("bad bytes", offset=0), "bad bytes (in the message at byte 0 of the stream)"),
        (EncodeError("no"), "no"),
        (EndOfStreamError("the end"), "the end"),
    ],
)
def test_the_text_includes_the_offset_where_it_is_known(error: FramingError, text: str) -> None:
    assert str(error) == text


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

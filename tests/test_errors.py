"""What every error is, has, says and survives."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from framing import (
    DecodeError,
    EncodeError,
    EndOfStreamError,
    FramingError,
    IncompleteMessageError,
    MessageTooLargeError,
    TruncatedDatagramError,
    errors,
)
from framing.errors import fresh_copy

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


def test_every_class_is_listed_here() -> None:
    assert {type(error).__name__ for error, _, _ in ERRORS} == set(errors.__all__)


@pytest.mark.parametrize(("error", "bases", "_"), ERRORS)
def test_it_is_caught_by_each_of_its_bases(
    error: FramingError, bases: tuple[type[Exception], ...], _: object
) -> None:
    for base in (ValueError, EOFError, OSError, DecodeError, FramingError):
        assert isinstance(error, base) == (base in (*bases, type(error)))


@pytest.mark.parametrize(("error", "_", "attributes"), ERRORS)
def test_it_has_its_attributes_and_no_more(
    error: FramingError, _: object, attributes: dict[str, object]
) -> None:
    assert vars(error) == attributes
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
def test_what_is_unknown_is_none(error: FramingError, attributes: dict[str, object]) -> None:
    assert vars(error) == attributes
    assert str(error)


def pickled(protocol: int) -> Callable[[FramingError], FramingError]:
    return lambda error: pickle.loads(pickle.dumps(error, protocol))


COPIES: list[Any] = [
    *(pytest.param(pickled(each), id=f"pickle {each}") for each in range(6)),
    *(copy.copy, copy.deepcopy, fresh_copy),
]


@every_error
@pytest.mark.parametrize("copied", COPIES)
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
def test_others_are_not_equal(error: FramingError) -> None:
    equal = [each for each, _, _ in ERRORS if each == error]
    assert equal == [error]
    assert error not in OTHERS
    assert error != ValueError("text")
    assert error != "text"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DecodeError("bad bytes"), "bad bytes"),
        (DecodeError("bad bytes", offset=0), "bad bytes (in the message at byte 0 of the stream)"),
        (
            MessageTooLargeError(offset=12),
            "the message is too large (in the message at byte 12 of the stream)",
        ),
        (TruncatedDatagramError(), "the datagram was cut short"),
        (EncodeError("no"), "no"),
        (EndOfStreamError("the end"), "the end"),
        (IncompleteMessageError(received=3), "the stream ended inside a message"),
    ],
)
def test_its_text_tells_the_offset_where_it_is_known(error: FramingError, text: str) -> None:
    assert str(error) == text


@every_error
def test_a_fresh_copy_has_not_been_raised(error: FramingError) -> None:
    with pytest.raises(type(error)) as caught:
        raise fresh_copy(error) from KeyError("cause")
    again = fresh_copy(caught.value)
    assert again == caught.value
    assert again.__traceback__ is None
    assert again.__cause__ is None
    assert again.__context__ is None


def test_changing_a_fresh_copy_leaves_the_original() -> None:
    error = DecodeError("text", offset=1)
    fresh_copy(error).offset = 2
    assert error.offset == 1

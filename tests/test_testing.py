"""``check_framer`` accepts formats that are right, and catches what an author can do wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from framing import (
    Buffer,
    DelimiterFramer,
    EncodeError,
    Framer,
    HeaderBodyFramer,
    HeaderMessage,
    LengthPrefixFramer,
    LineFramer,
    ReadExactly,
    Skip,
    Steps,
)
from framing.testing import check_framer

from .authors import AnyOfFramer, MarkedFramer
from .conditions import not_on_pypy

SAMPLES = [b"hello", b"", b"Sphinx of black quartz"]


@pytest.mark.parametrize(
    ("framer", "messages"),
    [
        (LengthPrefixFramer(oversize="skip", max_size=100), SAMPLES),
        (DelimiterFramer(b"\0", final="emit"), [*SAMPLES, b"y" * 3000]),
        (LineFramer("shift_jis", max_size=64), ["hello", "", "\u65e5\u672c", "two\nlines"]),
        (HeaderBodyFramer(), [HeaderMessage({"size": 5, "id": 7}, b"hello")]),
        (MarkedFramer(), SAMPLES),
        (AnyOfFramer((b"\r\n", b"\n", b"\r")), [*SAMPLES, b"\n"]),  # sends half of another one
    ],
    ids=lambda value: re.sub(r"\W.*", "", repr(value)),
)
def test_a_framer_that_is_right_passes(framer: Framer[Any], messages: Sequence[Any]) -> None:
    check_framer(framer, messages)


# What authors do wrong


class Short(Framer[bytes]):
    """A length of one byte: right, and a base of what is wrong."""

    def __init__(self, *, max_size: int = 200, **options: object) -> None:
        super().__init__(max_size=max_size, **options)

    def encode_parts(self, message: bytes) -> list[Buffer]:
        if len(message) > self.max_size:
            raise EncodeError("too long")
        return [bytes([len(message)]), message]

    def read_message(self) -> Steps[bytes]:
        size = self.check_size((yield ReadExactly(1))[0])
        return (yield ReadExactly(size, last=True))


class CountsItsBeginnings(Short):
    """Remembers how often a message was begun, which depends on the chunks."""

    begun = 0

    def read_message(self) -> Steps[bytes]:
        type(self).begun += 1
        message = yield from super().read_message()
        return message if type(self).begun < 100 else message.upper()


class SharesState(Short):
    """Keeps the size of a message where all streams keep it."""

    sizes: dict[str, int] = {}  # noqa: RUF012

    def read_message(self) -> Steps[bytes]:
        self.sizes["last"] = (yield ReadExactly(1))[0]
        message = b""
        while len(message) < self.sizes["last"]:
            message += yield ReadExactly(1)
        return message


class SumsAllAgain(DelimiterFramer):
    """Reads a line byte by byte, and looks at all of it each time."""

    def read_message(self) -> Steps[bytes]:
        line = b""
        while not line.endswith(b"\n"):
            line += yield ReadExactly(1)
            sum(line)  # a checksum, say
        return line[:-1]


class SendsTooMuch(Short):
    """Does not look at the limit when it sends."""

    def encode_parts(self, message: bytes) -> list[Buffer]:
        return [bytes([len(message) % 256]), message]


class LeavesBytes(Short):
    """Sends a byte more than it reads."""

    def encode_parts(self, message: bytes) -> list[Buffer]:
        return [*super().encode_parts(message), b"\n"]


class TrustsLengths(Short):
    """Takes memory for a message before it has arrived."""

    def encode_parts(self, message: bytes) -> list[Buffer]:
        return [len(message).to_bytes(3, "big"), message]

    def read_message(self) -> Steps[bytes]:
        size = int.from_bytes((yield ReadExactly(3)), "big")
        buffer = bytearray(size)
        buffer[:] = yield ReadExactly(size, last=True)
        return bytes(buffer)


class DropsItsBeginning(Short):
    """Ends cleanly behind the first byte of a message, since that was dropped."""

    def encode_parts(self, message: bytes) -> list[Buffer]:
        return [b"#", *super().encode_parts(message)]

    def read_message(self) -> Steps[bytes]:
        size = yield ReadExactly(1)
        if size == b"#":
            yield Skip()
        return (yield ReadExactly(size[0], last=True))


class TwoWays(Short):
    def encode(self, message: bytes) -> bytes:
        return super().encode(message) + b"!"


class Unequal(Short):
    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("framer", "promise"),
    [
        (CountsItsBeginnings(), "chunks make no difference"),
        (SharesState(), "chunks make no difference"),
        (SumsAllAgain(), "time is linear"),
        (SendsTooMuch(max_size=120), "each message comes back equal, alone"),
        (LeavesBytes(), "each message comes back equal, alone"),
        pytest.param(
            TrustsLengths(max_size=2**24 - 1),
            "memory follows the bytes received",
            marks=not_on_pypy("it does not measure memory"),
        ),
        (DropsItsBeginning(), "unread|cut short"),
        (TwoWays(), r"encode\(\) returns the bytes of encode_parts"),
        (Unequal(), "a copy is equal"),
    ],
    ids=lambda value: re.sub(r"\W.*", "", repr(value)),
)
def test_a_framer_that_is_wrong_is_found_out(framer: Framer[Any], promise: str) -> None:
    with pytest.raises(AssertionError, match=promise) as caught:
        check_framer(framer, SAMPLES)
    text = str(caught.value)
    assert text.startswith(f"{framer!r} breaks a promise: ")
    if "chunks" in promise:
        assert r"b'\x00\x05hello\x16Sphinx of black quartz'" in text
        assert "in pieces of" in text


def test_what_a_framer_raises_itself_is_not_hidden() -> None:
    class RaisesWhatItLikes(Short):
        def encode_parts(self, message: bytes) -> list[Buffer]:
            return [message[0:1], message[5]]  # type: ignore[list-item]

    with pytest.raises(IndexError):
        check_framer(RaisesWhatItLikes(), SAMPLES)
    with open(__file__, "rb") as file, pytest.raises(TypeError, match=r"pickle|serialize"):
        check_framer(Short(file=file), SAMPLES)


def test_messages_that_are_all_refused_prove_nothing() -> None:
    with pytest.raises(AssertionError, match="at least one of the messages"):
        check_framer(LineFramer(), ["two\nlines"])
    with pytest.raises(TypeError, match="a framer"):
        check_framer(LineFramer, [])  # type: ignore[arg-type]

"""``check_framer`` accepts formats that are right, and catches what an author can do wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from framing import (
    BadMessageError,
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


class Short(Framer[bytes]):
    """A length of one byte: a base of what is right and what is wrong."""

    def __init__(self, *, max_size: int = 200, **options: object) -> None:
        super().__init__(max_size=max_size, **options)

    def encode_parts(self, message: bytes) -> list[Buffer]:
        if len(message) > self.max_size:
            raise EncodeError("too long")
        return [bytes([len(message)]), message]

    def read_message(self) -> Steps[bytes]:
        size = self.check_size((yield ReadExactly(1))[0])
        return (yield ReadExactly(size, last=True))


class RefusesSome(Short):
    """Is right: each of the bytes it does not take is a bad message, and the next can be read."""

    def read_message(self) -> Steps[bytes]:
        size = (yield ReadExactly(1))[0]
        if size > 200:
            raise BadMessageError("expected a size up to 200")
        return (yield ReadExactly(size, last=True))


@pytest.mark.parametrize(
    ("framer", "messages"),
    [
        (LengthPrefixFramer(oversize="skip", max_size=100), SAMPLES),
        (DelimiterFramer(b"\0", final="emit"), [*SAMPLES, b"y" * 3000]),
        (LineFramer("shift_jis", max_size=64), ["hello", "", "\u65e5\u672c", "two\nlines"]),
        (HeaderBodyFramer(), [HeaderMessage({"size": 5, "id": 7}, b"hello")]),
        (MarkedFramer(), SAMPLES),
        (RefusesSome(), SAMPLES),
        (AnyOfFramer((b"\r\n", b"\n", b"\r")), [*SAMPLES, b"\n"]),  # sends half of another one
    ],
    ids=lambda value: re.sub(r"\W.*", "", repr(value)),
)
def test_a_framer_that_is_right_passes(framer: Framer[Any], messages: Sequence[Any]) -> None:
    check_framer(framer, messages)


# What authors do wrong


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
    """Reads a line byte by byte, and looks at much of it many times each time."""

    def read_message(self) -> Steps[bytes]:
        line = b""
        while not line.endswith(b"\n"):
            line += yield ReadExactly(1)
            for end in range(0, len(line), 200):
                sum(line[:end])  # a checksum, say
        return line[:-1]


class SendsTooMuch(Short):
    """Looks at the limit when it sends, and is off by one."""

    def encode_parts(self, message: bytes) -> list[Buffer]:
        if len(message) > self.max_size + 1:
            raise EncodeError("too long")
        return [bytes([len(message)]), message]


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


class EndsTooEarly(DropsItsBeginning):
    """Gives a message before its last byte has come, which it drops later."""

    def encode_parts(self, message: bytes) -> list[Buffer]:
        return [*Short.encode_parts(self, message), b"#"]

    def decode(self, data: Buffer) -> bytes:
        return super().decode(bytes(data)[:-1])


class DecodesOtherwise(Short):
    def decode(self, data: Buffer) -> bytes:
        return super().decode(data)[::-1]


class TwoWays(Short):
    def encode(self, message: bytes) -> bytes:
        return super().encode(message) + b"!"


class Unequal(Short):
    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


class UnequalHash(Short):
    __hash__ = object.__hash__


class Shouts(Short):
    def read_message(self) -> Steps[bytes]:
        return (yield from super().read_message()).upper()


class EndsWithALineEnd(Short):
    """Sends a byte more behind a long message."""

    def encode_parts(self, message: bytes) -> list[Buffer]:
        return [*super().encode_parts(message), b"\n" if len(message) > 20 else b""]


MESSAGES = r"[b'', b'hello', b'Sphinx of black quartz'"
WIRE = r"b'\x00\x05hello\x16Sphinx of black quartz'"
END = "EndOfStreamError("


@pytest.mark.parametrize(
    ("framer", "promise", "details"),
    [
        (
            *(CountsItsBeginnings(), "chunks make no difference"),
            [WIRE, "('in pieces of', [12, 30])", "[b'', b'HELLO'", f"{MESSAGES}, {END}"],
        ),
        (
            *(SharesState(), "chunks make no difference"),
            [WIRE, "('in pieces of', 'bytes_needed')", "[b'', b'h', Inc", f"{MESSAGES}, {END}"],
        ),
        (SumsAllAgain(), "time is linear", ["'"]),
        (
            *(SendsTooMuch(max_size=120), "each message comes back equal, alone"),
            ["[b'Sphinx of", "b'ySphinx of", "[MessageTooLarge", "MessageTooLargeError("],
        ),
        (
            *(LeavesBytes(), "each message comes back equal, alone"),
            [MESSAGES, r"b'\x00\n\x05hello\n", r"[b'', b'\x05hell", "IncompleteMessageError("],
        ),
        pytest.param(
            TrustsLengths(max_size=2**24 - 1),
            "memory follows the bytes received",
            [r"b'\xff\xff\xff\xff", "16"],
            marks=not_on_pypy("it does not measure memory"),
        ),
        (
            *(
                DropsItsBeginning(),
                "unread() returns the bytes behind the messages that were taken",
            ),
            ["b'#'", "[]"],
        ),
        (
            EndsTooEarly(),
            "a stream that is cut short gives its whole messages, then an IncompleteMessageError",
            [r"b'\x00'", "[b'']", END],
        ),
        (
            *(TwoWays(), "encode() returns the bytes of encode_parts()"),
            [r"[b'\x00!', b'\x05hello!'", r"[b'\x00', b'\x05hello'"],
        ),
        (
            *(DecodesOtherwise(), "decode() returns what was encoded"),
            [f"{MESSAGES}]", "[b'', b'olleh'"],
        ),
        (
            *(Unequal(), "a copy is equal, with the same hash and repr"),
            ["Unequal(max_size=200)", "", "'Unequal(max_size=200)'"],
        ),
        (
            *(UnequalHash(), "a copy is equal, with the same hash and repr"),
            ["UnequalHash(max_size=200)", "", "'UnequalHash(max_size=200)'"],
        ),
        (
            *(Shouts(), "each message comes back equal, alone"),
            [f"{MESSAGES}]", WIRE, "[b'', b'HELLO'", END],
        ),
        (
            *(EndsWithALineEnd(), "each message comes back equal, alone"),
            [f"{MESSAGES}]", WIRE[:-1] + r"\n", f"{MESSAGES}]", "IncompleteMessageError("],
        ),
    ],
    ids=lambda value: re.sub(r"\W.*", "", repr(value)),
)
def test_a_framer_that_is_wrong_is_found_out(
    framer: Framer[Any], promise: str, details: list[str]
) -> None:
    with pytest.raises(AssertionError) as caught:
        check_framer(framer, SAMPLES)
    first, *shown = str(caught.value).split("\n    ")
    assert first == f"{framer!r} breaks a promise: {promise}."
    for line, beginning in zip(shown, details, strict=True):
        assert line.startswith(beginning)
    if promise == "time is linear":
        number = r"(\d+) bytes (?:take )?\d+\.\d+ s"
        sizes = re.fullmatch(f"'{number}, {number}'", shown[0])
        assert sizes is not None
        assert int(sizes[2]) == 4 * int(sizes[1])


def test_the_text_shows_what_differs() -> None:
    with pytest.raises(AssertionError) as caught:
        check_framer(TwoWays(), [b"a"])
    assert str(caught.value) == (
        "TwoWays(max_size=200) breaks a promise: encode() returns the bytes of encode_parts()."
        r"""
    [b'\x01a!']
    [b'\x01a']"""
    )


def test_what_a_framer_raises_itself_is_not_hidden() -> None:
    class RaisesWhatItLikes(Short):
        def encode_parts(self, message: bytes) -> list[Buffer]:
            return [message[0:1], message[5]]  # type: ignore[list-item]

    with pytest.raises(IndexError):
        check_framer(RaisesWhatItLikes(), SAMPLES)
    with open(__file__, "rb") as file, pytest.raises(TypeError, match=r"pickle|serialize"):
        check_framer(Short(file=file), SAMPLES)


def test_messages_that_are_all_refused_prove_nothing() -> None:
    with pytest.raises(AssertionError) as caught:
        check_framer(LineFramer(), ["two\nlines"])
    text = f"{LineFramer()!r} breaks a promise: at least one of the messages can be encoded."
    assert str(caught.value) == f"{text}\n    ['two\\nlines']"
    with pytest.raises(TypeError, match="a framer"):
        check_framer(LineFramer, [])  # type: ignore[arg-type]

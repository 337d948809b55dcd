"""``check_framer`` accepts the formats of this package, and catches what an author can do wrong."""

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
    ReadUntil,
    Skip,
    Steps,
    StructFramer,
)
from framing.testing import check_framer

SAMPLES = [b"hello", b"", b"x" * 100]


@pytest.mark.parametrize(
    ("framer", "messages"),
    [
        (LengthPrefixFramer(), [*SAMPLES, b"y" * 3000]),
        (LengthPrefixFramer("<H", includes_prefix=True, max_size=4000), SAMPLES),
        (LengthPrefixFramer(oversize="skip", max_size=100), SAMPLES),
        (DelimiterFramer(b"\r\n"), [*SAMPLES, b"\r", b"\n\r"]),
        (DelimiterFramer(b"\0", final="emit"), SAMPLES),
        (LineFramer(), ["hello", "", "caf\xe9", "not\none line", "x" * 100]),
        (LineFramer("shift_jis", max_size=64), ["hello", "", "\u65e5\u672c"]),
        (HeaderBodyFramer(), [HeaderMessage({"size": 5, "id": 7}, b"hello")]),
        (StructFramer("!H4sb"), [(1, b"abcd", -1), (0, bytes(4), 127)]),
    ],
    ids=lambda value: re.sub(r"\W.*", "", repr(value)),
)
def test_the_formats_of_this_package_keep_their_promises(
    framer: Framer[Any], messages: Sequence[Any]
) -> None:
    check_framer(framer, messages)


class Short(Framer[bytes]):
    """A length of one byte: right, and subclassed by what is wrong below."""

    def __init__(self, *, max_size: int = 200, **options: object) -> None:
        super().__init__(max_size=max_size, **options)

    def encode_parts(self, message: bytes) -> list[Buffer]:
        if len(message) > self.max_size:
            raise EncodeError("too long")
        return [bytes([len(message)]), message]

    def read_message(self) -> Steps[bytes]:
        size = self.check_size((yield ReadExactly(1))[0])
        return (yield ReadExactly(size, last=True))


class Resynchronizing(Framer[bytes]):
    """A byte that begins a message, its length, and a checksum."""

    def __init__(self) -> None:
        super().__init__(max_size=200)

    def encode_parts(self, message: bytes) -> list[Buffer]:
        if len(message) > self.max_size:
            raise EncodeError("too long")
        return [bytes([2, len(message)]), message, bytes([sum(message) % 256])]

    def read_message(self) -> Steps[bytes]:
        if (yield ReadExactly(1)) != b"\x02":
            yield Skip()
        size = self.check_size((yield ReadExactly(1))[0])
        payload = yield ReadExactly(size)
        if (yield ReadExactly(1, last=True))[0] != sum(payload) % 256:
            raise BadMessageError("wrong checksum")
        return payload


def test_formats_of_ones_own_keep_their_promises() -> None:
    check_framer(Short(), SAMPLES)
    check_framer(Resynchronizing(), SAMPLES)


class CountsItsBeginnings(Short):
    """Remembers how often a message was begun, which depends on the chunks."""

    begun = 0

    def read_message(self) -> Steps[bytes]:
        type(self).begun += 1
        size = (yield ReadExactly(1))[0]
        message = yield ReadExactly(size, last=True)
        return message if type(self).begun < 1000 else message.upper()


class SharesState(Short):
    """Keeps the size of a message where all streams keep it."""

    sizes: dict[str, int] = {}  # noqa: RUF012

    def read_message(self) -> Steps[bytes]:
        self.sizes["last"] = (yield ReadExactly(1))[0]
        yield ReadExactly(0)
        message = b""
        while len(message) < self.sizes["last"]:
            message += yield ReadExactly(1)
        return message


class SumsAllAgain(Framer[bytes]):
    """Reads a line byte by byte, and looks at all of it each time."""

    def __init__(self) -> None:
        super().__init__(max_size=16 * 1024 * 1024)

    def encode_parts(self, message: bytes) -> list[Buffer]:
        if b"\n" in message:
            raise EncodeError("two lines")
        return [message, b"\n"]

    def read_message(self) -> Steps[bytes]:
        line = b""
        while not line.endswith(b"\n"):
            line += yield ReadExactly(1)
            sum(line)  # a checksum, say
        return line[:-1]


class Lowers(Short):
    """Returns another message than was sent."""

    def read_message(self) -> Steps[bytes]:
        return (yield from super().read_message()).lower()


class SendsTooMuch(Short):
    """Does not look at the limit when it sends."""

    def encode_parts(self, message: bytes) -> list[Buffer]:
        return [len(message).to_bytes(4, "big"), message]

    def read_message(self) -> Steps[bytes]:
        size = self.check_size(int.from_bytes((yield ReadExactly(4)), "big"))
        return (yield ReadExactly(size, last=True))


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


class EndsAnywhere(Short):
    """Takes the end of the stream for the end of a message, without saying so."""

    def encode_parts(self, message: bytes) -> list[Buffer]:
        if b";" in message:
            raise EncodeError("a delimiter")
        return [b"<", message, b";"]

    def read_message(self) -> Steps[bytes]:
        yield ReadExactly(1)
        message = yield ReadUntil(b";", limit=self.max_size)
        if not message:
            yield Skip()  # loses empty messages
        return message


class TwoWays(Short):
    """Encodes in pieces to something else than in one."""

    def encode(self, message: bytes) -> bytes:
        return super().encode(message) + b"!"


class Unequal(Short):
    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


class RaisesWhatItLikes(Short):
    def encode_parts(self, message: bytes) -> list[Buffer]:
        if not message:
            raise IndexError("empty")
        return super().encode_parts(message)


@pytest.mark.parametrize(
    ("framer", "promise"),
    [
        (CountsItsBeginnings(), "chunks make no difference|a stream gives its messages"),
        (SharesState(), "streams do not affect each other"),
        (SumsAllAgain(), "time is linear in the bytes received"),
        (Lowers(), "a message comes back equal"),
        (SendsTooMuch(max_size=120), r"decode\(\) accepts what encode\(\) returns"),
        (LeavesBytes(), r"decode\(\) accepts what encode\(\) returns, and nothing is left"),
        (TrustsLengths(max_size=2**24 - 1), "memory follows the bytes received"),
        (EndsAnywhere(), r"decode\(\) accepts|a stream gives its messages"),
        (TwoWays(), r"encode\(\) returns what encode_parts\(\) does"),
        (Unequal(), "a copy is equal"),
        (RaisesWhatItLikes(), "only EncodeError"),
    ],
    ids=lambda value: re.sub(r"\W.*", "", repr(value)),
)
def test_a_framer_that_is_wrong_is_found_out(framer: Framer[Any], promise: str) -> None:
    with pytest.raises(AssertionError, match=promise) as caught:
        check_framer(framer, [b"hello", b"", b"Sphinx of black quartz"])
    assert re.match(
        rf"{type(framer).__name__}\(max_size=\d+\) breaks a promise: ", str(caught.value)
    )


def test_the_text_shows_the_bytes_and_the_cut() -> None:
    class Flips(Short):
        """Is right until a message begins in the middle of a block."""

        def read_message(self) -> Steps[bytes]:
            size = yield ReadExactly(1)
            state.append(size)
            message = yield ReadExactly(size[0], last=True)
            return message + b"!" if len(state) > 60 else message

    state: list[bytes] = []
    with pytest.raises(AssertionError, match="chunks make no difference") as caught:
        check_framer(Flips(), [b"hello", b"you"])
    assert r"b'\x05hello\x03you'" in str(caught.value)
    assert "cut at [" in str(caught.value)


def test_what_cannot_be_pickled_is_found_out() -> None:
    with open(__file__, "rb") as file:

        class Holds(Short):
            def __init__(self) -> None:
                super().__init__(_file=file)

        with pytest.raises(AssertionError, match="can be pickled"):
            check_framer(Holds(), [b"hello"])


def test_messages_that_are_all_refused_prove_nothing() -> None:
    with pytest.raises(AssertionError, match="at least one of the messages"):
        check_framer(LineFramer(), ["two\nlines"])
    with pytest.raises(TypeError, match="a framer"):
        check_framer(LineFramer, [])  # type: ignore[arg-type]

"""Mistakes of peers and of authors of formats: each is an error that helps, and none is silent."""

from __future__ import annotations

import socket
import struct
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framing import (
    BadMessageError,
    ContentLengthFramer,
    DecodeError,
    DelimiterFramer,
    Framer,
    FramingError,
    HeaderBodyFramer,
    HeaderMessage,
    JsonFramer,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    MessageTooLargeError,
    NetstringFramer,
    ReadExactly,
    ReadUntil,
    Skip,
    Steps,
    recv_msg,
)

from .outcomes import cut, results
from .pairs import Pair

# Other bytes than expected


@pytest.mark.parametrize(
    ("wire", "hint", "named"),
    [
        (b"hello", "these bytes are text", None),
        (b"5         hello", "decimal number", None),
        (b"\5\0\0\0hello", "5 in little-endian: does the peer use '<I'", LengthPrefixFramer("<I")),
        (b'{"a": 1}\n', r"JsonFramer\(LineFramer\(\)\)", JsonFramer(LineFramer())),
        (b"5:hello,", "NetstringFramer", NetstringFramer()),
        (b"Content-Length: 2\r\n\r\n{}", "ContentLengthFramer", ContentLengthFramer()),
    ],
)
def test_a_refused_length_gets_a_hint_and_the_format_that_it_names_reads_the_bytes(
    wire: bytes, hint: str, named: Framer[Any] | None
) -> None:
    with pytest.raises(MessageTooLargeError, match=hint):
        LengthPrefixFramer().decoder().feed(wire).next_message()
    if named is not None:
        assert named.decode(wire) in (b"hello", {"a": 1}, b"{}")


TEXTS: dict[str, Callable[[], object]] = {
    "expected delimiters of one byte or more, not an empty one": lambda: ReadUntil(b"", limit=1),
    "the delimiter is one byte or more, not empty": lambda: DelimiterFramer(b""),
    "expected a line that does not end with '\\r': the reader drops it": lambda: (
        LineFramer().encode("a\r")
    ),
    "the encoding 'cp037' does not write line breaks, and nothing else, as the bytes 0a and 0d: use"
    " another one, such as UTF-8, or LengthPrefixFramer for encoded text": lambda: LineFramer(
        "cp037"
    ),
    "expected one message, but got no bytes": lambda: LengthPrefixFramer().decode(b""),
    "expected bytes, bytearray or memoryview, not float": lambda: LengthPrefixFramer().encode(1.5),  # type: ignore[arg-type]
    "expected bytes, bytearray or memoryview, not str: encode it, as in text.encode(), or use"
    " framer=LineFramer()": lambda: LengthPrefixFramer().encode("a"),  # type: ignore[arg-type]
    "expected a payload of at most 1 bytes (max_size), not 2: raise max_size on both sides, or use"
    " framing.files.send_file for a file": lambda: LengthPrefixFramer(max_size=1).encode(b"ab"),
    "oversize is 'error' or 'skip', not 'no'": lambda: LengthPrefixFramer(oversize="no"),  # type: ignore[arg-type]
    "max_header_size is a number of bytes, 0 or more, not -1": lambda: HeaderBodyFramer(
        max_header_size=-1
    ),
    "expected HeaderMessage(header, body), not int": lambda: HeaderBodyFramer().encode(5),  # type: ignore[arg-type]
    "expected a dict as header, not list": lambda: HeaderBodyFramer().encode(
        HeaderMessage(cast(Any, []), b"")
    ),
    "the header would come back changed: expected keys that are strings, and values that are dict,"
    " list, str, int, float, bool or None": lambda: HeaderBodyFramer().encode(
        HeaderMessage({"a": (1,)}, b"")
    ),
    "JsonFramer cannot decode this message: ValueError: NaN is not JSON (in the message at byte 0"
    " of the stream)": lambda: JsonFramer().decode(b"\0\0\0\3NaN"),
}


@pytest.mark.parametrize("text", TEXTS)
def test_an_error_says_just_this(text: str) -> None:
    with pytest.raises((ValueError, TypeError, FramingError)) as caught:
        TEXTS[text]()
    assert str(caught.value) == text


@pytest.mark.parametrize("size", [1000, 60_000, 1_000_000])
def test_no_text_of_an_error_is_long_whatever_the_peer_sent(size: int) -> None:
    key = "\x85" * size
    header = f'{{"{key}": 1, "{key}": 2}}'.encode()
    with pytest.raises(FramingError) as caught:
        HeaderBodyFramer(max_header_size=2**24).decode(struct.pack("!I", len(header)) + header)
    assert len(str(caught.value)) <= 500


@pytest.mark.parametrize("framer", [LengthPrefixFramer, DelimiterFramer, LineFramer])
@pytest.mark.parametrize("total", [8 * 2**20, pytest.param(2**30, marks=pytest.mark.slow)])
def test_what_is_too_large_is_skipped_in_little_memory(framer: Any, total: int) -> None:
    decoder = framer(max_size=10, oversize="skip").decoder()
    piece = bytes(2**18)
    decoder.feed(struct.pack("!I", total) if framer is LengthPrefixFramer else b"x")
    errors = 0
    tracemalloc.start()
    try:
        for _ in range(total // len(piece)):
            decoder.feed(piece)
            try:
                assert decoder.next_message() is None
            except MessageTooLargeError as error:
                assert error.recoverable
                errors += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (errors, peak < 2 * 2**20) == (1, True)
    end = b"\0\0\0\2hi" if framer is LengthPrefixFramer else b"\nhi\n"
    assert decoder.feed(end).next_message() in (b"hi", "hi")


# Formats whose author has not read how to write one


class Careless(Framer[Any]):
    """Reads with a function of a peer's bytes, and checks nothing."""

    read: Callable[[], Any]

    def __init__(self, read: Callable[[], Any]) -> None:
        super().__init__(max_size=20, read=read)

    def encode_parts(self, message: Any) -> list[bytes]:
        return [message]

    def read_message(self) -> Any:
        return self.read()


def reads_nothing() -> Any:
    return b"x"


def asks_for_a_number() -> Any:
    return (yield 1)


def asks_for_a_number_later() -> Any:
    yield ReadExactly(1)
    return (yield 1)


@pytest.mark.parametrize(
    ("read", "problem"),
    [
        (reads_nothing, "generator"),
        (asks_for_a_number, "ReadExactly, ReadUntil or Skip"),
        (asks_for_a_number_later, "ReadExactly, ReadUntil or Skip"),
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        lambda sock, framer: recv_msg(sock, framer=framer),
        lambda sock, framer: MessageSocket(sock, framer).recv(),
        lambda _, framer: framer.decoder().feed(b"xyz").next_message(),
    ],
    ids=["recv_msg", "recv", "decoder"],
)
def test_a_framer_that_reads_in_a_wrong_way_is_a_type_error_that_names_the_function(
    read: Callable[[], Any],
    problem: str,
    use: Callable[[socket.socket, Framer[Any]], object],
    plain_pair: Pair,
) -> None:
    plain_pair[0].sendall(b"xyz")
    with pytest.raises(TypeError, match=problem) as caught:
        use(plain_pair[1], Careless(read))
    assert "read_message" in str(caught.value)
    is_alone = caught.value.__suppress_context__ or caught.value.__context__ is None
    assert is_alone or sys.implementation.name == "pypy"  # which remembers what it handled before


@pytest.mark.parametrize("error", [KeyError("k"), struct.error("s"), ZeroDivisionError("z")])
def test_an_exception_of_an_author_comes_out_as_a_decode_error(error: Exception) -> None:
    def read() -> Steps[bytes]:
        yield ReadExactly(1)
        raise error

    with pytest.raises(DecodeError, match=r"Careless\.read_message") as caught:
        Careless(read).decoder().feed(b"x").next_message()
    assert caught.value.__cause__ is error


STEPS = st.sampled_from(["size", "line", "number", "skip", "record", "text", "bad"])


def reading(steps: list[str]) -> Steps[Any]:
    """Do to the bytes what comes to mind."""
    part: Any = yield ReadExactly(1)
    for step in steps:
        if step == "size":
            part = yield ReadExactly(part[0] % 9)
        elif step == "line":
            part = yield ReadUntil((b"\n", b"\n\n"), limit=part[-1] % 9)
        elif step == "number":
            part = yield ReadExactly(int(part))
        elif step == "skip":
            yield Skip(part[0] % 4)
        elif step == "record":
            part = struct.unpack("!H", part)
        elif step == "text":
            part = part.decode()
        elif step == "bad":
            raise BadMessageError("bad")
    return {"a": part}["a"] if len(part) % 5 else None


@given(st.lists(STEPS, max_size=4), st.binary(max_size=30), st.integers(1, 9))
def test_to_catch_framing_errors_is_enough_around_a_careless_format(
    steps: list[str], data: bytes, chunk: int
) -> None:
    framer = Careless(lambda: reading(steps))
    whole = results(framer.decoder(), [data])
    assert results(framer.decoder(), cut(data, chunk)) == whole

"""What inspect finds in captured bytes."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framing import (
    DelimiterFramer,
    Framer,
    FramingError,
    HeaderBodyFramer,
    HeaderMessage,
    LengthPrefixFramer,
    LineFramer,
    StructFramer,
)
from framing.inspection import Broken, Found, inspect, preview, show_broken, show_found

from .pairs import (
    MIB,
)
from .strategies import Format, every_format


def chunks_of(data: bytes, cuts: set[int]) -> Iterator[bytes]:
    places = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(places):
        yield data[start:end]


def outcome(data: bytes, framer: Framer[Any]) -> tuple[list[Any], str]:
    """Return what a decoder makes of *data*: the messages, and what went wrong."""
    decoder = framer.decoder().feed(data)
    decoder.feed_eof()
    messages: list[Any] = []
    try:
        messages += iter(decoder.next_message, None)
    except FramingError as error:
        return messages, "" if "the stream has ended" in str(error) else error.args[0]
    raise AssertionError


@every_format
@given(data=st.data())
def test_it_finds_what_a_decoder_does_however_the_bytes_are_cut(
    format: Format[Any], data: st.DataObject
) -> None:
    messages = data.draw(st.lists(format.messages, max_size=4))
    capture = b"".join(map(format.framer.encode, messages)) + data.draw(st.binary(max_size=9))
    cuts = data.draw(st.sets(st.integers(0, len(capture)), max_size=6))
    found = list(inspect(chunks_of(capture, cuts), format.framer))
    last = found.pop() if found and isinstance(found[-1], Broken) else None
    expected, reason = outcome(capture, format.framer)
    assert [each.message for each in found if isinstance(each, Found)] == expected
    place = 0
    for number, each in enumerate(found, 1):
        assert isinstance(each, Found)
        assert (each.number, each.offset) == (number, place)
        assert each.size > 0
        assert format.framer.decode(capture[place : place + each.size]) == each.message
        place += each.size
    if isinstance(last, Broken):
        assert (last.offset, last.reason) == (place, reason)
        assert 0 < len(last.data) <= 64
        assert capture[place:].startswith(last.data)
    else:
        assert (place, reason) == (len(capture), "")


def test_what_breaks_the_format_is_shown_with_the_reason() -> None:
    capture = LengthPrefixFramer().encode(b"hello") + b"GET / HTTP/1.1\r\n\r\n" + bytes(100)
    first, broken = inspect([capture], LengthPrefixFramer())
    assert isinstance(broken, Broken)
    assert first == Found(1, 0, 9, b"hello")
    assert broken.offset == 9
    assert "is the peer speaking HTTP?" in broken.reason
    assert "at byte" not in broken.reason
    lines = list(show_broken(broken))
    assert len(lines) == 4
    assert lines[0].split(maxsplit=1)[0] == "9"
    assert lines[0].endswith("47 45 54 20 2f 20 48 54 54 50 2f 31 2e 31 0d 0a  GET / HTTP/1.1..")
    assert lines[1].split()[:3] == ["25", "0d", "0a"]


def test_a_last_line_without_its_end_is_found() -> None:
    found = list(inspect([b"one\r\ntw", b"o"], LineFramer()))
    assert found == [Found(1, 0, 5, "one"), Found(2, 5, 3, "two")]


def test_memory_does_not_grow_with_the_capture() -> None:
    chunk = LengthPrefixFramer().encode(b"x" * 996) * 64
    tracemalloc.start()
    try:
        count = sum(1 for _ in inspect((chunk for _ in range(320)), LengthPrefixFramer()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 320 * 64
    assert peak < MIB


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (b"hello", "hello"),
        (b"", ""),
        ("你好".encode(), "你好"),
        ("你好".encode() * 50, "你好" * 18 + "你..."),
        (b"a\tb\r\nc", r"a\tb\r\nc"),
        (b"\x1b[2J", "1b 5b 32 4a"),
        (b"\xff\x00", "ff 00"),
        (bytes(range(30)), " ".join(f"{each:02x}" for each in range(13))[:37] + "..."),
        (b"x" * 41, "x" * 37 + "..."),
        ("\x1b[2J", r"\x1b[2J"),
        ("x" * 10_000_000, "x" * 37 + "..."),
        (HeaderMessage({"size": 2}, b"hi"), '{"size": 2} hi'),
        (HeaderMessage({"size": 1}, b"\xff"), '{"size": 1} ff'),
        (HeaderMessage({"a": "b" * 99}, b""), '{"a": "' + "b" * 30 + "..."),
        ((7, b"alice\0", -1), r"7, alice\x00, -1"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_preview_is_one_line_that_fits(message: Any, shown: str) -> None:
    assert preview(message, 40) == shown
    assert show_found(Found(1, 0, 9, message), 74).split(maxsplit=3)[3:] == ([shown] * bool(shown))


def test_every_kind_of_message_has_a_preview() -> None:
    kinds: list[tuple[Framer[Any], Any]] = [
        (DelimiterFramer(b"\r\n"), b"a"),
        (HeaderBodyFramer(), HeaderMessage({"id": 1}, b"b")),
        (StructFramer("!H8sb"), (1, b"bob", 2)),
    ]
    for framer, message in kinds:
        (found,) = inspect([framer.encode(message)], framer)
        assert isinstance(found, Found)
        assert show_found(found, 80).isprintable()


def test_an_announced_size_does_not_matter() -> None:
    capture = struct.pack("!I", 16 * MIB) + b"short"
    (broken,) = inspect([capture], LengthPrefixFramer())
    assert isinstance(broken, Broken)
    assert broken.data == capture
    assert broken.reason == "the stream ended after 9 bytes of a message of 16777220"

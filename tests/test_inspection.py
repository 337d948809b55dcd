"""What inspect finds in captured bytes."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framing import HeaderMessage, LengthPrefixFramer, LineFramer
from framing.cli.inspection import Broken, Found, inspect, preview, show_item

from .authors import MarkedFramer
from .strategies import Format, chunks, every_format


@every_format
@given(data=st.data())
def test_it_finds_what_a_decoder_does_however_the_bytes_are_cut(
    format: Format[Any], data: st.DataObject
) -> None:
    messages = data.draw(st.lists(format.messages, max_size=4))
    capture = b"".join(map(format.framer.encode, messages)) + data.draw(st.binary(max_size=9))
    items = list(inspect(data.draw(chunks(capture)), format.framer))
    assert [each[:2] for each in items] == [each[:2] for each in inspect([capture], format.framer)]
    assert all(isinstance(item, Found) for item in items[: len(messages)])
    place = 0
    skips = isinstance(format.framer, MarkedFramer)  # what is between two messages
    for number, item in enumerate(items, 1):
        assert item.number == number
        assert item.offset >= place if skips else item.offset == place
        if isinstance(item, Found):
            place = item.offset + item.size
            assert format.framer.decode(capture[item.offset : place]) == item.message
        else:
            assert capture[item.offset :].startswith(item.data)
            assert len(item.data) <= 64
            place = items[number].offset if number < len(items) else len(capture)
    assert place == len(capture) or skips


def test_what_breaks_the_format_is_shown_with_the_reason() -> None:
    capture = LengthPrefixFramer().encode(b"hello") + b"GET / HTTP/1.1\r\n\r\n" + bytes(100)
    first, broken = inspect([capture], LengthPrefixFramer())
    assert isinstance(broken, Broken)
    assert first == Found(1, 0, 9, b"hello")
    assert "is the peer speaking HTTP?" in broken.reason
    assert "at byte" not in broken.reason
    lines = list(show_item(broken, 120))
    assert len(lines) == 4
    assert lines[0].split(maxsplit=1)[0] == "9"
    assert lines[0].endswith("47 45 54 20 2f 20 48 54 54 50 2f 31 2e 31 0d 0a  GET / HTTP/1.1..")
    assert lines[1].split()[:3] == ["25", "0d", "0a"]


@pytest.mark.parametrize("bad", [b"caf\xe9\r\n", b"x" * 1000 + b"\n"], ids=["text", "size"])
def test_it_goes_on_behind_a_bad_message(bad: bytes) -> None:
    framer = LineFramer(max_size=9, oversize="skip")
    first, second, *others = inspect([b"one\n" + bad[:4], bad[4:] + b"th", b"ree\nfour\n"], framer)
    place = 4 + len(bad)
    assert first == Found(1, 0, 4, "one")
    assert others == [Found(3, place, 6, "three"), Found(4, place + 6, 5, "four")]
    assert isinstance(second, Broken)
    (line,) = show_item(second, 80)
    assert line.split(maxsplit=3)[:3] == ["2", "4", "bad"]
    assert len(line) <= 80


def test_bytes_that_a_format_skips_belong_to_no_message() -> None:
    one, two = map(MarkedFramer().encode, (b"ab", b"cd"))
    found = list(inspect([b"noise" + one + two + b".." + one[:1], one[1:]], MarkedFramer()))
    assert found == [Found(1, 5, 5, b"ab"), Found(2, 10, 5, b"cd"), Found(3, 17, 5, b"ab")]


def test_memory_does_not_grow_with_the_capture() -> None:
    chunk = LengthPrefixFramer().encode(b"x" * 996) * 64
    tracemalloc.start()
    count = sum(1 for _ in inspect((chunk for _ in range(50)), LengthPrefixFramer()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 50 * 64
    assert peak < 512 * 1024


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (b"hello", "hello"),
        (b"", ""),
        ("你好".encode() * 50, "你好" * 18 + "你..."),
        (b"a\tb\r\nc", r"a\tb\r\nc"),
        (b"\x1b[2J", "1b 5b 32 4a"),
        (b"\xff\x00", "ff 00"),
        (bytes(range(30)), bytes(range(13)).hex(" ")[:37] + "..."),
        ("\x1b[2J", r"\x1b[2J"),
        ("x" * 10_000_000, "x" * 37 + "..."),
        (HeaderMessage({"size": 1}, b"\xff"), '{"size": 1} ff'),
        (HeaderMessage({"a": "b" * 99}, b""), '{"a": "' + "b" * 30 + "..."),
        ((7, b"alice\0", -1), r"7, alice\x00, -1"),
        ({"a": ["\x1b", None]}, r'{"a": ["\u001b", null]}'),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_preview_is_one_line_that_fits(message: Any, shown: str) -> None:
    assert preview(message, 40) == shown
    (line,) = show_item(Found(1, 0, 9, message), 74)
    assert line.split(maxsplit=3)[3:] == [shown] * bool(shown)

"""What is particular to ``DelimiterFramer`` and ``LineFramer``."""

from __future__ import annotations

import encodings
import pkgutil
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framing import (
    DecodeError,
    DelimiterFramer,
    EncodeError,
    Framer,
    FramingError,
    LineFramer,
    MessageTooLargeError,
)

from .outcomes import feed_all

# DelimiterFramer


def test_the_bytes_of_a_message_that_has_not_come_whole_are_not_split_again() -> None:
    sizes: list[int] = []

    class Counting(DelimiterFramer):
        def split_block(self, data: bytes, start: int, stop: int) -> Any:
            sizes.append(stop - start)
            return super().split_block(data, start, stop)

    decoder = Counting().decoder()
    for _ in range(1000):
        assert list(decoder.feed(bytes(100))) == []
    assert list(decoder.feed(b"\nnext\nla")) == [bytes(100_000), b"next"]
    assert sum(sizes) < 1000


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"delimiter": b""}, ValueError),
        ({"delimiter": "\n"}, TypeError),
        ({"delimiter": bytearray(b";")}, TypeError),
        ({"delimiter": 10}, TypeError),
        ({"final": "emmit"}, ValueError),
        ({"final": None}, ValueError),
    ],
    ids=repr,
)
def test_a_bad_option_is_refused_by_its_name(
    options: dict[str, Any], error: type[Exception]
) -> None:
    (name,) = options
    with pytest.raises(error, match=rf"{name} is "):
        DelimiterFramer(**options)


@pytest.mark.parametrize(
    ("delimiter", "payload", "place"),
    [
        (b"\n", b"he\nllo", 2),
        (b"\n", b"\n", 0),
        (b"\n", b"hello\n", 5),
        (b"\r\n", b"a\r\nb", 1),
        (b"aba", b"xab", 1),  # the delimiter that follows completes it too early
        (b"aba", b"ab", 0),
        (b"aa", b"xxa", 2),
        (b"aaaa", b"xa", 1),
        (b"abab", b"xabababx", 1),
    ],
)
def test_a_payload_that_would_end_early_is_refused(
    delimiter: bytes, payload: bytes, place: int
) -> None:
    with pytest.raises(EncodeError) as caught:
        DelimiterFramer(delimiter).encode(payload)
    for part in (repr(delimiter), f"at byte {place} of the payload", "LengthPrefixFramer"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("delimiter", "payload"),
    [(b"\r\n", b"a\r"), (b"\r\n", b"\n\r"), (b"aba", b"ba"), (b"aba", b"xxb"), (b"ab", b"ba")],
)
def test_half_a_delimiter_is_payload(delimiter: bytes, payload: bytes) -> None:
    framer = DelimiterFramer(delimiter)
    assert framer.decode(framer.encode(payload)) == payload


@given(
    delimiter=st.text("ab", min_size=1, max_size=5).map(str.encode),
    payload=st.text("abc", max_size=8).map(str.encode),
)
def test_exactly_those_payloads_are_refused_that_would_come_back_changed(
    delimiter: bytes, payload: bytes
) -> None:
    comes_back = (payload + delimiter).split(delimiter, 1) == [payload, b""]
    try:
        DelimiterFramer(delimiter).encode(payload)
    except EncodeError:
        assert not comes_back
    else:
        assert comes_back


def test_an_unterminated_last_message_counts_where_it_may() -> None:
    decoder = DelimiterFramer(b"\r\n", final="emit").decoder().feed(b"one\r\ntwo\r")
    decoder.feed_eof()
    assert list(decoder) == [b"one", b"two\r"]
    assert list(decoder) == []


@pytest.mark.parametrize(
    ("framer", "line_break"),
    [
        (DelimiterFramer(max_size=4), b"\n"),
        (DelimiterFramer(b"\r\n", max_size=4), b"\r\n"),
        (DelimiterFramer(b"=====", max_size=4), b"====="),
        (LineFramer(max_size=4), b"\n"),
        (LineFramer(max_size=4), b"\r\n"),
        (LineFramer("gbk", max_size=4), b"\r\n"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("behind", [0, 3])
def test_the_limit_counts_the_payload_alone(
    framer: Framer[Any], line_break: bytes, behind: int
) -> None:
    start = (b"abcd" + line_break) * behind
    for size in (3, 4):
        *_, last = framer.decoder().feed(start + b"x" * size + line_break)
        assert len(last) == size
        assert framer.encode(last).startswith(b"x" * size)
    decoder = framer.decoder().feed(start + b"x" * 4 + line_break[:-1])
    assert len(list(decoder)) == behind
    for rest in (b"x", b"x" + line_break, b"x" * 100 + line_break):
        decoder = framer.decoder().feed(start + b"x" * 4 + rest)
        for _ in range(behind):
            assert decoder.next_message() is not None
        with pytest.raises(MessageTooLargeError) as caught:
            decoder.next_message()
        assert (caught.value.size, caught.value.limit) == (None, 4)
        assert caught.value.offset == len(start)


def test_errors_about_limits_name_the_option() -> None:
    for framer in (DelimiterFramer(b"\r\n", max_size=4), LineFramer(max_size=4)):
        with pytest.raises(MessageTooLargeError, match=r"at most 4 bytes \(max_size=4\)"):
            framer.decode(b"hello")
    with pytest.raises(EncodeError, match=r"at most 4 bytes \(max_size\), not 5"):
        LineFramer(max_size=4).encode("héé")


# LineFramer

OTHER_BREAKS = ["\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize(
    ("stream", "lines"),
    [
        (b"a\nb\r\n\n\r\nc", ["a", "b", "", "", "c"]),
        (b"a\rb\n", ["a\rb"]),
        (b"a\r\r\n", ["a\r"]),
        (b"\r\n\r", ["", "\r"]),  # before the end it is no part of a line break
        (b"a\r", ["a\r"]),
        (b"\n\r\n", ["", ""]),
        (b"\n\ra\n", ["", "\ra"]),
        (b"", []),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252", "gbk", "shift_jis"])
@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_lines_end_with_lf_or_crlf(
    stream: bytes, lines: list[str], encoding: str, chunk: int
) -> None:
    decoder = LineFramer(encoding).decoder()
    received: list[str] = []
    feed_all(decoder, stream, chunk, received)
    decoder.feed_eof()
    assert [*received, *decoder] == lines


@pytest.mark.parametrize("text", OTHER_BREAKS, ids=ascii)
def test_no_other_line_break_ends_a_line(text: str) -> None:
    line = f"a{text}b"
    assert LineFramer().decode(LineFramer().encode(line)) == line


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("ab\ncd\n", "line break at character 2$"),
        ("\r\n", "line break at character 1$"),
        ("ab\r", r"does not end with '\\r'"),
        ("a\ud800", "in utf-8: .*surrogates not allowed"),
    ],
)
def test_a_line_that_would_come_back_changed_is_refused(line: str, text: str) -> None:
    with pytest.raises(EncodeError, match=text):
        LineFramer().encode(line)


def test_a_character_that_an_encoding_changes_is_refused() -> None:
    with pytest.raises(EncodeError, match="shift_jis"):
        LineFramer("shift_jis").encode("\u00a5")


@pytest.mark.parametrize("message", [b"line", None, 5, ["a"]], ids=repr)
def test_a_line_is_a_str(message: Any) -> None:
    with pytest.raises(TypeError, match=f"str, not {type(message).__name__}"):
        LineFramer().encode(message)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("chunk", [1, 1000, 10**6])
def test_good_lines_before_invalid_bytes_are_delivered(end: bytes, chunk: int) -> None:
    good = [f"line {i} é" for i in range(500)]
    start = b"".join(line.encode() + end for line in good)
    stream = start + b"ab\xffcd" + end + start
    decoder = LineFramer().decoder()
    received: list[str] = []
    with pytest.raises(DecodeError) as caught:
        feed_all(decoder, stream, chunk, received)
    assert received == good
    assert caught.value.offset == len(start)
    assert "can't decode byte 0xff in position 2" in str(caught.value)


@pytest.mark.parametrize("cut", [b"\xc3", b"\xe6\xbc"])
def test_a_character_cut_by_a_line_break_or_the_end_is_invalid(cut: bytes) -> None:
    for end in (b"\n", b"\r\n", b""):
        with pytest.raises(DecodeError, match="utf-8"):
            LineFramer().decode(b"a" + cut + end)


# Encodings

STATELESS = {"utf-8": "utf8", "iso8859-1": "Latin_1", "ascii": "US-ASCII", "gbk": "cp936"}


@pytest.mark.parametrize(("name", "alias"), STATELESS.items())
def test_an_encoding_has_one_name(name: str, alias: str) -> None:
    assert LineFramer(alias) == LineFramer(name)
    assert LineFramer(alias).encoding == name


@pytest.mark.parametrize(
    "name",
    [
        *("utf-16", "utf-16-le", "utf-32", "utf-32-be", "utf-8-sig"),  # other or more bytes
        *("utf-7", "raw_unicode_escape", "unicode_escape", "punycode"),  # escapes
        *("cp037", "cp500", "cp1026"),  # EBCDIC
    ],
)
def test_an_encoding_with_other_line_breaks_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.* line breaks"):
        LineFramer(name)


@pytest.mark.parametrize("name", ["rot13", "base64", "hex", "zlib", "no-such", "", "undefined"])
def test_something_else_than_a_text_encoding_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=repr(name)):
        LineFramer(name)


@cache
def line_framers() -> list[LineFramer]:
    """A framer for every encoding of the standard library that it takes."""
    framers = {}
    for module in pkgutil.iter_modules(encodings.__path__):
        try:
            framer = LineFramer(module.name)
        except ValueError:
            continue
        framers[framer.encoding] = framer
    return list(framers.values())


every_encoding = pytest.mark.parametrize("framer", line_framers(), ids=lambda each: each.encoding)


def test_the_common_encodings_are_among_them() -> None:
    names = {framer.encoding for framer in line_framers()}
    assert len(names) > 70
    assert {"utf-8", "gb18030", "big5", "euc_kr", "shift_jis", "koi8-r", "cp1252"} <= names


@every_encoding
def test_every_character_comes_back_or_is_refused(framer: LineFramer) -> None:
    sent = 0
    for start in range(0, 0x10000, 256):
        block = "".join(map(chr, range(start, start + 256))).replace("\n", "")
        if not block.encode(framer.encoding, "ignore"):
            continue
        line = "".join(each for each in block if each.encode(framer.encoding, "ignore"))
        sent += len(line) if comes_back(framer, line) else sum(comes_back(framer, c) for c in line)
    assert sent > 90


@every_encoding
@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "漢é\u0e01\u05d0Ж\U0001f600\ud800"])
def test_a_character_that_the_encoding_lacks_is_refused(framer: LineFramer, text: str) -> None:
    with pytest.raises(EncodeError, match=framer.encoding):
        framer.encode(text)


def comes_back(framer: LineFramer, line: str) -> bool:
    """Return whether *line* can be sent; it then has to arrive."""
    try:
        wire = framer.encode(line)
    except EncodeError:
        return False
    assert list(framer.decoder().feed(wire + framer.encode("next"))) == [line, "next"]
    return True


# What stands for a line break, or begins an escape, somewhere
HIDDEN = [b"+AAo-", b"\\n", b"\\u000a", b"\\x0a", b"&#10;", b"\x1b$B", b"\x1b(B", b"\x1b$)C"]
HIDDEN += [b"\x0e", b"\x0f", b"~{", b"~}", b"~", b"xn--", b"a", b"\x81", b"\x85", b"\xe2\x80\xa8"]


@every_encoding
def test_no_single_byte_is_a_hidden_line_break(framer: LineFramer) -> None:
    for byte in range(256):
        for wire in (bytes([byte]), b"a" + bytes([byte]) + b"b"):
            assert "\n" not in decoded(framer, wire.replace(b"\n", b""))


@given(
    framer=st.sampled_from(line_framers()),
    pieces=st.lists(st.sampled_from(HIDDEN) | st.binary(min_size=1, max_size=2), max_size=6),
)
def test_no_line_has_a_line_break_in_it(framer: LineFramer, pieces: list[bytes]) -> None:
    assert "\n" not in decoded(framer, b"".join(pieces).replace(b"\n", b""))


def decoded(framer: LineFramer, line: bytes) -> str:
    try:
        return framer.decode(line + b"\n")
    except FramingError:
        return ""

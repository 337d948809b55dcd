"""What is particular to ``DelimiterFramer`` and ``LineFramer``."""

from __future__ import annotations

import encodings
import pkgutil
from functools import cache
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framing import (
    BadMessageError,
    DelimiterFramer,
    EncodeError,
    FramingError,
    LineFramer,
    MessageTooLargeError,
)

from .outcomes import check, cut, results

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


def test_the_end_of_the_stream_may_end_a_message() -> None:
    decoder = DelimiterFramer(final="emit").decoder().feed(b"a\nb")
    decoder.feed_eof()
    assert list(decoder) == [b"a", b"b"]


@pytest.mark.parametrize("value", [b"", "\n", bytearray(b";"), 10], ids=repr)
def test_a_delimiter_is_one_byte_or_more(value: Any) -> None:
    with pytest.raises(TypeError if value else ValueError, match="delimiter is "):
        DelimiterFramer(value)


@pytest.mark.parametrize("name", ["final", "oversize"])
def test_a_choice_is_refused_by_its_name(name: str) -> None:
    for value in ("emmit", None):
        options: Any = {name: value}
        with pytest.raises(ValueError, match=f"^{name} is '.*' or '.*', not {value!r}"):
            DelimiterFramer(**options)


def all_of(letters: str, longest: int) -> list[bytes]:
    return [
        "".join(each).encode() for n in range(longest + 1) for each in product(letters, repeat=n)
    ]


@pytest.mark.parametrize("delimiter", all_of("ab", 4)[1:], ids=bytes.decode)
def test_exactly_those_payloads_are_refused_that_would_come_back_changed(delimiter: bytes) -> None:
    framer = DelimiterFramer(delimiter)
    for payload in all_of("abc", 5):
        place = (payload + delimiter).find(delimiter)
        try:
            wire = framer.encode(payload)
        except EncodeError as error:
            assert place < len(payload)
            for part in (
                repr(delimiter),
                f"at byte {place} of the payload, before its end: escape",
            ):
                assert part in str(error)
        else:
            assert (place, wire) == (len(payload), payload + delimiter)


def test_errors_about_limits_name_the_option() -> None:
    for framer in (DelimiterFramer(b"\r\n", max_size=4), LineFramer(max_size=4)):
        with pytest.raises(MessageTooLargeError, match=r"at most 4 bytes \(max_size=4\)"):
            framer.decode(b"hello")
    with pytest.raises(EncodeError, match=r"at most 4 bytes \(max_size\), not 5"):
        LineFramer(max_size=4).encode("héé")


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [10, 300, 3000])
def test_lines_of_any_length_come_whole_and_lose_just_their_line_break(
    line_break: str, size: int
) -> None:
    lines = [letter * size for letter in "abcdefgh"] * 20
    wire = "".join(line + line_break for line in lines).encode()
    for chunk in (1000, len(wire)):
        assert results(LineFramer().decoder(), cut(wire, chunk)) == lines
        delimited = DelimiterFramer(line_break.encode()).decoder()
        assert results(delimited, cut(wire, chunk)) == list(map(str.encode, lines))


# LineFramer


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252", "gbk", "shift_jis"])
def test_lines_end_with_lf_or_crlf(encoding: str) -> None:
    stream = b"a\nb\r\n\n\r\na\rb\n\n\r\n\ra\na\r\r\n\r"  # where \r is no line break
    lines = ["a", "b", "", "", "a\rb", "", "", "\ra", "a\r", "\r"]
    assert check(LineFramer(encoding), stream) == lines


@pytest.mark.parametrize(
    ("encoding", "line", "text"),
    [
        ("utf-8", "ab\ncd\n", "line break at character 2$"),
        ("utf-8", "\r\n", "line break at character 1$"),
        ("utf-8", "ab\r", r"does not end with '\\r'"),
        ("utf-8", "a\ud800", "in utf-8: .*surrogates not allowed"),
        ("shift_jis", "\u00a5", "shift_jis"),  # which it has, and as another character
    ],
)
def test_a_line_that_would_come_back_changed_is_refused(
    encoding: str, line: str, text: str
) -> None:
    with pytest.raises(EncodeError, match=text):
        LineFramer(encoding).encode(line)


@pytest.mark.parametrize("message", [b"line", None, 5, ["a"]], ids=repr)
def test_a_line_is_a_str(message: Any) -> None:
    with pytest.raises(TypeError, match=f"str, not {type(message).__name__}"):
        LineFramer().encode(message)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_an_invalid_line_costs_that_line(end: bytes) -> None:
    good = [f"line {i} é" for i in range(500)]
    start = b"".join(line.encode() + end for line in good)
    stream = start + b"ab\xffcd" + end + start
    for chunk in (1, 1000, 10**6):
        found = results(LineFramer().decoder(), cut(stream, chunk))
        error = found.pop(len(good))
        assert found == good * 2
        assert (type(error), error.offset) == (BadMessageError, len(start))
        assert "can't decode byte 0xff in position 2" in str(error)
    for bad in (b"\xc3", b"\xe6\xbc"):  # a character cut by a line break, or by the end
        for last in (end, b""):
            (error,) = check(LineFramer(), b"a" + bad + last)
            assert (type(error), "utf-8" in str(error)) == (BadMessageError, True)


def test_surrogateescape_works_in_both_directions_and_other_handlers_in_one() -> None:
    framer = LineFramer(errors="surrogateescape")
    assert framer.decode(b"caf\xe9\n") == "caf\udce9"
    assert framer.encode("caf\udce9") == b"caf\xe9\n"
    for errors in ("strict", "replace", "ignore"):
        with pytest.raises(EncodeError, match="surrogates not allowed"):
            LineFramer(errors=errors).encode("caf\udce9")
    with pytest.raises(ValueError, match=r"^errors is 'strict', .*not 'emit'"):
        LineFramer(errors="emit")


# Encodings


@pytest.mark.parametrize(
    ("name", "alias"),
    [("utf-8", "utf8"), ("iso8859-1", "Latin_1"), ("ascii", "US-ASCII"), ("gbk", "cp936")],
)
def test_an_encoding_has_one_name(name: str, alias: str) -> None:
    assert LineFramer(alias) == LineFramer(name)
    assert LineFramer(alias).encoding == name


@pytest.mark.parametrize(
    "name",
    [
        *("utf-16", "utf-16-le", "utf-32", "utf-32-be", "utf-8-sig"),  # other or more bytes
        *("utf-7", "raw_unicode_escape", "unicode_escape", "punycode"),  # escapes
        *("cp037", "cp500", "cp1026"),  # EBCDIC
        *("rot13", "base64", "hex", "zlib", "no-such", "", "undefined"),  # no encoding of text
    ],
)
def test_an_encoding_with_other_line_breaks_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.* line breaks|for lines: {name!r}"):
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


def test_the_common_encodings_are_among_them() -> None:
    names = {framer.encoding for framer in line_framers()}
    assert len(names) > 70
    assert {"utf-8", "gb18030", "big5", "euc_kr", "shift_jis", "koi8-r", "cp1252"} <= names


# What stands for a line break, or begins an escape, somewhere
HIDDEN = [b"+AAo-", b"\\n", b"\\u000a", b"\\x0a", b"&#10;", b"\x1b$B", b"\x1b(B", b"\x1b$)C"]
HIDDEN += [b"\x0e", b"\x0f", b"~{", b"~}", b"~", b"xn--", b"a", b"\x81", b"\x85", b"\xe2\x80\xa8"]
ODD_TEXTS = ["\ud800", "a\udfffb", "漢é\u0e01\u05d0Ж\U0001f600\ud800"]


@pytest.mark.parametrize("framer", line_framers(), ids=lambda each: each.encoding)
def test_every_character_of_an_encoding_comes_back_or_is_refused(framer: LineFramer) -> None:
    sent = 0
    for start in range(0, 0x10000, 256):
        block = "".join(map(chr, range(start, start + 256))).replace("\n", "")
        if not block.encode(framer.encoding, "ignore"):
            continue
        line = "".join(each for each in block if each.encode(framer.encoding, "ignore"))
        sent += len(line) if comes_back(framer, line) else sum(comes_back(framer, c) for c in line)
    assert sent > 90
    for text in ODD_TEXTS:
        with pytest.raises(EncodeError, match=framer.encoding):
            framer.encode(text)
    for byte in range(256):
        for wire in (bytes([byte]), b"a" + bytes([byte]) + b"b"):
            assert "\n" not in decoded(framer, wire.replace(b"\n", b""))


def comes_back(framer: LineFramer, line: str) -> bool:
    """Return whether *line* can be sent; it then has to arrive."""
    try:
        wire = framer.encode(line)
    except EncodeError:
        return False
    assert list(framer.decoder().feed(wire + framer.encode("next"))) == [line, "next"]
    return True


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

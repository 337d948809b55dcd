"""Captured bytes for ``framing inspect``, and headers: of ``HeaderBodyFramer``, and of LSP.

An input is that of ``decoders``, and its stream is used as a capture and as both kinds of headers.

What must hold: the messages found are those of a decoder, each begins where the one before it
ends, and where the format breaks is reported; every line is printable and fits.
A JSON header is an object that can be sent on, and comes back equal, or a ``DecodeError``.
Header fields announce one size, as ``announced_size`` reads it, or are a ``DecodeError``.
"""

from __future__ import annotations

import json
import re
import string
from typing import Any

from framing import (
    ContentLengthFramer,
    DecodeError,
    DelimiterFramer,
    EncodeError,
    Framer,
    FramingError,
    HeaderBodyFramer,
    HeaderMessage,
    JsonFramer,
    LengthPrefixFramer,
    LineFramer,
    MessageTooLargeError,
    NetstringFramer,
    StructFramer,
    VarintFramer,
)

from ..outcomes import is_final, results
from ..programs import run_here
from .decoders import take_apart

# What the command line calls the formats that it has a name for.
NAMES: dict[Framer[Any], list[str]] = {
    LengthPrefixFramer(): ["length:!I"],
    LengthPrefixFramer("!B"): ["length:!B"],
    LengthPrefixFramer("<H", max_size=260): ["length:<H", "--max-size=260"],
    DelimiterFramer(): [r"delimiter:\x0a"],
    DelimiterFramer(b"\r\n"): [r"delimiter:\r\n"],
    LineFramer(): ["lines:utf-8"],
    LineFramer("gbk", max_size=8): ["lines:gbk", "--max-size=8"],
    HeaderBodyFramer(): ["header:!I"],
    StructFramer("!Hb"): ["struct:!Hb"],
    StructFramer(">fd?c"): ["struct:>fd?c"],
    NetstringFramer(): ["netstring"],
    VarintFramer(): ["varint"],
    ContentLengthFramer(max_size=300): ["content-length", "--max-size=300"],
    JsonFramer(): ["json"],
    JsonFramer(LineFramer()): ["json-lines"],
}
NAME_OF_FIELD = set(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~")


def check(data: bytes) -> None:
    """Raise an error if the library does not do with an input what it promises."""
    input = take_apart(data)
    framer, stream = input.framer, input.stream
    if framer in NAMES:
        check_capture(framer, NAMES[framer], stream)
    check_header(stream)
    check_fields(stream)


def check_capture(framer: Framer[Any], name: list[str], stream: bytes) -> None:
    shown = run_here("inspect", "--framer", *name, stdin=stream)
    heading, *lines = shown.stdout.split("\n")[:-1]
    assert "offset" in heading
    assert all(line.isprintable() and len(line) <= 120 for line in lines)
    place, bad = 0, None
    for number, item in enumerate(results(framer.decoder(), [stream]), 1):
        if isinstance(item, FramingError):
            bad = place
        if is_final(item):
            break
        row, offset, size = lines[number - 1].split()[:3]
        assert (int(row), int(offset)) == (number, place)
        end = int(lines[number][8:21]) if number < len(lines) else len(stream)
        if place == bad:
            assert size == "bad"
        else:
            assert int(size) == end - place
            assert repr(framer.decode(stream[place:end])) == repr(item)
        place = end
    else:
        assert place == len(stream)
    reported = re.search(r"at byte (\d+)", shown.stderr)
    assert shown.returncode == (bad is not None)
    assert (reported and int(reported[1])) == bad


def check_header(data: bytes) -> None:
    framer = HeaderBodyFramer(size_key="the size")
    data = data.replace(b"the size", b"")
    if (end := data.rfind(b"}")) >= 0:  # add the size of no body
        data = data[:end] + b", "[: 2 * (b":" in data)] + b'"the size": 0' + data[end:]
    try:
        header = framer.decode(len(data).to_bytes(4, "big") + data).header
    except DecodeError as error:
        assert str(error)
        return
    assert header == json.loads(data.decode(), object_pairs_hook=members)
    assert depth(header) <= 64
    try:
        wire = framer.encode(HeaderMessage({**header, "the size": 4}, b"body"))
    except EncodeError as error:  # written in full, it may be longer than what came
        assert "max_header_size" in str(error)
    else:
        assert framer.decode(wire) == ({**header, "the size": 4}, b"body")


def check_fields(data: bytes) -> None:
    framer = ContentLengthFramer(max_size=300)
    fields = (data + b"\r\n\r\n").partition(b"\r\n\r\n")[0]
    size = announced_size(fields)
    try:
        body = framer.decode(fields + b"\r\n\r\n" + bytes(min(size or 0, 301)))
    except MessageTooLargeError as error:
        assert size is not None
        assert size > 300
        assert error.size == size
    except DecodeError as error:
        assert str(error)
        assert size is None
    else:
        assert size == len(body)
        assert framer.decode(framer.encode(body)) == body


def announced_size(fields: bytes) -> int | None:
    """Return the one size that *fields* announce, or ``None`` if something is wrong with them."""
    sizes = set()
    for line in fields.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if not (name and colon) or set(name) - NAME_OF_FIELD or set(value) & set("\r\n\0"):
            return None
        if name.lower() == "content-length":
            digits = value.strip(" \t")
            if not (digits.isascii() and digits.isdigit()):
                return None
            sizes.add(int(digits))
    return sizes.pop() if len(sizes) == 1 else None


def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def depth(value: Any) -> int:
    """Return how deep *value* nests, whatever that is to the parser."""
    level, most = [value], 0
    while nested := [each for each in level if isinstance(each, dict | list)]:
        most += 1
        level = [x for each in nested for x in (each.values() if isinstance(each, dict) else each)]
    return most

"""Captured bytes for ``framing inspect``, and headers for ``HeaderBodyFramer``.

An input is that of ``decoders``, and its stream is used twice: as a capture, and as a header.

What must hold: the messages found are those of a decoder, each begins where the one before it
ends, and where the format breaks is reported; every line is printable and fits.
A header is an object that can be sent on, and comes back equal, or a ``DecodeError``.
"""

from __future__ import annotations

import json
import re
from typing import Any

from framing import (
    DecodeError,
    DelimiterFramer,
    EncodeError,
    Framer,
    FramingError,
    HeaderBodyFramer,
    HeaderMessage,
    LengthPrefixFramer,
    LineFramer,
    StructFramer,
)

from ..outcomes import is_final, results
from ..programs import run_here
from .decoders import take_apart

# What the command line calls the formats that it has a name for.
NAMES: dict[Framer[Any], str] = {
    LengthPrefixFramer(): "length:!I",
    LengthPrefixFramer("!B"): "length:!B",
    DelimiterFramer(): r"delimiter:\x0a",
    DelimiterFramer(b"\r\n"): r"delimiter:\r\n",
    LineFramer(): "lines:utf-8",
    HeaderBodyFramer(): "header:!I",
    StructFramer("!Hb"): "struct:!Hb",
    StructFramer(">fd?c"): "struct:>fd?c",
}


def check(data: bytes) -> None:
    """Raise an error if the library does not do with an input what it promises."""
    framer, _, _, stream = take_apart(data)
    if framer in NAMES:
        check_capture(framer, NAMES[framer], stream)
    check_header(stream)


def check_capture(framer: Framer[Any], name: str, stream: bytes) -> None:
    shown = run_here("inspect", "--framer", name, stdin=stream)
    heading, *lines = shown.stdout.split("\n")[:-1]
    assert "offset" in heading
    assert all(line.isprintable() and len(line) <= 120 for line in lines)
    place = 0
    for number, item in enumerate(results(framer.decoder(), [stream]), 1):
        if isinstance(item, FramingError):
            reported = re.search(r"at byte (\d+)", shown.stderr)
            if is_final(item):
                assert shown.returncode == 1
                assert reported
                assert int(reported[1]) == place
            return
        row, offset, size = map(int, lines[number - 1].split()[:3])
        assert (row, offset) == (number, place)
        assert repr(framer.decode(stream[place : place + size])) == repr(item)
        place += size
    assert (shown.returncode, shown.stderr, place) == (0, "", len(stream))


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

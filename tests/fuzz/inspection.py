"""Captured bytes for ``framing inspect``, and headers for ``HeaderBodyFramer``.

An input is that of ``decoders``, and its stream is used twice: as a capture, and as a header.

What must hold: the messages found are those of a decoder, each begins where the one before it
ends, and where the format breaks is reported; every line is printable and fits.
A header is an object that can be sent on, and comes back equal, or a ``DecodeError``.
"""

from __future__ import annotations

import json
import re
from itertools import chain
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

MAX_DEPTH = 64


def check(data: bytes) -> None:
    """Raise an error if the library does not do with an input what it promises."""
    framer, _, _, stream = take_apart(data)
    if (name := name_of(framer)) is not None:
        check_capture(framer, name, stream)
    check_header(stream)


def name_of(framer: Framer[Any]) -> str | None:
    """Return what the command line calls *framer*; ``None`` if it has no name for it."""
    names: dict[Any, str] = {
        LengthPrefixFramer: "length:{0.format}",
        DelimiterFramer: "delimiter:{1}",
        LineFramer: "lines:{0.encoding}",
        HeaderBodyFramer: "header:{0.format}",
        StructFramer: "struct:{0.format}",
    }
    escaped = "".join(f"\\x{byte:02x}" for byte in getattr(framer, "delimiter", b""))
    name = names.get(type(framer), "").format(framer, escaped)
    detail = name.partition(":")[2]
    if not detail:
        return None
    make: Any = type(framer)
    value = framer.delimiter if isinstance(framer, DelimiterFramer) else detail
    return name if make(value) == framer else None


def check_capture(framer: Framer[Any], name: str, stream: bytes) -> None:
    expected = results(framer.decoder(), [stream])
    shown = run_here("inspect", "--framer", name, stdin=stream)
    heading, *lines = shown.stdout.split("\n")[:-1]
    assert "offset" in heading
    assert all(line.isprintable() and len(line) <= 120 for line in lines)
    place = 0
    for number, item in enumerate(expected, 1):
        if isinstance(item, FramingError):
            assert not is_final(item) or (shown.returncode, place) == (1, place_of(shown.stderr))
            return
        row, offset, size = map(int, lines[number - 1].split()[:3])
        assert (row, offset) == (number, place)
        assert repr(framer.decode(stream[place : place + size])) == repr(item)
        place += size
    assert (shown.returncode, shown.stderr, place) == (0, "", len(stream))


def place_of(text: str) -> int:
    """Return where an error that is shown says that it is."""
    found = re.search(r"at byte (\d+)", text)
    return int(found[1]) if found else -1


def check_header(data: bytes) -> None:
    framer = HeaderBodyFramer(size_key="the size")
    data = data.replace(b"the size", b"")
    if (end := data.rfind(b"}")) >= 0:  # add the size of no body
        data = data[:end] + b", "[: 2 * (b":" in data)] + b'"the size": 0' + data[end:]
    wire = len(data).to_bytes(4, "big") + data
    try:
        header = framer.decode(wire).header
    except DecodeError as error:
        assert str(error)
        return
    assert isinstance(header, dict)
    assert header == json.loads(data.decode(), object_pairs_hook=members)
    assert depth(header) <= MAX_DEPTH
    try:
        wire = framer.encode(HeaderMessage({**header, "the size": 4}, b"body"))
    except EncodeError as error:
        # Written in full, it may be longer than what came.
        assert "max_header_size" in str(error)
        return
    assert framer.decode(wire) == ({**header, "the size": 4}, b"body")


def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def depth(value: Any) -> int:
    """Return how deep *value* nests, whatever that is to the parser."""
    level, most = [value], 0
    while nested := [each for each in level if isinstance(each, dict | list)]:
        most += 1
        level = list(chain(*(each.values() if isinstance(each, dict) else each for each in nested)))
    return most

"""Captured bytes for ``inspect``, and headers for the parser behind ``HeaderBodyFramer``.

An input is that of ``decoders``, and its stream is used twice: as a capture, and as a header.

What must hold: a capture is covered from its first byte on by messages, each of which decodes
alone, and what is broken at last, however it is cut; all that is shown is printable and fits.
A header is an object that can be sent on, and comes back equal, or a ``DecodeError``.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

from framing import DecodeError, EncodeError, Framer, HeaderBodyFramer, HeaderMessage
from framing.header_body import _parse
from framing.inspection import Broken, Found, inspect, show_broken, show_found

from ..outcomes import outcome, pieces
from .decoders import take_apart

MAX_DEPTH = 64


def check(data: bytes) -> None:
    """Raise an error if the library does not do with an input what it promises."""
    framer, _, sizes, stream = take_apart(data)
    for chunks in ([stream], pieces(stream, sizes)):
        check_capture(framer, stream, list(inspect(chunks, framer)))
    check_header(stream)


def check_capture(framer: Framer[Any], stream: bytes, found: list[Found | Broken]) -> None:
    messages, error = outcome(framer.decoder(), [stream])
    assert repr([each.message for each in found if isinstance(each, Found)]) == repr(messages)
    place = 0
    for number, each in enumerate(found, 1):
        assert each.offset == place
        if isinstance(each, Broken):
            assert number == len(found)
            assert error is not None
            assert each.reason == error.args[0]
            assert 0 < len(each.data) <= 64  # as far as they had come
            assert stream[place:].startswith(each.data)
            shown = list(show_broken(each))
            assert all(line.isprintable() and line.isascii() for line in shown)
            assert bytes.fromhex("".join(line[23:71] for line in shown)) == each.data
            return
        assert each.number == number
        assert repr(framer.decode(stream[place : place + each.size])) == repr(each.message)
        assert show_found(each, 80).isprintable()
        assert len(show_found(each, 80)) <= 80
        place += each.size
    assert (place, error) == (len(stream), None)


def check_header(data: bytes) -> None:
    try:
        header = _parse(data)
    except DecodeError as error:
        assert str(error)
        return
    assert isinstance(header, dict)
    assert header == json.loads(data.decode(), object_pairs_hook=members)
    assert depth(header) <= MAX_DEPTH
    framer = HeaderBodyFramer(size_key="the size")
    if "the size" in header:
        return
    try:
        wire = framer.encode(HeaderMessage(header, b"body"))
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

"""What is particular to ``HeaderBodyFramer``: above all, which headers it refuses, both ways."""

from __future__ import annotations

import copy
import json
from collections.abc import Generator
from enum import IntEnum
from typing import Any

import pytest

from framing import (
    DecodeError,
    EncodeError,
    HeaderBodyFramer,
    HeaderMessage,
    MessageTooLargeError,
)

from .outcomes import check, results

FRAMER = HeaderBodyFramer()


def wire(header: str | bytes, body: bytes = b"") -> bytes:
    """Return what a peer may send that checks nothing."""
    data = header.encode() if isinstance(header, str) else header
    return len(data).to_bytes(4, "big") + data + body


# What the peer may not send


def nested(depth: int, *, brackets: str = "[]", inside: str = "") -> str:
    """Return a header that nests *depth* deep, itself counted."""
    opening, closing = ("[", "]") if brackets == "[]" else ('{"k":', "}")
    levels = depth - 1
    value = opening * levels + (inside or ("0" if brackets != "[]" else "")) + closing * levels
    return f'{{"size":0,"v":{value or 0}}}'


NESTS = "it nests more than 64 deep"
REFUSED: dict[str, list[bytes]] = {
    "'utf-8' codec can't decode byte 0xff": [
        b'{"size":0,"k":"\xff"}',
        '{"size":0}'.encode("utf-16"),
    ],
    "'utf-8' codec can't decode byte 0xed": [b'{"size":0,"k":"\xed\xa0\x80"}'],  # a surrogate
    "Expecting value": [b"", '{"size":0}'.encode("utf-8-sig")],  # a byte order mark
    "Expecting ',' delimiter": [b'{"size":0', b'{"size":00}'],
    "Extra data": [b'{"size":0}{}'],
    "Invalid control character": [b'{"size":0,"k":"\n"}'],
    "this is of type list": [b"[]"],
    "this is of type NoneType": [b"null"],
    "the key 'size' is twice in one object": [
        b'{"size":0,"size":0}',
        b'{"size":0,"s\\u0069ze":0}',
    ],
    "the key 'k' is twice in one object": [b'{"size":0,"v":[{"a":{"k":1,"j":2,"k":1}}]}'],
    "NaN is not a finite number": [b'{"size":0,"k":NaN}'],
    "-Infinity is not a finite number": [b'{"size":0,"k":-Infinity}'],
    "-1e400 is not a finite number": [b'{"size":0,"k":-1e400}'],
    f"{'9' * 37}... is not a finite number": [b'{"size":0,"k":' + b"9" * 400 + b".5}"],
    "'utf-8' codec can't encode character": [
        b'{"size":0,"k":"\\ud800"}',
        b'{"size":0,"\\udfff":1}',
        b'{"size":0,"k":[["\\udc00\\ud800"]]}',
    ],
    "an integer has 641 digits, more than 640": [b'{"size":0,"k":-' + b"1" * 641 + b"}"],
    "an integer has 5000 digits, more than 640": [b'{"size":0,"k":' + b"1" * 5000 + b"}"],
    NESTS: [nested(65).encode(), nested(65, brackets="{}").encode()],
    "": [nested(10_000).encode(), b"[" * 60_000],  # nobody knows how deep the json module goes
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_bad_header_is_fatal_and_the_error_says_why(text: str) -> None:
    good = FRAMER.encode(HeaderMessage({}, b""))
    for header in REFUSED[text]:
        message, error = results(FRAMER.decoder(), [good + wire(header) + wire("{}")])
        assert message.header == {"size": 0}
        assert (type(error), error.offset, error.recoverable) == (DecodeError, 14, False)
        assert str(error).startswith(f"expected a JSON object as header: {text}")


NO_SIZE = "expected a header with the key 'size', not one with "


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("{}", NO_SIZE + "no key at all: see size_key="),
        ('{"filename":"a","filesize":5}', NO_SIZE + "'filename', 'filesize': see size_key="),
        (f'{{"{"k" * 999}":1}}', NO_SIZE + f"'{'k' * 116}...: see "),
        ('{"size":true}', "expected the size of the body in 'size', not True"),
        ('{"size":"5"}', "expected the size of the body in 'size', not '5'"),
        ('{"size":5.0}', "expected the size of the body in 'size', not 5.0"),
        ('{"size":-1}', "expected the size of the body in 'size', not -1"),
    ],
)
def test_a_header_without_the_size_is_fatal(header: str, text: str) -> None:
    (error,) = check(FRAMER, wire(header) + wire('{"size":0}'))
    assert (type(error), error.recoverable) == (DecodeError, False)
    assert str(error).startswith(text)


def test_a_size_above_the_limit_is_too_large() -> None:
    (error,) = check(HeaderBodyFramer(max_size=5), wire(f'{{"size":{"9" * 640}}}'))
    assert (type(error), error.size, error.limit) == (MessageTooLargeError, int("9" * 640), 5)


# What cannot be sent


class Number(IntEnum):
    FIVE = 5


CIRCLE: dict[str, Any] = {}
CIRCLE["self"] = CIRCLE


def deep(depth: int, inside: Any = 0) -> dict[str, Any]:
    """Return a header that nests *depth* deep, itself counted."""
    value = inside
    for _ in range(depth - 1):
        value = [value]
    return {"v": value}


CHANGED = "the header would come back changed: expected keys that are strings, and values"
NOT_JSON = "the header cannot be sent as a JSON object: "


REFUSED_TO_SEND: dict[str, list[dict[Any, Any]]] = {
    CHANGED: [{"k": [()]}, {1: "a"}],
    NOT_JSON + "the key '1' is twice in one object": [{1: "a", "1": "b"}],
    NOT_JSON: [
        *({(1, 2): "a"}, {"k": {1, 2}}, {"k": float("nan")}, {"k": [float("inf")]}),
        *({"k": "\ud800"}, CIRCLE, deep(100_000)),
    ],
    NOT_JSON + NESTS: [deep(65), deep(64, [])],
    NOT_JSON + "an integer has 641 digits, more than 640": [{"k": 10**640}],
    "expected a header of at most 65536 bytes (max_header_size), not 70": [{"k": "x" * 70_000}],
}


@pytest.mark.parametrize("text", REFUSED_TO_SEND)
def test_a_header_that_would_not_come_back_is_refused(text: str) -> None:
    for header in REFUSED_TO_SEND[text]:
        with pytest.raises(EncodeError) as caught:
            FRAMER.encode(HeaderMessage(header, b"body"))
        assert str(caught.value).startswith(text)


def test_a_conflicting_size_is_refused() -> None:
    for size in (0, 2, -1, True, False, None, "1", [1], 1.5):
        with pytest.raises(EncodeError) as caught:
            FRAMER.encode(HeaderMessage({"size": size}, b"x"))
        assert str(caught.value) == (
            f"header['size'] is {size!r}, but the body has 1 bytes:"
            " leave the size out, and it is filled in"
        )


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([None, {"size": 4}, [{}, b""], ({}, b"", b"")], r"HeaderMessage\(header, body\)"),
        ([("{}", b"")], "a dict as header"),
        ([({}, "text")], "bytes, bytearray or memoryview"),
    ],
)
def test_what_is_not_a_header_and_a_body_is_a_type_error(messages: list[Any], text: str) -> None:
    for message in messages:
        with pytest.raises(TypeError, match=f"^expected {text}, not "):
            FRAMER.encode(message)


# What both sides take


@pytest.mark.parametrize(
    "header",
    [
        nested(64),
        nested(64, brackets="{}"),
        nested(64, inside='"' + "[{" * 100 + '"'),
        '{"size":0,"v":[' + ",".join(["[]"] * 1000) + "]}",
        '{"size":0,"k":' + "1" * 640 + "}",
        '{"size":0,"k":"\\ud83d\\ude00"}',
        '{"size":0,"k":"\\\\ud800"}',
        '{"size":0,"k":[1e308,-1e308,1e-400,0.1,-0.0]}',
        ' {\t"size" :\r\n0 } ',
    ],
    ids=lambda each: each[:30],
)
def test_a_header_within_the_rules_is_accepted_and_can_be_sent_on(header: str) -> None:
    message = FRAMER.decode(wire(header))
    assert message == HeaderMessage(json.loads(header), b"")
    assert FRAMER.decode(FRAMER.encode(message)) == message


@pytest.mark.parametrize(
    "header",
    [deep(64), deep(64, Number.FIVE), {"k": 10**639}, {"size": 5.0}, {"": "\0\x7f\u2028"}],
    ids=lambda each: repr(each)[:20],
)
def test_what_comes_back_equal_is_sent_and_not_modified(header: dict[str, Any]) -> None:
    before = copy.deepcopy(header)
    received = FRAMER.decode(FRAMER.encode(HeaderMessage(header, b"hello")))
    assert received == HeaderMessage({**header, "size": 5}, b"hello")
    assert header == before
    pair: Any = (header, bytearray(b"hello"))
    assert FRAMER.decode(FRAMER.encode(pair)) == received
    assert (type(received), type(received.body)) == (HeaderMessage, bytes)


def test_the_head_can_be_written_and_read_alone_for_a_body_of_any_size() -> None:
    framer = HeaderBodyFramer("<H", size_key="filesize", name_key="filename", max_size=5)
    head = framer.encode_head({"filename": "a"}, 10**12)
    assert head == b'\x29\0{"filename":"a","filesize":1000000000000}'
    steps: Generator[Any, bytes, Any] = framer.read_head()
    assert next(steps).size == 2
    assert steps.send(head[:2]).size == 41
    with pytest.raises(StopIteration) as stop:
        steps.send(head[2:])
    assert stop.value.value == ({"filename": "a", "filesize": 10**12}, 10**12)


# Options


def test_the_two_keys_are_strings_and_differ() -> None:
    for option in ("size_key", "name_key"):
        for key in (None, 5, b"size"):
            with pytest.raises(
                TypeError, match=f"{option} is a str, as all keys in JSON are, not "
            ):
                HeaderBodyFramer(**{option: key})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="size_key and name_key are two keys, but both are 'name'"):
        HeaderBodyFramer(size_key="name")
    assert HeaderBodyFramer(size_key="name", name_key="size").name_key == "size"


def test_the_header_limit_holds_to_the_byte_both_ways() -> None:
    framer = HeaderBodyFramer(max_header_size=10)
    message = HeaderMessage({"size": 0}, b"")
    assert framer.decode(framer.encode(message)) == message
    with pytest.raises(EncodeError) as sent:
        framer.encode(HeaderMessage({}, bytes(10)))
    assert str(sent.value) == "expected a header of at most 10 bytes (max_header_size), not 11"
    (received,) = check(framer, b"\0\0\0\x0b")
    assert (type(received), received.size, received.limit) == (MessageTooLargeError, 11, 10)

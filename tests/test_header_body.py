"""What is particular to ``HeaderBodyFramer``: above all, which headers it refuses, both ways."""

from __future__ import annotations

import copy
import json
from enum import IntEnum
from typing import Any

import pytest

from framing import (
    DecodeError,
    EncodeError,
    HeaderBodyFramer,
    HeaderMessage,
    IncompleteMessageError,
    MessageTooLargeError,
)

from .outcomes import feed_all

FRAMER = HeaderBodyFramer()


def wire(header: str | bytes, body: bytes = b"") -> bytes:
    """Return what a peer may send that checks nothing."""
    data = header.encode() if isinstance(header, str) else header
    return len(data).to_bytes(4, "big") + data + body


def refusal(data: bytes, framer: HeaderBodyFramer = FRAMER) -> str:
    """Return the text of the error that *data* is, behind a good message, however it is cut."""
    good = framer.encode(HeaderMessage({}, b""))
    stream = good + data
    errors = []
    for size in (len(stream), 1):
        messages: list[HeaderMessage] = []
        with pytest.raises(DecodeError) as caught:
            feed_all(framer.decoder(), stream, size, messages)
        assert len(messages) == 1
        errors.append(caught.value)
    assert errors[0] == errors[1]
    assert errors[0].offset == len(good)
    return str(errors[0])


# What the peer may not send


def nested(depth: int, *, brackets: str = "[]", inside: str = "") -> str:
    """Return a header that nests *depth* deep, itself counted."""
    opening, closing = ("[", "]") if brackets == "[]" else ('{"k":', "}")
    levels = depth - 1
    value = opening * levels + (inside or ("0" if brackets != "[]" else "")) + closing * levels
    return f'{{"size":0,"v":{value or 0}}}'


REFUSED = [
    (b'{"size":0,"k":"\xff"}', "header in UTF-8: 'utf-8' codec can't decode byte 0xff"),
    (b'{"size":0,"k":"\xed\xa0\x80"}', "header in UTF-8: "),  # a surrogate
    ('{"size":0}'.encode("utf-16"), "header in UTF-8: "),
    ('{"size":0}'.encode("utf-8-sig"), "header in JSON: "),  # a byte order mark
    (b"", "header in JSON: Expecting value: line 1 column 1 (char 0)"),
    (b"GET / HTTP/1.1", "header in JSON: "),
    (b'{"size":0', "header in JSON: "),
    (b'{"size":0}{}', "header in JSON: Extra data"),
    (b"{'size':0}", "header in JSON: "),
    (b'{"size":0,}', "header in JSON: "),
    (b'{"size":00}', "header in JSON: "),
    (b'{"size":0,"k":"\n"}', "header in JSON: "),
    (b"[]", "JSON object as header, not '[]'"),
    (b'"size"', "JSON object as header, not '\"size\"'"),
    (b"5", "JSON object as header, not '5'"),
    (b"null", "JSON object as header, not 'null'"),
    (b'{"size":0,"size":0}', "the key 'size' twice in one object"),
    (b'{"size":0,"s\\u0069ze":0}', "the key 'size' twice in one object"),
    (b'{"size":0,"v":[{"a":{"k":1,"j":2,"k":1}}]}', "the key 'k' twice"),
    (b'{"size":0,"k":NaN}', "finite numbers, not NaN"),
    (b'{"size":0,"k":[Infinity]}', "finite numbers, not Infinity"),
    (b'{"size":0,"k":-Infinity}', "finite numbers, not -Infinity"),
    (b'{"size":0,"k":1e400}', "finite numbers, not 1e400"),
    (b'{"size":0,"k":-1e400}', "finite numbers, not -1e400"),
    (b'{"size":0,"k":' + b"9" * 400 + b".0}", "finite numbers, not 9999999"),
    (b'{"size":0,"k":"\\ud800"}', "Unicode text, not a lone surrogate"),
    (b'{"size":0,"\\udfff":1}', "Unicode text, not a lone surrogate"),
    (b'{"size":0,"k":[["\\udc00\\ud800"]]}', "Unicode text, not a lone"),
    (
        b'{"size":0,"k":' + b"1" * 641 + b"}",
        "at most 640 digits, not 641",
    ),
    (b'{"size":0,"k":' + b"1" * 5000 + b"}", "at most 640 digits, not 5000"),
    (b"{}", "the key 'size'"),
    (b'{"Size":0}', "the key 'size'"),
    (b'{"v":{"size":0}}', "the key 'size'"),
    (b'{"size":true}', "'size', not True"),
    (b'{"size":false}', "'size', not False"),
    (b'{"size":null}', "'size', not None"),
    (b'{"size":"5"}', "'size', not '5'"),
    (b'{"size":5.0}', "'size', not 5.0"),
    (b'{"size":[]}', "'size', not []"),
    (b'{"size":-1}', "'size', not -1"),
    (nested(65).encode(), "nests at most 64 deep"),
    (nested(65, brackets="{}").encode(), "nests at most 64 deep"),
    (nested(10_000).encode(), "nests at most 64 deep"),
    (b"[" * 60_000, "nests at most 64 deep"),
]


@pytest.mark.parametrize(("header", "text"), REFUSED, ids=lambda each: repr(each)[:40])
def test_a_bad_header_is_refused_and_the_error_says_why(header: bytes, text: str) -> None:
    assert text in refusal(wire(header))


def test_a_size_above_the_limit_is_too_large() -> None:
    framer = HeaderBodyFramer(max_size=10)
    for size in (9, 10):
        body = bytes(size)
        assert framer.decode(wire(f'{{"size":{size}}}', body)).body == body
    with pytest.raises(MessageTooLargeError) as caught:
        framer.decoder().feed(wire('{"size":11}')).next_message()
    error = caught.value
    assert (error.size, error.limit, error.offset) == (11, 10, 0)
    huge = "9" * 640
    with pytest.raises(MessageTooLargeError) as caught:
        framer.decoder().feed(wire(f'{{"size":{huge}}}')).next_message()
    assert caught.value.size == int(huge)


# What cannot be sent


class Number(IntEnum):
    FIVE = 5


CIRCLE: dict[str, Any] = {}
CIRCLE["self"] = CIRCLE


def deep(depth: int) -> dict[str, Any]:
    """Return a header that nests *depth* deep, itself counted."""
    value: Any = 0
    for _ in range(depth - 1):
        value = [value]
    return {"v": value}


CHANGED = "come back changed"
NOT_JSON = "JSON"


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ({"k": (1, 2)}, CHANGED),
        ({"k": [()]}, CHANGED),
        ({1: "a"}, CHANGED),
        ({None: "a"}, CHANGED),
        ({"k": {True: 1}}, CHANGED),
        ({1.5: "a"}, CHANGED),
        ({1: "a", "1": "b"}, "the key '1' twice"),
        ({(1, 2): "a"}, NOT_JSON),
        ({b"k": "a"}, NOT_JSON),
        ({"k": {1, 2}}, NOT_JSON),
        ({"k": b"bytes"}, NOT_JSON),
        ({"k": 1j}, NOT_JSON),
        ({"k": object()}, NOT_JSON),
        ({"k": float("nan")}, NOT_JSON),
        ({"k": [float("inf")]}, NOT_JSON),
        ({"k": "\ud800"}, NOT_JSON),
        ({"\udfff": 1}, NOT_JSON),
        (CIRCLE, NOT_JSON),
        (deep(65), "nests at most 64 deep"),
        (deep(100_000), NOT_JSON),
        ({"k": 10**640}, "at most 640 digits, not 641"),
        ({"k": "x" * 70_000}, "65536 bytes (max_header_size), not 70"),
    ],
    ids=lambda each: each[:20] if isinstance(each, str) else "",
)
def test_a_header_that_would_not_come_back_is_refused(header: dict[Any, Any], text: str) -> None:
    with pytest.raises(EncodeError) as caught:
        FRAMER.encode(HeaderMessage(header, b"body"))
    assert text in str(caught.value)


@pytest.mark.parametrize("size", [4, 6, -5, True, False, None, "5", [5], 5.5], ids=repr)
def test_a_conflicting_size_is_refused(size: object) -> None:
    with pytest.raises(EncodeError, match=r"header\['size'\] is .* body has 5 bytes"):
        FRAMER.encode(HeaderMessage({"size": size}, b"hello"))


@pytest.mark.parametrize("size", [True, False])
def test_true_and_false_are_not_sizes_even_where_they_count_right(size: bool) -> None:
    with pytest.raises(EncodeError, match=r"header\['size'\] is (True|False)"):
        FRAMER.encode(HeaderMessage({"size": size}, bytes(size)))


@pytest.mark.parametrize(
    "message",
    [None, b"body", {"size": 4}, [{}, b""], ({},), ({}, b"", b"")],
    ids=repr,
)
def test_something_else_than_a_header_and_a_body_is_a_type_error(message: Any) -> None:
    with pytest.raises(TypeError, match=rf"HeaderMessage.*, not {type(message).__name__}"):
        FRAMER.encode(message)


@pytest.mark.parametrize("header", [None, [], "{}", b"body"], ids=repr)
def test_a_header_is_a_dict(header: Any) -> None:
    with pytest.raises(TypeError, match=f"dict as header, not {type(header).__name__}"):
        FRAMER.encode(HeaderMessage(header, b""))


@pytest.mark.parametrize("body", ["text", None, 5])
def test_a_body_of_something_else_than_bytes_is_a_type_error(body: Any) -> None:
    with pytest.raises(TypeError, match="expected bytes, bytearray or memoryview, not"):
        FRAMER.encode(HeaderMessage({}, body))


def test_a_body_above_the_limit_is_refused() -> None:
    framer = HeaderBodyFramer(max_size=5)
    assert framer.encode(HeaderMessage({}, b"hello")).endswith(b"hello")
    with pytest.raises(EncodeError, match=r"5 bytes \(max_size\), not 6"):
        framer.encode(HeaderMessage({}, b"hello!"))


# What both sides take


@pytest.mark.parametrize(
    "header",
    [
        nested(64),
        nested(64, brackets="{}"),
        nested(64, inside='"' + "[{" * 100 + '"'),
        nested(64, inside=r'"\"[[[\\", "]]}", "\\"'),
        '{"size":0,"k":"' + "[" * 10_000 + '"}',
        '{"size":0,"' + "{" * 10_000 + '":"\\""}',
        '{"size":0,"v":[' + ",".join(["[]"] * 1000) + "]}",
        '{"size":0,"k":' + "1" * 640 + "}",
        '{"size":0,"k":"\\ud83d\\ude00"}',
        '{"size":0,"k":"\\\\ud800"}',
        '{"size":0,"k":[{"k":{"k":1}},{"k":2}]}',
        '{"size":0,"k":[1e308,-1e308,1e-400,0.1,-0.0]}',
        ' {\t"size" :\r\n0 } ',
        '{"size":-0}',
    ],
    ids=lambda each: each[:30],
)
def test_a_header_within_the_rules_is_taken_and_can_be_sent_on(header: str) -> None:
    message = FRAMER.decode(wire(header))
    assert message == HeaderMessage(json.loads(header), b"")
    assert FRAMER.decode(FRAMER.encode(message)) == message


@pytest.mark.parametrize(
    "header", [deep(64), {"k": 10**639}, {"k": Number.FIVE}, {"size": 5.0}, {"": "\0\x7f\u2028"}]
)
def test_what_comes_back_equal_is_sent(header: dict[str, Any]) -> None:
    received = FRAMER.decode(FRAMER.encode(HeaderMessage(header, b"hello")))
    assert received == HeaderMessage({**header, "size": 5}, b"hello")


def test_the_senders_header_is_not_modified() -> None:
    header: dict[str, Any] = {"name": "a.txt", "v": [1, {"k": None}]}
    before = copy.deepcopy(header)
    assert FRAMER.decode(FRAMER.encode(HeaderMessage(header, b"hi"))).header["size"] == 2
    assert header == before


def test_any_pair_is_sent_with_any_bytes_as_body() -> None:
    pair: Any = ({}, bytearray(b"hi"))
    message = FRAMER.decode(FRAMER.encode(pair))
    assert message == HeaderMessage({"size": 2}, b"hi")
    assert type(message) is HeaderMessage
    assert type(message.body) is bytes


def test_the_body_is_not_copied_to_be_sent() -> None:
    body = b"x" * 1000
    assert FRAMER.encode_parts(HeaderMessage({}, body))[1] is body


def test_the_size_key_can_have_any_name() -> None:
    framer = HeaderBodyFramer(size_key="长度")
    header = {"size": "XL"}
    received = framer.decode(framer.encode(HeaderMessage(header, b"hi")))
    assert received == HeaderMessage({"size": "XL", "长度": 2}, b"hi")
    assert "the key '长度'" in refusal(wire('{"size":0}'), framer)


# Options


@pytest.mark.parametrize("key", [None, 5, b"size"], ids=repr)
def test_the_size_key_is_a_str(key: Any) -> None:
    with pytest.raises(TypeError, match=f"size_key is a str.*, not {key!r}"):
        HeaderBodyFramer(size_key=key)


@pytest.mark.parametrize("name", ["max_size", "max_header_size"])
@pytest.mark.parametrize(
    ("limit", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError), (None, TypeError)]
)
def test_a_limit_is_a_number_of_bytes(name: str, limit: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"^{name} is a number of bytes"):
        HeaderBodyFramer(**{name: limit})


@pytest.mark.parametrize(("format", "largest"), [("!B", 255), ("<b", 127), ("!H", 65_535)])
def test_max_header_size_is_lowered_to_what_the_length_can_hold(format: str, largest: int) -> None:
    limits = [
        HeaderBodyFramer(format, max_header_size=largest + more).max_header_size
        for more in (-1, 0, 1)
    ]
    assert limits == [largest - 1, largest, largest]
    assert HeaderBodyFramer(format).max_size == 16 * 1024 * 1024


def test_the_header_limit_holds_to_the_byte_both_ways() -> None:
    framer = HeaderBodyFramer(max_header_size=10)
    message = HeaderMessage({"size": 0}, b"")
    assert framer.decode(framer.encode(message)) == message
    with pytest.raises(EncodeError, match=r"10 bytes \(max_header_size\), not 11"):
        framer.encode(HeaderMessage({}, bytes(10)))
    with pytest.raises(MessageTooLargeError) as received:
        framer.decoder().feed(b"\0\0\0\x0b").next_message()
    assert (received.value.size, received.value.limit) == (11, 10)


def test_an_end_inside_the_body_says_the_whole_size() -> None:
    data = FRAMER.encode(HeaderMessage({}, b"hello"))
    for cut in range(1, len(data)):
        with pytest.raises(IncompleteMessageError) as caught:
            FRAMER.decode(data[:cut])
        assert caught.value.received == cut
        assert caught.value.expected == (len(data) if cut >= len(data) - 5 else None)


@pytest.mark.parametrize(
    "header",
    [
        json.dumps({"size": "x" * 100_000}),
        '{"size": ' + "1" * 35 + "e" + "9" * 30 + "}",
        json.dumps("x" * 50_000),
    ],
    ids=lambda each: each[:12],
)
def test_a_quote_of_what_the_peer_sent_is_short(header: str) -> None:
    framer = HeaderBodyFramer(max_header_size=2**20)
    assert len(refusal(wire(header), framer)) <= 500


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_a_header_is_as_deep_as_it_nests_and_not_as_it_is_long(brackets: str) -> None:
    flat = ",".join([brackets] * 100)
    for depth in (2, 3, 64, 65):
        header = nested(depth, brackets=brackets)[:-1] + f',"flat":[{flat}]}}'
        if depth < 65:
            assert len(FRAMER.decode(wire(header)).header["flat"]) == 100
        else:
            assert "nests at most 64 deep" in refusal(wire(header))

"""What is particular to ``VarintFramer``."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framing import (
    CodecFramer,
    DecodeError,
    EncodeError,
    IncompleteMessageError,
    MessageTooLargeError,
    VarintFramer,
)

from .strategies import Format, payloads
from .streams import check, decode

FORMAT = Format(VarintFramer(max_size=280), payloads)


@given(st.data())
def test_messages_come_back_and_chunks_make_no_difference(data: st.DataObject) -> None:
    check(FORMAT, data)


@pytest.mark.parametrize(
    ("size", "varint"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "80 01"),
        (300, "ac 02"),
        (16_383, "ff 7f"),
        (16_384, "80 80 01"),
        (2_097_152, "80 80 80 01"),
    ],
)
def test_the_length_is_a_varint(size: int, varint: str) -> None:
    wire = VarintFramer().encode(bytes(size))
    assert wire == bytes.fromhex(varint) + bytes(size)
    assert VarintFramer().decode(wire) == bytes(size)


@pytest.mark.parametrize("varint", ["05", "85 00", "85 80 80 80 80 80 80 80 80 00"])
def test_a_length_may_be_longer_than_it_has_to_be(varint: str) -> None:
    assert decode(VarintFramer(), bytes.fromhex(varint) + b"hello") == [b"hello"]


def test_a_length_has_ten_bytes_at_most() -> None:
    error = decode(VarintFramer(), b"\x02hi" + b"\x80" * 10 + b"\0")[1]
    assert error == DecodeError("expected a varint of at most 10 bytes as the length", offset=3)


def test_the_limit_holds_to_the_byte_both_ways() -> None:
    framer = VarintFramer(max_size=5)
    assert decode(framer, framer.encode(b"hello")) == [b"hello"]
    with pytest.raises(EncodeError):
        framer.encode(b"hello!")
    for varint, size in ((b"\x06", 6), (b"\xff" * 9 + b"\x7f", 2**70 - 1)):
        error = decode(framer, varint + b"hello!")[0]
        assert isinstance(error, MessageTooLargeError)
        assert (error.size, error.limit) == (size, 5)


def test_protocol_buffers_understand_it_and_are_understood() -> None:
    proto = pytest.importorskip("google.protobuf.proto")
    wrappers = pytest.importorskip("google.protobuf.wrappers_pb2")
    kind = wrappers.StringValue
    framer = CodecFramer(VarintFramer(), kind.SerializeToString, kind.FromString)
    messages = [kind(value=text) for text in ("", "hello", "漢" * 200)]
    theirs, ours = BytesIO(), b"".join(map(framer.encode, messages))
    for message in messages:
        proto.serialize_length_prefixed(message, theirs)
    assert ours == theirs.getvalue()
    assert list(framer.decoder().feed(ours)) == messages
    stream = BytesIO(ours)
    assert [proto.parse_length_prefixed(kind, stream) for _ in messages] == messages


def test_a_truncated_message_reports_the_whole_size() -> None:
    (error,) = decode(VarintFramer(), b"\x85\x00hel")
    assert (type(error), error.received, error.expected) == (IncompleteMessageError, 5, 7)

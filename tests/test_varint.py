"""What is particular to ``VarintFramer``."""

from __future__ import annotations

from io import BytesIO

import pytest

from framing import CodecFramer, DecodeError, MessageTooLargeError, VarintFramer

from .outcomes import check


@pytest.mark.parametrize(
    ("size", "varint"),
    [
        *((0, "00"), (127, "7f"), (128, "80 01"), (300, "ac 02"), (16_383, "ff 7f")),
        *((16_384, "80 80 01"), (2_097_152, "80 80 80 01")),
    ],
)
def test_the_length_is_a_varint(size: int, varint: str) -> None:
    wire = VarintFramer().encode(bytes(size))
    assert wire == bytes.fromhex(varint) + bytes(size)
    assert VarintFramer().decode(wire) == bytes(size)


@pytest.mark.parametrize("varint", ["05", "85 00", "85 80 80 80 80 80 80 80 80 00"])
def test_a_length_may_be_longer_than_it_has_to_be(varint: str) -> None:
    assert check(VarintFramer(), bytes.fromhex(varint) + b"hello") == [b"hello"]


def test_a_length_has_ten_bytes_at_most() -> None:
    _, error = check(VarintFramer(), b"\x02hi" + b"\x80" * 10 + b"\0")
    assert error == DecodeError("expected a varint of at most 10 bytes as the length", offset=3)
    (error,) = check(VarintFramer(max_size=5), b"\xff" * 9 + b"\x7fhello!")
    assert (type(error), error.size, error.limit) == (MessageTooLargeError, 2**70 - 1, 5)


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

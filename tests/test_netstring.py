"""What is particular to ``NetstringFramer``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framing import (
    DecodeError,
    EncodeError,
    IncompleteMessageError,
    MessageTooLargeError,
    NetstringFramer,
)

from .strategies import Format, payloads
from .streams import check, decode

FORMAT = Format(NetstringFramer(max_size=280), payloads)


@given(st.data())
def test_messages_come_back_and_chunks_make_no_difference(data: st.DataObject) -> None:
    check(FORMAT, data)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (b":,", "expected a length in decimal digits before ':', not b''"),
        (b"05:hello,", "expected a length in decimal digits before ':', not b'05'"),
        (b"00:,", "expected a length in decimal digits before ':', not b'00'"),
        (b"+5:hello,", "expected a length in decimal digits before ':', not b'+5'"),
        (b"-0:,", "expected a length in decimal digits before ':', not b'-0'"),
        (b"1_0:0123456789,", "expected a length in decimal digits before ':', not b'1_0'"),
        (b" 5:hello,", "expected a length in decimal digits before ':', not b' 5'"),
        ("٥:hello,".encode(), "expected a length in decimal digits before ':', not b'\\xd9\\xa5'"),
        (b"5:hello\n", "expected ',' after a payload of 5 bytes, not b'\\n'"),
        (b"4:hello,", "expected ',' after a payload of 4 bytes, not b'o'"),
    ],
)
def test_a_bad_netstring_is_fatal(bad: bytes, text: str) -> None:
    *good, error = decode(FORMAT.framer, b"2:hi," + bad + b"2:hi,")
    assert (good, error) == ([b"hi"], DecodeError(text, offset=5))


def test_the_limit_holds_to_the_byte_both_ways() -> None:
    framer = NetstringFramer(max_size=5)
    assert decode(framer, framer.encode(b"hello")) == [b"hello"]
    with pytest.raises(EncodeError):
        framer.encode(b"hello!")
    for size in (6, 10**19):
        error = decode(framer, b"%d:hello!," % size)[0]
        assert isinstance(error, MessageTooLargeError)
        assert (error.size, error.limit) == (size, 5)
    assert isinstance(decode(framer, b"9" * 21)[0], MessageTooLargeError)


def test_twisted_understands_it_and_is_understood() -> None:
    basic = pytest.importorskip("twisted.protocols.basic")
    testing = pytest.importorskip("twisted.internet.testing")
    messages = [b"", b"hello", b"1:,", bytes(300)]
    received: list[bytes] = []
    receiver, transport = basic.NetstringReceiver(), testing.StringTransport()
    receiver.stringReceived = received.append
    receiver.makeConnection(transport)
    for message in messages:
        receiver.dataReceived(NetstringFramer().encode(message))
        receiver.sendString(message)
    assert received == messages
    assert decode(NetstringFramer(), transport.value()) == messages


def test_a_truncated_message_reports_the_whole_size() -> None:
    (error,) = decode(FORMAT.framer, b"5:hel")
    assert (type(error), error.received, error.expected) == (IncompleteMessageError, 5, 8)

"""What is particular to ``NetstringFramer``."""

from __future__ import annotations

import pytest

from framing import DecodeError, MessageTooLargeError, NetstringFramer

from .outcomes import check


@pytest.mark.parametrize("digits", ["", "05", "00", "+5", "-0", "1_0", " 5", "٥"])
def test_a_length_is_decimal_digits(digits: str) -> None:
    bad = digits.encode()
    *good, error = check(NetstringFramer(), b"2:hi," + bad + b":hello,2:hi,")
    text = f"expected a length in decimal digits before ':', not {bad!r}"
    assert (good, error) == ([b"hi"], DecodeError(text, offset=5))


@pytest.mark.parametrize(("bad", "size", "found"), [("5:hello\n", 5, b"\n"), ("4:hello,", 4, b"o")])
def test_a_comma_ends_it(bad: str, size: int, found: bytes) -> None:
    *good, error = check(NetstringFramer(), b"2:hi," + bad.encode() + b"2:hi,")
    text = f"expected ',' after a payload of {size} bytes, not {found!r}"
    assert (good, error) == ([b"hi"], DecodeError(text, offset=5))


def test_a_length_of_any_number_of_digits_is_too_large() -> None:
    (error,) = check(NetstringFramer(max_size=5), b"%d:hello!," % 10**19)
    assert (type(error), error.size, error.limit) == (MessageTooLargeError, 10**19, 5)
    (error,) = check(NetstringFramer(), b"9" * 21)
    assert type(error) is MessageTooLargeError


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
    assert check(NetstringFramer(), transport.value()) == messages

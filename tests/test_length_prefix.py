"""What is particular to ``LengthPrefixFramer``."""

from __future__ import annotations

import pytest

from framing import EncodeError, LengthPrefixFramer, MessageTooLargeError

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("format", "includes_prefix", "largest"),
    [
        ("!b", False, 127),
        ("!B", False, 255),
        ("<h", False, 2**15 - 1),
        ("!H", False, 2**16 - 1),
        ("!i", False, 2**31 - 1),
        ("!I", False, 2**32 - 1),
        (">l", False, 2**31 - 1),
        ("!L", False, 2**32 - 1),
        ("<q", False, 2**63 - 1),
        ("!Q", False, 2**64 - 1),
        ("!b", True, 127 - 1),
        ("!B", True, 255 - 1),
        ("!H", True, 2**16 - 1 - 2),
        ("!i", True, 2**31 - 1 - 4),
        ("!Q", True, 2**64 - 1 - 8),
    ],
)
def test_max_size_is_lowered_to_what_the_length_can_hold(
    format: str, includes_prefix: bool, largest: int
) -> None:
    def max_size(wish: int) -> int:
        framer = LengthPrefixFramer(format, includes_prefix=includes_prefix, max_size=wish)
        return framer.max_size

    assert [max_size(largest + more) for more in (-1, 0, 1)] == [largest - 1, largest, largest]
    assert max_size(2**100) == largest
    default = LengthPrefixFramer(format, includes_prefix=includes_prefix)
    assert default.max_size == min(16 * MIB, largest)


@pytest.mark.parametrize(
    "framer",
    [
        LengthPrefixFramer("!B"),
        LengthPrefixFramer("!b", includes_prefix=True),
        LengthPrefixFramer("!H"),
        LengthPrefixFramer("<H", includes_prefix=True),
        LengthPrefixFramer(max_size=10),
        LengthPrefixFramer(includes_prefix=True, max_size=10),
        LengthPrefixFramer("<q", max_size=0),
    ],
    ids=repr,
)
def test_what_the_limit_allows_goes_both_ways_and_no_byte_more(framer: LengthPrefixFramer) -> None:
    for size in {max(0, framer.max_size - 1), framer.max_size}:
        message = b"x" * size
        assert framer.decode(framer.encode(message)) == message
    size = framer.max_size + 1
    for encode in (framer.encode, framer.encode_parts):
        with pytest.raises(EncodeError) as caught:
            encode(bytes(size))
        assert str(caught.value) == (
            f"expected a payload of at most {framer.max_size} bytes (max_size), not {size}"
        )


@pytest.mark.parametrize("includes_prefix", [False, True])
@pytest.mark.parametrize("behind", [0, 5])
def test_a_limit_holds_behind_other_messages_and_however_much_has_come(
    includes_prefix: bool, behind: int
) -> None:
    sender = LengthPrefixFramer(includes_prefix=includes_prefix)
    receiver = LengthPrefixFramer(includes_prefix=includes_prefix, max_size=10)
    good = [b"x" * 10] * behind
    start = b"".join(map(sender.encode, good))
    bad = sender.encode(b"x" * 11)
    for cut in (4, 5, len(bad)):
        decoder = receiver.decoder().feed(start + bad[:cut])
        assert [decoder.next_message() for _ in good] == good
        with pytest.raises(MessageTooLargeError) as caught:
            decoder.next_message()
        assert (caught.value.size, caught.value.limit) == (11, 10)
        assert caught.value.offset == len(start)


def test_a_payload_is_not_copied_to_be_sent() -> None:
    message = b"x" * 10_000
    assert LengthPrefixFramer().encode_parts(message)[1] is message
    buffer = bytearray(1000)
    part = LengthPrefixFramer().encode_parts(buffer)[1]
    assert isinstance(part, memoryview)
    assert part.obj is buffer


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("text", "expected bytes, bytearray or memoryview, not str: encode the text first"),
        (5, "expected bytes, bytearray or memoryview, not int"),
        (None, "expected bytes, bytearray or memoryview, not NoneType"),
        ([104, 105], "expected bytes, bytearray or memoryview, not list"),
    ],
)
def test_what_is_no_bytes_is_a_type_error(message: object, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        LengthPrefixFramer().encode(message)  # type: ignore[arg-type]
    assert str(caught.value) == text


def test_any_true_value_includes_the_prefix() -> None:
    truthy: bool = 1  # type: ignore[assignment]
    assert LengthPrefixFramer(includes_prefix=truthy) == LengthPrefixFramer(includes_prefix=True)
    assert LengthPrefixFramer(includes_prefix=truthy).includes_prefix is True


def test_equal_wires_under_other_names_are_other_values() -> None:
    assert LengthPrefixFramer("!I") != LengthPrefixFramer(">I")
    assert LengthPrefixFramer("!B", max_size=255) == LengthPrefixFramer("!B")
    assert repr(LengthPrefixFramer("!B")) == (
        "LengthPrefixFramer(format='!B', includes_prefix=False, max_size=255)"
    )


def test_lengths_of_the_widest_field_do_not_wrap_around() -> None:
    framer = LengthPrefixFramer("!Q")
    with pytest.raises(MessageTooLargeError) as caught:
        framer.decoder().feed(b"\xff" * 8).next_message()
    assert caught.value.size == 2**64 - 1
    assert caught.value.limit == 16 * MIB

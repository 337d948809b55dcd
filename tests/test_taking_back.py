"""What was decoded and not taken can be taken back, without the messages before it."""

from __future__ import annotations

from framing import HeaderBodyFramer, HeaderMessage

FRAMER = HeaderBodyFramer()
# A header so long that the decoder keeps it aside while it waits for the body.
LONG = FRAMER.encode(HeaderMessage({"pad": "x" * 6000}, b"long"))
NEXT = FRAMER.encode(HeaderMessage({"id": 2}, b"next"))


def test_a_message_that_came_in_parts_is_neither_taken_back_nor_read_again() -> None:
    for size in (*range(0, len(LONG), 50), *range(len(LONG) - 20, len(LONG))):
        for switches in (False, True):
            decoder = FRAMER.decoder().feed(LONG[:size])
            assert decoder.next_message() is None
            message = decoder.feed(LONG[size:] + NEXT).next_message()
            assert message is not None
            assert message.body == b"long"
            if switches:
                message = decoder.switch(HeaderBodyFramer(max_size=100)).next_message()
                assert message is not None
                assert message.body == b"next"
            else:
                assert decoder.unread() == NEXT


def test_a_decoder_is_idle_behind_a_body_that_was_received_elsewhere() -> None:
    decoder = FRAMER.decoder()
    decoder.expect_body(5, 0)
    decoder.skip(4)
    assert not decoder.is_idle
    decoder.skip(1)
    assert decoder.is_idle

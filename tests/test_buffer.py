"""``StreamBuffer`` against a model of it, what it searches, and what interruptions do to it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from framing import (
    Decoder,
    DelimiterFramer,
    Framer,
    FramingError,
    HeaderBodyFramer,
    HeaderMessage,
    LengthPrefixFramer,
    LineFramer,
    StructFramer,
)
from framing import buffer as buffer_module
from framing import decoder as decoder_module
from framing.buffer import LARGE_PIECE, StreamBuffer

from .interruptions import Interruption, interrupted_at
from .netstring import NetstringFramer
from .work import Work

# Each operation, in any order

SIZES = [0, 1, 2, 3, 10, 4095, 4096, 5000, LARGE_PIECE - 1, LARGE_PIECE, LARGE_PIECE + 5]
sizes = st.sampled_from(SIZES) | st.integers(0, 20)
pieces = st.one_of(
    st.text("ab\r\n", max_size=6).map(str.encode),
    st.builds(lambda text, size: (text * size)[:size], st.sampled_from([b"ab", b"b\r"]), sizes),
)


class BufferModel(RuleBasedStateMachine):
    """The same as a string of bytes, and how much of it has been read."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = StreamBuffer()
        self.bytes = b""  # from the current message's first on
        self.read = 0
        self.offset = 0
        self.limit: int | None = None  # of a read_until() that found nothing

    @property
    def ahead(self) -> bytes:
        return self.bytes[self.read :]

    def has_read(self, size: int, *, finish: bool = False) -> None:
        self.read += size
        self.limit = None
        if finish and self.read:  # as a decoder does with a message that was read
            self.buffer.start, self.buffer.taken = self.buffer.cursor, None
            self.offset += self.read
            self.bytes = self.ahead
            self.read = 0

    @rule(data=pieces, view=st.booleans())
    def feed(self, data: bytes, view: bool) -> None:
        self.buffer.feed(memoryview(data) if view else data)
        self.bytes += data

    @rule(data=pieces)
    def feed_from(self, data: bytes) -> None:
        assert self.buffer.feed_from(lambda size, _: data[:size], len(data) + 1, 0) == len(data)
        self.bytes += data

    @rule(size=sizes, finish=st.booleans())
    def read_exactly(self, size: int, finish: bool) -> None:
        if size > len(self.ahead):
            assert self.buffer.read_exactly(size) is None
        else:
            assert self.buffer.read_exactly(size) == self.ahead[:size]
            self.has_read(size, finish=finish)

    @rule(limit=sizes, finish=st.booleans())
    def read_until(self, limit: int, finish: bool) -> None:
        """Ask as a decoder does: what was not there is asked for again, with the same limit."""
        self.limit = limit if self.limit is None else self.limit
        place = self.ahead.find(b"\r\n")
        data = self.buffer.read_until(b"\r\n", self.limit)
        if not 0 <= place <= self.limit:
            assert data is None
            return
        assert data == self.ahead[:place]
        self.has_read(place + 2, finish=finish)

    @rule(finish=st.booleans())
    def read_rest(self, finish: bool) -> None:
        assert self.buffer.read_rest() == self.ahead
        self.has_read(len(self.ahead), finish=finish)

    @rule(size=sizes)
    def last(self, size: int) -> None:
        assert self.buffer.last(size) == self.ahead[max(0, len(self.ahead) - size) :]

    @rule(size=sizes)
    def gather(self, size: int) -> None:
        self.buffer.gather(size)

    @rule()
    def drop_finished(self) -> None:
        self.buffer.drop_finished()

    @rule()
    def rewind(self) -> None:
        self.buffer.rewind()
        self.has_read(-self.read)
        block, start = self.buffer.block, self.buffer.start
        assert self.bytes.startswith(block[start:])
        assert not self.bytes or start < len(block)

    @rule(before=st.sampled_from([b"", b"abc"]))
    def clear(self, before: bytes) -> None:
        assert self.buffer.clear(before) == before + self.bytes
        self.bytes = b""  # as if it had not been fed
        self.offset -= len(before)
        self.has_read(-self.read)

    @invariant()
    def its_sizes_are_the_models(self) -> None:
        assert self.buffer.size == len(self.bytes)
        assert self.buffer.read == self.read
        assert self.buffer.available == len(self.ahead)
        assert self.buffer.offset == self.offset


TestBufferModel = BufferModel.TestCase


# Searching


@pytest.mark.parametrize("chunk", [1, 2, 3, 100, 5000])
@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n", b"abcde"])
@pytest.mark.parametrize("read_before", [0, 1, 5000])
def test_nothing_is_searched_twice(
    chunk: int, delimiter: bytes, read_before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = StreamBuffer()
    buffer.feed(b"x" * read_before)
    assert buffer.read_exactly(read_before) == b"x" * read_before
    chunks = [b"y" * chunk] * (20_000 // chunk)
    work = Work(monkeypatch)
    for each in chunks:
        buffer.feed(each)
        assert buffer.read_until(delimiter, 10**6) is None
    buffer.feed(delimiter)
    assert buffer.read_until(delimiter, 10**6) == b"".join(chunks)
    assert len(chunks) < len(work.searched) <= len(chunks) + 2
    overlaps = len(work.searched) * (len(delimiter) - 1)
    assert sum(work.searched) <= chunk * len(chunks) + len(delimiter) + overlaps


@pytest.mark.parametrize("is_cleared", [False, True])
def test_an_empty_buffer_was_searched_nowhere(is_cleared: bool) -> None:
    buffer = StreamBuffer()
    if is_cleared:
        buffer.feed(b"x")
        assert buffer.clear(b"") == b"x"
    assert buffer.read_until(b"\n", 10) is None
    buffer.held.write(b"\nabc")
    assert buffer.read_until(b"\n", 10) == b""


@pytest.mark.parametrize("chunks", [[b"abc\n"], [b"ab", b"c\n"], [b"abc", b"\n"]])
def test_nothing_is_found_beyond_a_limit(chunks: list[bytes]) -> None:
    for limit, found in ((2, None), (3, b"abc")):
        buffer = StreamBuffer()
        for chunk in chunks:
            buffer.feed(chunk)
        assert buffer.read_until(b"\n", limit) == found


def test_letting_go_of_what_is_finished_moves_the_place_of_the_search() -> None:
    buffer = StreamBuffer()
    buffer.feed(b"abc\ndef\n")
    assert buffer.read_exactly(2) == b"ab"
    buffer.start = buffer.cursor  # which finishes it
    assert buffer.read_exactly(1) == b"c"
    buffer.drop_finished()
    assert buffer.read_until(b"\n", 10) == b""


# Interruptions


Reader = Callable[[Decoder[Any], list[Any]], None]


def by_iteration(decoder: Decoder[Any], messages: list[Any]) -> None:
    for message in decoder:
        messages.append(message)  # noqa: PERF402  # those before an interruption count


def by_next_message(decoder: Decoder[Any], messages: list[Any]) -> None:
    while (message := decoder.next_message()) is not None:
        messages.append(message)


def by_bytes_needed(decoder: Decoder[Any], messages: list[Any]) -> None:
    while decoder.bytes_needed == 0:
        messages.extend([decoder.next_message()])


def payload(size: int) -> bytes:
    return (b"%d " % size * size)[:size]


INTERRUPTED: list[tuple[Framer[Any], Callable[[int], Any]]] = [
    (LengthPrefixFramer(), payload),
    (LengthPrefixFramer("<H", includes_prefix=True), payload),
    (DelimiterFramer(), payload),
    (DelimiterFramer(b"\r\n"), payload),
    (LineFramer(), lambda size: payload(size).decode()),
    (LineFramer("gbk"), lambda size: payload(size).decode()),
    (HeaderBodyFramer(), lambda size: HeaderMessage({"size": size}, payload(size))),
    (StructFramer("!HB"), lambda size: (size % 7, size % 5)),
    (NetstringFramer(), payload),
]


def cut(wire: bytes) -> list[bytes]:
    """Return *wire* in chunks of many sizes."""
    sizes = [150, 1, 70]
    places = [0]
    while places[-1] < len(wire):
        places.append(min(len(wire), places[-1] + sizes[len(places) % len(sizes)]))
    return [wire[start:end] for start, end in pairwise(places)]


def read_through(
    framer: Framer[Any], chunks: list[bytes], read: Reader, line: int, *, feed_again: bool
) -> tuple[list[str], object]:
    """Return where an interruption came, if any, and the messages in *chunks* and the rest.

    What was interrupted is done again; :meth:`feed` only where *feed_again* says so.
    """
    decoder = framer.decoder()
    messages: list[Any] = []
    with interrupted_at(line) as places:
        try:
            for chunk in chunks:
                try:
                    decoder.feed(chunk)
                except Interruption:
                    if feed_again:
                        decoder.feed(chunk)
                try:
                    read(decoder, messages)
                except Interruption:
                    read(decoder, messages)
        except FramingError as error:  # of bytes that came twice, or not at all
            return places, error
    return places, (messages, decoder.unread())


@pytest.mark.parametrize("read", [by_iteration, by_next_message, by_bytes_needed])
@pytest.mark.parametrize(("framer", "message"), INTERRUPTED)
def test_an_interruption_at_any_line_loses_and_doubles_nothing(
    framer: Framer[Any],
    message: Callable[[int], Any],
    read: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(buffer_module, "_LONG_MESSAGE", 60)  # large messages need not be large
    monkeypatch.setattr(buffer_module, "LARGE_PIECE", 200)
    monkeypatch.setattr(decoder_module, "LARGE_PIECE", 200)
    sent = [message(size) for size in (3, 0, 90, 300)]
    rest = framer.encode(message(3))[:-1]
    chunks = cut(b"".join(map(framer.encode, sent)) + rest)
    wrong = []
    for line in count(1):
        # An interrupted feed() has kept all of the chunk or nothing of it.
        for feed_again in (False, True):
            places, got = read_through(framer, chunks, read, line, feed_again=feed_again)
            if got == (sent, rest):
                break
        else:
            wrong += places or ["not interrupted"]
        if not places:
            break
    assert wrong == []
    assert line > 30

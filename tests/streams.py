"""Everything that comes out of a stream, recoverable errors included, however it is cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import strategies as st

from framing import DecodeError, Decoder, Framer, FramingError

from .strategies import Format, chunks, streams


def results(decoder: Decoder[Any], pieces: Iterable[bytes]) -> list[Any]:
    """Return the messages and errors of a stream up to its end, or to an error that is final."""
    return [result for _, result in timed_results(decoder, pieces)]


def timed_results(decoder: Decoder[Any], pieces: Iterable[bytes]) -> Iterator[tuple[int, Any]]:
    """Yield each result, and behind how many pieces it came."""
    count = 0
    for count, piece in enumerate(pieces, 1):
        decoder.feed(piece)
        for result in _read(decoder):
            yield count, result
            if is_final(result):
                return
    decoder.feed_eof()
    for result in _read(decoder):
        yield count + 1, result


def _read(decoder: Decoder[Any]) -> Iterator[Any]:
    while True:
        try:
            yield from decoder
        except FramingError as error:
            yield error
            if is_final(error):
                return
        else:
            return


def is_final(result: object) -> bool:
    is_recoverable = isinstance(result, DecodeError) and result.recoverable
    return isinstance(result, FramingError) and not is_recoverable


def decode(framer: Framer[Any], stream: bytes) -> list[Any]:
    """Return the results of *stream*, after a check that they depend on no cut or fast path."""
    found = results(framer.decoder(), [stream])
    assert_same(results(framer.decoder(), [stream[:7], stream[7:]]), found)
    assert_same(results(without_fast_path(framer), [stream]), found)
    single = [stream[i : i + 1] for i in range(len(stream))]
    timed = list(timed_results(framer.decoder(), single))
    assert_same([result for _, result in timed], found)
    assert_same(timed, list(timed_results(without_fast_path(framer), single)))
    return found


def without_fast_path(framer: Framer[Any]) -> Decoder[Any]:
    decoder = framer.decoder()
    decoder._split = None
    return decoder


def assert_same(one: list[Any], other: list[Any]) -> None:
    assert list(map(repr, one)) == list(map(repr, other))  # 1 and True are not the same
    assert one == other


def check(format: Format[Any], data: st.DataObject) -> None:
    """Receive what was sent, and any noise alike, in any chunks."""
    sent = data.draw(st.lists(format.messages, max_size=5))
    stream = b"".join(map(format.framer.encode, sent))
    received = results(format.framer.decoder(), data.draw(chunks(stream)))
    assert_same(received, list(map(format.received, sent)))
    stream = data.draw(streams(format))
    received = results(format.framer.decoder(), data.draw(chunks(stream)))
    assert_same(received, decode(format.framer, stream))

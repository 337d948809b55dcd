"""Any calls in any order, on a pair of ``MessageSocket``s over TCP or TLS.

The first byte of an input says which of the two, and each of the others decides one thing: which
call comes next, by which side, of what size.  If half of the first byte is odd, few bytes are many,
as in ``decoders``.  What must hold is in ``test_stateful``: everything arrives once and in order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext

from ..outcomes import few_bytes_are_many
from ..pairs import Pair, tcp_pair, tls_pair
from ..test_stateful import walk

PAIRS: list[Callable[[], Pair]] = [tcp_pair, tls_pair]
TIMEOUTS = [0, 0.001]


class Decisions(random.Random):
    """Draws one byte of *data* each time, and zeros after the last."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.left = list(reversed(data))

    def getrandbits(self, k: int, /) -> int:
        return (self.left.pop() if self.left else 0) & ((1 << k) - 1)

    def random(self) -> float:
        return self.getrandbits(8) / 256

    def until_used_up(self) -> Iterator[None]:
        while self.left:
            yield


def check(data: bytes) -> None:
    """Raise an error if the library does not do with an input what it promises."""
    few_are_many, kind = divmod((data or b"\0")[0], len(PAIRS))
    decisions = Decisions(data[1:])
    with few_bytes_are_many() if few_are_many % 2 else nullcontext():
        walk(PAIRS[kind](), decisions, decisions.until_used_up(), TIMEOUTS)

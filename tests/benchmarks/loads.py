"""The messages that contestants carry: the same in every process, and each another."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache


@dataclass(frozen=True)
class Load:
    """*count* messages of *size* bytes, or of 0 to twice that if they are *mixed*.

    They hold no line break, and a load of fewer messages is the beginning of one of more.
    """

    count: int
    size: int
    mixed: bool = False

    def __str__(self) -> str:
        return f"{self.size} B, {'mixed' if self.mixed else 'equal'}"

    @property
    def messages(self) -> list[bytes]:
        return _messages(self)

    @property
    def wire(self) -> bytes:
        """All messages, each with its length before it."""
        return _wire(self)

    def beginnings(self) -> Iterator[Load]:
        """Yield loads that together show whether a contestant reads every message right.

        A contestant returns the last message: of loads of 1, 2 and 3 messages, that is each.
        """
        for count in range(1, min(self.count, 3) + 1):
            yield replace(self, count=count)


@lru_cache(maxsize=8)
def _messages(load: Load) -> list[bytes]:
    sizes = random.Random(load.size)
    return [
        (b"%d:" % i * (load.size + 1))[: sizes.randrange(2 * load.size + 1)]
        if load.mixed
        else (b"%d:" % i * load.size)[: load.size]
        for i in range(load.count)
    ]


@lru_cache(maxsize=8)
def _wire(load: Load) -> bytes:
    return b"".join(struct.pack("!I", len(each)) + each for each in load.messages)


def loads(count: int, *sizes: int) -> Iterator[Load]:
    """Yield loads of equal and of mixed sizes; of fewer messages where they are larger."""
    for size in sizes:
        for mixed in (False, True):
            yield Load(count if size < 1024 else max(count // 4, min(count, 10)), size, mixed)

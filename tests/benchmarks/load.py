"""The messages that contestants carry: the same in every process, and each another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct

PREFIX = Struct("!I")

WIRES: dict[str, Callable[[bytes], bytes]] = {
    "lengths": lambda message: PREFIX.pack(len(message)) + message,
    "lines": lambda message: message + b"\n",
    "netstrings": lambda message: b"%d:%s," % (len(message), message),
}


@dataclass(frozen=True)
class Load:
    """*count* messages of *size* bytes without a line break, and their *format* on the wire."""

    count: int
    size: int
    format: str = "lengths"

    @property
    def messages(self) -> list[bytes]:
        return _messages(self.count, self.size)

    @property
    def wire(self) -> bytes:
        return _wire(self)


@lru_cache(maxsize=4)
def _messages(count: int, size: int) -> list[bytes]:
    return [(b"%d:" % i * (size // 2 + 1))[:size] for i in range(count)]


@lru_cache(maxsize=4)
def _wire(load: Load) -> bytes:
    return b"".join(map(WIRES[load.format], load.messages))

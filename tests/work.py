"""Counts what buffers do with the bytes: how many they move, and how many they search."""

from __future__ import annotations

from typing import Any

import pytest

from framing.buffer import StreamBuffer


class Work:
    """The work of all buffers, from now to the end of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.moved = 0
        self.searched: list[int] = []
        for name in ("feed", "_join", "gather", "drop_finished"):
            self._count_moves(monkeypatch, name)
        self._count_searches(monkeypatch)

    def _count_moves(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        method = getattr(StreamBuffer, name)

        def counted(buffer: StreamBuffer, *arguments: Any) -> Any:
            before = buffer.block, buffer.held
            result = method(buffer, *arguments)
            if buffer.block is not before[0]:
                self.moved += len(buffer.block)
            if buffer.held is not before[1]:
                self.moved += buffer.held.tell()
            return result

        monkeypatch.setattr(StreamBuffer, name, counted)

    def _count_searches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        find = StreamBuffer._find

        def counted(buffer: StreamBuffer, delimiter: bytes, limit: int) -> int:
            start = buffer._searched
            end = len(buffer.block) or buffer.held.tell()
            end = min(end, buffer.cursor + limit + len(delimiter))
            place = find(buffer, delimiter, limit)
            self.searched.append((end if place < 0 else place + len(delimiter)) - start)
            return place

        monkeypatch.setattr(StreamBuffer, "_find", counted)

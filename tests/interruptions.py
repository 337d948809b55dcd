"""Exceptions from outside, at any line of the code that must stand them."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from framing import (
    buffer,
    decoder,
    framer,
    length_prefix,
    pieces,
    sockets,
    stream,
    stream_decoder,
)

MODULES = buffer, decoder, framer, length_prefix, pieces, stream_decoder, sockets, stream


class Interruption(BaseException):
    """Like ``KeyboardInterrupt``: from outside, at any moment."""


@contextmanager
def interrupted_at(line: int, modules: Iterable[ModuleType] = MODULES) -> Iterator[list[str]]:
    """Raise an Interruption before the *line*-th line of those modules that runs within.

    Gives a list, empty until that has happened, that tells where it was.
    """
    places: list[str] = []
    files = {module.__file__ for module in modules}
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        file = frame.f_code.co_filename
        if file not in files:
            return None
        if event == "line" and not is_without_calls(file, frame.f_lineno):
            lines += 1
            if lines == line:
                places.append(f"{Path(file).name}:{frame.f_lineno} ({frame.f_code.co_name})")
                raise Interruption
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield places
    finally:
        sys.settrace(before)


def is_without_calls(file: str, line: int) -> bool:
    """Return whether this line calls nothing, so that no real signal comes there.

    Of all such lines, those are left out where nothing could help: where a message is between
    the library and its caller, and where an exception is about to be handled.
    """
    text = linecache.getline(file, line).strip()
    return text in {
        "return message",
        "if message is not None:",
        "try:",
        # Behind the step that took a message or a lock, and without a call before the next one
        "if self._single is not None:",
        "if held and held[0]:",
        "lock.release()",
    }

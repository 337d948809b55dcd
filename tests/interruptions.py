"""Exceptions from outside, at any line of the code that must stand them."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from framing import buffer, decoder, framer, length_prefix, sockets, stream, stream_decoder

MODULES = buffer, decoder, framer, length_prefix, stream_decoder, sockets, stream
FILES = {module.__file__ for module in MODULES}


class Interruption(BaseException):
    """Like ``KeyboardInterrupt``: from outside, at any moment."""


@contextmanager
def interrupted_at(line: int) -> Iterator[list[str]]:
    """Raise an Interruption before the *line*-th line of those files that runs within.

    Gives a list, empty until that has happened, that tells where it was.
    """
    places: list[str] = []
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        file = frame.f_code.co_filename
        if file not in FILES:
            return None
        if event == "line" and not is_handing_over(file, frame.f_lineno):
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


def is_handing_over(file: str, line: int) -> bool:
    """Return whether, at this line, a message is between the library and its caller.

    Nothing can help there, and no real signal comes there: a return calls nothing.
    """
    return linecache.getline(file, line).strip() in {"return message", "if message is not None:"}

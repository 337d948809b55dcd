"""What the command line prints, and how it says what went wrong."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__: list[str] = []


class CommandError(Exception):
    """What went wrong, in one line for the user."""


_printing = Lock()


def show(text: str) -> None:
    """Print a line on standard output, whole, from any thread."""
    if sys.stdout is None:  # as it is where it was closed
        return
    try:
        with _printing:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
    except OSError as error:
        # Whoever read it has left, as `| head` does, or the disk is full.  Other threads may be
        # waiting for clients, so leave from here.
        if not isinstance(error, BrokenPipeError):
            note(f"framing: cannot write to standard output: {reason(error)}")
        os._exit(1)


def note(text: str) -> None:
    """Print a line on standard error, where it does not mix with messages."""
    if sys.stderr is None:
        return
    with suppress(OSError), _printing:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def reason(error: Exception) -> str:
    """Return what went wrong, without what Python adds to the system's own words."""
    text = getattr(error, "strerror", None) or str(error)
    text = text.partition(" (while attempting")[0]
    file = getattr(error, "filename", None)
    return f"{file}: {text}" if file else text


def show_address(address: tuple[Any, ...]) -> str:
    """Return a socket's address as it is given on the command line."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# The progress of a file


@contextmanager
def progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of one file on standard error, as a bar if that is a terminal.

    Gives what :mod:`framing.files` calls with the bytes done and the size of the file.  The bar
    is tqdm's, where it is installed; elsewhere a line tells of the whole file in the end.
    """
    shown = _bar(name) or _Line(name)
    try:
        yield shown.report
        shown.finish()
    finally:
        shown.close()


class _Line:
    """A line about a file, when it is whole."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._size = 0
        self._start = monotonic()

    def report(self, done: int, _total: int) -> None:
        if not done:
            self._start = monotonic()
        self._size = done

    def finish(self) -> None:
        seconds = max(monotonic() - self._start, 0.001)
        rate = show_size(self._size / seconds)
        note(f"{self._name}: {show_size(self._size)} in {seconds:.1f} s, {rate}/s")

    def close(self) -> None:
        pass


def _bar(name: str) -> Any:
    """Return a bar of tqdm's that does the same, where there are a terminal and tqdm."""
    try:
        if not sys.stderr.isatty():
            return None
        from tqdm import tqdm  # noqa: PLC0415  # an extra, and slow to import
    except (AttributeError, ImportError):
        return None

    class Bar:
        bar: Any = None  # until the file begins

        def report(self, done: int, total: int) -> None:
            if self.bar is None:
                # A peer may announce what is too much for a float.
                total = min(total, sys.maxsize)
                self.bar = tqdm(
                    total=total, desc=name, unit="B", unit_scale=True, unit_divisor=1024
                )
            self.bar.update(done - self.bar.n)

        def finish(self) -> None:
            pass

        def close(self) -> None:
            if self.bar is not None:
                self.bar.close()

    return Bar()


def show_size(size: float) -> str:
    """Return a number of bytes in words.

    >>> show_size(999), show_size(3 * 1024 * 1024)
    ('999 bytes', '3.0 MiB')
    """
    if size < 1024:
        return f"{size:.0f} bytes"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"

"""What the command line prints: lines, errors and the progress of a file.

Messages go to standard output and everything else to standard error.  Nothing that a peer sent
is printed raw: control characters are escaped.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from threading import Lock
from time import monotonic
from typing import Any

from ..sockets.reports import name_of

PACKAGE = __name__.removesuffix(".cli.terminal")
# What the user typed to start it; a vendored copy has no command of its own.
PROGRAM = "framing" if PACKAGE == "framing" else f"python -m {PACKAGE}"


class CommandError(Exception):
    """What went wrong, in one line for the user."""


_printing = Lock()


def show(text: str) -> None:
    """Print a whole line on standard output, from any thread."""
    try:
        _print(sys.stdout, f"{text}\n")
    except OSError as error:
        # The reader has left, as `| head` does, or the disk is full.  Other threads may be
        # waiting for clients, so exit from here.
        if not isinstance(error, BrokenPipeError):
            note(f"{PACKAGE}: cannot write to standard output: {reason(error)}")
        os._exit(1)


def note(text: str, end: str = "\n") -> None:
    """Print a line on standard error, where it does not mix with messages."""
    with suppress(OSError):
        _print(sys.stderr, text + end)


def _print(stream: Any, text: str) -> None:
    if stream is not None:  # or else it was closed before the program started
        with _printing:
            stream.write(text)
            stream.flush()


def is_terminal(stream: Any) -> bool:
    """Return whether a person sees what is written to *stream*."""
    return stream is not None and bool(stream.isatty())


def reason(error: BaseException) -> str:
    """Return what went wrong, without what Python adds to the system's own words."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = text.partition(" (while attempting")[0]
    file = getattr(error, "filename", None)
    return printable(f"{file}: {text}" if file else text)


def printable(text: str) -> str:
    r"""Return *text* with escapes in place of what could steer a terminal.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def show_address(address: Any) -> str:
    """Return a socket's address as it is written on the command line."""
    return printable(address) if isinstance(address, str) else name_of(address)


class Progress:
    """The progress of files, shown on standard error if that is a terminal.

    Each file has a bar where tqdm is installed, and a counting line elsewhere.

    Attributes:
        name: Of the file that began last; empty before.
    """

    def __init__(self) -> None:
        self.name: str = ""
        self._bar: Any = None

    def begin(self, name: str) -> None:
        """End the line of the file before, and begin a file called *name*."""
        self.close()
        self.name = name

    def report(self, done: int, total: int) -> None:
        """Show that *done* bytes of *total* have been sent or received."""
        if self._bar is None and is_terminal(sys.stderr):
            try:
                bar = import_module("tqdm").tqdm  # an extra, and slow to import
            except ImportError:
                bar = _CountingLine
            size = min(total, sys.maxsize)  # a peer may announce one too large for a float
            units = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
            self._bar = bar(total=size, desc=printable(self.name), **units)
        if self._bar is not None:
            self._bar.update(done - int(self._bar.n))

    def close(self) -> None:
        """End the line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _CountingLine:
    """What tqdm's bar does, in a line that counts the bytes."""

    def __init__(self, total: int, desc: str, **_: object) -> None:
        self.n = 0
        self._name, self._total = desc, _size(total)
        self._shown = monotonic()

    def update(self, n: int) -> None:
        self.n += n
        if monotonic() - self._shown >= 0.1:
            self._show()

    def close(self) -> None:
        self._show("\n")

    def _show(self, end: str = "") -> None:
        self._shown = monotonic()
        note(f"\r{self._name}: {_size(self.n)} of {self._total}   ", end)


def _size(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"

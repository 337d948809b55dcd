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
from typing import Any, Protocol

PACKAGE = __name__.removesuffix(".cli.terminal")
# What the user typed to start it; a vendored copy has no command of its own.
PROGRAM = "framing" if PACKAGE == "framing" else f"python -m {PACKAGE}"


class CommandError(Exception):
    """What went wrong, in one line for the user."""


_printing = Lock()


def show(text: str) -> None:
    """Print a whole line on standard output, from any thread."""
    if sys.stdout is None:  # it was closed before the program started
        return
    try:
        with _printing:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
    except OSError as error:
        # The reader has left, as `| head` does, or the disk is full.  Other threads may be
        # waiting for clients, so exit from here.
        if not isinstance(error, BrokenPipeError):
            note(f"{PACKAGE}: cannot write to standard output: {reason(error)}")
        os._exit(1)


def note(text: str, end: str = "\n") -> None:
    """Print a line on standard error, where it does not mix with messages."""
    if sys.stderr is None:
        return
    with suppress(OSError), _printing:
        sys.stderr.write(text + end)
        sys.stderr.flush()


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
    if isinstance(address, str):
        return printable(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# The progress of a file


class Progress:
    """The progress of files, shown on standard error if that is a terminal.

    Each file has a bar where tqdm is installed, and a counting line elsewhere.

    Attributes:
        name: Of the file that began last; empty before.
    """

    def __init__(self) -> None:
        self.name: str = ""
        self._bar: _Bar | None = None

    def begin(self, name: str) -> None:
        """End the line of the file before, and begin a file called *name*."""
        self.close()
        self.name = name

    def report(self, done: int, total: int) -> None:
        """Show that *done* bytes of *total* have been sent or received."""
        if self._bar is None and is_terminal(sys.stderr):
            # A peer may announce a size that is too large for a float.
            self._bar = _new_bar(printable(self.name), min(total, sys.maxsize))
        if self._bar is not None:
            self._bar.update(done - int(self._bar.n))

    def close(self) -> None:
        """End the line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Bar(Protocol):
    n: float

    def update(self, n: int) -> object: ...
    def close(self) -> object: ...


def _new_bar(name: str, total: int) -> _Bar:
    try:
        tqdm = import_module("tqdm").tqdm  # an extra, and slow to import
    except ImportError:
        return _CountingLine(name, total)
    bar: _Bar = tqdm(total=total, desc=name, unit="B", unit_scale=True, unit_divisor=1024)
    return bar


class _CountingLine:
    """A line that counts the bytes, for terminals without tqdm."""

    def __init__(self, name: str, total: int) -> None:
        self.n: float = 0
        self._name = name
        self._total = total
        self._start = self._shown = monotonic()

    def update(self, n: int) -> None:
        self.n += n
        if monotonic() - self._shown >= 0.1:
            self._show("\r")

    def close(self) -> None:
        self._show("\n")

    def _show(self, end: str) -> None:
        self._shown = monotonic()
        rate = show_size(self.n / max(self._shown - self._start, 0.001))
        count = f"{show_size(self.n)} of {show_size(self._total)}"
        note(f"\r{self._name}: {count}, {rate}/s   ", end)


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

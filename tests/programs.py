"""Programs as a person runs them in a terminal: real processes, driven by lines."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import Queue
from typing import IO

import framing

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
TIMEOUT = 60  # seconds, for whatever is waited for; far more than it takes
# Without what would flush for the programs: they have to do it themselves.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
_ENVIRONMENT |= {
    "PYTHONPATH": str(Path(framing.__file__).parents[1]),  # the package that is being tested
    "PYTHONUTF8": "1",
    "COLUMNS": "80",
}
INTERRUPTED = {0, 130, -signal.SIGINT}  # the last is what shells show as 130


class Program:
    """A running program.  Warnings of it, such as of a socket left open, count as errors."""

    def __init__(self, command: list[str], folder: Path | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=_ENVIRONMENT,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._stdin = self.process.stdin
        self._stdout, reader = _lines_of(self.process.stdout)
        self._stderr, error_reader = _lines_of(self.process.stderr)
        self._readers = [reader, error_reader]

    @property
    def address(self) -> tuple[str, int]:
        """Where a server listens, as its first line says."""
        line = self.line()
        found = re.search(r"([\d.]+)[: ](?:port )?(\d+)", line)
        assert found, line
        return found[1], int(found[2])

    def line(self) -> str:
        """Wait for the next line that it prints."""
        line = self._stdout.get(timeout=TIMEOUT)
        assert line is not None, f"it has ended: {self.end()}"
        return line

    def type(self, *lines: str) -> None:
        """Type lines, whether or not the program is still there."""
        with suppress(BrokenPipeError):
            os.write(self._stdin.fileno(), "".join(f"{line}\n" for line in lines).encode())

    def end(self) -> tuple[int, list[str], str]:
        """Close its standard input, and return status, the other lines, and what went wrong."""
        with suppress(OSError):
            self._stdin.close()
        status = self.process.wait(TIMEOUT)
        for reader in self._readers:
            reader.join(TIMEOUT)
        return status, _rest(self._stdout), "\n".join(_rest(self._stderr))

    def interrupt(self) -> tuple[int, list[str], str]:
        """Press Ctrl-C, and return what end() does."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(TIMEOUT)
        return self.end()

    def kill(self) -> None:
        self.process.kill()
        self.end()


def example(name: str, *arguments: object, folder: Path | None = None) -> Program:
    path = str(EXAMPLES / f"{name}.py")
    return Program(["-W", "error", path, *map(str, arguments)], folder)


def _lines_of(stream: IO[bytes]) -> tuple[Queue[str | None], threading.Thread]:
    """Read lines in a thread, so that waiting for one can time out; at the end, ``None``."""
    lines: Queue[str | None] = Queue()

    def read() -> None:
        with stream:
            for line in stream:
                lines.put(line.decode().rstrip("\r\n"))
        lines.put(None)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return lines, thread


def _rest(lines: Queue[str | None]) -> list[str]:
    """Return what nobody has taken yet, once the reader has ended."""
    rest = [lines.get_nowait() for _ in range(lines.qsize())]
    return [line for line in rest if line is not None]

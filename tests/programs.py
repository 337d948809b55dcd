"""Programs as a person runs them in a terminal: real processes, driven by lines."""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Queue
from typing import Any
from unittest import mock

import framing

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
COMMAND = [sys.executable, "-m", framing.__name__]
TIMEOUT = 60  # seconds, for whatever is waited for; far more than it takes
# Without what would flush for the programs: they have to do it themselves.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
ENVIRONMENT |= {
    # The package that is being tested
    "PYTHONPATH": str(Path(framing.__file__).parents[framing.__name__.count(".") + 1]),
    "PYTHONUTF8": "1",
    "COLUMNS": "80",
}
# At its end, a program with threads can crash while it is measured; that of the examples proves
# nothing about the package.
UNMEASURED = {key: value for key, value in ENVIRONMENT.items() if not key.startswith("COVERAGE_")}
INTERRUPTED = {0, 130, -signal.SIGINT}  # the last is what shells show as 130


class Program:
    """A running program. Its warnings, such as about a socket left open, count as errors."""

    def __init__(
        self,
        command: list[str],
        folder: Path | None = None,
        environment: dict[str, str] = ENVIRONMENT,
    ) -> None:
        pipes: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen(command, cwd=folder, env=environment, **pipes)
        self._stdin: Any = self.process.stdin
        self._stdout, reader = lines_of(self.process.stdout)
        self._stderr, error_reader = lines_of(self.process.stderr)
        self._readers = [reader, error_reader]

    def line(self) -> str:
        """Wait for the next line that it prints."""
        return self._next(self._stdout)

    def is_silent(self, seconds: float) -> bool:
        """Wait a while for a line, which stays the next one, and return whether none came."""
        end = time.monotonic() + seconds
        while self._stdout.empty() and time.monotonic() < end:
            time.sleep(0.01)
        return self._stdout.empty()

    def note(self) -> str:
        """Wait for the next line that it prints on standard error."""
        return self._next(self._stderr)

    def _next(self, lines: Queue[str | None]) -> str:
        line = lines.get(timeout=TIMEOUT)
        assert line is not None, f"it has ended: {self.end()}"
        return line

    @property
    def address(self) -> tuple[str, int]:
        """Where a server listens, as its first line says."""
        return address_in(self.line())

    def type(self, *lines: str) -> None:
        """Type lines, whether or not the program is still there."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._stdin.fileno(), "".join(f"{line}\n" for line in lines).encode())

    def end(self) -> tuple[int, list[str], str]:
        """Close its standard input, and return status, the other lines, and what went wrong."""
        with contextlib.suppress(OSError):
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
        self.process.terminate()  # under coverage, what it has run is noted all the same
        self.end()


def address_in(line: str) -> tuple[str, int]:
    """Return the address of IPv4 that a line names."""
    found = re.search(r"([\d.]+)[: ](?:port )?(\d+)", line)
    assert found, line
    return found[1], int(found[2])


class Listener(Program):
    """A running ``framing listen``, or ``recv-file``, on a port that the system chose."""

    def __init__(self, *arguments: str, command: str = "listen") -> None:
        super().__init__([*COMMAND, command, "127.0.0.1:0", *arguments])
        self.host, self.port = address_in(self.note())
        self.where = f"{self.host}:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=TIMEOUT)


def run_here(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run a command of the command line in this process, which is quicker."""
    files = [io.TextIOWrapper(io.BytesIO(data), "utf-8") for data in (stdin, b"", b"")]
    patched: Any = dict(zip(("stdin", "stdout", "stderr"), files, strict=True))
    patched["argv"] = ["framing", *arguments]
    with mock.patch.multiple(sys, **patched):
        try:
            runpy.run_module(framing.__name__, run_name="__main__")
        except SystemExit as ended:
            status = ended.code
    out, err = (_text_of(file) for file in files[1:])
    assert isinstance(status, int)
    return subprocess.CompletedProcess(list(arguments), status, out, err)


def _text_of(file: io.TextIOWrapper) -> str:
    file.flush()
    file.seek(0)
    return file.read()


def lines_of(stream: Any) -> tuple[Queue[str | None], threading.Thread]:
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

"""The command line as processes, which a test talks to as a person does."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
from queue import Queue
from typing import IO

import framing

COMMAND = [sys.executable, "-m", framing.__name__]
TIMEOUT = 30


def run(*arguments: str, stdin: str | bytes = "") -> subprocess.CompletedProcess[str]:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [*COMMAND, *arguments], input=data, capture_output=True, timeout=TIMEOUT, check=False
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


class Listener:
    """A running ``framing listen``, or ``recv-file``, on a port that the system chose."""

    def __init__(self, *arguments: str, command: str = "listen") -> None:
        self.process = subprocess.Popen(
            [*COMMAND, command, "127.0.0.1:0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._stdout = lines_of(self.process.stdout)
        self._stderr = lines_of(self.process.stderr)
        found = re.fullmatch(r"listening on (\S+:\d+), until Ctrl-C", self.note())
        assert found
        self.address = found[1]

    def line(self) -> str:
        return self._stdout.get(timeout=TIMEOUT)

    def note(self) -> str:
        return self._stderr.get(timeout=TIMEOUT)

    def connect(self) -> socket.socket:
        host, port = self.address.split(":")
        return socket.create_connection((host, int(port)), timeout=TIMEOUT)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(TIMEOUT)


def lines_of(stream: IO[bytes]) -> Queue[str]:
    """Read lines in a thread, so that waiting for one can time out."""
    lines: Queue[str] = Queue()

    def read() -> None:
        with stream:
            for line in stream:
                lines.put(line.decode().rstrip("\r\n"))

    threading.Thread(target=read, daemon=True).start()
    return lines

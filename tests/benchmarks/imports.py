"""The time of a whole process that only imports: what a small program waits for first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from time import perf_counter

from .harness import OURS, Contest, Contestant, Goal, Scale, Watch
from .sides import TIMEOUT, Side

STANDARD = "socket, struct, json"
STATEMENTS = {
    OURS: "import framing",
    STANDARD: f"import {STANDARD}",
    "nothing": "pass",
    "asyncio": "import asyncio",
    "Twisted": "import twisted.protocols.basic",
    "pyzmq": "import zmq",
}


def children_clock() -> float:
    """Return the CPU time of processes that have ended: what others take is left out."""
    try:
        from resource import RUSAGE_CHILDREN, getrusage
    except ImportError:
        return perf_counter()
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(statement: str) -> float:
    # Compiled modules are kept, as they are for anyone who runs a program twice.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", statement]
    watch = Watch(children_clock)
    with watch:
        subprocess.run(command, check=True, timeout=TIMEOUT, env=environment)
    return watch.seconds


def contests(_scale: Scale, _side: Side) -> Iterator[Contest]:
    contestants = [Contestant(name, partial(run, each)) for name, each in STATEMENTS.items()]
    goal = Goal(OURS, STANDARD, 1.4)
    yield Contest("python -c 'import ...'", contestants, [goal])

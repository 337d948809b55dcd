"""The time of a whole process that only imports: what a small program waits for first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from time import perf_counter

from .harness import OURS, Contest, Contestant, Goal, Scale, Watch
from .sides import Side

STANDARD = "socket, struct, json"


def children_clock() -> float:
    """Return the CPU time of processes that have ended: what others take is left out."""
    try:
        from resource import RUSAGE_CHILDREN, getrusage
    except ImportError:
        return perf_counter()
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(statement: str) -> float:
    # Compiled modules are kept, as they are for whoever runs a program twice.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    watch = Watch(children_clock)
    with watch:
        subprocess.run([sys.executable, "-c", statement], check=True, timeout=60, env=environment)
    return watch.seconds


def contestant(name: str, statement: str, needs: str = "") -> Contestant:
    return Contestant(name, partial(run, statement), lambda: None, needs)


def contests(_scale: Scale, _side: Side) -> Iterator[Contest]:
    contestants = [
        contestant(OURS, "import framing"),
        contestant(STANDARD, f"import {STANDARD}"),
        contestant("nothing", "pass"),
        contestant("asyncio", "import asyncio"),
        contestant("multiprocessing", "import multiprocessing.connection"),
        contestant("Twisted", "import twisted.protocols.basic", "twisted"),
    ]
    goals = [Goal(OURS, STANDARD, most=1.3)]
    yield Contest(
        "imports", "python -c 'import ...'", contestants, goals, unit="process", share=2.0
    )

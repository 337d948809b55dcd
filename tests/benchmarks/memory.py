"""The memory that one message of 128 MiB takes, the message included: the peak of a new process.

Measured where the system tells: on Linux, macOS and their like.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from . import large, sides
from .harness import Contest, Contestant, Goal, Scale, Watch
from .loads import Load
from .sides import Far, Near

MESSAGE = "the message"


def peak() -> int:
    """Return the most memory that this process has held, in bytes."""
    if sys.platform == "linux":
        # What getrusage() tells begins with the memory of the process that started this one.
        (found,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found) * 1024
    from resource import RUSAGE_SELF, getrusage

    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def growth(near: Near, far: Far, load: Load, *, sends: bool) -> int:
    """Return by how much this process grows at most while it does *near*."""
    with closing(sides.Side(1)) as side:
        # What is sent is there before; it counts nevertheless.
        held = len(large.payload(load.size)) if sends else 0
        before = peak()
        sides.play(side, near, far, load, Watch())
        return peak() - before + held


def contestant(name: str, near: Near, far: Far, load: Load, *, sends: bool) -> Contestant:
    def run() -> float:
        with closing(sides.Side(0, daemon=False)) as fresh:
            fresh.start(partial(growth, near, far, load, sends=sends))
            return float(fresh.result())

    return Contestant(name, run)


def contests(scale: Scale) -> Iterator[Contest]:
    if importlib.util.find_spec("resource") is None:
        return
    load = Load(1, scale.large // 16 * 16)
    size = f"{load.size / 2**20:.0f} MiB"
    for work, ways, ours in (
        ("recv", large.RECEIVING, ["framing, recv()", "framing, recv_msg()"]),
        ("send", large.SENDING, ["framing, send()", "framing, send_msg()"]),
    ):
        contestants = [
            contestant(name, *way, load, sends=work == "send") for name, way in ways.items()
        ]
        contestants.append(Contestant(MESSAGE, lambda: float(load.size)))
        goals = [Goal(name, MESSAGE, most=1.1) for name in ours]
        yield Contest("memory", f"{work}, {size}", contestants, goals, unit="memory", most_runs=1)

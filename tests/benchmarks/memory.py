"""Memory for a large message: by how much a new process grows at most while it receives one."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from . import sides
from .harness import Contest, Contestant, Goal, Scale, Watch
from .load import Load
from .messages import RECEIVING_LARGE
from .sides import Near, Side


def peak() -> int:
    """Return the most memory that this process has held, in bytes."""
    if sys.platform == "linux":
        # What getrusage() reports begins with the memory of the process that started this one.
        (found,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found) * 1024
    from resource import RUSAGE_SELF, getrusage

    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def growth(near: Near, load: Load) -> int:
    with closing(Side()) as side:
        before = peak()
        sides.play(side, near, sides.blast, load, Watch())
        return peak() - before


def contests(scale: Scale, _side: Side) -> Iterator[Contest]:
    if importlib.util.find_spec("resource") is None:  # the system does not report it
        return
    load = Load(1, scale.large)

    def run(near: Near) -> float:
        with closing(Side(0, daemon=False)) as fresh:
            fresh.start(growth, near, load)
            return float(fresh.result())

    contestants = [Contestant(name, partial(run, near)) for name, near in RECEIVING_LARGE.items()]
    contestants.append(Contestant("the message", lambda: float(load.size)))
    goals = [Goal(f"framing, {way}()", "the message", 1.1) for way in ("recv", "recv_msg")]
    yield Contest("memory for 128 MiB", contestants, goals, unit="bytes", share=0)

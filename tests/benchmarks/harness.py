"""Contests: several contestants do the same work in turns, and the best run of each counts.

Contestants run in turn, so that a busy machine slows all of them down alike.  A contestant that
has used up its share of the time, and has run often enough, drops out.  So the fast ones, which a
disturbance hits hardest, run more often than the slow ones.
"""

from __future__ import annotations

import gc
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import get_clock_info, perf_counter, process_time

CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
# What a contestant that is this library is called by.
OURS = "framing"
# Peers that may not be installed: how their contestants' names begin, and what they import.
PEERS = {
    "boltons": "boltons",
    "EasyNetwork": "easynetwork",
    "pyzmq": "zmq",
    "Twisted": "twisted",
    "websockets": "websockets",
}

# The CPU time of this process, which on a busy machine leaves out what other processes take.
cpu_clock = process_time if get_clock_info("process_time").resolution < 1e-5 else perf_counter


class Watch:
    """Sums up the time that is spent inside ``with watch:``."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self.seconds = 0.0
        self._clock = clock
        self._start = 0.0

    def __enter__(self) -> None:
        self._start = self._clock()

    def __exit__(self, *_: object) -> None:
        self.seconds += self._clock() - self._start


@dataclass(frozen=True)
class Contestant:
    """One way to do the work: *run* does it, checks the outcome, and returns what it cost."""

    name: str
    run: Callable[[], float]

    @property
    def can_run(self) -> bool:
        needed = PEERS.get(self.name.split(",")[0])
        return needed is None or importlib.util.find_spec(needed) is not None


@dataclass(frozen=True)
class Goal:
    """*ours* costs at *most* so many times what *peer* does; or so much, if there is no peer."""

    ours: str
    peer: str
    most: float

    def ratio(self, costs: dict[str, float]) -> float:
        return costs[self.ours] / costs[self.peer] if self.peer else costs[self.ours]

    def is_met(self, costs: dict[str, float]) -> bool:
        # What is met is met to the digits that are shown.
        return round(self.ratio(costs), 2 if self.peer else 8) <= self.most


@dataclass(frozen=True)
class Scale:
    """How much work, and how long for: the whole, or only whether it works."""

    seconds: float  # for a contest, about
    least_runs: int
    large: int = 128 * 1024 * 1024
    file: int = 600 * 1024 * 1024
    most_messages: int = 1_000_000
    clients: int = 200

    def count(self, messages: int) -> int:
        return min(messages, self.most_messages)


WHOLE = Scale(seconds=4.5, least_runs=3)
TINY = Scale(seconds=0, least_runs=1, large=300_000, file=300_000, most_messages=10, clients=3)


@dataclass
class Contest:
    """The same work for all, and what each contestant costs for a part of it: of *amount* parts.

    The *unit* of the costs is seconds, or bytes of memory.
    """

    work: str
    contestants: list[Contestant]
    goals: list[Goal] = field(default_factory=list)
    amount: int = 1
    unit: str = "seconds"
    share: float = 1.0  # of the time for a contest; 0 for one run
    costs: dict[str, float] = field(default_factory=dict)

    def measured_goals(self) -> list[Goal]:
        """Return the goals whose contestants were there."""
        return [each for each in self.goals if {each.ours, each.peer} <= {"", *self.costs}]

    def measure(self, scale: Scale) -> None:
        """Note what each contestant costs at best."""
        racing = [each for each in self.contestants if each.can_run]
        share = scale.seconds * self.share / len(racing)
        costs: dict[str, list[float]] = {each.name: [] for each in racing}
        spent = dict.fromkeys(costs, 0.0)
        with without_gc():
            while racing:
                for each in racing:
                    start = perf_counter()
                    costs[each.name].append(each.run())
                    spent[each.name] += perf_counter() - start
                gc.collect()
                racing = [
                    each
                    for each in racing
                    if spent[each.name] < share
                    or (self.share and len(costs[each.name]) < scale.least_runs)
                ]
        self.costs = {name: min(each) / self.amount for name, each in costs.items()}


@contextmanager
def without_gc() -> Iterator[None]:
    """Let no contestant pay for collecting another's garbage.

    What is there already is left out of later collections, which so take no time.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def pin(half: int) -> None:
    """Keep this process on one half of the CPUs, 0 or 1, where the system can do that."""
    if CPUS:
        middle = max(len(CPUS) // 2, 1)
        os.sched_setaffinity(0, (CPUS[middle:] or CPUS) if half else CPUS[:middle])

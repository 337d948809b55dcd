"""Contests: the same work done by several contestants, which take turns, at their best.

A run returns what it cost, in seconds (or bytes of memory).  Contestants run in turn, so that a
busy machine slows all of them down alike, and the least of several runs counts.  One that has
used up its share of the time, and has run often enough, drops out: so the fast ones, which a
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


class Watch:
    """Sums up the time that is spent inside ``with watch:``.

    Args:
        clock: ``perf_counter``; or for work that waits for nothing ``cpu_clock``, which on a busy
            machine leaves out what other processes take.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self.seconds = 0.0
        self._clock = clock
        self._start = 0.0

    def __enter__(self) -> None:
        self._start = self._clock()

    def __exit__(self, *_: object) -> None:
        self.seconds += self._clock() - self._start


# Where it is coarse, as on Windows, the other has to do.
cpu_clock = process_time if get_clock_info("process_time").resolution < 1e-5 else perf_counter


@dataclass(frozen=True)
class Contestant:
    """One way to do the work: *needs* is the package it takes, if that is not always there."""

    name: str
    run: Callable[[], float]
    check: Callable[[], None] = lambda: None
    needs: str = ""

    @property
    def can_run(self) -> bool:
        return not self.needs or importlib.util.find_spec(self.needs) is not None


@dataclass(frozen=True)
class Goal:
    """*ours* is at *least* so many times as fast as *peer*, or costs at *most* so many times."""

    ours: str
    peer: str
    least: float = 0.0
    most: float = 0.0

    def ratio(self, costs: dict[str, float]) -> float:
        ours, peer = costs[self.ours], costs[self.peer]
        return peer / ours if self.least else ours / peer

    def is_met(self, costs: dict[str, float]) -> bool:
        # What is met is met to the two digits that are shown.
        ratio = round(self.ratio(costs), 2)
        return ratio >= self.least if self.least else ratio <= self.most

    def __str__(self) -> str:
        return f"≥ {self.least:g}" if self.least else f"≤ {self.most:g}"


@dataclass(frozen=True)
class Scale:
    """How much work, and how long for: the whole, a quick look, or only whether it works."""

    seconds: float  # for each contest, about
    least_runs: int
    large: int = 128 * 1024 * 1024
    file: int = 256 * 1024 * 1024
    most_messages: int = 1_000_000

    def count(self, messages: int) -> int:
        return min(messages, self.most_messages)


WHOLE = Scale(seconds=3.5, least_runs=4)
QUICK = Scale(seconds=0.8, least_runs=2, file=64 * 1024 * 1024)
TINY = Scale(seconds=0, least_runs=1, large=300_000, file=300_000, most_messages=10)


@dataclass
class Contest:
    """The same work for all: *amount* of what *unit* says, such as messages or bytes."""

    group: str
    work: str
    contestants: list[Contestant]
    goals: list[Goal] = field(default_factory=list)
    amount: int = 1
    unit: str = "message"
    most_runs: int = 10_000
    share: float = 1.0  # of the time for a contest

    def goals_of(self, costs: dict[str, float]) -> list[Goal]:
        """Return the goals for which there is a peer."""
        return [each for each in self.goals if each.ours in costs and each.peer in costs]

    def runnable(self) -> list[Contestant]:
        return [each for each in self.contestants if each.can_run]

    def measure(self, scale: Scale) -> dict[str, float]:
        """Return what each contestant cost at best."""
        racing = self.runnable()
        for each in racing:
            each.check()
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
                    if len(costs[each.name]) < min(scale.least_runs, self.most_runs)
                    or (spent[each.name] < share and len(costs[each.name]) < self.most_runs)
                ]
        return {name: min(each) for name, each in costs.items()}


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


def pin(index: int) -> None:
    """Keep this process on one of the CPUs that the benchmark started with, where that can be."""
    if CPUS:
        os.sched_setaffinity(0, {CPUS[index % len(CPUS)]})


def beats(ours: str, **least: float) -> list[Goal]:
    """Return the goals of *ours* against each peer (an underscore is a space)."""
    return [Goal(ours, peer.replace("_", " "), least=each) for peer, each in least.items()]

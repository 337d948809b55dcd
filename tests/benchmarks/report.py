"""What was measured, as a table of the goals, tables of everything, and a file for programs."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .groups import GROUPS
from .harness import CPUS, OURS, Contest


@dataclass(frozen=True)
class Result:
    """A contest, and what each contestant cost at best."""

    contest: Contest
    costs: dict[str, float]

    def shown(self, name: str) -> str:
        """Return what *name* cost, for one unit of the work."""
        cost = self.costs[name]
        unit = self.contest.unit
        if unit == "byte":
            return f"{self.contest.amount / cost / 1e9:.2f} GB/s"
        if unit == "memory":
            return f"{cost / 2**20:.0f} MiB"
        each = cost / self.contest.amount
        if each < 1e-6:
            return f"{each * 1e9:.0f} ns"
        return f"{each * 1e6:.2f} µs" if each < 1e-3 else f"{each * 1e3:.2f} ms"


def goal_lines(results: list[Result]) -> Iterator[str]:
    """Yield the rows of a Markdown table of all goals."""
    yield "| work | framing | | peer | | ratio | goal | |"
    yield "|---|---|---|---|---|---|---|---|"
    for result in results:
        contest, costs = result.contest, result.costs
        for goal in contest.goals_of(costs):
            ours = goal.ours.removeprefix(f"{OURS}, ").replace(OURS, "")
            cells = [
                f"{contest.group}: {contest.work}",
                ours,
                result.shown(goal.ours),
                goal.peer,
                result.shown(goal.peer),
                f"{goal.ratio(costs):.2f}",
                str(goal),
                "met" if goal.is_met(costs) else "**not met**",
            ]
            yield row(cells)


def summary(results: list[Result]) -> str:
    goals = [(goal, each.costs) for each in results for goal in each.contest.goals_of(each.costs)]
    met = sum(goal.is_met(costs) for goal, costs in goals)
    return f"{met} of {len(goals)} goals are met."


def group_lines(results: list[Result]) -> Iterator[str]:
    """Yield a Markdown table of one group: a row for each contestant, a column for each work."""
    names = list(dict.fromkeys(name for each in results for name in each.costs))
    yield row(["", *(each.contest.work for each in results)])
    yield "|---" * (len(results) + 1) + "|"
    for name in names:
        yield row([name, *(each.shown(name) if name in each.costs else "" for each in results)])


def row(cells: list[str]) -> str:
    return f"| {' | '.join(each.replace('|', chr(92) + '|') for each in cells)} |"


def columns(group: str, results: list[Result]) -> Iterator[list[Result]]:
    """Yield what fits beside one another: contests of one format, and four at most."""
    kind = ""
    together: list[Result] = []
    for each in results:
        this = each.contest.work.split(",")[0] if group == "decode" else ""
        if together and (this != kind or len(together) == 4):
            yield together
            together = []
        kind = this
        together.append(each)
    if together:
        yield together


def tables(results: list[Result], left_out: list[str]) -> str:
    """Return everything, in Markdown."""
    lines = [machine(), ""]
    if left_out:
        lines += [f"Not installed, and so left out: {', '.join(left_out)}.", ""]
    lines += ["## Goals", "", summary(results), "", *goal_lines(results), ""]
    for group, (title, _) in GROUPS.items():
        own = [each for each in results if each.contest.group == group]
        if own:
            lines += [f"## {title}", ""]
        for together in columns(group, own):
            lines += [*group_lines(together), ""]
    return "\n".join(lines)


def machine() -> str:
    """Return what it was measured on: not which machine, but what kind."""
    return (
        f"{processor()}, {len(CPUS) or 'unknown number of'} CPUs, {platform.system()},"
        f" {platform.python_implementation()} {platform.python_version()}."
    )


def processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    models = [line for line in text.splitlines() if line.startswith("model name")]
    return models[0].partition(": ")[2] if models else platform.machine()

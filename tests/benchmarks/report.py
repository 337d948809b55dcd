"""The pages of the documentation, wholly made of what was measured and the texts beside this."""

from __future__ import annotations

import inspect
import platform
import re
import subprocess
import textwrap
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import framing

from . import by_hand, chart
from .harness import CPUS, PEERS, Contest

ROOT = Path(__file__).parents[2]


def shown(cost: float, unit: str) -> str:
    """Return what something cost, in a unit that fits."""
    if unit == "bytes":
        return f"{cost / 2**20:.0f} MiB"
    for factor, name in ((1e-6, "ns"), (1e-3, "µs"), (1, "ms")):
        if cost < factor:
            return f"{cost / factor * 1000:.3g} {name}"
    return f"{cost:.3g} s"


def row(*cells: str) -> str:
    return f"| {' | '.join(each.replace('|', chr(92) + '|') for each in cells)} |"


def measurements(contests: list[Contest]) -> Iterator[str]:
    """Yield the rows of a table of everything, with each contest's quickest way first."""
    yield row("work", "way", "time", "of the quickest")
    yield "|---|---|---|---|"
    for contest in contests:
        best = min(contest.costs.values())
        for name, cost in sorted(contest.costs.items(), key=lambda item: item[1]):
            yield row(contest.work, name, shown(cost, contest.unit), f"{cost / best:.2f}")


def goal_rows(contests: list[Contest]) -> Iterator[str]:
    """Yield the rows of a table of all goals."""
    yield row("work", "framing", "", "beside", "", "ratio", "goal", "")
    yield "|---|---|---|---|---|---|---|---|"
    for contest in contests:
        costs, unit = contest.costs, contest.unit
        for goal in contest.measured_goals():
            peer = shown(costs[goal.peer], unit) if goal.peer else ""
            yield row(
                contest.work,
                goal.ours.removeprefix("framing, "),
                shown(costs[goal.ours], unit),
                goal.peer,
                peer,
                f"{goal.ratio(costs):.2f}" if goal.peer else "",
                f"≤ {goal.most:g}" if goal.peer else f"≤ {shown(goal.most, unit)}",
                "met" if goal.is_met(costs) else "**missed**",
            )


# The pages


class Results:
    """What was measured, to look it up; ``?`` stands for what was left out."""

    def __init__(self, contests: list[Contest]) -> None:
        self._contests = {each.work: each for each in contests}

    def find(self, text: str) -> str:
        """Return the time for ``work: way``, or the ratio for ``work: way / other way``."""
        work, _, ways = text.partition(": ")
        contest = self._contests.get(work)
        costs = [contest.costs.get(way, 0.0) for way in ways.split(" / ")] if contest else []
        if contest is None or not all(costs):
            return "?"
        return f"{costs[0] / costs[1]:.2f}" if costs[1:] else shown(costs[0], contest.unit)


def write_pages(contests: list[Contest], docs: Path = ROOT / "docs") -> None:
    """Draw the chart, and fill the templates that are beside this module."""
    has_chart = chart.draw(contests, docs / "_static" / "benchmarks.svg")
    goals = [(goal, each.costs) for each in contests for goal in each.measured_goals()]
    loops = (by_hand.read_all_carelessly, by_hand.read_all_correctly, by_hand.read_all_tuned)
    values = {
        "met": str(sum(goal.is_met(costs) for goal, costs in goals)),
        "goals": str(len(goals)),
        "table of goals": "\n".join(goal_rows(contests)),
        "everything": "\n".join(measurements(contests)),
        "conditions": conditions(),
        "chart": "![Times as bars](_static/benchmarks.svg)" if has_chart else "(No chart.)",
        "loops": "\n\n".join(map(inspect.getsource, loops)).rstrip(),
    }
    find = Results(contests).find

    def fill(paragraph: str) -> str:
        text = re.sub(r"{{(.*?)}}", lambda it: values.get(it[1]) or find(it[1]), paragraph)
        is_prose = text != paragraph and paragraph[0].isupper()
        return textwrap.fill(text, 130, break_on_hyphens=False) if is_prose else text

    for name in ("benchmarks.md", "benchmarks_goals.md"):
        template = Path(__file__).with_name(name).read_text("utf-8")
        text = "\n\n".join(map(fill, template.split("\n\n")))
        (docs / name).write_text(text, "utf-8")


# What it was measured on


def conditions() -> str:
    """Return on what it was measured: not which machine, but what kind."""
    today = datetime.now(timezone.utc).date()
    there = {name: distribution_version(name) for name in PEERS}
    versions = ", ".join(f"{name} {each}" for name, each in there.items() if each)
    missing = ", ".join(name for name, each in there.items() if not each)
    left_out = f" Not installed, and so left out: {missing}." if missing else ""
    return (
        f"{today} on framing {framing.__version__} ({commit()}), with"
        f" {platform.python_implementation()} {platform.python_version()}, {platform.system()},"
        f" {len(CPUS) or 'an unknown number of'} CPUs ({processor()}); {versions}.{left_out}"
    )


def distribution_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def commit() -> str:
    """Return the commit of this checkout, and whether the code was changed since."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],  # noqa: S607
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    try:
        changes = git("status", "--porcelain", "--", "src", "tests")
        return f"commit {git('rev-parse', '--short', 'HEAD')}" + (", changed" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return "no checkout"


def processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    models = [line for line in text.splitlines() if line.startswith("model name")]
    return models[0].partition(": ")[2] if models else platform.machine()

"""Measure framing and its peers on the same work, in less than five minutes, and print tables."""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
from contextlib import closing
from pathlib import Path

from . import chart, report
from .groups import GROUPS, contests
from .harness import QUICK, WHOLE, Scale, pin
from .report import Result
from .sides import Side

# A contest that takes so many seconds hangs.
MOST_SECONDS = 120

DOCS = Path(__file__).parents[2] / "docs"
MARK = "<!-- What follows is written by python -m tests.benchmarks --docs -->\n"


def measure(scale: Scale, groups: list[str]) -> tuple[list[Result], list[str]]:
    """Return the results, and which packages were not there."""
    results = []
    missing = set()
    start = time.monotonic()
    pin(0)
    with closing(Side(1)) as side:
        for contest in contests(scale, groups, side):
            faulthandler.dump_traceback_later(MOST_SECONDS, exit=True)
            missing |= {each.needs for each in contest.contestants if not each.can_run}
            results.append(Result(contest, contest.measure(scale)))
            note = f"{time.monotonic() - start:4.0f} s  {contest.group}: {contest.work}"
            print(note, file=sys.stderr, flush=True)
    faulthandler.cancel_dump_traceback_later()
    return results, sorted(missing)


def write_docs(results: list[Result], left_out: list[str]) -> None:
    """Put the tables at the end of the page in the documentation, and the chart beside it."""
    page = DOCS / "benchmarks.md"
    text, mark, _ = page.read_text("utf-8").partition(MARK)
    assert mark, f"{page} has lost its mark"
    page.write_text(f"{text}{mark}\n{report.tables(results, left_out)}", "utf-8")
    draw(results, DOCS / "_static" / "benchmarks.svg")


def draw(results: list[Result], path: Path) -> None:
    try:
        chart.draw(results, path)
    except ImportError:
        print("matplotlib is not installed: no chart", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--quick", action="store_true", help="about a minute, and less exact")
    parser.add_argument("--docs", action="store_true", help="write the documentation's page")
    options = parser.parse_args()
    groups: list[str] = options.groups or [*GROUPS]
    if unknown := set(groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    results, left_out = measure(QUICK if options.quick else WHOLE, groups)
    print(report.tables(results, left_out))
    if options.docs:
        write_docs(results, left_out)


if __name__ == "__main__":
    main()

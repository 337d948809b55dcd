"""Measure ``framing`` and its peers: ``python -m tests.benchmarks [GROUP ...] [--quick]``.

Takes less than five minutes, or about a minute with ``--quick``.  Prints the table of goals, and
with ``--output`` writes all tables, a chart and the data.
"""

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


def write(results: list[Result], left_out: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(report.data(results) + "\n", "utf-8")
    (folder / "table.md").write_text(report.tables(results, left_out), "utf-8")
    try:
        chart.draw(results, folder / "chart.svg")
    except ImportError:
        print("matplotlib is not installed: no chart", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--quick", action="store_true", help="about a minute, and less exact")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write the files")
    options = parser.parse_args()
    groups: list[str] = options.groups or list(GROUPS)
    if unknown := set(groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    results, left_out = measure(QUICK if options.quick else WHOLE, groups)
    print(report.tables(results, left_out))
    if options.output:
        write(results, left_out, options.output)


if __name__ == "__main__":
    main()

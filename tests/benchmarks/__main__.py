"""Measure framing beside its peers, in less than four minutes.

Without arguments, it writes docs/benchmarks.md, docs/benchmarks_goals.md and the chart; with the
names of some groups, it only prints what these take.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from . import (
    both_sides,
    decode,
    files,
    imports,
    memory,
    messages,
    one_process,
    servers,
)
from .harness import WHOLE, Contest, Scale, pin
from .report import measurements, write_pages
from .sides import Side

# A contest that takes so many seconds hangs.
MOST_SECONDS = 120

GROUPS: dict[str, Callable[[Scale, Side], Iterator[Contest]]] = {
    "one_process": one_process.contests,
    "messages": messages.contests,
    "both_sides": both_sides.contests,
    "memory": memory.contests,
    "decode": decode.contests,
    "servers": servers.contests,
    "files": files.contests,
    "imports": imports.contests,
}


def measure(groups: list[str]) -> list[Contest]:
    measured = []
    start = time.monotonic()
    pin(0)
    with closing(Side()) as side:
        for group in groups:
            for contest in GROUPS[group](WHOLE, side):
                faulthandler.dump_traceback_later(MOST_SECONDS, exit=True)
                contest.measure(WHOLE)
                measured.append(contest)
                note = f"{time.monotonic() - start:4.0f} s  {contest.work}"
                print(note, file=sys.stderr, flush=True)
    faulthandler.cancel_dump_traceback_later()
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    groups: list[str] = parser.parse_args().groups
    if unknown := set(groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    measured = measure(groups or [*GROUPS])
    if groups:
        print("\n".join(measurements(measured)))
    else:
        write_pages(measured)


if __name__ == "__main__":
    main()

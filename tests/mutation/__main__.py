"""Make mutants of the package with mutmut's operators, and run the tests on each until one fails.

    python -m tests.mutation --jobs 2 --record      # all modules
    python -m tests.mutation decoder buffer         # these
    python -m tests.mutation --changed --sample 40  # those that differ from the recorded ones

Results are appended to ``mutants.jsonl`` (``--results``), and what it has is not tried again, but
what survived is with ``--again``. Mutants that ``harmless.txt`` lists, with the reason, count as
not caught and are not tried. In the end all others that survived are printed, and it fails if those
are more than one in five. (Of all mutants, they are less than one in ten; a sample has its luck.)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .mutants import MODULES, ROOT, SOURCE, Mutant, mutants_of, source_of
from .trials import ANEW, SURVIVED, Test, Trials, failed_anew

HARMLESS = Path(__file__).with_name("harmless.txt")
FIGURES = Path(__file__).with_name("figures.txt")
MOST_LEFT = 0.2  # of the mutants may survive
OTHER_PROGRAMS = ["language_server", "peers"]  # need more memory than a mutant may take


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("modules", nargs="*", default=MODULES)
    parser.add_argument("--changed", action="store_true", help="only modules that have changed")
    parser.add_argument("--sample", type=int, help="try so many, chosen at random")
    parser.add_argument("--results", type=Path, default=Path("mutants.jsonl"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--again", action="store_true", help="try the survivors again")
    parser.add_argument("--record", action="store_true", help="write figures.txt")
    options = parser.parse_args()
    os.chdir(ROOT)
    os.environ["HYPOTHESIS_PROFILE"] = "mutation"
    sys.path.insert(0, str(SOURCE.parent))

    modules = [each for each in options.modules if not (options.changed and is_recorded(each))]
    mutants = [each for module in modules for each in mutants_of(module)]
    if options.sample is not None and options.sample < len(mutants):
        mutants = random.sample(mutants, options.sample)
    print(f"{len(mutants)} mutants of {len(modules)} modules", flush=True)
    caught = recall(options.results)
    harmless = harmless_changes()
    tried = [
        each
        for each in mutants
        if each.change not in harmless and not caught.get(each.name, False)
        if each.name not in caught or options.again
    ]

    def use(trials: Trials) -> None:
        try_all(trials, tried, options.results, caught)

    chosen = ["-q", "-n", "0", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=0"]
    chosen += [f"--ignore=tests/test_{each}.py" for each in OTHER_PROGRAMS]
    if tried and (status := pytest.main([*chosen, "-s"], plugins=[Trials(options.jobs, use)])):
        raise SystemExit(status)
    if mutants:
        report(mutants, caught)
    if options.record:
        record(mutants, caught)


def try_all(trials: Trials, mutants: list[Mutant], results: Path, caught: dict[str, bool]) -> None:
    """Try *mutants*, and write down what comes of it."""
    trials.learn()
    print(f"{len(trials.tests)} tests pass on the package as it is", flush=True)
    anew: list[tuple[Mutant, list[Test]]] = []
    with results.open("a", encoding="utf-8") as file:

        def note(mutant: Mutant, is_caught: bool) -> None:
            caught[mutant.name] = is_caught
            print(json.dumps([mutant.name, is_caught]), file=file, flush=True)

        for number, (mutant, outcome, tests) in enumerate(trials.try_out(mutants), 1):
            if outcome == ANEW:
                anew.append((mutant, tests))
            else:
                note(mutant, outcome != SURVIVED)
            if number % 100 == 0 or number == len(mutants):
                print(f"{number} tried, of which {len(anew)} have to be tried anew", flush=True)
        needed = {test for _, tests in anew for test in tests}
        bad = failed_anew(None, [each for each in trials.tests if each in needed]) if anew else ()

        def fails(mutant: Mutant, tests: list[Test]) -> bool:
            return bool(failed_anew(mutant, [t for t in tests if t.item.nodeid not in bad]))

        with ThreadPoolExecutor(trials.jobs) as executor:
            outcomes = executor.map(fails, *zip(*anew, strict=True)) if anew else ()
            for (mutant, _), has_failed in zip(anew, outcomes, strict=True):
                note(mutant, has_failed)


def report(mutants: list[Mutant], caught: dict[str, bool]) -> None:
    """Print what survived and is not known to be harmless, and fail if that is too much."""
    harmless = harmless_changes()
    good = sum(caught.get(each.name, False) for each in mutants)
    left = [each for each in mutants if not caught.get(each.name) and each.change not in harmless]
    for mutant in left:
        print(f"\nsurvived: {mutant.module}:{mutant.line}\n{mutant.diff}")
    print(f"\n{good} caught of {len(mutants)}, {100 * good / len(mutants):.1f}%")
    if len(left) > MOST_LEFT * len(mutants):
        raise SystemExit(f"at most {MOST_LEFT:.0%} may survive: write tests that fail on those")


def record(mutants: Iterable[Mutant], caught: dict[str, bool]) -> None:
    """Write down how many were caught of each module, and its source's digest."""
    all_, good = Counter[str](), Counter[str]()
    for mutant in mutants:
        all_[mutant.module] += 1
        good[mutant.module] += caught.get(mutant.name, False)
    figures = recorded() | {
        module: f"{module} {digest(module)} {good[module]} {count}\n"
        for module, count in all_.items()
    }
    FIGURES.write_text("".join(sorted(figures.values())), "utf-8")


def recorded() -> dict[str, str]:
    """Return the line about each module in ``figures.txt``."""
    lines = FIGURES.read_text("utf-8").splitlines(keepends=True) if FIGURES.exists() else []
    return {line.split()[0]: line for line in lines}


def is_recorded(module: str) -> bool:
    return recorded().get(module, "").split()[1:2] == [digest(module)]


def digest(module: str) -> str:
    return hashlib.sha256(source_of(module).encode()).hexdigest()[:12]


def harmless_changes() -> set[str]:
    """Return the changes that make no difference to a user."""
    blocks = HARMLESS.read_text("utf-8").strip().split("\n\n")
    return {each for each in blocks if not each.startswith("#")}


def recall(results: Path) -> dict[str, bool]:
    """Return what earlier runs have found out."""
    if not results.exists():
        return {}
    return dict(map(json.loads, results.read_text("utf-8").splitlines()))


if __name__ == "__main__":
    main()

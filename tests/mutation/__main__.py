"""Make mutants of the package with mutmut's operators, and run the tests on each until one fails.

    python -m tests.mutation [--sample N] [--results FILE] [--jobs N] [--again] [--all] [module ...]

Those that ``harmless.txt`` lists, with the reason, count as not caught and are not tried, but
with ``--all``.  In the end it prints what is neither caught nor listed there.

mutmut's own way of running them, all mutants in one module that chooses between them at every
call, does not suit code that is called for every byte. So here each mutant is a process of its
own, forked from one that has everything loaded but the package; in it, one module has the
mutant's source. Results are appended to a file, and those that it has are not tried again.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.abc
import importlib.machinery
import json
import os
import random
import resource
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import ModuleType

import hypothesis  # noqa: F401  # loaded before the forks, as all of these
import pytest
import trustme  # noqa: F401

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src" / "framing"
TESTS = ROOT / "tests"
HARMLESS = Path(__file__).with_name("harmless.txt")
# All modules but the command line, by their paths
MODULES = [
    str(path.relative_to(SOURCE).with_suffix("")).replace(os.sep, "/")
    for path in sorted(SOURCE.rglob("*.py"))
    if path.stem not in {"__init__", "__main__"} and "cli" not in path.relative_to(SOURCE).parts
]
# Tests that take little time; those that have to do with every format; and those of connections.
QUICK = ["errors", "golden", "framer", "decoder", "checks", "length_prefix", "header_body"]
ALL = ["contract", "exhaustive", "functions", "struct", "delimiter", "codec", "json", "fuzzing"]
BUILT_ON_THEM = ["sending", "message_socket", "channel", "turn", "faults"]
BUILT_ON_THEM += ["datagram", "server", "files"]
# The tests of a module that are called otherwise
NEAREST = {
    "lines": ["delimiter"],
    "blocks": ["delimiter", "netstring", "content_length"],
    "record": ["struct"],
    "fields": ["length_prefix", "struct"],
    "nesting": ["json", "header_body"],
    "message_socket": ["message_socket", "sending", "channel"],
    "beside": ["functions", "message_socket"],
    "checks": ["message_socket"],
    "channel": ["channel", "sending"],
}
# Those of the contract that have to do with a format
NAMES = {
    "delimiter": "Delimiter or Line",
    "lines": "Line",
    "record": "Struct",
    **{name: name.title().replace("_", "") for name in ("header_body", "length_prefix", "varint")},
    **{name: name.title().replace("_", "") for name in ("codec", "netstring", "content_length")},
}
CPU_SECONDS = 120  # of one stage, of which the longest takes a third
SECONDS = 60  # of one test, of which the longest takes a tenth
MEMORY = 4 * 1024**3


@dataclass
class Mutant:
    """A change to one module."""

    module: str
    place: str
    diff: str
    source: str = ""
    survived: int = 0  # how many stages of the tests
    caught: bool = False

    @property
    def name(self) -> str:
        return f"{self.module}:{self.place}\n{self.diff}"

    @property
    def change(self) -> str:
        """What it is called in ``harmless.txt``, wherever it is in the module."""
        return f"{self.module}\n{self.diff}"


def mutants_of(modules: Iterable[str]) -> Iterator[Mutant]:
    """Yield the mutants of *modules* that change the body of a function, in random order."""
    mutmut = importlib.import_module("mutmut.mutation.file_mutation")
    found = []
    for module in modules:
        path = SOURCE / f"{module}.py"
        source = path.read_text("utf-8")
        tree, mutations, _, _ = mutmut.create_mutations(str(path), source)
        found += [(module, source, tree, each) for each in mutations]
    random.Random(1).shuffle(found)
    for module, source, tree, each in found:
        if each.contained_by_top_level_function is None:
            continue
        mutated = tree.deep_replace(each.original_node, each.mutated_node).code
        _, _, place, *diff = difflib.unified_diff(
            source.splitlines(), mutated.splitlines(), n=0, lineterm=""
        )
        if not _is_the_same_text(diff[0], diff[-1]):
            yield Mutant(module, place.split()[1][1:], "\n".join(diff), mutated)


def _is_the_same_text(before: str, after: str) -> bool:
    """Return whether only the case of letters has changed: one change to a text is enough."""
    return before[1:].lower() == after[1:].lower()


class MutantFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a text, under its own path."""

    def __init__(self, module: str, source: str) -> None:
        self.name = f"framing.{module.replace('/', '.')}"
        self.path = str(SOURCE / f"{module}.py")
        self.source = source

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        spec = importlib.machinery.ModuleSpec(name, self, origin=self.path)
        spec.has_location = True
        return spec

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, self.path, "exec"), vars(module))  # noqa: S102


def stages_of(module: str) -> list[tuple[list[str], str]]:
    """Return the test modules to run, and which of their tests, one stage after another.

    Most mutants meet but the first stage.
    """
    name = module.rpartition("/")[2]
    own = [each for each in NEAREST.get(name, [name]) if (TESTS / f"test_{each}.py").exists()]
    nearest = [(["contract", "exhaustive"], NAMES[name])] if name in NAMES else []
    return [(own or QUICK, ""), *nearest, (QUICK, ""), (ALL, ""), (BUILT_ON_THEM, "")]


def try_out(stage: int, mutant: Mutant) -> Mutant:
    """Run the tests of a *stage* on *mutant*, and return it."""
    pid = os.fork()
    if not pid:
        _run(mutant, *stages_of(mutant.module)[stage])
    _, status = os.waitpid(pid, 0)
    mutant.caught = status != 0
    mutant.survived = stage + (status == 0)
    return mutant


def _run(mutant: Mutant, modules: Iterable[str], chosen: str) -> None:
    """Run those tests of *modules* in this process, and end it."""
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        if mutant.source:
            sys.meta_path.insert(0, MutantFinder(mutant.module, mutant.source))
        files = [f"tests/test_{each}.py" for each in modules]
        options = ["-x", "-q", "-p", "no:cacheprovider", "-o", f"faulthandler_timeout={SECONDS}"]
        options += ["-k", chosen, "-n", "0"]  # other processes have no mutant
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what is loaded before
        code = int(pytest.main([*options, *files]))
    finally:
        os._exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("modules", nargs="*", default=MODULES)
    parser.add_argument("--sample", type=int, help="try so many, chosen at random")
    parser.add_argument("--results", type=Path, default=Path("mutants.jsonl"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--again", action="store_true", help="try the survivors again")
    parser.add_argument("--all", action="store_true", help="try those said to be harmless, too")
    options = parser.parse_args()
    os.chdir(ROOT)
    os.environ["HYPOTHESIS_PROFILE"] = "mutation"
    sys.path.insert(0, str(SOURCE.parent))

    mutants = list(islice(mutants_of(options.modules), options.sample))
    print(f"{len(mutants)} mutants of {', '.join(options.modules)}", flush=True)
    recall(options.results, mutants, again=options.again)
    harmless = harmless_changes()
    tried = [each for each in mutants if options.all or each.change not in harmless]
    print(f"{len(mutants) - len(tried)} of them are known to be harmless", flush=True)
    for stage in range(max(len(stages_of(module)) for module in options.modules)):
        try_all([each for each in tried if not each.caught], stage, options)

    caught = [each for each in mutants if each.caught]
    for mutant in sorted(mutants, key=lambda each: each.name):
        if mutant.caught == (mutant.change in harmless):
            verdict = "caught, but said to be harmless" if mutant.caught else "survived"
            print(f"\n{verdict}: {mutant.name}")
    print(f"\n{len(caught)} caught of {len(mutants)}, {100 * len(caught) / len(mutants):.1f}%")


def harmless_changes() -> set[str]:
    """Return the changes that nobody could notice."""
    blocks = HARMLESS.read_text("utf-8").strip().split("\n\n")
    return {each for each in blocks if not each.startswith("#")}


def recall(results: Path, mutants: Iterable[Mutant], *, again: bool) -> None:
    """Take over what earlier runs have found out."""
    if not results.exists():
        return
    known = {}
    for line in results.read_text("utf-8").splitlines():
        name, survived, caught = json.loads(line)
        known[name] = survived, caught
    for mutant in mutants:
        survived, caught = known.get(mutant.name, (0, False))
        if caught or not again:
            mutant.survived, mutant.caught = survived, caught


def try_all(mutants: list[Mutant], stage: int, options: argparse.Namespace) -> None:
    """Try out those of *mutants* that have not been, and write down what comes of it."""
    waiting = [
        each for each in mutants if each.survived == stage and stage < len(stages_of(each.module))
    ]
    for module in {str(stages_of(each.module)[stage]): each.module for each in waiting}.values():
        unchanged = Mutant(module, "", "")
        try_out(stage, unchanged)
        if unchanged.caught:
            raise SystemExit(f"the tests fail on the package as it is: {stages_of(module)[stage]}")
    with (
        options.results.open("a", encoding="utf-8") as results,
        ThreadPoolExecutor(options.jobs) as executor,
    ):
        for mutant in executor.map(partial(try_out, stage), waiting):
            line = mutant.name, mutant.survived, mutant.caught
            print(json.dumps(line), file=results, flush=True)
    caught = sum(each.caught for each in waiting)
    print(f"stage {stage + 1}: {caught} of {len(waiting)} caught", flush=True)


if __name__ == "__main__":
    main()

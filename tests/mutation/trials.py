"""Tests on mutants: one process has collected them all, and forks another for each mutant.

A mutant meets the tests that run its line in the unchanged package, the quick ones first, and
first of all those that caught others. It is caught when a test fails, and also when one takes
much longer than it did.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import FrameType
from typing import NoReturn

import coverage
import pytest

from .mutants import ROOT, SOURCE, Mutant, Package, path_of

SLOWER = 10  # times what a test took, and it counts as caught,
AT_LEAST = 5  # but not before so many seconds
MOST = 30  # seconds of tests for a mutant
MEMORY = 4 * 1024**3
SURVIVED, CAUGHT, ANEW = 0, 1, 2  # how a process ends
Line = tuple[str, int]


@dataclass(eq=False)
class Test:
    """A test, how long it takes, and how many mutants it has caught."""

    item: pytest.Item
    seconds: float = 60  # until it is known
    catches: int = 0

    @property
    def rank(self) -> float:
        return (self.seconds + 0.002) / (1 + self.catches)


@dataclass(eq=False)
class Trial:
    """A process that runs *tests*, and says which one it begins, and when."""

    tests: list[Test]
    pid: int
    news: Connection
    since: float
    number: int = 0

    @property
    def due(self) -> float:
        """When the test that it is at has taken too long."""
        return self.since + AT_LEAST + SLOWER * self.tests[self.number].seconds

    def end(self) -> None:
        """End it with all that its tests have started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.news.close()


class Trials:
    """A plugin of pytest that runs the tests many times: once as they are, and on mutants.

    Args:
        jobs: How many processes run at a time.
        use: Is called when the tests are known.
    """

    def __init__(self, jobs: int, use: Callable[[Trials], None]) -> None:
        self.jobs = jobs
        self.use = use
        self.called: set[Line] = set()
        self.has_failed = False
        self.tests: list[Test] = []
        self.runs: defaultdict[Line, set[Test]] = defaultdict(set)

    # What pytest calls

    def pytest_sessionstart(self) -> None:
        def note(frame: FrameType, event: str, _: object) -> None:
            code = frame.f_code
            if event == "call" and code.co_filename.startswith(str(SOURCE)):
                self.called.add((code.co_filename, code.co_firstlineno))

        sys.setprofile(note)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        sys.setprofile(None)
        self.package = Package(self.called)
        self.tests = list(map(Test, session.items))
        self.use(self)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.has_failed |= report.failed

    # Processes

    def begin(self, tests: list[Test], work: Callable[[Connection], object]) -> Trial:
        """Begin a process that does *work*, and sends what comes of it."""
        news, theirs = Pipe(duplex=False)
        pid = os.fork()
        if not pid:
            _work(work, theirs)
        theirs.close()
        return Trial(tests, pid, news, time.monotonic())

    def run(self, tests: list[Test], news: Connection) -> Iterator[bool]:
        """Run *tests* in this process, and yield whether each has failed."""
        items = [each.item for each in tests]
        for number, (item, after) in enumerate(zip(items, [*items[1:], None], strict=True)):
            news.send(number)
            self.has_failed = False
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            yield self.has_failed

    def outcomes(self, trials: Iterator[Trial]) -> Iterator[tuple[Trial, object]]:
        """Yield each of *trials* with what comes of it: None if it hangs or breaks down."""
        running: dict[object, Trial] = {}
        while True:
            while len(running) < self.jobs and (trial := next(trials, None)):
                running[trial.news] = trial
            if not running:
                return
            first = min(each.due for each in running.values())
            for news in wait(list(running), max(0.01, first - time.monotonic())):  # type: ignore[arg-type]
                trial = running[news]
                try:
                    told = trial.news.recv()
                except EOFError:
                    told = (None,)
                now = time.monotonic()
                if isinstance(told, int):
                    trial.number, trial.since = told, now
                else:
                    del running[news]
                    trial.end()
                    yield trial, told[0]
            for trial in [each for each in running.values() if each.due < time.monotonic()]:
                del running[trial.news]
                trial.end()
                yield trial, None

    # The package as it is

    def learn(self) -> None:
        """Run all tests as they are, and note how long each takes and what it runs."""

        def share(tests: list[Test]) -> Trial:
            return self.begin(tests, lambda news: self.measure(tests, news))

        shares = [self.tests[n :: self.jobs] for n in range(self.jobs)]
        failed: list[Test] = []
        for trial, found in self.outcomes(map(share, shares)):
            if not isinstance(found, tuple):
                raise SystemExit(f"does not end: {trial.tests[trial.number].item.nodeid}")
            results, runs = found
            for test, (seconds, has_failed) in zip(trial.tests, results, strict=True):
                test.seconds = seconds
                failed += [test] * has_failed
            for line, numbers in runs.items():
                self.runs[line].update(trial.tests[each] for each in numbers)
        for test in failed:
            print(f"left out, as it fails on the package as it is: {test.item.nodeid}")
            self.tests.remove(test)
            for tests in self.runs.values():
                tests.discard(test)

    def measure(self, tests: list[Test], news: Connection) -> object:
        """Run *tests*, and return how long each took and whether it failed, and what it runs."""
        measured = coverage.Coverage(data_file=None, config_file=False, include=[f"{SOURCE}/*"])
        measured.start()
        measured.switch_context("0")
        results = []
        began = time.monotonic()
        for number, has_failed in enumerate(self.run(tests, news), 1):
            measured.switch_context(str(number))
            results.append((time.monotonic() - began, has_failed))
            began = time.monotonic()
        measured.stop()
        data = measured.get_data()
        runs = {
            (path, line): [int(each) for each in numbers if each and int(each) < len(tests)]
            for path in data.measured_files()
            for line, numbers in data.contexts_by_lineno(path).items()
        }
        return results, runs

    def tests_for(self, mutant: Mutant) -> list[Test]:
        """Return the tests that run what it changes, or else its module, the best ones first."""
        path = path_of(mutant.module)
        found: set[Test] = set().union(*(self.runs.get((path, each), ()) for each in mutant.lines))
        found = found or set().union(
            *(tests for line, tests in self.runs.items() if line[0] == path)
        )
        chosen, left = [], float(MOST)
        for test in sorted(found, key=lambda test: test.rank):
            if test.seconds <= left:
                left -= test.seconds
                chosen.append(test)
        return chosen

    # Mutants

    def try_out(self, mutants: Iterable[Mutant]) -> Iterator[tuple[Mutant, object, list[Test]]]:
        """Yield each mutant with what came of it, and the tests that it has met."""
        begun: dict[Trial, Mutant] = {}

        def trial_of(mutant: Mutant) -> Trial:
            tests = self.tests_for(mutant)
            trial = self.begin(tests, lambda news: self.attack(mutant, tests, news))
            begun[trial] = mutant
            return trial

        for trial, outcome in self.outcomes(map(trial_of, mutants)):
            if outcome in (CAUGHT, None):
                trial.tests[trial.number].catches += 1
            yield begun.pop(trial), outcome, trial.tests

    def attack(self, mutant: Mutant, tests: list[Test], news: Connection) -> int:
        is_done, is_new = self.package.change(mutant)
        if not is_done:
            return ANEW
        if any(self.run(tests, news)):
            return CAUGHT
        return SURVIVED if is_new else ANEW


def _work(work: Callable[[Connection], object], news: Connection) -> NoReturn:
    try:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        news.send((work(news),))
    finally:
        os._exit(1)


def failed_anew(mutant: Mutant | None, tests: list[Test]) -> set[str]:
    """Run *tests* in a new process that imports the *mutant*, until one fails; return its name.

    Without a mutant, all are run, and the names of all that fail are returned.
    """
    options = ["-q", "-n", "0", "-o", "faulthandler_timeout=60"]
    variables = dict(os.environ)
    with tempfile.TemporaryDirectory() as directory:
        if mutant:
            path = Path(directory, "source.py")
            path.write_text(mutant.source, "utf-8")
            variables["MUTANT"] = f"{mutant.module}={path}"
            options += ["-x", "-p", "tests.mutation.imported"]
            options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        options += ["-o", f"cache_dir={directory}"]  # where pytest notes what has failed
        command = [sys.executable, "-m", "pytest", *options, *(each.item.nodeid for each in tests)]
        done = subprocess.run(command, check=False, cwd=ROOT, env=variables, capture_output=True)
        notes = Path(directory, "v", "cache", "lastfailed")
        failed = set(json.loads(notes.read_text("utf-8"))) if notes.exists() else set()
    return failed or ({"one that ended all"} if done.returncode else set())

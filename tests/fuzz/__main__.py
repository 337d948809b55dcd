r"""Looks for inputs that break a promise, guided by what code they reach (with atheris).

    python -m tests.fuzz decoders               # until Ctrl-C, or the first such input
    python -m tests.fuzz inspection -max_total_time=600

What follows the target's name goes to libFuzzer (``-help=1`` lists it all): for how many seconds
(``-max_total_time``) or executions (``-runs``), with which ``-seed``.  It begins with golden
messages and with the corpus in the tree, and writes nothing there.

An input that breaks a promise is written to ``crash-...`` in the working directory, and should
become a line of ``tests/fuzz/corpus``, which ``tests/test_fuzzing.py`` tries in each run of the
tests::

    python -m tests.fuzz decoders --add crash-...

So should what reaches code that nothing there does::

    python -m tests.fuzz decoders --keep found -max_total_time=600
    python -m tests.fuzz decoders --add found

It needs ``pip install atheris``.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

import atheris

from .corpus import TARGETS, corpus, keep, read_files, write_files

LIMITS = ["-max_len=160", "-timeout=20"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--keep", type=Path, help="a directory for what is found")
    parser.add_argument(
        "--add", type=Path, help="keep this file in the tree, or all in this directory"
    )
    options, rest = parser.parse_known_args()
    if options.add:
        print(keep(options.target, read_files(options.add)), "added")
    else:
        fuzz(options.target, options.keep, rest)


def fuzz(target: str, found: Path | None, arguments: list[str]) -> None:
    with atheris.instrument_imports(include=["framing", "tests.netstring"]):
        check = importlib.import_module(f"tests.fuzz.{target}").check
        check(b"")  # which imports the rest
        from .seeds import seeds
    with tempfile.TemporaryDirectory() as directory:
        begin = write_files([*seeds(target), *corpus(target)], Path(directory, "begin"))
        found = found or Path(directory, "found")
        found.mkdir(parents=True, exist_ok=True)
        atheris.Setup([sys.argv[0], *LIMITS, *arguments, str(found), str(begin)], check)
        atheris.Fuzz()


main()

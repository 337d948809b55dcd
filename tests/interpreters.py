"""Run the suite on other Pythons, side by side.

    python -m tests.interpreters                      those on this machine, but not this one
    python -m tests.interpreters --record PYTHON ...  these, and put the results in docs/proof.md

Each tests the wheel in a virtual environment of its own.  This fails if a test fails, or if a
Python that pyproject.toml promises has no results for this version of framing: neither from this
run nor in docs/proof.md.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import framing

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "proof.md"
HEAD = "| Python | version | framing | passed | skipped | seconds |\n|---|---|---|---|---|---|\n"

_ABOUT = r"""
import platform, sys, sysconfig
series = "%d.%d" % sys.version_info[:2] + "t" * bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
pypy = getattr(sys, "pypy_version_info", None)
version = "%d.%d.%d" % pypy[:3] if pypy else platform.python_version()
print(platform.python_implementation() + " " + series, version, sep="\n")
"""


def about(path: str) -> list[str]:
    """Return the name and the version of the Python at *path*; nothing if it does not start."""
    command = [path, "-c", _ABOUT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.splitlines()


def installed() -> Iterator[str]:
    """Yield the Pythons on the path, and those of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for directory in [*map(Path, os.get_exec_path()), *pyenv.glob("versions/*/bin")]:
        for name in ("python3.1[0-9]", "python3.1[0-9]t", "pypy3"):
            yield from map(str, directory.glob(name))


def run(found: tuple[str, tuple[str, str]], wheel: str) -> str:
    """Run the suite on a Python, and return its row of the table; nothing if a test fails."""
    name, (path, version) = found
    venv = Path(wheel).with_name(name)
    log, python = venv.with_name(f"{name}.log"), str(venv / "bin" / "python")
    environ = {**os.environ, "HYPOTHESIS_PROFILE": "quick"}
    environ.pop("PYTHONPATH", None)  # the wheel is what is tested

    def call(*command: str) -> bool:
        with log.open("a") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
            return process.wait() == 0

    pip = [python, "-m", "pip", "install", "--quiet", "--only-binary=:all:"]
    tests = ["-q", "-n", "0", "-p", "no:cacheprovider", "--ignore=tests/test_everywhere.py"]
    passes = (
        call(path, "-m", "venv", str(venv))
        # Where trustme cannot be installed, the tests of TLS are skipped.
        and (call(*pip, f"{wheel}[test]") or call(*pip, wheel, "hypothesis", "pytest-xdist"))
        and call(python, "-X", "dev", "-W", "error", "-m", "pytest", *tests)
    )
    lines = log.read_text("utf-8", "replace").splitlines()
    print(f"- {name}", *lines[-1 if passes else -100 :], sep="\n", flush=True)
    counts = [re.search(each, lines[-1]) for each in (r"(\d+) pas", r"(\d+) skip", r"in (\d+)")]
    cells = [name, version, framing.__version__, *(each[1] if each else "0" for each in counts)]
    return f"| {' | '.join(cells)} |\n" if passes else ""


def missing(rows: list[str]) -> set[str]:
    """Return which Pythons are promised by classifiers, and have no row for this version."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    promised = re.findall(r'"Programming.* :: (3\.\d+|PyPy|Free Threading)\b', text)
    those = [each.split()[1:3] for each in rows if f" | {framing.__version__} | " in each]
    names = {"PyPy" if name == "PyPy" else series for name, series in those}
    return set(promised) - {"Free Threading" if each.endswith("t") else each for each in names}


def main(*paths: str, is_recorded: bool) -> None:
    this = about(sys.executable)
    pythons: dict[str, tuple[str, str]] = {}
    for path in paths or installed():
        if found := about(path):
            pythons.setdefault(found[0], (path, found[1]))
    if not paths:
        pythons.pop(this[0], None)
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(4) as executor:
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", directory, "."]
        subprocess.run(build, cwd=ROOT, check=True)
        (wheel,) = map(str, Path(directory).glob("*.whl"))
        rows = [*executor.map(run, pythons.items(), repeat(wheel))]

    before, head, rest = PAGE.read_text("utf-8").partition(HEAD)
    recorded = re.findall(r"\|.*\n", rest.partition("\n\n")[0] + "\n")
    after = rest[len("".join(recorded)) :]
    if is_recorded:
        names = tuple(f"| {name} |" for name in pythons)
        recorded = sorted([*rows, *(each for each in recorded if not each.startswith(names))])
        PAGE.write_text("".join([before, head, *recorded, after]), "utf-8")
    for each in sorted(missing([*rows, f"| {' | '.join([*this, framing.__version__])} | "])):
        print(f"skipped: {each}")
    if "" in rows or missing([*rows, *recorded]):
        sys.exit("failed" if "" in rows else f"some have no results in {PAGE}")


if __name__ == "__main__":
    main(*(each for each in sys.argv[1:] if each != "--record"), is_recorded="--record" in sys.argv)

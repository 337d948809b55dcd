"""The package elsewhere: under another name, and on systems that lack what this one has.

Each of these runs a part of the suite again, in a process of its own; with
``HYPOTHESIS_PROFILE=thorough`` more of it, and each lacking feature alone.
"""

from __future__ import annotations

import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import framing

from .conditions import FEATURES

ROOT = Path(__file__).parent.parent
PACKAGE = Path(framing.__path__[0])
IS_THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
# These run under conditions already.
IS_INNER = bool(os.environ.get("WITHOUT") or os.environ.get("TESTED_PACKAGE"))

pytestmark = pytest.mark.skipif(IS_INNER, reason="part of a run under other conditions")

# The tests that a feature has to do with.
PARTS = {
    "MSG_DONTWAIT": "channel message_socket sending functions server files",
    "MSG_PEEK": "functions",
    "MSG_TRUNC": "datagram",
    "poll": "channel message_socket sending server datagram",
    "sendmsg": "functions sending message_socket",
    "sendfile": "files",
    "link": "files",
}
# Of these, some that show much in little time.
SOME = "times_out_loses or connect_connects or alternate or of_items or truncated"


def run_suite(*arguments: str, **conditions: str) -> str:
    """Run the suite, or some of it, under *conditions*; return the last line of what it says."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "pytest", "-q", "-x"]
    done = subprocess.run(
        # (What hangs is to say where, before the time below is over.)
        [*command, "-p", "no:cacheprovider", "-o", "faulthandler_timeout=120", *arguments],
        cwd=ROOT,
        env={**os.environ, "HYPOTHESIS_PROFILE": "quick", **conditions},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout.splitlines()[-1]


def files_of(modules: str) -> list[str]:
    return sorted({f"tests/test_{module}.py" for module in modules.split()})


def test_every_feature_has_its_part() -> None:
    assert PARTS.keys() == FEATURES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("feature", PARTS)
def test_the_suite_passes_without(feature: str) -> None:
    assert " passed" in run_suite(*files_of(PARTS[feature]), WITHOUT=feature)


@pytest.mark.slow
def test_some_tests_pass_without_any_of_these_features() -> None:
    files = files_of(" ".join(PARTS.values()))
    assert " passed" in run_suite(*files, "-k", SOME, WITHOUT=",".join(PARTS))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package in somebody's tree: ``acme._vendor.wire``."""
    vendor = tmp_path / "acme" / "_vendor"
    vendor.mkdir(parents=True)
    shutil.copytree(PACKAGE, vendor / "wire", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "LICENSE", vendor / "wire")
    return tmp_path


@pytest.mark.slow
def test_the_suite_passes_on_a_copy_under_another_name(copy: Path) -> None:
    # In which copies differ most: names, pickles, and processes that are told the name.
    chosen = [] if IS_THOROUGH else files_of("errors golden server")
    assert " passed" in run_suite(*chosen, TESTED_PACKAGE="acme._vendor.wire", PYTHONPATH=str(copy))


_ALONE = """
import importlib, sys
sys.modules["framing"] = None  # so that importing it is an error
sys.path.insert(0, sys.argv[1])
for module in sys.argv[2:]:
    importlib.import_module(f"acme._vendor.wire.{module}")
import socket, pickle
from acme._vendor import wire
here, there = socket.socketpair()
with here, there:
    wire.send_msg(here, b"hello")
    assert wire.recv_msg(there) == b"hello"
framer = pickle.loads(pickle.dumps(wire.LineFramer()))
assert type(framer).__module__.startswith("acme._vendor.wire")
print(wire.__name__)
"""


def test_a_copy_needs_nothing_of_the_original(copy: Path) -> None:
    modules = [
        each.name.removeprefix(f"{framing.__name__}.")
        for each in pkgutil.walk_packages(framing.__path__, f"{framing.__name__}.")
        if not each.name.endswith("__main__")
    ]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _ALONE, str(copy), *modules],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "acme._vendor.wire\n", done.stderr

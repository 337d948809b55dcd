"""The rooms of the package: imports go one way, and the core knows nothing of I/O."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import framing

PACKAGE = Path(framing.__path__[0])
CORE = {"formats", "decoder", "framer", "requests", "buffer", "errors"}
IO = {"socket", "ssl", "select", "selectors", "threading", "asyncio"}


def modules() -> Iterator[tuple[str, Path]]:
    """Yield each module with its room: a package, or the module itself."""
    for path in PACKAGE.rglob("*.py"):
        inside = path.relative_to(PACKAGE)
        if inside.parts[0] not in {"__init__.py", "__main__.py"}:
            yield inside.parts[0].removesuffix(".py"), path


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield what is imported with the module, and whether it is in another room of the package.

    What is for types only, or in a function, does not count.
    """
    depth = len(path.relative_to(PACKAGE).parts)
    waiting: list[ast.stmt] = ast.parse(path.read_text("utf-8")).body
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from ((each.name.partition(".")[0], False) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [each.name for each in node.names]
            if node.level in {0, depth}:
                yield from ((name.partition(".")[0], node.level > 0) for name in names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) != "TYPE_CHECKING":
            waiting += [*node.body, *node.orelse]
        elif isinstance(node, ast.Try):
            waiting += [*node.body, *node.orelse, *node.finalbody]


def test_no_two_rooms_import_one_another() -> None:
    rooms: dict[str, set[str]] = {}
    for room, path in modules():
        others = {name for name, is_ours in imports_of(path) if is_ours}
        rooms.setdefault(room, set()).update(others - {room})
    TopologicalSorter(rooms).prepare()  # raises an error that names a circle


def test_the_core_imports_no_io_and_no_other_room() -> None:
    for room, path in modules():
        if room in CORE:
            for name, is_ours in imports_of(path):
                assert name in CORE if is_ours else name not in IO, f"{path.name}: {name}"


def test_importing_the_package_stays_cheap() -> None:
    heavy = {"asyncio", "ssl", "dataclasses", "inspect", "argparse", "socketserver", "logging"}
    command = [sys.executable, "-c", f"import sys, {framing.__name__}; print(*sys.modules)"]
    # What coverage loads to measure another process does not count.
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("COVERAGE_")}
    done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
    assert not heavy & set(done.stdout.decode().split())


def test_only_public_names_are_listed_and_the_others_are_an_error() -> None:
    rooms = {"aio", "files", "server", "testing"}
    assert set(dir(framing)) == {*framing.__all__, *rooms, "__version__"}
    assert {name for name in dir(framing) if not hasattr(framing, name)} == set()
    with pytest.raises(AttributeError, match="has no attribute 'recieve'"):
        framing.recieve  # noqa: B018


def test_imports_inside_the_package_are_relative() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert (node.module or "").partition(".")[0] != "framing", path

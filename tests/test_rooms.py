"""The rooms of the package: every import points down this list, and the core does no I/O."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import framing

PACKAGE = Path(framing.__path__[0])
# From the top down. A package is a room, whose modules may import one another.
ROOMS = [
    *("cli", "files", "server", "aio", "testing", "sockets", "datagram"),
    *("formats", "decoder", "framer", "requests", "buffer", "errors"),
]
CORE = ROOMS[ROOMS.index("formats") :]
IO = {"socket", "ssl", "select", "selectors", "threading", "asyncio"}

pytestmark = pytest.mark.skipif(
    not (PACKAGE / "formats").is_dir(), reason="version 0.1 has no rooms"
)


def modules_of(room: str) -> Iterator[Path]:
    return (
        (PACKAGE / room).rglob("*.py")
        if (PACKAGE / room).is_dir()
        else iter([PACKAGE / f"{room}.py"])
    )


def imports_of(path: Path) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that run with the module: not those for types, or in a function."""
    waiting: list[ast.stmt] = ast.parse(path.read_text("utf-8")).body
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test) != "TYPE_CHECKING":
            waiting += [*node.body, *node.orelse]
        elif isinstance(node, ast.Try):
            waiting += [*node.body, *node.orelse, *node.finalbody]


def rooms_imported_by(path: Path) -> Iterator[str]:
    depth = len(path.relative_to(PACKAGE).parts)
    for node in imports_of(path):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            names = [node.module] if node.module else [each.name for each in node.names]
            yield from (name.partition(".")[0] for name in names)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_down(room: str) -> None:
    for path in modules_of(room):
        if path.exists():
            for other in rooms_imported_by(path):
                if other in ROOMS and other != room:
                    assert ROOMS.index(other) > ROOMS.index(room), f"{path.name}: {other}"


@pytest.mark.parametrize("room", CORE)
def test_the_core_imports_no_io(room: str) -> None:
    for path in modules_of(room):
        if path.exists():
            for node in imports_of(path):
                module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
                absolute = isinstance(node, ast.Import) or not node.level
                assert not (absolute and (module or "").partition(".")[0] in IO), path.name


def test_imports_inside_the_package_are_relative() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert (node.module or "").partition(".")[0] != "framing", path

"""The types are part of the API: what they say is checked, and what they refuse."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import framing

HERE = Path(__file__).parent
TYPING = HERE / "typing"


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_types_are_as_written_down(version: str, tmp_path: Path) -> None:
    """Without a wrong ``assert_type``, and without an ignored error that is none."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    files = [str(TYPING / name) for name in ("api.py", "misuse.py")]
    command = [sys.executable, "-m", "mypy", "--python-version", version]
    done = subprocess.run(
        [*command, f"--cache-dir={tmp_path}", *files],
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_public_name_has_its_types() -> None:
    names: set[str] = set()
    for node in ast.walk(ast.parse((TYPING / "api.py").read_text("utf-8"))):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
    assert not set(framing.__all__) - names

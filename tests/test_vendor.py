"""Copies of the package that `vendor` makes."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import framing

from .programs import TIMEOUT, run_here

PACKAGE = Path(framing.__file__).parent
LEFT_OUT = {"__main__", "aio", "cli", "datagram", "files", "server", "testing"}

HOMEWORK = """
import socket
import wire
from wire import LineFramer, MessageSocket, recv_msg, send_msg
client, server = socket.socketpair()
send_msg(client, b"hello")
print(recv_msg(server))
with client, MessageSocket(server, LineFramer()) as messages:
    messages.send("bye")
    print(recv_msg(client, framer=LineFramer()))
print(*dir(wire), *(getattr(wire, name).__module__ for name in wire.__all__))
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def vendor(arguments: str) -> str:
    done = run_here("vendor", *arguments.split())
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def python(*arguments: str, path: str = "") -> str:
    """Run Python without any installed package, but with *path*."""
    command = [sys.executable, "-S", *arguments]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.check_output(command, env=environment, text=True, timeout=TIMEOUT)


def sources(package: Path) -> dict[str, str]:
    paths = package.rglob("*.py")
    return {path.relative_to(package).as_posix(): path.read_text("utf-8") for path in paths}


@pytest.mark.parametrize("options", ["", "--minimal"], ids=["whole", "minimal"])
def test_a_copy_beside_a_program_works(options: str) -> None:
    assert vendor(f"wire {options}").startswith(f"wire: framing {framing.__version__}, ")
    assert "The framing maintainers" in Path("wire/LICENSE").read_text()
    Path("server.py").write_text(HOMEWORK)
    first, second, names = python("server.py").splitlines()
    assert (first, second) == ("b'hello'", "bye")
    expected = {"MessageSocket", "connect", "send_msg", "recv_msg", "LineFramer", "JsonFramer"}
    assert expected <= set(names.split())


def test_a_whole_copy_has_its_own_name() -> None:
    vendor("app --name wire")
    assert os.listdir("app") == ["wire"]
    shown = python("-m", "app.wire", "send", "--help")
    assert shown.startswith("usage: python -m app.wire send ")
    assert "\n  python -m app.wire send 127.0.0.1:9000 " in shown
    python("-m", "app.wire", "vendor", "second")
    assert sources(Path("second")) == sources(Path("app/wire")) == sources(PACKAGE)


def test_a_minimal_copy_is_complete() -> None:
    vendor("wire --minimal")
    copied = sources(Path("wire"))
    assert copied.keys() == {
        name for name in sources(PACKAGE) if name.split("/")[0].split(".")[0] not in LEFT_OUT
    }
    for name, source in copied.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.level == name.count("/") + 1:
                imported = [node.module or "", *(alias.name for alias in node.names)]
                assert not LEFT_OUT & {each.split(".")[0] for each in imported}, name


def test_only_an_unchanged_copy_is_replaced() -> None:
    vendor("wire --minimal")
    python("-c", "import wire")  # which leaves compiled files in it
    vendor("wire")
    assert Path("wire/cli").is_dir()
    Path("wire/mine.py").touch()
    Path("other").mkdir()
    for name in ("wire", "other"):
        refused = run_here("vendor", name)
        assert refused.returncode == 1
        assert f"{name} exists, and is not an unchanged copy" in refused.stderr
    assert Path("wire/mine.py").exists()
    assert sorted(os.listdir()) == ["other", "wire"]


def test_a_copy_needs_a_name_that_can_be_imported() -> None:
    for target in (".", "a-b", "class", "socket", "app --name a/b"):
        refused = run_here("vendor", *target.split())
        assert refused.returncode == 1
        assert "a package cannot be called" in refused.stderr
    assert os.listdir() == []


def test_a_copy_without_a_licence_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(PACKAGE, "wire", ignore=shutil.ignore_patterns("__pycache__", "LICENSE"))
    monkeypatch.setattr("framing.cli.vendor._PACKAGE", Path("wire").resolve())
    refused = run_here("vendor", "second")
    assert refused.returncode == 1
    assert "wire has no LICENSE file, and a copy needs one" in refused.stderr
    assert os.listdir() == ["wire"]


@pytest.mark.slow
def test_copies_pass_a_strict_type_checker() -> None:
    pytest.importorskip("mypy")
    vendor("whole")
    vendor("small --minimal")
    # Without what happens to be installed, such as stubs for tqdm.
    options = ["--strict", "--no-site-packages", "--python-version", "3.10"]
    command = [sys.executable, "-m", "mypy", *options, "whole", "small"]
    done = subprocess.run(command, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout

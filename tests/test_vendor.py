"""Copies of the package that `vendor` makes."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import framing

from .programs import TIMEOUT, run_here

NAME = framing.__name__
PACKAGE = Path(framing.__file__).parent
LEFT_OUT = {"__main__", "aio", "cli", "datagram", "files", "server", "testing"}

HOMEWORK = """
import socket
from wire import LineFramer, MessageSocket, recv_msg, send_msg
client, server = socket.socketpair()
send_msg(client, b"hello")
print(recv_msg(server))
with client, MessageSocket(server, LineFramer()) as messages:
    messages.send("bye")
    print(recv_msg(client, framer=LineFramer()))
"""


@pytest.fixture(autouse=True)
def homework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python(*arguments: str, path: Path | str = "") -> subprocess.CompletedProcess[str]:
    """Run Python without any installed package, but with *path*."""
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def sources(package: Path) -> dict[str, str]:
    return {
        path.relative_to(package).as_posix(): path.read_text(encoding="utf-8")
        for path in package.rglob("*.py")
    }


@pytest.mark.parametrize("options", [[], ["--minimal"]], ids=["whole", "minimal"])
def test_a_copy_beside_a_program_works(options: list[str], homework: Path) -> None:
    copied = run_here("vendor", "wire", *options)
    assert (copied.returncode, copied.stderr) == (0, "")
    assert copied.stdout.startswith(f"wire: framing {framing.__version__}, ")
    assert "The framing maintainers" in (homework / "wire" / "LICENSE").read_text()
    (homework / "server.py").write_text(HOMEWORK)
    assert python("server.py").stdout == "b'hello'\nbye\n"


def test_a_whole_copy_has_its_own_name(homework: Path) -> None:
    assert run_here("vendor", "app", "--name", "wire").returncode == 0
    assert os.listdir("app") == ["wire"]
    shown = python("-m", "app.wire", "send", "--help").stdout
    assert shown.startswith("usage: python -m app.wire send ")
    assert "\n  python -m app.wire send 127.0.0.1:9000 " in shown
    assert python("-m", "app.wire", "vendor", "second").returncode == 0
    assert sources(homework / "second") == sources(homework / "app" / "wire") == sources(PACKAGE)


def test_a_minimal_copy_is_complete(homework: Path) -> None:
    assert run_here("vendor", "wire", "--minimal").returncode == 0
    kept = {name for name in sources(PACKAGE) if name.split("/")[0].split(".")[0] not in LEFT_OUT}
    assert set(sources(homework / "wire")) == kept
    for name, source in sources(homework / "wire").items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.level == name.count("/") + 1:
                imported = [node.module or "", *(alias.name for alias in node.names)]
                assert not LEFT_OUT & {each.split(".")[0] for each in imported}, name
    names = python("-c", "import wire; [getattr(wire, n) for n in wire.__all__]; print(*dir(wire))")
    expected = {"MessageSocket", "connect", "send_msg", "recv_msg", "LineFramer", "JsonFramer"}
    assert expected <= set(names.stdout.split())


def test_only_an_unchanged_copy_is_replaced(homework: Path) -> None:
    assert run_here("vendor", "wire", "--minimal").returncode == 0
    python("-c", "import wire")  # which leaves compiled files in it
    assert run_here("vendor", "wire").returncode == 0
    assert (homework / "wire" / "cli").is_dir()
    (homework / "wire" / "mine.py").write_text("")
    (homework / "other").mkdir()
    for name in ("wire", "other"):
        refused = run_here("vendor", name)
        assert refused.returncode == 1
        assert f"{name} exists, and is not an unchanged copy" in refused.stderr
    assert (homework / "wire" / "mine.py").exists()
    assert sorted(os.listdir()) == ["other", "wire"]


@pytest.mark.parametrize("target", [".", "a-b", "class", "socket", "app --name a/b"])
def test_a_copy_needs_a_name_that_can_be_imported(target: str, homework: Path) -> None:
    refused = run_here("vendor", *target.split())
    assert refused.returncode == 1
    assert "a package cannot be called" in refused.stderr
    assert list(homework.iterdir()) == []


@pytest.mark.skipif(NAME != "framing", reason="a copy is not a checkout")
def test_an_installed_package_can_be_copied(
    homework: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buildapi = pytest.importorskip("flit_core.buildapi")
    monkeypatch.chdir(PACKAGE.parent.parent)
    wheel = buildapi.build_wheel(str(homework))
    monkeypatch.chdir(homework)
    with zipfile.ZipFile(homework / wheel) as archive:
        archive.extractall(homework / "site")
    assert python("-m", "framing", "vendor", "wire", path=homework / "site").returncode == 0
    assert "The framing maintainers" in (homework / "wire" / "LICENSE").read_text()
    assert sources(homework / "wire") == sources(PACKAGE)


def test_copies_pass_a_strict_type_checker() -> None:
    pytest.importorskip("mypy")
    assert run_here("vendor", "whole").returncode == 0
    assert run_here("vendor", "small", "--minimal").returncode == 0
    # Without what happens to be installed, such as stubs for tqdm.
    options = ["--strict", "--no-site-packages", "--python-version", "3.10"]
    command = [sys.executable, "-m", "mypy", *options, "whole", "small"]
    done = subprocess.run(command, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout

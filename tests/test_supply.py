"""What is delivered: the wheel and the sdist, built as an installer builds them."""

from __future__ import annotations

import base64
import hashlib
import importlib
import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from unittest import mock

import pytest

import framing

ROOT = Path(__file__).parent.parent
NAME = f"message_framing-{framing.__version__}"
INFO = f"{NAME}.dist-info"
# What is delivered is tested, installed or not: the modules that the tests have imported.
PACKAGE = {
    f"framing/{path.relative_to(framing.__path__[0]).as_posix()}": path.read_bytes()
    for path in Path(framing.__path__[0]).rglob("*")
    if path.suffix == ".py" or path.name == "py.typed"
}

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").exists(), reason="not in a source tree"
)


def build(kind: str, source: Path, directory: Path) -> Path:
    """Build a wheel or an sdist of *source*, by the hook of PEP 517 that ``pip`` calls too."""
    pytest.importorskip("flit_core", reason="flit_core, which builds the package, is missing")
    hook = getattr(importlib.import_module("flit_core.buildapi"), f"build_{kind}")
    directory.mkdir()
    before = Path.cwd()
    os.chdir(source)
    with mock.patch.dict(os.environ, SOURCE_DATE_EPOCH="1700000000"):
        name: str = hook(str(directory))
    os.chdir(before)
    return directory / name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("dist") / "wheel")


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_the_wheel_holds_the_package_and_its_licence_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"{NAME}-py3-none-any.whl"
    files = contents(wheel)
    about = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    assert files.keys() == PACKAGE.keys() | {f"{INFO}/{each}" for each in about}
    assert PACKAGE.items() <= files.items()
    assert "framing/py.typed" in files
    assert files[f"{INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    lines = files[f"{INFO}/RECORD"].decode().splitlines()
    record = {name: rest for name, *rest in (line.rsplit(",", 2) for line in lines)}
    assert record.pop(f"{INFO}/RECORD") == ["", ""]
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        assert "RECORD" in name or record[name] == [f"sha256={digest}", str(len(data))]


def test_installing_it_installs_nothing_else(wheel: Path) -> None:
    files = contents(wheel)
    about = Parser().parsestr(files[f"{INFO}/METADATA"].decode())
    assert (about["Name"], about["Version"]) == ("message-framing", framing.__version__)
    assert (about["Requires-Python"], about["License-Expression"]) == (">=3.10", "MIT")
    requirements = about.get_all("Requires-Dist", [])
    assert requirements
    assert all("extra ==" in each for each in requirements)
    scripts = files[f"{INFO}/entry_points.txt"].decode()
    assert scripts.split() == ["[console_scripts]", "framing=framing.cli:main"]
    assert b"Root-Is-Purelib: true" in files[f"{INFO}/WHEEL"]


@pytest.mark.skipif(framing.__name__ != "framing", reason="a copy is not a checkout")
def test_an_installed_package_can_be_vendored(wheel: Path, tmp_path: Path) -> None:
    for name, data in contents(wheel).items():
        write(tmp_path / "site" / name, data)
    command = [sys.executable, "-S", "-m", "framing", "vendor", "wire"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    subprocess.run(command, cwd=tmp_path, env=environment, timeout=60, check=True)
    assert "The framing maintainers" in (tmp_path / "wire" / "LICENSE").read_text()
    for name, data in PACKAGE.items():
        assert (tmp_path / name.replace("framing/", "wire/", 1)).read_bytes() == data


def test_the_sdist_can_be_tested_and_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", ROOT, tmp_path / "sdist")) as archive:
        for each in archive:
            if (file := archive.extractfile(each)) is not None:
                write(tmp_path / each.name, file.read())
    unpacked = tmp_path / NAME
    files = {str(each.relative_to(unpacked)) for each in unpacked.rglob("*") if each.is_file()}
    top = {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "PKG-INFO"}
    assert top | {f"src/{name}" for name in PACKAGE} <= files
    assert {Path(name).parts[0] for name in files} == top | {"src", "tests", "docs"}
    for place, kind in (("tests", "*.py"), ("tests", "*.json"), ("docs", "*.md")):
        assert {str(each.relative_to(ROOT)) for each in (ROOT / place).rglob(kind)} <= files
    assert not [name for name in files if name.endswith(".pyc")]
    again = build("wheel", unpacked, tmp_path / "again")
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()

"""What is delivered: the wheel and the sdist, built as an installer builds them."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import framing

ROOT = Path(__file__).parent.parent
PYPROJECT = ROOT / "pyproject.toml"
NAME = f"message_framing-{framing.__version__}"

pytestmark = pytest.mark.skipif(not PYPROJECT.exists(), reason="not in a source tree")


def build(kind: str, source: Path, directory: Path) -> Path:
    """Build a wheel or an sdist of *source*, by the hook of PEP 517 that ``pip`` calls too."""
    directory.mkdir()
    script = f"import sys; from flit_core.buildapi import *; print(build_{kind}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(directory)],
        cwd=source,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return directory / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("flit_core", reason="flit_core, which builds the package, is not installed")
    return tmp_path_factory.mktemp("dist")


@pytest.fixture(scope="module")
def wheel(directory: Path) -> Path:
    return build("wheel", ROOT, directory / "wheel")


@pytest.fixture(scope="module")
def sdist(directory: Path) -> Path:
    return build("sdist", ROOT, directory / "sdist")


@pytest.fixture(scope="module")
def unpacked(sdist: Path, directory: Path) -> Path:
    with tarfile.open(sdist) as archive:
        for each in archive:
            if (file := archive.extractfile(each)) is not None:
                path = directory / each.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.read())
    return directory / NAME


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata(wheel: Path) -> Message:
    return Parser().parsestr(contents(wheel)[f"{NAME}.dist-info/METADATA"].decode())


def sources() -> set[str]:
    source = ROOT / "src"
    files = (source / "framing").rglob("*")
    return {
        str(each.relative_to(source))
        for each in files
        if each.is_file() and "__pycache__" not in each.parts
    }


def test_the_wheel_holds_the_package_and_its_licence_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"{NAME}-py3-none-any.whl"
    about = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    files = contents(wheel)
    assert set(files) == sources() | {f"{NAME}.dist-info/{each}" for each in about}
    assert "framing/py.typed" in files
    assert files[f"{NAME}.dist-info/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    for name in sources():
        assert files[name] == (ROOT / "src" / name).read_bytes()


def test_the_wheels_record_is_true(wheel: Path) -> None:
    files = contents(wheel)
    lines = files[f"{NAME}.dist-info/RECORD"].decode().splitlines()
    assert {line.split(",")[0] for line in lines} == set(files)
    for line in lines:
        name, digest, size = line.rsplit(",", 2)
        if digest:
            data = files[name]
            expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
            assert (digest, int(size)) == (f"sha256={expected.decode()}", len(data))


def test_installing_it_installs_nothing_else(wheel: Path) -> None:
    about = metadata(wheel)
    assert (about["Name"], about["Version"]) == ("message-framing", framing.__version__)
    assert about["Requires-Python"] == ">=3.10"
    assert about["License-Expression"] == "MIT"
    requirements = about.get_all("Requires-Dist", [])
    assert requirements
    assert all("extra ==" in each for each in requirements)
    scripts = contents(wheel)[f"{NAME}.dist-info/entry_points.txt"].decode()
    assert scripts.split() == ["[console_scripts]", "framing=framing.cli:main"]
    assert b"Root-Is-Purelib: true" in contents(wheel)[f"{NAME}.dist-info/WHEEL"]


def test_the_sdist_holds_what_is_needed_to_test_it(unpacked: Path) -> None:
    files = {str(each.relative_to(unpacked)) for each in unpacked.rglob("*") if each.is_file()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "PKG-INFO"} <= files
    assert {f"src/{name}" for name in sources()} <= files
    tops = {Path(name).parts[0] for name in files}
    assert tops <= {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "PKG-INFO"} | {
        *("src", "tests", "docs")
    }
    tests = ROOT / "tests"
    for each in (*tests.rglob("*.py"), *tests.rglob("*.json"), *(ROOT / "docs").rglob("*.md")):
        assert str(each.relative_to(ROOT)) in files
    assert not [name for name in files if name.endswith(".pyc")]


def test_the_sdist_builds_the_same_wheel(unpacked: Path, wheel: Path, directory: Path) -> None:
    again = build("wheel", unpacked, directory / "again")
    assert again.name == wheel.name
    assert contents(again) == contents(wheel)
    assert again.read_bytes() == wheel.read_bytes()


def test_what_is_tested_here_is_what_the_wheel_holds(wheel: Path) -> None:
    """Installed or not: the modules that the tests have imported are these."""
    tested = Path(framing.__path__[0])
    files = contents(wheel)
    for name in sources():
        assert (tested.parent / name).read_bytes() == files[name]

"""The inputs that reach all code that fuzzing has found a way to: one a line, in hexadecimal."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

DIRECTORY = Path(__file__).with_name("corpus")
TARGETS = ["decoders", "inspection", "connections"]


def corpus(target: str) -> list[bytes]:
    """Return the inputs that are kept for *target*."""
    return list(map(bytes.fromhex, _path(target).read_text("ascii").splitlines()))


def keep(target: str, inputs: list[bytes]) -> int:
    """Add *inputs* to those that are kept, and return how many are new."""
    before = corpus(target)
    lines = sorted({each.hex() for each in (*before, *inputs)}, key=lambda line: (len(line), line))
    _path(target).write_text("".join(f"{line}\n" for line in lines), "ascii")
    return len(lines) - len(before)


def _path(target: str) -> Path:
    return DIRECTORY / f"{target}.txt"


def write_files(inputs: list[bytes], directory: Path) -> Path:
    """Write each input to a file of its own, as fuzzers want it; return the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for each in inputs:
        (directory / sha256(each).hexdigest()).write_bytes(each)
    return directory


def read_files(path: Path) -> list[bytes]:
    """Return the inputs in a directory, or the one in a file."""
    paths = sorted(path.iterdir()) if path.is_dir() else [path]
    return [each.read_bytes() for each in paths]

"""Copies of this package, for projects that cannot or do not want to install it.

A copy is a folder with the package, its licence and a note that says what it is and how to
replace it.  All imports in the package are relative, so a copy works under any name.
"""

from __future__ import annotations

import ast
import hashlib
import keyword
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from .terminal import CommandError, reason, show

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_PACKAGE = Path(__file__).parent.parent
# What a minimal copy does without: the first part of a path in the package.
_LEFT_OUT = {"__main__", "aio", "cli", "datagram", "files", "server", "testing"}
_NOTE = "VENDORED.txt"


def vendor(options: argparse.Namespace) -> None:
    """Copy this package into your project.

    Examples:
      framing vendor wire                (then: from wire import recv_msg, send_msg)
      framing vendor myapp --name wire   (then: from myapp.wire import recv_msg, send_msg)

    The copy needs nothing but Python.  The same command replaces it by a newer one.
    """
    target: Path = options.dir / options.name if options.name else options.dir
    _check_name(options.name or target.name)
    _check_is_free(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".vendor-", dir=target.parent) as folder:
            copy = Path(folder) / "copy"
            _write_copy(copy, options)
            if target.exists():
                shutil.rmtree(target)
            copy.rename(target)
    except OSError as error:
        raise CommandError(reason(error)) from None
    sources = list(target.rglob("*.py"))
    lines = sum(len(path.read_bytes().splitlines()) for path in sources)
    show(f"{target}: framing {__version__}, {len(sources)} modules, {lines} lines")


def _check_name(name: str) -> None:
    """Raise an error unless a package can be imported by *name* and hides no other."""
    if not name.isidentifier() or keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise CommandError(f"a package cannot be called {name or '.'!r}: choose another --name")


def _check_is_free(target: Path) -> None:
    if target.exists() and _digest_in_note(target) != _digest(target):
        raise CommandError(
            f"{target} exists, and is not an unchanged copy made by this command: choose a --name,"
            " or delete it first"
        )


# What a copy is made of


def _write_copy(copy: Path, options: argparse.Namespace) -> None:
    for source in _sources(options.minimal):
        place = copy / source.relative_to(_PACKAGE)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(source.read_bytes())
    if options.minimal:
        (copy / "__init__.py").write_text(_minimal_init(), encoding="utf-8")
    (copy / "LICENSE").write_bytes(_licence().read_bytes())
    note = (
        f"This is a copy of framing {__version__}, under the licence in the file LICENSE.\n"
        f"To replace it by a newer version: framing {' '.join(options.given)}\n"
        f"That works as long as nobody changes it: SHA-256 {_digest(copy)}\n"
    )
    (copy / _NOTE).write_text(note, encoding="utf-8")


def _sources(minimal: bool) -> Iterator[Path]:
    for path in sorted(_PACKAGE.rglob("*")):
        first = path.relative_to(_PACKAGE).parts[0].removesuffix(".py")
        is_wanted = not minimal or first not in _LEFT_OUT
        if is_wanted and (path.suffix == ".py" or path.name == "py.typed"):
            yield path


def _minimal_init() -> str:
    """Return an ``__init__.py`` with the imports of the package's own, as far as they work."""
    source = (_PACKAGE / "__init__.py").read_text(encoding="utf-8")
    text = '"""Whole messages over TCP: a minimal copy of framing."""\n\n'
    public = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom) or node.level != 1 or not node.module:
            continue
        if node.module.partition(".")[0] not in _LEFT_OUT:
            text += f"{ast.get_source_segment(source, node)}\n"
            public += [each.name for each in node.names if not each.name.startswith("_")]
    names = "".join(f'    "{name}",\n' for name in sorted(public))
    return f'{text}\n__version__ = "{__version__}"\n__all__ = [\n{names}]\n'


def _licence() -> Path:
    """Return the file with the licence, of a vendored copy, a checkout or an installed wheel."""
    around = _PACKAGE.parent
    candidates = [_PACKAGE / "LICENSE"]
    if (around.parent / "pyproject.toml").exists():
        candidates.append(around.parent / "LICENSE")
    for metadata in around.glob("*framing-*.dist-info"):
        candidates += [metadata / "licenses" / "LICENSE", metadata / "LICENSE"]
    for path in candidates:
        if path.is_file() and "framing maintainers" in path.read_text(encoding="utf-8"):
            return path
    raise CommandError(f"{_PACKAGE} has no LICENSE file, and a copy needs one")


# Whether a copy was changed


def _digest(copy: Path) -> str:
    """Return a digest of all files of a copy, but for its note."""
    digest = hashlib.sha256()
    for path in sorted(copy.rglob("*")):
        if path.is_file() and path.name != _NOTE and path.suffix != ".pyc":
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(copy).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def _digest_in_note(copy: Path) -> str:
    try:
        return (copy / _NOTE).read_text(encoding="utf-8").rpartition(" ")[2].strip()
    except OSError:
        return ""

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
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .. import __version__
from .terminal import CommandError, show

if TYPE_CHECKING:
    import argparse

_PACKAGE = Path(__file__).parent.parent
# How the paths in the package begin that a minimal copy does without.
_LEFT_OUT = ("__main__", "aio", "cli", "datagram", "files", "server", "testing")
_NOTE = "VENDORED.txt"


def vendor(options: argparse.Namespace) -> None:
    """Copy this package into your project.

    Examples:
      framing vendor wire                (then: from wire import recv_msg, send_msg)
      framing vendor myapp --name wire   (then: from myapp.wire import recv_msg, send_msg)

    The copy needs nothing but Python.  The same command replaces it by a newer one.
    """
    target: Path = options.dir / options.name if options.name else options.dir
    name = options.name or target.name
    if not name.isidentifier() or keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise CommandError(f"a package cannot be called {name or '.'!r}: choose another --name")
    left_out = _LEFT_OUT if options.minimal else ()
    files = {
        path: data
        for path, data in _files_in(_PACKAGE).items()
        if path.endswith((".py", "py.typed")) and not path.startswith(left_out)
    }
    if options.minimal:
        files["__init__.py"] = _minimal_init(files["__init__.py"].decode()).encode()
    files["LICENSE"] = _licence()
    note = (
        f"This is a copy of framing {__version__}, under the licence in the file LICENSE.\n"
        f"To replace it by a newer version: framing {' '.join(sys.argv[1:])}\n"
        f"Only an unchanged copy is replaced: SHA-256 {_digest(files)}\n"
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".framing-", dir=target.parent) as folder:
        fresh = Path(folder, name)
        for path, data in {**files, _NOTE: note.encode()}.items():
            (fresh / path).parent.mkdir(parents=True, exist_ok=True)
            (fresh / path).write_bytes(data)
        if target.exists():
            _remove_unchanged(target)
        fresh.rename(target)  # when all of it is there
    sources = [data for path, data in files.items() if path.endswith(".py")]
    lines = sum(len(data.splitlines()) for data in sources)
    show(f"{target}: framing {__version__}, {len(sources)} modules, {lines} lines")


def _files_in(folder: Path) -> dict[str, bytes]:
    """Return the contents of the files of a package, without what Python and this command add."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".pyc" and path.name != _NOTE
    }


def _digest(files: dict[str, bytes]) -> str:
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()


def _remove_unchanged(copy: Path) -> None:
    note = copy / _NOTE
    noted = note.read_text(encoding="utf-8").split()[-1:] if note.exists() else []
    if noted != [_digest(_files_in(copy))]:
        raise CommandError(
            f"{copy} exists, and is not an unchanged copy made by this command: choose a --name,"
            " or delete it first"
        )
    shutil.rmtree(copy)


def _minimal_init(source: str) -> str:
    """Return an ``__init__.py`` with the imports of the package's own, as far as they work."""
    text = '"""Whole messages over TCP: a minimal copy of framing."""\n\n'
    public = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom) or node.level != 1 or not node.module:
            continue
        if not node.module.startswith(_LEFT_OUT):
            text += f"{ast.get_source_segment(source, node)}\n"
            public += [each.name for each in node.names if not each.name.startswith("_")]
    names = "".join(f'    "{name}",\n' for name in sorted(public))
    return f'{text}\n__version__ = "{__version__}"\n__all__ = [\n{names}]\n'


def _licence() -> bytes:
    """Return the licence, of a vendored copy, an installed wheel or a checkout."""
    around = _PACKAGE.parent
    installed = around.glob("*framing-*.dist-info/**/LICENSE")
    for path in (_PACKAGE / "LICENSE", *installed, around.parent / "LICENSE"):
        if path.is_file() and b"framing maintainers" in (text := path.read_bytes()):
            return text
    raise CommandError(f"{_PACKAGE} has no LICENSE file, and a copy needs one")

"""A file that appears whole or not at all.

It is written under another name beside its place, and moved there when it is whole.  Moving it
replaces what is there only if that is wished, and never writes through a symbolic link.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path

__all__: list[str] = []

_RENAMING_REPLACES = os.name != "nt"
# What os.link raises where the file system has no hard links.
_CANNOT_LINK = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def new_file(path: Path, *, overwrite: bool) -> Iterator[FileIO]:
    """Give a file to write to, which is moved to *path* when the block ends.

    If the block is left by an exception, nothing is left of it.  The file's contents are handed
    to the system, and not forced to the disk.

    Args:
        path: In a directory that exists.
        overwrite: Whether to replace a file there, or a symbolic link.

    Raises:
        FileExistsError: Something is there, from before or since, and *overwrite* is false.
        IsADirectoryError: A directory is there.
        OSError: As the system raised it.
    """
    check_is_free(path, overwrite=overwrite)
    # Not after the file's own name, which may be as long as a name can be.
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb", buffering=0) as file:
            yield file
        if overwrite:
            os.replace(temporary, path)
        else:
            _move_to_free(temporary, path)
    finally:
        try:
            temporary.unlink(missing_ok=True)
        except BaseException:  # Ctrl-C, a moment later
            temporary.unlink(missing_ok=True)
            raise


def check_is_free(path: Path, *, overwrite: bool) -> None:
    """Raise an error if a file cannot be moved to *path*."""
    if overwrite and path.is_dir() and not path.is_symlink():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not overwrite and os.path.lexists(path):
        raise _exists(path)


def _exists(path: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _move_to_free(temporary: Path, path: Path) -> None:
    """Move a file to *path*, where nothing is even at this moment."""
    if not _RENAMING_REPLACES:
        os.rename(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise _exists(path) from None
    except (OSError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno not in _CANNOT_LINK:
            raise
        _move_over_placeholder(temporary, path)


def _move_over_placeholder(temporary: Path, path: Path) -> None:
    """Do the same without hard links: take the name first, then replace what holds it."""
    opened: list[int] = []
    try:
        # One step for a signal handler: once the name is taken, that is known.
        opened.extend(map(os.open, (path,), (os.O_CREAT | os.O_EXCL | os.O_WRONLY,)))
        os.close(opened[0])
        os.replace(temporary, path)
    except FileExistsError:
        raise _exists(path) from None
    finally:
        if opened and temporary.exists():  # and so was not moved
            os.unlink(path)

"""A file that appears whole or not at all.

It is written under another name in the same directory, and moved to its own name when it is
complete.  Moving it replaces an existing file only if you ask for that, and never writes through
a symbolic link.
"""

from __future__ import annotations

import errno
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO
    from pathlib import Path

_RENAMING_REPLACES = os.name != "nt"
# What os.link raises where the file system has no hard links.
_CANNOT_LINK = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


def write_new_file(path: Path, write: Callable[[FileIO], None], *, overwrite: bool) -> None:
    """Write a file, and move it to *path* when it is complete.

    After any exception, nothing is left of it.  Its contents are handed to the system, and not
    forced to the disk.

    Args:
        path: In a directory that exists.
        write: Is called with the open file, to write its contents.
        overwrite: Whether to replace a file there, or a symbolic link.

    Raises:
        FileExistsError: Something is there, before or after *write*, and *overwrite* is false.
        IsADirectoryError: A directory is there.
        OSError: As the system raised it.
    """
    if overwrite and path.is_dir() and not path.is_symlink():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not overwrite and os.path.lexists(path):
        raise _exists(path)
    # Not made from the file's own name, which may be as long as a name can be.
    temporary = str(path.with_name(f".{secrets.token_hex(8)}.part"))
    try:
        with open(temporary, "xb", buffering=0) as file:
            write(file)
        if overwrite:
            os.replace(temporary, path)
        else:
            _move_to_free(temporary, path)
    finally:
        try:  # noqa: SIM105  # suppress() is written in Python, where Ctrl-C could come first
            os.unlink(temporary)
        except FileNotFoundError:
            pass


def _exists(path: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _move_to_free(temporary: str, path: Path) -> None:
    """Move a file to *path* if nothing is there, not even since a moment ago."""
    try:
        (os.link if _RENAMING_REPLACES else os.rename)(temporary, path)
    except FileExistsError:
        raise _exists(path) from None
    except (OSError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno not in _CANNOT_LINK:
            raise
        # Without hard links: take the name first, then replace the file that holds it.
        os.close(os.open(str(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            os.replace(temporary, path)
        except BaseException:
            path.unlink()
            raise

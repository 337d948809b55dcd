r"""Files of any size over a connection, in constant memory.

    +-- header length --+----------- header -----------+-- body --+
    |    00 00 00 19    | {"name":"a.txt","size":5}    | h e l l o |

A file is a message of :class:`~framing.HeaderBodyFramer`: its header says the file's name and
size, and its SHA-256 digest if the sender wishes.  Files and other messages may follow one
another on a connection::

    framing.files.send_file(sock, "photo.jpg", checksum=True)
    path = framing.files.recv_file(sock, "downloads")      # downloads/photo.jpg

The name is the peer's, and the directory is ours: a name that is more than a file's own is
refused, and a file appears under it only when it is whole.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DecodeError, EncodeError, MessageTooLargeError
from .file_names import why_refused
from .framer import check_limit
from .header_body import Head, HeaderBodyFramer, HeadFramer, shortened
from .message_socket import MessageSocket
from .new_file import new_file
from .sockets import check_is_stream
from .stream import receive_past, send_past

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from io import FileIO
    from typing import TypeAlias

    from .header_body import HeaderMessage
    from .requests import Steps
    from .streaming import IncomingBody, OutgoingBody

    Connection: TypeAlias = socket.socket | MessageSocket[HeaderMessage]
    Progress: TypeAlias = Callable[[int, int], object]

__all__ = ["recv_file", "send_file"]

_HASH_SIZE = 1024 * 1024


def send_file(
    conn: socket.socket | MessageSocket[HeaderMessage],
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    checksum: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Send one file, of any size, in constant memory.

    The system sends it straight from the file where it can (``os.sendfile``), which TLS cannot.
    The socket's own timeout is for each wait until the peer takes more, not for the whole file.

    Args:
        conn: A connected stream socket that blocks or has a timeout; or a
            :class:`~framing.MessageSocket` of a :class:`~framing.HeaderBodyFramer`.
        path: The file.
        name: What to call it; by default the last part of *path*.
        checksum: Whether to tell the SHA-256 digest, for which the file is read twice.
        progress: Called with the bytes sent and the size of the file: at first with 0, and each
            time that bytes have gone out.  It may raise an exception, to give up; it may not
            use *conn*, which is busy.

    Raises:
        EncodeError: *name* is not the name of one plain file.  Nothing was sent.
        OSError: As the system raised it for the file or the socket.  Also if the file changes
            its size meanwhile.  If a part of it has gone out, the receiver waits for the rest,
            so nothing more can be sent: close the connection.
        ConnectionError: An earlier message was cut off in its middle.
        TypeError: *conn* is of another format.
        ValueError: *path* is no regular file, or the socket is non-blocking; or the format has
            the size of the body where a file's name or digest goes.
    """
    framer = _framer_of(conn)
    _check_waits(conn)
    path = Path(path)
    name = path.name if name is None else name
    if reason := why_refused(name):
        raise EncodeError(_bad_name(name, reason))
    with _open_source(path) as file:
        size = _size_of(file)
        header: dict[str, Any] = {"name": name, framer.whole.size_key: size}
        if checksum:
            header["sha256"] = _digest(file, size)
        head = framer.encode(Head(header, size))
        report = progress or _report_nothing
        report(0, size)
        with _sending(conn) as out:
            out.send(head)
            sent = 0
            for count in out.send_file(file, size):
                sent += count
                report(sent, size)
            if sent < size:
                raise _changed(path, size, f"there are {sent}")
        file.seek(size)
        if file.read(1):
            raise _changed(path, size, "there are more")


def recv_file(
    conn: socket.socket | MessageSocket[HeaderMessage],
    directory: str | os.PathLike[str],
    *,
    max_size: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Receive one file, of any size, in constant memory.

    It is written beside its place under another name, and moved there when it is whole.  If
    anything goes wrong, an interrupt included, the directory is as it was.

    The connection goes on all the same: what is left of a file that was refused or given up is
    skipped by the next call, of this or of another function.  A message that is no file stays,
    for :func:`~framing.recv_msg` or ``recv``.

    The socket's own timeout is for each wait until more has come, not for the whole file.  One
    that ran out before the file began loses nothing.

    Args:
        conn: A connected stream socket that blocks or has a timeout; or a
            :class:`~framing.MessageSocket` of a :class:`~framing.HeaderBodyFramer`.
        directory: Where to put the file.
        max_size: The largest file to take, in bytes; ``None`` for any.
        overwrite: Whether to replace a file of that name.  A symbolic link is replaced too, and
            not what it points to.
        progress: Called with the bytes received and the size of the file: at first with 0, and
            each time that bytes have come.  It may raise an exception, to give up; it may not
            use *conn*, which is busy.

    Returns:
        Where the file is, which is *directory* and the name that the peer gave.

    Raises:
        DecodeError: The next message is no file; or its name is not the name of one plain file,
            or its digest not that of what came.
        MessageTooLargeError: The file is larger than *max_size*.
        FileExistsError: There is something of that name already, or since.
        EndOfStreamError: The peer has closed the connection, and no file came.
        IncompleteMessageError: It has closed the connection inside the file.
        OSError: As the system raised it for the file or the socket; ``TimeoutError`` and
            ``NotADirectoryError`` are two.
        TypeError: *conn* is of another format.
        ValueError: The socket is non-blocking; or *max_size* is negative; or the format has the
            size of the body where a file's name or digest goes.
    """
    framer = _framer_of(conn)
    _check_waits(conn)
    limit = None if max_size is None else check_limit("max_size", max_size)
    directory = Path(directory)
    if not stat.S_ISDIR(os.stat(directory).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
    with _receiving(conn, framer) as body:
        size: int = body.header[framer.whole.size_key]
        path = directory / _checked_name(body)
        _check_size(size, limit, body.offset)
        expected = _expected_digest(body)
        with new_file(path, overwrite=overwrite) as file:
            pieces = _reported(body.pieces, size, progress or _report_nothing)
            if expected is None:
                for piece in pieces:
                    _write(file, piece)
            elif (digest := _write_and_hash(file, pieces)) != expected:
                raise DecodeError(
                    f"expected {path.name!r} with the SHA-256 digest {expected}, not {digest}",
                    offset=body.offset,
                )
    return path


# The connection


class _FileHeadFramer(HeadFramer):
    """The heads of messages that are files."""

    def read_message(self) -> Steps[Head]:
        head = yield from super().read_message()
        if "name" not in head.header:
            raise DecodeError("expected a file, a message whose header has the key 'name'")
        return head


def _framer_of(conn: Connection) -> _FileHeadFramer:
    framer = _FileHeadFramer(conn.framer if isinstance(conn, MessageSocket) else HeaderBodyFramer())
    if framer.whole.size_key in ("name", "sha256"):
        raise ValueError(f"a file's size cannot be in {framer.whole.size_key!r}: see size_key")
    return framer


def _check_waits(conn: Connection) -> None:
    if not isinstance(conn, MessageSocket):
        check_is_stream(conn)
    own = conn._own_timeout if isinstance(conn, MessageSocket) else conn.gettimeout
    if own() == 0:
        raise ValueError(
            "expected a socket that blocks or has a timeout, not a non-blocking one:"
            " a file cannot be carried in attempts"
        )


def _sending(conn: Connection) -> AbstractContextManager[OutgoingBody]:
    return conn._send_past() if isinstance(conn, MessageSocket) else send_past(conn)


def _receiving(conn: Connection, framer: _FileHeadFramer) -> AbstractContextManager[IncomingBody]:
    if isinstance(conn, MessageSocket):
        return conn._receive_past(framer)
    return receive_past(conn, framer)


def _report_nothing(done: int, total: int) -> None:
    pass


# The file that is sent


def _open_source(path: Path) -> FileIO:
    # Before it is opened, which for a named pipe would wait.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"expected a regular file, which {str(path)!r} is not")
    return open(path, "rb", buffering=0)


def _size_of(file: FileIO) -> int:
    return os.fstat(file.fileno()).st_size


def _digest(file: FileIO, size: int) -> str:
    digest = hashlib.sha256()
    while size and (data := file.read(min(size, _HASH_SIZE))):
        digest.update(data)
        size -= len(data)
    return digest.hexdigest()


def _changed(path: Path, size: int, found: str) -> OSError:
    return OSError(
        f"{str(path)!r} changed its size while it was sent, or is none of the disk's:"
        f" {size} bytes were announced, and {found}"
    )


# The file that is received


def _checked_name(body: IncomingBody) -> str:
    """Return the file's name, which the peer chose.

    Raises:
        DecodeError: It is not the name of one plain file.
    """
    name: str = body.header["name"]
    if reason := why_refused(name):
        raise DecodeError(_bad_name(name, reason), offset=body.offset)
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        reason = f"this system's file names are in {encoding}, which lacks some of its characters"
        raise DecodeError(_bad_name(name, reason), offset=body.offset) from None
    return name


def _bad_name(name: object, reason: str) -> str:
    return f"expected the name of one plain file, not {shortened(name)}: {reason}"


def _check_size(size: int, limit: int | None, offset: int) -> None:
    if limit is not None and size > limit:
        raise MessageTooLargeError(
            f"expected a file of at most {limit} bytes (max_size), not {size}",
            size=size,
            limit=limit,
            offset=offset,
        )


def _expected_digest(body: IncomingBody) -> str | None:
    """Return the SHA-256 digest that the peer announced, if it did."""
    digest: object = body.header.get("sha256")
    if digest is None:
        return None
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-fA-F]{64}", digest):
        raise DecodeError(
            f"expected a SHA-256 digest of 64 hexadecimal digits, not {shortened(digest)}",
            offset=body.offset,
        )
    return digest.lower()


def _reported(
    pieces: Iterable[memoryview], size: int, report: Callable[[int, int], object]
) -> Iterator[memoryview]:
    """Yield *pieces*, and report each when it has been dealt with."""
    done = 0
    report(done, size)
    for piece in pieces:
        yield piece
        done += len(piece)
        report(done, size)


def _write_and_hash(file: FileIO, pieces: Iterable[memoryview]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        _write(file, piece)
        digest.update(piece)
    return digest.hexdigest()


def _write(file: FileIO, data: memoryview) -> None:
    """Write all of *data*: the system may take less at a time."""
    while data:
        data = data[file.write(data) :]

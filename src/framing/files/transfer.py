"""``send_file`` and ``recv_file``: the header through the format, the body past it.

A file's body is never a message in memory.  When it is sent, the system takes it from the file
(``os.sendfile``), or it is read in pieces.  When it is received, the decoder reads the header and
counts the body as a *rest* to be discarded, and the body is received into one buffer.  So whatever
is not received of a file, after any error, is discarded before the next message.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import socket
import stat
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadMessageError, DecodeError, EncodeError, MessageTooLargeError, shortened
from ..formats.header_body import HeaderBodyFramer
from ..framer import Framer, check_limit
from ..sockets.beside import beside
from ..sockets.channel import Channel, Deadline
from ..sockets.checks import check_is_connected, refuse
from ..sockets.message_socket import MessageSocket, channel_of, lend_decoder
from ..sockets.turn import is_own
from .names import why_refused
from .new_file import write_new_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO, TypeAlias

    from ..decoder import Decoder
    from ..formats.header_body import HeaderMessage
    from ..requests import Steps

    Connection: TypeAlias = socket.socket | MessageSocket[HeaderMessage]
    Head: TypeAlias = tuple[dict[str, Any], int]  # the header, and the size of the body

_DEFAULT = HeaderBodyFramer()
_PIECE = 256 * 1024
_NO_SIZE = (
    "expected a regular file, whose size can be sent first: save what comes from a pipe or a"
    " device to a file, or send it in messages"
)


def send_file(
    conn: Connection,
    file: str | os.PathLike[str] | BinaryIO,
    *,
    name: str | None = None,
    checksum: bool = False,
    progress: Callable[[int, int], object] | None = None,
    framer: HeaderBodyFramer = _DEFAULT,
) -> None:
    """Send one file of any size, in constant memory.

    Where the system can send straight from the file (``os.sendfile``), it does.  It cannot over
    TLS.  The socket's own timeout covers each wait until the peer takes more, not the whole file.

    Args:
        conn: A connected stream socket that blocks or has a timeout; or a
            :class:`~framing.MessageSocket` with a :class:`~framing.HeaderBodyFramer`.
        file: A path; or an open binary file, which is sent from its first byte, wherever its
            position is.  It must be a regular file or be able to seek, as ``io.BytesIO`` is,
            since the size is sent first.  You close it.
        name: The name to send; by default the last part of the path.
        checksum: Whether to send the SHA-256 digest too.  The file is read twice for that.
        progress: Called with the number of bytes sent and the size of the file: first with 0,
            and then each time that bytes have gone out.  It may raise an exception to give up.
            It must not send on *conn*.
        framer: The format of the header, if *conn* is a socket.

    Raises:
        EncodeError: The name is not the name of one plain file.  Nothing was sent.
        OSError: As the system raised it for the file or the socket.  Also if the file's size
            changes meanwhile.  If part of the file was sent, the receiver waits for the rest, so
            nothing more can be sent: close the connection.
        ConnectionError: An earlier file or message was cut off in the middle.
        TypeError: *conn* has another format, or *file* is not a path or an open binary file.
        ValueError: *file* is not a regular file and cannot seek, or has no name; or the socket
            is non-blocking; or the size of the body has the key of a file's name or digest.
    """
    channel, framer, _ = _opened(conn, framer)
    with _source(file) as source:
        size = _size_of(source)
        header = {framer.name_key: _sent_name(file, name), framer.size_key: size}
        if checksum:
            header["sha256"] = _digest(source)
        head = _HeadFramer(framer).encode((header, size))

        def send() -> None:
            if isinstance(conn, MessageSocket):
                channel_of(conn)  # it may have been finished while this call waited
            _flush(channel)
            _send(channel, head, source, size, progress or _report_nothing)

        channel.sending.run(_deadline(channel), send)
        source.seek(size)
        if source.read(1):
            raise _changed(size, "there are more")


def recv_file(
    conn: Connection,
    directory: str | os.PathLike[str],
    *,
    name: str | Callable[[str], str] | None = None,
    max_size: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
    framer: HeaderBodyFramer = _DEFAULT,
) -> Path:
    """Receive one file of any size, in constant memory.

    It is written under another name in *directory*, and moved to its own name when it is
    complete.  If anything goes wrong, the directory is as it was.

    You can go on using the connection: whatever is left of a file that was refused or given up is
    skipped by the next call that receives.  A message that is not a file stays, for
    :func:`~framing.recv_msg` or ``recv``.

    The socket's own timeout covers each wait until more has come, not the whole file.  A timeout
    before the file has begun loses nothing.

    Args:
        conn: A connected stream socket that blocks or has a timeout; or a
            :class:`~framing.MessageSocket` with a :class:`~framing.HeaderBodyFramer`.
        directory: Where to put the file.
        name: The name to store it under, or a function that is called with the peer's name, once
            that is checked, and returns another or the same.  Your name is not checked.  A peer's
            name is ignored if you give a string.
        max_size: The largest file to accept, in bytes; ``None`` for any size.
        overwrite: Whether to replace a file that has the same name.  A symbolic link is replaced
            too, and not the file that it points to.
        progress: Called with the number of bytes received and the size of the file: first with
            0, and then each time that bytes have come.  It may raise an exception to give up.
            It must not receive on *conn*.
        framer: The format of the header, if *conn* is a socket.

    Returns:
        The path of the file, in *directory*, with the name that the peer sent or you chose.

    Raises:
        DecodeError: The next message is not a file, or the received bytes break the format.
        BadMessageError: The file's name is not the name of one plain file, or its digest is not
            that of the bytes that came.
        MessageTooLargeError: The file is larger than *max_size*.
        FileExistsError: There is something with that name.
        EndOfStreamError: The peer has closed the connection, and no file came.
        IncompleteMessageError: The peer has closed the connection inside the file.
        OSError: As the system raised it for the file or the socket; ``TimeoutError`` and
            ``NotADirectoryError`` are two.
        TypeError: *conn* has another format.
        ValueError: The socket is non-blocking; or *max_size* is negative; or the size of the
            body has the key of a file's name or digest.
    """
    channel, framer, lend = _opened(conn, framer)
    limit = None if max_size is None else check_limit("max_size", max_size)
    if not stat.S_ISDIR(os.stat(directory).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))

    def receive(decoder: Decoder[HeaderMessage]) -> Path:
        header, size, offset = _take_head(channel, decoder, framer)
        given = name if isinstance(name, str) else header[framer.name_key]
        if not isinstance(name, str) and (reason := why_refused(given)):
            raise BadMessageError(_bad_name(given, reason), offset=offset)
        given = name(given) if callable(name) else given
        if limit is not None and size > limit:
            text = f"expected a file of at most {limit} bytes (max_size), not {size}"
            error = MessageTooLargeError(text, size=size, limit=limit, offset=offset)
            error.recoverable = True
            raise error
        expected, digest = header.get("sha256"), hashlib.sha256()

        def write(file: io.FileIO) -> None:
            for piece in _body(channel, decoder, progress or _report_nothing):
                if expected is not None:
                    digest.update(piece)
                written = 0
                while written < len(piece):  # the system may take less at a time
                    written += file.write(piece[written:])
            if expected is not None and str(expected).lower() != digest.hexdigest():
                found = f"{shortened(repr(expected))}, not {digest.hexdigest()}"
                raise BadMessageError(f"expected the SHA-256 digest {found}", offset=offset)

        path = Path(directory, given)
        write_new_file(path, write, overwrite=overwrite)
        return path

    path: Path = channel.receiving.run(_deadline(channel), lend, receive)
    return path


# The connection


def _opened(
    conn: Connection, framer: Framer[HeaderMessage]
) -> tuple[Channel, HeaderBodyFramer, Any]:
    """Return what carries the bytes of *conn*, its format, and what lends its decoder."""
    if isinstance(conn, MessageSocket):
        channel, lend = channel_of(conn), partial(lend_decoder, conn)
        if framer not in (_DEFAULT, conn.framer):
            raise ValueError(f"this MessageSocket has a format already: {conn.framer!r}")
        framer = conn.framer
    elif isinstance(conn, socket.socket):
        state = beside(conn)
        check_is_connected(conn)
        channel = Channel(conn, (state.receiving, state.sending))
        lend = partial(state.lend_decoder, framer)
    else:
        raise refuse(conn)
    if not isinstance(framer, HeaderBodyFramer):
        raise TypeError(f"expected a HeaderBodyFramer, not {framer!r:.200}")
    if "sha256" in (framer.size_key, framer.name_key):
        raise ValueError(
            "the key 'sha256' is for a file's digest: use another size_key or name_key"
        )
    if channel.own_timeout() == 0:
        raise ValueError("expected a socket that blocks or has a timeout, not a non-blocking one")
    return channel, framer, lend


def _deadline(channel: Channel) -> Deadline:
    """Return the deadline of one wait."""
    return Deadline(None, channel.own_timeout())


def _report_nothing(done: int, total: int) -> None: ...


# The file that is sent


def _source(file: Any) -> Any:
    """Return a context manager that gives the open file."""
    if not isinstance(file, (str, os.PathLike)):
        return nullcontext(file)
    _regular_size(os.stat(file))  # before it is opened, since opening a named pipe would wait
    return open(file, "rb", buffering=0)


def _size_of(source: Any) -> int:
    if not hasattr(source, "read") or not isinstance(source.read(0), bytes):
        kind = type(source).__name__
        raise TypeError(f"expected a path, a file opened with 'rb' or io.BytesIO(data), not {kind}")
    descriptor = _descriptor(source)
    if descriptor is not None:
        source.flush()  # what was written to it, and is buffered
        return _regular_size(os.fstat(descriptor))
    try:
        source.seek(0, os.SEEK_END)
    except OSError:
        raise ValueError(_NO_SIZE) from None
    return int(source.tell())


def _regular_size(status: os.stat_result) -> int:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(_NO_SIZE)
    return status.st_size


def _descriptor(source: Any) -> int | None:
    """Return the descriptor of the system's file if that has just the bytes of *source*."""
    raw = getattr(source, "raw", source)
    return raw.fileno() if type(raw) is io.FileIO else None


def _sent_name(file: Any, name: str | None) -> str:
    if name is None:
        path = getattr(file, "name", file)
        if not isinstance(path, (str, os.PathLike)):
            raise ValueError(f"this {type(file).__name__} has no name: add name='...'")
        name = Path(path).name
    if reason := why_refused(name):
        raise EncodeError(_bad_name(name, reason))
    return name


def _bad_name(name: object, reason: str) -> str:
    return f"expected the name of one plain file, not {shortened(repr(name))}: {reason}"


def _digest(source: BinaryIO) -> str:
    digest = hashlib.sha256()
    source.seek(0)
    for data in iter(partial(source.read, _PIECE), b""):
        digest.update(data)
    return digest.hexdigest()


def _send(
    channel: Channel, head: bytes, source: BinaryIO, size: int, progress: Callable[..., object]
) -> None:
    """Send a file, for the call that has the turn.  If it is cut off, nothing can follow it."""
    progress(0, size)
    sent = None  # so far; None until the header is out
    try:
        channel.send((head,), _deadline(channel), begins=True)
        sent = 0
        _flush(channel)
        for sent in _send_body(channel, source, size):
            progress(sent, size)
        if sent < size:
            raise _changed(size, f"there are {sent}")
    except BaseException as error:
        # An error of the first call says that no byte went out, unless it is TLS's that waits.
        is_known = sent is None and (channel.is_owned or not hasattr(channel.sock, "unwrap"))
        if (sent != size or channel.unsent) and not (is_known and is_own(error)):
            channel.sending.is_moving = True  # which no call may follow
            channel.unsent = ()
        raise


def _flush(channel: Channel) -> None:
    while channel.unsent:
        channel.send(channel.unsent, _deadline(channel))


def _send_body(channel: Channel, source: BinaryIO, size: int) -> Iterator[int]:
    """Send the bytes of a file, and yield how many have been sent, up to *size* or its end."""
    descriptor, sent = _descriptor(source), 0
    while sent < size:
        count, piece = None, min(size - sent, _PIECE)
        if descriptor is not None:
            count = channel.send_file(descriptor, sent, piece, _deadline(channel))
        if count is None:
            source.seek(sent)
            data = source.read(piece)
            channel.unsent = (data,) if data else ()
            _flush(channel)
            descriptor, count = None, len(data)
        if not count:
            return
        sent += count
        yield sent


def _changed(size: int, found: str) -> OSError:
    return OSError(
        "the file's size changed while it was sent, or it is not a file on a disk:"
        f" {size} bytes were announced, but {found}"
    )


# The header


class _HeadFramer(Framer["Head"]):
    """The messages of a :class:`HeaderBodyFramer`, as if they ended behind the header."""

    whole: HeaderBodyFramer

    def __init__(self, whole: HeaderBodyFramer) -> None:
        super().__init__(max_size=whole.max_header_size, whole=whole)

    def encode_parts(self, message: Head) -> tuple[bytes]:
        return (self.whole.encode_head(*message),)

    def read_message(self) -> Steps[Head]:
        return self.whole.read_head()


# The file that is received


def _take_head(
    channel: Channel, decoder: Decoder[HeaderMessage], framer: HeaderBodyFramer
) -> tuple[dict[str, Any], int, int]:
    """Receive the header of a file, and leave its body for the decoder to discard.

    Returns:
        The header, the size of the body, and where the header starts in the stream.

    Raises:
        DecodeError: The next message is not a file.  It stays.
    """
    turn = channel.receiving
    turn.is_moving = True  # bytes that change places must not get lost
    try:
        heads = decoder.switch(_HeadFramer(framer))
        turn.is_moving = False
        while True:
            offset = decoder.offset + decoder.rest
            if heads.decode():
                break
            channel.receive(heads, min(heads.bytes_needed, _PIECE), _deadline(channel))
        turn.is_moving = True
        header, size = next(heads.ready)
        if framer.name_key not in header:
            heads.untake((header, size))
            turn.is_moving = False
            keys = shortened(", ".join(map(repr, header)), 120)
            text = f"expected a file, with the key {framer.name_key!r} in its header, not {keys}"
            raise DecodeError(text, offset=offset)
    finally:
        was_moving, turn.is_moving = turn.is_moving, True
        decoder.switch(framer)
        turn.is_moving = was_moving
    decoder.expect_body(size, offset)
    turn.is_moving = False
    return header, size, offset


def _body(
    channel: Channel, decoder: Decoder[HeaderMessage], progress: Callable[[int, int], object]
) -> Iterator[memoryview]:
    """Yield the body in pieces, each valid until the next one, and report each when it is done."""
    size = decoder.rest
    progress(0, size)
    if data := decoder.take_body():
        yield memoryview(data)
        progress(len(data), size)
    view = memoryview(bytearray(min(decoder.rest, _PIECE)))
    while left := decoder.rest:
        count = channel.receive_into(decoder, view[:left], _deadline(channel))
        if not count:
            decoder.decode()  # raises the error for the end of the stream
        yield view[:count]
        progress(size - decoder.rest, size)

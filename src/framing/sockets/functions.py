"""``send_msg`` and ``recv_msg``: one whole message over any connected stream.

This is the loop that everybody writes, made right.  Between two calls nothing is read ahead and
nothing is kept back, so the functions mix with everything else that uses the socket.  Inside a
message it is different: if a timeout cuts a call short, the bytes that have arrived are kept
beside the socket (see ``beside``), and the next call continues from there.
"""

from __future__ import annotations

import errno
from struct import Struct
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..formats.length_prefix import SHORT, LengthPrefixFramer
from ..framer import check_is_framer
from .beside import beside, kept
from .channel import NEVER, Deadline
from .checks import check_is_connected
from .turn import Turn, is_own, receiver

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from typing import IO, TypeAlias

    from ..buffer import Buffer
    from ..formats.delimiter import DelimiterFramer
    from ..framer import Framer

    Stream: TypeAlias = socket.socket | IO[bytes]

M = TypeVar("M")
R = TypeVar("R")

_DEFAULT = LengthPrefixFramer()
_LENGTH = Struct(_DEFAULT.format)
_pack, _unpack = _LENGTH.pack, _LENGTH.unpack
_prefixes = receiver(_LENGTH.size)
# A larger payload is received in pieces, so that memory follows the bytes that arrive.
_LARGE = 64 * 1024
# What the system says of a socket that was closed or never connected, among others.
_UNCONNECTED = {errno.ENOTCONN, errno.EPIPE, errno.EBADF, errno.EINVAL}


@overload
def send_msg(
    sock: Stream, message: Buffer, framer: LengthPrefixFramer | DelimiterFramer = ...
) -> None: ...
@overload
def send_msg(sock: Stream, message: M, framer: Framer[M]) -> None: ...
def send_msg(sock: Stream, message: Any, framer: Framer[Any] = _DEFAULT) -> None:
    r"""Send one whole message, as ``sendall`` sends bytes.

    Threads that send on the same socket wait for each other, so messages never mix.  A large
    message is not copied.

    >>> import socket
    >>> from framing import send_msg
    >>> here, there = socket.socketpair()
    >>> with here, there:
    ...     send_msg(here, b"hello")
    ...     there.recv(1024)  # what goes over the wire
    b'\x00\x00\x00\x05hello'

    Args:
        sock: A connected, blocking stream socket.  Its timeout applies as in ``sendall``.  A
            binary file will do too: a pipe, ``sys.stdout.buffer``, a serial port.
        message: What *framer* carries; bytes by default.
        framer: The wire format; by default a 4-byte big-endian length before the payload.

    Raises:
        EncodeError: *framer* cannot carry *message*.  Nothing was sent.
        TypeError: *message* is not of the type that *framer* carries, or *sock* is not a socket
            or a binary file.  Nothing was sent.
        OSError: As the socket raised it; ``TimeoutError`` is one.
        ConnectionError: An earlier ``send_msg`` on this socket failed in the middle of a
            message, so the receiver could not know where this one starts.
        ValueError: *sock* is not a stream socket.
        RuntimeError: A signal handler called this while it was interrupting a ``send_msg`` on
            the same socket.
    """
    parts: Sequence[Buffer]
    if framer is _DEFAULT and type(message) is bytes and len(message) <= SHORT:  # without a call
        parts = (_pack(len(message)) + message,)
    else:
        try:
            parts = framer.encode_parts(message)
        except (AttributeError, TypeError):
            check_is_framer(framer)
            raise
    try:
        state = kept[id(sock)]
    except KeyError:
        state = beside(sock)
    turn = state.sending
    wire = parts[0]
    if len(parts) > 1 or type(wire) is not bytes or not state.is_plain:
        return _run(turn, sock, state.send, parts)
    # The usual case: no other call has the turn, and one call of send() takes all of it.
    try:
        turn.free.pop()
        holding = turn  # noqa: F841  # for Turn.run, in a signal handler
        sent = sock.send(wire)  # type: ignore[union-attr]
        if sent < len(wire):
            turn.is_moving = True  # until the rest is out
            sock.sendall(wire[sent:])  # type: ignore[union-attr]
            turn.is_moving = False
    except IndexError:  # another call has the turn, or none will
        return _run(turn, sock, state.send, parts)
    except BaseException as error:
        # An error of send()'s own says that it sent nothing.
        turn.is_moving = turn.is_moving or not is_own(error)
        turn.give()
        raise _explained(error, sock) from None
    turn.free.append(True)
    if turn.waiting:
        turn.wake()
    return None


@overload
def recv_msg(sock: Stream) -> bytes: ...
@overload
def recv_msg(sock: Stream, framer: Framer[M]) -> M: ...
def recv_msg(sock: Stream, framer: Framer[Any] = _DEFAULT) -> Any:  # noqa: C901, PLR0912
    """Receive one whole message, and not one byte more.

    If a timeout, a ``BlockingIOError`` or an ``SSLWantReadError`` cuts the call short, no data is
    lost: the next call continues with the same message.  The same holds for Ctrl-C while the call
    waits for bytes, but not on TLS: there, the next call raises ``ConnectionError`` rather than
    misread the stream.

    A delimiter is looked for in what the socket holds.  TLS cannot look ahead, so there it is
    read byte by byte.  Threads that receive on the same socket wait for each other.

    >>> import socket
    >>> from framing import recv_msg, send_msg
    >>> here, there = socket.socketpair()
    >>> with here, there:
    ...     send_msg(here, b"hello")
    ...     send_msg(here, b"how are you?")
    ...     recv_msg(there)
    ...     recv_msg(there)
    b'hello'
    b'how are you?'

    Args:
        sock: A connected stream socket, blocking or not.  Its timeout covers each wait for
            bytes, not the whole call; a ``MessageSocket`` has a timeout for the whole call.  A
            binary file will do too: a pipe, ``sys.stdin.buffer``, a serial port.
        framer: The wire format; by default a 4-byte big-endian length before the payload.

    Returns:
        The message, which is bytes by default.

    Raises:
        EndOfStreamError: The peer has closed the connection after a whole message, or before
            the first.
        IncompleteMessageError: The peer has closed the connection inside a message.
        DecodeError: The received bytes break the format; :class:`MessageTooLargeError` and
            :class:`BadMessageError` are two.  If it is recoverable, the next call continues
            behind the bad message.
        OSError: As the socket raised it; ``TimeoutError`` and ``BlockingIOError`` are two.
        ConnectionError: An earlier call was interrupted where that may cost bytes.
        ValueError: A message was received in part with another framer, or *sock* is not a
            stream socket.
        TypeError: *sock* is not a socket or a binary file, or *framer* is not a framer.
        RuntimeError: A signal handler called this while it was interrupting a ``recv_msg`` on
            the same socket.
    """
    try:
        state = kept[id(sock)]
    except KeyError:
        state = beside(sock)
    turn = state.receiving
    if framer is not _DEFAULT or not state.is_plain:
        if isinstance(framer, int):
            raise TypeError(
                f"recv_msg() returns a whole message and needs no size: leave out {framer}"
                " (the second argument is the format)"
            )
        check_is_framer(framer)
        return _run(turn, sock, state.receive, framer)
    prefix = payload = b""
    size = -1
    try:
        turn.free.pop()
        holding: Turn | None = turn  # for Turn.run, in a signal handler
        if state.decoder is None:
            # The usual case: the length and the payload each come in one call of recv().  Without
            # calls of our own, this is a quarter faster.
            prefix = _prefixes[sock]
            if len(prefix) == 4:
                (size,) = _unpack(prefix)
                if 0 < size <= _LARGE:
                    payload = sock.recv(size)  # type: ignore[union-attr]
            if len(payload) == size:
                state.offset += 4 + size
            else:
                state.keep(framer, prefix + payload)
                size = -1
    except IndexError:  # another call has the turn, or none will
        return _run(turn, sock, state.receive, framer)
    except BaseException as error:
        turn.is_moving = bool(prefix) and not is_own(error)
        if prefix and not turn.is_moving:
            state.keep(framer, prefix)
        turn.give()
        raise _explained(error, sock) from None
    turn.free.append(True)
    if turn.waiting:
        turn.wake()
    if size >= 0:
        return payload
    holding = None  # noqa: F841  # this call waits for the turn itself
    return _run(turn, sock, state.receive, framer)


def _run(turn: Turn, sock: Any, call: Callable[..., R], argument: Any) -> R:
    """Return ``call(sock, argument)``, once it has the *turn*."""
    own = getattr(sock, "gettimeout", None)
    deadline = NEVER if own is None else Deadline(None, own())
    try:
        return turn.run(deadline, call, sock, argument)
    except OSError as error:
        raise _explained(error, sock) from None


def _explained(error: BaseException, sock: Any) -> BaseException:
    """Return *error*, or one sentence instead if *sock* was never connected, or was closed."""
    if isinstance(error, OSError) and is_own(error) and error.errno in _UNCONNECTED:
        try:
            check_is_connected(sock)
        except OSError as reason:
            return reason
    return error

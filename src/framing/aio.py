r"""Whole messages with asyncio: what ``MessageSocket`` is for threads.

An echo server, and a client of it::

    async def echo(conn: MessageStream[bytes]) -> None:
        async for message in conn:
            await conn.send(message)

    async with await aio.serve(echo, ("127.0.0.1", 9000)) as server:
        async with await aio.connect(server.address) as conn:
            await conn.send(b"hello")
            assert await conn.recv() == b"hello"

Cancelling is safe, so ``asyncio.timeout()`` is too.  A ``recv`` that is cancelled has taken no
message: it never waits between taking one and returning it.  A ``send`` that is cancelled has sent
nothing: it waits first, until the connection takes more, and never after it has begun.

What it costs: all connections of a thread receive into one buffer, and small messages that are
sent in the same turn of the event loop go out together, behind the first.  Above 256 KiB of
undecoded bytes, it stops reading until you ask for a message, so that the peer has to wait.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import socket
import struct
import threading
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from .errors import EndOfStreamError
from .formats.length_prefix import LengthPrefixFramer
from .framer import Framer, check_is_framer
from .sockets.checks import check_address
from .sockets.listener import BACKLOG, check_is_for_servers, open_listener
from .sockets.reports import name_of, open_log, report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
    from ssl import SSLContext
    from types import TracebackType

    from .buffer import Buffer

__all__ = ["MessageStream", "Server", "connect", "serve"]

M = TypeVar("M")
N = TypeVar("N")

_log = open_log(f"{__package__}.aio")

_DEFAULT = LengthPrefixFramer()
_ENDED = "end() was called: nothing can be sent any more"
_NOTHING: Iterator[Any] = iter(())
# The most to receive at once.
_READ_SIZE = 256 * 1024
_LARGE = 512 * 1024
# With more undecoded bytes, reading pauses while nobody waits for a message.
_MOST_UNDECODED = 256 * 1024
# How many bytes are held back until the end of a turn, or gathered by send_many.
_BATCH_SIZE = 64 * 1024
# Up to this size, copying a message costs less than another system call.
_COPY_SIZE = 256 * 1024
# How long the unsent bytes get when a connection is closed.
_CLOSE_TIME = 10.0
_HANDSHAKE_TIME = 10.0
# For SO_LINGER: on, for 0 seconds.
_RESET = struct.pack("ii" if os.name != "nt" else "hh", 1, 0)
# How long a server that is closed waits for its handlers.
_JOIN_TIME = 5.0


class _Scratch(threading.local):
    """The buffer that all connections of a thread receive into: the bytes are copied at once."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_READ_SIZE))


_scratch = _Scratch()


class _Connection(asyncio.BufferedProtocol):
    """A connection of asyncio's: it feeds the decoder, and wakes the tasks that wait.

    Attributes:
        decoder: For what comes in.
        may_write: Whether bytes can be written without waiting.
    """

    def __init__(
        self, framer: Framer[Any], begin: Callable[[_Connection], object] | None = None
    ) -> None:
        self.decoder = framer.decoder()
        self.may_write = True
        self._begin = begin
        self._view = _scratch.view
        self._loop = asyncio.get_running_loop()
        self._readers: list[asyncio.Future[None]] = []
        self._writers: list[asyncio.Future[None]] = []
        self._is_paused = False
        self._error: Exception | None = None  # why nothing comes or goes any more
        self._failure: Exception | None = None  # the same, unless this side has closed it
        self._has_ended = False
        # What was sent in this turn of the event loop, behind the first; None before that.
        self._held: list[bytes] | None = None
        self._held_size = 0
        self._closed: asyncio.Future[None] = self._loop.create_future()

    # What the event loop calls

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        if self._begin is not None:
            self._begin(self)

    def get_buffer(self, sizehint: int) -> Any:  # noqa: ARG002
        if self.decoder.bytes_buffered >= _LARGE:
            # To stop where a large message does saves a copy of it; of others, it costs a call.
            size = self.decoder.room(_READ_SIZE, _READ_SIZE)
            return self._view[:size] if 0 < size < _READ_SIZE else self._view
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        self.decoder.feed(self._view[:nbytes])
        if self._readers:
            _wake(self._readers)
        elif self.decoder.bytes_buffered > _MOST_UNDECODED:
            self._is_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self.decoder.feed_eof()
        _wake(self._readers)
        return not self._is_tls  # whether this side may go on sending

    def connection_lost(self, error: Exception | None) -> None:
        # Without an error, this side has closed it, or the peer has not ended TLS properly.
        self._failure = error
        self._error = error or ConnectionAbortedError(
            errno.ECONNABORTED, "the connection was closed before the end of the stream"
        )
        self._held, self.may_write = None, False
        _wake(self._readers + self._writers)
        self._closed.set_result(None)

    def pause_writing(self) -> None:
        self.may_write = False

    def resume_writing(self) -> None:
        self.may_write = not self._has_ended
        _wake(self._writers)

    # What a stream calls

    async def wait_for_bytes(self) -> None:
        """Wait until more bytes have come, or the end."""
        self._check_alive()
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        await _wait(self._readers)

    async def until_writable(self) -> None:
        """Wait until bytes can be written."""
        while not self.may_write:
            self._check_alive()
            if self._has_ended:
                raise BrokenPipeError(errno.EPIPE, _ENDED)
            await _wait(self._writers)

    def write(self, parts: list[bytes]) -> None:
        """Write now what comes first in a turn of the event loop, and the rest at its end.

        (To write each small message by itself takes a system call for each; to hold back the
        first as well would keep an answer waiting.)
        """
        if self._held is None:
            self._held = []
            self._loop.call_soon(self._end_turn)
        elif (size := sum(map(len, parts))) < _BATCH_SIZE:
            self._held += parts
            self._held_size += size
            if self._held_size >= _BATCH_SIZE:
                self._flush()
            return
        self._flush()
        for part in parts:
            self._transport.write(part)

    def _flush(self) -> None:
        if self._held:
            wire = b"".join(self._held)
            self._held, self._held_size = [], 0
            self._transport.write(wire)

    def _end_turn(self) -> None:
        self._flush()
        self._held = None

    def end(self) -> None:
        """Write what was held back, and end this direction."""
        if self._is_tls:
            raise io.UnsupportedOperation(
                "TLS cannot end one direction alone: let a message say that it is the last,"
                " or close the connection"
            )
        self._check_alive()
        self._flush()
        self._has_ended, self.may_write = True, False
        self._transport.write_eof()

    async def close(self) -> None:
        """Write what is unsent, for 10 seconds at most, and close the connection."""
        self._flush()
        unsent = self._unsent
        self._transport.close()
        try:
            await asyncio.wait([self._closed], timeout=_CLOSE_TIME)
        finally:  # cancelled, perhaps
            is_late = not self._closed.done()
            if is_late:
                self.abort()
        if unsent and (is_late or self._failure is not None):
            raise self._failure or TimeoutError("timed out: the peer takes no more bytes")

    def abort(self) -> None:
        """Close the connection now; with a reset, if that cuts off what was sent."""
        self._flush()
        if self._unsent:
            with suppress(OSError, AttributeError):
                self.info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    @property
    def _unsent(self) -> int:
        with suppress(AttributeError):  # raised by a TLS transport that is closed
            size: int = self._transport.get_write_buffer_size()
            return size
        return 0

    def info(self, name: str) -> Any:
        """Return what the transport knows."""
        return self._transport.get_extra_info(name)

    @property
    def _is_tls(self) -> bool:
        return self.info("sslcontext") is not None

    def _check_alive(self) -> None:
        if self._error is not None:
            raise copy(self._error)


async def _wait(waiters: list[asyncio.Future[None]]) -> None:
    waiter = asyncio.get_running_loop().create_future()
    waiters.append(waiter)
    try:
        await waiter
    finally:
        waiters.remove(waiter)


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


def _unchanging(parts: Sequence[Buffer]) -> list[bytes]:
    """Return copies of *parts* in one piece, or of a large message only what may change."""
    if sum(map(len, parts)) < _COPY_SIZE:  # type: ignore[arg-type, unused-ignore]  # of items
        return [b"".join(parts)]
    return [part if type(part) is bytes else bytes(part) for part in parts]


class _Pipes:
    """A reader and a writer of asyncio's, in place of a connection."""

    may_write = False  # drain() has to be asked

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, framer: Framer[Any]
    ) -> None:
        self.decoder = framer.decoder()
        self._reader, self._writer = reader, writer
        self._readers: list[asyncio.Future[None]] = []
        self._is_reading = self._has_ended = False
        self._draining = asyncio.Lock()  # Python 3.10 lets one task wait in drain()

    async def wait_for_bytes(self) -> None:
        if self._is_reading:  # another task, which may receive enough for this one too
            await _wait(self._readers)
            return
        self._is_reading = True
        try:
            data = await self._reader.read(_BATCH_SIZE)
            if data:
                self.decoder.feed(data)
            else:
                self.decoder.feed_eof()
        finally:
            self._is_reading = False
            _wake(self._readers)

    async def until_writable(self) -> None:
        async with self._draining:
            await self._writer.drain()
        if self._has_ended or self._writer.is_closing():
            raise BrokenPipeError(errno.EPIPE, _ENDED)

    def write(self, parts: list[bytes]) -> None:
        self._writer.writelines(parts)

    def end(self) -> None:
        self._has_ended = True
        self._writer.write_eof()

    async def close(self) -> None:
        self._writer.close()
        unsent = self._writer.transport.get_write_buffer_size()
        try:
            await asyncio.wait_for(self._writer.wait_closed(), _CLOSE_TIME)
        except (OSError, asyncio.TimeoutError) as error:  # two classes in 3.10
            if unsent:
                raise TimeoutError(f"the last {unsent} bytes could not be sent") from error
        finally:
            self.abort()

    def abort(self) -> None:
        with suppress(AttributeError):  # raised by a pipe that is closed
            self._writer.transport.abort()

    def info(self, name: str) -> Any:
        return self._writer.get_extra_info(name)


class MessageStream(Generic[M]):
    """A connection of asyncio's that carries whole messages.

    :func:`connect` and :func:`serve` make one.  For a reader and a writer of asyncio's, such as
    the pipes of a subprocess, use :meth:`over`.

    Any number of tasks may send and receive at the same time: messages never mix, and each
    message that arrives goes to one task.  To bound the time of a call, use ``asyncio.timeout()``,
    or ``asyncio.wait_for()`` around the call itself.  (A *task* that has received a message, and
    is then forgotten, takes that message with it.)

    **TLS** that an attacker truncates looks like a clean end, since asyncio reports it as one.
    (uvloop reports an error.)
    """

    def __init__(self, link: _Connection | _Pipes, framer: Framer[M]) -> None:
        self._link = link
        self._framer = framer
        self._ready: Iterator[M] = _NOTHING
        self._finished_by = ""

    @classmethod
    def over(
        cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, framer: Framer[N]
    ) -> MessageStream[N]:
        """Return a stream of messages over *reader* and *writer*, which are its own from now on.

        For example, over the pipes of a subprocess::

            conn = MessageStream.over(process.stdout, process.stdin, LineFramer())
        """
        check_is_framer(framer)
        return MessageStream(_Pipes(reader, writer, framer), framer)

    # Sending

    @overload
    async def send(self: MessageStream[bytes], message: Buffer) -> None: ...
    @overload
    async def send(self, message: M) -> None: ...
    async def send(self, message: Any) -> None:
        """Send one whole message.

        If it is cancelled, or raises, no byte of the message was sent.  Otherwise all of it goes
        out, unless the connection is lost.  It waits while the peer is slower than you are.

        Args:
            message: What the framer carries; bytes by default.

        Raises:
            EncodeError: The framer cannot carry *message*.
            TypeError: *message* is not of the type that the framer carries.
            OSError: The connection is lost or closed.
        """
        parts = _unchanging(self._framer.encode_parts(message))
        await self._until_writable()
        self._link.write(parts)

    @overload
    async def send_many(self: MessageStream[bytes], messages: Iterable[Buffer]) -> None: ...
    @overload
    async def send_many(self, messages: Iterable[M]) -> None: ...
    async def send_many(self, messages: Iterable[Any]) -> None:
        """Send many messages, in few system calls.

        Every message that was taken from the iterable is sent, also if this is cancelled, or if
        *messages* raises, or if a later message cannot be carried.

        Args:
            messages: Any iterable of what the framer carries.

        Raises:
            EncodeError: The framer cannot carry one of the messages.
            TypeError: One of them is not of the type that the framer carries.
            OSError: The connection is lost or closed.
        """
        iterator = iter(messages)
        may_be_more = True
        while may_be_more:
            await asyncio.sleep(0)  # other tasks have their turn too
            await self._until_writable()
            batch: list[bytes] = []
            try:
                may_be_more = self._gather(iterator, batch)
            finally:
                self._link.write([b"".join(batch)])

    def _gather(self, messages: Iterator[Any], batch: list[bytes]) -> bool:
        """Append the wire bytes of messages to *batch*; return whether there may be more."""
        encode, size = self._framer.encode, 0
        for message in messages:
            wire = encode(message)
            batch.append(wire)
            size += len(wire)
            if size >= _BATCH_SIZE:
                return True
        return False

    async def _until_writable(self) -> None:
        self._check_usable()
        if not self._link.may_write:
            await self._link.until_writable()
            self._check_usable()  # another task may have switched or closed it

    def end(self) -> None:
        """Tell the peer that no more messages come from this side; receiving continues.

        Raises:
            io.UnsupportedOperation: The connection is TLS, which cannot end one direction.
            OSError: The connection is lost or closed.
        """
        self._check_usable()
        self._link.end()

    # Receiving

    async def recv(self) -> M:
        """Receive one whole message.

        If it is cancelled, no message was taken, and no byte is lost.

        Raises:
            EndOfStreamError: The peer has ended the stream after a whole message, or before the
                first.
            IncompleteMessageError: The peer has ended the stream inside a message.
            DecodeError: The received bytes break the format.  If it is recoverable, the next
                call continues behind the bad message.
            OSError: The connection is lost or closed.
        """
        while True:
            for message in self._ready:
                return message
            self._check_usable()
            decoder = self._link.decoder
            if decoder.decode():
                self._ready = decoder.ready
            else:
                await self._link.wait_for_bytes()

    def __aiter__(self) -> MessageStream[M]:
        """Receive messages until the clean end of the stream.

        ``async for`` raises what :meth:`recv` raises.  After a recoverable error or a
        cancellation, another loop continues.
        """
        return self

    async def __anext__(self) -> M:
        for message in self._ready:
            return message
        try:
            return await self.recv()
        except EndOfStreamError:
            raise StopAsyncIteration from None

    # The connection

    @property
    def framer(self) -> Framer[M]:
        """The format of the messages."""
        return self._framer

    def get_extra_info(self, name: str) -> Any:
        """Return what asyncio knows of the connection: ``"peername"``, ``"socket"`` and others."""
        return self._link.info(name)

    def switch(self, framer: Framer[N]) -> MessageStream[N]:
        """Return the same connection in another format, from the next message on.

        This object is finished then: all its methods raise.
        """
        check_is_framer(framer)
        self._check_usable()
        self._finish("switch")
        self._link.decoder.switch(framer)
        return MessageStream(self._link, framer)

    async def aclose(self) -> None:
        """Send the unsent bytes, for 10 seconds at most, and close the connection.

        If it is cancelled, the connection is closed at once.

        Raises:
            OSError: The unsent bytes could not be sent.  The connection is closed all the same.
        """
        if not self._finished_by:
            self._finish("aclose")
            await self._link.close()

    async def __aenter__(self) -> MessageStream[M]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection; without waiting, if the block was left by an exception."""
        if kind is not None and not self._finished_by:
            self._link.abort()
        await self.aclose()

    def __repr__(self) -> str:
        state = f" finished by {self._finished_by}()" if self._finished_by else ""
        return f"<{type(self).__name__}{state} {self._framer!r} to {self._link.info('peername')!r}>"

    def _finish(self, method: str) -> None:
        self._finished_by, self._ready = method, _NOTHING

    def _check_usable(self) -> None:
        if self._finished_by == "aclose":
            raise OSError(errno.EBADF, "this MessageStream is closed")
        if self._finished_by:
            raise io.UnsupportedOperation(
                f"this MessageStream was finished by {self._finished_by}(): use what that returned"
            )


@overload
async def connect(
    address: tuple[str, int] | str,
    framer: LengthPrefixFramer = ...,
    *,
    ssl: SSLContext | None = ...,
) -> MessageStream[bytes]: ...
@overload
async def connect(
    address: tuple[str, int] | str, framer: Framer[M], *, ssl: SSLContext | None = ...
) -> MessageStream[M]: ...
async def connect(
    address: tuple[str, int] | str,
    framer: Framer[Any] = _DEFAULT,
    *,
    ssl: SSLContext | None = None,
) -> MessageStream[Any]:
    """Connect to a server.

    Args:
        address: The host, by name or by number, and the port; or the path of a Unix socket.
        framer: The wire format; by default a 4-byte big-endian length before the payload.
        ssl: For TLS: a context such as ``ssl.create_default_context()`` gives, which then
            checks that the server is *host*.

    Raises:
        OSError: No connection could be made; ``ConnectionRefusedError`` is one.
        TypeError: *address* is neither a host and a port nor a path, or *framer* is not a
            framer.
        ValueError: There is no such port.
    """
    check_address(address)
    check_is_framer(framer)
    loop = asyncio.get_running_loop()
    try:
        if isinstance(address, str):
            _, link = await loop.create_unix_connection(
                lambda: _Connection(framer), address, ssl=ssl, server_hostname="" if ssl else None
            )
        else:
            _, link = await loop.create_connection(
                lambda: _Connection(framer), *address[:2], ssl=ssl
            )
    except OSError as error:
        if not _is_refusal(error):
            raise
        shown = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
        kind = FileNotFoundError if error.errno == errno.ENOENT else ConnectionRefusedError
        number = error.errno or errno.ECONNREFUSED
        raise kind(
            number, f"{os.strerror(number)}: nothing listens at {shown}; is the server running?"
        ) from None
    return MessageStream(link, framer)


def _is_refusal(error: OSError) -> bool:
    """Return whether nothing listens, at any of the addresses that were tried."""
    if error.errno is None:  # asyncio has put the texts of several errors into one
        return f"[Errno {errno.ECONNREFUSED}]" in str(error)
    return isinstance(error, (ConnectionRefusedError, FileNotFoundError))


class Server:
    """A server that accepts clients: what :func:`serve` returns.

    Attributes:
        address: Where it listens: the host and the port, or the path of its Unix socket.
    """

    def __init__(
        self, handler: Callable[[MessageStream[Any]], Awaitable[object]], framer: Framer[Any]
    ) -> None:
        self._handler, self._framer = handler, framer
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = self._loop.create_future()

    async def _listen(self, address: tuple[str, int] | str, ssl: SSLContext | None) -> None:
        listener, self._remove_path = open_listener(address)
        where = listener.getsockname()
        self.address: Any = where[:2] if isinstance(where, tuple) else where
        is_unix = isinstance(address, str)
        create = self._loop.create_unix_server if is_unix else self._loop.create_server
        try:
            self._server = await create(
                lambda: _Connection(self._framer, self._begin),
                sock=listener,
                backlog=BACKLOG,
                ssl=ssl,
                ssl_handshake_timeout=_HANDSHAKE_TIME if ssl else None,
            )
        except BaseException:
            self._remove_path()
            listener.close()
            raise

    def _begin(self, link: _Connection) -> None:
        if self._closed.done():  # accepted before that, and connected after it
            link.abort()
            return
        task = self._loop.create_task(self._talk(link))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _talk(self, link: _Connection) -> None:
        client, sources = name_of(link.info("peername")), (link, link.decoder)
        try:
            try:
                await self._handler(MessageStream(link, self._framer))
            except BaseException:
                link.abort()
                raise
            await link.close()
        except Exception as error:
            report(_log, client, error, *sources)

    async def serve_forever(self) -> None:
        """Wait until the server is closed, or until this is cancelled."""
        await asyncio.shield(self._closed)

    async def aclose(self) -> None:
        """Close the server and its connections: cancel the handlers, and wait up to 5 seconds."""
        if not self._closed.done():
            self._closed.set_result(None)
            self._remove_path()
            self._server.close()
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_JOIN_TIME)

    async def __aenter__(self) -> Server:  # noqa: PYI034  # Self needs Python 3.11
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


@overload
async def serve(
    handler: Callable[[MessageStream[bytes]], Awaitable[object]],
    address: tuple[str, int] | str,
    framer: LengthPrefixFramer = ...,
    *,
    ssl: SSLContext | None = ...,
) -> Server: ...
@overload
async def serve(
    handler: Callable[[MessageStream[M]], Awaitable[object]],
    address: tuple[str, int] | str,
    framer: Framer[M],
    *,
    ssl: SSLContext | None = ...,
) -> Server: ...
async def serve(
    handler: Callable[[MessageStream[Any]], Awaitable[object]],
    address: tuple[str, int] | str,
    framer: Framer[Any] = _DEFAULT,
    *,
    ssl: SSLContext | None = None,
) -> Server:
    """Call *handler* with a ``MessageStream`` for each client, from now on.

    Each call is a task of its own.  When it returns, the unsent bytes get up to 10 seconds, and
    the connection is closed.  When it raises, the connection is closed at once, and the logger
    ``framing.aio`` writes why, as that of :func:`framing.serve` does.

    >>> import asyncio
    >>> from framing import LineFramer, aio
    >>> async def upper(conn):
    ...     async for line in conn:
    ...         await conn.send(line.upper())
    >>> async def main():
    ...     async with await aio.serve(upper, ("127.0.0.1", 0), LineFramer()) as server:
    ...         async with await aio.connect(server.address, LineFramer()) as conn:
    ...             await conn.send("hello")
    ...             return await conn.recv()
    >>> asyncio.run(main())
    'HELLO'

    Args:
        handler: A coroutine function that takes a ``MessageStream``.
        address: The host and the port to listen on, ``("", 9000)`` for all of this machine's
            addresses, 0 for a free port; or the path of a Unix socket, which is removed when the
            server is closed.
        framer: The wire format; by default a 4-byte big-endian length before the payload.
        ssl: For TLS: a context for servers, with a certificate.

    Raises:
        OSError: Nobody can listen there; for example, the address is in use.
        TypeError: One of the arguments is something else.
        ValueError: There is no such port, or *ssl* is a context for clients.
    """
    if not callable(handler):
        raise TypeError(f"expected a coroutine function for the clients, not {handler!r:.200}")
    check_is_framer(framer)
    check_is_for_servers(ssl)
    server = Server(handler, framer)
    await server._listen(address, ssl)
    return server

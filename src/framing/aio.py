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
import threading
from contextlib import ExitStack, suppress
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from .errors import EndOfStreamError
from .formats.length_prefix import LengthPrefixFramer
from .framer import Framer, check_is_framer
from .sockets.channel import RESET
from .sockets.checks import check_address, explained_refusal
from .sockets.listener import check_is_for_servers, open_listener
from .sockets.reports import name_of, open_log, report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from ssl import SSLContext
    from typing import TypeAlias

    from .buffer import Buffer
    from .decoder import Decoder

    Address: TypeAlias = tuple[str, int] | str
    Handler: TypeAlias = "Callable[[MessageStream[M]], Awaitable[object]]"

__all__ = ["MessageStream", "Server", "connect", "serve"]

M = TypeVar("M")
N = TypeVar("N")

_log = open_log(f"{__package__}.aio")

_DEFAULT = LengthPrefixFramer()
_ENDED = "nothing can be sent any more: end() was called, or the other side has closed"
_CUT_OFF = "the connection was closed before the end of the stream"
_NOTHING: Iterator[Any] = iter(())
# The most to receive at once.  If more bytes than that are undecoded, and no call is waiting for a
# message, reading pauses.
_READ_SIZE = 256 * 1024
# How many bytes are held back until the end of a turn, or gathered by send_many().
_BATCH_SIZE = 64 * 1024
# How long the unsent bytes get when a connection is closed.
_CLOSE_TIME = 10.0
# How long a server that is closed waits for its handlers.
_JOIN_TIME = 5.0


class _Scratch(threading.local):
    """The buffer that all connections of a thread receive into: the bytes are copied at once."""

    def __init__(self) -> None:
        self.view: memoryview = memoryview(bytearray(_READ_SIZE))


_scratch = _Scratch()


class _Connection(asyncio.BufferedProtocol):
    """A connection of asyncio's: it feeds the decoder, and wakes the tasks that wait.

    Attributes:
        transport: Asyncio's other half of it.
        decoder: For what comes in.
        may_write: Whether bytes can be written without waiting.
    """

    def __init__(self, framer: Framer[Any], begin: Callable[..., object] | None = None) -> None:
        self.decoder: Decoder[Any] = framer.decoder()
        self.may_write: bool = True
        self._begin = begin
        # A task that waits clears them; to set them wakes all tasks that wait.
        self._has_arrived, self._has_room = asyncio.Event(), asyncio.Event()
        self._waiting = 0  # for bytes: the number of tasks
        self._is_paused = self._has_ended = False
        # What was sent in this turn of the event loop, behind the first; None before that.
        self._held: bytearray | None = None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # What the event loop calls

    def connection_made(self, transport: Any) -> None:
        self.transport: Any = transport
        if self._begin is not None:
            self._begin(self)

    def get_buffer(self, sizehint: int) -> Any:  # noqa: ARG002
        if self.decoder.bytes_buffered < 2 * _READ_SIZE:
            return _scratch.view
        # To stop where a large message does saves a copy of it; of others, it costs a call.
        return _scratch.view[: self.decoder.room(_READ_SIZE, _READ_SIZE)] or _scratch.view

    def buffer_updated(self, nbytes: int) -> None:
        self.decoder.feed(_scratch.view[:nbytes])
        self._has_arrived.set()
        if not self._waiting and self.decoder.bytes_buffered > _READ_SIZE:
            self._is_paused = True
            self.transport.pause_reading()

    def eof_received(self) -> Any:
        self.decoder.feed_eof()
        self._has_arrived.set()
        return self.transport.can_write_eof()  # whether this side can go on: not with TLS

    def connection_lost(self, exc: Exception | None) -> None:
        # Without an error, this side has closed it, or the peer has not ended TLS properly.
        self._held, self.may_write = None, False
        self._closed.set_exception(exc) if exc else self._closed.set_result(None)
        self._closed.exception()  # nobody has to ask for it
        self._has_arrived.set()
        self._has_room.set()

    def pause_writing(self) -> None:
        self.may_write = False

    def resume_writing(self) -> None:
        self.may_write = not self._has_ended
        self._has_room.set()

    # What a stream calls

    async def wait_for_bytes(self) -> None:
        """Wait until more bytes have come, or the end."""
        self._check_alive()
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()
        self._has_arrived.clear()
        self._waiting += 1
        try:
            await self._has_arrived.wait()
        finally:
            self._waiting -= 1

    async def until_writable(self) -> None:
        """Wait until bytes can be written."""
        while not self.may_write:
            self._check_alive()
            if self._has_ended:
                raise BrokenPipeError(errno.EPIPE, _ENDED)
            self._has_room.clear()
            await self._has_room.wait()

    def write(self, wire: bytes) -> None:
        """Write now what comes first in a turn of the event loop, and the rest at its end.

        (To write each small message by itself takes a system call for each; to hold back the
        first as well would keep an answer waiting.)
        """
        if self._held is None:
            asyncio.get_running_loop().call_soon(self._flush)
        elif len(self._held) + len(wire) < _BATCH_SIZE:
            self._held += wire
            return
        self._flush()
        self.transport.write(wire)
        self._held = bytearray()

    def _flush(self) -> None:
        held, self._held = self._held, None
        if held:
            self.transport.write(held)

    def end(self) -> None:
        """Write what was held back, and end this direction."""
        if not self.transport.can_write_eof():
            raise io.UnsupportedOperation("TLS cannot end one direction: close the connection")
        self._check_alive()
        self._flush()
        self._has_ended, self.may_write = True, False
        self.transport.write_eof()

    async def close(self) -> None:
        """Write what is unsent, for 10 seconds at most, and close the connection."""
        self._flush()
        unsent, late = 0, TimeoutError("timed out: the peer takes no more bytes")
        with suppress(AttributeError):  # raised by a TLS transport that is closed
            unsent = self.transport.get_write_buffer_size()
        self.transport.close()
        try:
            await asyncio.wait([self._closed], timeout=_CLOSE_TIME)
            error = self._closed.exception() if self._closed.done() else late
        finally:
            self.abort()
        if unsent and error:
            raise copy(error)

    def abort(self) -> None:
        """Close the connection now; with a reset, if that cuts off what was sent."""
        self._flush()
        with suppress(OSError, AttributeError):  # it is closed already, or has no socket
            if self.transport.get_write_buffer_size():
                self.transport.get_extra_info("socket").setsockopt(*RESET)
        with suppress(AttributeError):  # raised by a pipe that is closed
            self.transport.abort()

    def _check_alive(self) -> None:
        if self._closed.done():
            error = self._closed.exception()
            raise copy(error or ConnectionAbortedError(errno.ECONNABORTED, _CUT_OFF))


class _Pipes(_Connection):
    """The same over a reader and a writer of asyncio's, which have a protocol already."""

    def __init__(self, framer: Framer[Any], reader: Any, writer: Any) -> None:
        super().__init__(framer)
        self.may_write = False  # drain() has to be asked
        self.transport = writer.transport
        self._reader, self._writer, self._reading = reader, writer, asyncio.Lock()

    async def wait_for_bytes(self) -> None:
        fed = self.decoder.bytes_fed
        async with self._reading:
            if self.decoder.bytes_fed == fed:  # or another task has read enough for this one
                data = await self._reader.read(_BATCH_SIZE)
                self.decoder.feed(data) if data else self.decoder.feed_eof()

    async def until_writable(self) -> None:
        await self._writer.drain()
        if self._has_ended or self._writer.is_closing():
            raise BrokenPipeError(errno.EPIPE, _ENDED)

    async def close(self) -> None:
        self._closed = asyncio.ensure_future(self._writer.wait_closed())
        await super().close()


class _Finished:
    """In place of a stream's connection once the stream is finished: to use it raises."""

    def __init__(self, error: OSError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise copy(self._error)


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

    Attributes:
        framer: The format of the messages.
    """

    def __init__(self, link: Any, framer: Framer[M]) -> None:
        self._link: Any = link
        self._connection: _Connection | None = link  # until it is closed
        self.framer: Framer[M] = framer
        self._ready: Iterator[M] = _NOTHING

    @classmethod
    def over(
        cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, framer: Framer[N]
    ) -> MessageStream[N]:
        """Return a stream of messages over *reader* and *writer*, which are its own from now on.

        For example, over the pipes of a subprocess::

            conn = MessageStream.over(process.stdout, process.stdin, LineFramer())
        """
        check_is_framer(framer)
        return MessageStream(_Pipes(framer, reader, writer), framer)

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
        wire = self.framer.encode(message)
        if not self._link.may_write:
            await self._link.until_writable()
        self._link.write(wire)

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
        wires = map(self.framer.encode, messages)
        while True:
            await asyncio.sleep(0)  # other tasks have their turn too
            await self._link.until_writable()
            write, batch, size = self._link.write, [], 0
            try:
                for wire in wires:
                    batch.append(wire)
                    size += len(wire)
                    if size >= _BATCH_SIZE:
                        break
                else:
                    return
            finally:
                write(b"".join(batch))

    def end(self) -> None:
        """Signal the end of this side's messages to the peer; receiving continues.

        Raises:
            io.UnsupportedOperation: The connection is TLS, which cannot end one direction.
            OSError: The connection is lost or closed.
        """
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
            link = self._link
            if link.decoder.decode():
                self._ready = link.decoder.ready
            else:
                await link.wait_for_bytes()

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

    def get_extra_info(self, name: str) -> Any:
        """Return what asyncio knows of the connection: ``"peername"``, ``"socket"`` and others."""
        return self._link.transport.get_extra_info(name)

    def switch(self, framer: Framer[N]) -> MessageStream[N]:
        """Return the same connection in another format, from the next message on.

        This object is finished then: all its methods raise, except :meth:`aclose`, which closes the
        connection.
        """
        check_is_framer(framer)
        self._link.decoder.switch(framer)
        text = "this MessageStream was finished by switch(): use what that returned"
        return MessageStream(self._finish(io.UnsupportedOperation(text)), framer)

    async def aclose(self) -> None:
        """Send the unsent bytes, for 10 seconds at most, and close the connection.

        If it is cancelled, the connection is closed at once.

        Raises:
            OSError: The unsent bytes could not be sent.  The connection is closed all the same.
        """
        self._finish(OSError(errno.EBADF, "this MessageStream is closed"))
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def __aenter__(self) -> MessageStream[M]:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        """Close the connection; without waiting, if the block was left by an exception."""
        if kind is not None and self._connection is not None:
            self._connection.abort()
        await self.aclose()

    def _finish(self, error: OSError) -> Any:
        link, self._link, self._ready = self._link, _Finished(error), _NOTHING
        return link


@overload
async def connect(address: Address, *, ssl: SSLContext | None = ...) -> MessageStream[bytes]: ...
@overload
async def connect(
    address: Address, framer: Framer[M], *, ssl: SSLContext | None = ...
) -> MessageStream[M]: ...
async def connect(
    address: Address, framer: Framer[Any] = _DEFAULT, *, ssl: SSLContext | None = None
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
    loop, new = asyncio.get_running_loop(), partial(_Connection, framer)
    try:
        if isinstance(address, str):
            host = "" if ssl else None
            _, link = await loop.create_unix_connection(new, address, ssl=ssl, server_hostname=host)
        else:
            _, link = await loop.create_connection(new, *address[:2], ssl=ssl)
    except OSError as error:
        raise explained_refusal(error, address) from None
    return MessageStream(link, framer)


class Server:
    """A server that accepts clients: what :func:`serve` returns.

    Attributes:
        address: Where it listens: the host and the port, or the path of its Unix socket.
    """

    address: Any

    def __init__(self, handler: Handler[Any], framer: Framer[Any]) -> None:
        self._handler, self._framer = handler, framer
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed, self._on_close = asyncio.Event(), ExitStack()

    def _begin(self, link: _Connection) -> None:
        if self._closed.is_set():  # accepted before that, and connected after it
            link.abort()
        else:
            task = asyncio.ensure_future(self._talk(link))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _talk(self, link: _Connection) -> None:
        client = name_of(link.transport.get_extra_info("peername"))
        try:
            await self._handler(MessageStream(link, self._framer))
            await link.close()
        except Exception as error:
            report(_log, client, error, link)
        finally:
            link.abort()

    async def serve_forever(self) -> None:
        """Wait until the server is closed, or until this is cancelled."""
        await self._closed.wait()

    async def aclose(self) -> None:
        """Close the server and its connections: cancel the handlers, and wait up to 5 seconds."""
        self._closed.set()
        self._on_close.close()
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
    handler: Handler[bytes], address: Address, *, ssl: SSLContext | None = ...
) -> Server: ...
@overload
async def serve(
    handler: Handler[M], address: Address, framer: Framer[M], *, ssl: SSLContext | None = ...
) -> Server: ...
async def serve(
    handler: Any, address: Address, framer: Any = _DEFAULT, *, ssl: SSLContext | None = None
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
        OSError: It cannot listen there; for example, the address is in use.
        TypeError: One of the arguments is something else.
        ValueError: There is no such port, or *ssl* is a context for clients.
    """
    if not callable(handler):
        raise TypeError(f"expected a coroutine function for the clients, not {handler!r:.200}")
    check_is_framer(framer)
    check_is_for_servers(ssl)
    loop, server = asyncio.get_running_loop(), Server(cast("Handler[Any]", handler), framer)
    new, is_path = partial(_Connection, framer, server._begin), isinstance(address, str)
    create = loop.create_unix_server if is_path else loop.create_server
    listener, remove_path = open_listener(address)
    server._on_close.callback(remove_path)
    server._on_close.callback((await create(new, sock=listener, ssl=ssl)).close)
    server.address = address if is_path else listener.getsockname()[:2]
    return server

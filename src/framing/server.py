r"""Servers: a function that is called with a ``MessageSocket`` for each client.

An echo server, which Ctrl-C stops::

    def echo(conn: MessageSocket[bytes]) -> None:
        for message in conn:
            conn.send(message)

    with serve(echo, ("127.0.0.1", 9000)) as server, suppress(KeyboardInterrupt):
        server.serve_forever()

Each client has a thread of its own.  The server does what every server has to do: it survives
whatever a client does, keeps the number of threads bounded, and logs one line for a client that
was lost.  It stands on the standard library's ``socketserver``.  If you have a server of that kind
already, use :class:`MessageRequestHandler`.
"""

from __future__ import annotations

import errno
import socket
import sys
from contextlib import suppress
from inspect import iscoroutinefunction
from queue import Empty, SimpleQueue
from socketserver import BaseRequestHandler, BaseServer
from threading import Event, Thread, current_thread, get_ident
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from .formats.length_prefix import LengthPrefixFramer
from .framer import Framer, check_is_framer
from .sockets.beside import beside
from .sockets.listener import check_is_for_servers, open_listener
from .sockets.message_socket import MessageSocket
from .sockets.reports import name_of, open_log, report

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext

__all__ = ["MessageRequestHandler", "Server", "serve"]

M = TypeVar("M")

_log = open_log(f"{__package__}.server")

_DEFAULT = LengthPrefixFramer()
# How often a server that waits for a client, or for a free place, looks for shutdown.  (On
# Windows, Ctrl-C has to wait for that too.)
_SLICE = 0.5
# How long it waits when the system has run out of something.
_PAUSE = 1.0
# How long a client's TLS handshake may take.
_HANDSHAKE_TIME = 10.0
# How long server_close() waits for the handlers.
_JOIN_TIME = 5.0
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Server(BaseServer):
    """A server that is listening: what :func:`serve` returns.

    It accepts clients while :meth:`serve_forever` runs; before that, the system lets them wait.
    Leaving the ``with`` block closes it.
    """

    timeout = _SLICE  # socketserver's name for how long handle_request() waits for a client

    def __init__(
        self,
        handler: Callable[[MessageSocket[Any]], object],
        address: tuple[str, int] | str,
        framer: Framer[Any],
        *,
        timeout: float | None,
        max_connections: int,
        ssl: SSLContext | None,
    ) -> None:
        self.socket, self._remove_path = open_listener(address)
        self.socket.settimeout(_SLICE)  # a client may be gone before it is accepted
        super().__init__(self.socket.getsockname(), BaseRequestHandler)
        self._handler, self._framer, self._timeout, self._ssl = handler, framer, timeout, ssl
        # The connections by their sockets, and a token for each that there may be besides.
        self._clients: dict[socket.socket, _Client | None] = {}
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(max_connections):
            self._places.put(None)
        self._is_stopping = False
        self._serving = 0  # the thread that is in serve_forever()
        self._has_stopped = Event()
        self._has_stopped.set()

    @property
    def address(self) -> Any:
        """The host and the port that it listens on, or the path of its Unix socket."""
        where = self.server_address
        return where[:2] if isinstance(where, tuple) else where

    def fileno(self) -> int:
        """Return the descriptor of the socket that listens, for selectors."""
        return self.socket.fileno()

    def serve_forever(self, poll_interval: float = _SLICE) -> None:
        """Accept clients until :meth:`shutdown`.

        Args:
            poll_interval: How often to look for that, in seconds.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.  You can call it again.
        """
        self._has_stopped.clear()
        self.timeout = poll_interval
        self._serving = get_ident()
        try:
            while not self._is_stopping:
                self.handle_request()
        finally:
            self._serving = 0
            self._has_stopped.set()

    def shutdown(self) -> None:
        """Stop accepting clients, for good, and wait until :meth:`serve_forever` has returned.

        Any thread may call it, and so may a handler of a client or of a signal.  The connections
        that there are go on.
        """
        self._is_stopping = True
        if self._serving != get_ident():
            self._has_stopped.wait()

    def server_close(self) -> None:
        """Close the server and its connections, and wait up to 5 seconds for their handlers.

        A handler that waits for its client is woken by an ``OSError``.
        """
        self.shutdown()
        self._remove_path()
        self.socket.close()
        clients = [each for each in self._clients.copy().values() if each is not None]
        for client in clients:
            client.wake()
        end = monotonic() + _JOIN_TIME
        for client in clients:
            if client is not current_thread():
                client.join(max(0.0, end - monotonic()))

    # What socketserver calls

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a client, once there is a place for it."""
        try:
            self._places.get(timeout=self.timeout)
        except Empty:
            raise TimeoutError("no place is free") from None  # ends handle_request()
        try:
            sock, address = self.socket.accept()
            self._clients[sock] = None
        except BaseException as error:
            self._places.put(None)
            if isinstance(error, OSError) and error.errno in _EXHAUSTED:
                self._pause(error)
            raise
        return sock, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a client in a thread of its own."""
        client = _Client(self, request, client_address)
        self._clients[request] = client
        try:
            client.start()
        except RuntimeError as error:  # the system has no more threads
            self.shutdown_request(request)
            self._pause(error)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, unless its thread runs already: Ctrl-C may interrupt the start."""
        client = self._clients.get(request)
        if client is None or client.ident is None:
            request.close()
            self.release(request)

    def release(self, request: socket.socket) -> None:
        """Give the place of a connection to another one."""
        with suppress(KeyError):
            self._clients.pop(request)
            self._places.put(None)

    def _pause(self, error: Exception) -> None:
        _log.warning("no client can be accepted for %s s: %s", _PAUSE, error)
        sleep(_PAUSE)


def _send_at_once(sock: socket.socket) -> None:
    """Let no answer wait for the peer's acknowledgement of the one before."""
    if sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _Client(Thread):
    """The thread of one connection."""

    def __init__(self, server: Server, sock: socket.socket, address: object) -> None:
        super().__init__(name=f"{__package__} {name_of(address)}", daemon=True)
        self._server, self._accepted, self._sock = server, sock, sock
        self._who = name_of(address)
        # What raises the errors that the client is to blame for.
        self._sources: tuple[object, ...] = (self,)
        self._conn: MessageSocket[Any] | None = None
        self._is_over = False

    def run(self) -> None:
        try:
            self._talk()
        except Exception as error:
            report(_log, self._who, error, *self._sources)
        finally:
            if self._conn is None:
                self._sock.close()
            self._server.release(self._accepted)

    def _talk(self) -> None:
        self._conn = conn = self._open()
        self._sources = conn._channel, conn._decoder
        try:
            self._server._handler(conn)
        except BaseException as error:
            self._close(conn, error)
            raise
        self._sources, self._is_over = (self,), True
        self._close(conn, None)

    def _open(self) -> MessageSocket[Any]:
        server, sock = self._server, self._sock
        _send_at_once(sock)
        if server._ssl is not None:
            sock.settimeout(_HANDSHAKE_TIME)
            self._sock = sock = server._ssl.wrap_socket(
                sock, server_side=True, do_handshake_on_connect=False
            )
            sock.do_handshake()
        sock.settimeout(server._timeout)
        return MessageSocket(sock, server._framer)

    def _close(self, conn: MessageSocket[Any], error: BaseException | None) -> None:
        """Close the connection, in whatever format it is by now, unless it was detached."""
        channel = conn._channel
        if channel.sock.fileno() >= 0 and beside(channel.sock).sending.refusal is not None:
            current: MessageSocket[Any] = object.__new__(MessageSocket)
            current._take_up(channel, conn.framer.decoder())
            current.__exit__(None if error is None else type(error), error, None)

    def wake(self) -> None:
        """End the connection, whatever its handler waits for."""
        if self._is_over:
            return  # the last bytes may still go out
        if self._conn is not None:
            self._conn._channel.is_closed = True
        with suppress(OSError):
            # Not the socket's own method: TLS would continue in plain text after it.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)


@overload
def serve(
    handler: Callable[[MessageSocket[bytes]], object],
    address: tuple[str, int] | str,
    framer: LengthPrefixFramer = ...,
    *,
    timeout: float | None = ...,
    max_connections: int = ...,
    ssl: SSLContext | None = ...,
) -> Server: ...
@overload
def serve(
    handler: Callable[[MessageSocket[M]], object],
    address: tuple[str, int] | str,
    framer: Framer[M],
    *,
    timeout: float | None = ...,
    max_connections: int = ...,
    ssl: SSLContext | None = ...,
) -> Server: ...
def serve(
    handler: Callable[[MessageSocket[Any]], object],
    address: tuple[str, int] | str,
    framer: Framer[Any] = _DEFAULT,
    *,
    timeout: float | None = None,
    max_connections: int = 1000,
    ssl: SSLContext | None = None,
) -> Server:
    """Return a server that calls *handler* with a ``MessageSocket`` for each client.

    Each call has a thread of its own.  When it returns, the unsent bytes get up to 10 seconds,
    and the connection is closed.  When it raises, the connection is closed at once, and the
    logger ``framing.server`` writes why: a client that was lost at level INFO, one that sent bad
    data at WARNING, and anything else at ERROR, with its traceback.  (If the handler calls
    ``detach()``, it is up to the handler to close the socket.)

    >>> from threading import Thread
    >>> from framing import LineFramer, connect, serve
    >>> def upper(conn):
    ...     for line in conn:
    ...         conn.send(line.upper())
    >>> with serve(upper, ("127.0.0.1", 0), LineFramer()) as server:
    ...     Thread(target=server.serve_forever).start()
    ...     with connect(server.address, LineFramer()) as client:
    ...         client.send("hello")
    ...         client.recv()
    'HELLO'

    Args:
        handler: A function that takes a ``MessageSocket``.
        address: The host and the port to listen on, ``("", 9000)`` for all of this machine's
            addresses, 0 for a free port; or the path of a Unix socket, which is removed when the
            server is closed.
        framer: The wire format; by default a 4-byte big-endian length before the payload.
        timeout: The connections' own, in seconds; ``None`` for no limit.
        max_connections: How many clients are served at once.  More of them wait.
        ssl: For TLS: a context for servers, with a certificate.

    Raises:
        OSError: It cannot listen there; for example, the address is in use.
        TypeError: One of the arguments is something else.
        ValueError: There is no such port, or *max_connections* is less than 1, or *ssl* is a
            context for clients.
    """
    if not callable(handler) or iscoroutinefunction(handler):
        advice = ": use framing.aio.serve for asyncio" if callable(handler) else ""
        raise TypeError(f"expected a function for the clients, not {handler!r:.200}{advice}")
    check_is_framer(framer)
    check_is_for_servers(ssl)
    if max_connections < 1:
        raise ValueError(f"expected max_connections of 1 or more, not {max_connections}")
    return Server(
        handler, address, framer, timeout=timeout, max_connections=max_connections, ssl=ssl
    )


class MessageRequestHandler(BaseRequestHandler, Generic[M]):
    """One connection of a ``socketserver`` server: subclass it, and define ``handle``.

    It fits every stream server there: TCP and Unix, one connection at a time, threading or
    forking.  When ``handle`` returns, the unsent bytes are sent and the connection is closed;
    when it raises, the connection is closed at once, and the server reports the error.

    Attributes:
        framer: The wire format, by default a 4-byte big-endian length before the payload;
            set it in the class.
        timeout: The connection's own, in seconds, or ``None`` for none; set it in the class.
        messages: The connection, a :class:`MessageSocket`.

    >>> from socketserver import TCPServer
    >>> from threading import Thread
    >>> from framing import LineFramer, connect
    >>> class Upper(MessageRequestHandler[str]):
    ...     framer = LineFramer()
    ...     def handle(self):
    ...         for line in self.messages:
    ...             self.messages.send(line.upper())
    >>> with TCPServer(("127.0.0.1", 0), Upper) as server:
    ...     Thread(target=server.handle_request).start()
    ...     with connect(server.server_address, LineFramer()) as client:
    ...         client.send("hello")
    ...         client.recv()
    'HELLO'
    """

    framer: Framer[M] = _DEFAULT  # type: ignore[assignment]  # where M is bytes
    timeout: float | None = None
    messages: MessageSocket[M]

    def setup(self) -> None:
        """Make ``messages`` of the connection."""
        self._error_before = sys.exc_info()[1]
        self.messages = MessageSocket(self.request, self.framer)
        _send_at_once(self.request)
        if self.timeout is not None:
            self.request.settimeout(self.timeout)

    def finish(self) -> None:
        """Close ``messages``, without waiting if ``handle`` raised an error."""
        kind, error, traceback = sys.exc_info()
        if error is self._error_before:  # which the caller of the server is handling
            kind = error = traceback = None
        self.messages.__exit__(kind, error, traceback)

r"""Servers: a function that is called with a ``MessageSocket`` for each client.

An echo server, which Ctrl-C stops::

    def echo(conn: MessageSocket[bytes]) -> None:
        for message in conn:
            conn.send(message)

    with serve(echo, ("127.0.0.1", 9000)) as server, suppress(KeyboardInterrupt):
        server.serve_forever()

Each client has a thread of its own.  The server does what every server has to do: it survives
whatever a client does, keeps the number of threads bounded, and logs one line for a client that
was lost.  If you have a server of the standard library's ``socketserver``, use
:class:`MessageRequestHandler`.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from inspect import iscoroutinefunction
from queue import Empty, SimpleQueue
from socketserver import BaseRequestHandler
from threading import Thread, get_ident
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from .formats.length_prefix import LengthPrefixFramer
from .framer import Framer, check_is_framer
from .sockets.listener import check_is_for_servers, open_listener
from .sockets.message_socket import MessageSocket, channel_of
from .sockets.reports import name_of, open_log, report

if TYPE_CHECKING:
    from collections.abc import Callable
    from socketserver import BaseServer
    from ssl import SSLContext

    from .sockets.channel import Channel

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


class Server:
    """A server that is listening: what :func:`serve` returns.

    It accepts clients while :meth:`serve_forever` runs; before that, the system lets them wait.
    Leaving the ``with`` block closes it.

    Attributes:
        address: The host and the port that it listens on, or the path of its Unix socket.
        socket: The socket that listens.
    """

    def __init__(self, address: tuple[str, int] | str, max_connections: int, *options: Any) -> None:
        listener, self._remove_path = open_listener(address)
        self.socket: socket.socket = listener
        self.address: Any = address if isinstance(address, str) else listener.getsockname()[:2]
        self._handler, self._framer, self._timeout, self._ssl = options
        self._clients: set[_Client] = set()
        self._places: SimpleQueue[None] = SimpleQueue()  # a token for each client more
        for _ in range(max_connections):
            self._places.put(None)
        self._is_stopping = False
        self._serving = 0  # the thread that is in serve_forever()

    def __enter__(self) -> Server:  # noqa: PYI034  # Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.server_close()

    def serve_forever(self, poll_interval: float = _SLICE) -> None:
        """Accept clients until :meth:`shutdown`.

        Args:
            poll_interval: How often to look for that, in seconds.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.  You can call it again.
        """
        self.socket.settimeout(poll_interval)
        self._serving = get_ident()
        try:
            while not self._is_stopping:
                self._accept()
        finally:
            self._serving = 0

    def shutdown(self) -> None:
        """Stop accepting clients, for good, and wait until :meth:`serve_forever` has returned.

        Any thread may call it, and so may a handler of a client or of a signal.  Open
        connections continue.
        """
        self._is_stopping = True
        while self._serving not in {0, get_ident()}:
            sleep(0.01)

    def server_close(self) -> None:
        """Close the server and its connections, and wait up to 5 seconds for their handlers.

        A handler that waits for its client is woken by an ``OSError``.
        """
        self.shutdown()
        self._remove_path()
        self.socket.close()
        clients, end = self._clients.copy(), monotonic() + _JOIN_TIME
        for client in clients:
            client.wake()
        for client in clients:
            with suppress(RuntimeError):  # it is this thread, or Ctrl-C came before its start
                client.join(max(0.0, end - monotonic()))

    def _accept(self) -> None:
        """Accept a client if one connects soon and fewer than ``max_connections`` are open."""
        try:
            self._places.get(timeout=self.socket.gettimeout())
            self._start_client()
        except (Empty, TimeoutError, BlockingIOError, ConnectionError):
            # The server is full, or no client came (PyPy says so in its own way if a signal did),
            # or it has disconnected.
            pass
        except (OSError, RuntimeError) as error:  # the system has no more descriptors or threads
            _log.warning("no client can be accepted for %s s: %s", _PAUSE, error)
            sleep(_PAUSE)

    def _start_client(self) -> None:
        try:
            client = _Client(self, *self.socket.accept())
        except BaseException:
            self._places.put(None)
            raise
        self._clients.add(client)
        try:
            client.start()
        except RuntimeError:
            client.leave()
            raise


class _Client(Thread):
    """The thread of one connection."""

    def __init__(self, server: Server, sock: socket.socket, address: object) -> None:
        self._server, self._sock, self._who = server, sock, name_of(address)
        self._channel: Channel | None = None
        self._is_over = False
        super().__init__(name=f"{__package__} {self._who}", daemon=True)

    def run(self) -> None:
        try:
            self._talk()
        except Exception as error:
            report(_log, self._who, error, *self._sources())
        finally:
            self.leave()

    def _sources(self) -> tuple[object, ...]:
        """Return what an error comes from if the client is to blame for it."""
        channel = self._channel
        return (self,) if channel is None else (channel, channel.receiving, channel.sending)

    def leave(self) -> None:
        """Give the place to another client."""
        if self._channel is None:  # or else it is closed, or the handler's
            self._sock.close()
        self._server._clients.discard(self)
        self._server._places.put(None)

    def _talk(self) -> None:
        server = self._server
        if server._ssl is not None:
            self._sock.settimeout(_HANDSHAKE_TIME)
            self._sock = tls = server._ssl.wrap_socket(
                self._sock, server_side=True, do_handshake_on_connect=False
            )
            tls.do_handshake()
        with _connection(self._sock, server._framer, server._timeout) as conn:
            self._channel = channel_of(conn)
            server._handler(conn)
            self._is_over = True

    def wake(self) -> None:
        """End the connection, whatever its handler waits for."""
        if self._is_over:
            return  # the last bytes may still go out
        if self._channel is not None:
            self._channel.is_closed = True
        with suppress(OSError):
            # Not the socket's own method: TLS would continue in plain text after it.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)


def _connection(sock: socket.socket, framer: Framer[M], timeout: float | None) -> MessageSocket[M]:
    conn = MessageSocket(sock, framer)
    if sock.family in {socket.AF_INET, socket.AF_INET6}:
        # Let no answer wait for the peer's acknowledgement of the one before.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(timeout)
    return conn


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
        raise TypeError(
            f"expected a function for the clients, not {handler!r:.200}"
            " (for asyncio, use framing.aio.serve)"
        )
    check_is_framer(framer)
    check_is_for_servers(ssl)
    if max_connections < 1:
        raise ValueError(f"expected max_connections of 1 or more, not {max_connections}")
    return Server(address, max_connections, handler, framer, timeout, ssl)


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

    def __init__(self, request: Any, client_address: Any, server: BaseServer) -> None:
        with _connection(request, self.framer, self.timeout) as self.messages:
            super().__init__(request, client_address, server)

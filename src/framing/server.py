"""Whole messages for the servers of the standard library's ``socketserver``.

A server that answers in capitals::

    from socketserver import ThreadingTCPServer
    from framing.server import MessageRequestHandler

    class Upper(MessageRequestHandler[bytes]):
        def handle(self):
            for message in self.messages:
                self.messages.send(message.upper())

    with ThreadingTCPServer(("127.0.0.1", 9000), Upper) as server:
        server.serve_forever()

Nothing else in the package imports it, so only those who use it load ``socketserver``.
"""

from __future__ import annotations

import socket
import sys
from socketserver import BaseRequestHandler
from typing import Generic, TypeVar

from .framer import Framer  # noqa: TC001  # documentation tools look the types up
from .length_prefix import LengthPrefixFramer
from .message_socket import MessageSocket
from .sockets import check_is_stream

__all__ = ["MessageRequestHandler"]

M = TypeVar("M")


class MessageRequestHandler(BaseRequestHandler, Generic[M]):
    """One connection of a server: derive from it, and define ``handle``.

    It serves every stream server of ``socketserver``: TCP and Unix, one connection at a time,
    threading or forking.  When ``handle`` returns, what is owed is sent and the connection is
    closed; when it raises, the connection is closed at once, and the server tells of the error.

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

    framer: Framer[M] = LengthPrefixFramer()  # type: ignore[assignment]  # where M is bytes
    timeout: float | None = None
    messages: MessageSocket[M]

    def setup(self) -> None:
        """Make ``messages`` of the connection."""
        self._error_before = sys.exc_info()[1]
        check_is_stream(self.request)
        if self.timeout is not None:
            self.request.settimeout(self.timeout)
        if self.request.family in (socket.AF_INET, socket.AF_INET6):
            # As connect() does: answers need not wait for the peer's acknowledgement.
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.messages = MessageSocket(self.request, self.framer)

    def finish(self) -> None:
        """Close ``messages``, without waiting if ``handle`` raised an error."""
        kind, error, traceback = sys.exc_info()
        if error is self._error_before:  # which whoever called the server is handling
            kind = error = traceback = None
        self.messages.__exit__(kind, error, traceback)

"""The echo server with a selector: many clients in one thread, without asyncio.

Start it, and tcp_echo_client.py in several terminals. Each client is a generator that yields
what it waits for: inside, this is what asyncio does.
"""

import argparse
import functools
import selectors
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import TypeVar

import framing

T = TypeVar("T")
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


def serve(client: framing.MessageSocket[bytes]) -> Generator[int, None, None]:
    """Answer one client until it closes the connection."""
    with suppress(framing.EndOfStreamError):
        while True:
            message = yield from until_done(client.recv, READ)
            yield from until_done(functools.partial(client.send, message.upper()), WRITE)
            # What the system did not take yet of a long answer.
            yield from until_done(client.flush, WRITE)
            # One answer, then another client's turn. (Waiting to write, not to read: more
            # messages may have been received already, of which the selector knows nothing.)
            yield WRITE


def until_done(call: Callable[[], T], event: int) -> Generator[int, None, T]:
    """Try again whenever *event* has come, until *call* does not have to wait any more."""
    while True:
        try:
            return call()
        except BlockingIOError:
            yield event


def run(listener: socket.socket) -> None:
    """Let each client go on when what it waits for has come."""
    listener.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(listener, READ)
    while True:
        # With a time limit, since on Windows Ctrl-C does not wake a selector.
        for key, _ in selector.select(timeout=0.5):
            if key.fileobj is listener:
                accept(listener, selector)
            else:
                go_on(key, selector)


def accept(listener: socket.socket, selector: selectors.BaseSelector) -> None:
    """Let a new client in."""
    with suppress(OSError):  # it may have left already
        conn, _ = listener.accept()
        conn.setblocking(False)
        client = framing.MessageSocket(conn)
        selector.register(client, READ, data=serve(client))


def go_on(key: selectors.SelectorKey, selector: selectors.BaseSelector) -> None:
    """Let one client go on, and take it out if it has left."""
    try:
        event = next(key.data)
    except (StopIteration, OSError, framing.FramingError) as reason:
        selector.unregister(key.fileobj)
        if not isinstance(reason, StopIteration):
            print(f"a client was lost: {reason}", flush=True)
        with suppress(OSError):
            key.fileobj.close()  # type: ignore[union-attr]  # it is a MessageSocket
    else:
        selector.modify(key.fileobj, event, key.data)


def main() -> None:
    """Serve clients until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=int, help="0 for any free port")
    options = parser.parse_args()
    try:
        listener = socket.create_server((options.host, options.port))
    except (OSError, ValueError, OverflowError) as error:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {error}")
    with listener, suppress(KeyboardInterrupt):
        print("listening on {}:{}, until Ctrl-C".format(*listener.getsockname()), flush=True)
        run(listener)
    print("stopped")


if __name__ == "__main__":
    main()

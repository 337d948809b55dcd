"""Sticky packets, seen: TCP carries bytes, and does not keep the sends apart.

The program talks to itself over a real TCP connection. Several sends arrive as one recv, one
send arrives as many, and a delay between the sends does not help. With send_msg and recv_msg, each
message arrives as it was sent.
"""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable

import framing

SHORT = [b"one", b"two", b"three"]
LARGE = [b"x" * 1_000_000]


def main() -> None:
    """Send the same messages without framing and with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
    show("three quick sends", SHORT, carry(SHORT, send_all, recv_chunks))
    show("three sends with a delay", SHORT, carry(SHORT, send_slowly, recv_chunks))
    show("one large send", LARGE, carry(LARGE, send_all, recv_chunks))
    show("three quick send_msg", SHORT, carry(SHORT, send_framed, recv_framed))
    show("one large send_msg", LARGE, carry(LARGE, send_framed, recv_framed))


def send_all(sock: socket.socket, messages: list[bytes]) -> None:
    """Send messages as a beginner does: the bytes, and nothing that shows where one ends."""
    for message in messages:
        sock.sendall(message)


def send_slowly(sock: socket.socket, messages: list[bytes]) -> None:
    """Wait after each message, as is often advised."""
    for message in messages:
        sock.sendall(message)
        time.sleep(0.1)


def send_framed(sock: socket.socket, messages: list[bytes]) -> None:
    """Send each message with its length before it."""
    for message in messages:
        framing.send_msg(sock, message)


def recv_chunks(sock: socket.socket) -> Iterable[bytes]:
    """Yield chunks as they arrive, until the peer closes the connection."""
    while chunk := sock.recv(65_536):
        yield chunk


def recv_framed(sock: socket.socket) -> Iterable[bytes]:
    """Receive whole messages until the peer has closed."""
    return framing.MessageSocket(sock)


def carry(
    messages: list[bytes],
    send: Callable[[socket.socket, list[bytes]], None],
    receive: Callable[[socket.socket], Iterable[bytes]],
) -> list[bytes]:
    """Send messages over a new connection, and return what was received."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()

    def send_and_close() -> None:
        with client:
            send(client, messages)

    with server:
        sender = threading.Thread(target=send_and_close)
        sender.start()
        # A receiver is busy now and then: with another client, with its disk, or because the
        # system runs something else. The sender cannot know for how long, so no delay between
        # its sends is long enough. This one is busy until all short messages have come.
        if messages is SHORT:
            sender.join()
        return list(receive(server))


def show(title: str, sent: list[bytes], received: list[bytes]) -> None:
    """Print how many messages were sent, and what they became."""
    verdict = "as sent" if received == sent else "not what was sent"
    print(f"{title}: sent {len(sent)}, received {len(received)}, {verdict}:")
    pieces = [piece.decode() if len(piece) < 20 else f"{len(piece)} bytes" for piece in received]
    print("   ", " | ".join(pieces[:4]), "| ..." if len(pieces) > 4 else "")


if __name__ == "__main__":
    main()

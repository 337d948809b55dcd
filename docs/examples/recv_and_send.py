"""What recv and send really do, each shown on a real connection of this machine.

recv returns what is there, and b"" at the end; send takes what fits. recv_msg and send_msg make
whole messages of that, and raise an error for anything else.
"""

import contextlib
import signal
import socket
from collections.abc import Iterator

import framing


def main() -> None:
    """Show one thing after another."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
    for lesson in (rest_stays, end_is_empty, send_to_nobody, send_takes_a_part, sendall_waits):
        print(f"\n{lesson.__doc__}")
        with connection() as (client, server):
            lesson(client, server)


def rest_stays(client: socket.socket, server: socket.socket) -> None:
    """Bytes that recv does not take stay for the next recv."""
    client.sendall(b"hello")
    print("sendall(b'hello'); recv(2):", server.recv(2))
    print("recv(100):", server.recv(100))


def end_is_empty(client: socket.socket, server: socket.socket) -> None:
    """When the peer has closed the connection, recv returns b"", and does so at once each time."""
    framing.send_msg(client, b"bye")
    client.close()
    print("recv_msg:", framing.recv_msg(server), "and recv:", server.recv(100), server.recv(100))
    try:
        framing.recv_msg(server)
    except framing.EndOfStreamError as error:
        print("recv_msg at the end: EndOfStreamError:", error)


def send_to_nobody(client: socket.socket, server: socket.socket) -> None:
    """The first send after the peer has gone succeeds: it only hands bytes to this system."""
    server.close()
    for number in range(1, 100):
        try:
            client.send(b"anybody?")
        except OSError as error:  # what the peer's system has said of an earlier one
            print(f"send number {number}: {type(error).__name__}")  # BrokenPipeError on Linux
            return


def send_takes_a_part(client: socket.socket, _: socket.socket) -> None:
    """Nobody receives, so the buffers fill up: send takes what fits, and then it blocks."""
    client.settimeout(0.1)  # otherwise it would block for ever, on some systems the first time
    taken = []
    with contextlib.suppress(TimeoutError):
        while True:
            taken.append(client.send(bytes(10_000_000)))
    print(f"send(10,000,000 bytes) returned {taken[0]:,}; in all {sum(taken):,}; then it blocked")


def sendall_waits(client: socket.socket, _: socket.socket) -> None:
    """The call sendall sends everything or raises, and then nobody knows how much has gone out."""
    client.settimeout(0.1)
    try:
        client.sendall(bytes(10_000_000))
    except TimeoutError:
        print("sendall(10,000,000 bytes): TimeoutError, after an unknown part of them")
    # A MessageSocket keeps the rest of a message that has begun, and sends it first next time.
    with connection() as (other_client, other_server):
        messages = framing.MessageSocket(other_client)
        messages.send(bytes(10_000_000), timeout=0.1)
        print(f"MessageSocket.send of as many: returned; still to be sent: {messages.unsent:,}")
        other_server.close()


@contextlib.contextmanager
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Connect two sockets over TCP on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        yield client, server


if __name__ == "__main__":
    main()

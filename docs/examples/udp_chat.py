"""A chat of two over UDP: both are bound to a port, and send and receive at the same time.

In one terminal: udp_chat.py 127.0.0.1 9000 127.0.0.1 9001; in another the same with the two
ports exchanged. The line "bye" ends both. A datagram may get lost, that one too.
"""

import argparse
import os
import signal
import socket
import sys
import threading

import framing

leaving = threading.Event()


def main() -> None:
    """Send the lines of standard input, while a thread receives."""
    # Ctrl-C ends the program at once, whatever its threads are waiting for.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1", help="our own address")
    parser.add_argument("port", nargs="?", default=9000, type=port)
    parser.add_argument("peer_host", nargs="?", default="127.0.0.1", help="the other's")
    parser.add_argument("peer_port", nargs="?", default=9001, type=port)
    options = parser.parse_args()
    try:
        with framing.open_datagram((options.host, options.port)) as sock:
            # From now on the system passes on only what comes from there.
            sock.connect((options.peer_host, options.peer_port))
            threading.Thread(target=receive, args=(sock,), daemon=True).start()
            peers = (*sock.getsockname(), *sock.getpeername())
            print("chatting at {}:{} with {}:{}".format(*peers), flush=True)
            for line in sys.stdin:
                text = line.rstrip("\n")
                if text == "bye":
                    break
                send(sock, text)
            leaving.set()
            send(sock, "bye")
    except (OSError, UnicodeError, framing.FramingError) as error:
        sys.exit(f"{options.host}:{options.port}: {error}")


def send(sock: socket.socket, text: str) -> None:
    """Send one line. Whether the other has started yet, or has left, is not for us to know."""
    framing.send_datagram(sock, text.encode(), ignore_refused=True)


def receive(sock: socket.socket) -> None:
    """Print what the other says until one of both says bye."""
    try:
        while (text := recv(sock)) != "bye":
            # What others send must not steer this terminal, as control characters do.
            print(text if text.isprintable() else ascii(text), flush=True)
        print("the other has left", flush=True)
    except OSError as error:
        if leaving.is_set():
            return  # the main thread has closed the socket
        print(error, file=sys.stderr)
        os._exit(1)
    os._exit(0)  # the main thread waits for the keyboard, and nothing else would end that


def recv(sock: socket.socket) -> str:
    """Receive one line."""
    return framing.recv_datagram(sock, ignore_refused=True).data.decode(errors="replace")


def port(text: str) -> int:
    """Return the port in *text*; argparse makes its message of a ValueError."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    main()

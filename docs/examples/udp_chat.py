"""A chat of two over UDP: both are bound to a port, and send and receive at the same time.

In one terminal: udp_chat.py 127.0.0.1 9000 127.0.0.1 9001; in another the same with the two
ports exchanged. The line "bye" ends both. A datagram may get lost, and so may that one.
"""

import argparse
import io
import os
import signal
import socket
import sys
import threading

import framing

leaving = threading.Event()


def main() -> None:
    """Send the lines of standard input, while a thread receives."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # whatever arrives can be printed
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1", help="our own address")
    parser.add_argument("port", nargs="?", default=9000, type=int)
    parser.add_argument("peer_host", nargs="?", default="127.0.0.1", help="the other's")
    parser.add_argument("peer_port", nargs="?", default=9001, type=int)
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
    except (OSError, ValueError, OverflowError) as error:
        sys.exit(f"{options.host}:{options.port}: {error}")


def send(sock: socket.socket, text: str) -> None:
    """Send one line. Nobody knows whether the other one has started yet, or has left."""
    framing.send_datagram(sock, text.encode(), ignore_refused=True)


def receive(sock: socket.socket) -> None:
    """Print what the other says until one of the two says bye."""
    try:
        while (text := recv(sock)) != "bye":
            # Control characters could change what the terminal shows.
            print(text if text.isprintable() else repr(text), flush=True)
        print("the other has left", flush=True)
    except (OSError, ValueError) as error:
        if leaving.is_set():
            return  # the main thread has closed the socket
        print(error, file=sys.stderr)
        os._exit(1)
    os._exit(0)  # the main thread waits for the keyboard, and nothing else would end that


def recv(sock: socket.socket) -> str:
    """Receive one line."""
    return framing.recv_datagram(sock, ignore_refused=True).data.decode(errors="replace")


if __name__ == "__main__":
    main()

"""A chat server over TCP: it passes what each client says on to all others.

Start it, and chat_client.py in several terminals. A message is a line of text, so a client can
also be `nc 127.0.0.1 9000`: the first line is the name, and the line "bye" leaves.
"""

import argparse
import signal
import socket
import sys
import threading
import time
from contextlib import suppress

import framing

PATIENCE = 1.0  # seconds: all others wait, so a client that takes nothing is put out then

members: dict[str, framing.MessageSocket[str]] = {}
lock = threading.Lock()  # each client has a thread, and they share the members


def main() -> None:
    """Serve clients until Ctrl-C."""
    # Ctrl-C ends the program at once. On Windows, accept() would not notice it otherwise.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=port, help="0 for any free one")
    options = parser.parse_args()
    try:
        listener = socket.create_server((options.host, options.port))
    except (OSError, UnicodeError) as error:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {error}")
    with listener:
        print("listening on {}:{}, until Ctrl-C".format(*listener.getsockname()), flush=True)
        while True:
            try:
                conn, _ = listener.accept()
            except OSError:  # it has left already, or there are too many: let some leave
                time.sleep(0.1)
                continue
            threading.Thread(target=serve, args=(conn,), daemon=True).start()


def serve(conn: socket.socket) -> None:
    """Serve one client, in its own thread, until it leaves or is lost."""
    try:
        with conn, framing.MessageSocket(conn, framing.LineFramer()) as messages:
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pass on at once
            name = messages.recv()
            if 1 <= len(name) <= 20 and name.isprintable() and join(name, messages):
                chat(name, messages)
            else:
                messages.send("* this name is taken, or is not 1 to 20 printable characters")
    except (OSError, framing.FramingError) as error:
        print(f"a client was lost: {error}", flush=True)


def join(name: str, messages: framing.MessageSocket[str]) -> bool:
    """Let a client in, unless its name is taken."""
    with lock:
        return members.setdefault(name, messages) is messages


def chat(name: str, messages: framing.MessageSocket[str]) -> None:
    """Pass on what a client says, until it says bye or the connection ends."""
    try:
        tell(f"* {name} is here")
        for text in messages:
            if text == "bye":
                break
            tell(f"{name}: {text}", but=name)
    finally:
        with lock:
            del members[name]
        tell(f"* {name} has left")


def tell(text: str, but: str = "") -> None:
    """Send a line to all, or to all but one."""
    with lock:
        receivers = [messages for name, messages in members.items() if name != but]
    for messages in receivers:
        try:
            messages.send(text, timeout=PATIENCE)
        except OSError:  # it is gone or stuck: its thread, which waits in recv, sees the end now
            with suppress(OSError):
                messages.sock.shutdown(socket.SHUT_RDWR)


def port(text: str) -> int:
    """Return the port in *text*; argparse makes its message of a ValueError."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    main()

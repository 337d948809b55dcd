"""A chat server over TCP: it passes on what each client says to all the others.

Start it, and chat_client.py in several terminals. A message is a line of text, so a client can
also be `nc 127.0.0.1 9000`: the first line is the name, and the line "bye" leaves.
"""

import argparse
import logging
import socket
import sys
import threading
from contextlib import suppress

import framing

NAME_TIMEOUT = 30.0  # seconds, for the first line
PATIENCE = 1.0  # seconds: the others wait, so a client that does not read is disconnected then

members: dict[str, framing.MessageSocket[str]] = {}
lock = threading.Lock()  # each client has a thread, and they share the members


def chat(conn: framing.MessageSocket[str]) -> None:
    """Serve one client, in its own thread, until it says bye or the connection ends."""
    name = conn.recv(timeout=NAME_TIMEOUT)
    # Letters and digits only: nobody can look like the server ("* bob") or like "bob: hello".
    with lock:
        is_good = name.isalnum() and len(name) <= 20
        is_welcome = is_good and members.setdefault(name, conn) is conn
    if not is_welcome:
        conn.send("* this name is taken, or is not 1 to 20 letters and digits")
        return
    try:
        announce(f"* {name} is here")
        for text in conn:
            if text == "bye":
                break
            announce(f"{name}: {text}", but=name)
    finally:
        with lock:
            del members[name]
        announce(f"* {name} has left")


def announce(text: str, but: str = "") -> None:
    """Send a line to everybody, or to everybody but one."""
    # Control characters could change what the others' terminals show.
    line = "".join(each if each.isprintable() else "?" for each in text[:1000])
    with lock:
        receivers = [conn for name, conn in members.items() if name != but]
    for conn in receivers:
        try:
            conn.send(line, timeout=PATIENCE)
        except OSError:  # it is gone or stuck: its thread, which waits in recv, sees the end now
            with suppress(OSError):
                conn.sock.shutdown(socket.SHUT_RDWR)


def main() -> None:
    """Serve clients until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=int, help="0 for any free port")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # one line for a lost client
    lines = framing.LineFramer(errors="replace")
    try:
        with framing.serve(chat, (options.host, options.port), lines) as server:
            print("listening on {}:{}, until Ctrl-C".format(*server.address), flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        print("stopped")
    except (OSError, ValueError) as error:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {error}")


if __name__ == "__main__":
    main()

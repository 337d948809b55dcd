"""Talk to talk_server.py: both sides type and read at the same time, until one says bye."""

import os
import signal
import sys
import threading

import framing

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once


def show() -> None:
    try:
        for line in conn:
            print(repr(line), flush=True)
    finally:
        os._exit(0)  # the other side has left, and the main thread waits for the keyboard


conn = framing.connect(("127.0.0.1", 9000), framing.LineFramer())
threading.Thread(target=show, daemon=True).start()
for line in sys.stdin:
    if line.strip() == "bye":
        break
    conn.send(line.strip())
conn.close()

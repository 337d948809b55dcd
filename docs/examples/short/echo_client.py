"""Send each line that you type, and print the answer."""

import signal
import sys

import framing

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
with framing.connect(("127.0.0.1", 9000), timeout=10) as conn:
    for line in sys.stdin:
        conn.send(line.strip().encode())
        print(repr(conn.recv().decode()), flush=True)

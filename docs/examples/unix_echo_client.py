"""A client of unix_echo_server.py: it sends each line that you type, and prints the answer."""

import signal
import sys

import framing

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
path = sys.argv[1] if len(sys.argv) > 1 else "echo.sock"
try:
    with framing.connect(path, timeout=30) as conn:
        for line in sys.stdin:
            conn.send(line.rstrip("\n").encode())
            print(repr(conn.recv().decode(errors="replace")), flush=True)
except (OSError, ValueError, EOFError) as error:
    sys.exit(f"{path}: {error}")

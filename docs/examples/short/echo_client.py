"""Send each line that you type, and print the answer."""

import sys

import framing

with framing.connect(("127.0.0.1", 9000), timeout=10) as conn:
    for line in sys.stdin:
        conn.send(line.strip().encode())
        print(repr(conn.recv().decode()), flush=True)

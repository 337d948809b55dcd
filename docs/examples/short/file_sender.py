"""Send a file, and show the progress."""

import sys

import framing
from framing.files import send_file


def show(done: int, total: int) -> None:
    print(f"\r{done:,} of {total:,} bytes", end="", flush=True)


with framing.connect(("127.0.0.1", 9000), framing.HeaderBodyFramer(), timeout=10) as conn:
    send_file(conn, sys.argv[1], progress=show)
print()

"""Send each line that you type as a datagram, and print the answer."""

import signal
import sys

import framing

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
with framing.open_datagram() as sock:
    for line in sys.stdin:
        request = line.strip().encode()  # sent again if no answer comes within a second
        answer = framing.request_datagram(sock, request, ("127.0.0.1", 9000))
        print(repr(answer.data.decode()), flush=True)

"""Answer each datagram in upper case."""

import signal

import framing

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
with framing.open_datagram(("127.0.0.1", 9000)) as sock:
    print("receiving at {}:{}, until Ctrl-C".format(*sock.getsockname()), flush=True)
    while True:
        data, address = framing.recv_datagram(sock)
        framing.send_datagram(sock, data.upper(), address)

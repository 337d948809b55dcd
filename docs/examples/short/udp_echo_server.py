"""Answer each datagram in upper case."""

import framing

with framing.open_datagram(("127.0.0.1", 9000)) as sock:
    print("receiving at {}:{}, until Ctrl-C".format(*sock.getsockname()), flush=True)
    while True:
        data, address = framing.recv_datagram(sock)
        framing.send_datagram(sock, data.upper(), address)

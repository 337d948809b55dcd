"""Answer every GET request with one page, by hand."""

from contextlib import suppress

import framing

PAGE = b"<!DOCTYPE html><title>framing</title><h1>It works</h1>"


def answer(conn: framing.MessageSocket[bytes]) -> None:
    conn.recv()  # the head of the request; a GET has no body
    conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close" % len(PAGE))
    conn.send_exactly(PAGE)


head = framing.DelimiterFramer(b"\r\n\r\n", max_size=16_384)  # a blank line ends it
with framing.serve(answer, ("127.0.0.1", 8000), head, timeout=10) as server:
    print("serving http://{}:{}/, until Ctrl-C".format(*server.address), flush=True)
    with suppress(KeyboardInterrupt):
        server.serve_forever()

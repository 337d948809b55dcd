"""A small HTTP/1.1 server: GET and HEAD of a few pages, for curl and for a browser.

Start it, and open http://127.0.0.1:8000/ or run `curl -i http://127.0.0.1:8000/`. A connection
serves any number of requests. To show a site, use a server that was made for it.
"""

import argparse
import re
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import urlsplit

import framing

PAGES = {
    "/": "<!DOCTYPE html><title>framing</title><h1>It works</h1><p><a href='/about'>About</a>",
    "/about": "<!DOCTYPE html><title>About</title><p>A blank line ends the head. 粘包",
}
IDLE_TIMEOUT = 30.0  # seconds: browsers keep connections open, for requests that may come
MAX_BODY = 65_536  # bytes of a request's body, which is not used but has to be received
FIELD = re.compile(r"([^\s:]+):[ \t]*([^\r\n]*)")


class Http(framing.Framer[bytes]):
    """Receives heads, each up to its blank line; sends answers as they are, head and body."""

    def read_message(self) -> framing.Steps[bytes]:
        """Read one head."""
        return (yield framing.ReadUntil(b"\r\n\r\n", limit=self.max_size))

    def encode_parts(self, message: bytes) -> list[bytes]:
        """Return an answer as it is."""
        return [message]


def main() -> None:
    """Serve browsers until Ctrl-C."""
    # Ctrl-C ends the program at once. On Windows, accept() would not notice it otherwise.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=8000, type=port, help="0 for any free one")
    options = parser.parse_args()
    try:
        listener = socket.create_server((options.host, options.port))
    except (OSError, UnicodeError) as error:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {error}")
    with listener:
        print("serving http://{}:{}/, until Ctrl-C".format(*listener.getsockname()), flush=True)
        while True:
            try:
                conn, _ = listener.accept()
            except OSError:  # it has left already, or there are too many: let some leave
                time.sleep(0.1)
            else:
                threading.Thread(target=serve, args=(conn,), daemon=True).start()


def serve(conn: socket.socket) -> None:
    """Serve one connection, in its own thread, until one of both closes it."""
    conn.settimeout(IDLE_TIMEOUT)
    # That a client leaves, at any point, or says nothing for long, is nothing to be told of.
    with suppress(OSError, framing.FramingError), conn:
        messages = framing.MessageSocket(conn, Http(max_size=16_384))
        while serve_request(messages):
            pass


def serve_request(messages: framing.MessageSocket[bytes]) -> bool:
    """Answer one request; return whether another may follow."""
    try:
        method, path, size, is_last = parse(messages.recv())
    except ValueError:  # then nobody can tell where the next request starts
        messages.send(answer(HTTPStatus.BAD_REQUEST, "Connection: close\r\n"))
        return False
    messages.recv_exactly(size)
    end = "Connection: close\r\n" if is_last else ""
    if method not in ("GET", "HEAD"):
        reply = answer(HTTPStatus.METHOD_NOT_ALLOWED, f"Allow: GET, HEAD\r\n{end}")
    elif path in PAGES:
        reply = answer(HTTPStatus.OK, end, PAGES[path])
    else:
        reply = answer(HTTPStatus.NOT_FOUND, end)
    print(method, ascii(path), flush=True)
    # The answer to a HEAD is that to a GET without its body.
    messages.send(reply.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else reply)
    return not is_last


def parse(head: bytes) -> tuple[str, str, int, bool]:
    """Return a request's method, path, size of body, and whether it is the last one.

    What is not in order is a ValueError. (A server that guesses where the next request starts
    can be led to take a part of one for another.)
    """
    request_line, *lines = head.decode("iso-8859-1").split("\r\n")
    method, target, version = request_line.split(" ")
    found = [field for line in lines if (field := FIELD.fullmatch(line))]
    fields = {field[1].lower(): field[2].strip().lower() for field in found}
    if version != "HTTP/1.1" or len(found) < len(lines) or "host" not in fields:
        raise ValueError(request_line)
    size = fields.get("content-length", "0")
    sizes = {field[2] for field in found if field[1].lower() == "content-length"}
    if not re.fullmatch("[0-9]{1,5}", size) or int(size) > MAX_BODY or len(sizes) > 1:
        raise ValueError(size)
    if "transfer-encoding" in fields:
        raise ValueError("a body that this server cannot receive")
    return method, urlsplit(target).path, int(size), "close" in fields.get("connection", "")


def answer(status: HTTPStatus, fields: str, page: str = "") -> bytes:
    """Return the head of an answer, with its length, and the body."""
    body = (page or f"<!DOCTYPE html><h1>{status.value} {status.phrase}</h1>").encode()
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n{fields}"
        f"Content-Type: text/html; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def port(text: str) -> int:
    """Return the port in *text*; argparse makes its message of a ValueError."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    main()

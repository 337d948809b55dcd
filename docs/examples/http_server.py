"""A small HTTP/1.1 server: GET and HEAD of a few pages, for curl and for a browser.

Start it, and open http://127.0.0.1:8000/ or run `curl -i http://127.0.0.1:8000/`. A connection
serves any number of requests. To show a site, use a server that was made for it.
"""

import argparse
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import urlsplit

import framing

PAGES = {
    "/": "<!DOCTYPE html><title>framing</title><h1>It works</h1><p><a href='/about'>About</a>",
    "/about": "<!DOCTYPE html><title>About</title><p>A blank line ends the head. 粘包",
}
IDLE_TIMEOUT = 30.0  # seconds: browsers keep connections open, for requests that may come
MAX_BODY = 65_536  # bytes of a request's body, which is not used but has to be received


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
                continue
            threading.Thread(target=serve, args=(conn,), daemon=True).start()


def serve(conn: socket.socket) -> None:
    """Serve one connection, in its own thread, until one of both closes it."""
    conn.settimeout(IDLE_TIMEOUT)
    # That a client leaves, at any point, or says nothing for long, is nothing to be told of.
    with suppress(OSError, framing.FramingError), conn:
        messages = framing.MessageSocket(conn, Http(max_size=16_384))
        may_be_more = True
        while may_be_more:
            may_be_more = serve_request(messages)


def serve_request(messages: framing.MessageSocket[bytes]) -> bool:
    """Answer one request; return whether another may follow."""
    try:
        method, path, fields = parse(messages.recv())
    except ValueError:  # then nobody can tell where the next request starts
        messages.send(answer(HTTPStatus.BAD_REQUEST, close=True))
        return False
    messages.recv_exactly(int(fields.get("content-length", "0")))
    if method not in ("GET", "HEAD"):
        status = HTTPStatus.METHOD_NOT_ALLOWED
    else:
        status = HTTPStatus.OK if path in PAGES else HTTPStatus.NOT_FOUND
    print(method, ascii(path), status.value, flush=True)
    page = PAGES[path] if status is HTTPStatus.OK else ""
    close = "close" in fields.get("connection", "")
    messages.send(answer(status, page, close=close, only_head=method == "HEAD"))
    return not close


def parse(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Return the method, the path and the fields (in small letters) of a head.

    What is not in order is a ValueError.
    """
    request_line, *lines = head.decode("iso-8859-1").lstrip("\r\n").split("\r\n")
    method, target, version = request_line.split(" ")
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.lower().partition(":")
        is_repeated = name in fields and name in ("host", "content-length")
        if not colon or not name or name != name.strip() or is_repeated or "\n" in line:
            raise ValueError(line)
        fields[name] = value.strip(" \t")
    size = fields.get("content-length", "0")
    if not (size.isascii() and size.isdecimal()) or int(size) > MAX_BODY:
        raise ValueError(size)
    if "transfer-encoding" in fields or "expect" in fields:
        raise ValueError("a body that this server cannot receive")
    if version == "HTTP/1.0":
        fields["connection"] = "close"
    elif version != "HTTP/1.1" or "host" not in fields:
        raise ValueError(request_line)
    return method, urlsplit(target).path, fields


def answer(
    status: HTTPStatus, page: str = "", *, close: bool = False, only_head: bool = False
) -> bytes:
    """Return the head of an answer and its body; only the head for a HEAD."""
    body = (page or f"<!DOCTYPE html><h1>{status.value} {status.phrase}</h1>").encode()
    head = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Date: {formatdate(usegmt=True)}",
        "Content-Type: text/html; charset=utf-8",
        f"Content-Length: {len(body)}",  # which tells the client where the next answer starts
        f"Connection: {'close' if close else 'keep-alive'}",
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        head.append("Allow: GET, HEAD")
    return "\r\n".join([*head, "", ""]).encode() + (b"" if only_head else body)


def port(text: str) -> int:
    """Return the port in *text*; argparse makes its message of a ValueError."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    main()

"""A small HTTP/1.1 server: GET and HEAD of a few pages, for curl and for a browser.

Start it, and open http://127.0.0.1:8000/ or run `curl -i http://127.0.0.1:8000/`. A connection
serves any number of requests. To publish a site, use a server that was made for it.
"""

import argparse
import re
import sys
from http import HTTPStatus
from urllib.parse import urlsplit

import framing

PAGES = {
    "/": "<!DOCTYPE html><title>framing</title><h1>It works</h1><p><a href='/about'>About</a>",
    "/about": "<!DOCTYPE html><title>About</title><p>A blank line ends the head. 粘包",
}
HEAD = framing.DelimiterFramer(b"\r\n\r\n", max_size=16_384)  # request line and fields
IDLE_TIMEOUT = 30.0  # seconds: browsers keep connections open, for requests that may come
REQUEST = re.compile(r"([A-Z]{1,20}) ([!-~]+) HTTP/1\.1")
FIELD = re.compile(r"([!#-'*+.^-`|~\w-]+):[ \t]*([^\r\n\0]*)", re.ASCII)
SIZE = re.compile("[0-9]{1,5}")  # of a body, which is received but not used


def serve_browser(conn: framing.MessageSocket[bytes]) -> None:
    """Serve one connection, in its own thread, until one side closes it."""
    is_last = False
    while not is_last:
        try:
            method, path, size, is_last = parse(conn.recv())
        except ValueError:  # nobody can say where the next request starts
            send(conn, HTTPStatus.BAD_REQUEST, is_last=True)
            return
        except (EOFError, TimeoutError):
            return
        conn.recv_exactly(size)
        status = HTTPStatus.OK if path in PAGES else HTTPStatus.NOT_FOUND
        if method not in ("GET", "HEAD"):
            status = HTTPStatus.METHOD_NOT_ALLOWED
        print(method, ascii(path), status.value, flush=True)
        page = PAGES[path] if status is HTTPStatus.OK else ""
        send(conn, status, page, is_last=is_last, only_head=method == "HEAD")


def parse(head: bytes) -> tuple[str, str, int, bool]:
    """Return a request's method and path, the size of its body, and whether it is the last one.

    Anything that is not in order is a ValueError. (A server that guesses where the next request
    starts can be made to take a part of one for another.)
    """
    first, *lines = head.decode("iso-8859-1").split("\r\n")  # in which any bytes are text
    request = REQUEST.fullmatch(first)
    found = [field for line in lines if (field := FIELD.fullmatch(line))]
    names = [field[1].lower() for field in found]
    fields = {field[1].lower(): field[2].strip(" \t") for field in found}
    size = fields.get("content-length", "0")
    if not request or len(found) < len(lines) or names.count("host") != 1:
        raise ValueError(first)
    if names.count("content-length") > 1 or not SIZE.fullmatch(size) or int(size) > 65_536:
        raise ValueError(size)
    if "transfer-encoding" in fields:
        raise ValueError("a body that this server cannot receive")
    is_last = "close" in fields.get("connection", "").lower()
    return request[1], urlsplit(request[2]).path, int(size), is_last


def send(
    conn: framing.MessageSocket[bytes],
    status: HTTPStatus,
    page: str = "",
    *,
    is_last: bool,
    only_head: bool = False,
) -> None:
    """Send an answer: the head with the length, and the body."""
    body = (page or f"<!DOCTYPE html><h1>{status.value} {status.phrase}</h1>").encode()
    head = [f"HTTP/1.1 {status.value} {status.phrase}", f"Content-Length: {len(body)}"]
    head += ["Content-Type: text/html; charset=utf-8"]
    head += ["Allow: GET, HEAD"] * (status is HTTPStatus.METHOD_NOT_ALLOWED)
    head += ["Connection: close"] * is_last
    conn.send("\r\n".join(head).encode())  # the framer adds the blank line
    conn.send_exactly(b"" if only_head else body)


def main() -> None:
    """Serve browsers until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=8000, type=int, help="0 for any free port")
    options = parser.parse_args()
    address = (options.host, options.port)
    try:
        with framing.serve(serve_browser, address, HEAD, timeout=IDLE_TIMEOUT) as server:
            print("serving http://{}:{}/, until Ctrl-C".format(*server.address), flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        print("stopped")
    except (OSError, ValueError) as error:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {error}")


if __name__ == "__main__":
    main()

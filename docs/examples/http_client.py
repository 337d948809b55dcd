"""Get a page by HTTP/1.1, by hand: the head ends with a blank line, the body has its length.

Start `python -m http.server` or http_server.py first. The head is printed to standard error,
the body goes to standard output: into a file or a pipe as it is, to a terminal escaped.
"""

import argparse
import re
import signal
import sys

import framing

HEAD = framing.DelimiterFramer(b"\r\n\r\n", max_size=65_536)
LENGTH = re.compile(r"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n|$)", re.IGNORECASE)
TIMEOUT = 30.0  # seconds, for the connection and for each part of the answer
PIECE = 65_536  # bytes: a body may be larger than the memory


def main() -> None:
    """Get one page."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=8000, type=int)
    parser.add_argument("path", nargs="?", default="/")
    options = parser.parse_args()
    try:
        if not re.fullmatch("/[!-~]*", options.path):  # it must leave the request line whole
            raise ValueError(f"expected a path such as /index.html, not {options.path!r}")
        status = get(options.host, options.port, options.path)
    except (OSError, ValueError, EOFError) as error:
        sys.exit(f"{options.host}:{options.port}: {error}")
    if status != "200":
        sys.exit(f"{options.host}:{options.port}: the status is {status}, not 200")


def get(host: str, port: int, path: str) -> str:
    """Write out the page at *path*, and return the status."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close"
    with framing.connect((host, port), HEAD, timeout=TIMEOUT) as conn:
        conn.send(request.encode("ascii"))  # the framer adds the blank line
        head = conn.recv().decode("iso-8859-1")  # in which any bytes are text
        status = re.match(r"HTTP/1\.[01] ([0-9]{3})[ \r]", f"{head}\r")
        if not status:
            raise ValueError(f"this is not an answer of HTTP/1: {head[:80]!r}")
        lengths = set(LENGTH.findall(head))
        # Some servers send a body in pieces ("chunked"), or until they close the connection.
        if len(lengths) != 1 or "\r\ntransfer-encoding:" in head.lower():
            raise ValueError("the answer has no Content-Length that can be trusted")
        for line in head.split("\r\n"):
            print(line if line.isprintable() else repr(line), file=sys.stderr)
        left = int(lengths.pop())
        while left:
            body = conn.recv_exactly(min(left, PIECE))
            left -= len(body)
            if sys.stdout.isatty():
                print(body)  # escaped: control characters could change what the terminal shows
            else:
                sys.stdout.buffer.write(body)
    return status[1]


if __name__ == "__main__":
    main()

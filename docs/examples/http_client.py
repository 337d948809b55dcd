"""Get a page by HTTP/1.1, by hand: the head ends with a blank line, the body has its length.

Start `python -m http.server` or http_server.py before. The head is printed to standard error,
the body goes to standard output as it is.
"""

import argparse
import signal
import sys

import framing

HEAD = framing.DelimiterFramer(b"\r\n\r\n", max_size=65_536)
TIMEOUT = 30.0  # seconds, for the connection and for each part of the answer


def main() -> None:
    """Get one page."""
    # Ctrl-C ends the program at once. On Windows, recv() would not notice it otherwise.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=8000, type=port)
    parser.add_argument("path", nargs="?", default="/", type=path)
    options = parser.parse_args()
    try:
        head, body = get(options.host, options.port, options.path)
    except (OSError, UnicodeError, framing.FramingError) as error:
        sys.exit(f"{options.host}:{options.port}: {error}")
    print(head, file=sys.stderr)
    sys.stdout.buffer.write(body)
    status = head.split()[1]
    if status != "200":
        sys.exit(f"{options.host}:{options.port}: the status is {status}, not 200")


def get(host: str, port: int, path: str) -> tuple[str, bytes]:
    """Return the head and the body of the page at *path*."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close"
    with framing.connect((host, port), HEAD, timeout=TIMEOUT) as conn:
        conn.send(request.encode("ascii"))  # the framer adds the blank line
        head = conn.recv().decode("iso-8859-1")  # in which any bytes are text
        status_line, *fields = head.split("\r\n")
        if not status_line.startswith("HTTP/1."):
            raise framing.DecodeError(f"no answer of HTTP/1: {status_line[:80]!r}", offset=0)
        length = ""
        for field in fields:
            name, _, value = field.partition(":")
            if name.lower() == "content-length":
                length = value.strip()
        # Some servers send a body in pieces ("chunked"), or until they close the connection.
        if not (length.isascii() and length.isdecimal()):
            raise framing.DecodeError("the answer has no Content-Length", offset=0)
        return head, conn.recv_exactly(int(length))


def path(text: str) -> str:
    """Return a path that leaves the request line whole."""
    if not (text.startswith("/") and text.isascii() and text.isprintable() and " " not in text):
        raise ValueError(text)
    return text


def port(text: str) -> int:
    """Return the port in *text*; argparse makes its message of a ValueError."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    main()

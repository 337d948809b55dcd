"""Save a page to page.html, by HTTP/1.1 by hand."""

import re
from pathlib import Path

import framing

head_framer = framing.DelimiterFramer(b"\r\n\r\n")  # a blank line ends the head
with framing.connect(("127.0.0.1", 8000), head_framer, timeout=10) as conn:
    conn.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close")
    head = conn.recv()
    size = re.search(rb"(?i)\r\ncontent-length: *([0-9]{1,9})\r\n", head + b"\r\n")
    if size is None:
        raise SystemExit("the answer has no Content-Length")
    Path("page.html").write_bytes(conn.recv_exactly(int(size[1])))
print(head.split(b"\r\n")[0], "and the page is in page.html")

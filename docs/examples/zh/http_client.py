"""手写 HTTP 客户端：取一个网页，存成 page.html。"""

import re
from pathlib import Path

import framing

head_framer = framing.DelimiterFramer(b"\r\n\r\n")  # 空行结束请求头，也结束应答头
with framing.connect(("127.0.0.1", 8000), head_framer, timeout=10) as conn:
    conn.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close")
    head = conn.recv()
    size = re.search(rb"(?i)\r\ncontent-length: *([0-9]{1,9})\r\n", head + b"\r\n")
    if size is None:
        raise SystemExit("应答里没有 Content-Length")
    Path("page.html").write_bytes(conn.recv_exactly(int(size[1])))
print(head.split(b"\r\n")[0], "网页存在 page.html 里")

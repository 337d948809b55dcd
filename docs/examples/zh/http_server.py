"""手写 HTTP 服务器：用浏览器打开 http://127.0.0.1:8000/ 看看。"""

from contextlib import suppress

import framing

PAGE = "<!DOCTYPE html><meta charset='utf-8'><title>你好</title><h1>你好，世界</h1>".encode()


def answer(conn: framing.MessageSocket[bytes]) -> None:
    head = conn.recv()  # 请求头，到空行为止；GET 没有正文
    print(head.split(b"\r\n")[0], flush=True)
    conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close" % len(PAGE))
    conn.send_exactly(PAGE)  # 正文不属于任何消息，原样发送


head_framer = framing.DelimiterFramer(b"\r\n\r\n", max_size=16_384)
with framing.serve(answer, ("127.0.0.1", 8000), head_framer, timeout=10) as server:
    print("listening: http://{}:{}/".format(*server.address), flush=True)
    with suppress(KeyboardInterrupt):
        server.serve_forever()

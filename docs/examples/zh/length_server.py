"""长度头：收一条消息，变成大写再发回去。可以同时服务多个客户端。"""

from contextlib import suppress

import framing

# 课程里常写 struct.pack("i", len(data))，就是 "<i"；默认的是 "!I"（4 字节，大端）
COURSE = framing.LengthPrefixFramer("<i")


def answer(conn: framing.MessageSocket[bytes]) -> None:
    for message in conn:  # 一直到客户端断开
        conn.send(message.decode(errors="replace").upper().encode())


with framing.serve(answer, ("127.0.0.1", 9000), COURSE) as server, suppress(KeyboardInterrupt):
    print("listening: {}:{}".format(*server.address), flush=True)
    server.serve_forever()  # 按 Ctrl-C 停止

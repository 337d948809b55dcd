"""上传文件，服务器：收到的文件放进 received 文件夹。"""

from contextlib import suppress
from pathlib import Path

import framing
from framing.files import recv_file

# 课程协议：struct.pack("i", 报头长度)，再是 JSON 报头，最后是文件内容
COURSE = framing.HeaderBodyFramer("<i", size_key="filesize", name_key="filename")


def store(conn: framing.MessageSocket[framing.HeaderMessage]) -> None:
    path = recv_file(conn, "received", max_size=10**9)  # 收完整了才会出现这个文件
    print("收到文件：", repr(path.name), flush=True)


Path("received").mkdir(exist_ok=True)
with framing.serve(store, ("127.0.0.1", 9000), COURSE) as server, suppress(KeyboardInterrupt):
    print("listening: {}:{}".format(*server.address), flush=True)
    server.serve_forever()

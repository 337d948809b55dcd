"""上传文件，服务器，只用 socket 和 struct：可以接收 upload_client.py 传来的一个文件。"""

import json
import os
import socket
import struct

with socket.create_server(("127.0.0.1", 9000)) as listener:
    print("listening: {}:{}".format(*listener.getsockname()), flush=True)
    conn, _ = listener.accept()
with conn, conn.makefile("rb") as stream:  # read(n) 会一直等到 n 个字节
    (size,) = struct.unpack("i", stream.read(4))
    header = json.loads(stream.read(size))
    name = os.path.basename(header["filename"])  # 不能让对方写到别的文件夹里去
    with open("copy-" + name, "wb") as file:
        left = header["filesize"]
        while left and (data := stream.read(min(left, 1024))):
            file.write(data)
            left -= len(data)
print("收到文件：", repr(name), "完整" if left == 0 else "没收完")

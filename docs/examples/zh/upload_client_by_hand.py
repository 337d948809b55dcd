"""上传文件，客户端，只用 socket 和 struct：可以传给 upload_server.py。"""

import json
import os
import socket
import struct
import sys

path = sys.argv[1]
header = json.dumps({"filename": os.path.basename(path), "filesize": os.path.getsize(path)})
with socket.create_connection(("127.0.0.1", 9000), timeout=10) as sock, open(path, "rb") as file:
    sock.sendall(struct.pack("i", len(header.encode())) + header.encode())
    while data := file.read(1024):
        sock.sendall(data)

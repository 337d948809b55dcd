"""长度头的客户端，只用 socket 和 struct：老师讲的写法，和上面的服务器完全互通。"""

import socket
import struct


def recv_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:  # recv 可能收不满，要循环收
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise ConnectionError("对方断开了")
        data += chunk
    return data


with socket.create_connection(("127.0.0.1", 9000), timeout=10) as sock:
    for text in ["hello", "你好"]:
        data = text.encode()
        sock.sendall(struct.pack("i", len(data)) + data)
        (size,) = struct.unpack("i", recv_exactly(sock, 4))
        print("收到：", repr(recv_exactly(sock, size).decode()))

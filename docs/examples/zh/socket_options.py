"""套接字选项：读出来，设上去，再读一次。"""

import socket

OPTIONS = [
    (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1, "SO_REUSEADDR：停掉服务器后马上能重启"),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1, "SO_KEEPALIVE：对方断电了，几小时后能发现"),
    (socket.SOL_SOCKET, socket.SO_RCVBUF, 50_000, "SO_RCVBUF：接收缓冲区（Linux 会翻倍）"),
    (socket.SOL_SOCKET, socket.SO_SNDBUF, 50_000, "SO_SNDBUF：发送缓冲区"),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1, "TCP_NODELAY：关掉 Nagle 算法，小消息马上发"),
]
with socket.socket() as sock:
    print("family：", sock.family.name, "，type：", sock.type.name, sep="")
    for level, option, value, purpose in OPTIONS:
        before = sock.getsockopt(level, option)
        sock.setsockopt(level, option, value)
        print(before, "->", sock.getsockopt(level, option), purpose)

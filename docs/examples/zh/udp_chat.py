"""UDP 聊天：一个线程收，主线程发，任何一方输入 bye 就结束。

一个终端运行 python udp_chat.py 9000 9001，另一个运行 python udp_chat.py 9001 9000。
"""

import os
import signal
import sys
import threading

import framing

signal.signal(signal.SIGINT, signal.SIG_DFL)  # 按 Ctrl-C 马上结束


def show() -> None:
    text = ""
    while text != "bye":
        data, _ = framing.recv_datagram(sock, ignore_refused=True)  # 对方可能还没启动
        text = data.decode(errors="replace")
        print("对方：", repr(text), flush=True)
    os._exit(0)  # 主线程在等键盘，只能这样结束


with framing.open_datagram(("127.0.0.1", int(sys.argv[1]))) as sock:
    sock.connect(("127.0.0.1", int(sys.argv[2])))  # 只收这一个对方的
    threading.Thread(target=show, daemon=True).start()
    for line in sys.stdin:
        framing.send_datagram(sock, line.strip().encode(), ignore_refused=True)
        if line.strip() == "bye":
            os._exit(0)

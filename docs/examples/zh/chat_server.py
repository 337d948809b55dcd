"""TCP 聊天，服务器：两边都能随时打字，任何一方输入 bye 就结束。"""

import os
import signal
import socket
import sys
import threading

import framing

signal.signal(signal.SIGINT, signal.SIG_DFL)  # 按 Ctrl-C 马上结束


def show() -> None:
    try:
        for line in conn:
            print("客户端：", repr(line), flush=True)
    finally:
        os._exit(0)  # 对方走了，而主线程在等键盘，只能这样结束


with socket.create_server(("127.0.0.1", 9000)) as listener:
    print("listening: {}:{}".format(*listener.getsockname()), flush=True)
    conn = framing.MessageSocket(listener.accept()[0], framing.LineFramer())
threading.Thread(target=show, daemon=True).start()
for line in sys.stdin:
    if line.strip() == "bye":
        break
    conn.send(line.strip())
conn.close()

"""UDP 回声客户端：数据报可能丢，所以一秒没有应答就重发，最多重发三次。"""

import signal
import sys

import framing

signal.signal(signal.SIGINT, signal.SIG_DFL)  # 按 Ctrl-C 马上结束
with framing.open_datagram() as sock:
    for line in sys.stdin:
        request = line.strip().encode()
        answer = framing.request_datagram(sock, request, ("127.0.0.1", 9000))
        print("收到：", repr(answer.data.decode(errors="replace")), flush=True)

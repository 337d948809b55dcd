"""长度头：输入一行，发一条消息，打印应答。"""

import signal
import sys

import framing

signal.signal(signal.SIGINT, signal.SIG_DFL)  # 按 Ctrl-C 马上结束

COURSE = framing.LengthPrefixFramer("<i")  # 和服务器用同一种格式

with framing.connect(("127.0.0.1", 9000), COURSE, timeout=10) as conn:
    for line in sys.stdin:
        conn.send(line.strip().encode())  # 消息是 bytes，中文要先编码
        print("收到：", repr(conn.recv().decode(errors="replace")), flush=True)

"""UDP 广播，发送方：局域网里的人都能收到。"""

import signal
import sys

import framing

signal.signal(signal.SIGINT, signal.SIG_DFL)  # 按 Ctrl-C 马上结束
# 换成自己网段的广播地址也行，比如 192.168.1.255
address = sys.argv[1] if len(sys.argv) > 1 else "255.255.255.255"
with framing.open_datagram(broadcast=True) as sock:  # 系统要求先声明要广播
    for line in sys.stdin:
        framing.send_datagram(sock, line.strip().encode(), (address, 9000))

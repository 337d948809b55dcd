"""UDP 回声服务器：收到什么，变成大写发回去。"""

import signal

import framing

signal.signal(signal.SIGINT, signal.SIG_DFL)  # 按 Ctrl-C 马上结束
with framing.open_datagram(("127.0.0.1", 9000)) as sock:
    print("listening: {}:{}".format(*sock.getsockname()), flush=True)
    while True:  # 按 Ctrl-C 停止
        data, address = framing.recv_datagram(sock)  # 多长都收得下，不会被截断
        framing.send_datagram(sock, data.upper(), address)

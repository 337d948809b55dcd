"""UDP 广播，接收方：可以在一台或几台机器上开好几个。"""

import signal

import framing

signal.signal(signal.SIGINT, signal.SIG_DFL)  # 按 Ctrl-C 马上结束
# 同一台机器上的几个程序要用同一个端口，每个都得写 reuse_address=True
with framing.open_datagram(("", 9000), reuse_address=True) as sock:
    print("listening: {}:{}".format(*sock.getsockname()), flush=True)
    while True:
        data, (host, *_) = framing.recv_datagram(sock)
        print(host, repr(data.decode(errors="replace")), flush=True)

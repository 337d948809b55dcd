"""recv 和 send 到底做了什么：半包、空的 recv、只发了一部分的 send。"""

import socket

with socket.create_server(("127.0.0.1", 0)) as listener:
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()

with server:
    with client:
        client.sendall("你好".encode())
        print("半包：", server.recv(4))  # 一个汉字加三分之一个，这时 decode() 会报错
        print("剩下的：", server.recv(100))
        client.settimeout(0.1)
        sent = client.send(bytes(50_000_000))  # 没人收，缓冲区放不下
        print("send 要发 50000000 个字节，只发出去一部分：", 0 < sent < 50_000_000)
    received = 0
    while data := server.recv(65_536):
        received += len(data)
    print("都收到了：", received == sent, "；对方断开后，recv 返回：", data)

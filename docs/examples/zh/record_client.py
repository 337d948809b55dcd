"""struct 定长记录：发两条记录，打印应答。"""

import framing

RECORD = framing.StructFramer("!H12sB")  # 一个汉字在 UTF-8 里占 3 个字节

with framing.connect(("127.0.0.1", 9000), RECORD, timeout=10) as conn:
    for number, name, score in [(1, "小明", 95), (2, "小红", 100)]:
        conn.send((number, name.encode(), score))
        reply = conn.recv()
        print(reply[0], repr(reply[1].rstrip(b"\0").decode()), reply[2])

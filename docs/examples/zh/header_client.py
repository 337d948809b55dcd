"""报头字典：请服务器数一数正文有几行。"""

import framing

text = "床前明月光\n疑是地上霜\n"
with framing.connect(("127.0.0.1", 9000), framing.HeaderBodyFramer(), timeout=10) as conn:
    for command in ["count", "sing"]:
        conn.send(framing.HeaderMessage({"command": command}, text.encode()))
        print(conn.recv().header)  # 报头是字典，正文长度 size 自动填好

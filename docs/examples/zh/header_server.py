"""报头字典：报头说明要做什么，正文是数据，应答也有自己的报头。"""

from contextlib import suppress

import framing


def answer(conn: framing.MessageSocket[framing.HeaderMessage]) -> None:
    for header, body in conn:
        print(header, len(body), flush=True)
        reply: dict[str, object] = {"ok": False, "reason": "没有这个命令"}
        if header.get("command") == "count":
            reply = {"ok": True, "lines": body.count(b"\n")}
        conn.send(framing.HeaderMessage(reply, b""))


framer = framing.HeaderBodyFramer()
with framing.serve(answer, ("127.0.0.1", 9000), framer) as server, suppress(KeyboardInterrupt):
    print("listening: {}:{}".format(*server.address), flush=True)
    server.serve_forever()

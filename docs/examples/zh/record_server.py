"""struct 定长记录：学号（2 字节）、姓名（12 字节）、成绩（1 字节），一共 15 字节。"""

from contextlib import suppress

import framing

RECORD = framing.StructFramer("!H12sB")


def answer(conn: framing.MessageSocket[tuple[int, bytes, int]]) -> None:
    for number, name, score in conn:
        print(number, repr(name.rstrip(b"\0").decode(errors="replace")), score, flush=True)
        conn.send((number, "收到".encode(), score))


with framing.serve(answer, ("127.0.0.1", 9000), RECORD) as server, suppress(KeyboardInterrupt):
    print("listening: {}:{}".format(*server.address), flush=True)
    server.serve_forever()

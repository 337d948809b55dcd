"""上传文件，客户端：边传边显示进度。用法：python upload_client.py photo.jpg"""

import sys

import framing
from framing.files import send_file

COURSE = framing.HeaderBodyFramer("<i", size_key="filesize", name_key="filename")


def show(done: int, total: int) -> None:
    print(f"\r{done} / {total} 字节，{done * 100 // max(total, 1)}%", end="", flush=True)


with framing.connect(("127.0.0.1", 9000), COURSE, timeout=10) as conn:
    send_file(conn, sys.argv[1], progress=show)
print()

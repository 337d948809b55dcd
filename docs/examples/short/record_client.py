"""Send a record of eleven bytes, and print the answer."""

import framing

RECORD = framing.StructFramer("!H8sb")  # two bytes, eight bytes, one byte
with framing.connect(("127.0.0.1", 9000), RECORD, timeout=10) as conn:
    conn.send((7, b"alice", -1))
    print(conn.recv())

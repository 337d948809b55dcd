"""``send_msg`` and ``recv_msg`` against the loop that everybody writes by hand.

    python tests/benchmarks/functions.py

Prints microseconds a message over a socketpair, each the best of several runs that alternate.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from time import perf_counter

from framing import recv_msg, send_msg

COUNT = 2000
RUNS = 15


def recv_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def recv_by_hand(sock: socket.socket) -> bytes:
    (size,) = struct.unpack("!I", recv_exactly(sock, 4))
    return recv_exactly(sock, size)


def send_by_hand(sock: socket.socket, message: bytes) -> None:
    sock.sendall(struct.pack("!I", len(message)) + message)


Send = Callable[[socket.socket, bytes], None]
Receive = Callable[[socket.socket], bytes]


def measure(pairs: list[tuple[Send, Receive]], size: int) -> list[tuple[float, float]]:
    """Return the seconds that each pair took to send and to receive a message, at best."""
    message = bytes(size)
    best = [(float("inf"), float("inf"))] * len(pairs)
    here, there = socket.socketpair()
    with here, there:
        for _ in range(RUNS):
            for i, (send, receive) in enumerate(pairs):
                sending = receiving = 0.0
                for _ in range(COUNT):
                    start = perf_counter()
                    send(here, message)
                    sent = perf_counter()
                    receive(there)
                    receiving += perf_counter() - sent
                    sending += sent - start
                best[i] = (
                    min(best[i][0], sending / COUNT),
                    min(best[i][1], receiving / COUNT),
                )
    return best


def main() -> None:
    print(f"{'':<16} {'by hand':>10} {'framing':>10} {'ratio':>6}")
    for size in (64, 1024, 32 * 1024):
        by_hand, framing = measure([(send_by_hand, recv_by_hand), (send_msg, recv_msg)], size)
        for name, hand, ours in zip(("send", "receive"), by_hand, framing, strict=True):
            times = f"{hand * 1e6:>7.2f} us {ours * 1e6:>7.2f} us {ours / hand:>6.2f}"
            print(f"{name:<8}{size:>6} B {times}")


if __name__ == "__main__":
    main()

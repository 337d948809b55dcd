"""``send_datagram`` and ``recv_datagram`` against ``sendto`` and ``recvfrom``.

    python tests/benchmarks/datagrams.py

Prints microseconds a datagram over loopback, sent and received, each the best of several runs
that alternate.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from time import perf_counter

from framing import open_datagram, recv_datagram, send_datagram

COUNT = 2000
RUNS = 25

Loop = Callable[[socket.socket, socket.socket, bytes], None]


def by_hand(sender: socket.socket, receiver: socket.socket, data: bytes) -> None:
    address = receiver.getsockname()
    for _ in range(COUNT):
        sender.sendto(data, address)
        receiver.recvfrom(65_535)


def with_framing(sender: socket.socket, receiver: socket.socket, data: bytes) -> None:
    address = receiver.getsockname()
    for _ in range(COUNT):
        send_datagram(sender, data, address)
        recv_datagram(receiver)


def measure(loops: list[Loop], size: int) -> list[float]:
    """Return the seconds that a datagram takes in each of *loops*, at best."""
    best = [float("inf")] * len(loops)
    with open_datagram(("127.0.0.1", 0)) as receiver, open_datagram() as sender:
        receiver.settimeout(5)
        for _ in range(RUNS):
            for i, loop in enumerate(loops):
                start = perf_counter()
                loop(sender, receiver, bytes(size))
                best[i] = min(best[i], (perf_counter() - start) / COUNT)
    return best


def main() -> None:
    print(f"{'':<8} {'by hand':>10} {'framing':>10} {'ratio':>6}")
    for size in (64, 1472, 9000):
        hand, ours = measure([by_hand, with_framing], size)
        print(f"{size:>6} B {hand * 1e6:>7.2f} us {ours * 1e6:>7.2f} us {ours / hand:>6.2f}")


if __name__ == "__main__":
    main()

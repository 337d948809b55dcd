"""All contests, by group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from . import (
    datagrams,
    decode,
    files,
    functions,
    growth,
    imports,
    large,
    memory,
    pingpong,
    receive,
    send,
    stream,
)
from .harness import Contest, Scale
from .sides import Side

GROUPS = {
    "decode": "Decode, without I/O",
    "receive": "Receive small messages",
    "functions": "recv_msg and send_msg, against the same by hand",
    "send": "Send small messages",
    "stream": "One-way stream: both sides of each library",
    "pingpong": "Question and answer",
    "large": "One message of 128 MiB",
    "memory": "The memory for one message of 128 MiB, at its peak, the message included",
    "files": "A file",
    "datagrams": "Datagrams: one sent, one received",
    "imports": "A whole process that only imports",
    "growth": "How time grows: four times the work should take about four times as long",
}


def contests(scale: Scale, groups: list[str], side: Side) -> Iterator[Contest]:
    """Yield the contests of *groups*; *side* is where the far side of a connection runs."""
    makers: dict[str, Callable[[], Iterator[Contest]]] = {
        "decode": partial(decode.contests, scale),
        "receive": partial(receive.contests, scale, side),
        "functions": partial(functions.contests, scale),
        "send": partial(send.contests, scale, side),
        "stream": partial(stream.contests, scale, side),
        "pingpong": partial(pingpong.contests, scale, side),
        "large": partial(large.contests, scale, side),
        "memory": partial(memory.contests, scale),
        "files": partial(files.contests, scale, side),
        "datagrams": partial(datagrams.contests, scale),
        "imports": partial(imports.contests, scale),
        "growth": partial(growth.contests, scale),
    }
    for group in groups:
        yield from makers[group]()

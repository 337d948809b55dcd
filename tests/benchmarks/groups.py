"""All contests, by group."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import decode, files, functions, imports, large, pingpong, receive, send
from .harness import Contest, Scale
from .sides import Side

Contests = Callable[[Scale, Side], Iterator[Contest]]

GROUPS: dict[str, tuple[str, Contests]] = {
    "decode": ("Decode, without I/O", decode.contests),
    "receive": ("Receive small messages", receive.contests),
    "functions": ("recv_msg and send_msg, against the same by hand", functions.contests),
    "send": ("Send small messages", send.contests),
    "pingpong": ("Question and answer", pingpong.contests),
    "large": ("One message of 128 MiB, and its memory", large.contests),
    "files": ("A file", files.contests),
    "imports": ("A whole process that only imports", imports.contests),
}


def contests(scale: Scale, groups: list[str], side: Side) -> Iterator[Contest]:
    """Yield the contests of *groups*; *side* is where the far side of a connection runs."""
    for group in groups:
        yield from GROUPS[group][1](scale, side)

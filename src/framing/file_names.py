r"""Which names a peer may give to a file.

A name comes from outside, so it is taken only if it names one plain file, the same one on every
system.  ``../../.bashrc`` does not, nor ``C:\autoexec.bat``; neither do ``nul.txt``, which is a
device on Windows, or ``report.pdf.``, which loses its last dot there.
"""

from __future__ import annotations

import re
import unicodedata

__all__: list[str] = []

# What ext4, APFS, NTFS and most others can store, in the units of the strictest of them.
_MAX_SIZE = 255

# Windows opens a device for each of these, whatever extension follows.
# Source: "Naming Files, Paths, and Namespaces" in Microsoft's documentation of Win32.
_DEVICES = re.compile(
    r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *(\..*)?", re.IGNORECASE | re.DOTALL
)

_SEPARATORS = {"/": "folders", "\\": "folders on Windows", ":": "drives on Windows"}
# Line breaks, and what makes a text read in another order than it is written in (UAX #9).
_MISLEADING = frozenset(
    "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def why_refused(name: object) -> str:
    r"""Return why *name* is not the name of one plain file; an empty text if it is one.

    >>> why_refused("a.txt")
    ''
    >>> why_refused("../a.txt")
    "it has '/' in it, which separates folders"
    """
    if not isinstance(name, str):
        return "it is no text"
    if name in ("", ".", ".."):
        return "it names no file"
    return _why_characters(name) or _why_whole(name)


def _why_characters(name: str) -> str:
    for character in name:
        if character in _SEPARATORS:
            return f"it has {character!r} in it, which separates {_SEPARATORS[character]}"
        if unicodedata.category(character) in ("Cc", "Cs") or character in _MISLEADING:
            return f"it has {character!r} in it, which is no character to be read"
    return ""


def _why_whole(name: str) -> str:
    if name[-1] in ". ":
        return f"it ends in {name[-1]!r}, which Windows leaves out"
    if _DEVICES.fullmatch(name):
        return "it names a device on Windows"
    size = len(name.encode())
    if size > _MAX_SIZE:
        return f"it has {size} bytes in UTF-8, and systems store {_MAX_SIZE} at most"
    return ""

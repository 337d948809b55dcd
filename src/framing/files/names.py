r"""Which names a peer may give to a file.

A name is accepted only if it names one plain file, the same one on every system, and if you can
see all of it.  ``../../.bashrc`` does not, nor ``C:\autoexec.bat``.  Nor does ``nul.txt``, which is
a device on Windows; ``report.pdf.``, which loses its last dot there; ``.profile``, which is hidden;
or ``-rf``, which a command takes for an option.
"""

from __future__ import annotations

import os
import re
from unicodedata import category

# What ext4, APFS, NTFS and most others can store, in the units of the strictest of them.
_MAX_SIZE = 255
# Control, format (zero width, other direction), surrogate; line and paragraph separator.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}

_RULES = (
    (r"[/\\:]", "it contains a separator of folders or drives: '/', '\\' or ':'"),
    (r"^\.", "it begins with '.', which hides a file"),
    (r"^-", "it begins with '-', which commands take for an option"),
    (r"^\s|\s$", "it begins or ends with a space"),
    (r"\.$", "it ends with '.', which Windows leaves out"),
    # Windows opens a device for each of these, whatever extension follows.
    # Source: "Naming Files, Paths, and Namespaces" in Microsoft's documentation of Win32.
    (
        r"(?is)^(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *(\..*)?$",
        "it names a device on Windows",
    ),
    # Characters of other categories that fonts show as nothing: the empty Braille pattern, and
    # those with the property Default_Ignorable_Code_Point, but without variation selectors.
    # Source: DerivedCoreProperties.txt of Unicode 16.
    (
        "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2060-\u206f\u2800\u3164\uffa0\ufff0-\ufff8"
        "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff]",
        "it contains an invisible character",
    ),
)


def why_refused(name: object) -> str:
    r"""Return why *name* is not the name of one plain file; an empty string if it is.

    >>> why_refused("a.txt")
    ''
    >>> why_refused(".profile")
    "it begins with '.', which hides a file"
    """
    if not isinstance(name, str):
        return "it is not a string"
    if not name or category(name[0])[0] == "M":
        return "it has no first letter"
    if any(category(character) in _INVISIBLE for character in name):
        return "it contains an invisible character"
    if len(name.encode()) > _MAX_SIZE:
        return f"it is longer than {_MAX_SIZE} bytes in UTF-8, which many systems cannot store"
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return "this system cannot store some of its characters"
    return next((reason for pattern, reason in _RULES if re.search(pattern, name)), "")

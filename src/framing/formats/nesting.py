"""Which Python values JSON brings back as they were."""

from __future__ import annotations

_LEAVES = frozenset({str, int, float, bool, type(None)})


def check_nesting(value: object, most: int) -> None:
    """Raise a ``ValueError`` if *value* nests more than *most* deep, or has a key not a ``str``.

    A dict or a list is one level deep, and those in it one more.  Keys that are not strings are
    refused because ``json`` silently turns them into strings.

    Args:
        value: What ``json`` has encoded or decoded, so it does not contain itself.
        most: The largest number of levels.
    """
    level = [value]
    for _ in range(most):
        if _LEAVES.issuperset(map(type, level)):
            return
        inner: list[object] = []
        for each in level:
            if isinstance(each, dict):
                for key in each:
                    if not isinstance(key, str):
                        raise ValueError(f"keys are strings in JSON, not {key!r:.80}")
                inner += each.values()
            elif isinstance(each, (list, tuple)):
                inner += each
        level = inner
    if any(isinstance(each, (dict, list, tuple)) for each in level):
        raise ValueError(f"it nests more than {most} deep")

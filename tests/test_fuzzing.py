"""What fuzzing has found, and what it begins with, keeps every promise.

``python -m tests.fuzz`` looks for more: see there.
"""

from __future__ import annotations

import pytest

from .fuzz import connections, decoders, inspection
from .fuzz.corpus import TARGETS, corpus
from .fuzz.seeds import seeds

CHECKS = {
    "decoders": decoders.check,
    "inspection": inspection.check,
    "connections": connections.check,
}


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_found_breaks_no_promise(target: str) -> None:
    found = corpus(target)
    assert found
    for data in found:
        check(target, data)


@pytest.mark.parametrize("target", TARGETS)
def test_what_fuzzing_begins_with_breaks_no_promise(target: str) -> None:
    for data in seeds(target):
        check(target, data)


def check(target: str, data: bytes) -> None:
    try:
        CHECKS[target](data)
    except Exception as error:
        raise AssertionError(f"{target} fails on bytes.fromhex({data.hex()!r})") from error

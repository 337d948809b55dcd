"""Where a signal handler may run at the end of a loop's turn.

From Python 3.12 on, the jump back to the beginning of a loop is a place where signal handlers
run, and it is outside of the ``try`` or ``with`` around the loop: what these have to do at the
end is not done.  So a loop that needs it is in a function of its own.
"""

from __future__ import annotations

import dis
import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from .test_docs import MODULES

# A loop in a try or with statement that has nothing to put right.
HARMLESS = {
    "decoder.Decoder._read": "the message is read again from its first byte",
    "framer.Framer._receive_at_once": "what was received is in the pieces",
    "inspection.inspect": "there is nothing to go on with",
    "commands.send": "the program ends",
    "commands._ignore_answers": "it is in a thread, where no signal handler runs",
    # No loop: how a with statement would go on if its end had suppressed the exception.
    "transport.LockedTransport._attempt": "_not_waiting suppresses none",
    "framer.Framer._options": "a comprehension",
}


def code_of(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from code_of(constant)


def bare_jumps(code: types.CodeType) -> bool:
    """Return whether a handler covers the beginning of a loop, and not the jump back to it."""
    names = {each.offset: each.opname for each in dis.get_instructions(code)}
    handlers = [
        each
        for each in dis.Bytecode(code).exception_entries  # type: ignore[attr-defined, unused-ignore]
        if names[each.target] != "CALL_INTRINSIC_1"  # of every generator, for StopIteration
    ]

    def covering(offset: int) -> set[int]:
        return {each.target for each in handlers if each.start <= offset < each.end}

    return any(
        not covering(each.argval) <= covering(each.offset)
        for each in dis.get_instructions(code)
        if each.opname.startswith("JUMP_BACKWARD")
    )


@pytest.mark.skipif(sys.version_info < (3, 12), reason="handlers do not run there before 3.12")
@pytest.mark.parametrize("name", MODULES)
def test_what_has_to_be_done_after_a_loop_is_done(name: str) -> None:
    path = Path(str(importlib.import_module(name).__file__))
    code = compile(path.read_text("utf-8"), str(path), "exec")
    short = name.rpartition(".")[2]
    found = {
        f"{short}.{getattr(each, 'co_qualname', each.co_name)}"
        for each in code_of(code)
        if bare_jumps(each)
    }
    assert found <= set(HARMLESS)

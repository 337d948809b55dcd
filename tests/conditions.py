"""The conditions that the tests can be run under: another name, and systems that lack features.

Only what is here knows of them.  The tests import ``framing`` as ever, and no module of the
package is changed.
"""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import select
import shutil
import socket
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, NoReturn

import pytest

_lacking: set[str] = set()


def needs(feature: str, reason: str) -> pytest.MarkDecorator:
    """Mark a test of what the documentation promises only where there is *feature*."""
    owners = (select, socket, socket.socket)
    is_there = any(hasattr(each, feature) for each in owners) and feature not in _lacking
    return pytest.mark.skipif(not is_there, reason=f"needs {feature}: {reason}")


def not_on_pypy(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(sys.implementation.name == "pypy", reason=f"PyPy: {reason}")


def set_up(*, package: str, without: Iterable[str]) -> None:
    """Import *package* as ``framing``, on a system that is *without* some of FEATURES."""
    if package == "framing" and not without:
        return
    _lacking.update(without)
    give_back = [FEATURES[feature]() for feature in without]
    # What the standard library needs of it comes back, after this package has looked for it.
    alias(importlib.import_module(package))
    for each in give_back:
        each()


def stand_in_for_tracemalloc() -> None:
    """Where there is no ``tracemalloc``, as on PyPy, skip the tests that start it."""
    # To the package, which measures only where it can, this is an ImportError.
    skipped = type("Skipped", (pytest.skip.Exception, ImportError), {})

    def start() -> NoReturn:
        raise skipped("needs tracemalloc")

    if importlib.util.find_spec("_tracemalloc") is None:
        module: Any = ModuleType("tracemalloc")
        module.start = start
        module.get_object_traceback = lambda _: None  # for pytest
        sys.modules["tracemalloc"] = module


def alias(package: ModuleType) -> None:
    """Let ``import framing``, and of any module in it, give *package* and what is in that."""
    sys.modules["framing"] = package
    for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not each.name.endswith("__main__"):
            module = importlib.import_module(each.name)
            sys.modules["framing" + each.name.removeprefix(package.__name__)] = module


# Features.  Each is taken away by a function that returns how to give it back: what the package
# looks for when it is imported is given back then, since the standard library uses it too.


def _without(owner: ModuleType, name: str, *, for_good: bool = False) -> Callable[[], None]:
    value = getattr(owner, name, None)
    if value is None:
        return lambda: None
    delattr(owner, name)
    return lambda: None if for_good else setattr(owner, name, value)


def _without_sendmsg() -> Callable[[], None]:
    """Hide what ``socket.socket`` inherits from a class of C, which cannot be changed."""

    class Missing:
        def __get__(self, *_: object) -> NoReturn:
            raise AttributeError("sendmsg")

    socket.socket.sendmsg = Missing()  # type: ignore[method-assign, assignment]
    return lambda: None


def _without_sendfile() -> Callable[[], None]:
    vars(shutil)["_USE_CP_SENDFILE"] = False  # found out before
    return _without(os, "sendfile", for_good=True)


FEATURES: dict[str, Callable[[], Callable[[], None]]] = {
    "MSG_DONTWAIT": lambda: _without(socket, "MSG_DONTWAIT"),  # Windows
    "MSG_PEEK": lambda: _without(socket, "MSG_PEEK"),
    "MSG_TRUNC": lambda: _without(socket, "MSG_TRUNC"),  # all but Linux, for datagrams
    "poll": lambda: _without(select, "poll"),  # Windows
    "sendmsg": _without_sendmsg,  # Windows
    "sendfile": _without_sendfile,  # Windows
    "link": lambda: _without(os, "link", for_good=True),  # Android, and some file systems
}

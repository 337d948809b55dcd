"""The reference in ``docs/reference/`` has every public name, and no other."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

from .conditions import not_on_pypy

# Methods for the other modules of the package, which the reference does not promise.
INTERNAL = {
    "framing.Decoder": """
        bytes_buffered bytes_fed copy_piece decode decode_singly delimiter expect_body feed_from
        finish_message has_failed is_idle last_piece last_size offset reach ready receive_block rest
        restore room skip switch take_body take_exactly untake
    """,
    "framing.HeaderBodyFramer": "encode_head read_head",
    "framing.ReadUntil": "begun find longest missing",
    "framing.server.Server": "get_request process_request release shutdown_request",
}

PAGES = Path(__file__).parent.parent / "docs" / "reference"
MODULES = ["framing", "framing.aio", "framing.files", "framing.server", "framing.testing"]


def public_names() -> set[str]:
    modules = [importlib.import_module(name) for name in MODULES if importlib.util.find_spec(name)]
    names = {f"{each.__name__}.{name}" for each in modules for name in each.__all__}
    return names - {"framing.server.serve"}  # which is framing.serve


def directives() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the names that the pages document, with the directive's options."""
    module = ""
    for page in sorted(PAGES.glob("*.md")):
        for line in page.read_text("utf-8").splitlines():
            if found := re.match(r"\.\. (?:current)?module:: (\S+)", line):
                module = found[1]
            elif found := re.match(r"\.\. auto\w+:: (\w+)$", line):
                options: dict[str, str] = {}
                yield f"{module}.{found[1]}", options
            elif found := re.match(r"   :([\w-]+):(.*)", line):
                options[found[1]] = found[2].strip()
            elif found := re.match(r"   \.\. auto(?:method|property):: (\w+)$", line):
                options["members"] = f"{options.get('members', '')} {found[1]}".strip()


DOCUMENTED = dict(directives())


def members_of(name: str) -> set[str]:
    """Return the members that the reference shows of a class."""
    options = DOCUMENTED.get(name, {})
    if listed := options.get("members"):
        return set(listed.replace(",", " ").split())
    return public_members(resolved(name)) if "members" in options else set()


def resolved(name: str) -> type:
    module, _, attribute = name.rpartition(".")
    found: type = getattr(importlib.import_module(module), attribute)
    return found


def public_members(kind: type) -> set[str]:
    return {
        name
        for name, member in vars(kind).items()
        if not name.startswith("_") and isinstance(member, (FunctionType, classmethod, property))
    }


def test_every_public_name_is_there_once_and_no_other() -> None:
    assert sorted(name for name, _ in directives()) == sorted(public_names())


@not_on_pypy("its named tuples have no fields that inspect sees")
def test_every_public_method_is_there_or_where_it_is_defined_first() -> None:
    for name in public_names():
        kind = resolved(name)
        is_alias = hasattr(kind, "__origin__")  # which Python 3.10 takes for a class
        if is_alias or not inspect.isclass(kind) or issubclass(kind, Exception):
            continue
        shown = members_of(name)
        inherited = {
            member for base in kind.__mro__[1:] for member in members_of(f"framing.{base.__name__}")
        }
        internal = {*INTERNAL.get(name, "").split(), "split_block"}
        assert shown <= set(dir(kind)), name
        assert public_members(kind) <= shown | inherited | internal, name


def test_each_page_is_in_the_list_of_pages() -> None:
    index = (PAGES / "index.md").read_text("utf-8")
    assert {page.stem for page in PAGES.glob("*.md")} - {"index"} <= set(index.split())

"""Small changes to the package, made with mutmut's operators, and how one of them takes effect."""

from __future__ import annotations

import ast
import difflib
import gc
import importlib
import importlib.abc
import importlib.machinery
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src" / "framing"
# All modules but the command line, by their paths
MODULES = [
    path.relative_to(SOURCE).with_suffix("").as_posix()
    for path in sorted(SOURCE.rglob("*.py"))
    if path.stem not in {"__init__", "__main__"} and "cli" not in path.relative_to(SOURCE).parts
]
CO_OPTIMIZED = 1  # the flag of a function's code, which a class's body and a module's lack
Place = tuple[object, ...]


@dataclass(frozen=True)
class Mutant:
    """A change to one module: what stands from *start* to *end* becomes *text*.

    Attributes:
        lines: Those of the whole statement that it changes, or of its head.
        line: The first one that it changes.
        diff: The change, as it is shown.
        number: How many changes before it in the module look the same.
    """

    module: str
    start: int
    end: int
    text: str
    lines: range
    line: int
    diff: str
    number: int

    @property
    def name(self) -> str:
        """What its result is remembered by, wherever it is in the module."""
        return f"{self.module}:{self.number}\n{self.diff}"

    @property
    def change(self) -> str:
        """What ``harmless.txt`` calls it, and all that look the same."""
        return f"{self.module}\n{self.diff}"

    @property
    def source(self) -> str:
        source = source_of(self.module)
        return source[: self.start] + self.text + source[self.end :]


def path_of(module: str) -> str:
    return str(SOURCE / f"{module}.py")


@cache
def source_of(module: str) -> str:
    return Path(path_of(module)).read_text("utf-8")


def mutants_of(module: str) -> Iterator[Mutant]:
    """Yield the mutants of *module* that change what a function does."""
    mutmut = importlib.import_module("mutmut.mutation.file_mutation")
    metadata = importlib.import_module("libcst.metadata")
    source = source_of(module)
    tree, mutations, _, _ = mutmut.create_mutations(path_of(module), source)
    wrapper = metadata.MetadataWrapper(tree, unsafe_skip_copy=True)
    positions = wrapper.resolve(metadata.PositionProvider)
    begins = [0]
    for line in source.splitlines(keepends=True):
        begins.append(begins[-1] + len(line))
    heads = _heads(source)
    alike = Counter[str]()
    for each in mutations:
        if type(each.contained_by_top_level_function).__name__ != "FunctionDef":
            continue
        place = positions[each.original_node]
        start = begins[place.start.line - 1] + place.start.column
        end = begins[place.end.line - 1] + place.end.column
        text = tree.code_for_node(each.mutated_node).strip()
        first, last = place.start.line, place.end.line
        before = source[begins[first - 1] : begins[last]]
        after = before[: start - begins[first - 1]] + text + before[end - begins[first - 1] :]
        if before.lower() == after.lower():  # one change to a text is enough
            continue
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
        diff = "\n".join(list(lines)[3:])
        yield Mutant(module, start, end, text, heads[first], first, diff, alike[diff])
        alike[diff] += 1


def _heads(source: str) -> dict[int, range]:
    """Return for each line the lines of the innermost statement there, without those in it.

    A function's head has all its lines, since the defaults of its arguments matter in there.
    """
    heads = {}
    for node in ast.walk(ast.parse(source)):  # from the outside in
        if isinstance(node, ast.stmt | ast.ExceptHandler):
            last = end = node.end_lineno or 0
            body = getattr(node, "body", None)
            if body and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                end = max(node.lineno, body[0].lineno - 1)
            for line in range(node.lineno, last + 1):
                heads[line] = range(node.lineno, end + 1)
    return heads


def codes(code: CodeType, place: Place = ()) -> Iterator[tuple[Place, CodeType]]:
    """Yield all code in *code*, each with the names around it, numbered where they repeat."""
    yield place, code
    counts = Counter[str]()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            counts[constant.co_name] += 1
            yield from codes(constant, (*place, constant.co_name, counts[constant.co_name]))


class Package:
    """The functions of the package in this process, whose code a mutant replaces.

    That takes no time, and no test module has to be imported again.

    Args:
        called: The path and the first line of each function that was called before. What such a
            function made then was made by the code as it is.
    """

    def __init__(self, called: set[tuple[str, int]]) -> None:
        self.called = called
        self.functions: defaultdict[tuple[str, int, str], list[FunctionType]] = defaultdict(list)
        for each in gc.get_objects():
            if isinstance(each, FunctionType) and each.__code__.co_filename.startswith(str(SOURCE)):
                code = each.__code__
                self.functions[code.co_filename, code.co_firstlineno, code.co_name].append(each)

    def change(self, mutant: Mutant) -> tuple[bool, bool]:
        """Replace the code that *mutant* changes.

        Returns:
            Whether that could be done, and whether none of it was called before.
        """
        path = path_of(mutant.module)
        before = dict(codes(compile(source_of(mutant.module), path, "exec")))
        after = dict(codes(compile(mutant.source, path, "exec")))
        is_done, is_new = before.keys() == after.keys(), True
        for place, code in before.items():
            if not is_done or _is_like(code, after[place]):
                continue
            is_done = bool(code.co_flags & CO_OPTIMIZED)
            is_new &= (path, code.co_firstlineno) not in self.called
            for size in range(len(place), 0, -2):  # and the functions around it
                is_done &= self._replace(before[place[:size]], after[place[:size]])
        return is_done, is_new

    def _replace(self, code: CodeType, other: CodeType) -> bool:
        for function in self.functions[code.co_filename, code.co_firstlineno, code.co_name]:
            if code.co_freevars != other.co_freevars:
                return False
            function.__code__ = other
        return True


def _is_like(code: CodeType, other: CodeType) -> bool:
    """Return whether both do the same, but for the code in them, wherever they stand."""
    return all(
        getattr(code, name) == getattr(other, name)
        for name in ("co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars")
    ) and _values(code) == _values(other)


def _values(code: CodeType) -> list[str]:
    return [repr(each) for each in code.co_consts if not isinstance(each, CodeType)]


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a text, under its own path."""

    def __init__(self, module: str, source: str) -> None:
        self.name = f"framing.{module.replace('/', '.')}"
        self.path = path_of(module)
        self.source = source

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        spec = importlib.machinery.ModuleSpec(name, self, origin=self.path)
        spec.has_location = True
        return spec

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, self.path, "exec"), vars(module))  # noqa: S102

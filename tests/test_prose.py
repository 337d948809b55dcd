"""The prose that people read avoids the phrases that the style guide lists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import framing

ROOT = Path(__file__).parent.parent
PHRASES = {
    "is no X: write 'is not an X'": r"\b(is|are|was|were) no (?!longer\b|more\b)",
    "tell, of things: write 'reports', 'shows', 'returns'": r"\b(tells?|told|telling)\b",
    "nobody, somebody: say who": r"\b(no|some)body\b",
    "a clause as a subject: use a noun": r"(?:^|[.:!] +)(Who|Whoever|What|That which) (?!is\b|are\b)\w+"
    r"[^?]*?[.:]",
}
EXCEPTIONS: dict[str, str] = {}


def prose_of(page: Path) -> str:
    """Return the text of a page, or the docstrings of a module, without code."""
    text = page.read_text("utf-8")
    if page.suffix == ".py":
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        nodes = [each for each in ast.walk(ast.parse(text)) if isinstance(each, kinds)]
        return "\n\n".join(filter(None, map(ast.get_docstring, nodes)))
    return re.sub(r"^(`{3,})[^\n]*\n.*?^\1$|`[^`\n]*`", "X", text, flags=re.DOTALL | re.MULTILINE)


def test_the_prose_is_plain_english() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    pages = [page for page in pages if page.exists() and "zh" not in page.parts]
    found = []
    for page in [*pages, *Path(framing.__path__[0]).rglob("*.py")]:
        for sentence in re.split(r"(?<=[.!?:|])\s+|\n\n", prose_of(page)):
            line = " ".join(sentence.split())
            found += [(page.name, why, line) for why, p in PHRASES.items() if re.search(p, line)]
    assert not [each for each in found if each[2] not in EXCEPTIONS]

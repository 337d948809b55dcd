"""What people read is plain English."""

import ast
import re
from pathlib import Path

import framing

ROOT = Path(__file__).parent.parent
PHRASES = {
    "is no X: write 'is not an X'": r"(?<!\b[Tt]here )\b(is|are|was|were) no (?!longer\b|more\b)",
    "tell: write 'reports', 'shows', 'returns'": r"\b(tells?|told|telling)\b",
    "nobody, somebody: say who": r"\b([Nn]o|[Ss]ome)body\b",
    "a clause as a subject: use a noun": r"^(Who|Whoever|What)\b(?! is\b| to\b)[^:?]*"
    r" (is|are|was|were|goes|passes|comes|has|can|may|must) [^:?]*\.$",
}
# Labels of arguments and first lines of modules, which are not sentences.
LABELS = ("What was", "What every", "What a socket", "What ``json``", "What comes", "What can be")


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
    found: list[tuple[str, str, str]] = []
    for page in [*pages, *Path(framing.__path__[0]).rglob("*.py")]:
        for sentence in re.split(r"(?<=[.!?:|])\s+|\n\n", prose_of(page)):
            line = " ".join(sentence.split())
            found += [(page.name, why, line) for why, p in PHRASES.items() if re.search(p, line)]
    assert not [each for each in found if not each[2].startswith(LABELS)]

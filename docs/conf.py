"""How the documentation is built: ``python -m sphinx docs <directory>``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.domains.python import PythonDomain
from sphinx.pycode import ModuleAnalyzer
from sphinx.search.en import SearchEnglish

import framing

if TYPE_CHECKING:
    from docutils.nodes import Element, TextElement
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "framing"
author = "The framing maintainers"
release = framing.__version__
language = "en"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]

# The pages

html_theme = "furo"
html_title = "framing"
pygments_dark_style = "github-dark"  # in the theme's own, imported names look like links
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["site.css"]
html_js_files = [("search.js", {"defer": "defer"})]
html_show_copyright = False
html_copy_source = False
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]
copybutton_exclude = ".linenos, .gp, .go"

# The reference

autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_use_ivar = True
napoleon_numpy_docstring = False
python_maximum_signature_line_length = 88
nitpicky = True
nitpick_ignore_regex = [
    # The standard library's documentation is elsewhere, and a build needs no network.
    (r"py:.*", r"(abc|asyncio(\.\w+)?|collections\.abc|io|os|pathlib)\..*|Path|SSLContext"),
    (r"py:class", r"BaseServer"),
    (r"py:.*", r"(socket|socketserver|ssl|typing)\..*"),
    (r"py:.*", r"(.*\.)?[MNP]"),  # the type variables that stand for the type of a message
    (
        r"py:class",
        r"(.*\.)?(Address|Connection|Handler|Stream|Refuse)",
    ),  # internal, or explained there
]


class SearchWithChinese(SearchEnglish):
    """English, and Chinese by pairs of characters, since it has no spaces between its words."""

    _words = re.compile(r"[\u4e00-\u9fff]+|[^\W\u4e00-\u9fff]+")

    # Of the text of an error, the beginning is looked for, without what varies.
    js_splitter_code = r"""
    function beginning(query) {
        if (query.split(/\s+/).length < 7) return query;
        const text = query.replace(/\[Errno \d+\]|\bb?'[^']*'|'[^']*'/g, " ")
            .replace(/[^\p{Letter}_:]+/gu, " ").trim();
        const clause = /^(\S+ ){3,}?[^: ]+(?= ?:)/.exec(text)?.[0] ?? text.replaceAll(":", "");
        return clause.split(/ +/).slice(0, 14).join(" ");
    }
    function splitQuery(query) {
        query = beginning(query);
        const word = /[\u4e00-\u9fff]+|((?![\u4e00-\u9fff])[\p{Letter}\p{Number}_])+/gu;
        return (query.match(word) || []).flatMap((found) => {
            if (!/^[\u4e00-\u9fff]{3,}$/.test(found)) return [found];
            return Array.from(found.slice(1), (_, i) => found.slice(i, i + 2));
        });
    }
    """

    def split(self, input: str) -> list[str]:
        """Return the words of *input*, as ``splitQuery`` does in the browser."""
        found = []
        for word in self._words.findall(input):
            is_run = len(word) > 2 and "\u4e00" <= word[0] <= "\u9fff"
            found += [word[i : i + 2] for i in range(len(word) - 1)] if is_run else [word]
        return found


_overloaded: set[str] = set()
_MADE_FOR_YOU = {"framing.aio.MessageStream", "framing.aio.Server", "framing.server.Server"}


def keep_overloads_for_type_checkers(app: Sphinx) -> None:
    """Show one signature, in terms of ``M``, where type checkers see two."""
    for name in ("sockets.functions", "sockets.message_socket", "server", "aio"):
        analyzer = ModuleAnalyzer.for_module(f"framing.{name}")
        analyzer.analyze()
        module = "framing.aio" if name == "aio" else "framing"
        _overloaded.update(
            f"{module}.{each}".removesuffix(".__init__") for each in analyzer.overloads
        )
        analyzer.overloads = {}


def shorten_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, given: str, result: str | None
) -> tuple[str, str | None] | None:
    """Show the default framer as a user would write it, and see above."""
    if name in _MADE_FOR_YOU:
        return "", None
    if not given:
        return None
    if name == "framing.serve":
        result = "~framing.server.Server"  # not asyncio's
    given = given.replace(repr(framing.LengthPrefixFramer()), "LengthPrefixFramer()")
    if name not in _overloaded:
        return given, result
    anything = re.compile(r"(~?typing\.)?\bAny\b")
    return anything.sub("M", given), result and anything.sub("M", result)


def draw_literally(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Show the drawings in docstrings (bytes on the wire, the tree of errors) as they are typed."""
    drawing = re.compile(r"( +)(\+--|FramingError$)")
    for i in reversed(range(1, len(lines))):
        found = drawing.match(lines[i])
        if found and not lines[i - 1].strip() and not lines[max(0, i - 2)].endswith("::"):
            indent = found[1][:-4]
            lines[i:i] = [f"{indent}.. code-block:: none", ""]


def find_where_it_is_imported_from(
    app: Sphinx, env: BuildEnvironment, node: Element, contnode: TextElement
) -> Any:
    """Resolve ``framing.decoder.Decoder``, where it is written, to ``framing.Decoder``."""
    path = node.get("reftarget", "").removeprefix("framing.").split(".")
    for names in (path[1:], path):
        if names and names[0] in framing.__all__:
            target = ".".join(["framing", *names])
            found = env.domains["py"].resolve_any_xref(
                env, node["refdoc"], app.builder, target, node, contnode
            )
            return found[0][1] if found else None
    return None


def link_first_mentions(app: Sphinx, doctree: nodes.document) -> None:
    """Link a public name to the reference where a page mentions it first."""
    if app.env.docname.startswith("reference/"):
        return
    seen: set[str] = set()
    for literal in list(doctree.findall(nodes.literal)):
        found = re.match(r"(?:framing\.)?((\w+)(?:\.\w+)?)(?=\(|$)", literal.astext())
        if found is None or found[2] not in framing.__all__ or found[1] in seen:
            continue
        if not isinstance(literal.parent, (nodes.reference, nodes.title, pending_xref)):
            seen.add(found[1])
            link = pending_xref(
                "",
                refdomain="py",
                reftype="obj",
                reftarget=f"framing.{found[1]}",
                refdoc=app.env.docname,
                refexplicit=True,
            )
            literal.replace_self(link)
            link += literal


def let_pictures_scroll(app: Sphinx, doctree: nodes.document) -> None:
    """Put each drawing into a box of its own, which scrolls where the screen is narrow."""
    for raw in list(doctree.findall(nodes.raw)):
        if raw.astext().startswith("<svg"):
            box = f'<div class="picture">{raw.astext()}</div>'
            raw.replace_self(nodes.raw("", box, format="html"))


def set_the_language(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Mark the Chinese pages as Chinese, for fonts, line breaks and screen readers."""
    if page.startswith("zh/"):
        context["language"] = "zh-CN"


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    for directive in PythonDomain.directives.values():
        for field in getattr(directive, "doc_field_types", ()):
            if field.name == "variable":
                field.label = "Attributes"
    app.add_search_language(SearchWithChinese)
    app.connect("builder-inited", keep_overloads_for_type_checkers)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("autodoc-process-docstring", draw_literally, priority=400)  # before napoleon
    app.connect("missing-reference", find_where_it_is_imported_from)
    app.connect("doctree-read", link_first_mentions)
    app.connect("doctree-read", let_pictures_scroll)
    app.connect("html-page-context", set_the_language)

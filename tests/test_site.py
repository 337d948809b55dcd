"""The documentation as it was built, in the directory that the variable SITE names."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import framing

SITE = Path(os.environ.get("SITE", "."))
pytestmark = pytest.mark.skipif("SITE" not in os.environ, reason="SITE names no built site")

LOADING = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src")}


class Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.language = ""
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if tag == "html" and name == "lang":
                self.language = value or ""
            if name == "id":
                self.anchors.add(value or "")
            if tag == "a" and name == "href":
                self.links.append(value or "")
            if (tag, name) in LOADING:
                self.loaded.append(value or "")


@pytest.fixture(scope="module")
def pages() -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(SITE.rglob("*.html"))}


def test_no_page_loads_anything_from_elsewhere(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert not [each for each in page.loaded if urlsplit(each).netloc], path
    for sheet in SITE.rglob("*.css"):
        text = sheet.read_text("utf-8")
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", text), sheet


def test_every_link_within_the_site_leads_somewhere(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link == "#":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            there = {each.resolve(): found for each, found in pages.items()}
            assert target.exists(), (path, link)
            if parts.fragment and target in there:
                assert unquote(parts.fragment) in there[target].anchors, (path, link)


def test_every_public_name_can_be_linked_to(pages: dict[Path, Page]) -> None:
    anchors = set().union(*(page.anchors for page in pages.values()))
    assert {f"framing.{name}" for name in framing.__all__} <= anchors


@pytest.mark.parametrize(
    "word", ["sticki", "nagl", "粘包", "半包", "缓冲", "上传", "聊天", "报头", "recv_msg"]
)
def test_the_search_knows(word: str) -> None:
    text = (SITE / "searchindex.js").read_text("utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    assert word in index["terms"]


def test_chinese_pages_say_that_they_are(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        chinese = path.relative_to(SITE).parts[0] == "zh"
        assert page.language == ("zh-CN" if chinese else "en"), path

"""All pages in one HTML file: no network, no other file; tables that sort and filter, pictures inside."""

from __future__ import annotations

import base64
import html
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

from markdown_it import MarkdownIt

from benchmarks.files import write_atomically
from benchmarks.reporting.markdown import anchor

PAGE = Path(__file__).resolve().parent / "page"


def write_html(reports: Path, pages: Mapping[str, str]) -> None:
    """Write ``reports``/index.html from the Markdown ``pages`` (path below ``reports`` -> text), the index first."""
    names = sorted(pages, key=lambda name: (name != "README.md", "/" in name, name))
    sections = [
        f'<section class="page" id="{_page_id(name)}">\n{_rendered(name, pages[name], reports, pages)}\n</section>'
        for name in names
    ]
    links = [f'<a href="#{_page_id(name)}">{html.escape(_title(pages[name]))}</a>' for name in names]
    text = (PAGE / "page.html").read_text(encoding="utf-8")
    for place, content in (
        ("STYLE", (PAGE / "page.css").read_text(encoding="utf-8")),
        ("NAVIGATION", "\n".join(links)),
        ("PAGES", "\n".join(sections)),
        ("SCRIPT", (PAGE / "page.js").read_text(encoding="utf-8")),
    ):
        text = text.replace(f"<!--{place}-->", content, 1)
    write_atomically(reports / "index.html", text.encode())


def _page_id(name: str) -> str:
    return anchor(name.removesuffix(".md").replace("/", "-")) or "page"


def _title(text: str) -> str:
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    return re.sub(r"\\(.)", r"\1", html.unescape(found[1])) if found else "?"


def _rendered(name: str, text: str, reports: Path, pages: Mapping[str, str]) -> str:
    """One page as HTML: headings get ids of their own, pictures become data, links to other pages stay in the file."""
    page = _page_id(name)
    markdown = MarkdownIt("commonmark").enable("table")
    tokens = markdown.parse(text)
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", f"{page}--{anchor(_plain(tokens[position + 1].content))}")
        for child in token.children or []:
            if child.type == "image":
                path = reports / posixpath.normpath(posixpath.join(posixpath.dirname(name), str(child.attrs["src"])))
                data = base64.b64encode(path.read_bytes()).decode()
                child.attrSet("src", f"data:image/png;base64,{data}")
            elif child.type == "link_open":
                child.attrSet("href", _target(name, str(child.attrs["href"]), pages))
    return markdown.renderer.render(tokens, markdown.options, {})


def _target(name: str, link: str, pages: Mapping[str, str]) -> str:
    """Where a link of page ``name`` leads inside the file; one to somewhere else stays as it is."""
    path, _, fragment = link.partition("#")
    if re.match(r"[a-z]+:", path):
        return link
    other = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
    if other not in pages:
        return link
    return f"#{_page_id(other)}--{fragment}" if fragment else f"#{_page_id(other)}"


def _plain(text: str) -> str:
    return re.sub(r"\\(.)|`", r"\1", html.unescape(text))

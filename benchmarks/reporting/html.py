"""All pages in one HTML file: no network, no other file; tables that sort and filter, pictures inside.

Pages come as Markdown that holds text of records. Raw HTML in it is text, links lead to known places only, and the page
has a policy that lets a browser run its one script and load nothing: what a record says is shown and never runs.
"""

from __future__ import annotations

import base64
import hashlib
import html
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from benchmarks.reporting.markdown import GENERATED, anchor

PAGE = Path(__file__).resolve().parent / "page"
_SCHEMES = ("https:", "http:", "mailto:")
_PNG = b"\x89PNG\r\n\x1a\n"


def as_html(pages: Mapping[str, str], pictures: Mapping[str, bytes]) -> str:
    """One HTML file of the Markdown ``pages`` (path -> text), the index first, with the ``pictures`` (path -> bytes)
    that they show."""
    names = sorted(pages, key=lambda name: (name != "README.md", "/" in name, name))
    ids = _page_ids(names)
    sections = [
        f'<section class="page" id="{ids[name]}">\n{_rendered(name, pages[name], pictures, ids)}\n</section>'
        for name in names
    ]
    links = [f'<a href="#{ids[name]}">{html.escape(_title(pages[name]))}</a>' for name in names]
    style, script = (f"\n{(PAGE / name).read_text(encoding='utf-8')}" for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    places = {
        "POLICY": html.escape(policy), "STYLE": style, "SCRIPT": script, "NAVIGATION": "\n".join(links),
        "PAGES": "\n".join(sections),
    }  # fmt: skip
    text = (PAGE / "page.html").read_text(encoding="utf-8")
    # In one pass: what is put in is never searched for places.
    return re.sub(r"<!--([A-Z]+)-->", lambda place: places[place[1]], text)


def _source(text: str) -> str:
    """A script or a style as a content policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _page_ids(names: list[str]) -> dict[str, str]:
    ids: dict[str, str] = {}
    for name in names:
        stem = unique = anchor(name.removesuffix(".md").replace("/", "-")) or "page"
        number = 2
        while unique in ids.values():
            unique, number = f"{stem}-{number}", number + 1
        ids[name] = unique
    return ids


def _title(text: str) -> str:
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    return _plain(found[1]) if found else "?"


def _rendered(name: str, text: str, pictures: Mapping[str, bytes], ids: Mapping[str, str]) -> str:
    """One page as HTML: headings get ids of their own, pictures become data, links to other pages stay in the file."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.inline.ruler.before("autolink", "footnote_mark", _footnote_mark)
    tokens = markdown.parse(text.removeprefix(GENERATED))
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", f"{ids[name]}--{anchor(_plain(tokens[position + 1].content))}")
        elif token.type in ("th_open", "td_open"):
            # A class in place of a style, which the policy would not allow.
            side = str(token.attrs.pop("style", "")).removeprefix("text-align:")
            if side:
                token.attrSet("class", side)
        if token.children:
            token.children = _safe(token.children, name, pictures, ids)
    return str(markdown.renderer.render(tokens, markdown.options, {}))


def _footnote_mark(state: StateInline, silent: bool) -> bool:
    """The one tag that pages use, around digits: the mark of a footnote."""
    found = re.compile(r"<sup>([0-9]+)</sup>").match(state.src, state.pos)
    if not found:
        return False
    if not silent:
        state.push("sup_open", "sup", 1)
        state.push("text", "", 0).content = found[1]
        state.push("sup_close", "sup", -1)
    state.pos = found.end()
    return True


def _safe(children: list[Token], page: str, pictures: Mapping[str, bytes], ids: Mapping[str, str]) -> list[Token]:
    """Inline tokens with pictures as data and links that lead somewhere known; other pictures and links are text."""
    kept: list[Token] = []
    opened: list[bool] = []
    for child in children:
        if child.type == "image":
            data = pictures.get(_inside(page, str(child.attrs["src"])), b"")
            if data.startswith(_PNG):
                child.attrSet("src", f"data:image/png;base64,{base64.b64encode(data).decode()}")
            else:
                child = Token("text", "", 0, content=child.content)
        elif child.type == "link_open":
            target = _target(page, str(child.attrs["href"]), ids)
            opened.append(target is not None)
            if target is None:
                continue
            child.attrSet("href", target)
        elif child.type == "link_close" and not opened.pop():
            continue
        kept.append(child)
    return kept


def _inside(page: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path))


def _target(name: str, link: str, ids: Mapping[str, str]) -> str | None:
    """Where a link of page ``name`` leads: inside the file, or to an address; None for anything else."""
    if link.lower().startswith(_SCHEMES):
        return link
    path, _, fragment = link.partition("#")
    other = _inside(name, path) if path else name
    if other not in ids:
        return None
    return f"#{ids[other]}--{fragment}" if fragment else f"#{ids[other]}"


def _plain(text: str) -> str:
    return re.sub(r"\\(.)|`", r"\1", html.unescape(text))

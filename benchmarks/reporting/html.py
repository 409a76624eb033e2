"""The pages in HTML, one file each: no network; tables that sort, filter, hide columns and can be saved as CSV.

Pages come as Markdown that holds text of records. Raw HTML in it is text, links lead to known places only, and a page
has a policy that lets a browser run its one script and load the pictures beside it and nothing else: what a record says
is shown and never runs.
"""

from __future__ import annotations

import base64
import hashlib
import html
import posixpath
import re
from collections.abc import Mapping, Set
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from benchmarks.reporting.markdown import GENERATED, anchor

PAGE = Path(__file__).resolve().parent / "page"
_SCHEMES = ("https:", "http:", "mailto:")
# Pages in folders of their own are named in the menu under a heading.
_FOLDERS = {"": "Pages", "variants": "Variants", "pictures": "All pictures"}


def as_html(pages: Mapping[str, str], pictures: Set[str]) -> dict[str, str]:
    """An HTML file for each of the Markdown ``pages`` (path -> text): path -> text. ``pictures`` are the paths of those
    that they may show."""
    style, script = (f"\n{(PAGE / name).read_text(encoding='utf-8')}" for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)}; img-src 'self' file:; "
        "base-uri 'none'; form-action 'none'"
    )
    template = (PAGE / "page.html").read_text(encoding="utf-8")
    files = {}
    for name, text in pages.items():
        places = {
            "POLICY": html.escape(policy), "STYLE": style, "SCRIPT": script, "NAVIGATION": _menu(name, pages),
            "NAME": html.escape(_title(text)), "PAGE": _rendered(name, text, pictures, pages.keys()),
        }  # fmt: skip
        # In one pass: what is put in is never searched for places.
        files[html_file(name)] = re.sub(r"<!--([A-Z]+)-->", lambda place, put=places: put[place[1]], template)  # type: ignore[misc]
    return files


def html_file(page: str) -> str:
    """The path of a page's HTML file; the index has the name that browsers and servers look for."""
    folder, name = posixpath.split(page)
    return posixpath.join(folder, "index.html" if page == "README.md" else f"{name.removesuffix('.md')}.html")


def _menu(page: str, pages: Mapping[str, str]) -> str:
    """Links from one page to all, the index first, those of a folder in a list of their own."""
    lists: dict[str, list[str]] = {}
    for name in sorted(pages, key=lambda name: (name != "README.md", name)):
        here = ' aria-current="page"' if name == page else ""
        link = f'<a href="{html.escape(_relative(page, html_file(name)))}"{here}>{html.escape(_title(pages[name]))}</a>'
        lists.setdefault(posixpath.dirname(name), []).append(link)
    parts = []
    for folder, links in lists.items():
        heading = html.escape(_FOLDERS.get(folder, folder))
        parts.append("\n".join([f"<details><summary>{heading}</summary>", *links, "</details>"]))
    return "\n".join(parts)


def _source(text: str) -> str:
    """A script or a style as a content policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _title(text: str) -> str:
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    return _plain(found[1]) if found else "?"


def _rendered(name: str, text: str, pictures: Set[str], pages: Set[str]) -> str:
    """One page as HTML: headings get ids, links to other pages lead to their HTML files."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.inline.ruler.before("autolink", "footnote_mark", _footnote_mark)
    tokens = markdown.parse(text.removeprefix(GENERATED))
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor(_plain(tokens[position + 1].content)))
        elif token.type in ("th_open", "td_open"):
            # A class in place of a style, which the policy would not allow.
            side = str(token.attrs.pop("style", "")).removeprefix("text-align:")
            if side:
                token.attrSet("class", side)
        if token.children:
            token.children = _safe(token.children, name, pictures, pages)
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


def _safe(children: list[Token], page: str, pictures: Set[str], pages: Set[str]) -> list[Token]:
    """Inline tokens with links and pictures that lead somewhere known; others are text."""
    kept: list[Token] = []
    opened: list[bool] = []
    for child in children:
        if child.type == "image":
            path = _inside(page, str(child.attrs["src"]))
            if path in pictures:
                child.attrSet("src", _relative(page, path))
                child.attrSet("loading", "lazy")
            else:
                child = Token("text", "", 0, content=child.content)
        elif child.type == "link_open":
            target = _target(page, str(child.attrs["href"]), pages)
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


def _relative(page: str, path: str) -> str:
    """``path``, as a page in the same folder as ``page`` names it."""
    return posixpath.relpath(path, posixpath.dirname(page) or ".")


def _target(page: str, link: str, pages: Set[str]) -> str | None:
    """Where a link of a page leads: to an HTML file of ours, or to an address; None for anything else."""
    if link.lower().startswith(_SCHEMES):
        return link
    path, _, fragment = link.partition("#")
    other = _inside(page, path) if path else page
    if other not in pages:
        return None
    file = _relative(page, html_file(other)) if path else ""
    return f"{file}#{fragment}" if fragment else file or "#"


def _plain(text: str) -> str:
    return re.sub(r"\\(.)|`", r"\1", html.unescape(text))

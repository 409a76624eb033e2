"""Convert the Markdown pages to HTML, one self-contained file per page.

The files need no network. Their tables can be sorted, filtered and saved as CSV, and columns can be hidden.

Pages contain text from records, which must never be executed. Raw HTML in them is therefore shown as text, and only
links to web addresses, mail addresses and known pages are kept. A content security policy allows only the page's own
script, its style and local pictures.
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
# Folder of pages -> heading of its list in the menu.
_FOLDERS = {"": "Pages", "variants": "Variants", "pictures": "All pictures"}


def as_html(pages: Mapping[str, str], pictures: Set[str]) -> dict[str, str]:
    """Convert the Markdown ``pages`` (path -> text) to HTML files (path -> text).

    ``pictures`` are the paths of the pictures that pages may show.
    """
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
        # All placeholders are replaced in one pass, so that placeholders in inserted text are not replaced.
        files[html_file(name)] = re.sub(r"<!--([A-Z]+)-->", lambda place, put=places: put[place[1]], template)  # type: ignore[misc]
    return files


def html_file(page: str) -> str:
    """The path of a page's HTML file; README.md becomes index.html, which web servers show for a folder."""
    folder, name = posixpath.split(page)
    return posixpath.join(folder, "index.html" if page == "README.md" else f"{name.removesuffix('.md')}.html")


def _menu(page: str, pages: Mapping[str, str]) -> str:
    """Links from ``page`` to all pages, in one list per folder; the index comes first."""
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
    """The source expression of a script or a style for the content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _title(text: str) -> str:
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    return _plain(found[1]) if found else "?"


def _rendered(name: str, text: str, pictures: Set[str], pages: Set[str]) -> str:
    """One page as HTML: headings get ids, and links to other pages point to their HTML files."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.inline.ruler.before("autolink", "footnote_mark", _footnote_mark)
    tokens = markdown.parse(text.removeprefix(GENERATED))
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor(_plain(tokens[position + 1].content)))
        elif token.type in ("th_open", "td_open"):
            # The content security policy forbids inline styles, so a class sets the alignment.
            side = str(token.attrs.pop("style", "")).removeprefix("text-align:")
            if side:
                token.attrSet("class", side)
        if token.children:
            token.children = _safe(token.children, name, pictures, pages)
    return str(markdown.renderer.render(tokens, markdown.options, {}))


def _footnote_mark(state: StateInline, silent: bool) -> bool:
    """Parse ``<sup>`` around digits, the mark of a footnote and the only inline tag that pages use."""
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
    """Inline tokens in which links and pictures with unknown targets are replaced by text."""
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
    """``path`` relative to the folder of ``page``."""
    return posixpath.relpath(path, posixpath.dirname(page) or ".")


def _target(page: str, link: str, pages: Set[str]) -> str | None:
    """The target of a link in the HTML file: an HTML file of the reports or an address; None for anything else."""
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

"""Markdown that a record's content cannot break: every string from a record passes through ``escape``."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from tabulate import tabulate

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~])")


def escape(text: object, limit: int = 300) -> str:
    """Text as one line of Markdown and HTML that shows exactly that text, cut after ``limit`` characters."""
    line = " ".join(str(text).split())
    cut = line if len(line) <= limit else line[: limit - 1] + "…"
    return _SPECIAL.sub(r"\\\1", html.escape(cut, quote=False))


def code(text: object, limit: int = 300) -> str:
    """Text as inline code; backticks and angle brackets in it become quotation marks, bars are escaped for tables."""
    line = " ".join(str(text).split())[:limit]
    return "`" + line.translate(str.maketrans("`<>", "'‹›")).replace("|", "\\|") + "`"


def file_name(text: str) -> str:
    """A name from a record as a part of a path: letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".")[:80] or "_"


def anchor(heading: str) -> str:
    """What repository pages and the HTML page call a heading: lower case, words joined by dashes."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "right") -> str:
    """A pipe table of strings; the first column stands to the left, the others to ``align``."""
    columns = ("left", *[align] * (len(header) - 1))
    return tabulate(rows, header, tablefmt="pipe", colalign=columns if rows else None, disable_numparse=True)

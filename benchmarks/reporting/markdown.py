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


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "right") -> str:
    """A pipe table of strings; the first column stands to the left, the others to ``align``."""
    columns = ("left", *[align] * (len(header) - 1))
    return tabulate(rows, header, tablefmt="pipe", colalign=columns if rows else None, disable_numparse=True)

"""Parse the section "Defaults:" of a variant's docstring: the value of each option, and where it comes from.

An entry has the form ``option = value: source``, or ``option = value (celeba 50.0, digits 64.0): source`` if some data
sets have other values. Continuation lines of an entry are indented. Values are written as in an override (``null``,
``true``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.records.searches import Search
from benchmarks.reporting.markdown import code, escape, inline, table

_SECTION = re.compile(r"^Defaults:[ ]*\n((?:[ ]{4}.*(?:\n|$)|[ ]*\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"(\w+) = ([^:()]+?)(?: \(([^:()]+)\))?: (.+)")


class Default(NamedTuple):
    """The default ``value`` of an ``option``, other defaults by data set (``on``), and their ``source``."""

    option: str
    value: str
    on: Mapping[str, str]
    source: str


def split_defaults(documentation: str) -> tuple[str, list[Default]]:
    """Split a docstring into the text without its section of defaults, and the entries of this section.

    A section that is malformed, or that contains an option twice, remains in the text.
    """
    section = _SECTION.search(documentation)
    if section is None:
        return documentation, []
    entries: list[str] = []
    for line in filter(str.strip, section[1].splitlines()):
        if line.startswith(" " * 5) and entries:
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line.strip())
    found = [default for entry in entries if (default := _default(entry)) is not None]
    if len({default.option for default in found}) < len(entries):
        return documentation, []
    rest = documentation[: section.start()].rstrip("\n") + "\n\n" + documentation[section.end() :]
    return rest.strip("\n"), found


def _default(entry: str) -> Default | None:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        return None
    option, value, elsewhere, source = match.groups()
    pairs = [pair.split(maxsplit=1) for pair in (elsewhere or "").split(",") if pair.strip()]
    if any(len(pair) != 2 for pair in pairs):
        return None
    return Default(option, value, {dataset: other.strip() for dataset, other in pairs}, source)


def as_written(value: Any) -> str:
    """The value of an option in the syntax of an override."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def defaults_section(
    defaults: Sequence[Default], searched: Mapping[str, Sequence[Any]], searches: Sequence[Search]
) -> list[str]:
    """The blocks with the table of defaults.

    The table also has the values that ``make tune`` tries for each option, and the results of its searches.
    """
    if not defaults:
        return []
    lines = [
        [code(default.option), _values(default), inline(default.source).replace("|", r"\|"), tried]
        for default in defaults
        for tried in ["; ".join(_tried(default, searched.get(default.option, ()), searches)) or "–"]
    ]
    return [
        "## Defaults",
        "Where the value of each option comes from, and the values that `make tune` tries for it on validation data.",
        table(["option", "default", "where it comes from", "`make tune`"], lines, "left"),
    ]


def _values(default: Default) -> str:
    elsewhere = ", ".join(f"{escape(dataset)}: {code(value)}" for dataset, value in default.on.items())
    return f"{code(default.value)} ({elsewhere})" if elsewhere else code(default.value)


def _tried(default: Default, values: Sequence[Any], searches: Sequence[Search]) -> list[str]:
    """The values that ``make tune`` tries, and the best value of each search that tried this option."""
    found = [f"tries {', '.join(code(as_written(value)) for value in values)}"] if values else []
    for search in searches:
        if default.option not in search.best:
            continue
        best = as_written(search.best[default.option])
        is_default = best == default.on.get(search.dataset, default.value)
        found.append(
            f"on {escape(search.dataset)} best {code(best)} of {len(search.trials)} trials, "
            f"{'the default' if is_default else 'not the default'}"
        )
    return found

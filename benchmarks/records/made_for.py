"""The run ids that a paper target's recipe gave when its records were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.files import write_atomically

MADE_FOR_FILE = "made_for.json"


def read_made_for(results: Path) -> dict[str, dict[str, dict[str, list[str]]]]:
    """Target -> budget -> arm -> the run ids that the recipe gave when the records were made."""
    try:
        noted = json.loads((results / MADE_FOR_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return noted if _is_noted(noted, depth=3) else {}


def _is_noted(value: object, depth: int) -> bool:
    """Whether ``value`` is ``depth`` levels of dictionaries with lists of run ids in the last one."""
    if depth == 0:
        return isinstance(value, list) and all(isinstance(run_id, str) for run_id in value)
    return isinstance(value, dict) and all(_is_noted(entry, depth - 1) for entry in value.values())


def note_made_for(results: Path, more: Mapping[str, Mapping[str, Mapping[str, list[str]]]]) -> None:
    """Add entries to those that :func:`read_made_for` reads. The new entry of an arm replaces an earlier one.

    Raises :class:`UserError` if the file cannot be written.
    """
    noted = read_made_for(results)
    for target, budgets in more.items():
        for budget, arms in budgets.items():
            noted.setdefault(target, {}).setdefault(budget, {}).update(arms)
    path = results / MADE_FOR_FILE
    try:
        write_atomically(path, (json.dumps(noted, indent=2, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None

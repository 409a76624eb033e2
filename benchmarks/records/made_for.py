"""Which runs a paper target's recipe gave when its records were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from benchmarks.files import write_atomically

MADE_FOR_FILE = "made_for.json"


def read_made_for(results: Path) -> dict[str, dict[str, dict[str, list[str]]]]:
    """Target -> budget -> arm -> the run ids that its recipe gave when its records were made."""
    try:
        noted = json.loads((results / MADE_FOR_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def note_made_for(results: Path, more: Mapping[str, Mapping[str, Mapping[str, list[str]]]]) -> None:
    """Add to what :func:`read_made_for` reads; an arm noted before is noted anew."""
    noted = read_made_for(results)
    for target, budgets in more.items():
        for budget, arms in budgets.items():
            noted.setdefault(target, {}).setdefault(budget, {}).update(arms)
    write_atomically(results / MADE_FOR_FILE, (json.dumps(noted, indent=2, sort_keys=True) + "\n").encode())

"""Results of searches for a variant's options: one JSON file per variant and data set, below ``results/tuning``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmarks.files import write_atomically

# Sub-folder of a results folder, for the results of searches. It is also the results folder of their trials' records.
TUNING = "tuning"


@dataclass(frozen=True)
class Trial:
    """One run of a search.

    ``options``: the options that were tried. ``score``: the score after the last epoch; None if the run failed or has
    no score.
    """

    options: dict[str, Any]
    score: float | None
    run_id: str


@dataclass(frozen=True)
class Search:
    """A search: what was searched, with which profile, and the result.

    ``criterion``: the score of an epoch on validation data that decides, higher is better. ``space``: option -> values
    that could be tried. ``default``: the default values of the variant. ``best``: the values with the highest score.
    ``overrides``: the user's overrides for all trials.
    """

    variant: str
    dataset: str
    profile: str
    criterion: str
    space: dict[str, list[Any]]
    default: dict[str, Any]
    trials: list[Trial]
    best: dict[str, Any]
    finished: str
    commit: str
    overrides: list[str] = field(default_factory=list)

    def score(self, options: dict[str, Any]) -> float | None:
        """The score of the trial with these options; None if there is none."""
        return next((trial.score for trial in self.trials if trial.options == options), None)


def write_search(results: Path, search: Search) -> Path:
    """Write a search below ``results``, in place of an earlier one, and return the path of its file."""
    path = results / TUNING / f"{search.dataset}-{search.variant}.json"
    write_atomically(path, (json.dumps(asdict(search), indent=2) + "\n").encode())
    return path


def read_searches(results: Path) -> tuple[list[Search], list[str]]:
    """The searches below ``results`` in the order of file names, and a message for each unusable file."""
    found: list[Search] = []
    messages: list[str] = []
    for path in _files(results):
        try:
            found.append(_search(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            messages.append(f"left out: {path}: {type(error).__name__}: {' '.join(str(error).split())[:100]}")
    return found, messages


def _files(results: Path) -> Iterator[Path]:
    yield from sorted(path for path in (results / TUNING).glob("*.json") if path.is_file() and not path.is_symlink())


def _search(data: dict[str, Any]) -> Search:
    data = {"overrides": [], **data}  # earlier files have no overrides
    if data.keys() != {field.name for field in fields(Search)}:
        raise ValueError(f"its fields are not those of a search: {', '.join(sorted(data))}")
    for name in ("variant", "dataset", "profile", "criterion", "finished", "commit"):
        if not isinstance(data[name], str):
            raise TypeError(f"{name} must be text")
    if not isinstance(data["overrides"], list) or not all(isinstance(one, str) for one in data["overrides"]):
        raise TypeError("overrides must be a list of texts")
    trials = [Trial(dict(one["options"]), _number(one["score"]), str(one["run_id"])) for one in data["trials"]]
    space = {str(name): list(values) for name, values in data["space"].items()}
    return Search(**data | {"trials": trials, "space": space, "default": dict(data["default"]),
                            "best": dict(data["best"])})  # fmt: skip


def _number(value: Any) -> float | None:
    return None if value is None else float(value)

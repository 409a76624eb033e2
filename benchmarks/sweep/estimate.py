"""Estimates how long runs take, from the records of similar runs."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.config import Config
from benchmarks.records.record import Record


@dataclass(frozen=True)
class Expected:
    """Expected seconds of a run: ``train`` for training, ``rest`` for everything else. Each is the median over
    ``records`` records."""

    train: float
    rest: float
    records: int = 1

    @property
    def total(self) -> float:
        return self.train + self.rest


class Estimates:
    """Estimates the times of runs from the most similar of ``records``, scaled to the budget of the run.

    All records are of the same data set and have a budget in the same unit. The first of these groups that is not empty
    is used: the same variant and profile, other variants with the same profile, the same variant with another profile,
    all others. ``device`` is the name of the device that will be used. If it has records of the data set, those of
    other devices are ignored.
    """

    def __init__(self, records: Iterable[Record], device: str | None = None) -> None:
        self._device = device
        # Records grouped by their common properties, so that a sweep does not search all records for every run.
        self._groups: dict[Shared, list[Record]] = defaultdict(list)
        self._known: dict[tuple[Any, ...], Expected | None] = {}
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Add a record. Records that are not "ok" or have no times are ignored."""
        if not _timed(record):
            return
        unit = "steps" if "steps" in record.config.get("training", {}) else "epochs"
        devices = [_ANY, *([self._device] if record.environment.get("device") == self._device else [])]
        for device in devices:
            for kind in _kinds(record.variant, record.profile):
                self._groups[device, record.dataset, unit, kind].append(record)
        self._known.clear()

    def of(self, config: Config) -> Expected | None:
        """The estimate for a run; None if there is no record of its data set with the same unit of the budget."""
        # Budgets in steps and in epochs cannot be compared.
        length, unit = config.training.length
        here = (config.dataset.name, unit)
        run = (*here, config.variant_name, config.profile, length, config.evaluation.importance_samples)
        if run not in self._known:
            device = self._device if (self._device, *here, ()) in self._groups else _ANY
            similar = [(device, *here, kind) for kind in _kinds(config.variant_name, config.profile)]
            self._known[run] = next(
                (_median(config, self._groups[one]) for one in similar if one in self._groups), None
            )
        return self._known[run]


# The name of a device (or _ANY), a data set, the unit of the budget, and further common properties of records.
Shared = tuple[str | None, str, str, tuple[tuple[str, str], ...]]
_ANY = "any device"


def _kinds(variant: str, profile: str) -> list[tuple[tuple[str, str], ...]]:
    """The properties that similar records share with a run, in order of decreasing similarity."""
    of_variant, of_profile = ("variant", variant), ("profile", profile)
    return [(of_variant, of_profile), (of_profile,), (of_variant,), ()]


def _median(config: Config, records: Sequence[Record]) -> Expected:
    train, rest = zip(*(_scaled(config, record) for record in records), strict=True)
    return Expected(statistics.median(train), statistics.median(rest), len(records))


def _timed(record: Record) -> bool:
    return record.status == "ok" and record.timing.keys() >= {"total_seconds", "train_seconds"}


def _scaled(config: Config, record: Record) -> tuple[float, float]:
    """Seconds of training, scaled to the budget of ``config``, and of the rest, scaled to its importance samples. Both
    times in a record include training before an interruption, so the rest is their difference."""
    length, unit = config.training.length
    longer = length / record.config.get("training", {}).get(unit, length)
    measured = record.importance_samples
    samples = config.evaluation.importance_samples / measured if measured else 1.0
    train = record.timing["train_seconds"]
    rest = max(0.0, record.timing["total_seconds"] - train)
    return train * longer, rest * samples

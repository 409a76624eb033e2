"""How long runs take, by the records of similar ones."""

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
    """Seconds of a whole run: ``train``, and ``rest`` for everything else. ``records``: of how many this is the
    median."""

    train: float
    rest: float
    records: int = 1

    @property
    def total(self) -> float:
        return self.train + self.rest


class Estimates:
    """The time to expect of runs, had the most similar of ``records`` trained for as long.

    Similar are, in this order, records of the same variant under the same profile, of other variants under the same
    profile, of the same variant under another profile, and of anything else on the same data set. ``device`` is the
    name of the one that will be used: where it has any records of the data set, those of other devices do not count.
    """

    def __init__(self, records: Iterable[Record], device: str | None = None) -> None:
        self._device = device
        # What records share -> those that share it, so that a sweep does not read all of them for every run.
        self._groups: dict[Shared, list[Record]] = defaultdict(list)
        self._known: dict[tuple[Any, ...], Expected | None] = {}
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """One more record."""
        if not _timed(record):
            return
        unit = "steps" if "steps" in record.config.get("training", {}) else "epochs"
        devices = [_ANY, *([self._device] if record.environment.get("device") == self._device else [])]
        for device in devices:
            for kind in _kinds(record.variant, record.profile):
                self._groups[device, record.dataset, unit, kind].append(record)
        self._known.clear()

    def of(self, config: Config) -> Expected | None:
        """For one run; None where no record is of its data set."""
        # Steps and epochs do not compare.
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


# A device's name (or any), a data set, the unit of the budget, and what else records have in common.
Shared = tuple[str | None, str, str, tuple[tuple[str, str], ...]]
_ANY = "any device"


def _kinds(variant: str, profile: str) -> list[tuple[tuple[str, str], ...]]:
    """What records have in common with a run, the most similar ones first."""
    of_variant, of_profile = ("variant", variant), ("profile", profile)
    return [(of_variant, of_profile), (of_profile,), (of_variant,), ()]


def _median(config: Config, records: Sequence[Record]) -> Expected:
    train, rest = zip(*(_scaled(config, record) for record in records), strict=True)
    return Expected(statistics.median(train), statistics.median(rest), len(records))


def _timed(record: Record) -> bool:
    return record.status == "ok" and record.timing.keys() >= {"total_seconds", "train_seconds"}


def _scaled(config: Config, record: Record) -> tuple[float, float]:
    """Seconds of training and of the rest, had the record's run had as long a budget and as many importance samples. A
    run that went on after an interruption has its earlier training in both of its times."""
    length, unit = config.training.length
    longer = length / record.config.get("training", {}).get(unit, length)
    samples = config.evaluation.importance_samples / max(1, record.importance_samples)
    train = record.timing["train_seconds"]
    rest = max(0.0, record.timing["total_seconds"] - train)
    return train * longer, rest * (1.0 if record.profile == config.profile else samples)

"""How long runs take, by the records of similar ones."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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


def expected(config: Config, records: Sequence[Record], device: str | None = None) -> Expected | None:
    """The time to expect of a run, had the most similar records trained for as long; None where no record is of
    its data set.

    Similar are, in this order, records of the same variant under the same profile, of other variants under the same
    profile, of the same variant under another profile, and of anything else on the same data set. ``device`` is the
    name of the one that will be used: where it has any records of the data set, those of other devices do not count.
    """
    usable = [record for record in records if record.dataset == config.dataset.name and _timed(record)]
    # Steps and epochs do not compare.
    _, unit = config.training.length
    usable = [record for record in usable if ("steps" in record.config.get("training", {})) == (unit == "steps")]
    usable = [record for record in usable if record.environment.get("device") == device] or usable
    for similar in SIMILAR:
        found = [_scaled(config, record) for record in usable if similar(config, record)]
        if found:
            train, rest = (statistics.median(part) for part in zip(*found, strict=True))
            return Expected(train, rest, len(found))
    return None


SIMILAR: tuple[Callable[[Config, Record], bool], ...] = (
    lambda config, record: (record.variant, record.profile) == (config.variant_name, config.profile),
    lambda config, record: record.profile == config.profile,
    lambda config, record: record.variant == config.variant_name,
    lambda config, record: True,
)


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

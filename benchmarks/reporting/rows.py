"""From records to the rows of a board: one row per variant and setting, statistics over its seeds."""

from __future__ import annotations

import functools
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from benchmarks.records.judged import of_one_judge
from benchmarks.records.record import Record, configuration_hash


class _Remembers(Protocol):
    @property
    def remembered(self) -> dict[Any, Any]: ...


_Owner = TypeVar("_Owner", bound=_Remembers)
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def once(
    compute: Callable[Concatenate[_Owner, _Arguments], _Result],
) -> Callable[Concatenate[_Owner, _Arguments], _Result]:
    """Compute a function of a row or section once for the same (hashable) arguments. What it returns is shared: callers
    do not change it."""

    @functools.wraps(compute)
    def remembering(owner: _Owner, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        key = (compute, args)
        if key not in owner.remembered:
            owner.remembered[key] = compute(owner, *args, **kwargs)
        result: _Result = owner.remembered[key]
        return result

    return remembering


@dataclass(frozen=True, eq=False)
class Row:
    """Records of one variant under one setting, one per seed, in the order of seeds. Only those that ended well."""

    variant: str
    overrides: tuple[str, ...]
    records: tuple[Record, ...]
    remembered: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    @once
    def label(self) -> str:
        """The variant's name, and what was set otherwise than by default."""
        own = [o for o in self.overrides if o.startswith(("variant.", "network"))]
        return self.variant + (f" ({', '.join(own)})" if own else "")

    @property
    def first(self) -> Record:
        """The record whose pictures are shown: the one with the lowest seed."""
        return self.records[0]

    @once
    def values(self, metric: str) -> list[float] | None:
        """The metric of every seed; None where a seed lacks it, for a mean over those that happen to be there would be
        another number."""
        found = [record.metrics.get(metric) for record in self.records]
        return None if any(value is None for value in found) else [float(value) for value in found if value is not None]

    def timing(self, name: str) -> list[float] | None:
        """As :meth:`values`, for a field of ``timing``."""
        found = [record.timing.get(name) for record in self.records]
        return None if any(value is None for value in found) else [float(value) for value in found if value is not None]

    @once
    def by_seed(self, metric: str) -> dict[int, float]:
        """Seed -> value, for the seeds that have one."""
        return {record.seed: float(record.metrics[metric]) for record in self.records if metric in record.metrics}

    def warnings(self, metric: str) -> list[str]:
        """What the evaluation warned of concerning this metric: each warning begins with the metric's name."""
        return sorted({w for record in self.records for w in record.warnings if w.startswith(f"{metric} ")})

    @once
    def mean(self, metric: str) -> float | None:
        values = self.values(metric)
        return None if values is None else statistics.fmean(values)

    def reason(self, metric: str) -> str:
        """Why the row has no such number."""
        reasons = sorted({r.not_applicable[metric] for r in self.records if metric in r.not_applicable})
        return "; ".join(reasons) if reasons else "not measured"


@dataclass(frozen=True, eq=False)
class Section:
    """Rows that may share a table: one data set, one profile, one protocol, one budget."""

    dataset: str
    profile: str
    rows: tuple[Row, ...]
    failed: tuple[Record, ...]
    remembered: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    @once
    def records(self) -> list[Record]:
        return [record for row in self.rows for record in row.records]

    @property
    def any_record(self) -> Record:
        return (self.records or list(self.failed))[0]


def sections(records: Iterable[Record]) -> list[Section]:
    """Group records; the order depends on their content alone. The largest section of a data set comes first."""
    groups: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda r: (r.dataset, r.profile, r.variant, r.seed, r.run_id)):
        groups[(record.dataset, record.profile, protocol_hash(record))].append(record)
    made = [_section(key, of_one_judge(group)) for key, group in groups.items()]
    return sorted(made, key=lambda s: (s.dataset, -len(s.rows), s.profile, protocol_hash(s.any_record)))


def protocol_hash(record: Record) -> str:
    """What two records must share to stand in one table."""
    shared: dict[str, Any] = {
        part: record.config.get(part) for part in ("dataset", "training", "evaluation", "profile")
    }
    return configuration_hash(shared | {"data": data_title(record)})


def data_title(record: Record) -> str:
    """What the images were, in words: a sample of a data set says so, and shares no table with the whole."""
    return str(record.details.get("data_title") or record.config.get("dataset", {}).get("title") or record.dataset)


def _section(key: tuple[str, str, str], records: list[Record]) -> Section:
    rows: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.status == "ok":
            setting = {part: record.config.get(part) for part in ("variant", "network")}
            rows[json.dumps([record.variant, setting], sort_keys=True)].append(record)
    made = [
        Row(group[0].variant, tuple(group[0].details.get("overrides", ())), tuple(sorted(group, key=lambda r: r.seed)))
        for group in rows.values()
    ]
    made.sort(key=lambda row: (row.label, row.first.run_id))
    return Section(key[0], key[1], tuple(made), tuple(r for r in records if r.status != "ok"))

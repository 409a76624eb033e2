"""From records to the rows of a board: one row per variant and setting, statistics over its seeds."""

from __future__ import annotations

import functools
import json
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from benchmarks.records.catalogue import CATALOGUE
from benchmarks.records.identity import configuration_hash, identity
from benchmarks.records.judged import of_one_judge
from benchmarks.records.load import was_busy
from benchmarks.records.record import OWN_CODE, UNKNOWN_DATA, Record

# dataset.condition -> what a conditional model is given, in words.
CONDITIONS = {
    "label": "the class",
    "quadrants-1": "the bottom left quadrant",
    "quadrants-2": "the left half",
    "quadrants-3": "all but the bottom right quadrant",
}
# Of the variants that have records from before a record named its variant's family.
EARLIER_FAMILIES = {
    "vae": "bounds", "iwae": "bounds", "iaf_vae": "posteriors and priors", "vq_vae": "discrete",
    "gumbel_vae": "discrete", "joint_vae": "disentangling", "beta_vae": "disentangling", "dip_vae": "disentangling",
    "info_vae": "disentangling", "dfc_vae": "reconstruction losses", "logcosh_vae": "reconstruction losses",
    "wae_mmd": "autoencoders",
}  # fmt: skip


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
    """Records of one variant under one setting, one per seed, in the order of seeds. Only those that ended well.
    ``code``: which code of a user's own variant it was, where the section has rows of several; else ""."""

    variant: str
    overrides: tuple[str, ...]
    records: tuple[Record, ...]
    code: str = ""
    remembered: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    @once
    def label(self) -> str:
        """The variant's name, what was set otherwise than by default, and the code."""
        own = [o for o in self.overrides if o.startswith(("variant.", "network"))]
        own += [self.code] if self.code else []
        return self.variant + (f" ({', '.join(own)})" if own else "")

    @property
    def family(self) -> str:
        """The family of variants that it belongs to."""
        return str(self.first.details.get("family") or EARLIER_FAMILIES.get(self.variant, "other"))

    @property
    @once
    def is_busy(self) -> bool:
        """Whether its times are those of a busy machine."""
        return was_busy(self.fastest)

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

    @property
    @once
    def fastest(self) -> Record:
        """The record that trained fastest. The times of a row are its: those of the others are longer only because
        their machines did other work."""
        return min(self.records, key=lambda record: record.timing.get("train_seconds", math.inf))

    def timing(self, name: str) -> float | None:
        """A field of ``timing`` of the run that trained fastest."""
        return self.fastest.timing.get(name)

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
        reasons = sorted({undetailed(r.not_applicable[metric]) for r in self.records if metric in r.not_applicable})
        return "; ".join(reasons) if reasons else "not measured"


@dataclass(frozen=True, eq=False)
class Section:
    """Rows that may share a table: one data set, one profile, one protocol, one budget. ``data``: the SHA-256 of the
    images, where there are sections of other images that are the same in all else; else ""."""

    dataset: str
    profile: str
    rows: tuple[Row, ...]
    failed: tuple[Record, ...]
    data: str = ""
    remembered: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    @once
    def records(self) -> list[Record]:
        return [record for row in self.rows for record in row.records]

    @property
    def any_record(self) -> Record:
        return (self.records or list(self.failed))[0]

    @property
    def condition(self) -> str:
        """``dataset.condition`` of all rows."""
        return str(self.any_record.config.get("dataset", {}).get("condition", "none"))

    @property
    def given(self) -> str:
        """What its models are given beside the image or of it, in words; "" for unconditional models."""
        return "" if self.condition == "none" else CONDITIONS.get(self.condition, self.condition)

    @property
    def title(self) -> str:
        """The data and the profile, and what is given."""
        known = f", given {self.given}" if self.given else ""
        return f"{data_title(self.any_record)}, {self.profile}{known}"

    def label(self, metric: str) -> str:
        """What a metric is called here: conditional models have log p(x|condition), which is not log p(x)."""
        text = CATALOGUE[metric].label
        return text.replace("log p(x)", "log p(x|condition)") if self.given else text


def sections(records: Iterable[Record]) -> list[Section]:
    """Group records; the order depends on their content alone. The section of a data set's largest budget comes first,
    those of conditional models last."""
    groups: dict[tuple[str, str, str], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in sorted(records, key=lambda r: (r.dataset, r.profile, r.variant, r.seed, r.run_id)):
        groups[(record.dataset, record.profile, _setting_hash(record))][_data(record)].append(record)
    made = []
    for (dataset, profile, _), by_data in groups.items():
        _house_failures(by_data)
        for data, group in by_data.items():
            made.append(_section(dataset, profile, of_one_judge(group), data if len(by_data) > 1 else ""))

    def place(section: Section) -> tuple[Any, ...]:
        known = (bool(section.given), section.condition)
        # The larger budget first: that is the board to quote.
        epochs = section.any_record.config.get("training", {}).get("epochs")
        budget = -epochs if isinstance(epochs, int | float) else 0
        return (section.dataset, *known, budget, -len(section.rows), section.profile, protocol_hash(section.any_record))

    return sorted(made, key=place)


def protocol_hash(record: Record) -> str:
    """What two records must share to stand in one table, their data among it."""
    return configuration_hash({"setting": _setting_hash(record), "data": _data(record)})


def _setting_hash(record: Record) -> str:
    config = identity(record.config)
    return configuration_hash({part: config.get(part) for part in ("dataset", "training", "evaluation", "profile")})


def _data(record: Record) -> str:
    """The digest of the images: a run id stays the same when a user's images become others. A record without one has
    the title, which tells a sample of a data set from the whole."""
    return f"unknown: {data_title(record)}" if record.data_sha256 == UNKNOWN_DATA else record.data_sha256


def _house_failures(by_data: dict[str, list[Record]]) -> None:
    """Move failures that came before any data were loaded to the largest group of the same setting."""
    known = [data for data, group in by_data.items() if group[0].data_sha256 != UNKNOWN_DATA]
    if not known:
        return
    home = max(known, key=lambda data: (len(by_data[data]), data))
    for data in set(by_data) - set(known):
        by_data[home] += [record for record in by_data[data] if record.status != "ok"]
        by_data[data] = [record for record in by_data[data] if record.status == "ok"]
        if not by_data[data]:
            del by_data[data]


def _code(record: Record) -> str:
    """Which code a user's own variant had: neither its run id nor the suite's commit changes when its file is edited.
    That of a variant of the suite, and of earlier records, is not told."""
    digest = record.details.get(OWN_CODE)
    return f"code {digest:.8}" if digest else "code unknown"


def undetailed(text: str) -> str:
    """What earlier records say of a download that failed, without its address and Python's error."""
    text = re.sub(r" from https?://\S+ \(.*\)$", "", text)
    return re.sub(
        r"^weights unavailable: .* and https?://\S+ could not be downloaded \(.*\)$",
        "Inception's weights could not be downloaded", text,
    )  # fmt: skip


def data_title(record: Record) -> str:
    """What the images were, in words: a sample of a data set says so, and shares no table with the whole."""
    return str(record.details.get("data_title") or record.config.get("dataset", {}).get("title") or record.dataset)


def shows_originals(section: Section) -> bool:
    """Whether pictures of the section show images of the data set itself."""
    return bool(section.any_record.config.get("dataset", {}).get("show_originals", True))


def _section(dataset: str, profile: str, records: list[Record], data: str) -> Section:
    rows: dict[str, dict[str, dict[int, Record]]] = defaultdict(lambda: defaultdict(dict))
    # One record a seed, the latest: before titles and paths were left out of run ids, one run could have several.
    for record in sorted(records, key=lambda r: (r.variant, r.seed, r.finished, r.run_id)):
        if record.status == "ok":
            setting = {part: record.config.get(part) for part in ("variant", "network")}
            rows[json.dumps([record.variant, setting], sort_keys=True)][_code(record)][record.seed] = record
    made = [
        Row(group[0].variant, tuple(group[0].details.get("overrides", ())), tuple(group), code * (len(by_code) > 1))
        for by_code in rows.values()
        for code, group in ((code, list(by_seed.values())) for code, by_seed in by_code.items())
    ]
    made.sort(key=lambda row: (row.label, row.first.run_id))
    return Section(dataset, profile, tuple(made), tuple(r for r in records if r.status != "ok"), data)

"""Group records into the rows and sections of boards; a row has one variant and setting, and one record per seed."""

from __future__ import annotations

import functools
import json
import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from benchmarks.records.catalogue import CATALOGUE
from benchmarks.records.identity import configuration_hash, identity
from benchmarks.records.judged import of_one_judge
from benchmarks.records.load import was_busy
from benchmarks.records.numbers import standard_error
from benchmarks.records.record import OWN_CODE, UNKNOWN_DATA, Record

# dataset.condition -> the condition of a conditional model in words.
CONDITIONS = {
    "label": "the class",
    "quadrants-1": "the bottom left quadrant",
    "quadrants-2": "the left half",
    "quadrants-3": "all but the bottom right quadrant",
}
# Families of variants for early records, which do not contain the family.
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
    """Cache the results of a function of a row or section, for hashable arguments.

    Results are shared, so callers must not modify them.
    """

    @functools.wraps(compute)
    def remembering(owner: _Owner, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        key = (compute, args)
        if key not in owner.remembered:
            owner.remembered[key] = compute(owner, *args, **kwargs)
        result: _Result = owner.remembered[key]
        return result

    return remembering


def device_of(record: Record) -> str:
    """The device that a record was made on."""
    return str(record.environment.get("device") or "an unknown device")


def most_frequent(names: Iterable[str]) -> list[str]:
    """The different names, the most frequent first; equally frequent ones in alphabetical order."""
    counts = Counter(names)
    return sorted(counts, key=lambda name: (-counts[name], name))


@dataclass(frozen=True, eq=False)
class Row:
    """The successful records of one variant under one setting, one per seed, in the order of seeds.

    ``apart`` is what else distinguishes the row from others of the section whose overrides are the same: options that
    came from a file, or the version of the code of a user's own variant.
    """

    variant: str
    overrides: tuple[str, ...]
    records: tuple[Record, ...]
    apart: tuple[str, ...] = ()
    remembered: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    @once
    def label(self) -> str:
        """The variant's name, the overrides of variant and network, and what else tells the row apart; unique within a
        section."""
        given = [override.lstrip("+") for override in self.overrides]
        own = [*(override for override in given if override.startswith(("variant.", "network"))), *self.apart]
        return self.variant + (f" ({', '.join(own)})" if own else "")

    @property
    def family(self) -> str:
        """The family of the row's variant."""
        return str(self.first.details.get("family") or EARLIER_FAMILIES.get(self.variant, "other"))

    @property
    @once
    def is_busy(self) -> bool:
        """Whether the row's times were measured on a busy machine."""
        return was_busy(self.fastest)

    @property
    def first(self) -> Record:
        """The record whose pictures are shown: the one with the lowest seed."""
        return self.records[0]

    @once
    def values(self, metric: str) -> list[float] | None:
        """The values of the metric, one per seed; None if any seed lacks it.

        A mean over the remaining seeds would be a different number.
        """
        found = [record.metrics.get(metric) for record in self.records]
        return None if any(value is None for value in found) else [float(value) for value in found if value is not None]

    @property
    @once
    def fastest(self) -> Record:
        """The record with the shortest training time on the row's most frequent device, whose times are shown.

        All records have the same setting. The others of this device took longer only because their machines did other
        work.
        """
        usual = most_frequent(map(device_of, self.records))[0]
        found = [record for record in self.records if device_of(record) == usual]
        return min(found, key=lambda record: record.timing.get("train_seconds", math.inf))

    def timing(self, name: str) -> float | None:
        """A field of ``timing`` of the fastest record; None if the record does not have it."""
        return self.fastest.timing.get(name)

    @once
    def standard_error(self, metric: str) -> float | None:
        """The mean over seeds of the standard error of one seed's number; None if any seed has none."""
        errors = [standard_error(record, metric) for record in self.records]
        known = [error for error in errors if error is not None]
        return statistics.fmean(known) if len(known) == len(errors) else None

    @once
    def by_seed(self, metric: str) -> dict[int, float]:
        """Seed -> value, for the seeds that have the metric."""
        return {record.seed: float(record.metrics[metric]) for record in self.records if metric in record.metrics}

    def warnings(self, metric: str) -> list[str]:
        """The warnings of the evaluation about this metric; each warning begins with the name of its metric."""
        return sorted({w for record in self.records for w in record.warnings if w.startswith(f"{metric} ")})

    @once
    def mean(self, metric: str) -> float | None:
        values = self.values(metric)
        return None if values is None else statistics.fmean(values)

    def reason(self, metric: str) -> str:
        """The reason why the row has no value of the metric, and in how many of its seeds if some have one."""
        without = [record for record in self.records if metric not in record.metrics]
        reasons = sorted({undetailed(r.not_applicable[metric]) for r in without if metric in r.not_applicable})
        seeds = f", in {len(without)} of {len(self.records)} seeds" if len(without) < len(self.records) else ""
        return f"{'; '.join(reasons) or 'not measured'}{seeds}"


@dataclass(frozen=True, eq=False)
class Section:
    """Rows that may share a table: they have the same data set, profile, protocol and budget.

    ``data`` is the SHA-256 of the images if other sections differ from this one only in their images; else "".
    """

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
        """The condition of the section's models in words; "" for unconditional models."""
        return "" if self.condition == "none" else CONDITIONS.get(self.condition, self.condition)

    @property
    def title(self) -> str:
        """The data, the profile, and the condition of conditional models."""
        known = f", given {self.given}" if self.given else ""
        return f"{data_title(self.any_record)}, {self.profile}{known}"

    def label(self, metric: str) -> str:
        """The label of a metric in this section: conditional models have log p(x|condition) instead of log p(x)."""
        text = CATALOGUE[metric].label
        return text.replace("log p(x)", "log p(x|condition)") if self.given else text


def sections(records: Iterable[Record]) -> list[Section]:
    """Group records into sections, in an order that depends only on their content.

    The sections of a data set are sorted by budget, the largest first; those of conditional models come last.
    """
    groups: dict[tuple[str, str, str], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in sorted(records, key=lambda r: (r.dataset, r.profile, r.variant, r.seed, r.run_id)):
        groups[(record.dataset, record.profile, setting_hash(record))][_data(record)].append(record)
    made = []
    for (dataset, profile, _), by_data in groups.items():
        _house_failures(by_data)
        for data, group in by_data.items():
            made.append(_section(dataset, profile, of_one_judge(group), data if len(by_data) > 1 else ""))

    def place(section: Section) -> tuple[Any, ...]:
        known = (bool(section.given), section.condition)
        # The largest budget comes first, because its results are the ones to quote.
        epochs = section.any_record.config.get("training", {}).get("epochs")
        budget = -epochs if isinstance(epochs, int | float) else 0
        return (section.dataset, *known, budget, -len(section.rows), section.profile, protocol_hash(section.any_record))

    return sorted(made, key=place)


def protocol_hash(record: Record) -> str:
    """A hash of what two records must have in common to share a table, including their data."""
    return configuration_hash({"setting": setting_hash(record), "data": _data(record)})


def setting_hash(record: Record) -> str:
    """A hash of the options that two records must have in common to share a table: all but those of the model."""
    config = identity(record.config)
    return configuration_hash({part: config.get(part) for part in ("dataset", "training", "evaluation", "profile")})


def _data(record: Record) -> str:
    """The digest of a record's images; run ids do not contain it, so they do not change when a user's images do.

    For a record without a digest, the title of the data, which distinguishes a subset from the whole data set.
    """
    return f"unknown: {data_title(record)}" if record.data_sha256 == UNKNOWN_DATA else record.data_sha256


def _house_failures(by_data: dict[str, list[Record]]) -> None:
    """Move runs that failed before their data were loaded to the largest group of records with the same setting."""
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
    """Identify the code of a user's own variant, because editing its file changes neither run id nor commit.

    The code is unknown for the suite's own variants and for earlier records.
    """
    digest = record.details.get(OWN_CODE)
    return f"code {digest:.8}" if digest else "code unknown"


def undetailed(text: str) -> str:
    """Remove the address and the Python error from messages of earlier records about failed downloads; reasons that
    they word differently become the current ones."""
    text = text.replace("discrete latent: see code", "discrete latent variables: see code")
    text = text.replace("VAE_INCEPTION_WEIGHTS names a local file", "set VAE_INCEPTION_WEIGHTS to a local file")
    text = text.replace("the data set's own classifier", "a second classifier of this data set")
    text = re.sub(r" from https?://\S+ \(.*\)$", "", text)
    return re.sub(
        r"^weights unavailable: .* and https?://\S+ could not be downloaded \(.*\)$",
        "Inception's weights could not be downloaded", text,
    )  # fmt: skip


def data_title(record: Record) -> str:
    """The title of a record's images; a subset of a data set has its own title, and does not share tables with it."""
    return str(record.details.get("data_title") or record.config.get("dataset", {}).get("title") or record.dataset)


def shows_originals(section: Section) -> bool:
    """Whether pictures of the section may show images of the data set."""
    return bool(section.any_record.config.get("dataset", {}).get("show_originals", True))


def _told_apart(rows: Sequence[Row]) -> list[Row]:
    """The rows, those with equal labels with the options of variant and network in which they differ."""
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_label[row.label].append(row)
    found = []
    for equal in by_label.values():
        if len(equal) == 1:
            found += equal
            continue
        options = [_model_options(row.first) for row in equal]
        differing = sorted(
            name for name in set().union(*options) if len({one.get(name, "default") for one in options}) > 1
        )
        for row, values in zip(equal, options, strict=True):
            apart = tuple(f"{name}={values.get(name, 'default')}" for name in differing)
            found.append(replace(row, apart=(*apart, *row.apart), remembered={}))
    return found


def _model_options(record: Record) -> dict[str, str]:
    """The options of variant and network in words: ``variant.beta`` -> "4.0"."""
    parts = {name: record.config.get(name) for name in ("variant", "network")}
    return {
        f"{part}.{option}": json.dumps(value)
        for part, options in parts.items()
        if isinstance(options, dict)
        for option, value in options.items()
    }


def _section(dataset: str, profile: str, records: list[Record], data: str) -> Section:
    rows: dict[str, dict[str, dict[int, Record]]] = defaultdict(lambda: defaultdict(dict))
    # Only the latest record of each seed is kept. Earlier run ids contained titles and paths, so that one run could
    # have several records.
    for record in sorted(records, key=lambda r: (r.variant, r.seed, r.finished, r.run_id)):
        if record.status == "ok":
            setting = {part: record.config.get(part) for part in ("variant", "network")}
            rows[json.dumps([record.variant, setting], sort_keys=True)][_code(record)][record.seed] = record
    made = [
        Row(
            group[0].variant,
            tuple(group[0].details.get("overrides", ())),
            tuple(group),
            (code,) if len(by_code) > 1 else (),
        )
        for by_code in rows.values()
        for code, group in ((code, list(by_seed.values())) for code, by_seed in by_code.items())
    ]
    made = _told_apart(made)
    made.sort(key=lambda row: (row.label, row.first.run_id))
    return Section(dataset, profile, tuple(made), tuple(r for r in records if r.status != "ok"), data)

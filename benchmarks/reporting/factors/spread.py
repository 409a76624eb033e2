"""The spread of scores over splits of one model, over seeds, over settings of one variant, and over variants."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.records.record import DISENTANGLEMENT, Record
from benchmarks.reporting.markdown import escape, table
from benchmarks.reporting.rows import Row, Section

EXPLANATION = (
    "How far each score spreads: standard deviations over the random splits of one model's images, over the seeds of "
    "one row, over the settings of one variant (of the means over seeds), and over variants (of the means over "
    "settings). Where seeds spread as far as variants do, a single run says little about an objective (Locatello et "
    "al. 2019)."
)


def facts(section: Section) -> str:
    """A sentence with the number of images and the factors of the scores, from the details of the records."""
    found = [d for record in section.records if isinstance(d := record.details.get(DISENTANGLEMENT), dict)]
    images = sorted({entry["images"] for entry in found if isinstance(entry.get("images"), int)})
    factors = {tuple(names) for entry in found if isinstance(names := entry.get("factors"), list)}
    named = "; ".join(sorted(", ".join(map(str, names)) for names in factors))
    if not images or not named:
        return ""
    counts = " or ".join(f"{count:,}" for count in images)
    return f"Each half of a split has {counts} images. Factors: {escape(named)}."


def spread_table(section: Section, metrics: Sequence[str]) -> str:
    """A table with the spreads of each score; "" if there is neither a second seed nor a second row."""
    lines = []
    for metric in metrics:
        found = [over_splits(section, metric), *over_runs(section, metric)]
        lines.append([escape(section.label(metric)), *("–" if one is None else f"{one:.3f}" for one in found)])
    if not any(entry != "–" for _, _, *rest in lines for entry in rest):
        return ""
    return table(["score", "splits", "seeds", "settings", "variants"], lines)


def over_splits(section: Section, metric: str) -> float | None:
    """The standard deviation over splits, as the root mean square over records; None if no record has one."""
    found = [value for record in section.records if (value := _splits(record).get(metric)) is not None]
    return None if not found else math.sqrt(statistics.fmean(value**2 for value in found))


def _splits(record: Record) -> Mapping[str, float]:
    details: Any = record.details.get(DISENTANGLEMENT)
    spread = details.get("spread") if isinstance(details, dict) else None
    known = spread if isinstance(spread, dict) else {}
    return {name: float(value) for name, value in known.items() if isinstance(value, int | float)}


def over_runs(section: Section, metric: str) -> tuple[float | None, float | None, float | None]:
    """Standard deviations over seeds within a row, over rows within a variant, and over variants.

    The first two are pooled. A standard deviation is None if there are not two values in any group.
    """
    of_variant: dict[str, list[float]] = defaultdict(list)
    seeds = []
    for row in section.rows:
        if values := row.values(metric):
            of_variant[row.variant].append(statistics.fmean(values))
            seeds.append(values)
    variants = [statistics.fmean(means) for means in of_variant.values()]
    return _pooled(seeds), _pooled(list(of_variant.values())), _pooled([variants])


def _pooled(groups: Sequence[Sequence[float]]) -> float | None:
    """The pooled standard deviation within groups; None if every group has fewer than two values."""
    freedom = sum(len(group) - 1 for group in groups if group)
    if not freedom:
        return None
    squares = sum((value - statistics.fmean(group)) ** 2 for group in groups for value in group)
    return math.sqrt(squares / freedom)


def swept(rows: Sequence[Row]) -> tuple[str, list[Row]] | None:
    """The only option in which the rows of a variant differ, and the rows sorted by its value.

    None if the rows differ in no option or in several, in their networks, or if the option is not numeric.
    """
    if any(row.first.config.get("network") != rows[0].first.config.get("network") for row in rows):
        return None
    options = [row.first.config.get("variant", {}) for row in rows]
    names = [name for name in options[0] if len({repr(one.get(name)) for one in options}) > 1]
    if len(rows) < 2 or len(names) != 1:
        return None
    values = [one.get(names[0]) for one in options]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    return names[0], [row for _, row in sorted(zip(values, rows, strict=True), key=lambda pair: pair[0])]

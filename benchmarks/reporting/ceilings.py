"""Numbers that are only bounds: an estimate at the most that it can give, and what is computed from one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

from benchmarks.records.catalogue import CATALOGUE
from benchmarks.records.record import Record
from benchmarks.reporting.markdown import escape
from benchmarks.reporting.rows import Row

# A value of at least this share of its ceiling says only that the true one is no smaller.
NEAR = 0.99
MARK = "‡"


def information_images(record: Record) -> int | None:
    """From how many test images a record's mutual information was estimated; None where it does not say."""
    noted = record.details.get("information_images")
    if noted is None:
        # Older records: as many as were asked for and as there were.
        asked = record.config.get("evaluation", {}).get("information_images")
        noted = min(asked, record.evaluated_images) if isinstance(asked, int) else None
    return noted if isinstance(noted, int) and noted > 0 else None


# Metric -> the number of images whose log is the most that its estimate can give.
_LOG_OF: dict[str, Callable[[Record], int | None]] = {"mutual_information": information_images}
# Metric -> the one that it is the rest of: where that one is a lower bound, this one is an upper bound.
_REST_OF = {"aggregate_kl": "mutual_information"}


def ceiling(record: Record, metric: str) -> float | None:
    """The largest value that the metric's estimate can take in this record; None where it has no such limit."""
    images = _LOG_OF[metric](record) if metric in _LOG_OF else None
    return None if images is None else math.log(images)


def is_bound(row: Row, metric: str) -> bool:
    """Whether the row's number is only a bound: a seed's value is within 1% of its ceiling, or the metric is the rest
    of one for which that holds."""
    metric = _REST_OF.get(metric, metric)
    limits = [(record.metrics.get(metric), ceiling(record, metric)) for record in row.records]
    return any(value is not None and limit is not None and value >= NEAR * limit for value, limit in limits)


def explain(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """Lines for below a table of ``metrics``: the ceilings of its columns, and what the marked numbers mean."""
    lines = []
    for metric in metrics:
        label = escape(CATALOGUE[metric].label)
        shown = [row for row in rows if row.mean(metric) is not None]
        marked = MARK if any(is_bound(row, metric) for row in shown) else ""
        if metric in _LOG_OF and (limits := _by_images(shown, metric)):
            text = f"The estimate of {label} cannot exceed log n, where n is the number of images: {limits}."
            if marked:
                text = f"{MARK} {text} A value within 1% of it is only a lower bound, so no best value is marked."
            lines.append(text)
        elif metric in _REST_OF and marked:
            rest = escape(CATALOGUE[_REST_OF[metric]].label)
            lines.append(
                f"{MARK} {label} is the mean KL(q(z\\|x) ‖ p(z)) minus {rest}. Where {rest} is only a lower bound, "
                "this is an upper bound, so no best value is marked."
            )
    return lines


def _by_images(rows: Sequence[Row], metric: str) -> str:
    """ "5.298 (n = 200)"; where rows differ in n, each ceiling with the names of its rows."""
    labels: dict[int, list[str]] = defaultdict(list)
    for row in rows:
        for images in sorted({n for record in row.records if (n := _LOG_OF[metric](record)) is not None}):
            labels[images].append(escape(row.label))
    several = len(labels) > 1
    return "; ".join(
        f"{math.log(n):.3f} (n = {n:,}{': ' + ', '.join(names) if several else ''})"
        for n, names in sorted(labels.items())
    )

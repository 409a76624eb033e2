"""Metrics whose values can be mere bounds: estimates that have reached their ceiling, and differences with these."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

from benchmarks.records.catalogue import CATALOGUE
from benchmarks.records.record import Record
from benchmarks.reporting.markdown import escape
from benchmarks.reporting.rows import Row

# A value of at least this share of its ceiling is only a lower bound on the true value.
NEAR = 0.99
MARK = "‡"


def information_images(record: Record) -> int | None:
    """The number of test images that a record's mutual information was estimated from; None if it is not known."""
    noted = record.details.get("information_images")
    if noted is None:
        # Older records do not store the number: it is the requested one, or all evaluated images if these are fewer.
        asked = record.config.get("evaluation", {}).get("information_images")
        noted = min(asked, record.evaluated_images) if isinstance(asked, int) else None
    return noted if isinstance(noted, int) and noted > 0 else None


# Metric -> the number of images n; the estimate of the metric cannot exceed log n.
_LOG_OF: dict[str, Callable[[Record], int | None]] = {"mutual_information": information_images}
# Metric -> the metric that is subtracted in it. If the subtracted metric is a lower bound, the difference is an upper
# bound.
_REST_OF = {"aggregate_kl": "mutual_information"}


def ceiling(record: Record, metric: str) -> float | None:
    """The largest value that the metric's estimate can take in this record; None if there is no such limit."""
    images = _LOG_OF[metric](record) if metric in _LOG_OF else None
    return None if images is None else math.log(images)


def is_bound(row: Row, metric: str) -> bool:
    """Whether the row's value of the metric is only a bound.

    This is the case if the value of at least one seed is within 1% of its ceiling, or if this holds for the metric that
    is subtracted in this one.
    """
    metric = _REST_OF.get(metric, metric)
    limits = [(record.metrics.get(metric), ceiling(record, metric)) for record in row.records]
    return any(value is not None and limit is not None and value >= NEAR * limit for value, limit in limits)


def explain(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """Lines to show below a table of ``metrics``: the ceilings of its columns, and what ``MARK`` means."""
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
    """The ceilings, such as "5.298 (n = 200)". If rows differ in n, each ceiling is followed by its rows' labels."""
    labels: dict[int, list[str]] = defaultdict(list)
    for row in rows:
        for images in sorted({n for record in row.records if (n := _LOG_OF[metric](record)) is not None}):
            labels[images].append(escape(row.label))
    several = len(labels) > 1
    return "; ".join(
        f"{math.log(n):.3f} (n = {n:,}{': ' + ', '.join(names) if several else ''})"
        for n, names in sorted(labels.items())
    )

"""Compare a board with an earlier results folder: better, worse, or within noise."""

from __future__ import annotations

import math
import statistics

from benchmarks.records.catalogue import CATALOGUE, groups
from benchmarks.records.judged import same_judge
from benchmarks.records.record import UNKNOWN_DATA
from benchmarks.records.significance import differ, testable
from benchmarks.reporting import board
from benchmarks.reporting.markdown import escape, table
from benchmarks.reporting.rows import Row, Section, setting_hash


def compared(section: Section, before: list[Section]) -> list[str]:
    """The blocks that compare a section with the sections ``before`` of another results folder.

    Rows with the same label and the same images are compared. Sections with the same protocol are preferred; if there
    are none, other settings may differ. Empty if no row can be compared.
    """
    found = [
        other
        for other in before
        if (other.dataset, other.profile, other.condition) == (section.dataset, section.profile, section.condition)
        and other.any_record.data_sha256 in (section.any_record.data_sha256, UNKNOWN_DATA)
    ]
    same = [other for other in found if setting_hash(other.any_record) == setting_hash(section.any_record)]
    earlier = {row.label: row for other in same or found for row in other.rows}
    by = board.sort_metric(section)
    rows = [row for row in board.sorted_rows(section, by) if row.label in earlier]
    if not rows:
        return []
    tables = []
    for group in groups():
        metrics = board.measured(section, board.headlines(section, group))
        header = ["variant", *(escape(section.label(metric)) for metric in metrics)]
        lines = [[board.row_link(row), *(change(row, earlier[row.label], m) for m in metrics)] for row in rows]
        if metrics or group is None:
            tables.append(table(header, lines, "left"))
    which = (
        "" if same else " Rows with the same name are compared although no section of the baseline has this protocol."
    )
    return [
        "### Against the baseline",
        "The current mean minus the mean of the baseline, over the common seeds if there are at least three, otherwise "
        "over all. *Better* and *worse* mark significant differences: by the paired test over common seeds if there "
        f"are at least three, otherwise if the difference exceeds twice its standard error over test images.{which}",
        *tables,
    ]


def change(now: Row, then: Row, metric: str) -> str:
    """The text of one cell of the comparison."""
    new, old = now.mean(metric), then.mean(metric)
    if new is None or old is None:
        return "–"
    entry = CATALOGUE[metric]
    if entry.judged and not same_judge(now.first, then.first):
        return "different classifier"
    a, b = now.by_seed(metric), then.by_seed(metric)
    paired = testable(a, b)
    difference = statistics.fmean(a[seed] - b[seed] for seed in a.keys() & b.keys()) if paired else new - old
    text = f"{difference:+.{entry.decimals}f}"
    if difference == 0:
        return "same"
    if paired:
        real = differ(a, b)
    else:
        errors = [error for row in (now, then) if (error := row.standard_error(metric)) is not None]
        error = math.hypot(*errors) if len(errors) == 2 else None
        if error is None:
            return f"{text} (too few seeds to tell)"
        real = abs(difference) > 2 * error
    if not real:
        return f"{text} (within noise)"
    if entry.better is None:
        return f"{text} (**different**)"
    return f"{text} (**{'better' if (difference > 0) == (entry.better == 'higher') else 'worse'}**)"

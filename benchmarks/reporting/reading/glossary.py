"""The glossary: the meaning of all metrics on the boards."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.records.catalogue import families
from benchmarks.reporting.markdown import GENERATED, escape, table
from benchmarks.reporting.rows import Section

FILE = "glossary.md"
_DIRECTIONS = {"higher": "higher", "lower": "lower", None: "neither"}


def page(sections: Sequence[Section]) -> str:
    """The page: a table for each family of metrics that the records contain."""
    measured = {name for section in sections for record in section.records for name in record.metrics}
    blocks = [
        GENERATED,
        "# Glossary",
        "[All boards](README.md)",
        "Definitions of the metrics, in the order of the boards. All are measured on test images.",
    ]
    for family in families():
        lines = [
            [escape(metric.label), escape(metric.unit), _DIRECTIONS[metric.better], escape(metric.meaning, 1000)]
            for name, metric in family.metrics.items()
            if name in measured
        ]
        if lines:
            blocks += [f"## {escape(family.title)}", table(["metric", "unit", "better", "meaning"], lines, "left")]
    return "\n\n".join(blocks) + "\n"

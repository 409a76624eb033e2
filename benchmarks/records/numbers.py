"""Numbers of a record by the names that paper targets give them: a metric, at some point of training, per pixel."""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchmarks.records.record import Record

PER_PIXEL = "_per_pixel"
# The detail with what was measured on the way, by name: {"objective@5": 14.8}.
MEASURED = "measured"
# The detail with the number of pixel channels of an image that a likelihood or an objective is summed over.
PIXELS = "pixels"


@dataclass(frozen=True)
class Parts:
    """``metric`` of the catalogue; ``at`` the epoch or step that it was measured at, None for the end of training;
    whether it is divided by the number of ``pixels``."""

    metric: str
    at: int | None = None
    per_pixel: bool = False

    @property
    def in_record(self) -> str:
        """What the number before the division is called in a record."""
        return self.metric if self.at is None else f"{self.metric}@{self.at}"


def parts(name: str) -> Parts:
    """ "objective_per_pixel@5" -> objective, 5, per pixel. Raises ``ValueError`` for what is no such name."""
    found = re.fullmatch(r"([a-z]\w*?)(_per_pixel)?(?:@(\d{1,12}))?", name, re.ASCII)
    if found is None:
        raise ValueError(f"a metric must be a name such as elbo, objective@5 or objective_per_pixel, got {name!r}")
    return Parts(found[1], None if found[3] is None else int(found[3]), found[2] is not None)


def number(record: Record, name: str) -> float | None:
    """The number of that name in a record that ended well, None where it has none."""
    if record.status != "ok":
        return None
    wanted = parts(name)
    value = record.metrics.get(wanted.metric) if wanted.at is None else _measured(record, wanted.in_record)
    if value is None or not wanted.per_pixel:
        return value
    pixels = record.details.get(PIXELS)
    return value / pixels if isinstance(pixels, int) and pixels > 0 else None


def standard_error(record: Record, name: str) -> float | None:
    """The standard error over images of the number of that name; None where the record has none."""
    wanted = parts(name)
    error = record.metrics.get(f"{wanted.metric}_se") if wanted.at is None else None
    pixels = record.details.get(PIXELS)
    if error is None or not wanted.per_pixel:
        return error
    return error / pixels if isinstance(pixels, int) and pixels > 0 else None


def _measured(record: Record, name: str) -> float | None:
    measured = record.details.get(MEASURED)
    value = measured.get(name) if isinstance(measured, dict) else None
    return float(value) if isinstance(value, int | float) else None

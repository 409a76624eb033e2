"""Numbers of a record by the names that paper targets give them: a metric, at some point of training, per pixel."""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchmarks.records.record import MEASURED, Record

# The detail with the terms of the objective on test images, and that with the number of pixel channels of an image that
# it is summed over.
TERMS, PIXELS = "objective_terms", "pixels"
# What was measured on the way may be a mean over training or validation images, too: "training_reconstruction@30".
ON_THE_WAY = ("training_", "validation_")


@dataclass(frozen=True)
class Parts:
    """``metric`` of the catalogue, or one ``term`` of the objective; ``at`` the epoch or step that it was measured at,
    None for the end of training; whether it is divided by the number of pixels."""

    metric: str
    term: str | None = None
    at: int | None = None
    per_pixel: bool = False

    @property
    def measured(self) -> str:
        """What a number on the way is called in a record."""
        return f"{self.metric}@{self.at}"


def parts(name: str) -> Parts:
    """ "objective_per_pixel@5" -> objective, at 5, per pixel; "objective.kl" -> that term. Raises ``ValueError`` for
    what is no such name."""
    found = re.fullmatch(r"([a-z]\w*?)(?:\.([a-z]\w*?))?(_per_pixel)?(?:@(\d{1,12}))?", name, re.ASCII)
    term_of = found is not None and found[2] is not None and (found[1] != "objective" or found[4] is not None)
    if found is None or term_of:
        raise ValueError(
            "a metric must be a name such as elbo, objective@5, objective_per_pixel or objective.reconstruction, "
            f"got {name!r}"
        )
    return Parts(found[1], found[2], None if found[4] is None else int(found[4]), found[3] is not None)


def number(record: Record, name: str) -> float | None:
    """The number of that name in a record that ended well, None where it has none."""
    if record.status != "ok":
        return None
    wanted = parts(name)
    if wanted.at is not None:
        value = _detail(record, MEASURED, wanted.measured)
    elif wanted.term is not None:
        value = _detail(record, TERMS, wanted.term)
    else:
        value = record.metrics.get(wanted.metric)
    return _per_pixel(record, value) if wanted.per_pixel else value


def standard_error(record: Record, name: str) -> float | None:
    """The standard error over images of the number of that name; None where the record has none."""
    wanted = parts(name)
    if wanted.term is not None:
        return None
    return number(record, name.replace(wanted.metric, f"{wanted.metric}_se", 1))


def _per_pixel(record: Record, value: float | None) -> float | None:
    pixels = record.details.get(PIXELS)
    return value / pixels if value is not None and isinstance(pixels, int) and pixels > 0 else None


def _detail(record: Record, detail: str, name: str) -> float | None:
    numbers = record.details.get(detail)
    value = numbers.get(name) if isinstance(numbers, dict) else None
    return float(value) if isinstance(value, int | float) else None

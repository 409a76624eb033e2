"""Numbers of a record by the names that paper targets use.

A name is that of a metric, optionally with a point of training, and optionally per pixel.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from benchmarks.records.catalogue import CATALOGUE
from benchmarks.records.record import MEASURED, Record

# The details with the terms of the objective on test images, and with the number of pixel channels per image that the
# objective covers.
TERMS, PIXELS = "objective_terms", "pixels"
# Prefixes of numbers that were measured during training as means over training or validation images:
# "training_reconstruction@30".
ON_THE_WAY = ("training_", "validation_")


@dataclass(frozen=True)
class Parts:
    """The parts of a number's name.

    ``metric``: a metric of the catalogue, or "objective" with one ``term`` of it. ``at``: the epoch or step of the
    measurement, None for the end of training. ``per_pixel``: whether the number is divided by the number of pixel
    channels.
    """

    metric: str
    term: str | None = None
    at: int | None = None
    per_pixel: bool = False

    @property
    def measured(self) -> str:
        """The name, in a record, of a number that was measured during training."""
        return f"{self.metric}@{self.at}"


def parts(name: str) -> Parts:
    """Parse a name: "objective_per_pixel@5" is the objective at 5, per pixel; "objective.kl" is its term "kl".

    Raises ``ValueError`` for any other text.
    """
    found = re.fullmatch(r"([a-z]\w*?)(?:\.([a-z]\w*?))?(_per_pixel)?(?:@(\d{1,12}))?", name, re.ASCII)
    term_of = found is not None and found[2] is not None and (found[1] != "objective" or found[4] is not None)
    if found is None or term_of:
        raise ValueError(
            "a metric must be a name such as elbo, objective@5, objective_per_pixel or objective.reconstruction, "
            f"got {name!r}"
        )
    return Parts(found[1], found[2], None if found[4] is None else int(found[4]), found[3] is not None)


def number(record: Record, name: str) -> float | None:
    """The number with this name in a successful record; None if the record has none or the run failed."""
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
    """The standard error over images of the number with this name; None if the record has none.

    That of a KID is over its blocks of images. Errors are recorded in one unit; relative to the number, they are the
    same in the other unit.
    """
    wanted = parts(name)
    if wanted.term is not None:
        return None

    def of(metric: str) -> float | None:
        return number(record, name.replace(wanted.metric, metric, 1))

    for metric, one in CATALOGUE.items():
        if one.standard_error is not None and wanted.metric in (metric, one.in_other_unit):
            error, recorded, value = of(one.standard_error), of(metric), number(record, name)
            if wanted.metric == metric or error is None:
                return error
            converted = abs(error * (value / recorded)) if value is not None and recorded else math.inf
            return converted if math.isfinite(converted) else None
    return None


def _per_pixel(record: Record, value: float | None) -> float | None:
    pixels = record.details.get(PIXELS)
    return value / pixels if value is not None and isinstance(pixels, int) and pixels > 0 else None


def _detail(record: Record, detail: str, name: str) -> float | None:
    numbers = record.details.get(detail)
    value = numbers.get(name) if isinstance(numbers, dict) else None
    return float(value) if isinstance(value, int | float) else None

"""Families of metrics, and the label, unit, direction and meaning of every metric in a record.

A family is one registered object in one file below ``benchmarks/evaluation/families/``, or in a folder that the
environment variable ``VAE_METRICS_PATH`` lists (separated as in ``PATH``; see ``variants/own_files.py``). The files are
imported when the catalogue is first read. This is the only import in the suite from a lower layer to a higher one. It
is made late and by name, and it imports nothing heavy, because reports read the catalogue on machines without torch.
"""

from __future__ import annotations

import importlib
import inspect
import math
import os
import pkgutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from benchmarks.errors import UserError
from variants.options import one_of
from variants.own_files import OwnFileError, folders, import_folder

PACKAGE = "benchmarks.evaluation.families"
PATH_VARIABLE = "VAE_METRICS_PATH"
# The directions in which a metric can be better.
Direction = Literal["higher", "lower"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


@dataclass(frozen=True)
class Metric:
    """One number of a record.

    ``better``: the direction in which a number is better; None if neither is. ``needs``: what the metric needs of the
    model and the data, see :meth:`benchmarks.evaluation.evaluate.Context.missing`. If something is missing, the reason
    is recorded in place of the number.
    """

    label: str
    unit: str
    better: Direction | None
    meaning: str
    decimals: int = 2
    needs: tuple[str, ...] = ()
    # The name of its standard error over images, if the record has one.
    standard_error: str | None = None
    # Whether it is measured in the features of the data set's own judge, see benchmarks/records/judged.py.
    judged: bool = False
    # Whether it is a column of its family's table on a board, in the order of the family's metrics.
    column: bool = True
    # Whether tables in Markdown, which have room for few columns, leave it out. The HTML page shows it.
    wide: bool = False
    # Tables of other families that also show it: family -> index of the column.
    also_in: Mapping[str, int] = field(default_factory=dict)
    # Whether it is defined only for pixels of 8 bits. Records of binary images do not contain it.
    eight_bit: bool = False
    # The metric with the same quantity in another unit, which replaces this one on boards that have it.
    in_other_unit: str | None = None
    # Whether a variant's page shows it.
    summary: bool = False
    # Scatter plots with this metric against others, or against a timing such as "train_seconds".
    plotted_against: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Families that share a section of a board, with the heading ``title`` and a ``sentence`` below it."""

    title: str
    sentence: str


TASKS = Group(
    "Tasks",
    "Downstream tasks that use latent codes and reconstructions. All variants are measured in the same way, and none "
    "is trained again for a task.",
)

FACTORS = Group(
    "Factors of variation",
    "For data with known factors of variation: how well single dimensions of a code represent single factors.",
)


@dataclass(frozen=True)
class Family:
    """Metrics that are computed together and share a table on a board.

    ``compute(context, result)`` takes a ``Context`` and an ``Evaluation`` (benchmarks/evaluation/evaluate.py). It
    enters each metric in ``result``: a number by ``result.add``, or the reason why there is none in
    ``result.not_applicable``. Before each call torch is seeded for the family's name. There is no call if every metric
    lacks something that it needs.

    ``order`` sorts the families; the table of the first one is the leaderboard. ``sentence`` is printed above the table
    and may contain options of the evaluation's configuration in braces. ``headline`` lists the metrics that represent
    the family; a board uses the first one that it has to sort the table, to choose winners and in the pictures of
    seeds. Families with the same ``group`` share a table of winners and a section of a board, at the position of the
    first of them. ``reference`` begins a sentence below the table that says what is reached without a model. The
    sentence continues with the numbers in the record's detail ``reference_<name>`` (metric -> number), each with the
    part of its metric's label after the comma.
    """

    name: str
    title: str
    order: int
    metrics: Mapping[str, Metric]
    compute: Callable[[Any, Any], None]
    sentence: str = ""
    headline: tuple[str, ...] = ()
    # Whether a board explains its distances below the table.
    explains_distances: bool = False
    group: Group | None = None
    reference: str = ""


# Timings of a record that a metric can be plotted against.
TIMINGS = ("train_seconds", "eval_seconds")

_families: dict[str, Family] = {}
# The package and the paths of files that are already imported, so that repeated discovery costs nothing.
_discovered: set[str] = set()
# The state of the last discovery: the set above, and the value of the environment variable. A lookup compares only
# these two, so a running process does not notice a file that is added to one of the folders later.
_complete: tuple[set[str], str] | None = None


def register(family: Family) -> Family:
    """Register a family.

    Raises ``ValueError`` if its name or that of one of its metrics is already taken, if a board could not complete its
    sentence, and for a value of a metric or of ``headline`` that is not allowed.
    """
    if family.name in _families:
        first = inspect.getsourcefile(_families[family.name].compute)
        raise ValueError(f"family {family.name!r} is already registered (its compute is in {first})")
    for other in _families.values():
        for name in family.metrics:
            if name in other.metrics:
                raise ValueError(f"metric {name!r} of family {family.name!r} is already one of family {other.name!r}")
    if type(family.order) not in (int, float) or not math.isfinite(family.order):
        raise ValueError(f"family {family.name!r}: order must be a number, got {family.order!r}")
    for name, metric in family.metrics.items():
        _check_metric(f"metric {name!r} of family {family.name!r}", metric, family)
    for name in family.headline:
        one_of(f"metric in headline of family {family.name!r}", name, family.metrics)
    try:
        family.sentence.format_map(defaultdict(str))
    except (ValueError, LookupError, AttributeError) as error:
        raise ValueError(
            f"family {family.name!r}: the sentence {family.sentence!r} cannot be completed ({error}): in braces stands "
            "an option of the evaluation, and {{ and }} are braces"
        ) from None
    _families[family.name] = family
    return family


def _check_metric(described: str, metric: Metric, family: Family) -> None:
    """Raise ``ValueError`` for a value with which the reports of a run could not be written, or would lack a number."""
    for part in ("label", "unit", "meaning"):
        if not isinstance(text := getattr(metric, part), str):
            raise ValueError(f"{described}: {part} must be a text, got {text!r}")
    if metric.better not in (*DIRECTIONS, None):
        raise ValueError(
            f"{described}: better must be {', '.join(map(repr, DIRECTIONS))} or None, got {metric.better!r}"
        )
    if type(metric.decimals) is not int or metric.decimals < 0:
        raise ValueError(f"{described}: decimals must be a whole number from 0, got {metric.decimals!r}")
    for part in ("standard_error", "in_other_unit"):
        if (other := getattr(metric, part)) is not None:
            one_of(f"metric in {part} of {described}", other, family.metrics)


@dataclass(frozen=True)
class _Index:
    """The families in order, and the metrics by name. It is rebuilt after a family was added."""

    source: Mapping[str, Family]
    count: int
    ordered: tuple[Family, ...]
    metrics: Mapping[str, Metric]


_index = _Index({}, 0, (), {})


def _indexed() -> _Index:
    global _index
    discover()
    if _index.source is not _families or _index.count != len(_families):
        ordered = tuple(sorted(_families.values(), key=lambda family: (family.order, family.name)))
        metrics = {name: metric for family in ordered for name, metric in family.metrics.items()}
        _index = _Index(_families, len(_families), ordered, metrics)
    return _index


def families() -> list[Family]:
    """All families, in their order."""
    return list(_indexed().ordered)


def grouped(members: Iterable[Family]) -> list[tuple[Group | None, list[Family]]]:
    """Families in their order, as pairs of a group and its members.

    A family without a group forms a pair with None. A group takes the position of its first member.
    """
    found: dict[Group | str, list[Family]] = {}
    for family in members:
        found.setdefault(family.group or family.name, []).append(family)
    return [(together[0].group, together) for together in found.values()]


def groups() -> list[Group | None]:
    """None, for the families without a group, and every group."""
    return [None, *dict.fromkeys(family.group for family in families() if family.group)]


def discover() -> None:
    """Import every module that may register a family.

    Raises :class:`UserError` for a folder of the user's that does not exist, and for a file that cannot be imported.
    """
    global _complete
    named = os.environ.get(PATH_VARIABLE, "")
    if _complete is not None and _complete[0] is _discovered and _complete[1] == named:
        return
    if PACKAGE not in _discovered:
        # Added before the import, because an imported module may read the catalogue.
        _discovered.add(PACKAGE)
        for module in pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__):
            importlib.import_module(f"{PACKAGE}.{module.name}")
    try:
        for folder in folders(PATH_VARIABLE):
            import_folder(folder, "benchmarks", _families, _discovered, PATH_VARIABLE)
        _check_references()
    except (OwnFileError, ValueError) as error:
        raise UserError(str(error)) from error
    _complete = (_discovered, named)


def _check_references() -> None:
    """Raise ``ValueError`` for a metric that refers to a family, or is plotted against one, that does not exist."""
    metrics = {name: metric for family in _families.values() for name, metric in family.metrics.items()}
    for name, metric in metrics.items():
        for other in metric.also_in:
            one_of(f"family in also_in of metric {name!r}", other, _families)
        for other in metric.plotted_against:
            one_of(f"metric in plotted_against of metric {name!r}", other, [*metrics, *TIMINGS])


class _Catalogue(Mapping[str, Metric]):
    """Every metric of every family by name, in the order of families."""

    def __getitem__(self, name: str) -> Metric:
        return _indexed().metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_indexed().metrics)

    def __len__(self) -> int:
        return len(_indexed().metrics)


CATALOGUE: Mapping[str, Metric] = _Catalogue()

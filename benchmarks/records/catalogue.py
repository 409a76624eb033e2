"""Families of metrics, and what every metric in a record means: its label, unit, direction and the sentence that a
report prints.

A family is one registered object in one file below ``benchmarks/evaluation/families/``, or in a folder that the
environment variable ``VAE_METRICS_PATH`` lists (separated as in ``PATH``; see ``variants/own_files.py``). The files are
imported when the catalogue is first read. This is the one import upwards in the suite; it is late, and by name, and
imports nothing heavy: reports read the catalogue on machines without torch.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.errors import UserError
from variants.own_files import OwnFileError, folders, import_folder

PACKAGE = "benchmarks.evaluation.families"
PATH_VARIABLE = "VAE_METRICS_PATH"


@dataclass(frozen=True)
class Metric:
    """One number of a record.

    ``better`` is the direction in which a larger number is read; None where neither is better. ``needs``: what of the
    model and the data it is computed from, see :meth:`benchmarks.evaluation.evaluate.Context.missing`; where one is
    missing, the reason is recorded in place of the number.
    """

    label: str
    unit: str
    better: Literal["higher", "lower"] | None
    meaning: str
    decimals: int = 2
    needs: tuple[str, ...] = ()
    # The standard error over images, where the record has one, stands under this name.
    standard_error: str | None = None
    # Whether it is measured in the features of the data set's own judge, see benchmarks/records/judged.py.
    judged: bool = False
    # Whether it is a column of its family's table on a board, in the order of the family's metrics.
    column: bool = True
    # Whether the tables in Markdown leave it out, which have room for few columns; the HTML page shows it.
    wide: bool = False
    # Tables of other families that show it, too: family -> at which column.
    also_in: Mapping[str, int] = field(default_factory=dict)
    # Whether it is defined for pixels of 8 bits alone: a record of binary images does not name it.
    eight_bit: bool = False
    # The same quantity in another unit, which takes its place on boards that have it.
    in_other_unit: str | None = None
    # Whether a variant's page shows it.
    summary: bool = False
    # Scatter plots with this metric against others, or against a timing such as "train_seconds".
    plotted_against: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Families that stand together on a board, under the heading ``title`` and a ``sentence``."""

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

    ``compute(context, result)``, of a ``Context`` and an ``Evaluation`` (benchmarks/evaluation/evaluate.py), enters
    each metric in ``result``: a number by ``result.add``, or the reason why there is none in ``result.not_applicable``.
    It is called unless all of them lack something that they need, after torch was seeded for the family's name.
    ``order`` sorts the families; the first one's table is the leaderboard. ``sentence`` stands above the table and may
    name fields of the evaluation's configuration in braces. ``headline`` are the metrics that answer for the family,
    the first that a board has: it sorts the table, has winners and is in the pictures of seeds. Families of one
    ``group`` share a section of a board, where the first of them stands, and a table of winners. ``reference`` begins a
    sentence below the table that goes on with the numbers in the record's detail ``reference_<name>`` (metric ->
    number), each with what its metric's label has after a comma: what there is without a model.
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


_families: dict[str, Family] = {}
# The package, and paths of files, already imported, so that discovery can be repeated at no cost.
_discovered: set[str] = set()
# What was discovered last: the set above, and the value of the environment variable. A lookup compares the two and no
# more; a file that is added to one of these folders later is not seen by a running process.
_complete: tuple[set[str], str] | None = None


def register(family: Family) -> Family:
    """Enter a family. Raises ``ValueError`` where its name, or that of one of its metrics, is taken, and for a sentence
    that a board could not complete."""
    if family.name in _families:
        first = inspect.getsourcefile(_families[family.name].compute)
        raise ValueError(f"family {family.name!r} is already registered (its compute is in {first})")
    for other in _families.values():
        for name in family.metrics:
            if name in other.metrics:
                raise ValueError(f"metric {name!r} of family {family.name!r} is already one of family {other.name!r}")
    try:
        family.sentence.format_map(defaultdict(str))
    except (ValueError, LookupError, AttributeError) as error:
        raise ValueError(
            f"family {family.name!r}: the sentence {family.sentence!r} cannot be completed ({error}): in braces stands "
            "an option of the evaluation, and {{ and }} are braces"
        ) from None
    _families[family.name] = family
    return family


@dataclass(frozen=True)
class _Index:
    """The registry in order and by name of the metric; made anew when a family was added."""

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
    """Families in their order, each by itself (None) or, where the first of its group stands, with the others of it."""
    found: dict[Group | str, list[Family]] = {}
    for family in members:
        found.setdefault(family.group or family.name, []).append(family)
    return [(together[0].group, together) for together in found.values()]


def groups() -> list[Group | None]:
    """None, for the families that are in no group, and every group that there is."""
    return [None, *dict.fromkeys(family.group for family in families() if family.group)]


def discover() -> None:
    """Import every module that may register a family. Raises :class:`UserError` for a folder of the user's that does
    not exist, and for a file that cannot be imported."""
    global _complete
    named = os.environ.get(PATH_VARIABLE, "")
    if _complete is not None and _complete[0] is _discovered and _complete[1] == named:
        return
    if PACKAGE not in _discovered:
        # Noted first: what a module imports may read the catalogue.
        _discovered.add(PACKAGE)
        for module in pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__):
            importlib.import_module(f"{PACKAGE}.{module.name}")
    try:
        for folder in folders(PATH_VARIABLE):
            import_folder(folder, "benchmarks", _families, _discovered, PATH_VARIABLE)
    except OwnFileError as error:
        raise UserError(str(error)) from error
    _complete = (_discovered, named)


class _Catalogue(Mapping[str, Metric]):
    """Every metric of every family by name, in the order of families."""

    def __getitem__(self, name: str) -> Metric:
        return _indexed().metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_indexed().metrics)

    def __len__(self) -> int:
        return len(_indexed().metrics)


CATALOGUE: Mapping[str, Metric] = _Catalogue()

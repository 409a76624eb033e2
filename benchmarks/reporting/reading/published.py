"""Published numbers on a board, for the same images and the same observation model as the board's own rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.records.catalogue import CATALOGUE
from benchmarks.reporting import board
from benchmarks.reporting.board import Table
from benchmarks.reporting.markdown import anchor, escape, table
from benchmarks.reporting.rows import Section, data_title
from benchmarks.reproduction.targets import Published, Reported

# Data set -> what papers report on it.
Find = Callable[[str], Sequence[Published]]

# Options of a data set that do not change the meaning of a number, because the test images and the observation model
# stay the same. Options that concern training, such as the binarisation and the training images, are shown as a part of
# the recipe.
_BESIDE_THE_POINT = {"title", "path", "labels", "show_originals", "outliers", "train_on_validation", "binarise"}
# Kinds of binarisation of training pixels. In both, test pixels are sampled once from the same distribution.
_BINARISED = {"dynamic": "dynamic binarisation", "fixed": "static binarisation"}


def blocks(section: Section, found: Sequence[Published], recipes: str | None) -> list[str | Table]:
    """The heading, a sentence and the table of published numbers; empty if no number is comparable.

    The table is collapsed in Markdown. ``recipes`` is the page with the full recipes, or None.
    """
    shown = [(one, numbers) for one in found if (numbers := comparable(section, one))]
    if not shown:
        return []
    metrics = [name for name in CATALOGUE if any(name in numbers for _, numbers in shown)]
    lines = [
        [
            escape(one.variant),
            *(_number(numbers.get(metric)) for metric in metrics),
            _recipe(one.config, one.states_latent_size)
            + (f" ([more]({recipes}#{anchor(one.target.id)}))" if recipes else ""),
            f"{escape(one.target.paper)}: [{escape(one.target.table)}]({one.target.link})",
        ]
        for one, numbers in shown
    ]
    header = ["variant", *(escape(section.label(metric)) for metric in metrics), "recipe of the target", "published in"]
    made = table(header, lines, "left")
    papers = len({one.target.paper for one, _ in shown})
    sources = f"{papers} source{'s' if papers > 1 else ''}"
    return [
        "### Published by others",
        "What other authors report for this data set under the same observation model. None of it was measured here or "
        "is ranked. The recipe is that of our paper target; where a source does not state a part of it, the target's "
        f"section says what we chose. The rows above {_own(section)}.",
        Table(f"<details><summary>Published numbers from {sources}</summary>\n\n{made}\n\n</details>", made),
    ]


def comparable(section: Section, one: Published) -> dict[str, Reported]:
    """The published numbers that can be compared with the section, for the metrics that it has.

    Empty if the section and the publication differ in the data set or in an option that changes the meaning of numbers.
    """
    record = section.any_record
    ours, theirs = record.config.get("dataset", {}), one.config["dataset"]
    # A subset of a data set has a different title.
    if data_title(record) != theirs["title"] or _quantity(ours) != _quantity(theirs):
        return {}
    return {metric: number for metric, number in one.numbers.items() if board.measured(section, [metric])}


def _quantity(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """The options that two data sets must have in common for their numbers to be comparable."""
    binarise = dataset.get("binarise")
    same = {key: value for key, value in dataset.items() if key not in _BESIDE_THE_POINT}
    return same | {"test pixels": "drawn" if binarise in _BINARISED else binarise}


def _number(reported: Reported | None) -> str:
    if reported is None:
        return "–"
    return f"{reported.value:g}" + (f" ± {reported.spread:g}" if reported.spread is not None else "")


def _own(section: Section) -> str:
    """The most frequent recipe among the section's records, in words."""
    recipes = Counter(_recipe(record.config, True) for record in section.records)
    most, count = recipes.most_common(1)[0]
    return f"have {'mostly ' if count < len(section.records) else ''}this recipe: {most}"


def _recipe(config: Mapping[str, Any], latent_size: bool) -> str:
    dataset, training, evaluation = (config.get(part, {}) for part in ("dataset", "training", "evaluation"))
    images = evaluation.get("images")
    parts = [
        board.network(config.get("network", {}), latent_size),
        board.budget(training),
        *board.selection(training),
        *([_BINARISED[dataset["binarise"]]] if dataset.get("binarise") in _BINARISED else []),
        *(["validation images trained on, too"] if dataset.get("train_on_validation") else []),
        f"K = {board.count(evaluation.get('importance_samples'))}"
        + (f" on {board.count(images)} test images" if images else ""),
    ]
    return "; ".join(part for part in parts if part)

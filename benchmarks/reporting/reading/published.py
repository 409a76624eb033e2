"""What papers report, for reading beside a board's own rows: for the same images under the same observation model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.records.catalogue import CATALOGUE
from benchmarks.reporting import board
from benchmarks.reporting.board import Table
from benchmarks.reporting.markdown import escape, file_name, table
from benchmarks.reporting.rows import Section, data_title
from benchmarks.reproduction.targets import Published, Reported

# Data set -> what papers report of it.
Find = Callable[[str], Sequence[Published]]

# Options of a data set that leave the meaning of a number as it is: what is tested, and under which observation model,
# is the same. How training pixels are drawn and which images are trained on belongs to the recipe, and is shown.
_BESIDE_THE_POINT = {"title", "path", "labels", "show_originals", "outliers", "train_on_validation", "binarise"}
# Test pixels are one draw from the same distribution in both.
_DRAWN = {"dynamic": "training pixels drawn for every batch", "fixed": "training pixels drawn once"}


def blocks(section: Section, found: Sequence[Published], recipes: str | None) -> list[str | Table]:
    """A heading, what stands below it, and the table, collapsed in Markdown; nothing where no number is comparable.
    ``recipes``: the page that has the recipes in full, None for none."""
    shown = [(one, numbers) for one in found if (numbers := comparable(section, one))]
    if not shown:
        return []
    metrics = [name for name in CATALOGUE if any(name in numbers for _, numbers in shown)]
    lines = [
        [
            escape(one.variant),
            *(_number(numbers.get(metric)) for metric in metrics),
            _recipe(one.config, one.states_latent_size)
            + (f" ([more]({recipes}#{file_name(one.target.id)}))" if recipes else ""),
            f"{escape(one.target.paper)}: [{escape(one.target.table)}]({one.target.link})",
        ]
        for one, numbers in shown
    ]
    header = ["variant", *(escape(section.label(metric)) for metric in metrics), "their recipe", "published in"]
    made = table(header, lines, "left")
    papers = len({one.target.paper for one, _ in shown})
    sources = f"{papers} source{'s' if papers > 1 else ''}"
    return [
        "### Published by others",
        "What other authors report for this data set under the same observation model. None of it was measured here or "
        f"is ranked: networks and budgets are theirs. The rows above {_own(section)}.",
        Table(f"<details><summary>Published numbers from {sources}</summary>\n\n{made}\n\n</details>", made),
    ]


def comparable(section: Section, one: Published) -> dict[str, Reported]:
    """The published numbers that are of the same quantity as a board's: metrics that it has, of the whole data set."""
    record = section.any_record
    ours, theirs = record.config.get("dataset", {}), one.config["dataset"]
    # A sample of a data set has another title.
    if data_title(record) != theirs["title"] or _quantity(ours) != _quantity(theirs):
        return {}
    return {metric: number for metric, number in one.numbers.items() if board.measured(section, [metric])}


def _quantity(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """What two data sets must share for their numbers to be of one quantity."""
    binarise = dataset.get("binarise")
    same = {key: value for key, value in dataset.items() if key not in _BESIDE_THE_POINT}
    return same | {"test pixels": "drawn" if binarise in _DRAWN else binarise}


def _number(reported: Reported | None) -> str:
    if reported is None:
        return "–"
    return f"{reported.value:g}" + (f" ± {reported.spread:g}" if reported.spread is not None else "")


def _own(section: Section) -> str:
    """The recipe of a board's rows, the network of most of them."""
    recipes = Counter(_recipe(record.config, True) for record in section.records)
    most, count = recipes.most_common(1)[0]
    return f"have {'mostly ' if count < len(section.records) else ''}this recipe: {most}"


def _recipe(config: Mapping[str, Any], latent_size: bool) -> str:
    dataset, training, evaluation = (config.get(part, {}) for part in ("dataset", "training", "evaluation"))
    images = evaluation.get("images")
    parts = [
        _network(config.get("network", {}), latent_size),
        board.budget(training),
        *(["weights of the best validation"] if training.get("select") == "validation" else []),
        *([_DRAWN[dataset["binarise"]]] if dataset.get("binarise") in _DRAWN else []),
        *(["validation images trained on, too"] if dataset.get("train_on_validation") else []),
        f"K = {board.count(evaluation.get('importance_samples'))}"
        + (f" on {board.count(images)} test images" if images else ""),
    ]
    return "; ".join(part for part in parts if part)


def _network(network: Mapping[str, Any], latent_size: bool) -> str:
    hidden = network.get("hidden")
    sizes = "-".join(map(str, hidden)) if isinstance(hidden, list) else ""
    width = f"width {network['width']}" if "width" in network else ""
    text = " ".join(str(part) for part in (network.get("name"), sizes or width, network.get("activation")) if part)
    latent = f"latent size {network['latent_size']}" if latent_size and "latent_size" in network else ""
    return escape(", ".join(part for part in (text, latent) if part))

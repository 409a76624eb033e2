"""A board: the page with all results on one data set."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.records.catalogue import CATALOGUE, Family, Group, families, groups
from benchmarks.records.record import REFERENCE, Record
from benchmarks.records.significance import FEWEST_SEEDS, shared_ranks
from benchmarks.reporting.markdown import argument, code, escape, file_name, quoted, table
from benchmarks.reporting.marks import times
from benchmarks.reporting.marks.ceilings import MARK, explain, is_bound
from benchmarks.reporting.rows import Row, Section, data_title, device_of, most_frequent, once, undetailed
from benchmarks.wording import counted

ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}


def questions(group: Group | None = None) -> dict[str, tuple[str, ...]]:
    """Map each question of a group (None: of the families without a group) to the metrics that answer it.

    A board uses the first of these metrics that it has.
    """
    return {f.title.lower(): f.headline for f in families() if f.headline and f.group is group}


def all_questions() -> dict[str, tuple[str, ...]]:
    """The questions of all families; those of families without a group come first."""
    return {question: metrics for group in groups() for question, metrics in questions(group).items()}


@once
def sort_metric(section: Section) -> str:
    """The metric that the leaderboard is sorted by: the first headline of a family without a group that was measured.

    This is log p(x) in the board's unit, unless no row has it.
    """
    first, *others = (family.headline for family in families() if family.headline and family.group is None)
    by = in_unit(section, first[-1])
    return next(iter(measured(section, [by, *(metric for metrics in others for metric in metrics)])), by)


# Names of the other pages, files and folders in the folder of reports.
_RESERVED = {
    "readme",
    "reproduction",
    "speed",
    "speed-gpu",
    "variants",
    "figures",
    "index",
    "manifest",
    "guide",
    "glossary",
    "api",
    "pictures",
}


def page_file(dataset: str) -> str:
    """The file name of a data set's page. A hash is appended to a name that another page has."""
    return f"{file_name(dataset, unlike=_RESERVED)}.md"


def heading(sections: Sequence[Section], section: Section) -> str:
    """The heading of a section on its page, such as "Profile quick".

    For conditional models, the heading begins with the condition. A number follows if the page has several sections of
    the same profile. ``sections`` contains the sections of the page in their order, and may contain others.
    """
    alike = [
        other
        for other in sections
        if (other.dataset, other.profile, other.condition) == (section.dataset, section.profile, section.condition)
    ]
    title = f"Given {section.given}: profile {section.profile}" if section.given else f"Profile {section.profile}"
    return title + (f", {alike.index(section) + 1}" if len(alike) > 1 else "")


def pictures_file(dataset: str) -> str:
    """The path of the page with the pictures of all rows of a data set."""
    return f"pictures/{page_file(dataset)}"


@once
def in_unit(section: Section, metric: str) -> str:
    """The metric that this board shows for ``metric``: the same quantity in another unit if the board has that one."""
    other = CATALOGUE[metric].in_other_unit if metric in CATALOGUE else None
    return other if other and any(other in r.metrics | r.not_applicable for r in section.records) else metric


def columns(section: Section, family: Family) -> list[str]:
    """The metrics in a family's table, including metrics of other families that it also shows."""
    shown = [name for name, metric in family.metrics.items() if metric.column]
    guests = {name: metric.also_in[family.name] for name, metric in CATALOGUE.items() if family.name in metric.also_in}
    for name in sorted(guests, key=lambda name: (guests[name], name)):
        shown.insert(guests[name], name)
    return [in_unit(section, name) for name in shown]


def headlines(section: Section, group: Group | None = None) -> list[str]:
    """One metric for each question of a group (None: of the families without a group).

    Without a group, the metric that sorts the leaderboard comes first.
    """
    members = [family for family in families()[1:] if family.group is group]
    found = [measured(section, family.headline) or family.headline for family in members]
    first = [] if group else [sort_metric(section)]
    return list(dict.fromkeys([*first, *(metrics[0] for metrics in found if metrics)]))


def plots(section: Section) -> list[tuple[str, str]]:
    """Pairs (x, y) to plot: first the pairs of two metrics, then the pairs of a timing and a metric."""
    pairs = [(x, name) for name, metric in CATALOGUE.items() for x in metric.plotted_against]
    pairs.sort(key=lambda pair: pair[0] not in CATALOGUE)
    return [(in_unit(section, x), in_unit(section, y)) for x, y in pairs]


@once
def sorted_rows(section: Section, metric: str) -> list[Row]:
    """Rows from best to worst by ``metric``; rows without it come last, sorted by label."""
    sign = -1 if CATALOGUE[metric].better == "higher" else 1

    def key(row: Row) -> tuple[bool, float, str]:
        mean = row.mean(metric)
        return mean is None, 0.0 if mean is None else sign * mean, row.label

    return sorted(section.rows, key=key)


def leaderboard(section: Section) -> Table:
    """The leaderboard: the metric that sorts it, likelihoods, parameters and training time."""
    by = sort_metric(section)
    ranks = ranks_of(section, by)
    metrics = columns(section, families()[0])
    return metric_table(
        section,
        by,
        metrics if by in metrics else [by, *metrics],
        before=[
            *([Extra("rank", lambda row: str(ranks.get(row.label, "–")))] if ranks else []),
            Extra("parameters", lambda row: f"{row.first.parameters:,}", wide=True),
        ],
        after=[
            Extra("train s", lambda row: times.timing(section, row, "train_seconds")),
            Extra("images/s", lambda row: times.timing(section, row, "train_images_per_second"), wide=True),
            Extra("seeds", lambda row: str(len(row.records))),
        ],
        below=times.notes(section),
    )


def ranking_sentence(section: Section) -> str:
    """Explain the ranks and the bold and italic numbers of this section."""
    if len(section.rows) < 2:
        return ""
    several = len({row.family for row in section.rows}) > 1
    italic = " The best mean of each family is in *italics*." if several else ""
    by = sort_metric(section)
    shown = [by, *(metric for family in families() for metric in columns(section, family))]
    ranked, marked = ranks_of(section, by), any(best_labels(section, metric) for metric in shown)
    if not ranked and not marked:
        return f"Ranks and bold numbers need at least three seeds per variant, so there are none here.{italic}"
    if ranked:
        ranks = (
            "Variants with the same rank do not differ significantly from the best variant of that rank. – in place of "
            "a rank: no value, or too few seeds in common with others for a test."
        )
    else:
        ranks = f"There are no ranks, because no two rows have {escape(section.label(by))} for the same three seeds."
    return (
        "**Bold**: the best mean, if it comes from at least three seeds, and the results that follow it, up to the "
        "first one that differs significantly from it (paired t-test over seeds, 5% level). With three seeds, a "
        "difference is significant only if it is more than 2.5 times the standard deviation of the differences per "
        f"seed, so bold means *not shown to differ*, not *equally good*. {ranks}{italic}"
    )


@once
def ranks_of(section: Section, metric: str) -> dict[str, int]:
    """Map the label of each row to its rank by the metric; rows that cannot be tested are left out.

    Empty if no two rows have enough common seeds for a test, or if the metric of any row is only a bound.
    """
    better = CATALOGUE[metric].better
    rows = [row for row in section.rows if row.mean(metric) is not None]
    if any(is_bound(row, metric) for row in rows):
        return {}
    rows = [row for row in rows if len(row.by_seed(metric)) >= FEWEST_SEEDS]
    ranks = shared_ranks([row.by_seed(metric) for row in rows], better) if better else None
    return {row.label: rank for row, rank in zip(rows, ranks or [], strict=False) if rank is not None}


OVER_IMAGES = (
    "In parentheses, for a single seed: the standard error over test images (of a KID, over its blocks of images)."
)
# Maximum number of columns of a Markdown table, for readability. The HTML page has all columns.
MOST_COLUMNS = 8


@dataclass(frozen=True)
class Extra:
    """A column that does not show a metric.

    ``show`` gives the text of a row's cell. A ``wide`` column appears only in the HTML page.
    """

    heading: str
    show: Callable[[Row], str]
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """A table of rows in two forms, both in Markdown.

    ``markdown`` is grouped by families of variants and has at most ``MOST_COLUMNS`` columns. ``html``, for the HTML
    page, has all columns and no groups, because readers sort and filter it there.
    """

    markdown: str
    html: str


def metric_table(
    section: Section,
    by: str,
    metrics: Sequence[str],
    before: Sequence[Extra] = (),
    after: Sequence[Extra] = (),
    below: Sequence[str] = (),
) -> Table:
    """A table of ``metrics``, sorted by the metric ``by``.

    It shows the mean ± standard deviation over seeds (:func:`number`). A footnote gives the reason for each missing
    number. Marks show which numbers the evaluation warned about and which are only bounds. ``before`` and ``after`` are
    further columns on the left and on the right of the metrics, and ``below`` are lines that explain their marks.
    """
    best = {metric: best_labels(section, metric) for metric in metrics}
    of_family = {metric: best_of_families(section, metric) for metric in metrics}
    notes: dict[str, int] = {}
    warned: dict[str, None] = {}

    def value(row: Row, metric: str) -> str:
        values = row.values(metric)
        if values is None:
            return f"– <sup>{notes.setdefault(row.reason(metric), len(notes) + 1)}</sup>"
        text = number(row, metric)
        if row.label in best[metric]:
            text = f"**{text}**"
        elif row.label in of_family[metric]:
            text = f"*{text}*"
        found = row.warnings(metric)
        warned.update(dict.fromkeys(found))
        return " ".join([text, *(["†"] if found else []), *([MARK] if is_bound(row, metric) else [])])

    rows = sorted_rows(section, by)
    cells = {
        row: [*(one.show(row) for one in before), *(value(row, m) for m in metrics), *(one.show(row) for one in after)]
        for row in rows
    }
    headings = [
        *(one.heading for one in before), *(_heading(section, m) for m in metrics), *(one.heading for one in after),
    ]  # fmt: skip
    wide = [*(one.wide for one in before), *(CATALOGUE[m].wide for m in metrics), *(one.wide for one in after)]
    narrow = [i for i, is_wide in enumerate(wide) if not is_wide][: MOST_COLUMNS - 1]
    header = ["variant", *(headings[i] for i in narrow)]
    groups = by_family(rows)
    lines: list[list[str]] = []
    for family, members in groups.items():
        if len(groups) > 1:
            lines.append([f"**{escape(family)}**", *[""] * len(narrow)])
        lines += [[row_link(row), *(cells[row][i] for i in narrow)] for row in members]
    footnotes = [f"<sup>{number}</sup> {escape(reason)}" for reason, number in notes.items()]
    footnotes += [f"† {escape(warning)}" for warning in warned]
    footnotes += [*errors_over_images(rows, metrics), *explain(section.rows, metrics), *below]
    below = ["  \n".join(footnotes)] if footnotes else []
    flat = [[row_link(row), escape(row.family), *cells[row]] for row in rows]
    hidden = ", ".join(text for i, text in enumerate(headings) if i not in narrow)
    elsewhere = [f"In the HTML page (`make report HTML=1`), this table also has: {hidden}."] if hidden else []
    return Table(
        "\n\n".join([table(header, lines), *elsewhere, *below]),
        "\n\n".join([table(["variant", "family", *headings], flat, left=2), *below]),
    )


def errors_over_images(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """The explanation of the parentheses of :func:`number`, if any of these numbers has them."""
    singles = [row for row in rows if len(row.records) == 1]
    return [OVER_IMAGES] if any(row.standard_error(metric) is not None for row in singles for metric in metrics) else []


def row_link(row: Row) -> str:
    """A row's label as a link to the variant's page."""
    return f"[{escape(row.label)}](variants/{file_name(row.variant)}.md)"


def number(row: Row, metric: str) -> str:
    """The number of a row in words; "–" if it has none.

    The mean ± the sample standard deviation over seeds or, for one seed, the number and its standard error in
    parentheses, if it has one. Both are rounded to the second significant digit of the deviation or error, with at most
    one decimal place more than the metric's. A deviation below the last of these decimal places is shown as "<" and one
    unit of it, because 0 would say that all seeds agree.
    """
    values, decimals = row.values(metric), CATALOGUE[metric].decimals
    if not values:
        return "–"
    several = len(values) > 1
    deviation = statistics.stdev(values) if several else row.standard_error(metric)
    if deviation is not None and deviation > 0:
        decimals = min(decimals + 1, max(0, 1 - math.floor(math.log10(deviation))))
    text = f"{statistics.fmean(values):.{decimals}f}"
    if deviation is None:
        return text
    spread = f"{deviation:.{decimals}f}"
    if deviation > 0 and float(spread) == 0:
        spread = f"<{10**-decimals:.{decimals}f}"
    return f"{text} ± {spread}" if several else f"{text} ({spread})"


def _heading(section: Section, metric: str) -> str:
    return f"{escape(section.label(metric))}{ARROWS[CATALOGUE[metric].better]}"


def by_family(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Map each family of variants to its rows, in the order of ``rows``; the family of the first row comes first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.family, []).append(row)
    return groups


@once
def best_of_families(section: Section, metric: str) -> set[str]:
    """The labels of the best row of each family that has several rows with the metric.

    Empty if the metric of any row is only a bound, as in :func:`best_labels`.
    """
    if CATALOGUE[metric].better is None or any(is_bound(row, metric) for row in section.rows):
        return set()
    having = [row for row in sorted_rows(section, metric) if row.mean(metric) is not None]
    return {rows[0].label for rows in by_family(having).values() if len(rows) > 1}


def best_of_each_family(section: Section, metric: str, among: Collection[Row]) -> list[Row]:
    """The best of the rows ``among`` of each family by ``metric``, the best family first.

    Rows without the metric are chosen only if no other row of the family has it, and by the metric that the leaderboard
    is sorted by.
    """
    having = [row for row in sorted_rows(section, metric) if row.mean(metric) is not None]
    others = [row for row in sorted_rows(section, sort_metric(section)) if row.mean(metric) is None]
    return [rows[0] for rows in by_family([row for row in (*having, *others) if row in among]).values()]


@once
def best_labels(section: Section, metric: str) -> set[str]:
    """The labels of the row with the best mean and of the rows that share its rank.

    Empty if the row with the best mean has too few seeds, if all rows with enough seeds have the same mean, if the
    metric has no better direction, or if the metric of any row is only a bound, because its true value is not known.
    """
    better = CATALOGUE[metric].better
    rows = [row for row in section.rows if row.mean(metric) is not None]
    if better is None or any(is_bound(row, metric) for row in rows):
        return set()
    # A row with too few seeds cannot be tested against the best row, so it is not marked.
    rows = [row for row in rows if len(row.by_seed(metric)) >= FEWEST_SEEDS]
    means = {row.label: row.mean(metric) or 0.0 for row in rows}
    if len(set(means.values())) < 2:
        return set()
    best = (max if better == "higher" else min)(rows, key=lambda row: means[row.label])
    if sorted_rows(section, metric)[0].mean(metric) != best.mean(metric):
        return set()
    return {best.label, *(row.label for row in tied_with_best(section, best, metric))}


def tied_with_best(section: Section, best: Row, metric: str) -> list[Row]:
    """The other rows with the rank of ``best``, the row with the best mean among those with enough seeds, by mean."""
    ranks = ranks_of(section, metric)
    return [row for row in sorted_rows(section, metric) if row is not best and ranks.get(row.label) == 1]


def cost(section: Section) -> Table:
    """Time and memory of every row, fastest first, those on the most frequent device before the others."""
    devices = times.devices(section)

    def key(row: Row) -> tuple[int, float, str]:
        return devices.index(times.device(row)), row.fastest.timing.get("train_seconds", math.inf), row.label

    rows = sorted(section.rows, key=key)
    header = ["variant", "parameters", "train s ↓", "images/s ↑", "evaluation s ↓", "whole run s ↓", "peak memory ↓"]
    lines = [
        [
            row_link(row), f"{row.first.parameters:,}",
            *(times.timing(section, row, name) for name in ("train_seconds", "train_images_per_second", "eval_seconds",
                                              "total_seconds")),
            _memory(row),
        ]
        for row in rows
    ]  # fmt: skip
    flat = [[line[0], escape(row.family), *line[1:]] for row, line in zip(rows, lines, strict=True)]
    below = times.notes(section)
    return Table(
        "\n\n".join([table(header, lines), *below]),
        "\n\n".join([table(["variant", "family", *header[1:]], flat, left=2), *below]),
    )


def _memory(row: Row) -> str:
    """The highest peak on the device of the row's times: on a GPU the memory of tensors, on a CPU of the process."""
    usual = [record for record in row.records if device_of(record) == device_of(row.fastest)]
    peaks = [record.details.get("peak_memory_bytes") for record in usual]
    known = [peak for peak in peaks if isinstance(peak, int)]
    return f"{max(known) / 2**30:.1f} GiB" if known else "–"


def protocol(section: Section) -> str:
    """The table that describes the protocol: data, observation model, budget, evaluation, hardware and versions."""
    record = section.any_record
    dataset, training = record.config.get("dataset", {}), record.config.get("training", {})
    records = (*section.records, *section.failed)
    environments = [r.environment for r in records]
    devices = _counted(f"{e.get('device', 'unknown')}, threads: {e.get('threads', '?')}" for e in environments)
    versions = _counted(f"Python {e.get('python', '?')}, torch {e.get('torch', '?')}" for e in environments)
    commits = _distinct(str(e.get("commit", "unknown"))[:10] + ("+" if e.get("dirty") else "") for e in environments)
    dates = sorted({r.finished[:10] for r in records})
    binarised = {
        "dynamic": "dynamic binarisation of training images; test images binarised once, with a fixed seed",
        "fixed": "static binarisation, with a fixed seed",
        "threshold": "binarised with a threshold of 0.5",
    }
    pixels = binarised.get(str(dataset.get("binarise")), "8-bit")
    rows = [
        ["images", f"{escape(data_title(record))}; {pixels}{_other_data(section)}"],
        *([["condition", f"models are conditioned on {escape(section.given)}"]] if section.given else []),
        [
            "observation model",
            f"{escape(str(dataset.get('observation')).replace('_', ' '))}, the same for every variant",
        ],
        *([["training loss", _training_loss(dataset)]] if "loss" in dataset else []),
        [
            "budget",
            "; ".join(
                [
                    f"{budget(training)}, {escape(training.get('precision'))}{_compiled(section)}",
                    *selection(training),
                ]
            ),
        ],
        *([["network", used]] if (used := _network(section)) else []),
        ["importance samples", f"K = {record.importance_samples} per image"],
        # Runs that failed in training have evaluated none.
        *([["test images", f"{images:,}"]] if (images := max(r.evaluated_images for r in records)) else []),
        *([["outliers", outliers]] if (outliers := _outliers(section)) else []),
        ["hardware", escape(devices)],
        ["versions", escape(versions)],
        ["commits", f"{escape(commits)} (+: with uncommitted changes)" if "+" in commits else escape(commits)],
        ["finished", escape(" to ".join(dict.fromkeys((dates[0], dates[-1]))))],
    ]
    return table(["protocol", f"profile {code(section.profile)}"], rows, align="left")


def _network(section: Section) -> str:
    """The most frequent network of the section's records, in words; "" if it is not known."""
    networks = Counter(network(record.config.get("network", {})) for record in (*section.records, *section.failed))
    used = networks.most_common(1)[0][0]
    return f"{used}, unless a row or its variant's page names another" if used else ""


def network(config: Mapping[str, Any], latent_size: bool = True) -> str:
    """The network of a configuration in words: its name, its sizes, its activation and, if asked, its latent size."""
    hidden = config.get("hidden")
    sizes = "-".join(map(str, hidden)) if isinstance(hidden, list) else ""
    width = f"width {config['width']}" if "width" in config else ""
    text = " ".join(str(part) for part in (config.get("name"), sizes or width, config.get("activation")) if part)
    latent = f"latent size {config['latent_size']}" if latent_size and "latent_size" in config else ""
    return escape(", ".join(part for part in (text, latent) if part))


def _compiled(section: Section) -> str:
    """Whether training steps were compiled, and in how many runs if not in all of them."""
    compiled = sum(bool(record.details.get("compiled")) for record in section.records)
    if not compiled:
        return ""
    return ", compiled" + (f" ({compiled} of {len(section.records)} runs)" if compiled < len(section.records) else "")


def _training_loss(dataset: Mapping[str, Any]) -> str:
    loss = escape(str(dataset["loss"]).replace("_", " "))
    return f"{loss} on grey pixels instead of the likelihood; its values are not comparable with log p(x)"


def _outliers(section: Section) -> str:
    """The images that were used as outliers, from the details of the records; "" if there are none."""
    named = set()
    for setting, fact, before in (
        ("dataset", "dataset", "test images of "),
        ("class", "class", "test images of the left-out class "),
        ("class", "normal_classes", "test images of all classes but "),
    ):
        found = [r.details.get(f"outliers_{setting}") for r in section.records]
        named |= {f"{before}{escape(str(entry[fact]))}" for entry in found if isinstance(entry, dict) and fact in entry}
    return "; ".join(sorted(named))


def budget(training: Mapping[str, Any]) -> str:
    """The training budget in words: length, batch size, optimiser, learning rate and schedule."""
    return (
        f"{_length(training)}, batches of {escape(training.get('batch_size'))}, {escape(training.get('optimiser'))} at "
        f"{escape(training.get('learning_rate'))} ({escape(training.get('schedule'))})"
    )


def selection(training: Mapping[str, Any]) -> list[str]:
    """Which weights are evaluated and when training ends early, in words; empty for the last weights of the budget."""
    if training.get("select") != "validation":
        return []
    by = " (by the variant's own loss)" if training.get("select_by") == "objective" else ""
    patience = training.get("patience")
    return [
        f"weights of the best validation{by}",
        *(
            []
            if patience is None
            else [f"training ends early after {count(patience)} validations without a better one"]
        ),
    ]


def _length(training: Mapping[str, Any]) -> str:
    steps = training.get("steps")
    return f"{count(training.get('epochs'))} epochs" if steps is None else f"{count(steps)} steps"


def count(value: Any) -> str:
    """Format an integer of a configuration with commas; any other value is only escaped."""
    return f"{value:,}" if isinstance(value, int) else escape(value)


def _other_data(section: Section) -> str:
    """A note with the digest of the images, if other sections of the board differ only in their images; else ""."""
    return f"; not the same images as in the other sections: SHA-256 {code(section.data, 16)}" if section.data else ""


def _distinct(texts: Iterable[str]) -> str:
    return "; ".join(sorted(set(texts)))


def _counted(texts: Iterable[str]) -> str:
    """The different texts, the most frequent first, with the number of runs of each if there are several."""
    counts = Counter(texts)
    names = most_frequent(counts.elements())
    return "; ".join(f"{name} ({counted(counts[name], 'run')})" for name in names) if len(names) > 1 else "".join(names)


def limits(section: Section) -> str:
    """Distances for comparison: of training images, PCA reconstructions and uniform noise to the test images."""
    lines = []
    for space, label in (("features", "classifier features"), ("inception", "Inception")):
        found = [r.details.get(f"limits_{space}") for r in section.records]
        known = next((entry for entry in found if isinstance(entry, dict)), None)
        if known is not None:
            values = [known.get(name) for name in ("train", PCA, "noise")]
            shown = [f"{v:.2f}" if isinstance(v, int | float) else "–" for v in values]
            lines.append([f"FID, {label}", *shown])
    header = ["distance to test images", "training images", "32-component PCA of test images", "uniform noise"]
    return table(header, lines) if lines else ""


PCA = "pca_32_reconstruction"


@once
def pca_distance(section: Section) -> float | None:
    """The distance of PCA reconstructions in the features of the data set's classifier; None if no record has it."""
    for record in section.records:
        found = record.details.get("limits_features")
        if isinstance(found, dict) and isinstance(value := found.get(PCA), int | float):
            return float(value)
    return None


def below(section: Section) -> str:
    """How many rows generate images that are further from the test images than PCA reconstructions are."""
    line = pca_distance(section)
    having = [row for row in section.rows if row.mean("fid_features") is not None]
    if line is None or not having:
        return ""
    worse = [row for row in sorted_rows(section, "fid_features") if (row.mean("fid_features") or 0.0) > line]
    if not worse:
        return f"The samples of every row are closer to the test images than PCA reconstructions are ({line:.2f})."
    return (
        f"**The samples of {len(worse)} of {len(having)} rows are further from the test images than PCA "
        f"reconstructions are** ({line:.2f}): {', '.join(escape(row.label) for row in worse)}."
    )


def reference(section: Section, family: Family) -> str:
    """A sentence with the reference values of a family, which are measured without a model."""
    details = [r.details.get(REFERENCE + family.name) for r in section.records]
    known: dict[str, float] = next((entry for entry in details if entry), {})
    numbers = [f"{known[name]:.4g} ({escape(setting(name))})" for name in family.metrics if known.get(name) is not None]
    return f"{family.reference} {', '.join(numbers)}." if family.reference and numbers else ""


def setting(metric: str) -> str:
    """The part of a metric's label after the comma, which distinguishes it from similar metrics."""
    return CATALOGUE[metric].label.partition(", ")[2]


def absent(section: Section, family: Family) -> str:
    """A sentence about the columns of a family that no row has, with the most frequent reason for each."""
    having = [row for row in section.rows if any(row.mean(metric) is not None for metric in family.metrics)]
    lacking: dict[str, list[str]] = {}
    for metric in columns(section, family) if having else ():
        if not measured(section, [metric]):
            reason = most_frequent(row.reason(metric) for row in having)[0]
            lacking.setdefault(reason, []).append(escape(section.label(metric)))
    found = [f"{', '.join(labels)} ({escape(reason)})" for reason, labels in lacking.items()]
    return f"Not available for any row: {'; '.join(found)}." if found else ""


def shares_features(row: Row, metric: str) -> bool:
    """Whether the metric compares features of a classifier and the row's loss does, too, so that it is favoured."""
    return CATALOGUE[metric].judged and any("teacher" in record.details for record in row.records)


def judge(section: Section) -> str:
    """Sentences about the networks whose features are used by distances and by losses."""
    sentences = []
    if measured(section, ["fid_inception"]):
        sentences.append(
            "Distances in Inception features can be compared with published values, but not with those in other "
            "features."
        )
    accuracies = sorted({r.details["judge_accuracy"] for r in section.records if _is_number(r, "judge_accuracy")})
    if accuracies:
        shown = ", ".join(f"{100 * accuracy:.2f}%" for accuracy in accuracies)
        sentences.append(f"The classifier whose features are used has a test accuracy of {shown}.")
    teachers = {(r.variant, undetailed(str(r.details["teacher"]))) for r in section.records if "teacher" in r.details}
    sentences += [
        f"The loss of {escape(variant)} uses {escape(teacher)}. A loss on features may favour a variant in distances "
        "between features."
        for variant, teacher in sorted(teachers)
    ]
    return " ".join(sentences)


def _is_number(record: Record, name: str) -> bool:
    return isinstance(record.details.get(name), int | float)


def measured(section: Section, metrics: Sequence[str]) -> list[str]:
    """Those of ``metrics`` that at least one row has, in the given order."""
    return [metric for metric in metrics if any(row.mean(metric) is not None for row in section.rows)]


def commands(section: Section) -> str:
    """The commands that run the rows again: one for all rows with default settings, one for each other row."""
    rows = sorted_rows(section, sort_metric(section))
    plain = [row for row in rows if not row.overrides]
    lines = []
    if plain:
        most = max(plain, key=lambda row: len(row.records))
        lines.append(f"- rows with default settings (replace NAME by the variant): {command(section, most, 'NAME')}")
    lines += [f"- {escape(row.label)}: {command(section, row)}" for row in rows if row.overrides]
    return "\n".join(lines)


def command(section: Section, row: Row, variant: str | None = None) -> str:
    """The command that runs a row again, as inline code. ``variant`` replaces the name of the row's variant."""
    seeds = ",".join(str(record.seed) for record in row.records)
    text = (
        f"make bench VARIANTS={variant or argument(row.variant)} DATASETS={argument(section.dataset)} SEEDS={seeds} "
        f"PROFILE={argument(section.profile)}"
    )
    if row.overrides:
        text += f" OVERRIDES={quoted(row.overrides)}"
    return code(text, 2000)


def failures(records: Sequence[Record]) -> str:
    """A list of failed or diverged runs with their errors."""
    lines = []
    for record in sorted(records, key=lambda r: r.run_id):
        error = record.error or {}
        what = f"{error.get('type', 'unknown')}: {error.get('message', '')}"
        lines.append(f"- {escape(record.run_id)}: **{escape(record.status)}**, {escape(what)}")
    return "\n".join(lines)

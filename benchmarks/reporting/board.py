"""A board: everything that was measured on one data set."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.records.catalogue import CATALOGUE, Family, Group, families, groups
from benchmarks.records.load import highest_load
from benchmarks.records.record import REFERENCE, Record
from benchmarks.records.significance import FEWEST_SEEDS, differ, shared_ranks
from benchmarks.reporting.ceilings import MARK, explain, is_bound
from benchmarks.reporting.markdown import argument, code, escape, file_name, quoted, table
from benchmarks.reporting.rows import Row, Section, data_title, once, undetailed

ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}


def questions(group: Group | None = None) -> dict[str, tuple[str, ...]]:
    """Question of a group of families, or of those in none -> the metrics that answer it, the first that a board
    has."""
    return {f.title.lower(): f.headline for f in families() if f.headline and f.group is group}


def all_questions() -> dict[str, tuple[str, ...]]:
    """The questions of all groups, those in none first."""
    return {question: metrics for group in groups() for question, metrics in questions(group).items()}


def sort_metric(section: Section) -> str:
    """The column that orders the leaderboard: log p(x) in the board's unit."""
    return in_unit(section, families()[0].headline[-1])


# Names of other pages, and of what else stands beside a board.
_RESERVED = {
    "readme",
    "reproduction",
    "speed",
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
    """The name of a data set's page; one that is the name of another page gets its own hash."""
    return f"{file_name(dataset, unlike=_RESERVED)}.md"


def heading(sections: Sequence[Section], section: Section) -> str:
    """The heading of a section on its page: "Profile quick", with a number where the page has several of that profile;
    for conditional models what they are given before it. ``sections`` has those of the page in their order, and may
    have others."""
    alike = [
        other
        for other in sections
        if (other.dataset, other.profile, other.condition) == (section.dataset, section.profile, section.condition)
    ]
    title = f"Given {section.given}: profile {section.profile}" if section.given else f"Profile {section.profile}"
    return title + (f", {alike.index(section) + 1}" if len(alike) > 1 else "")


def pictures_file(dataset: str) -> str:
    """The path of the page with the pictures of every row of a data set."""
    return f"pictures/{page_file(dataset)}"


@once
def in_unit(section: Section, metric: str) -> str:
    """A metric, or the one that stands for it in the unit of this board."""
    other = CATALOGUE[metric].in_other_unit if metric in CATALOGUE else None
    return other if other and any(other in r.metrics | r.not_applicable for r in section.records) else metric


def columns(section: Section, family: Family) -> list[str]:
    """The metrics of a family's table, those of other families among them."""
    shown = [name for name, metric in family.metrics.items() if metric.column]
    guests = {name: metric.also_in[family.name] for name, metric in CATALOGUE.items() if family.name in metric.also_in}
    for name in sorted(guests, key=lambda name: (guests[name], name)):
        shown.insert(guests[name], name)
    return [in_unit(section, name) for name in shown]


def headlines(section: Section, group: Group | None = None) -> list[str]:
    """One metric for each question of a group, or of the families in none: then that of the leaderboard first."""
    members = [family for family in families()[1:] if family.group is group]
    found = [measured(section, family.headline) or family.headline for family in members]
    return [*([] if group else [sort_metric(section)]), *(metrics[0] for metrics in found if metrics)]


def plots(section: Section) -> list[tuple[str, str]]:
    """Pairs (x, y) of metrics that are drawn against each other, then those of a timing and a metric."""
    pairs = [(x, name) for name, metric in CATALOGUE.items() for x in metric.plotted_against]
    pairs.sort(key=lambda pair: pair[0] not in CATALOGUE)
    return [(in_unit(section, x), in_unit(section, y)) for x, y in pairs]


@once
def sorted_rows(section: Section, metric: str) -> list[Row]:
    """Rows from best to worst by ``metric``; those that lack it last, by name."""
    sign = -1 if CATALOGUE[metric].better == "higher" else 1

    def key(row: Row) -> tuple[bool, float, str]:
        mean = row.mean(metric)
        return mean is None, 0.0 if mean is None else sign * mean, row.label

    return sorted(section.rows, key=key)


def leaderboard(section: Section) -> Table:
    """The table of likelihoods and cost."""
    by = sort_metric(section)
    ranks = ranks_of(section, by)
    return metric_table(
        section,
        by,
        columns(section, families()[0]),
        before=[
            *([Extra("rank", lambda row: str(ranks.get(row.label, "–")))] if ranks else []),
            Extra("parameters", lambda row: f"{row.first.parameters:,}", wide=True),
        ],
        after=[
            Extra("train s", lambda row: _timing(row, "train_seconds")),
            Extra("images/s", lambda row: _timing(row, "train_images_per_second"), wide=True),
            Extra("seeds", lambda row: str(len(row.records))),
        ],
        below=busy_note(section.rows),
    )


def ranking_sentence(section: Section) -> str:
    """What ranks, bold and italic numbers mean here."""
    if len(section.rows) < 2:
        return ""
    several = len({row.family for row in section.rows}) > 1
    italic = " The best mean of each family is in *italics*." if several else ""
    if not ranks_of(section, sort_metric(section)):
        return f"Ranks and bold numbers need at least three seeds per variant, so there are none here.{italic}"
    return (
        "**Bold**: the best mean, if it comes from at least three seeds, and every result that does not differ "
        "significantly from it (paired t-test over seeds, 5% level). With three seeds, only differences of more than "
        "2.5 standard deviations are significant, so bold does not mean equally good. Variants with the same rank do "
        f"not differ significantly from the best variant of that rank.{italic}"
    )


@once
def ranks_of(section: Section, metric: str) -> dict[str, int]:
    """Rank by label, for rows that have the metric for enough seeds; empty where seeds are too few to tell any two
    apart, or where a number is only a bound."""
    better = CATALOGUE[metric].better
    rows = [row for row in section.rows if row.mean(metric) is not None]
    if any(is_bound(row, metric) for row in rows):
        return {}
    rows = [row for row in rows if len(row.by_seed(metric)) >= FEWEST_SEEDS]
    ranks = shared_ranks([row.by_seed(metric) for row in rows], better) if better else None
    return {row.label: rank for row, rank in zip(rows, ranks or [], strict=False)}


# The mark of a timing on a busy machine.
BUSY = "§"
# Columns of a table in Markdown: more cannot be read beside one another. The HTML page has them all.
MOST_COLUMNS = 8


@dataclass(frozen=True)
class Extra:
    """A column beside the metrics: its heading, and what it shows of a row. ``wide``: in the HTML page alone."""

    heading: str
    show: Callable[[Row], str]
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """A table of rows. ``markdown`` is grouped by families of variants and has at most ``MOST_COLUMNS`` columns;
    ``html`` (Markdown too, for the HTML page) has all columns and one order, for its readers sort and filter it."""

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
    """A table of ``metrics``, sorted by ``by``: mean ± standard deviation over seeds, a footnote with the reason for
    every number that there is not, and marks on every number that the evaluation warned of and on every one that is
    only a bound. ``below``: what the marks of ``before`` and ``after`` mean."""
    best = {metric: best_labels(section, metric) for metric in metrics}
    of_family = {metric: best_of_families(section, metric) for metric in metrics}
    notes: dict[str, int] = {}
    warned: dict[str, None] = {}

    def value(row: Row, metric: str) -> str:
        values = row.values(metric)
        if values is None:
            return f"– <sup>{notes.setdefault(row.reason(metric), len(notes) + 1)}</sup>"
        text = spread(values, CATALOGUE[metric].decimals)
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
    footnotes += [*explain(section.rows, metrics), *below]
    below = ["  \n".join(footnotes)] if footnotes else []
    flat = [[row_link(row), escape(row.family), *cells[row]] for row in rows]
    hidden = ", ".join(text for i, text in enumerate(headings) if i not in narrow)
    elsewhere = [f"Only in the HTML page (`make report HTML=1`): {hidden}."] if hidden else []
    return Table(
        "\n\n".join([table(header, lines), *elsewhere, *below]),
        "\n\n".join([table(["variant", "family", *headings], flat, left=2), *below]),
    )


def row_link(row: Row) -> str:
    """A row's label, linked to the variant's page."""
    return f"[{escape(row.label)}](variants/{file_name(row.variant)}.md)"


def spread(values: Sequence[float], decimals: int) -> str:
    """Mean, and ± the sample's standard deviation where there is more than one seed; then both are rounded to the
    deviation's second digit, and never shown with more than one decimal more than the metric's own."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.{decimals}f}"
    deviation = statistics.stdev(values)
    if deviation > 0:
        decimals = min(decimals + 1, max(0, 1 - math.floor(math.log10(deviation))))
    return f"{mean:.{decimals}f} ± {deviation:.{decimals}f}"


def _heading(section: Section, metric: str) -> str:
    return f"{escape(section.label(metric))}{ARROWS[CATALOGUE[metric].better]}"


def by_family(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Family of variants -> its rows, in the order of ``rows``; the family of the first row first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.family, []).append(row)
    return groups


@once
def best_of_families(section: Section, metric: str) -> set[str]:
    """The row with the best mean of every family that has several with the metric; as :func:`best_labels`, none where
    a number is only a bound."""
    if CATALOGUE[metric].better is None or any(is_bound(row, metric) for row in section.rows):
        return set()
    having = [row for row in sorted_rows(section, metric) if row.mean(metric) is not None]
    return {rows[0].label for rows in by_family(having).values() if len(rows) > 1}


@once
def best_of_each_family(section: Section, metric: str) -> list[Row]:
    """One row a family: its best by ``metric``, or the first by name where none has it; best families first."""
    return [rows[0] for rows in by_family(sorted_rows(section, metric)).values()]


@once
def best_labels(section: Section, metric: str) -> set[str]:
    """The row with the best mean and those that seeds cannot tell from it. None where that row has too few seeds, where
    all are equal, where neither direction is better, or where a number is only a bound: any other may be better or
    worse than what it stands for."""
    better = CATALOGUE[metric].better
    rows = [row for row in section.rows if row.mean(metric) is not None]
    if better is None or any(is_bound(row, metric) for row in rows):
        return set()
    # A row with too few seeds to be told from the best one is not called the best for that.
    rows = [row for row in rows if len(row.by_seed(metric)) >= FEWEST_SEEDS]
    means = {row.label: row.mean(metric) or 0.0 for row in rows}
    if len(set(means.values())) < 2:
        return set()
    best = (max if better == "higher" else min)(rows, key=lambda row: means[row.label])
    if sorted_rows(section, metric)[0].mean(metric) != best.mean(metric):
        return set()
    return {best.label, *(row.label for row in tied_with(best, rows, metric))}


def tied_with(best: Row, rows: Sequence[Row], metric: str) -> list[Row]:
    """The other ``rows`` that do not differ significantly from ``best`` over seeds. All have at least
    ``FEWEST_SEEDS`` seeds."""
    return [row for row in rows if row is not best and not differ(best.by_seed(metric), row.by_seed(metric))]


def cost(section: Section) -> Table:
    """Time and memory of every row, fastest first."""
    rows = sorted(section.rows, key=lambda row: (row.fastest.timing.get("train_seconds", math.inf), row.label))
    header = ["variant", "parameters", "train s ↓", "images/s ↑", "evaluation s ↓", "whole run s ↓", "peak memory ↓"]
    lines = [
        [
            row_link(row), f"{row.first.parameters:,}",
            *(_timing(row, name) for name in ("train_seconds", "train_images_per_second", "eval_seconds",
                                              "total_seconds")),
            _memory(row),
        ]
        for row in rows
    ]  # fmt: skip
    flat = [[line[0], escape(row.family), *line[1:]] for row, line in zip(rows, lines, strict=True)]
    below = busy_note(rows)
    return Table(
        "\n\n".join([table(header, lines), *below]),
        "\n\n".join([table(["variant", "family", *header[1:]], flat, left=2), *below]),
    )


def _memory(row: Row) -> str:
    peaks = [record.details.get("peak_memory_bytes") for record in row.records]
    known = [peak for peak in peaks if isinstance(peak, int)]
    return f"{max(known) / 2**30:.1f} GiB" if known else "–"


def _timing(row: Row, name: str) -> str:
    value = row.timing(name)
    return "–" if value is None else f"{value:,.0f}" + (f" {BUSY}" if row.is_busy else "")


def busy_note(rows: Sequence[Row]) -> list[str]:
    """What the mark of a timing means, where there is one."""
    loads = [highest_load(row.fastest) for row in rows if row.is_busy]
    if not loads:
        return []
    load, own = max(loads)
    return [
        f"{BUSY} Measured on a busy machine, so the time may be longer than on an idle one: the load per core was up "
        f"to {load:.1f}, of which this benchmark accounts for {own:.1f}."
    ]


def protocol(section: Section) -> str:
    """What was run, in one paragraph and a short table: a reader needs it to know what a number means."""
    record = section.any_record
    dataset, training = record.config.get("dataset", {}), record.config.get("training", {})
    environments = [r.environment for r in (*section.records, *section.failed)]
    devices = _distinct(f"{e.get('device', 'unknown')}, threads: {e.get('threads', '?')}" for e in environments)
    versions = _distinct(f"Python {e.get('python', '?')}, torch {e.get('torch', '?')}" for e in environments)
    commits = _distinct(str(e.get("commit", "unknown"))[:10] + ("+" if e.get("dirty") else "") for e in environments)
    dates = sorted({r.finished[:10] for r in (*section.records, *section.failed)})
    binarised = {
        "dynamic": "binarised anew for every training batch; test images binarised once, with a fixed seed",
        "fixed": "binarised once, with a fixed seed",
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
            f"{budget(training)}, {escape(training.get('precision'))}{_compiled(section)}",
        ],
        ["importance samples", f"K = {record.importance_samples} per image"],
        ["test images", f"{max(r.evaluated_images for r in (*section.records, *section.failed)):,}"],
        *([["outliers", outliers]] if (outliers := _outliers(section)) else []),
        ["hardware", escape(devices)],
        ["versions", escape(versions)],
        ["commits", f"{escape(commits)} (+: with uncommitted changes)" if "+" in commits else escape(commits)],
        ["finished", escape(" to ".join(dict.fromkeys((dates[0], dates[-1]))))],
    ]
    return table(["protocol", f"profile {code(section.profile)}"], rows, align="left")


def _compiled(section: Section) -> str:
    """Whether steps were compiled, and of how many runs where it was not all of them."""
    compiled = sum(bool(record.details.get("compiled")) for record in section.records)
    if not compiled:
        return ""
    return ", compiled" + (f" ({compiled} of {len(section.records)} runs)" if compiled < len(section.records) else "")


def _training_loss(dataset: Mapping[str, Any]) -> str:
    loss = escape(str(dataset["loss"]).replace("_", " "))
    return f"{loss} on grey pixels instead of the likelihood; its values are not comparable with log p(x)"


def _outliers(section: Section) -> str:
    """Which images were told from test images, by the records' details; "" for none."""
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
    """Length, batches and optimiser of a run."""
    return (
        f"{_length(training)}, batches of {escape(training.get('batch_size'))}, {escape(training.get('optimiser'))} at "
        f"{escape(training.get('learning_rate'))} ({escape(training.get('schedule'))})"
    )


def _length(training: Mapping[str, Any]) -> str:
    steps = training.get("steps")
    return f"{count(training.get('epochs'))} epochs" if steps is None else f"{count(steps)} steps"


def count(value: Any) -> str:
    """A number of a configuration, with commas; whatever else stands in its place."""
    return f"{value:,}" if isinstance(value, int) else escape(value)


def _other_data(section: Section) -> str:
    """Which images these are, where a board has sections of several that are the same in all else."""
    return f"; not the same images as in the other sections: SHA-256 {code(section.data, 16)}" if section.data else ""


def _distinct(texts: object) -> str:
    return "; ".join(sorted(set(texts)))  # type: ignore[call-overload]


def limits(section: Section) -> str:
    """What the distances mean here: the same ones for images that no model made."""
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
    """The distance of a PCA's reconstructions in the features of the data set's own classifier."""
    for record in section.records:
        found = record.details.get("limits_features")
        if isinstance(found, dict) and isinstance(value := found.get(PCA), int | float):
            return float(value)
    return None


def below(section: Section) -> str:
    """How many rows generate images that are further from the data than a PCA's reconstructions."""
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
    """What the numbers of a family are read against: what there is without a model."""
    details = [r.details.get(REFERENCE + family.name) for r in section.records]
    known: dict[str, float] = next((entry for entry in details if entry), {})
    numbers = [f"{known[name]:.4g} ({escape(setting(name))})" for name in family.metrics if known.get(name) is not None]
    return f"{family.reference} {', '.join(numbers)}." if family.reference and numbers else ""


def setting(metric: str) -> str:
    """What the label of one of several alike metrics has after a comma."""
    return CATALOGUE[metric].label.partition(", ")[2]


def judge(section: Section) -> str:
    """Which networks judged and taught, in a sentence each."""
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
    sentences += [f"The loss of {escape(variant)} uses {escape(teacher)}." for variant, teacher in sorted(teachers)]
    return " ".join(sentences)


def _is_number(record: Record, name: str) -> bool:
    return isinstance(record.details.get(name), int | float)


def measured(section: Section, metrics: Sequence[str]) -> list[str]:
    """Those of ``metrics`` that at least one row has, in their order."""
    return [metric for metric in metrics if any(row.mean(metric) is not None for row in section.rows)]


def commands(section: Section) -> str:
    """How to run a row again: one line for rows of default settings, one each for the others."""
    rows = sorted_rows(section, sort_metric(section))
    plain = [row for row in rows if not row.overrides]
    lines = []
    if plain:
        most = max(plain, key=lambda row: len(row.records))
        lines.append(f"- rows with default settings (replace NAME by the variant): {command(section, most, 'NAME')}")
    lines += [f"- {escape(row.label)}: {command(section, row)}" for row in rows if row.overrides]
    return "\n".join(lines)


def command(section: Section, row: Row, variant: str | None = None) -> str:
    """The command that repeats a row, as code; with a placeholder ``variant`` in place of the row's own."""
    seeds = ",".join(str(record.seed) for record in row.records)
    text = (
        f"make bench VARIANTS={variant or argument(row.variant)} DATASETS={argument(section.dataset)} SEEDS={seeds} "
        f"PROFILE={argument(section.profile)}"
    )
    if row.overrides:
        text += f" OVERRIDES={quoted(row.overrides)}"
    return code(text, 2000)


def failures(records: Sequence[Record]) -> str:
    """Runs that ended badly, each with its error."""
    lines = []
    for record in sorted(records, key=lambda r: r.run_id):
        error = record.error or {}
        what = f"{error.get('type', 'unknown')}: {error.get('message', '')}"
        lines.append(f"- {escape(record.run_id)}: **{escape(record.status)}**, {escape(what)}")
    return "\n".join(lines)

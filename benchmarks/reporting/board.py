"""A board: everything that was measured on one data set."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.records.catalogue import CATALOGUE, Family, families
from benchmarks.records.record import Record
from benchmarks.records.significance import FEWEST_SEEDS, differ, interval, shared_ranks
from benchmarks.reporting.ceilings import MARK, explain, is_bound
from benchmarks.reporting.markdown import argument, code, escape, file_name, quoted, table
from benchmarks.reporting.rows import Row, Section, data_title, once

ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}


def questions() -> dict[str, tuple[str, ...]]:
    """Question -> the metrics that answer it, the first that a board has."""
    return {family.title.lower(): family.headline for family in families() if family.headline}


def sort_metric(section: Section) -> str:
    """The column that orders the leaderboard: log p(x) in the board's unit."""
    return in_unit(section, families()[0].headline[-1])


# Names of other pages, and of what else stands beside a board.
_RESERVED = {"readme", "reproduction", "speed", "variants", "figures", "index", "manifest"}


def page_file(dataset: str) -> str:
    """The name of a data set's page; one that is the name of another page gets its own hash."""
    return f"{file_name(dataset, unlike=_RESERVED)}.md"


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


def headlines(section: Section) -> list[str]:
    """One metric for each question, that of the leaderboard first."""
    others = [measured(section, family.headline) or family.headline for family in families()[1:]]
    return [sort_metric(section), *(metrics[0] for metrics in others if metrics)]


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


def leaderboard(section: Section) -> str:
    """The table of likelihoods and cost, and its footnotes."""
    by = sort_metric(section)
    ranks = ranks_of(section, by)
    return metric_table(
        section,
        by,
        columns(section, families()[0]),
        before=[
            *([("rank", lambda row: str(ranks.get(row.label, "–")))] if ranks else []),
            ("parameters", lambda row: f"{row.first.parameters:,}"),
        ],
        after=[
            ("train s", lambda row: _timing(row, "train_seconds")),
            ("images/s", lambda row: _timing(row, "train_images_per_second")),
            ("seeds", lambda row: str(len(row.records))),
        ],
    )


def ranking_sentence(section: Section) -> str:
    """What ranks and bold numbers mean here."""
    ranks = ranks_of(section, sort_metric(section))
    if not ranks:
        return (
            "The best mean in bold. No ranks: fewer than three seeds cannot tell variants apart."
            if len(section.rows) > 1
            else ""
        )
    return (
        "The best in bold, with all that seeds cannot tell from it. A rank is one more than the number of variants "
        "that are better beyond noise (paired over seeds: Student's 95% interval of the mean difference leaves out "
        "zero); variants that cannot be told apart share it."
    )


@once
def ranks_of(section: Section, metric: str) -> dict[str, int]:
    """Rank by label, for rows that have the metric; empty where seeds are too few to tell rows apart, or where a number
    is only a bound."""
    better = CATALOGUE[metric].better
    rows = [row for row in section.rows if row.mean(metric) is not None]
    if any(is_bound(row, metric) for row in rows):
        return {}
    ranks = shared_ranks([row.by_seed(metric) for row in rows], better) if better else None
    return {row.label: rank for row, rank in zip(rows, ranks or [], strict=False)}


Extra = tuple[str, Callable[[Row], str]]


def metric_table(
    section: Section, by: str, metrics: Sequence[str], before: Sequence[Extra] = (), after: Sequence[Extra] = ()
) -> str:
    """A table of ``metrics``, sorted by ``by``: mean ± standard deviation over seeds, the best in bold, a footnote with
    the reason for every number that there is not, and marks on every number that the evaluation warned of and on every
    one that is only a bound."""
    header = [
        "variant",
        *(name for name, _ in before),
        *(_heading(section, metric) for metric in metrics),
        *(name for name, _ in after),
    ]
    best = {metric: best_labels(section, metric) for metric in metrics}
    notes: dict[str, int] = {}
    warned: dict[str, None] = {}
    lines = []
    for row in sorted_rows(section, by):
        cells = [row_link(row), *(show(row) for _, show in before)]
        for metric in metrics:
            values = row.values(metric)
            if values is None:
                number = notes.setdefault(row.reason(metric), len(notes) + 1)
                cells.append(f"– <sup>{number}</sup>")
                continue
            text = spread(values, CATALOGUE[metric].decimals)
            text = f"**{text}**" if row.label in best[metric] else text
            found = row.warnings(metric)
            warned |= dict.fromkeys(found)
            marks = [*(["†"] if found else []), *([MARK] if is_bound(row, metric) else [])]
            cells.append(" ".join([text, *marks]))
        lines.append([*cells, *(show(row) for _, show in after)])
    footnotes = [f"<sup>{number}</sup> {escape(reason)}" for reason, number in notes.items()]
    footnotes += [f"† {escape(warning)}" for warning in warned]
    footnotes += explain(section.rows, metrics)
    return "\n\n".join([table(header, lines), *(["  \n".join(footnotes)] if footnotes else [])])


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


def by_family(section: Section) -> str:
    """The rows of every family of variants, best first; "" where all are of one family."""
    lines: dict[str, list[str]] = {}
    for row in sorted_rows(section, sort_metric(section)):
        lines.setdefault(row.family, []).append(row_link(row))
    order = sorted(lines, key=lambda family: (family == "other", family))
    rows = [[escape(family), ", ".join(lines[family])] for family in order]
    return table(["family", "variants, best first"], rows, "left") if len(rows) > 1 else ""


@once
def best_labels(section: Section, metric: str) -> set[str]:
    """The row with the best mean and those that seeds cannot tell from it; none where all are equal, where neither
    direction is better, or where a number is only a bound: any other may be better or worse than what it stands for."""
    better = CATALOGUE[metric].better
    rows = [row for row in section.rows if row.mean(metric) is not None]
    means = {row.label: row.mean(metric) or 0.0 for row in rows}
    if better is None or len(set(means.values())) < 2 or any(is_bound(row, metric) for row in rows):
        return set()
    best = (max if better == "higher" else min)(rows, key=lambda row: means[row.label])
    values = best.by_seed(metric)
    if len(values) < FEWEST_SEEDS:
        return {row.label for row in rows if means[row.label] == means[best.label]}
    # A row with too few seeds to be told from the best one is not called the best for that.
    return {
        row.label
        for row in rows
        if row is best or (len(values.keys() & row.by_seed(metric).keys()) >= FEWEST_SEEDS
                           and not differ(values, row.by_seed(metric)))
    }  # fmt: skip


def intervals(section: Section, metrics: Sequence[str]) -> str:
    """Student's 95% interval of every row's mean over its seeds, for rows with two seeds or more; "" without any."""
    lines = []
    for row in sorted_rows(section, metrics[0]) if metrics else ():
        found = [interval(row.values(metric) or []) for metric in metrics]
        if any(found):
            shown = [_between(ends, CATALOGUE[m].decimals) for ends, m in zip(found, metrics, strict=True)]
            lines.append([row_link(row), *shown, str(len(row.records))])
    header = ["variant", *(f"{escape(section.label(m))} ({CATALOGUE[m].unit})" for m in metrics), "seeds"]
    return table(header, lines) if lines else ""


def _between(ends: tuple[float, float] | None, decimals: int) -> str:
    return "–" if ends is None else f"{ends[0]:.{decimals}f} to {ends[1]:.{decimals}f}"


def cost(section: Section) -> str:
    """Time and memory of every row, fastest first."""
    rows = sorted(
        section.rows, key=lambda row: (statistics.fmean(row.timing("train_seconds") or [math.inf]), row.label)
    )
    header = ["variant", "parameters", "train s ↓", "images/s ↑", "evaluation s ↓", "whole cell s ↓", "peak memory ↓"]
    lines = [
        [
            row_link(row), f"{row.first.parameters:,}",
            *(_timing(row, name) for name in ("train_seconds", "train_images_per_second", "eval_seconds",
                                              "total_seconds")),
            _memory(row),
        ]
        for row in rows
    ]  # fmt: skip
    return table(header, lines)


def _memory(row: Row) -> str:
    peaks = [record.details.get("peak_memory_bytes") for record in row.records]
    known = [peak for peak in peaks if isinstance(peak, int)]
    return f"{max(known) / 2**30:.1f} GiB" if known else "–"


def _timing(row: Row, name: str) -> str:
    values = row.timing(name)
    return "–" if values is None else f"{statistics.fmean(values):,.0f}"


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
        "dynamic": "binarised dynamically in training, test images once from a fixed seed",
        "fixed": "binarised once from a fixed seed",
        "threshold": "binarised by a threshold at one half",
    }
    pixels = binarised.get(str(dataset.get("binarise")), "8-bit")
    rows = [
        ["images", f"{escape(data_title(record))}; {pixels}{_other_data(section)}"],
        *([["condition", f"models are given {escape(section.given)}"]] if section.given else []),
        [
            "observation model",
            f"{escape(str(dataset.get('observation')).replace('_', ' '))}, the same for every variant",
        ],
        [
            "budget",
            f"{_length(training)}, batches of {escape(training.get('batch_size'))}, "
            f"{escape(training.get('optimiser'))} at {escape(training.get('learning_rate'))} "
            f"({escape(training.get('schedule'))}), {escape(training.get('precision'))}",
        ],
        ["importance samples", f"K = {record.importance_samples} an image"],
        ["test images", f"{max(r.evaluated_images for r in (*section.records, *section.failed)):,}"],
        ["hardware", escape(devices)],
        ["versions", escape(versions)],
        ["commits", f"{escape(commits)} (+: with uncommitted changes)" if "+" in commits else escape(commits)],
        ["finished", escape(" to ".join(dict.fromkeys((dates[0], dates[-1]))))],
    ]
    return table(["protocol", f"profile {code(section.profile)}"], rows, align="left")


def _length(training: Mapping[str, Any]) -> str:
    steps = training.get("steps")
    return f"{escape(training.get('epochs'))} epochs" if steps is None else f"{escape(steps)} steps"


def _other_data(section: Section) -> str:
    """Which images these are, where a board has sections of several that are the same in all else."""
    return f"; other images than in the other sections: SHA-256 {code(section.data, 16)}" if section.data else ""


def _distinct(texts: object) -> str:
    return "; ".join(sorted(set(texts)))  # type: ignore[call-overload]


def limits(section: Section) -> str:
    """What the distances mean here: the same ones for images that no model made."""
    lines = []
    for space, label in (("features", "own features"), ("inception", "Inception")):
        found = [r.details.get(f"limits_{space}") for r in section.records]
        known = next((entry for entry in found if isinstance(entry, dict)), None)
        if known is not None:
            values = [known.get(name) for name in ("train", "pca_32_reconstruction", "noise")]
            shown = [f"{v:.2f}" if isinstance(v, int | float) else "–" for v in values]
            lines.append([f"FID, {label}", *shown])
    header = ["distance to test images", "training images", "32-component PCA of test images", "uniform noise"]
    return table(header, lines) if lines else ""


def judge(section: Section) -> str:
    """Which networks judged and taught, in a sentence each."""
    sentences = []
    accuracies = sorted({r.details["judge_accuracy"] for r in section.records if _is_number(r, "judge_accuracy")})
    if accuracies:
        shown = ", ".join(f"{100 * accuracy:.2f}%" for accuracy in accuracies)
        sentences.append(f"The data set's own classifier has a test accuracy of {shown}.")
    teachers = {(r.variant, str(r.details["teacher"])) for r in section.records if "teacher" in r.details}
    sentences += [f"{escape(variant)} trained against {escape(teacher)}." for variant, teacher in sorted(teachers)]
    return " ".join(sentences)


def _is_number(record: Record, name: str) -> bool:
    return isinstance(record.details.get(name), int | float)


def measured(section: Section, metrics: Sequence[str]) -> list[str]:
    """Those of ``metrics`` that at least one row has, in their order."""
    return [metric for metric in metrics if any(row.mean(metric) is not None for row in section.rows)]


def commands(section: Section) -> str:
    """How to run each row again."""
    rows = sorted_rows(section, sort_metric(section))
    return "\n".join(f"- {escape(row.label)}: {command(section, row)}" for row in rows)


def command(section: Section, row: Row) -> str:
    """The command that repeats a row, as code."""
    seeds = ",".join(str(record.seed) for record in row.records)
    text = (
        f"make bench VARIANTS={argument(row.variant)} DATASETS={argument(section.dataset)} SEEDS={seeds} "
        f"PROFILE={argument(section.profile)}"
    )
    if row.overrides:
        text += f" OVERRIDES={quoted(row.overrides)}"
    return code(text, 2000)


def failures(records: Sequence[Record]) -> str:
    """Cells that ended badly, each with its error."""
    lines = []
    for record in sorted(records, key=lambda r: r.run_id):
        error = record.error or {}
        what = f"{error.get('type', 'unknown')}: {error.get('message', '')}"
        lines.append(f"- {escape(record.run_id)}: **{escape(record.status)}**, {escape(what)}")
    return "\n".join(lines)

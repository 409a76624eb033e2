"""A board: everything that was measured on one data set."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from benchmarks.metrics.catalogue import CATALOGUE
from benchmarks.reporting.markdown import code, escape, table
from benchmarks.reporting.rows import Row, Section, data_title
from benchmarks.results import Record

ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}
LIKELIHOOD_NATS = ("elbo", "log_likelihood", "kl", "active_units", "mse")
QUALITY = ("fid_features", "kid_features", "precision", "recall", "density", "coverage", "fid_inception")
RECONSTRUCTION = ("mse", "psnr", "ssim", "ms_ssim", "feature_distance", "reconstruction_fid_features")
REPRESENTATION = (
    "knn_accuracy", "linear_probe_accuracy", "active_units", "mutual_information", "aggregate_kl", "code_perplexity",
    "category_accuracy",
)  # fmt: skip
SAMPLERS = ("fid_features", "fid_features_gmm")
LIKELIHOOD_BITS = ("elbo_bits_per_dim", "log_likelihood_bits_per_dim", "kl", "active_units", "mse")


def sort_metric(section: Section) -> str:
    """The column that orders the leaderboard: log p(x) in the board's unit."""
    in_bits = any("log_likelihood_bits_per_dim" in r.metrics | r.not_applicable for r in section.records)
    return "log_likelihood_bits_per_dim" if in_bits else "log_likelihood"


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
    metrics = LIKELIHOOD_BITS if by.endswith("bits_per_dim") else LIKELIHOOD_NATS
    return metric_table(
        section,
        by,
        metrics,
        before=[("parameters", lambda row: f"{row.first.parameters:,}")],
        after=[
            ("train s", lambda row: _timing(row, "train_seconds")),
            ("images/s", lambda row: _timing(row, "train_images_per_second")),
            ("seeds", lambda row: str(len(row.records))),
        ],
    )


Extra = tuple[str, Callable[[Row], str]]


def metric_table(
    section: Section, by: str, metrics: Sequence[str], before: Sequence[Extra] = (), after: Sequence[Extra] = ()
) -> str:
    """A table of ``metrics``, sorted by ``by``: mean ± standard deviation over seeds, the best in bold, and a footnote
    with the reason for every number that there is not."""
    header = ["variant", *(name for name, _ in before), *map(_heading, metrics), *(name for name, _ in after)]
    best = {metric: _best(section.rows, metric) for metric in metrics}
    notes: dict[str, int] = {}
    lines = []
    for row in sorted_rows(section, by):
        cells = [escape(row.label), *(show(row) for _, show in before)]
        for metric in metrics:
            values = row.values(metric)
            if values is None:
                number = notes.setdefault(row.reason(metric), len(notes) + 1)
                cells.append(f"– <sup>{number}</sup>")
            else:
                text = spread(values, CATALOGUE[metric].decimals)
                cells.append(f"**{text}**" if statistics.fmean(values) == best[metric] else text)
        lines.append([*cells, *(show(row) for _, show in after)])
    footnotes = [f"<sup>{number}</sup> {escape(reason)}" for reason, number in notes.items()]
    return "\n\n".join([table(header, lines), *(["  \n".join(footnotes)] if footnotes else [])])


def spread(values: Sequence[float], decimals: int) -> str:
    """Mean, and ± the sample's standard deviation where there is more than one seed."""
    mean = f"{statistics.fmean(values):.{decimals}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{decimals}f}"


def _heading(metric: str) -> str:
    entry = CATALOGUE[metric]
    return f"{entry.label}{ARROWS[entry.better]}"


def _best(rows: Sequence[Row], metric: str) -> float | None:
    better = CATALOGUE[metric].better
    means = [mean for mean in (row.mean(metric) for row in rows) if mean is not None]
    # Where all are equal, none is best.
    if better is None or len(set(means)) < 2:
        return None
    return max(means) if better == "higher" else min(means)


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
    binarised = {"dynamic": "binarised dynamically in training, test images once from a fixed seed"}
    pixels = binarised.get(str(dataset.get("binarise")), "8-bit")
    rows = [
        ["images", f"{escape(data_title(record))}; {pixels}"],
        [
            "observation model",
            f"{escape(str(dataset.get('observation')).replace('_', ' '))}, the same for every variant",
        ],
        [
            "budget",
            f"{escape(training.get('epochs'))} epochs, batches of {escape(training.get('batch_size'))}, "
            f"{escape(training.get('optimiser'))} at {escape(training.get('learning_rate'))} "
            f"({escape(training.get('schedule'))}), {escape(training.get('precision'))}",
        ],
        ["importance samples", f"K = {record.importance_samples} an image"],
        ["test images", f"{max(r.evaluated_images for r in (*section.records, *section.failed)):,}"],
        ["hardware", escape(devices)],
        ["versions", escape(versions)],
        ["commits", f"{escape(commits)} (+: with uncommitted changes)" if "+" in commits else escape(commits)],
        ["finished", " to ".join(dict.fromkeys((dates[0], dates[-1])))],
    ]
    return table(["protocol", f"profile {code(section.profile)}"], rows, align="left")


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
    lines = []
    for row in sorted_rows(section, sort_metric(section)):
        seeds = ",".join(str(record.seed) for record in row.records)
        command = (
            f"make bench VARIANTS={row.variant} DATASETS={section.dataset} SEEDS={seeds} PROFILE={section.profile}"
        )
        if row.overrides:
            command += f' OVERRIDES="{" ".join(row.overrides)}"'
        lines.append(f"- {escape(row.label)}: {code(command)}")
    return "\n".join(lines)


def failures(records: Sequence[Record]) -> str:
    """Cells that ended badly, each with its error."""
    lines = []
    for record in sorted(records, key=lambda r: r.run_id):
        error = record.error or {}
        what = f"{error.get('type', 'unknown')}: {error.get('message', '')}"
        lines.append(f"- {escape(record.run_id)}: **{escape(record.status)}**, {escape(what)}")
    return "\n".join(lines)

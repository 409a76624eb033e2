"""Pictures of disentanglement, as PNG bytes: scores against squared error, and latent traversals by factor."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

from matplotlib.artist import Artist

from benchmarks.records.catalogue import CATALOGUE
from benchmarks.records.record import DISENTANGLEMENT, FACTOR_LINES_FILE, FACTOR_LINES_TABLE, Record
from benchmarks.reporting.boundary.side_files import SideFiles
from benchmarks.reporting.factors.spread import swept
from benchmarks.reporting.figures import FRONT_COLUMNS, MOST_ROWS, blank, png, row_looks
from benchmarks.reporting.rows import Row, Section
from benchmarks.reporting.style import in_figure, new_figure

# Maximum number of columns of the figure of scores, and of the figure of traversals.
PANELS, COLUMNS = 4, 3
RECONSTRUCTION = "mse"


def scores(section: Section, rows: Sequence[Row], metrics: Sequence[str]) -> bytes | None:
    """Scores against the squared error of reconstructions, one panel per score; None if no row has both.

    Each run is a marker, joined to the mean of its row. If the rows of a variant differ in one numeric option, a thick
    line joins their means in the order of this option.
    """
    shown = rows[:MOST_ROWS]
    drawn = [metric for metric in metrics if any(_points(row, metric) for row in shown)]
    if not drawn:
        return None
    looks = row_looks(section)
    labels = {row: in_figure(row.label) for row in shown if any(_points(row, metric) for metric in drawn)}
    columns = min(PANELS, len(drawn))
    lines, legend_lines = -(-len(drawn) // columns), -(-len(labels) // FRONT_COLUMNS)
    figure, axes = new_figure(3.8 * columns, 3.3 * lines + 0.4 + 0.22 * legend_lines, lines, columns)
    for axis in axes[len(drawn) :]:
        blank(axis)
    legend: dict[str, Artist] = {}
    for metric, axis in zip(drawn, axes, strict=False):
        means: dict[Row, tuple[float, float]] = {}
        for row in shown:
            if not (points := _points(row, metric)):
                continue
            look = looks[row]
            x, y = (statistics.fmean(values) for values in zip(*points, strict=True))
            means[row] = (x, y)
            for point in points:
                axis.plot([x, point[0]], [y, point[1]], color=look["color"], linewidth=0.6, alpha=0.5)
            (marks,) = axis.plot(*zip(*points, strict=True), linestyle="", marker=look["marker"], markersize=6,
                                 color=look["color"], alpha=0.8)  # fmt: skip
            legend.setdefault(labels[row], marks)
        for _, ordered in _sweeps(means):
            path = [means[row] for row in ordered]
            axis.plot(*zip(*path, strict=True), color=looks[ordered[0]]["color"], linewidth=2, alpha=0.6, zorder=1)
        axis.set_xlabel(f"{section.label(RECONSTRUCTION)} ({CATALOGUE[RECONSTRUCTION].unit})", fontsize=9)
        axis.set_ylabel(f"{section.label(metric)}, higher is better", fontsize=9)
        axis.tick_params(labelsize=8)
        # Tick labels have up to four decimals, so more than four ticks would overlap.
        axis.locator_params(axis="x", nbins=4)
    figure.legend(list(legend.values()), list(legend), loc="outside lower center", ncols=FRONT_COLUMNS, fontsize=9)
    return png(figure, 110)


def _points(row: Row, metric: str) -> list[tuple[float, float]]:
    """Pairs of squared error and score, for each seed that has both."""
    errors, found = row.by_seed(RECONSTRUCTION), row.by_seed(metric)
    return [(errors[seed], found[seed]) for seed in sorted(errors.keys() & found.keys())]


def _sweeps(means: dict[Row, tuple[float, float]]) -> list[tuple[str, list[Row]]]:
    """For each variant whose rows differ in one numeric option: the option and the rows, see :func:`swept`."""
    of_variant: dict[str, list[Row]] = defaultdict(list)
    for row in means:
        of_variant[row.variant].append(row)
    return [found for rows in of_variant.values() if (found := swept(rows))]


def factor_lines(rows: Sequence[Row], files: SideFiles) -> bytes | None:
    """Latent traversals of the lowest seed of each row, along the dimensions with the most information on a factor.

    Each line is labelled with its factor and with the mutual information as a share of the factor's entropy. None if no
    row has traversals.
    """
    found = []
    for row in rows[:MOST_ROWS]:
        pixels = files.picture(row.first.run_id, FACTOR_LINES_FILE)
        words = {"factor": _factors(row.first)}
        known = files.table(row.first.run_id, FACTOR_LINES_TABLE, ("dimension", "share"), 2, words)
        if pixels is not None and known is not None and len(known):
            found.append((row, pixels, known))
    if not found:
        return None
    columns = min(COLUMNS, len(found))
    lines = -(-len(found) // columns)
    figure, axes = new_figure(3.9 * columns, 3.3 * lines, lines, columns)
    for axis in axes[len(found) :]:
        blank(axis)
    for (row, pixels, known), axis in zip(found, axes, strict=False):
        axis.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        height = pixels.shape[0] / len(known)
        texts = [f"{in_figure(factor, 20)} {share:.2f}" for factor, share in zip(known["factor"], known["share"],
                                                                              strict=True)]  # fmt: skip
        axis.set_yticks([(line + 0.5) * height for line in range(len(known))], texts, fontsize=8)
        axis.set_xticks([])
        axis.grid(visible=False)
        axis.set_title(in_figure(row.label), fontsize=10)
    return png(figure, 120)


def _factors(record: Record) -> list[str]:
    details = record.details.get(DISENTANGLEMENT)
    names = details.get("factors") if isinstance(details, dict) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

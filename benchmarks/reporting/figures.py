"""The pictures of a board, as PNG bytes."""

from __future__ import annotations

import io
import itertools
import math
import re
import statistics
import textwrap
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image

from benchmarks.records.catalogue import CATALOGUE
from benchmarks.records.record import CODES_FILE, COMPRESSION_FILE, HISTORY_FILE, ROC_FILE
from benchmarks.reporting.boundary.side_files import SideFiles
from benchmarks.reporting.marks import times
from benchmarks.reporting.rows import Row, Section, once
from benchmarks.reporting.style import Look, in_figure, label_plainly, looks, new_figure

COLUMNS = 4
# Sizes in a grid of pictures, in inches: width of a cell, height of the title, margin around the picture and its title.
WIDTH, TITLE_HEIGHT, GAP = 2.6, 0.28, 0.08
# Number of columns of the legend below the trade-offs.
FRONT_COLUMNS = 6
# A legend with more entries is placed below the axes. Inside, it would cover the curves.
MOST_INSIDE = 12
# A figure shows at most this many rows, the first of those given. More could not be distinguished, and their layout
# would take minutes.
MOST_ROWS = 60
# Classes in one line of a legend below each panel, and in a legend at all.
CLASSES_A_PANEL, MOST_CLASSES_IN_LEGEND = 5, 20
# Names of metrics that have ROC curves. The groups are the kind of outliers and the score.
ROC_METRIC = re.compile(r"outliers_(\w+?)_auroc_(\w+)")
ROC_RATES = ("false_positive_rate", "true_positive_rate")
# If the AUROC of all curves in the legend is above NEARLY_PERFECT, the axis of false-positive rates is logarithmic and
# begins at LOWEST_RATE.
NEARLY_PERFECT, LOWEST_RATE = 0.95, 1e-3
# The resolution of a figure is reduced until its file has at most this many bytes.
MOST_BYTES = 300_000


@once
def row_looks(section: Section) -> dict[Row, Look]:
    """The look (colour, line style and marker) of each row in all figures of a board.

    The colour is that of the family. The first row of a variant has the variant's look, and each of its other rows has
    another one.
    """
    names: dict[Row, str] = {}
    variants = set()
    for row in sorted(section.rows, key=lambda row: (row.label, row.first.run_id)):
        names[row] = row.label if row.variant in variants else row.variant
        variants.add(row.variant)
    found = looks({name: row.family for row, name in names.items()})
    return {row: found[name] for row, name in names.items()}


def sheet(rows: Sequence[Row], files: SideFiles, name: str, height: float) -> bytes | None:
    """A grid with one picture per row, titled with the row's label; None if there are no pictures.

    The picture is the file ``name`` of the row's lowest seed. ``height`` is the height of a grid cell in inches.
    """
    pictures = [(row, files.picture(row.first.run_id, name)) for row in rows[:MOST_ROWS]]
    found = [(row, pixels) for row, pixels in pictures if pixels is not None]
    if not found:
        return None
    titled = [(in_figure(row.label), pixels) for row, pixels in found]
    return png(_grid(titled, min(COLUMNS, len(found)), height), 120)


def strip(pictures: Mapping[str, np.ndarray]) -> bytes:
    """Pictures side by side, each below its title."""
    return png(_grid(list(pictures.items()), len(pictures), 2.9), 110)


def _grid(pictures: Sequence[tuple[str, np.ndarray]], columns: int, height: float) -> Figure:
    """A grid of pictures, each below its title, in cells of ``WIDTH`` times ``height`` inches."""
    width, height_of_all = WIDTH * columns, height * -(-len(pictures) // columns)
    figure = Figure(figsize=(width, height_of_all))
    # All pictures share one axes object, whose unit is inches. Creating and laying out one per picture would take
    # longer than drawing.
    axis = figure.add_axes((0, 0, 1, 1))
    axis.axis("off")
    for number, (title, pixels) in enumerate(pictures):
        line, column = divmod(number, columns)
        left, top = column * WIDTH, line * height + TITLE_HEIGHT
        lines, pixels_a_line = pixels.shape[:2]
        scale = min((WIDTH - GAP) / pixels_a_line, (height - TITLE_HEIGHT - GAP) / lines)
        middle, half = left + WIDTH / 2, scale * pixels_a_line / 2
        edges = (middle - half, middle + half, top + scale * lines, top)
        axis.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest", extent=edges, aspect="auto")
        axis.text(middle, top - GAP, title, ha="center", va="bottom", fontsize=10)
    axis.set(xlim=(0, width), ylim=(height_of_all, 0))
    return figure


def blank(axis: Axes) -> None:
    """Make the axes empty."""
    axis.axis("off")
    # Hidden ticks would still take time in the layout, so they are removed.
    axis.set(xticks=[], yticks=[])


def table_of_codes(row: Row, files: SideFiles) -> pd.DataFrame | None:
    """The posterior means of the row's lowest seed in the plane, with the class of each image; None if there are none.

    Images without classes have missing values instead.
    """
    return files.table(row.first.run_id, CODES_FILE, ("axis_1", "axis_2", "class"), 3)


def codes(rows: Sequence[Row], files: SideFiles) -> bytes | None:
    """Posterior means of test images on the first two principal components: a panel per row, a colour per class."""
    tables = [(row, table_of_codes(row, files)) for row in rows[:MOST_ROWS]]
    found = [(row, points) for row, points in tables if points is not None]
    if not found:
        return None
    columns = min(COLUMNS, len(found))
    lines = -(-len(found) // columns)
    figure, axes = new_figure(2.6 * columns, 2.6 * lines, lines, columns)
    for axis in axes[len(found) :]:
        blank(axis)
    for (row, points), axis in zip(found, axes, strict=False):
        classes = sorted(points["class"].dropna().unique())
        # Classes have no order, so the palette is categorical. It has ten distinct colours; more classes need another.
        colours = sns.color_palette("tab10" if len(classes) <= 10 else "husl", max(1, len(classes)))
        groups = [(name, points[points["class"] == name]) for name in classes] or [(None, points)]
        for (name, group), colour in zip(groups, colours, strict=True):
            label = None if name is None else f"{name:g}"
            axis.scatter(group["axis_1"], group["axis_2"], s=4, color=colour, linewidths=0, label=label)
            if label is not None:
                # The label at the median of the class makes the figure readable without colours.
                text = axis.text(group["axis_1"].median(), group["axis_2"].median(), label, fontsize=10, weight="bold",
                                 ha="center", va="center")  # fmt: skip
                text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
        axis.set_title(in_figure(row.label), fontsize=10)
        axis.tick_params(labelsize=7)
    handles, labels = axes[0].get_legend_handles_labels()
    # With many classes, only their labels in the panels are shown.
    if 0 < len(labels) <= MOST_CLASSES_IN_LEGEND:
        ncols = min(len(labels), CLASSES_A_PANEL * columns)
        figure.legend(handles, labels, loc="outside lower center", ncols=ncols, markerscale=3, fontsize=9)
    return png(figure, 110)


def seeds(section: Section, rows: Sequence[Row], metrics: Sequence[str]) -> bytes | None:
    """One panel per metric, with one marker per seed, a bar at the mean of each row, and the best row at the top."""
    shown = [metric for metric in metrics if any(row.mean(metric) is not None for row in section.rows)]
    if not shown:
        return None
    # Long labels are broken into lines, because they would leave no space for a small panel.
    labels = {row: textwrap.fill(in_figure(row.label), 24) for row in rows[:MOST_ROWS]}
    style_of = row_looks(section)
    lines = sum(label.count("\n") + 1 for label in labels.values())
    columns, panel_lines = min(COLUMNS, len(shown)), -(-len(shown) // COLUMNS)
    height = 0.2 * lines + 0.12 * len(labels) + 1.1
    figure, axes = new_figure(3.4 * columns, height * panel_lines, panel_lines, columns)
    for axis in axes[len(shown) :]:
        blank(axis)
    for metric, axis in zip(shown, axes, strict=False):
        entry = CATALOGUE[metric]
        having = [row for row in section.rows if row in labels and row.mean(metric) is not None]
        having.sort(key=lambda row: row.mean(metric) or 0.0, reverse=entry.better == "lower")
        for height, row in enumerate(having):
            values = list(row.by_seed(metric).values())
            style = style_of[row]
            axis.plot(values, [height] * len(values), linestyle="", marker=style["marker"], color=style["color"],
                      markersize=5, alpha=0.8)  # fmt: skip
            axis.plot([statistics.fmean(values)], [height], marker="|", markersize=14, color="black")
        axis.set_yticks(range(len(having)), [labels[row] for row in having], fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        axis.set_xlabel(f"{section.label(metric)} ({entry.unit})", fontsize=9)
    return png(figure, 110)


class TradeOff(NamedTuple):
    """Two metrics, or a timing such as "train_seconds" and a metric, and for each row its two values and whether it is
    on the Pareto front: no other row of the section is at least as good in both and better in one."""

    x: str
    y: str
    marks: dict[Row, tuple[float, float, bool]]


def trade_offs(section: Section, rows: Sequence[Row], pairs: Sequence[tuple[str, str]]) -> list[TradeOff]:
    """The trade-offs (x, y) of ``pairs`` that at least two of the shown rows have. There is no Pareto front where x or
    y has no better direction."""
    shown = set(rows[:MOST_ROWS])
    drawn = []
    for x, y in pairs:
        points = {row: (_value(section, row, x), _value(section, row, y)) for row in section.rows}
        known = {row: (a, b) for row, (a, b) in points.items() if a is not None and b is not None}
        lower_x, lower_y = _lower_is_better(x), _lower_is_better(y)
        if lower_x is None or lower_y is None:
            front = [False] * len(known)
        else:
            front = pareto_front(list(known.values()), (lower_x, lower_y))
        marks = {
            row: (*point, is_on_front)
            for (row, point), is_on_front in zip(known.items(), front, strict=True)
            if row in shown
        }
        if len(marks) > 1:
            drawn.append(TradeOff(x, y, marks))
    return drawn


def fronts(section: Section, drawn: Sequence[TradeOff]) -> bytes | None:
    """One panel per trade-off, with one marker per row and a ring around those on the Pareto front."""
    if not drawn:
        return None
    labels = {row: in_figure(row.label) for _, _, marks in drawn for row in marks}
    legend_lines = -(-len(set(labels.values())) // FRONT_COLUMNS)
    # The height has space for two lines of the legend; further lines need more.
    figure, axes = new_figure(4.6 * len(drawn), 4.2 + 0.22 * max(0, legend_lines - 2), 1, len(drawn))
    legend: dict[str, Artist] = {}
    style_of = row_looks(section)
    for (x, y, marks), axis in zip(drawn, axes, strict=True):
        for row, (a, b, is_on_front) in marks.items():
            style = style_of[row]
            (mark,) = axis.plot([a], [b], linestyle="", marker=style["marker"], color=style["color"], markersize=8)
            legend.setdefault(labels[row], mark)
            if is_on_front:
                axis.plot([a], [b], linestyle="", marker="o", markersize=17, markerfacecolor="none",
                          markeredgecolor="black")  # fmt: skip
        for name, values, side, set_scale in (
            (x, [a for a, _, _ in marks.values()], axis.xaxis, axis.set_xscale),
            (y, [b for _, b, _ in marks.values()], axis.yaxis, axis.set_yscale),
        ):
            side.set_label_text(_axis_label(section, name), fontsize=9)
            if min(values) > 0 and max(values) > 8 * min(values):
                set_scale("log")
                label_plainly(side)
        axis.tick_params(labelsize=8)
    figure.legend(list(legend.values()), list(legend), loc="outside lower center", ncols=FRONT_COLUMNS, fontsize=9)
    return png(figure, 110)


def pareto_front(points: Sequence[tuple[float, float]], lower: tuple[bool, bool]) -> list[bool]:
    """Whether each point is on the Pareto front: no other is at least as good in both coordinates and better in one.

    ``lower`` says for each coordinate whether lower is better.
    """
    signed = [tuple(v if low else -v for v, low in zip(point, lower, strict=True)) for point in points]
    # Sweep from left to right: a point is on the front if it is the lowest at its x and lower than all points to the
    # left.
    lowest: dict[float, float] = {}
    for x, y in signed:
        lowest[x] = min(y, lowest.get(x, math.inf))
    front, best = set(), math.inf
    for x in sorted(lowest):
        if lowest[x] < best:
            best = lowest[x]
            front.add((x, best))
    return [point in front for point in signed]


def _value(section: Section, row: Row, name: str) -> float | None:
    """A metric or a timing of a row; no timing for rows on other devices than most, which cannot be compared."""
    if name in CATALOGUE:
        return row.mean(name)
    return row.timing(name) if times.on_usual_device(section, row) else None


def _lower_is_better(name: str) -> bool | None:
    """Whether lower values of a metric or timing are better; None for a metric without a better direction."""
    better = CATALOGUE[name].better if name in CATALOGUE else "lower"
    return None if better is None else better == "lower"


def _axis_label(section: Section, name: str) -> str:
    if name not in CATALOGUE:
        return f"training time on {in_figure(times.devices(section)[0])} (s)"
    entry = CATALOGUE[name]
    return f"{section.label(name)} ({entry.unit})" + (f", {entry.better} is better" if entry.better else "")


def training_curves(section: Section, rows: Sequence[Row], files: SideFiles) -> bytes | None:
    """Validation ELBO against epochs, with one line per seed."""
    shown = set(rows[:MOST_ROWS])
    histories = [
        (row, files.table(record.run_id, HISTORY_FILE, ("epoch", "validation_elbo")))
        for row in section.rows
        if row in shown
        for record in row.records
    ]
    drawn = [
        (row, history)
        for row, history in histories
        if history is not None and "validation_elbo" in history.dropna(axis=1, how="all")
    ]
    if not drawn:
        return None
    labels = {row: in_figure(row.label) for row, _ in drawn}
    below = len(set(labels.values())) > MOST_INSIDE
    figure, (axis,) = new_figure(8, 6.5 if below else 4.5)
    labelled: set[str] = set()
    style_of = row_looks(section)
    for row, history in drawn:
        points = history.dropna(subset=["validation_elbo"])
        style = style_of[row]
        axis.plot(
            points["epoch"], points["validation_elbo"], color=style["color"], linestyle=style["linestyle"],
            marker=style["marker"], markersize=4, markevery=max(1, len(points) // 12),
            label=None if labels[row] in labelled else labels[row],
        )  # fmt: skip
        labelled.add(labels[row])
    # The y-axis is chosen for the second and the last validation. The first one would compress the rest of the curves.
    curves = [history["validation_elbo"].dropna() for _, history in drawn]
    ends, starts = [curve.iloc[-1] for curve in curves], [curve.iloc[min(1, len(curve) - 1)] for curve in curves]
    low, high = min(*ends, *starts), max(*ends, *starts)
    axis.set_ylim(low - 0.03 * (high - low) - 1e-9, high + 0.05 * (high - low) + 1e-9)
    axis.set_xlabel("epoch")
    axis.set_ylabel("validation ELBO (nats/image)")
    if below:
        figure.legend(loc="outside lower center", ncols=4, fontsize=9)
    else:
        axis.legend(fontsize=9, ncols=1 if len(labelled) <= 6 else 2)
    return png(figure, 110)


def compression(section: Section, rows: Sequence[Row], files: SideFiles) -> bytes | None:
    """Squared error against the number of code components that images are decoded from, with a PCA for comparison.

    There is one line per row.
    """
    columns_of_curves = ("dimensions", "mse", "pca_mse")
    curves = [(row, files.table(row.first.run_id, COMPRESSION_FILE, columns_of_curves, 3)) for row in rows[:MOST_ROWS]]
    found = [(row, curve[(curve["dimensions"] > 0) & (curve["mse"] > 0)]) for row, curve in curves if curve is not None]
    found = [(row, curve) for row, curve in found if len(curve)]
    if not found:
        return None
    below = len(found) >= MOST_INSIDE
    figure, (axis,) = new_figure(8, 6.5 if below else 4.5)
    style_of = row_looks(section)
    for row, curve in found:
        style = style_of[row]
        axis.plot(curve["dimensions"], curve["mse"], color=style["color"], marker=style["marker"], markersize=5,
                  linestyle="-", label=in_figure(row.label))  # fmt: skip
    # All rows use the same images, so their PCA errors agree. The longest curve has all points.
    longest = max((curve for _, curve in found), key=len).dropna()
    axis.plot(
        longest["dimensions"], longest["pca_mse"], color="black", linestyle="--", linewidth=3, label="PCA of the images"
    )
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    label_plainly(axis.yaxis)
    axis.xaxis.set_major_formatter("{x:.0f}")
    axis.set_xlabel("numbers per image (k)")
    axis.set_ylabel("squared error (per pixel channel)")
    if below:
        figure.legend(loc="outside lower center", ncols=4, fontsize=9)
    else:
        axis.legend(fontsize=9)
    return png(figure, 110)


def roc_curves(section: Section, rows: Sequence[Row], files: SideFiles) -> bytes | None:
    """ROC curves of the lowest seed of each row: a line of panels for each kind of outliers, a panel for each score.

    The best row of each family of variants has its own look and is labelled with its AUROC; all others are grey.
    """
    panels = {tuple(found.groups()): metric for metric in CATALOGUE if (found := ROC_METRIC.fullmatch(metric))}
    settings, scores = (dict.fromkeys(names) for names in zip(*panels, strict=True))
    curves: dict[str, dict[Row, pd.DataFrame]] = defaultdict(dict)
    for row in rows[:MOST_ROWS]:
        known = {"setting": settings, "score": scores}
        table = files.table(row.first.run_id, ROC_FILE, ROC_RATES, 2, known)
        for (setting, score), metric in panels.items():
            # A file from an earlier evaluation may contain curves whose AUROC is not in the record.
            if table is not None and metric in row.first.metrics:
                curves[metric][row] = table[(table["setting"] == setting) & (table["score"] == score)]
    drawn = [key for key, metric in panels.items() if curves[metric]]
    if not drawn:
        return None
    lines, columns = ([name for name in names if any(name in key for key in drawn)] for names in (settings, scores))
    figure, axes = new_figure(4.4 * len(columns), 4.2 * len(lines), len(lines), len(columns))
    for key, axis in zip(itertools.product(lines, columns), axes, strict=True):
        if key in drawn:
            _roc_panel(axis, panels[key], curves[panels[key]], row_looks(section))
        else:
            blank(axis)
    return png(figure, 110)


def _roc_panel(axis: Axes, metric: str, curves: Mapping[Row, pd.DataFrame], style_of: Mapping[Row, Look]) -> None:
    area = {row: row.first.metrics[metric] for row in curves}
    best: dict[str, Row] = {}
    for row in sorted(area, key=lambda row: (-area[row], row.label)):
        best.setdefault(row.family, row)
    false, true = ROC_RATES
    chance = np.concatenate([[0], np.geomspace(LOWEST_RATE, 1, 50)])
    axis.plot(chance, chance, color="black", linewidth=0.8, linestyle=":")
    for row, points in curves.items():
        if row not in best.values():
            axis.plot(points[false], points[true], color="0.8", linewidth=1, zorder=1)
    for row in best.values():
        points, style = curves[row], style_of[row]
        axis.plot(
            points[false], points[true], color=style["color"], linestyle=style["linestyle"], marker=style["marker"],
            markersize=4, markevery=max(1, len(points) // 6), label=f"{in_figure(row.label, 33)}: {area[row]:.3f}",
        )  # fmt: skip
    # Nearly perfect curves can only be distinguished at low false-positive rates.
    if min(area[row] for row in best.values()) > NEARLY_PERFECT:
        axis.set_xscale("log")
        axis.set_xlim(LOWEST_RATE, 1)
    axis.set_title(CATALOGUE[metric].label, fontsize=10)
    axis.set_xlabel("false-positive rate", fontsize=9)
    axis.set_ylabel("true-positive rate", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8, loc="lower right" if min(area.values()) > 0.5 else "upper left")


def png(figure: Figure, dpi: float) -> bytes:
    """The figure as PNG; the resolution is reduced from ``dpi`` if the file would exceed ``MOST_BYTES``."""
    # Names in records can cause these warnings, by characters that the font lacks or labels that leave no space.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        warnings.filterwarnings("ignore", "constrained_layout not applied")
        while len(packed := _packed(figure, dpi)) > MOST_BYTES:
            dpi *= 0.85
    return packed


def _packed(figure: Figure, dpi: float) -> bytes:
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    # Draw the canvas directly: ``savefig`` would do the layout, the drawing and the compression twice.
    canvas.draw()
    # 256 colours are enough for samples and lines, and the file has a third of the size. It contains no metadata, such
    # as software versions, so the same records give the same file.
    indexed = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    indexed.save(packed, "PNG", optimize=True)
    return packed.getvalue()

"""The pictures of a board, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.reporting.rows import Row, Section
from benchmarks.reporting.style import look, new_figure
from benchmarks.results import HISTORY_FILE, run_folder

COLUMNS = 4


def sheet(rows: Sequence[Row], results: Path, name: str, height: float) -> bytes | None:
    """One picture per row of a board (its lowest seed's ``name``), side by side under the row's label."""
    found = [(row, run_folder(results, row.first.run_id) / name) for row in rows]
    found = [(row, path) for row, path in found if path.exists()]
    if not found:
        return None
    lines = -(-len(found) // COLUMNS)
    columns = min(COLUMNS, len(found))
    figure, axes = new_figure(2.6 * columns, height * lines, lines, columns)
    for axis in axes:
        axis.axis("off")
    for (row, path), axis in zip(found, axes, strict=False):
        with Image.open(path) as image:
            axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(row.label, fontsize=10)
    return _png(figure, 120)


def training_curves(section: Section, results: Path) -> bytes | None:
    """Validation ELBO against epochs, every seed a line."""
    histories = [
        (row, pd.read_csv(path))
        for row in section.rows
        for path in (run_folder(results, record.run_id) / HISTORY_FILE for record in row.records)
        if path.exists()
    ]
    drawn = [(row, history) for row, history in histories if "validation_elbo" in history]
    if not drawn:
        return None
    figure, (axis,) = new_figure(8, 4.5)
    labelled: set[str] = set()
    for row, history in drawn:
        points = history.dropna(subset=["validation_elbo"])
        style = look(row.variant)
        axis.plot(
            points["epoch"], points["validation_elbo"], color=style["color"], linestyle=style["linestyle"],
            marker=style["marker"], markersize=4, markevery=max(1, len(points) // 12),
            label=None if row.label in labelled else row.label,
        )  # fmt: skip
        labelled.add(row.label)
    # The first epochs would squeeze what matters into a line at the top.
    ends = [history["validation_elbo"].dropna().iloc[-1] for _, history in drawn]
    starts = [history["validation_elbo"].dropna().iloc[min(1, len(history) - 1)] for _, history in drawn]
    low, high = min(*ends, *starts), max(*ends, *starts)
    axis.set_ylim(low - 0.03 * (high - low) - 1e-9, high + 0.05 * (high - low) + 1e-9)
    axis.set_xlabel("epoch")
    axis.set_ylabel("validation ELBO (nats/image)")
    axis.legend(fontsize=9, ncols=1 if len(labelled) <= 6 else 2)
    return _png(figure, 110)


def _png(figure: Figure, dpi: int) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi)
    plt.close(figure)
    # 256 colours are enough for samples and lines, and a third of the bytes. Nothing but pixels is kept, no version of
    # any software: the same records give the same file.
    indexed = Image.open(data).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    indexed.save(packed, "PNG", optimize=True)
    return packed.getvalue()

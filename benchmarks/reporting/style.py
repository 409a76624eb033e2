"""One look for every figure: a variant has the same colour and line everywhere, told apart in grey print too."""

from __future__ import annotations

import hashlib

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

# Okabe & Ito's colours, safe for colour-blind eyes, each with two line styles.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8A6D3B")
_LINES = ("-", "--", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_ORDER = (
    "vae", "beta_vae", "iwae", "wae_mmd", "info_vae", "dip_vae", "vq_vae", "dfc_vae", "gumbel_vae", "joint_vae",
    "logcosh_vae", "iaf_vae",
)  # fmt: skip


def look(variant: str) -> dict[str, str]:
    """Colour, line style and marker of a variant, by its name alone."""
    if variant in _ORDER:
        index = _ORDER.index(variant)
    else:
        index = int(hashlib.sha256(variant.encode()).hexdigest(), 16) % (len(_COLOURS) * len(_LINES))
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "linestyle": _LINES[index // len(_COLOURS) % len(_LINES)],
        # Shifted from one round of colours to the next: two variants of one colour differ in their marks.
        "marker": _MARKERS[(index + 3 * (index // len(_COLOURS))) % len(_MARKERS)],
    }


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[plt.Axes]]:
    """A figure in inches and its axes in reading order."""
    sns.set_theme(context="notebook", style="whitegrid", font="DejaVu Sans")
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, layout="constrained")
    return figure, list(axes.flat)

"""One look for every figure: a variant has the same colour, mark and line everywhere, told apart in grey print too."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.reporting.boundary.plotting import matplotlib
from benchmarks.reporting.markdown import one_line

Look = dict[str, str]

# Okabe & Ito's colours, safe for colour-blind eyes; a brown in place of their yellow, which is hard to see on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8A6D3B")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LINES = ("-", "--", ":", "-.")
# The variants that come with the suite. A new one goes at the end, so that the others keep their looks; a name that is
# not here is treated as one from outside.
_BUILT_IN = (
    "vae", "beta_vae", "iwae", "wae_mmd", "info_vae", "dip_vae", "vq_vae", "dfc_vae", "gumbel_vae", "joint_vae",
    "logcosh_vae", "iaf_vae", "ae", "denoising_ae", "sparse_ae", "contractive_ae", "fullcov_vae", "flow_vae", "miwae",
    "swae", "beta_tcvae", "msssim_vae", "cvae", "auxiliary_vae", "structured_vae", "factor_vae",
)  # fmt: skip
# Places kept for built-in variants. Names from outside get the rest of those with a colour and mark of their own, then
# those that differ in their lines alone.
_RESERVED = 32
_DISTINCT = len(_COLOURS) * len(_MARKERS)
_PLACES = _DISTINCT * len(_LINES)


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Colour, line style and marker for each of the names on one figure or board.

    A built-in variant has the same look on every board. Any other name takes the place that its hash points to or, if
    another name here has that one, the next free one. The result depends on the set of names alone, not on their order.
    """
    unique = sorted(set(names))
    places = {name: _BUILT_IN.index(name) for name in unique if name in _BUILT_IN}
    taken: set[int] = set()
    for name in unique:
        if name not in places:
            places[name] = next((place for place in _choices(name) if place not in taken), _RESERVED)
            taken.add(places[name])
    return {name: _look(place) for name, place in places.items()}


def _choices(name: str) -> Iterator[int]:
    """The places that a name from outside may have, best first."""
    count = _DISTINCT - _RESERVED
    start = int(hashlib.sha256(name.encode()).hexdigest(), 16) % count
    yield from (_RESERVED + (start + step) % count for step in range(count))
    yield from range(_DISTINCT, _PLACES)


def _look(place: int) -> Look:
    # One round of colours after the other. Marks are shifted by 3, which has no divisor in common with their number:
    # in 8 rounds a colour meets every mark once. After that the lines are shifted.
    rounds, turns = place // len(_COLOURS), place // _DISTINCT
    return {
        "color": _COLOURS[place % len(_COLOURS)],
        "linestyle": _LINES[(rounds + turns) % len(_LINES)],
        "marker": _MARKERS[(place + 3 * rounds) % len(_MARKERS)],
    }


@functools.cache
def _settings() -> Any:
    """Every setting of matplotlib as it comes, with our theme: nothing of a matplotlibrc of the user's."""
    with matplotlib.rc_context():
        names = [name for name in matplotlib.rcParamsDefault if not name.startswith("backend")]
        matplotlib.rcParams.update({name: matplotlib.rcParamsDefault[name] for name in names})
        sns.set_theme(context="notebook", style="whitegrid", font="DejaVu Sans")
        return {name: matplotlib.rcParams[name] for name in names}


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Draw as the suite does, whatever the user's settings are; afterwards these are as they were."""
    with matplotlib.rc_context(_settings()):
        yield


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure in inches and its axes in reading order; to be called, and drawn, in :func:`own_settings`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def in_figure(text: str, limit: int = 80) -> str:
    """Text from a record as a figure shows it: one line of at most ``limit`` characters, and no formula in it."""
    line = one_line(text, limit).replace("$", r"\$")
    # A legend leaves out what begins with an underscore.
    return f" {line}" if line.startswith("_") else line

"""The style of all figures: a variant has the same colour, marker and line everywhere, also readable in grey print."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.reporting.boundary.plotting import matplotlib
from benchmarks.reporting.markdown import one_line

Look = dict[str, str]

# One colour per family of variants; unknown families have the last one. They are Okabe & Ito's colours, which are safe
# for colour-blind readers, with a brown instead of their yellow, which is hard to see on white.
_COLOURS = {
    "bounds": "#0072B2", "posteriors and priors": "#56B4E9", "discrete": "#009E73", "disentangling": "#D55E00",
    "reconstruction losses": "#E69F00", "autoencoders": "#000000", "conditional": "#CC79A7", "other": "#8A6D3B",
}  # fmt: skip
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
_LINES = ("-", "--", ":", "-.")
# The variants of the suite. New variants must be added at the end of their family, so that the others keep their looks.
# A name that is not listed is treated like a user's own variant.
_BUILT_IN = {
    "bounds": ("vae", "iwae", "miwae"),
    "posteriors and priors": ("iaf_vae", "fullcov_vae", "flow_vae", "auxiliary_vae", "structured_vae", "vamp_vae"),
    "discrete": ("vq_vae", "gumbel_vae"),
    "disentangling": ("beta_vae", "info_vae", "dip_vae", "joint_vae", "beta_tcvae", "factor_vae"),
    "reconstruction losses": ("dfc_vae", "logcosh_vae", "msssim_vae"),
    "autoencoders": ("wae_mmd", "ae", "denoising_ae", "sparse_ae", "contractive_ae", "swae", "rae"),
    "conditional": ("cvae",),
}
_PLACES = len(_MARKERS) * len(_LINES)


def looks(families: Mapping[str, str]) -> dict[str, Look]:
    """Colour, line style and marker for each name in a figure or board; ``families`` maps names to their families.

    Each family has a colour, and its members differ in marker and line style. A built-in variant has the same look on
    every board. The look of any other name is chosen by its hash; if another name of its family already has this look,
    the next free one is used. The result depends on the names alone, not on their order.
    """
    found: dict[str, Look] = {}
    by_family: dict[str, list[str]] = {}
    for name in sorted(families):
        by_family.setdefault(families[name] if families[name] in _COLOURS else "other", []).append(name)
    for family, names in by_family.items():
        known = _BUILT_IN.get(family, ())
        places = {name: known.index(name) for name in names if name in known}
        taken: set[int] = set()
        for name in names:
            if name not in places:
                places[name] = next((place for place in _choices(name, len(known)) if place not in taken), _PLACES - 1)
                taken.add(places[name])
        found |= {name: _look(family, place) for name, place in places.items()}
    return found


def _choices(name: str, reserved: int) -> Iterator[int]:
    """The places that a name outside the suite may take, best first; the first ``reserved`` ones are excluded.

    Places with an unused marker come first, then those that share a marker and differ in the line style.
    """
    start = int(hashlib.sha256(name.encode()).hexdigest(), 16)
    for first, end in ((reserved, len(_MARKERS)), (len(_MARKERS), _PLACES)):
        count = end - first
        yield from (first + (start + step) % count for step in range(count))


def _look(family: str, place: int) -> Look:
    turns, marker = divmod(place, len(_MARKERS))
    return {
        "color": _COLOURS[family],
        "linestyle": _LINES[(marker + turns) % len(_LINES)],
        "marker": _MARKERS[marker],
    }


@functools.cache
def _settings() -> Any:
    """All matplotlib settings: the defaults with the suite's theme, without those of the user's matplotlibrc."""
    with matplotlib.rc_context():
        names = [name for name in matplotlib.rcParamsDefault if not name.startswith("backend")]
        matplotlib.rcParams.update({name: matplotlib.rcParamsDefault[name] for name in names})
        sns.set_theme(context="notebook", style="whitegrid", font="DejaVu Sans")
        return {name: matplotlib.rcParams[name] for name in names}


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Use the suite's matplotlib settings in the block, and restore the user's settings after it."""
    with matplotlib.rc_context(_settings()):
        yield


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Create a figure, with its size in inches, and its axes in reading order.

    Call it, and draw the figure, inside :func:`own_settings`.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def label_plainly(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers such as 50, 100 and 200 instead of powers of ten.

    Multiples of 2 and 5 are labelled too, because an axis may span only one decade.
    """
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def in_figure(text: str, limit: int = 80) -> str:
    """Text from a record for a figure: one line of at most ``limit`` characters, with dollar signs escaped."""
    line = one_line(text, limit).replace("$", r"\$")
    # Legends omit labels that begin with an underscore.
    return f" {line}" if line.startswith("_") else line

"""The first import of matplotlib, which reads the environment: a backend named there for a notebook, or one that does
not exist, is no concern of a report. Figures are drawn by Agg, without pyplot."""

from __future__ import annotations

import contextlib
import os

_named = os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib
finally:
    if _named is not None:
        os.environ["MPLBACKEND"] = _named
if _named:
    # For whoever imports us in a notebook: their own figures are drawn as ever.
    with contextlib.suppress(ValueError):
        matplotlib.rcParams["backend"] = _named

__all__ = ["matplotlib"]

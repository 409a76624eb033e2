"""Import matplotlib without the environment variable ``MPLBACKEND``.

matplotlib reads this variable when it is first imported, and fails if it names a backend that does not exist. Reports
do not need it: they draw with Agg, without pyplot.
"""

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
    # If a notebook imports this package, its own figures keep the backend that the variable names.
    with contextlib.suppress(ValueError):
        matplotlib.rcParams["backend"] = _named

__all__ = ["matplotlib"]

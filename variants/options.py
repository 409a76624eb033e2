"""Fields and checks for options.

The checks run when a configuration is created. Each error states the given value and what is allowed.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

# The groups of variants in reports.
FAMILIES = (
    "bounds", "posteriors and priors", "discrete", "disentangling", "reconstruction losses", "autoencoders",
    "conditional", "other",
)  # fmt: skip
# An error lists all allowed names if there are at most this many.
MOST_NAMED = 60
# Type of an option -> what its value must be, for messages.
KINDS: dict[object, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a text",
    list[int]: "a list of whole numbers such as [64, 32]", list[float]: "a list of numbers such as [0.5, 1]",
    list[float | None]: "a list of numbers or null such as [0.5, null]", list[str]: "a list of texts",
}  # fmt: skip


def added(default: Any) -> Any:
    """A dataclass field for an option that was added after records existed. At its default it is left out of the record
    and the run id (see :func:`plain`), so that earlier runs keep their ids."""
    return dataclasses.field(default=default, metadata={"added": True})


def plain(options: Any) -> dict[str, Any]:
    """A dataclass of options as a dictionary, without the :func:`added` options that have their default value."""
    values = dataclasses.asdict(options)
    for option in dataclasses.fields(options):
        if option.metadata.get("added") and values[option.name] == option.default:
            del values[option.name]
    return values


def positive(name: str, value: float) -> None:
    """Raise ``ValueError`` unless ``value`` is above zero and finite. A NaN raises, too."""
    if not value > 0:
        raise ValueError(f"{name} must be above 0, got {value}")
    _finite(name, value)


def not_negative(name: str, value: float) -> None:
    """Raise ``ValueError`` unless ``value`` is zero or above and finite. A NaN raises, too."""
    if not value >= 0:
        raise ValueError(f"{name} must be 0 or above, got {value}")
    _finite(name, value)


def _finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")


def between(name: str, value: float, low: float, high: float) -> None:
    """Raise ``ValueError`` unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, got {value}")


def increasing(name: str, values: Sequence[int], least: int) -> None:
    """Raise ``ValueError`` unless ``values`` is not empty, starts at ``least`` or above and is strictly increasing."""
    if not values or values[0] < least or any(second <= first for first, second in pairwise(values)):
        raise ValueError(f"{name} must be increasing whole numbers from {least}, such as [5,10], got {list(values)}")


def without_effect(name: str, value: object, default: object, reason: str) -> None:
    """Raise ``ValueError`` unless ``value`` is ``default``: any other value would be ignored, for this ``reason``."""
    if value != default:
        raise ValueError(f"{name} must stay {default}, got {value}: {reason}")


def check_form(config: Any, forms: Mapping[str, Iterable[str]]) -> None:
    """Check ``config.form`` against ``forms``, a mapping from each form to the options that only it uses. Raises
    ``ValueError`` for an unknown form and for an option of another form that is not at its default."""
    one_of("variant.form", config.form, forms)
    for form, options in forms.items():
        for option in options if form != config.form else ():
            default = getattr(type(config), option)
            without_effect(f"variant.{option}", getattr(config, option), default, f"it belongs to variant.form={form}")


def one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``allowed``. The message contains the nearest match."""
    known = list(allowed)
    if value not in known:
        raise unknown(name, value, known)


def unknown(kind: str, name: str, allowed: Iterable[str]) -> ValueError:
    """The error for an unknown name: the given name, the nearest match and the allowed names. If more than
    ``MOST_NAMED`` names are allowed, it lists the nearest five and the number of the others."""
    known = sorted(allowed)
    shown = ", ".join(known)
    if len(known) > MOST_NAMED:
        near = difflib.get_close_matches(str(name), known, n=5, cutoff=0)
        shown = f"{', '.join(near)} and {len(known) - len(near)} others"
    return ValueError(f"unknown {kind} {name!r}{nearest(str(name), known)} (allowed: {shown})")


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint "; did you mean ...?" with the nearest of ``known``, in upper or lower case, or "" if none is near."""
    of_lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), of_lower, n=1)
    return f"; did you mean {of_lower[near[0]]!r}?" if near else ""

"""Checks of the numbers and paths that users give to calls, with errors of one line."""

from __future__ import annotations

import argparse
import contextlib
import math
import operator
import os
from pathlib import Path
from typing import Any

from benchmarks import arguments
from benchmarks.errors import UserError
from benchmarks.records.checks import in_one_line


def whole_number(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """``value`` as an ``int``. Raises :class:`UserError` unless it is a whole number from ``least`` to ``most``."""
    found = None
    if not isinstance(value, bool):
        with contextlib.suppress(TypeError):
            found = operator.index(value)
    if found is None or found < least or (most is not None and found > most):
        raise _refused(name, "a whole number", value, least, most)
    return found


def number(name: str, value: Any, least: float = 0, most: float | None = None) -> float:
    """``value`` as a ``float``. Raises :class:`UserError` unless it is a finite number from ``least`` to ``most``."""
    found = math.nan
    if not isinstance(value, bool | str):
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            found = float(value)
    if not least <= found <= (math.inf if most is None else most) or math.isinf(found):
        raise _refused(name, "a number", value, least, most)
    return found


def _refused(name: str, kind: str, value: Any, least: float, most: float | None) -> UserError:
    allowed = f"from {least}" if most is None else f"from {least} to {most}"
    return UserError(f"{name} must be {kind} {allowed}, got {shown(value)}")


def shown(value: Any) -> str:
    """What a user gave, for a message of one line."""
    return in_one_line(repr(value))[:80]


def path_of(name: str, given: Any) -> Path:
    """``given`` as a path, with ``~`` expanded. Raises :class:`UserError` for anything that is not a path."""
    if not isinstance(given, str | os.PathLike):
        raise UserError(f"{name} must be a path, got {shown(given)}")
    try:
        return arguments.path(os.fspath(given))
    except argparse.ArgumentTypeError as error:
        raise UserError(f"{name} {error}") from None

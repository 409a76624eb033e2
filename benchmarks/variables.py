"""The environment variables of the suite: their names, and checks of their values before a command runs.

An empty variable counts as not set. The folders of configuration files, variants and metrics are checked when they are
read.
"""

from __future__ import annotations

import difflib
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.errors import UserError

log = logging.getLogger(__name__)

PREFIX = "VAE_"


def seconds(name: str, default: float) -> float:
    """A finite number of seconds, at least 0. Raises :class:`UserError` for any other value."""
    text = os.environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"{name} must be a number of seconds from 0, got {text!r}")
    return value


def folder(name: str, default: str) -> Path:
    """A folder, which need not exist yet. Raises :class:`UserError` if the path exists and is not a folder."""
    text = os.environ.get(name)
    path = Path(os.path.expanduser(text or default))
    # os.path, because the methods of a path raise an error below a folder that may not be entered.
    if text and os.path.exists(path) and not os.path.isdir(path):
        raise UserError(f"{name} must be a folder, got {text!r}")
    return path


def file(name: str) -> Path | None:
    """The path of a file, which need not exist; None if the variable is not set."""
    text = os.environ.get(name)
    return Path(os.path.expanduser(text)) if text else None


def switch(name: str, default: bool) -> bool:
    """True for 1, False for 0. Raises :class:`UserError` for any other value."""
    text = os.environ.get(name) or str(int(default))
    if text not in ("0", "1"):
        raise UserError(f"{name} must be 0 or 1, got {text!r}")
    return text == "1"


CHECKS: dict[str, Callable[[], object]] = {
    "VAE_CACHE": lambda: folder("VAE_CACHE", ".cache"),
    "VAE_CAPTURE": lambda: switch("VAE_CAPTURE", default=True),
    "VAE_CHECKPOINT_SECONDS": lambda: seconds("VAE_CHECKPOINT_SECONDS", 0),
    "VAE_CONF_PATH": lambda: None,
    "VAE_DATA_ROOT": lambda: folder("VAE_DATA_ROOT", ".data"),
    "VAE_INCEPTION_WEIGHTS": lambda: file("VAE_INCEPTION_WEIGHTS"),
    "VAE_METRICS_PATH": lambda: None,
    "VAE_VARIANTS_PATH": lambda: None,
}


def check_variables() -> None:
    """Raise :class:`UserError` for an invalid value. An unknown variable with the prefix ``VAE_`` is only logged,
    because it may belong to another program."""
    for check in CHECKS.values():
        check()
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in CHECKS:
            near = difflib.get_close_matches(name, CHECKS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            log.warning("environment variable %s has no effect%s (known: %s)", name, hint, ", ".join(CHECKS))

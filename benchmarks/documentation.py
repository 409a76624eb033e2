"""What a variant says of itself, for its page."""

from __future__ import annotations

import inspect

import variants


def documentation(name: str) -> str | None:
    """The docstring of the variant registered under ``name``; None where there is no such variant here."""
    try:
        return inspect.getdoc(variants.lookup(name))
    except ValueError:
        return None

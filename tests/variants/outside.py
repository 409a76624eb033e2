"""Variants as a user writes them, one file each in ``tests/outside_variants``. The contract must allow them."""

from pathlib import Path

from variants import registry

FOLDER = Path(__file__).resolve().parents[1] / "outside_variants"


def _load():
    """Load the classes without leaving them in the registry for other tests."""
    known, discovered = dict(registry._variants), set(registry._discovered)
    registry.load_folder(FOLDER)
    found = [cls for name, cls in registry._variants.items() if name not in known]
    registry._variants.clear()
    registry._variants.update(known)
    registry._discovered.clear()
    registry._discovered.update(discovered)
    return found


OUTSIDE = _load()

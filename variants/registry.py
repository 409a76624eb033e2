"""The registry of variants: ``register`` a class under a name, look it up, and find variants outside this package.

Variants come from three places, in this order: the modules of this package, installed packages that declare an
entry point in the group ``vae_bench.variants``, and every ``*.py`` file in the folders that the environment variable
``VAE_VARIANTS_PATH`` lists (separated as in ``PATH``).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeVar

from .base import Variant
from .options import unknown

ENTRY_POINT_GROUP = "vae_bench.variants"
PATH_VARIABLE = "VAE_VARIANTS_PATH"

_variants: dict[str, type[Variant]] = {}
# Names of modules and paths of files already imported, so that discovery can be repeated at no cost.
_discovered: set[str] = set()

V = TypeVar("V", bound=type[Variant])


def register(name: str) -> Callable[[V], V]:
    """Class decorator: enter a :class:`Variant` under ``name``.

    Raises ``ValueError`` for a name that is taken or is not an identifier, ``TypeError`` for another kind of class.
    """

    def enter(cls: V) -> V:
        if not (isinstance(cls, type) and issubclass(cls, Variant)):
            raise TypeError(f"register({name!r}) expects a subclass of Variant, got {cls!r}")
        if not name.isidentifier():
            raise ValueError(f"variant name {name!r} must be an identifier such as 'my_vae'")
        if name in _variants:
            raise ValueError(f"variant {name!r} is already registered by {_variants[name].__module__}")
        cls.name = name
        _variants[name] = cls
        return cls

    return enter


def names() -> list[str]:
    """All registered names, sorted."""
    discover()
    return sorted(_variants)


def lookup(name: str) -> type[Variant]:
    """The class registered under ``name``; ``ValueError`` names the nearest match where there is none."""
    discover()
    if name not in _variants:
        raise unknown("variant", name, _variants)
    return _variants[name]


def documentation(name: str) -> str | None:
    """The docstring of the variant registered under ``name``; None where there is no such variant here."""
    try:
        return inspect.getdoc(lookup(name))
    except ValueError:
        return None


def discover() -> None:
    """Import every module that may register a variant. An import that fails names its file."""
    package = importlib.import_module(__package__ or "variants")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.value not in _discovered:
            _discovered.add(point.value)
            point.load()
    for folder in filter(None, os.environ.get(PATH_VARIABLE, "").split(os.pathsep)):
        load_folder(Path(folder))


def load_folder(folder: Path) -> None:
    """Import every ``*.py`` file of ``folder`` that was not imported before."""
    if not folder.is_dir():
        raise ValueError(f"{PATH_VARIABLE} names {str(folder)!r}, which is not a folder")
    for path in sorted(folder.resolve().glob("*.py")):
        if str(path) in _discovered:
            continue
        _discovered.add(str(path))
        module_name = f"_external_variant_{path.stem}_{abs(hash(str(path))):x}"
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # Dataclasses look their module up while they are being made.
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise ValueError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error

"""The registry of variants: register a class under a name, look it up, and find variants outside this package.

Variants come from three places, in this order: the modules of this package, installed packages that declare an
entry point in the group ``vae_bench.variants``, and files in the folders that the environment variable
``VAE_VARIANTS_PATH`` lists (separated as in ``PATH``; see ``own_files.py``).
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from . import sources
from .options import FAMILIES, unknown
from .own_files import OwnFileError, folders, import_folder

if TYPE_CHECKING:
    from .base import Variant

ENTRY_POINT_GROUP = "vae_bench.variants"
PATH_VARIABLE = "VAE_VARIANTS_PATH"

# Words that mean something else in a configuration or on the command line, where the name of a family stands for its
# variants, so no variant can have them as its name.
RESERVED = ("all", "null", "true", "false", "nan", "inf", *FAMILIES)

_variants: dict[str, type[Variant]] = {}
# Entry points and paths of files that are already imported, so that repeated discovery costs nothing.
_discovered: set[str] = set()

V = TypeVar("V", bound="type[Variant]")


def register(name: str) -> Callable[[V], V]:
    """Class decorator: register a subclass of :class:`Variant` under ``name``.

    Raises ``ValueError`` if the name is taken or is not an identifier, and ``TypeError`` if the class is not a
    :class:`Variant`, its ``Config`` is not valid, or it overrides ``log_weights`` without ``sample_latent``.
    """

    if not isinstance(name, str):
        raise TypeError("register needs a name: write @register('my_vae')")

    def enter(cls: V) -> V:
        # Imported here because it imports torch, which is slow.
        from .base import Variant

        if not (isinstance(cls, type) and issubclass(cls, Variant)):
            raise TypeError(f"register({name!r}) expects a subclass of Variant, got {cls!r}")
        if not (name.isidentifier() and name.isascii()) or name in RESERVED:
            raise ValueError(f"variant name {name!r} must be an identifier such as 'my_vae', and not {_or(RESERVED)}")
        if name in _variants:
            raise ValueError(f"variant {name!r} is already registered by {_source(_variants[name])}")
        _check_options(cls)
        if cls.log_weights is not Variant.log_weights and cls.sample_latent is Variant.sample_latent:
            raise TypeError(
                f"{cls.__name__} overrides log_weights and must override sample_latent(count): it returns the latent "
                "vectors that decode takes, drawn from the prior of all levels"
            )
        cls.name = name
        _variants[name] = cls
        return cls

    return enter


def names() -> list[str]:
    """All registered names, sorted."""
    discover()
    return sorted(_variants)


def lookup(name: str) -> type[Variant]:
    """The class registered under ``name``. Raises ``ValueError``, with the nearest match, if there is none."""
    discover()
    if name not in _variants:
        raise unknown("variant", name, _variants)
    return _variants[name]


def documentation(name: str) -> str | None:
    """The docstring of the variant registered under ``name``, followed by that of its options under "Options:".

    "" if the variant has no docstring of its own, None if no such variant is registered.
    """
    if name not in names():
        return None
    cls = lookup(name)
    text, options = _own_docstring(cls), _own_docstring(cls.Config)
    # A dataclass without a docstring gets its signature as one.
    has_options = options and not options.startswith(f"{cls.Config.__name__}(")
    return f"{text}\n\nOptions:\n{options}" if text and has_options else text


def _own_docstring(cls: type) -> str:
    # Not inspect.getdoc, which falls back to the docstring of a base class: that describes another model.
    own = vars(cls).get("__doc__")
    return inspect.cleandoc(own).strip() if isinstance(own, str) else ""


def discover() -> None:
    """Import every module that may register a variant. Raises :class:`OwnFileError` with the name of a module that
    cannot be imported."""
    package = importlib.import_module(__package__ or "variants")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    if ENTRY_POINT_GROUP not in _discovered:
        for point in entry_points(group=ENTRY_POINT_GROUP):
            if point.value in _discovered:
                continue
            try:
                point.load()
            except (Exception, SystemExit) as error:
                what = f"{type(error).__name__}: {' '.join(str(error).split())}"
                where = f"{point.value} of package {point.dist.name if point.dist else 'unknown'}"
                raise OwnFileError(f"entry point {where} cannot be imported: {what}") from error
            _discovered.add(point.value)
        # Reading the entry points of all packages takes milliseconds, too long to repeat at every lookup.
        _discovered.add(ENTRY_POINT_GROUP)
    for folder in folders(PATH_VARIABLE):
        load_folder(folder)


def load_folder(folder: Path) -> None:
    """Import every file in ``folder`` that registers a variant and is not imported yet."""
    import_folder(folder.resolve(), "variants", _variants, _discovered, PATH_VARIABLE)


def summaries() -> dict[str, tuple[str, str]]:
    """Name -> family and first docstring line of every variant, ordered by family and name. Does not import torch
    unless variants outside this package are configured."""
    found = sources.variants()
    if folders(PATH_VARIABLE) or entry_points(group=ENTRY_POINT_GROUP):
        found = {name: (lookup(name).family, documentation(name) or "") for name in names()}
    ordered = sorted(found.items(), key=lambda item: (FAMILIES.index(item[1][0]), item[0]))
    return {name: (family, text.strip().partition("\n")[0]) for name, (family, text) in ordered}


def _check_options(cls: type[Variant]) -> None:
    """Raise ``TypeError`` if ``cls.Config`` is not a valid dataclass of options. A class attribute without annotation
    is an error because it looks like an option, but cannot be set and is not part of the run id."""
    from .base import VariantConfig

    options = cls.Config
    if not (isinstance(options, type) and issubclass(options, VariantConfig)):
        raise TypeError(f"{cls.__name__}.Config must be a subclass of VariantConfig, got {options!r}")
    for owner in options.__mro__:
        if owner is VariantConfig:
            break
        if "__dataclass_fields__" not in vars(owner) and issubclass(owner, VariantConfig):
            raise TypeError(
                f"{owner.__name__}, the Config of {cls.__name__}, is not a dataclass: write @dataclass above it"
            )
        for key, value in vars(owner).items():
            plain = not (key.startswith("_") or callable(value) or hasattr(value, "__get__"))
            if plain and key not in owner.__annotations__:
                raise TypeError(
                    f"{owner.__name__}.{key} has no type annotation, so it is not an option: write {key}: "
                    f"{type(value).__name__} = …"
                )
    for option in dataclasses.fields(options):
        if option.name == "name":
            raise TypeError(
                f"{options.__name__} has an option {option.name!r}, which is the variant's own name: rename it"
            )
        if option.default is dataclasses.MISSING and option.default_factory is dataclasses.MISSING:
            raise TypeError(f"{options.__name__}.{option.name} needs a default value")


def _source(cls: type) -> str:
    """The file that defines ``cls``."""
    try:
        return inspect.getfile(cls)
    except (OSError, TypeError):
        return cls.__module__


def _or(words: tuple[str, ...]) -> str:
    return " or ".join(repr(word) for word in words)

"""The models that the suite compares, each with its training objective.

>>> import variants
>>> "vae" in variants.names()
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .autoencoder import Autoencoder, AutoencoderConfig
    from .base import (
        FAMILIES,
        PROPERTIES,
        Batch,
        LogWeights,
        Loss,
        ParameterGroup,
        TrainingStep,
        Variant,
        VariantConfig,
    )
    from .building import build
    from .registry import lookup, names, register

__all__ = [
    "FAMILIES",
    "PROPERTIES",
    "Autoencoder",
    "AutoencoderConfig",
    "Batch",
    "LogWeights",
    "Loss",
    "ParameterGroup",
    "TrainingStep",
    "Variant",
    "VariantConfig",
    "build",
    "lookup",
    "names",
    "register",
]

# Module -> the names that it defines; base.py defines the others.
_HOMES = {
    "autoencoder": ("Autoencoder", "AutoencoderConfig"),
    "building": ("build",),
    "registry": ("lookup", "names", "register"),
}


def __getattr__(name: str) -> Any:
    # Imported on first access: most of these modules import torch, which reports and lists of names do not need.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, defined in _HOMES.items() if name in defined), "base")
    return getattr(import_module(f".{home}", __name__), name)

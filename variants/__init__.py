"""What is compared: latent-variable models and the way each is trained.

>>> import variants
>>> "vae" in variants.names()
True
"""

from .base import LogWeights, Loss, Objective, Variant, VariantConfig
from .building import build
from .registry import lookup, names, register

__all__ = [
    "LogWeights",
    "Loss",
    "Objective",
    "Variant",
    "VariantConfig",
    "build",
    "lookup",
    "names",
    "register",
]

"""What is compared: latent-variable models and the way each is trained.

>>> import variants
>>> "vae" in variants.names()
True
"""

from .autoencoder import Autoencoder, AutoencoderConfig
from .base import FAMILIES, PROPERTIES, Batch, LogWeights, Loss, ParameterGroup, TrainingStep, Variant, VariantConfig
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

"""The plain autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from .autoencoder import Autoencoder, AutoencoderConfig
from .base import TrainingStep
from .options import one_of
from .parts.distributions import PointMass
from .parts.networks import Network
from .registry import register

LOSSES = ("squared_error", "cross_entropy")
UNITS = ("linear", "sigmoid")


@dataclass
class AEConfig(AutoencoderConfig):
    """``loss`` is "squared_error" or "cross_entropy"; ``units``, the activation of the code, "linear" or "sigmoid"."""

    loss: str = "squared_error"
    units: str = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("variant.loss", self.loss, LOSSES)
        one_of("variant.units", self.units, UNITS)


@register("ae")
class AE(Autoencoder):
    """Autoencoder: reconstruction through a low-dimensional code, without a prior.

        loss = |x - G(h)|^2                                           ("squared_error")
        loss = -sum_pixels [x log G(h) + (1 - x) log(1 - G(h))]       ("cross_entropy")
        h = Q(x), or sigmoid(Q(x)) for sigmoid units

    Q is the encoder and G the decoder. Both losses are summed over pixels. With ``network=linear``, squared error and
    linear units, G is affine, and the optimum is principal component analysis: the decoder spans the first principal
    components of the centred data and has their reconstruction error (Baldi & Hornik 1989). The cross-entropy of grey
    pixels is a loss, not a likelihood.

    References:
        Hinton & Salakhutdinov, *Reducing the Dimensionality of Data with Neural Networks*, Science 2006.
        https://doi.org/10.1126/science.1127647
        Baldi & Hornik, *Neural Networks and Principal Component Analysis*, Neural Networks 1989.
        https://doi.org/10.1016/0893-6080(89)90014-2

    Deviations:
        1. The network is trained from random weights, not pretrained layer by layer as in Hinton & Salakhutdinov, which
           was necessary at the time.

    Defaults:
        loss = squared_error: chosen here, so that the linear network is principal component analysis; Hinton &
            Salakhutdinov train their MNIST autoencoder on the cross-entropy.
        units = linear: chosen here, for the same reason.
    """

    Config = AEConfig
    # Annotated so that subclasses can have a tuple of any length.
    forms: ClassVar[tuple[dict[str, Any], ...]] = ({"loss": "cross_entropy"}, {"units": "sigmoid"})

    def build(self, network: Network) -> None:
        super().build(network)
        # A cross-entropy needs pixels between 0 and 1, whatever the network.
        self.affine = self.affine and self.config.loss == "squared_error"

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> Distribution:
        return PointMass(self.units(x))

    def units(self, x: Tensor) -> Tensor:
        """h, the code of ``x`` (batch, latent)."""
        h: Tensor = self.encoder(x).to(x.dtype)
        return h.sigmoid() if self.config.units == "sigmoid" else h

    def image(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        if self.config.loss == "cross_entropy":
            return self.decode(z, condition=condition).sigmoid()
        return super().image(z, condition=condition)

    def reconstruction(self, step: TrainingStep) -> Tensor:
        if self.config.loss == "squared_error":
            return super().reconstruction(step)
        logits = self.decode(step.z, condition=step.batch.condition)
        x = step.x.expand_as(logits)
        return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(-3).sum(-1)

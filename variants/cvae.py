"""Conditional VAE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from .base import Variant, VariantConfig
from .options import positive
from .parts.distributions import DiagonalNormal
from .parts.networks import Network, batched
from .registry import register


@dataclass
class CVAEConfig(VariantConfig):
    """``features``: how many numbers prior, posterior and decoder read from a condition, and the posterior from an
    image."""

    features: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("variant.features", self.features)


@register("cvae")
class CVAE(Variant):
    """Conditional VAE: images given their class, or missing pixels given the others, with a learned prior.

        loss = -E_q log p(x|z, c) + KL(q(z|x, c) || p(z|c))

    c is the condition, the paper's x; x is the image, the paper's y. The prior p(z|c) is a network of its own. Given
    pixels (``dataset.condition=quadrants-2``, say) are not scored: p(x|z, c) is over the missing ones alone.

    References:
        Sohn, Lee & Yan, *Learning Structured Output Representation using Deep Conditional Generative Models*, NeurIPS
        2015. https://papers.nips.cc/paper/5775

    Deviations:
        1. One body reads the condition for the prior, the posterior and the decoder; the paper has three networks.
        2. The decoder is not given a deterministic first guess of the missing pixels (the paper's recurrent
           connection), and the objective is the CVAE's alone, not its mixture with a prior-sampled one.
        3. The paper conditions on quadrants of MNIST; a class as the condition is this suite's addition.
    """

    Config = CVAEConfig
    conditional = True
    family = "conditional"
    small = {"features": 6}

    def build(self, network: Network) -> None:
        shape, features, latent = self.condition_shape, self.config.features, self.latent_size
        assert shape is not None
        self.condition_body: nn.Module
        if len(shape) == 1:
            self.condition_body = nn.Linear(shape[0], features)
        else:
            channels, height, width = shape
            self.condition_body = network.encoder((channels, height, width), features)
        self.encoder = network.encoder(self.image_shape, features)
        self.posterior_head = _head(2 * features, features, 2 * latent)
        self.prior_head = _head(features, features, 2 * latent)
        self.decoder = network.decoder(latent + features, self.image_shape)

    def prior(self, condition: Tensor | None = None) -> Distribution:
        read = self.read(condition)
        return _normal(self.prior_head(read).to(read.dtype))

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> Distribution:
        image = self.encoder(x).to(x.dtype)
        return _normal(self.posterior_head(torch.cat([image, self.read(condition)], dim=-1)).to(x.dtype))

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        given = self.read(condition).expand(*z.shape[:-1], -1)
        return batched(self.decoder, torch.cat([z, given], dim=-1)).to(z.dtype)

    def read(self, condition: Tensor | None) -> Tensor:
        """What the condition (*batch, *condition_shape) says, (*batch, features)."""
        if condition is None or self.condition_shape is None:
            raise ValueError("cvae needs the condition of its images")
        return batched(self.condition_body, condition, len(self.condition_shape)).to(condition.dtype)


def _head(inputs: int, hidden: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.SiLU(), nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


def _normal(parameters: Tensor) -> DiagonalNormal:
    loc, log_variance = parameters.chunk(2, dim=-1)
    return DiagonalNormal(loc, log_variance / 2)

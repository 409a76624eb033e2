"""Wasserstein autoencoder with an MMD penalty."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Loss, Variant, VariantConfig
from .options import not_negative, one_of, without_effect
from .parts.discrepancies import mmd
from .parts.distributions import PointMass
from .parts.networks import Network
from .registry import register


@dataclass
class WAEConfig(VariantConfig):
    """``mmd_weight`` is lambda; ``encoder`` "deterministic" or "gaussian"."""

    mmd_weight: float = 10.0
    encoder: str = "deterministic"

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative("variant.mmd_weight", self.mmd_weight)
        one_of("variant.encoder", self.encoder, ("deterministic", "gaussian"))
        without_effect("variant.samples", self.samples, 1, "the objective takes one z an image")
        without_effect("variant.analytic_kl", self.analytic_kl, True, "the objective has no KL")


@register("wae_mmd")
class WAEMMD(Variant):
    """Wasserstein autoencoder: squared error, and the aggregate posterior held to the prior by MMD.

        loss = |x - G(z)|^2 + lambda MMD(q_z, p_z),   z = Q(x)

    The squared error is summed over pixels, the MMD (:mod:`variants.parts.discrepancies`) taken over the batch against
    as many draws from the prior. A deterministic encoder has no density, so no ELBO.

    References:
        Tolstikhin et al., *Wasserstein Auto-Encoders*, ICLR 2018, Algorithm 2 and section 4.
        https://arxiv.org/abs/1711.01558

    Deviations:
        1. lambda is constant; the paper's is 10 on MNIST and 100 on CelebA.
        2. The latent size is the board's, not the paper's 8 (MNIST) and 64 (CelebA).
        3. The squared error has weight 1, as in the paper's eq. 4; the authors' code multiplies it by 0.05, so that the
           same lambda weighs 20 times as much there.
    """

    Config = WAEConfig
    dataset_defaults = {"celeba": {"mmd_weight": 100.0}}
    trains_observation = False
    batch_statistics = ("mmd",)

    def build(self, network: Network) -> None:
        if self.config.encoder == "gaussian":
            return super().build(network)
        self.encoder = network.encoder(self.image_shape, self.latent_size)
        self.decoder = network.decoder(self.latent_size, self.image_shape)

    def posterior(self, x: Tensor) -> PointMass:
        return super().posterior(x) if self.config.encoder == "gaussian" else PointMass(self.encoder(x).to(x.dtype))

    def loss(self, x: Tensor, progress: Tensor) -> Loss:
        z = self.posterior(x).rsample()
        squared_error = (x - self.likelihood(z).mean).square().flatten(1).sum(-1)
        discrepancy = mmd(z, self.prior().sample(torch.Size([len(z)])))
        terms = {"squared_error": squared_error.detach(), "mmd": discrepancy.detach()}
        return Loss(squared_error.mean() + self.config.mmd_weight * discrepancy, terms)

    def unavailable(self) -> dict[str, str]:
        if self.config.encoder == "gaussian":
            return {}
        return {"density": "deterministic encoder: q(z|x) is a point mass and has no density"}

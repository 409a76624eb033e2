"""InfoVAE, the family between the VAE and MMD-VAE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import TrainingStep, Variant, VariantConfig
from .parts.discrepancies import mmd
from .registry import register


@dataclass
class InfoVAEConfig(VariantConfig):
    """``alpha`` weighs the mutual information of x and z, ``scale`` (lambda) the divergence of q(z) from the prior."""

    alpha: float = 0.0
    scale: float = 1000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.mmd_weight >= 0:
            raise ValueError(
                f"variant.alpha + variant.scale - 1, the weight of the MMD, must be 0 or above, got {self.mmd_weight}"
            )
        if not self.alpha <= 1:
            raise ValueError(f"variant.alpha must be 1 or below, got {self.alpha}: 1 - alpha is the weight of the KL")

    @property
    def mmd_weight(self) -> float:
        return self.alpha + self.scale - 1


@register("info_vae")
class InfoVAE(Variant):
    """InfoVAE: separate weights for mutual information and for matching the aggregate posterior to the prior.

        loss = r + (1 - alpha) KL + (alpha + lambda - 1) MMD(q_z, p_z)

    alpha = 0, lambda = 1 is the VAE; alpha = 1 is MMD-VAE, whose KL term is gone. The MMD is over the batch, against as
    many draws from the prior; lambda is the field ``scale``.

    References:
        Zhao, Song & Ermon, *InfoVAE: Balancing Learning and Inference in Variational Autoencoders*, AAAI 2019, eq. 6
        and section 4. https://arxiv.org/abs/1706.02262

    Deviations:
        1. The kernel is WAE's sum of seven inverse multiquadratics (:mod:`variants.parts.discrepancies`), the paper's
           is Gaussian; it leaves the divergence open.
        2. lambda = 1000 makes the MMD term weigh as much as the others, as the paper asks of it (section 6).
    """

    Config = InfoVAEConfig
    family = "disentangling"
    search = {"alpha": (0.0, 0.5), "scale": (10.0, 100.0, 1000.0)}
    forms = ({"alpha": 1.0},)
    batch_statistics = ("mmd",)
    smallest_batch = 2

    def regulariser(self, step: TrainingStep) -> Tensor:
        penalty = (1 - self.config.alpha) * step.kl
        # At weight 0 no draw is made, so that the VAE's own sequence of draws remains.
        if self.config.mmd_weight == 0:
            return penalty
        z = step.z[0]
        return penalty + self.config.mmd_weight * step.log("mmd", mmd(z, self.prior().sample(torch.Size([len(z)]))))

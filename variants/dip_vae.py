"""DIP-VAE, types I and II."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import TrainingStep, Variant, VariantConfig
from .options import not_negative, one_of
from .registry import register


@dataclass
class DIPVAEConfig(VariantConfig):
    """``form`` "i" penalises the covariance of the posterior means, "ii" that of z."""

    form: str = "ii"
    off_diagonal: float = 10.0
    diagonal: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("variant.form", self.form, ("i", "ii"))
        not_negative("variant.off_diagonal", self.off_diagonal)
        not_negative("variant.diagonal", self.diagonal)


def covariance(means: Tensor) -> Tensor:
    """Covariance (latent, latent) of posterior means (batch, latent) over the batch, divided by the batch size."""
    centred = means - means.mean(0, keepdim=True)
    # Autocast would round the product to bfloat16.
    with torch.autocast(means.device.type, enabled=False):
        return centred.T @ centred / len(means)


def dip_penalty(covariance: Tensor, off_diagonal: float, diagonal: float) -> Tensor:
    """lambda_od sum_{i != j} Cov_ij^2 + lambda_d sum_i (Cov_ii - 1)^2, a scalar (Kumar et al. 2018, eqs. 6-7)."""
    variances = torch.diagonal(covariance)
    outside = covariance.square().sum() - variances.square().sum()
    return off_diagonal * outside + diagonal * (variances - 1).square().sum()


@register("dip_vae")
class DIPVAE(Variant):
    """DIP-VAE: a penalty that pulls the covariance of the aggregate posterior towards the identity.

        loss = r + KL + lambda_od sum_{i != j} Cov_ij^2 + lambda_d sum_i (Cov_ii - 1)^2
        form "i":   Cov = Cov_batch[mu(x)]
        form "ii":  Cov = Cov_batch[mu(x)] + E_batch[diag sigma^2(x)]

    lambda_od = lambda_d = 0 gives the VAE.

    References:
        Kumar, Sattigeri & Balakrishnan, *Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations*, ICLR 2018, eqs. 6-7. https://arxiv.org/abs/1711.00848
        Locatello et al., disentanglement_lib, the code of *Challenging Common Assumptions*, ICML 2019.
        https://github.com/google-research/disentanglement_lib

    Defaults:
        form = ii: chosen here, without a search; the paper has both forms.
        off_diagonal = 10.0: chosen here, within the range that the paper searches; the paper does not use MNIST;
            disentanglement_lib tries 1, 2, 5, 10, 20 and 50 (config/unsupervised_study_v1/sweep.py).
        diagonal = 10.0: the paper, which recommends lambda_d = lambda_od for form "ii"; for form "i" it recommends
            lambda_d = 10 lambda_od: set ``diagonal`` to 100.
    """

    Config = DIPVAEConfig
    family = "disentangling"
    search = {"off_diagonal": (1.0, 10.0, 100.0), "diagonal": (1.0, 10.0)}
    forms = ({"form": "i"},)
    batch_statistics = ("dip",)

    def regulariser(self, step: TrainingStep) -> Tensor:
        cov = covariance(step.q.mean)
        if self.config.form == "ii":
            cov = cov + torch.diag(step.q.variance.mean(0))
        return step.kl + step.log("dip", dip_penalty(cov, self.config.off_diagonal, self.config.diagonal))

"""beta-TCVAE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .base import TrainingStep, Variant, VariantConfig
from .options import not_negative, one_of, without_effect
from .parts.distributions import LOG_2PI, DiagonalNormal
from .registry import register


@dataclass
class BetaTCVAEConfig(VariantConfig):
    """``alpha`` is the weight of the mutual information, ``beta`` of the total correlation and ``gamma`` of the
    dimension-wise KL. ``sampling`` is the estimator of q(z) from a minibatch, "weighted" or "stratified"."""

    alpha: float = 1.0
    beta: float = 6.0
    gamma: float = 1.0
    sampling: str = "weighted"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("alpha", "beta", "gamma"):
            not_negative(f"variant.{name}", getattr(self, name))
        one_of("variant.sampling", self.sampling, ("weighted", "stratified"))
        without_effect("variant.analytic_kl", self.analytic_kl, True, "all terms are estimated from the draws")


def weighted(batch: int, training_images: int, device: torch.device | None = None) -> Tensor:
    """Weights of q(z_i|x_j) in the estimate of q(z_i), (batch, batch). All are 1 / (N B), so that a row sums to 1 / N
    and log q(z) is biased downwards (Chen et al. 2018, section 4.1)."""
    return torch.full((batch, batch), 1 / (training_images * batch), dtype=torch.float64, device=device)


def stratified(batch: int, training_images: int, device: torch.device | None = None) -> Tensor:
    """Weights like :func:`weighted`, but for an unbiased estimate of q(z_i) (Chen et al. 2018, appendix C.2). With
    M = B - 1, row i has 1 / N for image i itself, (N - M) / (N M) for one other image, here the next, and 1 / M for the
    others. A row sums to 1."""
    image = torch.eye(batch, dtype=torch.float64, device=device)
    if batch == 1:
        return image
    N, M = training_images, batch - 1
    # Sums of tensors on the device. Writing numbers to single entries would copy them to the GPU, which synchronises.
    following = image.roll(1, 1)
    return image / N + following * ((N - M) / (N * M)) + (1 - image - following) / M


def pairwise_log_densities(q: DiagonalNormal, z: Tensor) -> Tensor:
    """log q(z_id|x_j) of every draw ``z`` (samples, batch, latent) under the posterior of every image in the batch:
    (samples, batch i, batch j, latent)."""
    standardised = (z[:, :, None] - q.loc) * (-q.log_scale).exp()
    return -0.5 * (standardised.square() + LOG_2PI) - q.log_scale


class Decomposition(NamedTuple):
    """The terms of log q(z|x) - log p(z), each (samples, batch) in nats. For every draw, they sum to it."""

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_kl: Tensor


def decompose(log_q_given_x: Tensor, log_p: Tensor, pairwise: Tensor, weights: Tensor) -> Decomposition:
    """Mutual information, total correlation and dimension-wise KL from log q(z|x) and log p(z), both (samples, batch),
    ``pairwise`` from :func:`pairwise_log_densities` and the ``weights`` (batch, batch) of the estimate of q(z)."""
    log_weights = weights.log().to(pairwise)
    # The weight of a pair multiplies its joint density once, and its density in each dimension once.
    log_q = (log_weights + pairwise.sum(-1)).logsumexp(-1)
    log_q_by_dimension = (log_weights[:, :, None] + pairwise).logsumexp(-2).sum(-1)
    return Decomposition(log_q_given_x - log_q, log_q - log_q_by_dimension, log_q_by_dimension - log_p)


@register("beta_tcvae")
class BetaTCVAE(Variant):
    """beta-TCVAE: a weight on the total correlation, one of three terms of the KL.

        loss = r + alpha MI + beta TC + gamma sum_j KL_j
        MI   = E[log q(z|x) - log q(z)]
        TC   = E[log q(z) - sum_j log q(z_j)]
        KL_j = E[log q(z_j) - log p(z_j)]

    q(z) and its marginals are estimated from the batch, by "weighted" or "stratified" sampling of the N training
    images. alpha = beta = gamma = 1 gives the VAE with a Monte Carlo KL, because the three terms sum to log q(z|x) -
    log p(z) for every draw. Weighted sampling shifts log q(z) and every log q(z_j) by about -log N. The logged terms
    contain this constant, and the loss about (alpha - beta + (beta - gamma) d) log N for d latent dimensions, 1,700
    nats on MNIST; the gradients do not depend on it.

    References:
        Chen, Li, Grosse & Duvenaud, *Isolating Sources of Disentanglement in VAEs*, NeurIPS 2018, eqs. 2-4 and appendix
        C. https://arxiv.org/abs/1802.04942
        The authors' code. https://github.com/rtqichen/beta-tcvae

    Deviations:
        1. The stratified estimator gives 1 / N to each image's own entry and the special weight to the next image of
           the batch (appendix C.2). The authors' code strides over the flattened matrix, so that the first two columns
           get these weights.
        2. In a batch of one image there are no other images: the stratified q(z) is then the image's own posterior.

    Defaults:
        alpha = 1.0: the authors' code (vae_quant.py), where the mutual information has weight 1.
        beta = 6.0: the authors' code, in the command of its README for dSprites and 3D faces; the paper does not use
            MNIST.
        gamma = 1.0: the authors' code (vae_quant.py, with its default --lambda-anneal off).
        sampling = weighted: the authors' code, where --mss asks for "stratified".
    """

    Config = BetaTCVAEConfig
    family = "disentangling"
    search = {"beta": (1.0, 3.0, 6.0, 10.0)}
    forms = ({"sampling": "stratified"},)
    batch_statistics = ("mutual_information", "total_correlation", "dimension_kl")

    def regulariser(self, step: TrainingStep) -> Tensor:
        q, z, N = step.q, step.z, step.batch.training_images
        assert isinstance(q, DiagonalNormal)
        batch = z.shape[1]
        if N is None or batch > N:
            raise ValueError(f"beta_tcvae needs the number of training images, at least {batch}, got {N}")
        make = stratified if self.config.sampling == "stratified" else weighted
        weights = make(batch, N, z.device)
        log_p = self.prior(condition=step.batch.condition).log_prob(z)
        terms = decompose(q.log_prob(z), log_p, pairwise_log_densities(q, z), weights)
        for name, term in terms._asdict().items():
            step.log(name, term.mean())
        alpha, beta, gamma = self.config.alpha, self.config.beta, self.config.gamma
        weighed = alpha * terms.mutual_information + beta * terms.total_correlation + gamma * terms.dimension_kl
        return weighed.mean(0)

"""The importance-weighted autoencoder, with two gradient estimators of its bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Batch, LogWeights, Loss, Variant, VariantConfig
from .options import one_of, without_effect
from .registry import register


@dataclass
class IWAEConfig(VariantConfig):
    """``samples`` is K, the number of importance samples. ``gradient`` "standard" differentiates the bound;
    "doubly_reparameterised" uses the estimator of Tucker et al. (2019) for the encoder."""

    samples: int = 5
    gradient: str = "standard"

    def __post_init__(self) -> None:
        super().__post_init__()
        without_effect("variant.analytic_kl", self.analytic_kl, True, "importance weights are of single draws")
        one_of("variant.gradient", self.gradient, ("standard", "doubly_reparameterised"))


@register("iwae")
class IWAE(Variant):
    """Importance-weighted autoencoder: a bound on log p(x) from K samples, tighter than the ELBO.

        loss = -[logsumexp_k log w_k - log K],   log w_k = log p(x|z_k) + log p(z_k) - log q(z_k|x)

    K = 1 gives the VAE without the closed-form KL. The value of the loss is minus the bound for both gradient
    estimators.

    References:
        Burda, Grosse & Salakhutdinov, *Importance Weighted Autoencoders*, ICLR 2016, eq. 8.
        https://arxiv.org/abs/1509.00519
        Tucker et al., *Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives*, ICLR 2019, eq. 8.
        https://arxiv.org/abs/1810.04152

    Defaults:
        samples = 5: the paper, Table 1, which has 5 and 50; with 50 the decoder does ten times the work.
        gradient = standard: the paper (Burda et al.).
    """

    Config = IWAEConfig
    family = "bounds"
    forms = ({"gradient": "doubly_reparameterised"},)

    def estimates_gradient(self) -> tuple[str, ...]:
        return () if self.config.gradient == "standard" else ("encoder",)

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        K, x, condition = self.config.samples, batch.images, batch.condition
        q = self.posterior(x, condition=condition)
        if self.config.gradient == "standard":
            parts = self.log_weights(x, q, K, condition=condition)
        else:
            # The encoder gets a gradient only through z: the parameters of log q are detached.
            z = q.rsample(torch.Size([K]))
            log_likelihood = self.likelihood(z, condition=condition).log_prob(x)
            log_q = q.detach().log_prob(z)  # type: ignore[attr-defined]
            parts = LogWeights(log_likelihood, self.prior(condition=condition).log_prob(z), log_q, z)
        log_w = parts.value
        bound = log_w.logsumexp(0) - math.log(K)
        terms = {
            "reconstruction": -parts.log_likelihood.mean(0),
            "kl": (parts.log_posterior - parts.log_prior).mean(0),
            "bound": bound,
        }
        if self.config.gradient == "standard":
            return Loss(-bound.mean(), terms)
        weights = log_w.detach().softmax(0)
        # Tucker et al., eq. 8: the weights multiply the decoder's gradient once, and the gradient through z twice.
        if z.requires_grad:
            z.register_hook(lambda gradient: weights.unsqueeze(-1) * gradient)
        surrogate = (weights * log_w).sum(0)
        return Loss(-(surrogate + (bound - surrogate).detach()).mean(), terms)

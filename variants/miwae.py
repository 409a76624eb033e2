"""Importance-weighted autoencoders that train the encoder on a looser bound: MIWAE, CIWAE and PIWAE."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from .base import Batch, Loss, ParameterGroup, Variant, VariantConfig
from .options import between, check_form, positive, without_effect
from .registry import register

# Form -> the options that only this form uses.
FORMS: dict[str, tuple[str, ...]] = {"miwae": (), "ciwae": ("beta",), "piwae": ()}


@dataclass
class MIWAEConfig(VariantConfig):
    """``outer`` is M, the number of bounds, and ``samples`` is K, the number of importance samples of each. ``form`` is
    "miwae", "ciwae" or "piwae". ``beta`` is the weight of the ELBO in "ciwae"."""

    samples: int = 5
    outer: int = 2
    form: str = "miwae"
    beta: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        without_effect("variant.analytic_kl", self.analytic_kl, True, "importance weights are of single draws")
        positive("variant.outer", self.outer)
        between("variant.beta", self.beta, 0, 1)
        check_form(self, FORMS)


@register("miwae")
class MIWAE(Variant):
    """MIWAE, CIWAE and PIWAE: combinations of the ELBO and importance-weighted bounds, from M x K samples.

        L(M, K) = (1/M) sum_m log (1/K) sum_k w_mk,   w_mk = p(x|z_mk) p(z_mk) / q(z_mk|x)

        form "miwae":  loss = -L(M, K)
        form "ciwae":  loss = -[beta L(M K, 1) + (1 - beta) L(1, M K)]
        form "piwae":  encoder's loss = -L(M, K),   decoder's loss = -L(1, M K)

    L(M K, 1) is the ELBO of all draws and L(1, M K) is their IWAE bound. With form "miwae", M = 1 gives ``iwae``, and
    K = 1 gives the VAE with M samples and without the closed-form KL. A tighter bound (larger K) helps the decoder, but
    gives the encoder a gradient with a lower signal-to-noise ratio.

    References:
        Rainforth et al., *Tighter Variational Bounds are Not Necessarily Better*, ICML 2018, section 4.
        https://arxiv.org/abs/1802.04537

    Deviations:
        1. Form "ciwae" uses M K draws, so that all forms have the same budget.

    Defaults:
        samples = 5: chosen here, the K of ``iwae``.
        outer = 2: chosen here: twice the draws of ``iwae``; with the 64 draws of M = K = 8 a run takes more than ten
            times as long as a run of the VAE.
        form = miwae: chosen here, without a search; the paper has all three.
        beta = 0.5: chosen here, without a search: the mean of the two bounds.
    """

    Config = MIWAEConfig
    family = "bounds"
    forms = ({"form": "ciwae"}, {"form": "piwae"})
    small = {"samples": 3, "outer": 2}

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        M, K = self.config.outer, self.config.samples
        q = self.posterior(batch.images, condition=batch.condition)
        parts = self.log_weights(batch.images, q, M * K, condition=batch.condition)
        log_w = parts.value
        terms = {
            "reconstruction": -parts.log_likelihood.mean(0),
            "kl": (parts.log_posterior - parts.log_prior).mean(0),
        }
        multiple, single = mean_bound(log_w, M, K), mean_bound(log_w, 1, M * K)
        if self.config.form == "piwae":
            value = {"model": -single.mean(), "encoder": -multiple.mean()}
            return Loss(value, terms | {"bound": single, "encoder_bound": multiple})
        if self.config.form == "ciwae":
            elbo = mean_bound(log_w, M * K, 1)
            bound = self.config.beta * elbo + (1 - self.config.beta) * single
        else:
            bound = multiple
        return Loss(-bound.mean(), terms | {"bound": bound})

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        if self.config.form != "piwae":
            return self.model_and()
        return self.model_and(encoder=ParameterGroup(list(self.encoder.parameters())))


def mean_bound(log_w: Tensor, M: int, K: int) -> Tensor:
    """L(M, K) of each image (batch,), in nats, from ``log_w`` (M * K, batch): the mean over M of the log of the mean
    weight over K."""
    return (log_w.unflatten(0, (M, K)).logsumexp(1) - math.log(K)).mean(0)

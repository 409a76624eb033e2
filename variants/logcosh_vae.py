"""Log-cosh VAE."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .base import TrainingStep, Variant, VariantConfig
from .options import not_negative, positive
from .parts.observations import log_cosh
from .registry import register


@dataclass
class LogCoshConfig(VariantConfig):
    """``sharpness`` is a: the loss is quadratic for errors below 1 / a and linear above. ``beta`` is the weight of the
    KL."""

    sharpness: float = 10.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("variant.sharpness", self.sharpness)
        not_negative("variant.beta", self.beta)


@register("logcosh_vae")
class LogCoshVAE(Variant):
    """VAE with the log-cosh reconstruction loss.

        loss = (1/a) sum_pixels log cosh(a (x - x_hat)) + beta KL

    x_hat is the mean image. Like every variant, it is evaluated with the observation model of the data set, whose
    parameters are fitted after training.

    References:
        Chen et al., *Log Hyperbolic Cosine Loss Improves Variational Auto-Encoder*, 2019, eqs. 9-10.
        https://openreview.net/forum?id=rkglvsC9Ym

    Deviations:
        1. The sum over pixels is not divided by their number; beta is the weight of the KL relative to this sum.

    Defaults:
        sharpness = 10.0: chosen here, since the paper's value was not available: the loss changes from quadratic to
            linear at an error of a tenth of a pixel's range.
        beta = 1.0: chosen here: the weight that the VAE gives to the KL. The best trial of the search, with sharpness 1
            and beta 0.1, is close to a squared error with a small weight of the KL, no longer to this variant's loss.
    """

    Config = LogCoshConfig
    family = "reconstruction losses"
    search = {"sharpness": (1.0, 10.0, 100.0), "beta": (0.1, 1.0)}
    trains_observation = False

    def reconstruction(self, step: TrainingStep) -> Tensor:
        a = self.config.sharpness
        return log_cosh(a * (step.x - step.likelihood.mean)).flatten(-3).sum(-1) / a

    def regulariser(self, step: TrainingStep) -> Tensor:
        return self.config.beta * step.kl

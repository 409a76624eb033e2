"""Sparse autoencoders."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .ae import AE, AEConfig
from .base import TrainingStep, VariantConfig
from .options import check_form, not_negative, positive
from .parts.networks import Network
from .registry import register

# Form -> the options that only this form uses.
FORMS: dict[str, tuple[str, ...]] = {"k": ("k", "alpha"), "l1": ("l1_weight",), "kl": ("kl_weight", "rho")}


@dataclass
class SparseConfig(AEConfig):
    """``form`` is "k", "l1" or "kl".

    "k": the ``k`` largest units are kept (None: a quarter of the units, rounded up), in evaluation ``alpha`` * k units.
    "l1": ``l1_weight`` is lambda. "kl": ``kl_weight`` is lambda, and ``rho`` is the target mean activation.
    """

    form: str = "k"
    k: int | None = None
    alpha: float = 1.0
    l1_weight: float = 0.1
    kl_weight: float = 6.0
    rho: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_form(self, FORMS)
        if self.k is not None:
            positive("variant.k", self.k)
        if not (self.alpha >= 1 and math.isfinite(self.alpha)):
            raise ValueError(f"variant.alpha must be 1 or above, got {self.alpha}")
        not_negative("variant.l1_weight", self.l1_weight)
        not_negative("variant.kl_weight", self.kl_weight)
        if not 0 < self.rho < 1:
            raise ValueError(f"variant.rho must be above 0 and below 1, got {self.rho}")
        if self.form == "k" and self.units != "linear":
            raise ValueError(f"variant.form=k keeps linear units, got variant.units={self.units}")
        if self.form == "kl" and self.units != "sigmoid":
            raise ValueError(f"variant.form=kl needs variant.units=sigmoid, got {self.units}")

    def kept(self, units: int, training: bool) -> int:
        """The number of the code's ``units`` that form "k" keeps."""
        k = math.ceil(units / 4) if self.k is None else self.k
        return k if training else round(self.alpha * k)


@register("sparse_ae")
class SparseAE(AE):
    """Sparse autoencoder: only a few units of the code are active for each image.

        loss = L(x, G(h_k)),   h_k = the k largest of h, the others 0                     ("k")
        loss = L(x, G(h)) + lambda sum_j |h_j|                                            ("l1")
        loss = L(x, G(h)) + lambda sum_j KL(rho || mean over the batch of h_j)            ("kl")

    L is the loss of ``ae``. KL(rho || a) = rho log(rho / a) + (1 - rho) log((1 - rho) / (1 - a)), for sigmoid units. In
    form "k" gradients flow only through the kept units. The code may have more units than the image has pixels:
    ``network.latent_size=1000``. k = the latent size and lambda = 0 give ``ae``.

    References:
        Makhzani & Frey, *k-Sparse Autoencoders*, ICLR 2014, section 2. https://arxiv.org/abs/1312.5663
        Ng, *Sparse Autoencoder*, CS294A lecture notes, 2011 ("kl").
        https://web.stanford.edu/class/cs294a/sparseAutoencoder.pdf
        Goodfellow, Bengio & Courville, *Deep Learning*, 2016, section 14.2.1 ("l1"). https://www.deeplearningbook.org

    Deviations:
        1. Makhzani & Frey have one linear layer with tied weights and 1000 units; the boards' codes have 32 (shapes 10,
           CelebA 64).
        2. "kl": Ng's weight decay is left to the optimiser (``training.weight_decay``), by default none.
        3. "kl": the mean activation is over the batch; Ng's is over all training images.
        4. "l1": the decoder's weights are not bounded, so that smaller code values with larger weights can avoid a
           part of the penalty.

    Defaults:
        loss = squared_error: chosen here, as in ``ae``; Ng has half the squared error.
        units = linear: the paper (Makhzani & Frey); form "kl" needs sigmoid units.
        form = k: chosen here, without a search, the first of the three forms.
        k = null: chosen here: a quarter of the code's units; Makhzani & Frey keep 10 to 70 of 1000 on MNIST.
        alpha = 1.0: chosen here: as many units in evaluation as in training; Makhzani & Frey allow values above 1.
        l1_weight = 0.1: open in the paper; chosen here, without a search.
        kl_weight = 6.0: the paper (Ng), which has a weight of 3 with half the squared error.
        rho = 0.1: the paper (Ng), in his exercise on MNIST.
    """

    Config = SparseConfig
    # rho = 0.5 in tests: with a mean activation of 0.1, the three units there could not distinguish eight images.
    forms = ({"form": "l1"}, {"form": "kl", "units": "sigmoid", "rho": 0.5})
    batch_statistics = ("activation_kl",)

    @classmethod
    def check(cls, config: VariantConfig, network: Network, side: int | None) -> None:
        super().check(config, network, side)
        assert isinstance(config, SparseConfig)
        if config.form != "k":
            return
        units = network.latent_size
        for name, kept in (("k", config.kept(units, True)), ("alpha * k", config.kept(units, False))):
            if kept > units:
                raise ValueError(f"variant.{name} must not exceed network.latent_size, {units}, got {kept}")

    def units(self, x: Tensor) -> Tensor:
        h = super().units(x)
        if self.config.form != "k":
            return h
        largest = h.topk(self.config.kept(self.latent_size, self.training), dim=-1).indices
        return h * torch.zeros_like(h).scatter(-1, largest, 1)

    def regulariser(self, step: TrainingStep) -> Tensor:
        h = step.z[0]
        if self.config.form == "l1":
            return self.config.l1_weight * step.log("l1", h.abs().sum(-1))
        if self.config.form == "kl":
            return self.config.kl_weight * step.log("activation_kl", bernoulli_kl(self.config.rho, h.mean(0)).sum())
        return super().regulariser(step)


def bernoulli_kl(rho: float, activation: Tensor) -> Tensor:
    """KL(rho || activation) of two Bernoulli variables in nats, elementwise."""
    tiny = torch.finfo(activation.dtype).eps
    a = activation.clamp(tiny, 1 - tiny)
    return rho * (math.log(rho) - a.log()) + (1 - rho) * (math.log(1 - rho) - torch.log1p(-a))

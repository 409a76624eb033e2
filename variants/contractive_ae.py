"""Contractive autoencoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .ae import AE, AEConfig
from .autoencoder import random_signs
from .base import TrainingStep
from .options import not_negative, one_of
from .parts.networks import running_averages
from .registry import register

JACOBIANS = ("estimate", "exact")


@dataclass
class ContractiveConfig(AEConfig):
    """``contraction`` is lambda. ``jacobian`` is "exact", or "estimate", which is unbiased and needs one random
    direction per image."""

    loss: str = "cross_entropy"
    contraction: float = 0.1
    jacobian: str = "estimate"

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative("variant.contraction", self.contraction)
        one_of("variant.jacobian", self.jacobian, JACOBIANS)


@register("contractive_ae")
class ContractiveAE(AE):
    """Contractive autoencoder: a penalty on the Jacobian of the encoder makes the code robust to small changes.

        loss = L(x, G(h)) + lambda |J|_F^2,   J = dh/dx

    L is the loss of ``ae``; the norm is summed over pixels and units. An encoder of one layer has a closed form. For
    sigmoid units it is

        |J|_F^2 = sum_j (h_j (1 - h_j))^2 |W_j|^2

    where W_j is the row of weights of unit j. For a deeper encoder, "exact" uses automatic differentiation with one
    backward pass per unit. "estimate" uses one backward pass and is |J^T v|^2, where v has independent random signs;
    its mean is |J|_F^2 because Cov(v) = I. lambda = 0 gives ``ae``.

    References:
        Rifai et al., *Contractive Auto-Encoders: Explicit Invariance During Feature Extraction*, ICML 2011.
        https://icml.cc/2011/papers/455_icmlpaper.pdf
        Hutchinson, *A Stochastic Estimator of the Trace of the Influence Matrix*, 1989.
        https://doi.org/10.1080/03610918908812806
        The tutorial of the authors' laboratory, code/cA.py. https://github.com/lisa-lab/DeepLearningTutorials

    Deviations:
        1. The paper's encoder is one layer of sigmoid units that shares its weights with the decoder. Deeper codes are
           stacked layer by layer, with a penalty for each layer. Here J is the Jacobian of the whole encoder, and
           weights are not shared. ``network=linear`` has one layer.
        2. Without shared weights, smaller code values with larger weights in the decoder avoid a part of the penalty.
        3. If the encoder has batch normalisation, J is the Jacobian of the encoder in evaluation mode, with running
           statistics, because with batch statistics the code of an image depends on the other images.

    Defaults:
        loss = cross_entropy: the authors' code (their laboratory's cA.py), summed over pixels as here.
        units = linear: chosen here: sigmoid units on top of the boards' deep encoders saturated at the boards' learning
            rate, even with lambda = 0, and every image had the same code.
        contraction = 0.1: the authors' code (their laboratory's cA.py, on MNIST, for one layer of 500 sigmoid units).
        jacobian = estimate: chosen here: it is unbiased and needs one backward pass instead of one for each unit.
    """

    Config = ContractiveConfig
    forms = ({"jacobian": "exact"}, {"units": "sigmoid"})

    def regulariser(self, step: TrainingStep) -> Tensor:
        # At weight 0 nothing is drawn, so that the random numbers are the same as those of ``ae``.
        if self.config.contraction == 0:
            return super().regulariser(step)
        return self.config.contraction * step.log("contraction", self.squared_jacobian(step.x))

    def squared_jacobian(self, x: Tensor) -> Tensor:
        """|dh/dx|_F^2 of each image (batch,), exact or estimated."""
        if self.config.jacobian == "exact" and (layer := self._only_layer()) is not None:
            return self._closed_form(x, layer)
        differentiable = torch.is_grad_enabled()
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            with running_averages(self.encoder):
                h = self.units(at)
            if self.config.jacobian == "exact":
                directions = torch.eye(h.shape[-1], dtype=h.dtype, device=h.device)
            else:
                directions = random_signs(h).unsqueeze(0)
            norm = h.new_zeros(len(x))
            for v in directions:
                (row,) = torch.autograd.grad(h, at, v.expand_as(h), create_graph=differentiable, retain_graph=True)
                norm = norm + row.square().flatten(1).sum(-1)
        return norm

    def _only_layer(self) -> nn.Linear | None:
        """The linear layer of an encoder that has no other layer (apart from ``Flatten``), else None."""
        layers = [module for module in self.encoder.modules() if not list(module.children())]
        linear = [module for module in layers if not isinstance(module, nn.Flatten)]
        return linear[0] if len(linear) == 1 and isinstance(linear[0], nn.Linear) else None

    def _closed_form(self, x: Tensor, layer: nn.Linear) -> Tensor:
        rows = layer.weight.square().sum(-1).to(x.dtype)
        if self.config.units == "linear":
            return rows.sum().expand(len(x))
        h = self.units(x)
        return (h * (1 - h)).square() @ rows

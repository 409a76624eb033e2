"""Contractive autoencoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .ae import AE, AEConfig
from .base import TrainingStep
from .options import not_negative, one_of
from .registry import register

JACOBIANS = ("estimate", "exact")
BATCH_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass
class ContractiveConfig(AEConfig):
    """``contraction`` is lambda; ``jacobian`` "exact", or an unbiased "estimate" from one random direction an image."""

    loss: str = "cross_entropy"
    contraction: float = 0.1
    jacobian: str = "estimate"

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative("variant.contraction", self.contraction)
        one_of("variant.jacobian", self.jacobian, JACOBIANS)


@register("contractive_ae")
class ContractiveAE(AE):
    """Contractive autoencoder: the code changes little with the image.

        loss = L(x, G(h)) + lambda |J|_F^2,   J = dh/dx

    L is the loss of ``ae``; the norm is summed over pixels and units. One layer has a closed form, for sigmoid units

        |J|_F^2 = sum_j (h_j (1 - h_j))^2 |W_j|^2

    where W_j is the unit's row of weights. A deeper encoder's norm comes from automatic differentiation, a backward
    pass for each unit ("exact"), or from one pass as E_v |J^T v|^2 with v of independent random signs ("estimate"),
    whose mean is |J|_F^2 since Cov(v) = I. lambda = 0 is ``ae``.

    References:
        Rifai et al., *Contractive Auto-Encoders: Explicit Invariance During Feature Extraction*, ICML 2011.
        https://icml.cc/2011/papers/455_icmlpaper.pdf
        Hutchinson, *A Stochastic Estimator of the Trace of the Influence Matrix*, 1989.
        https://doi.org/10.1080/03610918908812806
        The tutorial of the authors' laboratory, code/cA.py. https://github.com/lisa-lab/DeepLearningTutorials

    Deviations:
        1. The paper's encoder is one layer of sigmoid units whose weights the decoder shares, and deeper codes are
           stacked layer by layer, each contracted by itself. Here J is that of the whole encoder, and weights
           are not shared. ``network=linear`` is one layer.
        2. Without shared weights a smaller code and a larger decoder evade a part of the penalty.
        3. Where the encoder has batch normalisation, J is that of the encoder in evaluation, with running statistics:
           within a batch an image's code depends on the other images.

    Defaults:
        loss = cross_entropy: the authors' code (their laboratory's cA.py), summed over pixels as here.
        units = linear: chosen here: sigmoid ones on top of the board's deep encoders saturated at its learning rate, at
            lambda = 0 too, and every image had the same code.
        contraction = 0.1: the authors' code (their laboratory's cA.py, on MNIST, for one layer of 500 sigmoid units).
        jacobian = estimate: chosen here: one backward pass an image instead of one for each unit, without bias.
    """

    Config = ContractiveConfig
    forms = ({"jacobian": "exact"}, {"units": "sigmoid"})

    def regulariser(self, step: TrainingStep) -> Tensor:
        # At weight 0 no draw is made, so that the plain autoencoder's own sequence of draws remains.
        if self.config.contraction == 0:
            return super().regulariser(step)
        return self.config.contraction * step.log("contraction", self.squared_jacobian(step.x))

    def squared_jacobian(self, x: Tensor) -> Tensor:
        """|dh/dx|_F^2 of each image (batch,), or the estimate of it."""
        if self.config.jacobian == "exact" and (layer := self._only_layer()) is not None:
            return self._closed_form(x, layer)
        differentiable = torch.is_grad_enabled()
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            h = self._units_without_batch_statistics(at)
            if self.config.jacobian == "exact":
                directions = torch.eye(h.shape[-1], dtype=h.dtype, device=h.device)
            else:
                directions = (torch.rand_like(h) < 0.5).to(h.dtype).mul(2).sub(1).unsqueeze(0)
            norm = h.new_zeros(len(x))
            for v in directions:
                (row,) = torch.autograd.grad(h, at, v.expand_as(h), create_graph=differentiable, retain_graph=True)
                norm = norm + row.square().flatten(1).sum(-1)
        return norm

    def _only_layer(self) -> nn.Linear | None:
        """The encoder's layer, if it has no other."""
        layers = [module for module in self.encoder.modules() if not list(module.children())]
        linear = [module for module in layers if not isinstance(module, nn.Flatten)]
        return linear[0] if len(linear) == 1 and isinstance(linear[0], nn.Linear) else None

    def _closed_form(self, x: Tensor, layer: nn.Linear) -> Tensor:
        rows = layer.weight.square().sum(-1).to(x.dtype)
        if self.config.units == "linear":
            return rows.sum().expand(len(x))
        h = self.units(x)
        return (h * (1 - h)).square() @ rows

    def _units_without_batch_statistics(self, x: Tensor) -> Tensor:
        switched = [m for m in self.encoder.modules() if isinstance(m, BATCH_NORMALISATIONS) and m.training]
        for module in switched:
            module.eval()
        try:
            return self.units(x)
        finally:
            for module in switched:
                module.train()

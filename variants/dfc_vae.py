"""Deep-feature-consistent VAE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .base import TrainingStep, Variant, VariantConfig
from .options import not_negative, positive
from .registry import register


@dataclass
class DFCConfig(VariantConfig):
    """``feature_weight`` is the weight of the feature loss, ``kl_weight`` that of the KL."""

    feature_weight: float = 1.0
    kl_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("variant.feature_weight", self.feature_weight)
        not_negative("variant.kl_weight", self.kl_weight)


@register("dfc_vae")
class DFCVAE(Variant):
    """Deep-feature-consistent VAE: a reconstruction loss on features of a frozen network instead of pixels.

        loss = w_f (D / 2) sum_l mean((phi_l(x) - phi_l(x_hat))^2) + w_k KL

    phi_l are feature maps of a frozen network: VGG-19's relu1_1, relu2_1 and relu3_1 if images are in colour and its
    weights can be downloaded. Otherwise it is a classifier of the data set, but not the classifier that evaluates
    samples. The record states which network it is. D is the number of pixel channels of an image: the factor D gives
    the mean over a layer the weight of a sum over pixels.

    References:
        Hou et al., *Deep Feature Consistent Variational Autoencoder*, WACV 2017, eqs. 3-5.
        https://arxiv.org/abs/1610.00291
        The authors' code. https://github.com/houxianxu/DFC-VAE

    Deviations:
        1. The paper's loss of a layer is a mean over its features, and the KL is a sum over dimensions, with weights of
           0.5 and 1. That balance depends on the scale of VGG's features. Here the mean is multiplied by D, so that
           both terms are sums over an image.

    Defaults:
        feature_weight = 1.0: the paper, and the authors' code (content_weight in main_cvae_content.lua), because the
            formula contains their 0.5; its factor D is chosen here, see deviation 1.
        kl_weight = 1.0: the paper; the authors' code has no weight on the KL, either. It sums the KL over the batch and
            averages the loss over features (KLDCriterion.lua).
    """

    Config = DFCConfig
    family = "reconstruction losses"
    smallest_side = 4
    trains_observation = False
    needs_teacher = True

    # In a tuple, so that it is not a submodule: its weights are neither saved nor trained with this model.
    _teacher: tuple[nn.Module, ...] = ()

    def use_teacher(self, network: nn.Module) -> None:
        self._teacher = (network.requires_grad_(False),)

    def reconstruction(self, step: TrainingStep) -> Tensor:
        if not self._teacher:
            raise ValueError("the loss needs a feature network: call use_teacher() first")
        # Batch normalisation must use its trained statistics, also while this model is in training mode.
        teacher = self._teacher[0].eval()
        x, x_hat = step.x, step.likelihood.mean
        with torch.no_grad():
            targets = teacher(x)
        features = teacher(x_hat.flatten(0, 1))
        size = x[0].numel()
        layers = [
            (feature.unflatten(0, x_hat.shape[:2]) - target).square().flatten(2).mean(-1)
            for feature, target in zip(features, targets, strict=True)
        ]
        return self.config.feature_weight * size / 2 * torch.stack(layers).sum(0)

    def regulariser(self, step: TrainingStep) -> Tensor:
        return self.config.kl_weight * step.kl

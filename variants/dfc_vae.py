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
    """``feature_weight`` of the feature loss, ``kl_weight`` of the KL."""

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
    weights can be downloaded, else a classifier of the data set, another one than that which judges samples. The record
    says which. D is the number of pixel channels of an image, so that a layer weighs like a sum over pixels.

    References:
        Hou et al., *Deep Feature Consistent Variational Autoencoder*, WACV 2017, eqs. 3-5.
        https://arxiv.org/abs/1610.00291
        The authors' code. https://github.com/houxianxu/DFC-VAE

    Deviations:
        1. The paper's layer loss is a mean over the layer's features beside a KL summed over dimensions, weighed 0.5 to
           1; that balance depends on VGG's scale. Here a mean is multiplied by D, so that both terms are sums over an
           image.

    Defaults:
        feature_weight = 1.0: the paper, and the authors' code (content_weight in main_cvae_content.lua), for the
            formula has their 0.5; its factor D is chosen here, see deviation 1.
        kl_weight = 1.0: the paper; the authors' code gives the KL no weight either, but sums it over the batch beside a
            mean of the features (KLDCriterion.lua).
    """

    Config = DFCConfig
    family = "reconstruction losses"
    smallest_side = 4
    trains_observation = False
    needs_teacher = True

    # Not a submodule: its weights are not this model's, neither saved nor trained with it.
    _teacher: tuple[nn.Module, ...] = ()

    def use_teacher(self, network: nn.Module) -> None:
        self._teacher = (network.requires_grad_(False),)

    def reconstruction(self, step: TrainingStep) -> Tensor:
        if not self._teacher:
            raise ValueError("the loss needs the network that use_teacher() gives")
        # Batch normalisation must use its trained statistics, whatever mode this model is in.
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

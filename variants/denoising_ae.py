"""Denoising autoencoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .ae import AE, AEConfig
from .options import between, not_negative, one_of
from .registry import register

CORRUPTIONS = ("gaussian", "masking", "salt_and_pepper")


@dataclass
class DenoisingConfig(AEConfig):
    """``corruption`` is "masking" (a pixel becomes 0), "salt_and_pepper" (0 or 1, with equal probability) or "gaussian"
    noise. ``strength`` is the probability that a pixel is corrupted, or the standard deviation of the noise."""

    loss: str = "cross_entropy"
    corruption: str = "masking"
    strength: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("variant.corruption", self.corruption, CORRUPTIONS)
        if self.corruption == "gaussian":
            not_negative("variant.strength", self.strength)
        else:
            between("variant.strength", self.strength, 0, 1)


@register("denoising_ae")
class DenoisingAE(AE):
    """Denoising autoencoder: reconstructs the clean image from a corrupted one.

        loss = L(x, G(Q(T(x))))

    Q is the encoder, G the decoder, T the corruption and L the loss of ``ae``. At every step T is drawn again, for each
    pixel and channel independently. Only the loss uses T: evaluation encodes and reconstructs uncorrupted images.
    Strength 0 gives ``ae``.

    References:
        Vincent et al., *Extracting and Composing Robust Features with Denoising Autoencoders*, ICML 2008, section 2.3.
        https://doi.org/10.1145/1390156.1390294
        Vincent et al., *Stacked Denoising Autoencoders*, JMLR 2010, section 3.3 (the three corruptions).
        https://jmlr.org/papers/v11/vincent10a.html
        The tutorial of the authors' laboratory, code/dA.py. https://github.com/lisa-lab/DeepLearningTutorials

    Deviations:
        1. The papers train one wide layer of sigmoid units with tied weights at a time, and stack these layers. Here
           the whole network is trained at once, and the code is small.

    Defaults:
        loss = cross_entropy: the paper (2008), and the authors' laboratory's dA.py.
        units = linear: chosen here, as in ``ae``; the papers' units are sigmoid.
        corruption = masking: the paper (2008, section 2.3).
        strength = 0.25: chosen here, without a search; the authors' laboratory's dA.py has 0.3 on MNIST.
    """

    Config = DenoisingConfig
    forms = (
        {"corruption": "gaussian", "strength": 0.5, "loss": "squared_error"},
        {"corruption": "salt_and_pepper"},
    )

    def corrupt(self, x: Tensor) -> Tensor:
        strength = self.config.strength
        # At strength 0 nothing is drawn, so that the random numbers are the same as those of ``ae``.
        if strength == 0:
            return x
        if self.config.corruption == "gaussian":
            return x + strength * torch.randn(*x.shape, dtype=x.dtype, device=x.device)
        u = torch.rand_like(x)
        if self.config.corruption == "masking":
            return x.masked_fill(u < strength, 0)
        return x.masked_fill(u < strength, 1).masked_fill(u < strength / 2, 0)

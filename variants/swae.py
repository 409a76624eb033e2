"""Sliced-Wasserstein autoencoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .autoencoder import Autoencoder, AutoencoderConfig
from .base import TrainingStep
from .options import not_negative, positive
from .parts.discrepancies import random_directions, sliced_wasserstein
from .registry import register


@dataclass
class SWAEConfig(AutoencoderConfig):
    """``sw_weight`` is lambda; ``projections`` is L, the number of directions."""

    sw_weight: float = 784.0
    projections: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative("variant.sw_weight", self.sw_weight)
        positive("variant.projections", self.projections)


@register("swae")
class SWAE(Autoencoder):
    """Sliced-Wasserstein autoencoder: squared error plus a sliced Wasserstein distance between codes and prior.

        loss = |x - G(z)|^2 + lambda SW_2^2(q_z, p_z),   z = Q(x)
        SW_2^2 = (1 / L) sum_l (1 / B) sum_i (<theta_l, z>_(i) - <theta_l, p>_(i))^2

    theta_l are L directions, uniform on the sphere, and p are B draws from the prior, where B is the batch size. Both
    are drawn again at every step. The index (i) denotes the i-th smallest value. The squared error is summed over
    pixels. A deterministic encoder has no density, so there is no ELBO. lambda = 0 gives ``ae``.

    References:
        Kolouri, Pope, Martin & Rohde, *Sliced-Wasserstein Autoencoder: An Embarrassingly Simple Generative Model*,
        2018, eqs. 14-15 and Algorithm 1. https://arxiv.org/abs/1804.01947
        The authors' notebooks for MNIST. https://github.com/skolouri/swae

    Deviations:
        1. The cost is the squared error. The paper leaves the cost open, and the notebooks have a cross-entropy plus an
           absolute error, averaged over pixels.
        2. The prior is N(0, I) of the configured latent size; the notebooks' priors are rings, circles and squares in
           two dimensions. In d dimensions a random projection contains only a part of the distance, so that the same
           lambda has less effect.
        3. On the boards, batches have 100 images (CelebA 50); the notebooks' have 500.
        4. lambda is constant; the notebooks raise it by a tenth in each of the last 19 of their 30 epochs.

    Defaults:
        sw_weight = 784.0 (celeba 12288.0, digits 64.0, shapes 1024.0): open in the paper; the number D of
            pixel channels of the data set. For images of another size, set it yourself. The notebooks
            begin with 10 and errors averaged over pixels, equivalent to 10 D with a sum, but these errors are several
            times the squared error. At 10 D reconstructions, codes and samples were all worse.
        projections = 50: the authors' code (all three notebooks).
    """

    Config = SWAEConfig
    dataset_defaults = {
        "celeba": {"sw_weight": 12_288.0},
        "digits": {"sw_weight": 64.0},
        "shapes": {"sw_weight": 1_024.0},
    }
    batch_statistics = ("sliced_wasserstein",)
    # With the default weight the tiny images of tests would hardly be learned.
    small = {"sw_weight": 10.0}

    def regulariser(self, step: TrainingStep) -> Tensor:
        # At weight 0 nothing is drawn, so that the random numbers are the same as those of ``ae``.
        if self.config.sw_weight == 0:
            return super().regulariser(step)
        z = step.z[0]
        drawn = self.prior().sample(torch.Size([len(z)]))
        distance = sliced_wasserstein(z, drawn, random_directions(self.config.projections, z))
        return self.config.sw_weight * step.log("sliced_wasserstein", distance)

    def unavailable(self) -> dict[str, str]:
        return {"posterior_density": "deterministic encoder: q(z|x) is a point mass and has no density"}

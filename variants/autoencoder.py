"""The base class of autoencoders without a variational bound: a code, a reconstruction error and a penalty."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from .base import Batch, TrainingStep, Variant, VariantConfig
from .options import without_effect
from .parts.distributions import PointMass
from .parts.networks import Network

# Half a grey level. Pixels of an affine decoder are clamped to this distance from 0 and 1 for their likelihood.
HALF_LEVEL = 0.5 / 255


@dataclass
class AutoencoderConfig(VariantConfig):
    """Options of autoencoders, which have one code per image and no KL."""

    def __post_init__(self) -> None:
        super().__post_init__()
        without_effect("variant.samples", self.samples, 1, "the objective takes one z per image")
        without_effect("variant.analytic_kl", self.analytic_kl, True, "the objective has no KL")
        if not self.has_normal:
            self.check_no_normals()

    @property
    def has_normal(self) -> bool:
        """Whether the code is drawn from a normal distribution that the encoder parametrises."""
        return False


def random_signs(like: Tensor) -> Tensor:
    """A tensor v of the shape of ``like`` whose entries are -1 or 1, independently. Since Cov(v) = I, |J^T v|^2 is an
    unbiased estimate of |J|_F^2 for a Jacobian J (Hutchinson 1989)."""
    return (torch.rand_like(like) < 0.5).to(like.dtype).mul(2).sub(1)


class Autoencoder(Variant):
    """An autoencoder: squared error, and a penalty on the image and its code.

        loss = |x - G(z)|^2 + penalty(x, z),   z = Q(T(x))

    The squared error is summed over pixels. G(z) is the mean of the observation model, which is in [0, 1]. With an
    affine network, or if the data set sets linear outputs, G(z) is the decoder's output itself. Subclasses override
    ``corrupt`` (T, by default the identity), ``regulariser`` (the penalty, by default 0, a function of ``step.x`` and
    ``step.z``), ``reconstruction`` and ``image`` (G). There is no prior, and q is a point mass, so there is no ELBO.
    A subclass with a prior overrides ``unavailable``.
    """

    Config = AutoencoderConfig
    family = "autoencoders"
    trains_observation = False
    # Whether G(z) is the decoder's output itself.
    affine = False

    def build(self, network: Network) -> None:
        self.affine = network.affine
        self.encoder = network.encoder(self.image_shape, self.latent_size)
        self.decoder = network.decoder(self.latent_size, self.image_shape)

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> Distribution:
        return PointMass(self.encoder(x).to(x.dtype))

    def corrupt(self, x: Tensor) -> Tensor:
        """T(x), the encoder's input in training (batch, channels, height, width)."""
        return x

    def forward_pass(self, batch: Batch, progress: Tensor) -> TrainingStep:
        q = self.posterior(self.corrupt(batch.images), condition=batch.condition)
        return TrainingStep(self, batch, progress, q, q.rsample(torch.Size([1])))

    def image(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """G(z), the reconstruction (*samples, batch, channels, height, width) of ``z`` (*samples, batch, latent)."""
        if self.affine or self.observation.linear:
            return super().decode(z, condition=condition)
        return super().image(z, condition=condition)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        output = super().decode(z, condition=condition)
        # Most observation models apply a sigmoid to their input. The logit makes the result G(z), clamped to (0, 1).
        return torch.logit(output, eps=HALF_LEVEL) if self.affine and not self.observation.linear else output

    def reconstruction(self, step: TrainingStep) -> Tensor:
        return (step.x - self.image(step.z, condition=step.batch.condition)).square().flatten(-3).sum(-1)

    def regulariser(self, step: TrainingStep) -> Tensor:
        return step.z.new_zeros(())

    def unavailable(self) -> dict[str, str]:
        return {
            "prior": "an autoencoder has no prior over its codes",
            "posterior_density": "deterministic encoder: q(z|x) is a point mass and has no density",
        }

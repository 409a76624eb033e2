"""JointVAE: Gaussian dimensions and a category side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Batch, Loss, Variant, VariantConfig
from .options import not_negative, positive, without_effect
from .parts.distributions import Categoricals, Concatenated, DiagonalNormal, StandardNormal, kl_divergence
from .parts.networks import Network
from .registry import register


@dataclass
class JointConfig(VariantConfig):
    """``continuous`` Gaussian dimensions and one variable of ``categories`` values; ``capacity_z`` and ``capacity_c``
    in nats at the end of training; ``temperature`` of the relaxation."""

    continuous: int = 10
    categories: int = 10
    gamma: float = 30.0
    capacity_z: float = 5.0
    capacity_c: float = math.log(10)
    temperature: float = 0.67

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("variant.continuous", self.continuous)
        if not self.categories >= 2:
            raise ValueError(f"variant.categories must be 2 or above, got {self.categories}")
        for name in ("gamma", "capacity_z", "capacity_c"):
            not_negative(f"variant.{name}", getattr(self, name))
        positive("variant.temperature", self.temperature)
        without_effect("variant.analytic_kl", self.analytic_kl, True, "relaxed draws have no density to estimate it by")
        if self.capacity_c > math.log(self.categories) + 1e-9:
            raise ValueError(
                f"variant.capacity_c must not exceed log(categories) = {math.log(self.categories):.4f} nats, the most "
                f"that a category can hold, got {self.capacity_c}"
            )


@register("joint_vae")
class JointVAE(Variant):
    """JointVAE: continuous and categorical latent variables, each with a capacity that grows over training.

        loss = r + gamma |KL_z - C_z(progress)| + gamma |KL_c - C_c(progress)|

    z is Gaussian, c one categorical variable, relaxed in training as in ``gumbel_vae`` and drawn hard in evaluation;
    a latent vector is (z, one-hot c). Both capacities rise linearly over the whole of training; KL_c cannot exceed
    log(categories), so neither may C_c.

    References:
        Dupont, *Learning Disentangled Joint Continuous and Discrete Representations*, NeurIPS 2018, eq. 7 and section
        4. https://arxiv.org/abs/1804.00104

    Deviations:
        1. Capacities grow over the whole budget; the paper's stop growing after 25,000 of its iterations.
        2. |KL - C| is taken of the batch's mean KL, as in the paper's code.
        3. C_c ends at log 10, the most that ten values can hold; the paper sets 5 and clips it there.
    """

    Config = JointConfig
    family = "disentangling"
    search = {"gamma": (10.0, 30.0, 100.0)}
    batch_statistics = ("capacity_penalty",)

    def build(self, network: Network) -> None:
        continuous, categories = self.config.continuous, self.config.categories
        self.encoder = network.encoder(self.image_shape, 2 * continuous + categories)
        self.decoder = network.decoder(continuous + categories, self.image_shape)

    def prior(self, condition: Tensor | None = None) -> Concatenated:
        like = next(self.parameters())
        c = Categoricals(like.new_zeros(1, self.config.categories))
        return Concatenated(StandardNormal(self.config.continuous, like=like), c)

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> Concatenated:
        sizes = [self.config.continuous, self.config.continuous, self.config.categories]
        loc, log_variance, logits = self.encoder(x).to(x.dtype).split(sizes, dim=-1)
        return Concatenated(DiagonalNormal(loc, log_variance / 2), Categoricals(logits.unsqueeze(-2)))

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        x = batch.images
        (q_z, q_c), (p_z, p_c) = self.posterior(x).parts, self.prior().parts
        shape = torch.Size([self.config.samples])
        c = q_c.relaxed_sample(self.config.temperature, False, shape)
        z = torch.cat([q_z.rsample(shape), c], dim=-1)
        r = -self.likelihood(z).log_prob(x).mean(0)
        kl_z, kl_c = kl_divergence(q_z, p_z), kl_divergence(q_c, p_c)
        penalty = self.config.gamma * (
            (kl_z.mean() - self.config.capacity_z * progress).abs()
            + (kl_c.mean() - self.config.capacity_c * progress).abs()
        )
        terms = {"reconstruction": r, "kl": kl_z + kl_c, "kl_z": kl_z, "kl_c": kl_c, "capacity_penalty": penalty}
        return Loss(r.mean() + penalty, terms)

    def code(self, q: Concatenated) -> Tensor:  # type: ignore[override]
        return q.mode

    def latent_means(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.posterior(x).parts[0].mean

    def discrete_code(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.posterior(x).parts[1].logits.argmax(-1)

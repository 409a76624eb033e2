"""JointVAE: Gaussian latent dimensions and one categorical variable."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Batch, Loss, Variant, VariantConfig
from .options import between, not_negative, positive, without_effect
from .parts.distributions import Categoricals, Concatenated, DiagonalNormal, StandardNormal, kl_divergence
from .parts.networks import Network
from .registry import register


@dataclass
class JointConfig(VariantConfig):
    """``continuous`` is the number of Gaussian dimensions, ``categories`` the number of values of the categorical
    variable. ``capacity_z`` and ``capacity_c`` are in nats; the capacities rise to them linearly over the fraction
    ``rise`` of training, C_c to log(categories) at most. ``temperature`` is that of the relaxation."""

    continuous: int = 10
    categories: int = 10
    gamma: float = 10.0
    capacity_z: float = 5.0
    capacity_c: float = 5.0
    rise: float = 0.27
    temperature: float = 0.67

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("variant.continuous", self.continuous)
        if not self.categories >= 2:
            raise ValueError(f"variant.categories must be 2 or above, got {self.categories}")
        for name in ("gamma", "capacity_z", "capacity_c"):
            not_negative(f"variant.{name}", getattr(self, name))
        positive("variant.temperature", self.temperature)
        between("variant.rise", self.rise, 0.001, 1)
        without_effect("variant.analytic_kl", self.analytic_kl, True, "relaxed draws have no density to estimate it by")


@register("joint_vae")
class JointVAE(Variant):
    """JointVAE: continuous and categorical latent variables, each with a capacity that grows over training.

        loss = r + gamma |KL_z - C_z(progress)| + gamma |KL_c - C_c(progress)|

    z is Gaussian, and c is one categorical variable. c is relaxed in training, as in ``gumbel_vae``, and one-hot in
    evaluation. A latent vector is (z, one-hot c). Both capacities rise linearly over the fraction ``rise`` of training;
    C_c is at most log(categories), the maximum of KL_c.

    References:
        Dupont, *Learning Disentangled Joint Continuous and Discrete Representations*, NeurIPS 2018, eq. 7 and section
        4. https://arxiv.org/abs/1804.00104
        The author's code and trained models. On MNIST's test images their category has an accuracy of 0.887, measured
        like the metric ``category_accuracy``. https://github.com/Schlumberger/joint-vae

    Deviations:
        1. ``rise`` is a fraction of the budget; in the author's code it is a number of iterations.
        2. |KL - C| is computed from the batch's mean KL, as in the author's code.
        3. On Fashion-MNIST the options are those of MNIST. The author's model has gamma = 100 there, and C_c = 10 after
           50,000 iterations.

    Defaults:
        continuous = 10 (celeba 32): the author's code (specs.json in the folders of his trained models).
        categories = 10: the author's code (specs.json, for both data sets).
        gamma = 10.0 (celeba 100.0): chosen here for MNIST: with 10 the category agrees with the class more often after
            a short training. The author's code has 30 (specs.json), for 100 epochs of his convolutional network at a
            learning rate of 0.0005, on grey images. The value for CelebA is from his code.
        capacity_z = 5.0 (celeba 50.0): the author's code (specs.json).
        capacity_c = 5.0 (celeba 10.0): the author's code (specs.json).
        rise = 0.27 (celeba 0.32): the author's code (specs.json): 25,000 iterations (100,000 on CelebA), as a fraction
            of 100 epochs in batches of 64.
        temperature = 0.67: the author's code (jointvae/models.py).
    """

    Config = JointConfig
    family = "disentangling"
    dataset_defaults = {
        "celeba": {"continuous": 32, "gamma": 100.0, "capacity_z": 50.0, "capacity_c": 10.0, "rise": 0.32},
    }
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
        loc, a, logits = self.encoder(x).to(x.dtype).split(sizes, dim=-1)
        return Concatenated(DiagonalNormal(loc, self.log_sigma(a)), Categoricals(logits.unsqueeze(-2)))

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        x = batch.images
        (q_z, q_c), (p_z, p_c) = self.posterior(x).parts, self.prior().parts
        shape = torch.Size([self.config.samples])
        c = q_c.relaxed_sample(self.config.temperature, False, shape)
        z = torch.cat([q_z.rsample(shape), c], dim=-1)
        r = -self.likelihood(z).log_prob(x).mean(0)
        kl_z, kl_c = kl_divergence(q_z, p_z), kl_divergence(q_c, p_c)
        C_z, C_c = self.capacities(progress)
        penalty = self.config.gamma * ((kl_z.mean() - C_z).abs() + (kl_c.mean() - C_c).abs())
        terms = {"reconstruction": r, "kl": kl_z + kl_c, "kl_z": kl_z, "kl_c": kl_c, "capacity_penalty": penalty}
        return Loss(r.mean() + penalty, terms)

    def capacities(self, progress: Tensor) -> tuple[Tensor, Tensor]:
        """C_z and C_c at ``progress``, in nats."""
        risen = (progress / self.config.rise).clamp(max=1)
        C_c = (self.config.capacity_c * risen).clamp(max=math.log(self.config.categories))
        return self.config.capacity_z * risen, C_c

    def code(self, q: Concatenated) -> Tensor:  # type: ignore[override]
        return q.mode

    def latent_means(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.posterior(x).parts[0].mean

    def discrete_code(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.posterior(x).parts[1].logits.argmax(-1)

"""FactorVAE."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Batch, Loss, ParameterGroup, Variant, VariantConfig
from .options import not_negative, positive
from .parts.networks import Network
from .registry import register

# The negative slope of the critic's leaky ReLUs.
SLOPE = 0.2


@dataclass
class FactorVAEConfig(VariantConfig):
    """``gamma`` is the weight of the total correlation. ``critic_hidden`` are the widths of the critic's hidden layers;
    ``critic_learning_rate`` is the critic's learning rate (None: that of the model)."""

    gamma: float = 10.0
    critic_hidden: list[int] = field(default_factory=lambda: [256, 256, 256])
    critic_learning_rate: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative("variant.gamma", self.gamma)
        if not self.critic_hidden:
            raise ValueError("variant.critic_hidden must have one width or more, got []")
        for width in self.critic_hidden:
            positive("variant.critic_hidden", width)
        if self.critic_learning_rate is not None:
            positive("variant.critic_learning_rate", self.critic_learning_rate)


def permuted(z: Tensor) -> Tensor:
    """Draws from the product of the marginals of ``z`` (*samples, batch, latent): each dimension is permuted over the
    batch independently (Kim & Mnih 2018, Algorithm 1)."""
    return z.gather(-2, torch.rand_like(z).argsort(dim=-2))


@register("factor_vae")
class FactorVAE(Variant):
    """FactorVAE: a penalty on the total correlation, which a critic estimates.

        loss   = r + KL + gamma TC
        TC     = KL(q(z) || prod_j q(z_j)), about E_q(z) [log D(z) - log(1 - D(z))]
        critic = -1/2 E_q(z) [log D(z)] - 1/2 E_prod_j q(z_j) [log(1 - D(z))]

    D(z) is the probability that z comes from q(z) and not from the product of its marginals. Samples of that product
    are draws whose dimensions are permuted over the batch independently. Both losses come from one forward pass. In
    the critic's loss, the draws of the first half of the batch are its samples of q(z), and those of the second half
    are permuted. TC uses the critic's weights before the step on this batch. gamma = 0 gives the VAE.

    References:
        Kim & Mnih, *Disentangling by Factorising*, ICML 2018, eqs. 2-3 and Algorithms 1-2.
        https://arxiv.org/abs/1802.05983

    Deviations:
        1. The two halves of one batch replace the paper's two batches; TC is the mean over both halves.
        2. The critic has one output, the difference of the paper's two outputs.
        3. The paper trains much longer than the quick profile, and not on MNIST.

    Defaults:
        gamma = 10.0: chosen here; the paper searches it on dSprites.
        critic_hidden = [256, 256, 256]: chosen here; the paper's six layers of 1000 units would take most of a step on
            a CPU.
        critic_learning_rate = null: the paper on dSprites, where it is the model's rate; beta1 = 0.5 and beta2 = 0.9 of
            the critic's Adam are also from the paper.
    """

    Config = FactorVAEConfig
    family = "disentangling"
    search = {"gamma": (3.0, 10.0, 35.0)}
    small = {"critic_hidden": [8]}
    batch_statistics = ("critic",)

    def build(self, network: Network) -> None:
        super().build(network)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([self.latent_size, *self.config.critic_hidden]):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(SLOPE)]
        self.critic = nn.Sequential(*layers, nn.Linear(self.config.critic_hidden[-1], 1))

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        step = self.forward_pass(batch, progress)
        r = step.log("reconstruction", self.reconstruction(step).mean(0))
        kl = step.log("kl", step.kl)
        total_correlation = step.log("total_correlation", self.log_ratio(step.z).mean(0))
        critic = step.log("critic", self.critic_loss(step.z))
        return Loss({"model": (r + kl + self.config.gamma * total_correlation).mean(), "critic": critic}, step.terms)

    def log_ratio(self, z: Tensor) -> Tensor:
        """log D(z) - log(1 - D(z)), the critic's estimate of log q(z) - sum_j log q(z_j), (*samples, batch)."""
        return self.critic(z).squeeze(-1).to(z.dtype)

    def critic_loss(self, z: Tensor) -> Tensor:
        """The cross-entropy of the critic on draws ``z`` (samples, batch, latent): the first half of the batch is
        unchanged, the second half permuted. ``z`` is detached and gets no gradient."""
        joint, others = z.detach().tensor_split(2, dim=1)
        # -log D and -log(1 - D). In a batch of one image the second half is empty.
        of_joint = F.softplus(-self.log_ratio(joint)).mean()
        of_product = F.softplus(self.log_ratio(permuted(others))).sum() / max(1, others.shape[0] * others.shape[1])
        return (of_joint + of_product) / 2

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        settings: dict[str, object] = {"optimiser": "adam", "beta1": 0.5, "beta2": 0.9}
        if self.config.critic_learning_rate is not None:
            settings["learning_rate"] = self.config.critic_learning_rate
        return self.model_and(critic=ParameterGroup(list(self.critic.parameters()), settings))

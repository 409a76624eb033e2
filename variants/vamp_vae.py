"""VAE whose prior is a mixture of its own posteriors, at images that are learned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .base import Variant, VariantConfig
from .options import between, positive
from .parts.distributions import EqualMixture
from .parts.networks import Network, running_averages
from .registry import register


@dataclass
class VampVAEConfig(VariantConfig):
    """``components`` is the number K of pseudo-inputs. Their pixels are first drawn from a normal distribution with
    mean ``start_mean`` and standard deviation ``start_deviation``."""

    components: int = 500
    start_mean: float = 0.05
    start_deviation: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("variant.components", self.components)
        between("variant.start_mean", self.start_mean, 0, 1)
        positive("variant.start_deviation", self.start_deviation)


@register("vamp_vae")
class VampVAE(Variant):
    """VampPrior: the prior is the mean of the posteriors of K learned images, the pseudo-inputs.

        loss = r + KL,   KL = log q(z|x) - log p(z) at the draw of z
        p(z) = 1/K sum_k q(z|u_k),   u_k = w_k clamped to [0, 1]

    The prior that maximises the ELBO is the mean of the posteriors of all training images. Pseudo-inputs w_1 to w_K
    stand for them and are learned with the networks. The encoder's weights have a gradient from the posterior and from
    the prior. If the pseudo-inputs are all training images, the mean KL over these is the mutual information of x and
    z, at most log K.

    References:
        Tomczak & Welling, *VAE with a VampPrior*, AISTATS 2018. https://arxiv.org/abs/1705.07120
        The authors' code (models/VAE.py, log_p_z). https://github.com/jmtomczak/vae_vampprior

    Deviations:
        1. One level of latent variables; the paper also has a model of two levels.
        2. The network is the configured one. The paper's layers are gated, and the authors clamp log sigma^2 to
           [-6, 2], which ``variance_bounds`` = [0.0025, 7.389] does here.
        3. The authors' KL has full weight after 100 epochs. Here it has from the start; see ``kl_warmup``.
        4. Batch normalisation, which the paper's encoders do not have, uses its running averages for pseudo-inputs, in
           training and in evaluation, so that p(z) does not depend on the batch.

    Defaults:
        components = 500: the authors' code (experiment.py).
        start_mean = 0.05 (celeba 0.4, fashion_mnist 0.4): the authors' code (utils/load_data.py), for MNIST and,
            with grey levels or colours, for their images of tissue and CIFAR-10; chosen here for other data.
        start_deviation = 0.01 (celeba 0.05, fashion_mnist 0.05): the authors' code (utils/load_data.py).
    """

    Config = VampVAEConfig
    family = "posteriors and priors"
    closed_form_kl = False
    dataset_defaults = {
        "celeba": {"start_mean": 0.4, "start_deviation": 0.05},
        "fashion_mnist": {"start_mean": 0.4, "start_deviation": 0.05},
    }
    forms = ({"components": 1}, {"kl_warmup": 0.5})
    small = {"components": 4}

    def build(self, network: Network) -> None:
        super().build(network)
        noise = torch.randn(self.config.components, *self.image_shape)
        self.pseudo_inputs = nn.Parameter(self.config.start_mean + self.config.start_deviation * noise)

    def prior(self, condition: Tensor | None = None) -> EqualMixture:
        with running_averages(self.encoder):
            return EqualMixture(self.posterior(self.pseudo_inputs.clamp(0, 1)))

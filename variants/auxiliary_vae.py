"""VAE with an auxiliary latent variable, which makes the posterior a mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution as TorchDistribution

from .base import LogWeights, Variant, VariantConfig
from .options import positive
from .parts.conditional import ConditionalNormal
from .parts.distributions import ONE_DRAW, DiagonalNormal, Distribution, Shape
from .parts.networks import Network
from .registry import register


@dataclass
class AuxiliaryConfig(VariantConfig):
    """``auxiliary`` is the number of dimensions of a. q(z|a, x) and p(a|x, z) each have a hidden layer of ``hidden``
    units, whose input from the image is ``context`` encoder outputs."""

    auxiliary: int = 32
    context: int = 64
    hidden: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("variant.auxiliary", self.auxiliary)
        positive("variant.context", self.context)
        positive("variant.hidden", self.hidden)


class JointDraw(NamedTuple):
    """Draws ``a`` (*samples, batch, auxiliary) and ``z`` (*samples, batch, latent), and log q(a, z|x) in nats."""

    a: Tensor
    z: Tensor
    log_prob: Tensor


class AuxiliaryPosterior(Distribution):
    """q(z|x), the integral of q(a|x) q(z|a, x) over a. It can be sampled, but its density has no closed form."""

    has_rsample = True

    def __init__(self, auxiliary: DiagonalNormal, of_z: ConditionalNormal, base: Tensor, context: Tensor) -> None:
        self.auxiliary, self.of_z, self.base, self.context = auxiliary, of_z, base, context
        super().__init__(auxiliary.batch_shape, torch.Size([base.shape[-1] // 2]))

    def given(self, a: Tensor) -> DiagonalNormal:
        """q(z|a, x) for ``a`` (*samples, batch, auxiliary)."""
        return self.of_z(a, self.context, base=self.base)

    @property
    def mean(self) -> Tensor:
        """The mean of q(z|a, x) at the mean of q(a|x), because the mean over a has no closed form."""
        return self.given(self.auxiliary.mean).mean

    def joint(self, sample_shape: Shape = ONE_DRAW) -> JointDraw:
        a, log_q_a = self.auxiliary.rsample_with_log_prob(sample_shape)
        z, log_q_z = self.given(a).rsample_with_log_prob()
        return JointDraw(a, z, log_q_a + log_q_z)

    def rsample(self, sample_shape: Shape = ONE_DRAW) -> Tensor:
        return self.joint(sample_shape).z


@register("auxiliary_vae")
class AuxiliaryVAE(Variant):
    """Auxiliary VAE: an auxiliary variable a makes the posterior more flexible; prior and decoder do not use it.

        model: p(z) p(x|z) p(a|x, z),   posterior: q(a|x) q(z|a, x)
        loss = -E[log p(x|z) + log p(z) + log p(a|x, z) - log q(a|x) - log q(z|a, x)]

    Integrated over a, the model of x is that of the VAE, and q(z|x) is a mixture of infinitely many normals. The
    bound is that of the VAE if q(z|a, x) does not depend on a and p(a|x, z) = q(a|x). log p(x) is estimated with the
    importance weights of pairs (a, z): p(x|z) p(z) p(a|x, z) / [q(a|x) q(z|a, x)].

    References:
        Maaloe, Sonderby, Sonderby & Winther, *Auxiliary Deep Generative Models*, ICML 2016, section 2.2.
        https://arxiv.org/abs/1602.05473
        The authors' code. https://github.com/larsmaaloee/auxiliary-deep-generative-models

    Deviations:
        1. The configured network replaces two layers of 500 units for every density. q(a|x) and q(z|a, x) share one
           encoder of the image, which also gives a mean and variance of z that do not depend on a. The output of a
           network with one hidden layer, whose input includes a, is added to these. Its last layer is 0 at first, so
           that training begins with the VAE and an uninformative a. p(a|x, z) is built in the same way. The authors'
           code draws the weights for means and variances from N(0, 0.001^2), together with batch normalisation, which
           the fully connected network does not have. With these weights the signal stayed below the noise of z here,
           and most dimensions of z immediately collapsed to the prior.
        2. Images are unlabelled: there is no class y, which the authors' semi-supervised code has.
        3. Reconstructions decode the mean of q(z|a, x) at the mean of q(a|x).
        4. Variances have no bounds. Those of p(a|x, z) can become so small on a single test image that its log p(x) is
           infinite, which happened on Fashion-MNIST. ``variance_bounds`` sets bounds.

    Defaults:
        auxiliary = 32: chosen here, the dimensions of z on the MNIST boards, and the same on every board; the authors'
            code has 100 for both (run_mnist.py).
        context = 64: chosen here, without a search: the authors' code has no such outputs, see deviation 1.
        hidden = 128: chosen here, without a search; the authors' code has two layers of 500 units for every density.
    """

    Config = AuxiliaryConfig
    family = "posteriors and priors"
    closed_form_kl = False
    small = {"auxiliary": 2, "context": 4, "hidden": 8}

    def build(self, network: Network) -> None:
        d, auxiliary, context, hidden = (
            self.latent_size, self.config.auxiliary, self.config.context, self.config.hidden,
        )  # fmt: skip
        self.encoder = network.encoder(self.image_shape, 2 * auxiliary + 2 * d + context)
        self.posterior_of_z = ConditionalNormal([auxiliary, context], hidden, d, self.log_sigma).silent()
        # p(a|x, z) is part of the model, not of the posterior: it has a separate encoder of the image.
        self.auxiliary_encoder = network.encoder(self.image_shape, 2 * auxiliary + context)
        self.auxiliary_model = ConditionalNormal([d, context], hidden, auxiliary, self.log_sigma).silent()
        self.decoder = network.decoder(d, self.image_shape)

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> AuxiliaryPosterior:
        sizes = [self.config.auxiliary, self.config.auxiliary, 2 * self.latent_size, self.config.context]
        loc, a, base, context = self.encoder(x).to(x.dtype).split(sizes, dim=-1)
        return AuxiliaryPosterior(DiagonalNormal(loc, self.log_sigma(a)), self.posterior_of_z, base, context)

    def auxiliary_given(self, x: Tensor, z: Tensor) -> DiagonalNormal:
        """p(a|x, z) for ``z`` (*samples, batch, latent)."""
        sizes = [2 * self.config.auxiliary, self.config.context]
        base, context = self.auxiliary_encoder(x).to(x.dtype).split(sizes, dim=-1)
        return self.auxiliary_model(z, context, base=base)

    def log_weights(self, x: Tensor, q: TorchDistribution, samples: int, condition: Tensor | None = None) -> LogWeights:
        assert isinstance(q, AuxiliaryPosterior)
        a, z, log_q = q.joint((samples,))
        log_p = self.prior().log_prob(z) + self.auxiliary_given(x, z).log_prob(a)
        return LogWeights(self.likelihood(z).log_prob(x), log_p, log_q, z)

    @torch.no_grad()
    def sample_latent(self, count: int, condition: Tensor | None = None) -> Tensor:
        # The decoder does not use a, and z has one level.
        return super().sample_latent(count, condition)

    def unavailable(self) -> dict[str, str]:
        return {"density_elsewhere": "q(z|x) is an integral over the auxiliary variable, without a closed form"}

"""The contract of a variant: a latent-variable model, and a way to train it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from .options import positive
from .parts.distributions import DiagonalNormal, StandardNormal, has_analytic_kl, kl_divergence
from .parts.networks import Network, batched
from .parts.observations import ObservationModel


class Loss(NamedTuple):
    """``value``: the scalar to minimise. ``terms``: what it is made of, detached, each (batch,) in nats per image
    or, if named in :attr:`Variant.batch_statistics`, a scalar."""

    value: Tensor
    terms: dict[str, Tensor]


class Objective(NamedTuple):
    """A loss and the parameters that it trains; the loop gives each objective an optimiser and steps them in turn."""

    loss: Callable[[Tensor, Tensor], Loss]
    parameters: list[nn.Parameter]


class LogWeights(NamedTuple):
    """The parts of log w = log p(x|z) + log p(z) - log q(z|x), each (samples, batch) in nats."""

    log_likelihood: Tensor
    log_prior: Tensor
    log_posterior: Tensor

    @property
    def value(self) -> Tensor:
        return self.log_likelihood + self.log_prior - self.log_posterior


@dataclass
class VariantConfig:
    """Options that every variant has. ``samples`` is the number of posterior draws inside the mean of the training
    objective; ``analytic_kl`` uses the closed form where there is one, else the draws."""

    samples: int = 1
    analytic_kl: bool = True

    def __post_init__(self) -> None:
        positive("variant.samples", self.samples)


class Variant(nn.Module):
    """A variational autoencoder, and the class that every variant subclasses.

    The model is three distributions, ``prior()``, ``posterior(x)`` and ``likelihood(z)``; evaluation uses these and
    nothing else. Training minimises ``loss(x, progress)``, by default the negative ELBO (Kingma & Welling 2014, eq. 7):

        loss = mean over the batch of  r + KL,     r = -E_q log p(x|z),  KL = KL(q(z|x) || p(z))

    summed over pixels and latent dimensions. A variant changes the smallest part that its paper changes:
    ``regulariser`` (what stands in place of KL), ``reconstruction`` (in place of r), ``loss`` (both), or the
    distributions themselves; ``build`` where it needs other bodies; ``objectives`` where several losses, each with its
    own parameters, are stepped in turn.

    Images ``x`` are (batch, channels, height, width) in [0, 1]; latent variables end in one dimension of any meaning,
    (*samples, batch, latent). ``progress`` is a 0-dimensional tensor on the device that runs from 0 at the first step
    to 1 at the last one and drives every schedule: a model keeps no counters.
    """

    name: ClassVar[str]  # entered by register()
    Config: ClassVar[type[VariantConfig]] = VariantConfig
    # Values that a paper gives for one data set, over the defaults: {"celeba": {"mmd_weight": 100.0}}.
    dataset_defaults: ClassVar[dict[str, dict[str, Any]]] = {}
    # Whether the loss trains the observation model's own parameters (a scale); where it does not, they are fitted
    # after training, by maximum likelihood on training images.
    trains_observation: ClassVar[bool] = True
    # Whether the loss compares features of a frozen network, which the suite then hands to use_teacher().
    needs_teacher: ClassVar[bool] = False
    # Names of the loss's terms that are statistics of a batch, not means over images.
    batch_statistics: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        config: VariantConfig,
        image_shape: tuple[int, int, int],
        network: Network,
        observation: ObservationModel,
    ) -> None:
        super().__init__()
        self.config: Any = config
        self.image_shape = image_shape
        self.latent_size = network.latent_size
        self.observation = observation
        self.build(network)

    def build(self, network: Network) -> None:
        """Make the bodies. Override for other sizes, or call it and add modules."""
        self.encoder = network.encoder(self.image_shape, 2 * self.latent_size)
        self.decoder = network.decoder(self.latent_size, self.image_shape)

    # The model

    def prior(self) -> Any:
        """p(z), with an event of one dimension."""
        return StandardNormal(self.latent_size, like=next(self.parameters()))

    def posterior(self, x: Tensor) -> Any:
        """q(z|x), with a batch of ``x.shape[0]``."""
        # Back to the input's type: under autocast the bodies return bfloat16, too coarse for densities.
        loc, log_variance = self.encoder(x).to(x.dtype).chunk(2, dim=-1)
        return DiagonalNormal(loc, log_variance / 2)

    def likelihood(self, z: Tensor) -> Any:
        """p(x|z) for ``z`` (*samples, batch, latent): a distribution over images with batch (*samples, batch)."""
        return self.observation(self.decode(z))

    def decode(self, z: Tensor) -> Tensor:
        """The decoder's output for ``z`` (*samples, batch, latent), which the observation model turns into p(x|z)."""
        return batched(self.decoder, z).to(z.dtype)

    # Training

    def loss(self, x: Tensor, progress: Tensor) -> Loss:
        """The training objective on a batch; see the class."""
        q = self.posterior(x)
        z, kl = self.draw(q)
        r = self.reconstruction(x, self.likelihood(z)).mean(0)
        terms = {"reconstruction": r, "kl": kl}
        penalty = self.regulariser(q, z, kl, progress, terms)
        return Loss((r + penalty).mean(), {name: term.detach() for name, term in terms.items()})

    def draw(self, q: Distribution) -> tuple[Tensor, Tensor]:
        """Reparameterised draws (samples, batch, latent) and KL(q || p) (batch,), closed or by these draws."""
        p = self.prior()
        sample_shape = torch.Size([self.config.samples])
        if self.config.analytic_kl and has_analytic_kl(q, p):
            return q.rsample(sample_shape), kl_divergence(q, p)
        z, log_q = q.rsample_with_log_prob(sample_shape)  # type: ignore[attr-defined]
        return z, (log_q - p.log_prob(z)).mean(0)

    def reconstruction(self, x: Tensor, likelihood: Any) -> Tensor:
        """r, one value an image in nats (samples, batch). Override to train another reconstruction term, and set
        :attr:`trains_observation`."""
        return -likelihood.log_prob(x)

    def regulariser(self, q: Distribution, z: Tensor, kl: Tensor, progress: Tensor, terms: dict[str, Tensor]) -> Tensor:
        """What is added to r: (batch,), or a scalar. Further terms to be logged go into ``terms``."""
        return kl

    def objectives(self) -> dict[str, Objective]:
        """The losses that the loop steps in turn, each with the parameters it trains."""
        return {"model": Objective(self.loss, [p for p in self.parameters() if p.requires_grad])}

    def after_step(self) -> None:
        """Called after every step of all objectives, for what is not learned by gradient (a codebook's averages)."""

    def use_teacher(self, network: nn.Module) -> None:
        """Take the frozen network that :attr:`needs_teacher` asks for: images (batch, channels, height, width) in
        [0, 1] to a list of feature maps (batch, ...). Called once, before training."""

    # Evaluation

    def log_weights(self, x: Tensor, q: Distribution, samples: int) -> LogWeights:
        """Importance weights of ``samples`` draws from ``q = posterior(x)``. Override where the joint has more
        levels. Gradients flow where q is reparameterised."""
        z, log_q = q.sample_with_log_prob(torch.Size([samples]))  # type: ignore[attr-defined]
        return LogWeights(self.likelihood(z).log_prob(x), self.prior().log_prob(z), log_q)

    def unavailable(self) -> dict[str, str]:
        """What this model does not define, with the reason, which evaluation prints instead of a number.

        Keys: ``density`` (no log q: neither ELBO nor importance sampling) and ``continuous_latent`` (discrete codes:
        no active units, no mixture of Gaussians as a sampler).
        """
        return {}

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """Mean images of ``count`` draws from the prior (count, channels, height, width)."""
        return self.likelihood(self.prior().sample(torch.Size([count]))).mean

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Mean images decoded from the posterior's mean (a discrete one's mode), never from a draw."""
        return self.likelihood(self.code(self.posterior(x))).mean

    @torch.no_grad()
    def represent(self, x: Tensor) -> Tensor:
        """The representation of ``x`` (batch, features): the posterior's mean."""
        return self.posterior(x).mean.flatten(1)

    def latent_means(self, x: Tensor) -> Tensor:
        """Posterior means of the continuous latent dimensions (batch, dimensions), of which active ones are counted."""
        return self.represent(x)

    def discrete_code(self, x: Tensor) -> Tensor | None:
        """The most probable value of every discrete latent variable, int64 (batch, variables); None without any."""
        return None

    def code(self, q: Distribution) -> Tensor:
        """The latent value that stands for q when images are reconstructed: its mean (a discrete one's mode)."""
        return q.mean

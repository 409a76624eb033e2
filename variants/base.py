"""The contract of a variant: a latent-variable model, and a way to train it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from .options import FAMILIES, added, between, one_of, positive, without_effect
from .parts.deviations import Deviation, check_deviation
from .parts.distributions import DiagonalNormal, StandardNormal, draw, has_closed_form_kl, kl_divergence
from .parts.networks import Network, batched
from .parts.observations import CompletedImage, ObservationModel
from .signatures import accept_condition, check_hooks

# What a model may lack, see Variant.unavailable.
PROPERTIES = ("prior", "posterior_density", "density_elsewhere", "continuous_latent")


@dataclass(frozen=True)
class Batch:
    """What a training step sees. ``images`` (batch, channels, height, width) in [0, 1]; ``condition`` (batch, ...)
    where the data set has one; ``labels`` int64 (batch,) or (batch, attributes) where it has labels;
    ``training_images`` N, the size of the training split."""

    images: Tensor
    condition: Tensor | None = None
    labels: Tensor | None = None
    training_images: int | None = None


class Loss(NamedTuple):
    """``value``: the scalar to minimise, or one scalar for each group of :meth:`Variant.parameter_groups`. ``terms``:
    what it is made of, each (batch,) in nats per image or, if named in :attr:`Variant.batch_statistics`, a scalar."""

    value: Tensor | Mapping[str, Tensor]
    terms: Mapping[str, Tensor] = {}

    @property
    def by_group(self) -> Mapping[str, Tensor]:
        """Group of parameters -> the scalar that it minimises."""
        return {"model": self.value} if isinstance(self.value, Tensor) else self.value


@dataclass
class ParameterGroup:
    """Parameters that minimise one loss with one optimiser. ``optimiser``: settings in place of the configuration's, by
    the names of its options: ``{"learning_rate": 1e-4, "beta1": 0.5}``. ``until``: the fraction of training after which
    they stay as they are. A loss of zero would not keep them: an optimiser goes on by what it remembers of gradients.
    """

    parameters: list[nn.Parameter]
    optimiser: dict[str, Any] = field(default_factory=dict)
    until: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.until <= 1:
            raise ValueError(
                f"a group of parameters learns until a fraction of training above 0 and at most 1, got {self.until}"
            )


class LogWeights(NamedTuple):
    """The parts of log w = log p(x|z) + log p(z) - log q(z|x), each (samples, batch) in nats, and the draws ``z``
    (samples, batch, latent) that they belong to."""

    log_likelihood: Tensor
    log_prior: Tensor
    log_posterior: Tensor
    z: Tensor

    @property
    def value(self) -> Tensor:
        return self.log_likelihood + self.log_prior - self.log_posterior


@dataclass
class TrainingStep:
    """One forward pass, as the hooks of the loss see it.

    ``q`` the posterior; ``z`` its draws (samples, batch, latent); ``progress`` a 0-dimensional tensor from 0 to 1.
    """

    variant: Variant
    batch: Batch
    progress: Tensor
    q: Distribution
    z: Tensor
    divergence: Tensor | None = None
    weights: LogWeights | None = None
    terms: dict[str, Tensor] = field(default_factory=dict)

    @property
    def x(self) -> Tensor:
        """The images (batch, channels, height, width)."""
        return self.batch.images

    @property
    def kl(self) -> Tensor:
        """KL(q || p) of each image in nats (batch,). Raises ``AttributeError`` for a model without a prior."""
        if self.divergence is None:
            raise AttributeError(f"{type(self.variant).__name__} has no KL: it has no prior, or q has no density")
        return self.divergence

    @cached_property
    def likelihood(self) -> Distribution:
        """p(x|z), with batch (samples, batch)."""
        return self.variant.likelihood(self.z, condition=self.batch.condition)

    @property
    def log_likelihood(self) -> Tensor:
        """log p(x|z) in nats (samples, batch)."""
        return self.likelihood.log_prob(self.x) if self.weights is None else self.weights.log_likelihood

    def log(self, name: str, term: Tensor) -> Tensor:
        """Have ``term``, (batch,) or a scalar, in the training history under ``name``; returns it."""
        self.terms[name] = term
        return term


@dataclass
class VariantConfig:
    """Options that every variant has. ``samples`` is the number of posterior draws inside the mean of the training
    objective; ``analytic_kl`` uses the closed form where there is one, else the draws. ``kl_warmup`` is the fraction of
    the budget over which the weight of the KL rises linearly from 0 to 1, for variants whose loss is r + KL.

    ``deviation``: what a normal's sigma is of the number a that a network returns for it: "exp" (sigma^2 = e^a),
    "exp_deviation" (sigma = e^a), "softplus" (sigma = log(1 + e^a)) or "softplus_variance" (sigma^2 = log(1 + e^a));
    ``variance_bounds`` [LOW, HIGH] hold sigma^2 between two values."""

    samples: int = 1
    analytic_kl: bool = True
    kl_warmup: float = added(0.0)
    deviation: str = added("exp")
    variance_bounds: list[float] | None = added(None)

    def __post_init__(self) -> None:
        positive("variant.samples", self.samples)
        between("variant.kl_warmup", self.kl_warmup, 0, 1)
        check_deviation(self.deviation, self.variance_bounds)

    def check_no_normals(self) -> None:
        """Raise ``ValueError`` where options of normals are set, for a variant whose networks make none."""
        for name, default in (("deviation", "exp"), ("variance_bounds", None)):
            without_effect(f"variant.{name}", getattr(self, name), default, "no network of it returns a deviation")


class Variant(nn.Module):
    """A variational autoencoder, and the class that every variant subclasses.

    The model is three distributions, ``prior()``, ``posterior(x)`` and ``likelihood(z)``; evaluation uses these and
    nothing else. Training minimises ``loss(batch, progress)``, by default the negative ELBO (Kingma & Welling 2014,
    eq. 7):

        loss = mean over the batch of  r + KL,     r = -E_q log p(x|z),  KL = KL(q(z|x) || p(z))

    summed over pixels and latent dimensions; without the closed form of the KL it is minus the mean of
    ``log_weights``. A variant changes the smallest part that its paper changes: ``regulariser`` (what stands in place
    of KL), ``reconstruction`` (in place of r), ``loss`` (both), or the distributions themselves; ``log_weights`` where
    the latent variables have more levels; ``build`` where it needs other bodies; ``parameter_groups`` where several
    losses, each with its own parameters, come from one forward pass.

    Images ``x`` are (batch, channels, height, width) in [0, 1]; latent variables end in one dimension of any meaning,
    (*samples, batch, latent). ``progress`` is a 0-dimensional tensor on the device that runs from 0 at the first step
    to 1 at the last one and drives every schedule: a model keeps no counters.

    A conditional model sets :attr:`conditional`; its methods are then called with ``condition=`` (batch, ...), shaped
    ``condition_shape``. Others need not name that argument. A condition of one channel more than the images is a part
    of the image itself and a mask, see :class:`CompletedImage`.
    """

    name: ClassVar[str]  # entered by register()
    Config: ClassVar[type[VariantConfig]] = VariantConfig
    # What reports group it by, one of FAMILIES.
    family: ClassVar[str] = "other"
    # Values that a paper gives for one data set, over the defaults: {"celeba": {"mmd_weight": 100.0}}.
    dataset_defaults: ClassVar[dict[str, dict[str, Any]]] = {}
    # Options whose values the paper leaves open, and values worth trying: what `make tune` searches.
    search: ClassVar[Mapping[str, Sequence[Any]]] = {}
    # Whether the loss trains the observation model's own parameters (a scale); where it does not, they are fitted
    # after training, by maximum likelihood on training images. False in models of data sets that train another loss.
    trains_observation: bool = True
    # Whether the loss compares features of a frozen network, which the suite then hands to use_teacher().
    needs_teacher: ClassVar[bool] = False
    # Whether it models p(x|condition), and so needs a data set with a condition.
    conditional: ClassVar[bool] = False
    # Names of the loss's terms that are statistics of a batch, not means over images.
    batch_statistics: ClassVar[tuple[str, ...]] = ()
    # The smallest batch that its loss is made for; of the last one of an epoch, which may be smaller, it is finite.
    smallest_batch: ClassVar[int] = 1
    # The smallest height and width of images that it takes.
    smallest_side: ClassVar[int] = 1
    # Options that make another model, estimator or loss of it than its defaults do: the contract tests run each.
    forms: ClassVar[tuple[dict[str, Any], ...]] = ()
    # Options with which it is small enough for tests.
    small: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        check_hooks(cls)
        accept_condition(cls)
        one_of(f"{cls.__name__}.family", cls.family, FAMILIES)

    def __init__(
        self,
        config: VariantConfig,
        image_shape: tuple[int, int, int],
        network: Network,
        observation: ObservationModel,
        condition_shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        kind = type(self).__name__
        self.check(config, network, min(image_shape[1:]))
        if self.conditional and condition_shape is None:
            raise ValueError(f"{kind} is a conditional model and needs a condition: set dataset.condition")
        self.config: Any = config
        self.image_shape = image_shape
        self.condition_shape = condition_shape
        self.latent_size = network.latent_size
        self.observation = observation
        # log sigma of the numbers that a network returns for it.
        self.log_sigma = Deviation(config.deviation, config.variance_bounds)
        if not observation.is_trained:
            self.trains_observation = False
        self.build(network)
        for key in self.unavailable():
            one_of(f"{kind}.unavailable() key", key, PROPERTIES)

    @classmethod
    def check(cls, config: VariantConfig, network: Network, side: int | None) -> None:
        """Raise ``ValueError`` for options that are sound each by itself but not together with this network or these
        images. ``side``: the smaller of their height and width; None before it is known. A configuration is checked
        when it is composed, a model when it is made. Override for further checks, and call this one."""
        if side is not None and side < cls.smallest_side:
            raise ValueError(f"{cls.__name__} needs images of {cls.smallest_side} pixels a side or more, got {side}")
        if cls.loss is not Variant.loss or cls.regulariser is not Variant.regulariser:
            without_effect("variant.kl_warmup", config.kl_warmup, 0, f"the loss of {cls.__name__} is not r + KL")

    def build(self, network: Network) -> None:
        """Make the bodies. Override for other sizes, or call it and add modules."""
        self.encoder = network.encoder(self.image_shape, 2 * self.latent_size)
        self.decoder = network.decoder(self.latent_size, self.image_shape)

    # The model

    def prior(self, condition: Tensor | None = None) -> Distribution:
        """p(z), with an event of one dimension; given a condition it may have a batch."""
        return StandardNormal(self.latent_size, like=next(self.parameters()))

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> Distribution:
        """q(z|x), with a batch of ``x.shape[0]``: any of torch's distributions with an event of one dimension."""
        # Back to the input's type: under autocast the bodies return bfloat16, too coarse for densities.
        loc, a = self.encoder(x).to(x.dtype).chunk(2, dim=-1)
        return DiagonalNormal(loc, self.log_sigma(a))

    def likelihood(self, z: Tensor, condition: Tensor | None = None) -> Distribution:
        """p(x|z) for ``z`` (*samples, batch, latent): a distribution over images with batch (*samples, batch). Given a
        condition that shows a part of the image, it is over the missing pixels."""
        return self.observed(self.decode(z, condition=condition), condition)

    def observed(self, output: Tensor, condition: Tensor | None = None) -> Distribution:
        """p(x|z) of the decoder's ``output`` (*samples, batch, channels, height, width)."""
        image = self.observation(output)
        channels, *size = self.image_shape
        if condition is None or self.condition_shape != (channels + 1, *size):
            return image
        # The given pixels and, last, a mask that is 1 where they are given.
        return CompletedImage(image, condition[..., :-1, :, :], condition[..., -1:, :, :] < 0.5)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """The decoder's output for ``z`` (*samples, batch, latent), which the observation model turns into p(x|z)."""
        return batched(self.decoder, z).to(z.dtype)

    # Training

    def objective(self, batch: Batch, progress: Tensor) -> Loss:
        """What training minimises: :meth:`loss`, where a data set that trains another loss of its pixels has that in
        the likelihood's place."""
        with self.observation.in_training():
            return self.loss(batch, progress)

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        """The training objective on a batch; see the class."""
        step = self.forward_pass(batch, progress)
        r = step.log("reconstruction", self.reconstruction(step).mean(0))
        if step.divergence is not None:
            step.log("kl", step.divergence)
        penalty = self.regulariser(step)
        # A statistic of the batch is added once, not to every image.
        return Loss((r + penalty).mean() if penalty.dim() else r.mean() + penalty, step.terms)

    def forward_pass(self, batch: Batch, progress: Tensor) -> TrainingStep:
        """Posterior, draws and KL for a batch. The KL is closed where there is a closed form and it is wanted, else it
        comes from ``log_weights``, of which the loss is then minus the mean."""
        x, condition = batch.images, batch.condition
        q, samples = self.posterior(x, condition=condition), self.config.samples
        # Where a model forms its own log-weights, KL(q || p) is not all that stands beside r.
        if self.config.analytic_kl and type(self).log_weights is Variant.log_weights:
            p = self.prior(condition=condition)
            if has_closed_form_kl(q, p):
                z = q.rsample(torch.Size([samples]))
                return TrainingStep(self, batch, progress, q, z, kl_divergence(q, p))
        weights = self.log_weights(x, q, samples, condition=condition)
        kl = (weights.log_posterior - weights.log_prior).mean(0)
        return TrainingStep(self, batch, progress, q, weights.z, kl, weights)

    def reconstruction(self, step: TrainingStep) -> Tensor:
        """r, one value an image in nats (samples, batch). Override to train another reconstruction term, and set
        :attr:`trains_observation`."""
        return -step.log_likelihood

    def regulariser(self, step: TrainingStep) -> Tensor:
        """What is added to r: (batch,), or a scalar. ``step.log(name, term)`` has a further term in the history."""
        if not self.config.kl_warmup:
            return step.kl
        return (step.progress / self.config.kl_warmup).clamp(max=1) * step.kl

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """Which parameters minimise which loss. By default all minimise the one of ``loss``, the group "model"; see
        :meth:`model_and`."""
        return self.model_and()

    def model_and(self, **others: ParameterGroup) -> dict[str, ParameterGroup]:
        """The groups ``others``, and all parameters that are in none of them as the group "model"; without those of an
        observation model that no loss trains (:attr:`trains_observation`)."""
        taken = {id(parameter) for group in others.values() for parameter in group.parameters}
        if not self.trains_observation:
            taken |= {id(parameter) for parameter in self.observation.parameters()}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in taken]
        return {"model": ParameterGroup(rest), **others}

    def after_step(self) -> None:
        """Called after every step of all groups, for what is not learned by gradient (a codebook's averages)."""

    def use_teacher(self, network: nn.Module) -> None:
        """Take the frozen network that :attr:`needs_teacher` asks for: images (batch, channels, height, width) in
        [0, 1] to a list of feature maps (batch, ...). Called once, before training."""

    def estimates_gradient(self) -> tuple[str, ...]:
        """Names of submodules whose gradient is an estimator (straight-through, say), not the derivative of the loss's
        value: finite differences cannot check them."""
        return ()

    # Evaluation

    def log_weights(self, x: Tensor, q: Distribution, samples: int, condition: Tensor | None = None) -> LogWeights:
        """Importance weights of ``samples`` draws from ``q = posterior(x)``. Override where the joint has more
        levels. Gradients flow where q is reparameterised."""
        z, log_q = draw(q, torch.Size([samples]))
        log_likelihood = self.likelihood(z, condition=condition).log_prob(x)
        return LogWeights(log_likelihood, self.prior(condition=condition).log_prob(z), log_q, z)

    def unavailable(self) -> dict[str, str]:
        """What this model does not define, with the reason, which evaluation prints instead of a number.

        Keys: ``prior`` (no p(z): neither ELBO nor samples from a prior); ``posterior_density`` (no log q: neither ELBO
        nor importance sampling); ``density_elsewhere`` (log q is known at q's own draws alone: no mutual information);
        ``continuous_latent`` (discrete codes: no active units, no mixture of Gaussians as a sampler). Another key is an
        error.
        """
        return {}

    @torch.no_grad()
    def sample(self, count: int, condition: Tensor | None = None) -> Tensor:
        """Mean images of ``count`` draws from the prior (count, channels, height, width), one for each row of
        ``condition`` where there is one. Raises ``ValueError`` for a model without a prior."""
        if reason := self.unavailable().get("prior"):
            raise ValueError(f"{type(self).__name__} has no samples: {reason}")
        return self.image(self.sample_latent(count, condition=condition), condition=condition)

    @torch.no_grad()
    def sample_latent(self, count: int, condition: Tensor | None = None) -> Tensor:
        """Latent vectors that :meth:`decode` takes (count, latent), drawn from the prior, one for each row of
        ``condition`` where there is one. Override where the joint has more levels."""
        prior = self.prior(condition=condition)
        return prior.sample(torch.Size() if prior.batch_shape else torch.Size([count]))

    @torch.no_grad()
    def reconstruct(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Mean images decoded from the posterior's mean (a discrete one's mode), never from a draw."""
        return self.image(self.code(self.posterior(x, condition=condition)), condition=condition)

    @torch.no_grad()
    def represent(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The representation of ``x`` (batch, features): the posterior's mean."""
        return self.posterior(x, condition=condition).mean.flatten(1)

    def latent_means(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Posterior means of the continuous latent dimensions (batch, dimensions), of which active ones are counted."""
        return self.represent(x, condition=condition)

    def discrete_code(self, x: Tensor, condition: Tensor | None = None) -> Tensor | None:
        """The most probable value of every discrete latent variable, int64 (batch, variables); None without any."""
        return None

    def image(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """The reconstruction (*samples, batch, channels, height, width) that ``z`` (*samples, batch, latent) gives: the
        mean of p(x|z)."""
        return self.likelihood(z, condition=condition).mean

    def code(self, q: Distribution) -> Tensor:
        """The latent value that stands for q when images are reconstructed: its mean (a discrete one's mode)."""
        return q.mean

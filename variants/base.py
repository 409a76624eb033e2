"""The interface of a variant: a latent-variable model and a way to train it."""

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
from .signatures import accept_condition, check_hooks, check_returned

# Properties that a model may lack; see Variant.unavailable.
PROPERTIES = ("prior", "posterior_density", "density_elsewhere", "continuous_latent")


@dataclass(frozen=True)
class Batch:
    """The input of a training step.

    ``images`` (batch, channels, height, width) in [0, 1]; ``condition`` (batch, ...) if the data set has one;
    ``labels`` int64 (batch,) or (batch, attributes) if the data set has labels; ``training_images`` is N, the size of
    the training split.
    """

    images: Tensor
    condition: Tensor | None = None
    labels: Tensor | None = None
    training_images: int | None = None


class Loss(NamedTuple):
    """The value of a loss and its terms.

    ``value`` is the scalar to minimise, or one scalar for each group of :meth:`Variant.parameter_groups`. ``terms`` are
    the terms of the loss: each is (batch,) in nats per image, or a scalar if :attr:`Variant.batch_statistics` names it.
    """

    value: Tensor | Mapping[str, Tensor]
    terms: Mapping[str, Tensor] = {}

    @property
    def by_group(self) -> Mapping[str, Tensor]:
        """Name of each parameter group -> the scalar that its parameters minimise."""
        return {"model": self.value} if isinstance(self.value, Tensor) else self.value


@dataclass
class ParameterGroup:
    """Parameters that minimise one loss with one optimiser.

    ``optimiser``: settings that replace those of the configuration, with the same option names:
    ``{"learning_rate": 1e-4, "beta1": 0.5}``. ``until``: the fraction of training after which the parameters are
    frozen. A loss of zero would not freeze them, because optimisers keep averages of past gradients.
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
    """The terms of log w = log p(x|z) + log p(z) - log q(z|x), each (samples, batch) in nats, and the draws ``z``
    (samples, batch, latent) at which they are evaluated."""

    log_likelihood: Tensor
    log_prior: Tensor
    log_posterior: Tensor
    z: Tensor

    @property
    def value(self) -> Tensor:
        return self.log_likelihood + self.log_prior - self.log_posterior


# Methods that a variant may override -> the type of their result, and its name in the error for another type.
RETURNS = {
    "prior": (Distribution, "a torch Distribution"),
    "posterior": (Distribution, "a torch Distribution"),
    "likelihood": (Distribution, "a torch Distribution"),
    "decode": (Tensor, "a tensor"),
    "loss": (Loss, "a Loss"),
    "reconstruction": (Tensor, "a tensor"),
    "regulariser": (Tensor, "a tensor"),
    "log_weights": (LogWeights, "LogWeights"),
    "sample_latent": (Tensor, "a tensor"),
    "represent": (Tensor, "a tensor"),
    "latent_means": (Tensor, "a tensor"),
}


@dataclass
class TrainingStep:
    """One forward pass: the argument of the hooks of the loss.

    ``q`` is the posterior; ``z`` its draws (samples, batch, latent); ``progress`` a 0-dimensional tensor from 0 to 1.
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
        """p(x|z), with batch shape (samples, batch)."""
        return self.variant.likelihood(self.z, condition=self.batch.condition)

    @property
    def log_likelihood(self) -> Tensor:
        """log p(x|z) in nats (samples, batch)."""
        return self.likelihood.log_prob(self.x) if self.weights is None else self.weights.log_likelihood

    def log(self, name: str, term: Tensor) -> Tensor:
        """Record ``term``, (batch,) or a scalar, under ``name`` in the training history, and return it."""
        self.terms[name] = term
        return term


@dataclass
class VariantConfig:
    """Options that every variant has.

    ``samples`` is the number of posterior draws over which the training objective is averaged. ``analytic_kl`` computes
    the KL in closed form if one exists; otherwise the draws estimate it. ``kl_warmup`` is the fraction of the budget
    over which the weight of the KL rises linearly from 0 to 1, for variants whose loss is r + KL.

    ``deviation`` is the formula for the sigma of a normal, given the output a of a network: "exp" (sigma^2 = e^a),
    "exp_deviation" (sigma = e^a), "softplus" (sigma = log(1 + e^a)) or "softplus_variance" (sigma^2 = log(1 + e^a)).
    ``variance_bounds`` [LOW, HIGH] clamps sigma^2 to this interval.
    """

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
        """Raise ``ValueError`` if ``deviation`` or ``variance_bounds`` is set: called by variants without a sigma."""
        for name, default in (("deviation", "exp"), ("variance_bounds", None)):
            without_effect(f"variant.{name}", getattr(self, name), default, "no network of it returns a deviation")


class Variant(nn.Module):
    """A variational autoencoder, and the base class of every variant.

    The model is three distributions: ``prior()``, ``posterior(x)`` and ``likelihood(z)``. Evaluation is based on these,
    not on the loss. Training minimises ``loss(batch, progress)``, by default the negative ELBO (Kingma & Welling 2014,
    eq. 7):

        loss = mean over the batch of  r + KL,     r = -E_q log p(x|z),  KL = KL(q(z|x) || p(z))

    summed over pixels and latent dimensions. If the KL is not computed in closed form, the loss is minus the mean of
    ``log_weights``. A variant overrides the smallest part that its paper changes: ``regulariser`` (replaces KL),
    ``reconstruction`` (replaces r), ``loss`` (replaces both), or the distributions themselves. It overrides
    ``log_weights`` and ``sample_latent`` if there are several levels of latent variables, ``build`` if it needs other
    networks, and ``parameter_groups`` if one forward pass gives several losses, each with its own parameters.

    Images ``x`` are (batch, channels, height, width) in [0, 1]. Latent variables are (*samples, batch, latent).
    ``progress`` is a 0-dimensional tensor on the model's device: 0 at the first step, 1 at the last. Every schedule is
    a function of it, so that a model keeps no counters.

    A conditional model sets :attr:`conditional`; its methods are then called with ``condition=``, a tensor
    (batch, *condition_shape). Other models may omit this argument. A condition with the size of the images and one more
    channel is a part of the image and a mask; see :class:`CompletedImage`.
    """

    name: ClassVar[str]  # set by register()
    Config: ClassVar[type[VariantConfig]] = VariantConfig
    # The group of variants to which it belongs in reports, one of FAMILIES.
    family: ClassVar[str] = "other"
    # Defaults for single data sets, which replace the general defaults: {"celeba": {"mmd_weight": 100.0}}.
    dataset_defaults: ClassVar[dict[str, dict[str, Any]]] = {}
    # What `make tune` searches: options whose best value depends on the data, and the values to try.
    search: ClassVar[Mapping[str, Sequence[Any]]] = {}
    # Whether the loss trains the observation model's own parameters (a scale). If not, they are fitted after training,
    # by maximum likelihood on training images. __init__ sets it to False if the data set trains another loss.
    trains_observation: bool = True
    # Whether the loss compares features of a frozen network. The suite then passes that network to use_teacher().
    needs_teacher: ClassVar[bool] = False
    # Whether the variant models p(x|condition) and therefore needs a data set with a condition.
    conditional: ClassVar[bool] = False
    # Names of the loss's terms that are statistics of a batch, not means over images.
    batch_statistics: ClassVar[tuple[str, ...]] = ()
    # The smallest batch size that the configuration may set. The last batch of an epoch may be smaller, so the loss
    # must be finite for any size.
    smallest_batch: ClassVar[int] = 1
    # Whether KL(q || p) can have a closed form. If False, training does not compute the prior to ask for it, and the
    # option ``analytic_kl`` is refused.
    closed_form_kl: ClassVar[bool] = True
    # The smallest height and width of images that the variant supports.
    smallest_side: ClassVar[int] = 1
    # Options that select another model, estimator or loss than the defaults do. The contract tests run each of them.
    forms: ClassVar[tuple[dict[str, Any], ...]] = ()
    # Options that make the model small enough for tests.
    small: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        check_hooks(cls)
        accept_condition(cls)
        check_returned(cls, RETURNS)
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
        # Maps the output a of a network to log sigma; see VariantConfig.
        self.log_sigma = Deviation(config.deviation, config.variance_bounds)
        if not observation.is_trained:
            self.trains_observation = False
        self.build(network)
        for key in self.unavailable():
            one_of(f"{kind}.unavailable() key", key, PROPERTIES)

    @classmethod
    def check(cls, config: VariantConfig, network: Network, side: int | None) -> None:
        """Raise ``ValueError`` for options that are valid alone but not with this network or these images.

        ``side`` is the smaller of the images' height and width, or None before it is known. This method is called when
        a configuration is composed and when a model is created. Overrides must call ``super().check``.
        """
        if side is not None and side < cls.smallest_side:
            raise ValueError(f"{cls.__name__} needs images of {cls.smallest_side} pixels a side or more, got {side}")
        if not cls.closed_form_kl:
            reason = f"the KL of {cls.__name__} has no closed form"
            without_effect("variant.analytic_kl", config.analytic_kl, True, reason)
        if cls.loss is not Variant.loss or cls.regulariser is not Variant.regulariser:
            without_effect("variant.kl_warmup", config.kl_warmup, 0, f"the loss of {cls.__name__} is not r + KL")

    def build(self, network: Network) -> None:
        """Create the encoder and the decoder. Override it for other sizes, or extend it to add modules."""
        self.encoder = network.encoder(self.image_shape, 2 * self.latent_size)
        self.decoder = network.decoder(self.latent_size, self.image_shape)

    # The model

    def prior(self, condition: Tensor | None = None) -> Distribution:
        """p(z), with one event dimension. Given a condition, it may have a batch shape."""
        return StandardNormal(self.latent_size, like=next(self.parameters()))

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> Distribution:
        """q(z|x): any torch distribution with batch shape (``x.shape[0]``,) and one event dimension."""
        # Convert to the input's dtype: under autocast the networks return bfloat16, too coarse for densities.
        loc, a = self.encoder(x).to(x.dtype).chunk(2, dim=-1)
        return DiagonalNormal(loc, self.log_sigma(a))

    def likelihood(self, z: Tensor, condition: Tensor | None = None) -> Distribution:
        """p(x|z) for ``z`` (*samples, batch, latent): a distribution over images with batch shape (*samples, batch).
        If the condition shows a part of the image, the distribution is over the missing pixels."""
        return self.observed(self.decode(z, condition=condition), condition)

    def observed(self, output: Tensor, condition: Tensor | None = None) -> Distribution:
        """p(x|z) for the decoder's ``output`` (*samples, batch, channels, height, width)."""
        if output.shape[-3:] != self.image_shape:
            shape = ", ".join(map(str, self.image_shape))
            raise self._wrong_shape("decode", f"(*samples, batch, {shape})", output)
        image = self.observation(output)
        channels, *size = self.image_shape
        if condition is None or self.condition_shape != (channels + 1, *size):
            return image
        # The channels of the condition: the given pixels and, last, a mask that is 1 where pixels are given.
        return CompletedImage(image, condition[..., :-1, :, :], condition[..., -1:, :, :] < 0.5)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """The decoder's output for ``z`` (*samples, batch, latent), which the observation model turns into p(x|z)."""
        return batched(self.decoder, z).to(z.dtype)

    def _wrong_shape(self, hook: str, expected: str, result: Tensor) -> ValueError:
        return ValueError(f"{type(self).__name__}.{hook} must return the shape {expected}, got {tuple(result.shape)}")

    # Training

    def objective(self, batch: Batch, progress: Tensor) -> Loss:
        """What training minimises: :meth:`loss`. If the data set sets another training loss for pixels, that loss
        replaces the likelihood."""
        with self.observation.in_training():
            return self.loss(batch, progress)

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        """The training objective on a batch; see the class docstring."""
        step = self.forward_pass(batch, progress)
        r = self.reconstruction(step)
        if r.dim() != 2 or r.shape[1] != len(step.x):
            raise self._wrong_shape("reconstruction", f"(samples, {len(step.x)})", r)
        r = step.log("reconstruction", r.mean(0))
        if step.divergence is not None:
            step.log("kl", step.divergence)
        penalty = self.regulariser(step)
        if penalty.dim() and penalty.shape != r.shape:
            raise self._wrong_shape("regulariser", f"({len(step.x)},) or ()", penalty)
        # A scalar penalty is a statistic of the batch: it is added once, not to every image.
        return Loss((r + penalty).mean() if penalty.dim() else r.mean() + penalty, step.terms)

    def forward_pass(self, batch: Batch, progress: Tensor) -> TrainingStep:
        """Posterior, draws and KL for a batch.

        The KL is computed in closed form if one exists and ``analytic_kl`` is set. Otherwise ``log_weights`` estimates
        it, and the loss is minus the mean of these weights.
        """
        x, condition = batch.images, batch.condition
        q, samples = self.posterior(x, condition=condition), self.config.samples
        # If a model overrides log_weights, its loss has more terms than r and KL(q || p).
        if self.config.analytic_kl and self.closed_form_kl and type(self).log_weights is Variant.log_weights:
            p = self.prior(condition=condition)
            if has_closed_form_kl(q, p):
                z = q.rsample(torch.Size([samples]))
                return TrainingStep(self, batch, progress, q, z, kl_divergence(q, p))
        weights = self.log_weights(x, q, samples, condition=condition)
        kl = (weights.log_posterior - weights.log_prior).mean(0)
        return TrainingStep(self, batch, progress, q, weights.z, kl, weights)

    def reconstruction(self, step: TrainingStep) -> Tensor:
        """r, one value per draw and image in nats (samples, batch). Override it to train another reconstruction term,
        and set ``trains_observation = False``."""
        return -step.log_likelihood

    def regulariser(self, step: TrainingStep) -> Tensor:
        """The term that is added to r: (batch,), or a scalar. ``step.log(name, term)`` records a term in the training
        history."""
        if not self.config.kl_warmup:
            return step.kl
        return (step.progress / self.config.kl_warmup).clamp(max=1) * step.kl

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """The parameters that minimise each loss. By default there is one group, "model", with all parameters; see
        :meth:`model_and`."""
        return self.model_and()

    def model_and(self, **others: ParameterGroup) -> dict[str, ParameterGroup]:
        """The groups ``others``, and a group "model" of all parameters that are in none of them. Parameters of the
        observation model are left out if the loss does not train them (:attr:`trains_observation`)."""
        taken = {id(parameter) for group in others.values() for parameter in group.parameters}
        if not self.trains_observation:
            taken |= {id(parameter) for parameter in self.observation.parameters()}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in taken]
        return {"model": ParameterGroup(rest), **others}

    def after_step(self) -> None:
        """Called after each training step, for updates without a gradient (such as a codebook's moving averages)."""

    def use_teacher(self, network: nn.Module) -> None:
        """Receive the frozen network that :attr:`needs_teacher` asks for. It maps images (batch, channels, height,
        width) in [0, 1] to a list of feature maps (batch, ...). Called once, before training."""

    def estimates_gradient(self) -> tuple[str, ...]:
        """Names of submodules and parameters whose gradient is an estimate (such as straight-through) and not the
        derivative of the loss. Finite differences cannot check them."""
        return ()

    # Evaluation

    def log_weights(self, x: Tensor, q: Distribution, samples: int, condition: Tensor | None = None) -> LogWeights:
        """Log importance weights of ``samples`` draws from ``q = posterior(x)``. Override it together with
        :meth:`sample_latent` if the model has several levels of latent variables. Gradients flow through the draws if q
        is reparameterised."""
        z, log_q = draw(q, torch.Size([samples]))
        log_likelihood = self.likelihood(z, condition=condition).log_prob(x)
        return LogWeights(log_likelihood, self.prior(condition=condition).log_prob(z), log_q, z)

    def unavailable(self) -> dict[str, str]:
        """Properties that this model lacks -> the reason, which evaluation prints instead of a number.

        Keys: ``prior`` (no p(z): no ELBO, no samples from a prior); ``posterior_density`` (no log q: no ELBO, no
        importance sampling); ``density_elsewhere`` (log q is known only at draws from q: no mutual information);
        ``continuous_latent`` (discrete codes: no active units, no mixture of Gaussians as a sampler). Any other key
        raises ``ValueError`` when the model is created.
        """
        return {}

    @torch.no_grad()
    def sample(self, count: int, condition: Tensor | None = None) -> Tensor:
        """Mean images of ``count`` draws from the prior (count, channels, height, width), one for each row of
        ``condition`` if it is given. Raises ``ValueError`` for a model without a prior."""
        if reason := self.unavailable().get("prior"):
            raise ValueError(f"{type(self).__name__} has no samples: {reason}")
        return self.image(self.sample_latent(count, condition=condition), condition=condition)

    @torch.no_grad()
    def sample_latent(self, count: int, condition: Tensor | None = None) -> Tensor:
        """Latent vectors for :meth:`decode` (count, latent), drawn from the prior, one for each row of ``condition`` if
        it is given. :meth:`sample` decodes them. A class that overrides :meth:`log_weights` must override it, too."""
        prior = self.prior(condition=condition)
        return prior.sample(torch.Size() if prior.batch_shape else torch.Size([count]))

    @torch.no_grad()
    def reconstruct(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Mean images decoded from the posterior's mean (its mode if it is discrete), never from a draw."""
        return self.image(self.code(self.posterior(x, condition=condition)), condition=condition)

    @torch.no_grad()
    def represent(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The representation of ``x`` (batch, features): the posterior's mean."""
        return self.posterior(x, condition=condition).mean.flatten(1)

    def latent_means(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Posterior means of the continuous latent dimensions (batch, dimensions), used to count active units."""
        return self.represent(x, condition=condition)

    def discrete_code(self, x: Tensor, condition: Tensor | None = None) -> Tensor | None:
        """The most probable value of every discrete latent variable, int64 (batch, variables), or None."""
        return None

    def image(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """The reconstruction (*samples, batch, channels, height, width) for ``z`` (*samples, batch, latent): the mean
        of p(x|z)."""
        return self.likelihood(z, condition=condition).mean

    def code(self, q: Distribution) -> Tensor:
        """The latent value from which images are reconstructed: the mean of q (its mode if it is discrete)."""
        return q.mean

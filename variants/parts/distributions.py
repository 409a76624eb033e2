"""Posteriors and priors.

Every distribution here sums its ``log_prob`` over the event (the latent dimensions), so that the result is in nats per
image. Constructors do not validate their arguments: checking values would synchronise the host with the device at every
step.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution as TorchDistribution
from torch.distributions import kl_divergence
from torch.distributions.kl import register_kl

LOG_2PI = math.log(2 * math.pi)
# The types that torch's distributions accept as a sample shape.
Shape = torch.Size | list[int] | tuple[int, ...]
ONE_DRAW = torch.Size()


class Distribution(TorchDistribution):
    """torch's ``Distribution`` with a method that returns a draw and its log-density together, for densities (such as a
    flow's) that are cheap, or only known, at a draw."""

    arg_constraints: dict[str, Any] = {}
    # Whether pairwise_log_prob() is defined. It is if one matrix product computes all pairs.
    has_pairwise_log_prob = False

    def pairwise_log_prob(self, value: Tensor) -> Tensor:
        """Log-density of every ``value`` (n, event) under each of a batch of m distributions: (n, m). It is computed in
        float64, because the expanded square of a narrow normal loses too many digits in float32."""
        raise NotImplementedError

    def __init__(self, batch_shape: torch.Size, event_shape: torch.Size) -> None:
        super().__init__(batch_shape, event_shape, validate_args=False)

    def rsample_with_log_prob(self, sample_shape: Shape = ONE_DRAW) -> tuple[Tensor, Tensor]:
        """A reparameterised draw (*sample_shape, *batch, *event) and its log-density (*sample_shape, *batch)."""
        z = self.rsample(sample_shape)
        return z, self.log_prob(z)


class Normal(Distribution):
    """A normal distribution with mean ``loc`` (*batch, latent): an affine map of standard normal noise. The map's
    log-determinant is the sum of ``log_scale`` (*batch, latent). Subclasses define the map, :meth:`_of_noise`."""

    has_rsample = True
    has_pairwise_log_prob = True

    def __init__(self, loc: Tensor, log_scale: Tensor) -> None:
        self.loc, self.log_scale = loc, log_scale
        super().__init__(loc.shape[:-1], loc.shape[-1:])

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    def rsample(self, sample_shape: Shape = ONE_DRAW) -> Tensor:
        return self._of_noise(self._noise(sample_shape))

    def rsample_with_log_prob(self, sample_shape: Shape = ONE_DRAW) -> tuple[Tensor, Tensor]:
        noise = self._noise(sample_shape)
        return self._of_noise(noise), self._log_prob_of_standardised(noise)

    def _noise(self, sample_shape: Shape) -> Tensor:
        return torch.randn(*sample_shape, *self.loc.shape, dtype=self.loc.dtype, device=self.loc.device)

    @abstractmethod
    def _of_noise(self, noise: Tensor) -> Tensor:
        """Map standard normal ``noise`` (*sample_shape, *batch, latent) to a draw."""

    def _log_prob_of_standardised(self, noise: Tensor) -> Tensor:
        return -0.5 * (noise.square().sum(-1) + self.loc.shape[-1] * LOG_2PI) - self.log_scale.sum(-1)


class DiagonalNormal(Normal):
    """Normal with diagonal covariance over the last dimension of ``loc`` and ``log_scale`` (*batch, latent)."""

    @property
    def variance(self) -> Tensor:
        return (2 * self.log_scale).exp()

    def _of_noise(self, noise: Tensor) -> Tensor:
        return torch.addcmul(self.loc, self.log_scale.exp(), noise)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._log_prob_of_standardised((value - self.loc) * (-self.log_scale).exp())

    def pairwise_log_prob(self, value: Tensor) -> Tensor:
        # (z - m)^2 / s^2 = z^2 / s^2 - 2 z m / s^2 + m^2 / s^2, summed over dimensions: one matrix product.
        z, loc, log_scale = value.double(), self.loc.double(), self.log_scale.double()
        precision = (-2 * log_scale).exp()
        constant = -0.5 * ((loc.square() * precision).sum(-1) + loc.shape[-1] * LOG_2PI) - log_scale.sum(-1)
        return torch.addmm(
            constant, torch.cat([z.square(), z], -1), torch.cat([-0.5 * precision, loc * precision], -1).T
        )

    def detach(self) -> DiagonalNormal:
        """The same distribution with detached parameters."""
        return DiagonalNormal(self.loc.detach(), self.log_scale.detach())


class StandardNormal(DiagonalNormal):
    """N(0, I) over ``latent_size`` dimensions, with the device and dtype of ``like``."""

    def __init__(self, latent_size: int, like: Tensor) -> None:
        zero = torch.zeros((), dtype=like.dtype, device=like.device).expand(latent_size)
        super().__init__(zero, zero)

    def _log_prob_of_standardised(self, noise: Tensor) -> Tensor:
        return -0.5 * (noise.square().sum(-1) + self.loc.shape[-1] * LOG_2PI)


@register_kl(DiagonalNormal, StandardNormal)
def _kl_to_standard_normal(q: DiagonalNormal, p: StandardNormal) -> Tensor:
    # Kingma & Welling 2014, appendix B.
    return 0.5 * (q.loc.square() + q.variance - 2 * q.log_scale - 1).sum(-1)


@register_kl(DiagonalNormal, DiagonalNormal)
def _kl_of_diagonal_normals(q: DiagonalNormal, p: DiagonalNormal) -> Tensor:
    log_ratio = q.log_scale - p.log_scale
    standardised = (q.loc - p.loc) * (-p.log_scale).exp()
    return (0.5 * ((2 * log_ratio).exp() + standardised.square() - 1) - log_ratio).sum(-1)


class PointMass(Distribution):
    """All mass at ``value`` (*batch, event). A point mass has no density: only the mean and draws are defined."""

    has_rsample = True

    def __init__(self, value: Tensor) -> None:
        self.value = value
        super().__init__(value.shape[:-1], value.shape[-1:])

    @property
    def mean(self) -> Tensor:
        return self.value

    def rsample(self, sample_shape: Shape = ONE_DRAW) -> Tensor:
        return self.value.expand(*sample_shape, *self.value.shape)


class CodePoint(Distribution):
    """All mass on one vector of discrete ``codes``, int64 (*batch, positions): log q = 0 at these codes."""

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes
        super().__init__(codes.shape[:-1], codes.shape[-1:])

    @property
    def mode(self) -> Tensor:
        return self.codes

    def sample(self, sample_shape: Shape = ONE_DRAW) -> Tensor:
        return self.codes.expand(*sample_shape, *self.codes.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        same = (value == self.codes).all(-1)
        return torch.zeros(same.shape, device=value.device).masked_fill(~same, -math.inf)


class Categoricals(Distribution):
    """Independent categorical variables with ``logits`` (*batch, variables, categories). A value is the concatenation
    of their one-hot vectors, (*batch, variables * categories)."""

    has_pairwise_log_prob = True

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits.log_softmax(-1)
        super().__init__(logits.shape[:-2], torch.Size([logits.shape[-2] * logits.shape[-1]]))

    @property
    def mean(self) -> Tensor:
        return self.logits.exp().flatten(-2)

    @property
    def mode(self) -> Tensor:
        return _one_hot(self.logits.argmax(-1), self.logits).flatten(-2)

    def _gumbel(self, sample_shape: Shape) -> Tensor:
        # -log E with E ~ Exp(1) is a standard Gumbel variable.
        shape = (*sample_shape, *self.logits.shape)
        return -torch.empty(shape, dtype=self.logits.dtype, device=self.logits.device).exponential_().log()

    def sample(self, sample_shape: Shape = ONE_DRAW) -> Tensor:
        # The Gumbel-max trick: the largest of logits + noise is an exact draw.
        return _one_hot((self.logits + self._gumbel(sample_shape)).argmax(-1), self.logits).flatten(-2)

    def relaxed_sample(
        self, temperature: Tensor | float, straight_through: bool, sample_shape: Shape = ONE_DRAW
    ) -> Tensor:
        """A Gumbel-softmax draw. With ``straight_through`` its value is one-hot and its gradient that of the relaxed
        draw."""
        y = ((self.logits + self._gumbel(sample_shape)) / temperature).softmax(-1)
        if not straight_through:
            return y.flatten(-2)
        hard = _one_hot(y.argmax(-1), y)
        # y - y.detach() is exactly 0, so that the value is exactly one-hot.
        return (hard + (y - y.detach())).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        return (value.unflatten(-1, self.logits.shape[-2:]) * self.logits).flatten(-2).sum(-1)

    def pairwise_log_prob(self, value: Tensor) -> Tensor:
        return value.double() @ self.logits.double().flatten(-2).T


def _one_hot(index: Tensor, like: Tensor) -> Tensor:
    """One-hot vectors of ``index`` (*batch), with the length of the last dimension of ``like``. Unlike
    ``torch.nn.functional.one_hot``, it does not check the indices, which would synchronise with the device."""
    return like.new_zeros(*index.shape, like.shape[-1]).scatter_(-1, index.unsqueeze(-1), 1)


@register_kl(Categoricals, Categoricals)
def _kl_of_categoricals(q: Categoricals, p: Categoricals) -> Tensor:
    return (q.logits.exp() * (q.logits - p.logits)).flatten(-2).sum(-1)


class Concatenated(Distribution):
    """Independent distributions over consecutive pieces of one vector."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts
        self.sizes = [part.event_shape[0] for part in parts]
        super().__init__(parts[0].batch_shape, torch.Size([sum(self.sizes)]))

    @property
    def mean(self) -> Tensor:
        return torch.cat([part.mean for part in self.parts], dim=-1)

    @property
    def mode(self) -> Tensor:
        return torch.cat([part.mode for part in self.parts], dim=-1)

    def sample(self, sample_shape: Shape = ONE_DRAW) -> Tensor:
        return torch.cat([part.sample(sample_shape) for part in self.parts], dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        pieces = value.split(self.sizes, dim=-1)
        return sum(part.log_prob(piece) for part, piece in zip(self.parts, pieces, strict=True))

    @property
    def has_pairwise_log_prob(self) -> bool:  # type: ignore[override]
        return all(part.has_pairwise_log_prob for part in self.parts)

    def pairwise_log_prob(self, value: Tensor) -> Tensor:
        pieces = value.split(self.sizes, dim=-1)
        return sum(part.pairwise_log_prob(piece) for part, piece in zip(self.parts, pieces, strict=True))


class EqualMixture(Distribution):
    """Mixture of K diagonal normals with equal weights. ``components`` is a :class:`DiagonalNormal` of batch shape
    (K,); the mixture has no batch shape."""

    def __init__(self, components: Any) -> None:
        self.components = components
        super().__init__(torch.Size(), components.event_shape)

    @property
    def mean(self) -> Tensor:
        return self.components.mean.mean(0)

    def sample(self, sample_shape: Shape = ONE_DRAW) -> Tensor:
        loc, log_scale = self.components.loc, self.components.log_scale
        index = torch.randint(len(loc), torch.Size(sample_shape), device=loc.device)
        return DiagonalNormal(loc[index], log_scale[index]).sample()

    def log_prob(self, value: Tensor) -> Tensor:
        pairs = self.components.pairwise_log_prob(value.reshape(-1, value.shape[-1]))
        log_p = pairs.logsumexp(-1) - math.log(pairs.shape[-1])
        return log_p.reshape(value.shape[:-1]).to(value.dtype)


def draw(q: TorchDistribution, sample_shape: Shape = ONE_DRAW) -> tuple[Tensor, Tensor]:
    """A draw from any torch distribution (*sample_shape, *batch, *event) and its log-density (*sample_shape, *batch) in
    nats. The draw is reparameterised if ``q`` supports it."""
    if isinstance(q, Distribution) and q.has_rsample:
        return q.rsample_with_log_prob(sample_shape)
    z = (q.rsample if q.has_rsample else q.sample)(torch.Size(sample_shape))
    return z, q.log_prob(z)


# Types of q and p -> whether torch implements KL(q || p). Cached, because every step asks and torch answers by raising.
_closed_form: dict[tuple[type, ...], bool] = {}


def has_closed_form_kl(q: TorchDistribution, p: TorchDistribution) -> bool:
    """Whether ``kl_divergence(q, p)`` is known in closed form."""
    kinds = tuple(type(part) for d in (q, p) for part in (d, getattr(d, "base_dist", None)))
    if kinds not in _closed_form:
        try:
            with torch.no_grad():
                kl_divergence(q, p)
            _closed_form[kinds] = True
        except NotImplementedError:
            _closed_form[kinds] = False
    return _closed_form[kinds]


__all__ = [
    "Categoricals",
    "CodePoint",
    "Concatenated",
    "DiagonalNormal",
    "Distribution",
    "EqualMixture",
    "PointMass",
    "StandardNormal",
    "draw",
    "has_closed_form_kl",
    "kl_divergence",
]

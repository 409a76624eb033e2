"""VAE with several levels of latent variables and a posterior that keeps the dependencies among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution as TorchDistribution

from .base import Batch, LogWeights, TrainingStep, Variant, VariantConfig
from .options import added, positive
from .parts.conditional import ConditionalNormal
from .parts.distributions import ONE_DRAW, DiagonalNormal, Distribution, Shape, StandardNormal, kl_divergence
from .parts.networks import Network
from .registry import register


@dataclass
class StructuredConfig(VariantConfig):
    """``levels`` is L, the number of levels of latent variables; ``hidden`` the units of each network from one level to
    the next. ``rectified`` sets z = max(0, 1 + u), otherwise z = u."""

    levels: int = 3
    hidden: int = 128
    rectified: bool = True
    kl_warmup: float = added(0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("variant.levels", self.levels)
        positive("variant.hidden", self.hidden)


def product(p: DiagonalNormal, message: DiagonalNormal) -> DiagonalNormal:
    """The normal proportional to the product of two normal densities: the precisions add up, and the mean is the
    precision-weighted mean."""
    log_precisions = -2 * p.log_scale, -2 * message.log_scale
    # The fraction of the total precision that is p's. It is computed from log-precisions to avoid overflow.
    share = torch.sigmoid(log_precisions[0] - log_precisions[1])
    loc = share * p.loc + (1 - share) * message.loc
    return DiagonalNormal(loc, -0.5 * torch.logaddexp(*log_precisions))


class Level(NamedTuple):
    """q(u_l|z_{l+1}, x), p(u_l|z_{l+1}) and the value u_l that the level below depends on."""

    q: DiagonalNormal
    p: DiagonalNormal
    u: Tensor


class TopDownPosterior(Distribution):
    """q(u_1|x), sampled from the top level down: u_L from ``top``, then each u_l from the normalised product of
    p(u_l|z_{l+1}) and a message.

    ``messages`` and ``priors`` are in the order of levels L - 1 to 1; ``units`` maps u to z. The density of u_1 alone
    is an integral over the levels above and has no closed form.
    """

    has_rsample = True

    def __init__(
        self,
        top: DiagonalNormal,
        messages: Sequence[DiagonalNormal],
        priors: Sequence[Callable[[Tensor], DiagonalNormal]],
        units: Callable[[Tensor], Tensor],
    ) -> None:
        self.top, self.messages, self.priors, self.units = top, messages, priors, units
        super().__init__(top.batch_shape, top.event_shape)

    def descend(self, u: Tensor, choose: Callable[[DiagonalNormal], Tensor]) -> Iterator[Level]:
        """The levels below the top, given ``u`` = u_L; ``choose`` returns u_l, given its distribution."""
        for message, prior in zip(self.messages, self.priors, strict=True):
            p = prior(self.units(u))
            q = product(p, message)
            u = choose(q)
            yield Level(q, p, u)

    @property
    def mean(self) -> Tensor:
        """u_1 if every level is set to its conditional mean. It replaces the mean of u_1, which has no closed form."""
        return [self.top.mean, *(level.u for level in self.descend(self.top.mean, lambda q: q.mean))][-1]

    def rsample(self, sample_shape: Shape = ONE_DRAW) -> Tensor:
        u = self.top.rsample(sample_shape)
        return [u, *(level.u for level in self.descend(u, lambda q: q.rsample()))][-1]


@register("structured_vae")
class StructuredVAE(Variant):
    """Structured VAE: a hierarchy of latent variables whose posterior has the dependencies of the prior.

        p(u_L) = N(0, I),   p(u_l|z_{l+1}) = N(mu_l(z_{l+1}), sigma_l^2(z_{l+1})),   z_l = max(0, 1 + u_l),   p(x|z_1)
        q(u_L|x) = encoder(x),   q(u_l|z_{l+1}, x)  proportional to  p(u_l|z_{l+1}) N(u_l; m_l(x), s_l^2(x))
        loss = r + w sum_l E KL(q(u_l|z_{l+1}, x) || p(u_l|z_{l+1})),   r = -E log p(x|z_1)

    The precision of q is 1 / sigma_l^2 + 1 / s_l^2. w = min(1, progress / ``kl_warmup``), and 1 without a warm-up. With
    ``rectified`` = false, z_l = u_l. One level without rectified units is the VAE, once w is 1. In evaluation the
    latent vector is u_1, which is decoded as z_1; representations are z_1. log p(x) is estimated with importance
    weights of all levels together.

    References:
        Salimans, *A Structured Variational Auto-encoder for Learning Deep Hierarchies of Sparse Features*, 2016.
        https://arxiv.org/abs/1602.08734

    Deviations:
        1. The KL is between distributions of u. A rectified z carries no information on values below 0, so a KL in z
           would be smaller and the bound tighter; p(x) and its estimate by importance weights are the same.
        2. q(u_L|x) is the encoder's output itself. As the product of the prior and a message it could not be wider than
           the prior, and one level would not be the VAE.
        3. The paper models natural images. These are choices of this suite, not of the paper: the configured network,
           levels of the configured latent size, one hidden layer from z_{l+1} to the mean and variance of u_l, and
           messages that are all outputs of one encoder.
        4. Reconstructions and representations set every level to its mean, given that of the level above.
        5. z_l = max(0, 1 + u_l) replaces max(0, u_l). Below the top this is the same model, as mu_l can absorb the 1.
           But at first most units are above 0, where they have a gradient. This is a choice of the suite: without it,
           units collapsed at the beginning of training.
        6. Variances have no bounds. On images of another data set they can overflow, so that log p(x) is not a number,
           which happened with models of Fashion-MNIST. ``variance_bounds`` sets bounds.

    Defaults:
        levels = 3: chosen here, without a search.
        hidden = 128: chosen here, without a search.
        rectified = true: the paper, whose features are sparse.
        kl_warmup = 0.1: chosen here: without it levels collapsed to the prior at the beginning of training.
    """

    Config = StructuredConfig
    family = "posteriors and priors"
    forms = (
        {"rectified": False},
        {"analytic_kl": False},
        {"levels": 1},
        {"levels": 1, "rectified": False},
    )
    small = {"hidden": 8}

    def build(self, network: Network) -> None:
        d, levels = self.latent_size, self.config.levels
        self.encoder = network.encoder(self.image_shape, 2 * d * levels)
        self.decoder = network.decoder(d, self.image_shape)
        self.priors = nn.ModuleList(
            ConditionalNormal([d], self.config.hidden, d, self.log_sigma) for _ in range(levels - 1)
        )

    def units(self, u: Tensor) -> Tensor:
        """The z_l for u_l."""
        return (1 + u).relu() if self.config.rectified else u

    def prior(self, condition: Tensor | None = None) -> StandardNormal:
        """p(u_L), the prior of the top level; :meth:`sample_latent` samples all levels."""
        return StandardNormal(self.latent_size, like=next(self.parameters()))

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> DiagonalNormal | TopDownPosterior:
        pieces = self.encoder(x).to(x.dtype).split(2 * self.latent_size, dim=-1)
        halves = (piece.chunk(2, dim=-1) for piece in pieces)
        top, *messages = (DiagonalNormal(loc, self.log_sigma(a)) for loc, a in halves)
        return self._top_down(top, messages) if messages else top

    def _top_down(self, top: DiagonalNormal, messages: Sequence[DiagonalNormal]) -> TopDownPosterior:
        return TopDownPosterior(top, messages, list(self.priors), self.units)

    def draw_levels(self, q: TorchDistribution, samples: int) -> list[Level]:
        """``samples`` draws of all levels from ``q = posterior(x)``, the top first; ``u`` (samples, batch, latent)."""
        q = self._top_down(q, []) if isinstance(q, DiagonalNormal) else q
        assert isinstance(q, TopDownPosterior)
        u = q.top.rsample((samples,))
        return [Level(q.top, self.prior(), u), *q.descend(u, lambda q: q.rsample())]

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return super().decode(self.units(z))

    def forward_pass(self, batch: Batch, progress: Tensor) -> TrainingStep:
        if not self.config.analytic_kl:
            return super().forward_pass(batch, progress)
        q = self.posterior(batch.images)
        levels = self.draw_levels(q, self.config.samples)
        # The KL of the top level is (batch,). The others depend on draws of the level above: (samples, batch).
        divergences = [kl_divergence(level.q, level.p) for level in levels]
        per_level = [divergences[0], *(kl.mean(0) for kl in divergences[1:])]
        step = TrainingStep(self, batch, progress, q, levels[-1].u, torch.stack(per_level).sum(0))
        if len(per_level) > 1:
            for number, kl in zip(range(len(levels), 0, -1), per_level, strict=True):
                step.log(f"kl_{number}", kl)
        return step

    def log_weights(self, x: Tensor, q: TorchDistribution, samples: int, condition: Tensor | None = None) -> LogWeights:
        levels = self.draw_levels(q, samples)
        log_p = torch.stack([level.p.log_prob(level.u) for level in levels]).sum(0)
        log_q = torch.stack([level.q.log_prob(level.u) for level in levels]).sum(0)
        u = levels[-1].u
        return LogWeights(self.likelihood(u).log_prob(x), log_p, log_q, u)

    @torch.no_grad()
    def sample_latent(self, count: int, condition: Tensor | None = None) -> Tensor:
        u = self.prior().sample((count,))
        for prior in self.priors:
            u = prior(self.units(u)).rsample()
        return u

    @torch.no_grad()
    def represent(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """z_1 (batch, latent) if every level is set to its conditional mean."""
        return self.units(self.posterior(x).mean)

    def unavailable(self) -> dict[str, str]:
        if self.config.levels == 1:
            return {}
        return {"density_elsewhere": "q(u_1|x) and p(u_1) are integrals over the levels above, without a closed form"}

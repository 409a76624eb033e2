"""Inverse autoregressive flow: masked networks, steps, and the posterior that they make."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .distributions import ONE_DRAW, DiagonalNormal, Distribution, Shape


class MaskedLinear(nn.Linear):
    """A linear layer in which only the weights where ``mask`` (out, in) is 1 connect."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    """Two numbers a dimension, (m_i, s_i), from z_1 .. z_{i-1} and a context (Germain et al. 2015; Kingma et al. 2016).

    z (*batch, d) and context (*batch, c), which broadcast, to a pair of (*batch, d).
    """

    def __init__(self, size: int, hidden: int, context: int) -> None:
        super().__init__()
        order = torch.arange(size)
        # A hidden unit of degree k sees z_1 .. z_k; degrees run over 1 .. d - 1 in turn.
        degrees = torch.arange(hidden) % max(1, size - 1)
        self.first = MaskedLinear((degrees[:, None] >= order[None, :]).float())
        self.second = MaskedLinear((degrees[:, None] >= degrees[None, :]).float())
        self.last = MaskedLinear((order[:, None] > degrees[None, :]).float().repeat(2, 1))
        # Without a path from the context, all images would share one flow.
        self.context = nn.Linear(context, hidden)

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        hidden = F.elu(self.first(z) + self.context(context))
        m, s = self.last(F.elu(self.second(hidden))).chunk(2, dim=-1)
        return m, s


class IAFStep(nn.Module):
    """z' = sigma z + (1 - sigma) m, sigma = sigmoid(s), (m, s) = MADE(z, context) (Kingma et al. 2016, eqs. 13-14).

    sigma is bounded by construction; the bias of +2 starts it near 1, close to the identity (their section 4).
    """

    forget_bias = 2.0

    def __init__(self, size: int, hidden: int, context: int) -> None:
        super().__init__()
        self.made = MADE(size, hidden, context)

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The step's output (*batch, d) and log |det dz'/dz| (*batch)."""
        m, s = self.made(z, context)
        s = s + self.forget_bias
        sigma = s.sigmoid()
        return sigma * z + (1 - sigma) * m, F.logsigmoid(s).sum(-1)

    def inverse(self, output: Tensor, context: Tensor) -> Tensor:
        """The z that the step maps to ``output``: one dimension after the other, d passes."""
        z = torch.zeros_like(output)
        for i in range(output.shape[-1]):
            m, s = self.made(z, context)
            sigma = (s + self.forget_bias).sigmoid()
            solved = (output - (1 - sigma) * m) / sigma
            z = torch.cat([z[..., :i], solved[..., i : i + 1], z[..., i + 1 :]], dim=-1)
        return z


class IAF(nn.Module):
    """``steps`` inverse autoregressive steps; the order of the dimensions is reversed between them."""

    def __init__(self, size: int, steps: int, hidden: int, context: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(IAFStep(size, hidden, context) for _ in range(steps))

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The flow's output (*batch, d) and its log-determinant (*batch)."""
        log_determinant = z.new_zeros(z.shape[:-1])
        for number, step in enumerate(self.steps):
            if number:
                z = z.flip(-1)
            z, change = step(z, context)
            log_determinant = log_determinant + change
        return z, log_determinant

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        """The inverse of :meth:`forward`, d passes a step."""
        for number, step in reversed(list(enumerate(self.steps))):
            z = step.inverse(z, context)  # type: ignore[operator]
            if number:
                z = z.flip(-1)
        return z


class FlowPosterior(Distribution):
    """q(z|x): a diagonal normal pushed through a flow. log q(z) = log q0(z0) - log |det dz/dz0|, exact.

    The density of a point that was not drawn here needs the sequential inverse; drawing with
    :meth:`rsample_with_log_prob` costs one pass.
    """

    has_rsample = True

    def __init__(self, base: DiagonalNormal, flow: IAF, context: Tensor) -> None:
        self.base, self.flow, self.context = base, flow, context
        super().__init__(base.batch_shape, base.event_shape)

    @property
    def mean(self) -> Tensor:
        """The image of the base's mean: the point that stands for q, since its mean has no closed form."""
        return self.flow(self.base.mean, self.context)[0]

    def rsample(self, sample_shape: Shape = ONE_DRAW) -> Tensor:
        return self.rsample_with_log_prob(sample_shape)[0]

    def rsample_with_log_prob(self, sample_shape: Shape = ONE_DRAW) -> tuple[Tensor, Tensor]:
        z0, log_q0 = self.base.rsample_with_log_prob(sample_shape)
        z, log_determinant = self.flow(z0, self.context)
        return z, log_q0 - log_determinant

    def log_prob(self, value: Tensor) -> Tensor:
        z0 = self.flow.inverse(value, self.context)
        return self.base.log_prob(z0) - self.flow(z0, self.context)[1]

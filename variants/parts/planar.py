"""Planar and radial flows (Rezende & Mohamed 2015) whose parameters are outputs of the encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor


def log_of_positive(determinant: Tensor) -> Tensor:
    """log |determinant|, finite even if the determinant underflows to 0."""
    return determinant.abs().clamp(min=torch.finfo(determinant.dtype).tiny).log()


class AmortisedFlow(ABC):
    """A flow of ``steps`` steps of one kind. It has no weights: each call gets the parameters of all steps.

    A subclass defines ``numbers``, the number of parameters of a step, and ``step``.
    """

    def __init__(self, size: int, steps: int) -> None:
        self.size, self.steps = size, steps

    @property
    @abstractmethod
    def numbers(self) -> int:
        """The number of encoder outputs that one step needs for each image."""

    @abstractmethod
    def step(self, z: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Apply one step to ``z`` (*samples, batch, d), given its parameters ``numbers`` (batch, numbers). Returns the
        output and log |det|."""

    def __call__(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The output (*samples, batch, d) and the log-determinant (*samples, batch), given a ``context`` (batch,
        steps * numbers) with the parameters of all steps."""
        log_determinant = z.new_zeros(z.shape[:-1])
        for numbers in context.unflatten(-1, (self.steps, self.numbers)).unbind(-2) if self.steps else ():
            z, change = self.step(z, numbers)
            log_determinant = log_determinant + change
        return z, log_determinant

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The identity if there are no steps. Otherwise raises ``NotImplementedError``: the steps have no inverse in
        closed form."""
        if self.steps:
            raise NotImplementedError(f"{type(self).__name__} has no inverse in closed form")
        return z, z.new_zeros(z.shape[:-1])


class PlanarFlow(AmortisedFlow):
    """f(z) = z + u^ tanh(w.z + b),   det = 1 + (1 - tanh^2(w.z + b)) w.u^   (Rezende & Mohamed 2015, eqs. 10-12).

    f is invertible if w.u^ > -1. ``constrained`` ensures that (appendix A.1 of the paper):

        u^ = u + (m(w.u) - w.u) w / |w|^2,   m(a) = -1 + log(1 + e^a),   hence w.u^ = m(w.u)

    Without ``constrained``, u^ = u. A step may then map several points to one, and log q0 - log |det| is not the
    density of its output.
    """

    def __init__(self, size: int, steps: int, constrained: bool = True) -> None:
        super().__init__(size, steps)
        self.constrained = constrained

    @property
    def numbers(self) -> int:
        return 2 * self.size + 1

    def step(self, z: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        u, w, b = numbers.split([self.size, self.size, 1], dim=-1)
        h = torch.tanh((w * z).sum(-1, keepdim=True) + b)
        wu = (w * u).sum(-1, keepdim=True)
        if not self.constrained:
            return z + u * h, log_of_positive(1 + (1 - h.square()) * wu).squeeze(-1)
        u_hat, one_plus_wu = constrained_u(u, w)
        # 1 + (1 - h^2) w.u^, written as a sum of positive terms to avoid cancellation.
        determinant = h.square() + (1 - h.square()) * one_plus_wu
        return z + u_hat * h, log_of_positive(determinant).squeeze(-1)


def constrained_u(u: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Move ``u`` along ``w`` such that w.u^ = m(w.u). Returns u^ (*batch, d) and 1 + w.u^ > 0 (*batch, 1)."""
    wu = (w * u).sum(-1, keepdim=True)
    squared_norm = w.square().sum(-1, keepdim=True)
    # At w = 0 the step is a shift and any u is valid, but the formula divides by 0. The clamp avoids that.
    divisor = squared_norm.clamp(min=1e-12)
    u_hat = u + (F.softplus(wu) - 1 - wu) * w / divisor
    moved = squared_norm / divisor
    return u_hat, moved * F.softplus(wu) + (1 - moved) * (1 + wu)


class RadialFlow(AmortisedFlow):
    """f(z) = z + beta^ h (z - z0),   h = 1 / (alpha + r),   r = |z - z0|   (Rezende & Mohamed 2015, eq. 14).

        det = (1 + beta^ h)^(d - 1) (1 + beta^ h + beta^ h' r),   h' = -1 / (alpha + r)^2

    alpha = softplus(.) > 0, and beta^ = -alpha + softplus(beta) > -alpha makes f invertible (appendix A.1 of the
    paper).
    """

    @property
    def numbers(self) -> int:
        return self.size + 2

    def step(self, z: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        z0, alpha, beta = numbers.split([self.size, 1, 1], dim=-1)
        alpha, excess = F.softplus(alpha), F.softplus(beta)
        from_centre = z - z0
        r = torch.linalg.vector_norm(from_centre, dim=-1, keepdim=True)
        # With excess = beta^ + alpha, both factors are sums of positive terms, which avoids cancellation:
        # 1 + beta^ h = (r + excess) / (alpha + r),
        # 1 + beta^ h + beta^ h' r = (r^2 + 2 alpha r + alpha excess) / (alpha + r)^2.
        across = log_of_positive(r + excess) - log_of_positive(alpha + r)
        along = log_of_positive(r.square() + 2 * alpha * r + alpha * excess) - 2 * log_of_positive(alpha + r)
        log_determinant = (self.size - 1) * across + along
        return z + (excess - alpha) / (alpha + r) * from_centre, log_determinant.squeeze(-1)

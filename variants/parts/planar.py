"""Planar and radial flows (Rezende & Mohamed 2015), whose parameters are numbers of the encoder, image by image."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor


def log_of_positive(determinant: Tensor) -> Tensor:
    """log |determinant|, finite where it underflows to 0."""
    return determinant.abs().clamp(min=torch.finfo(determinant.dtype).tiny).log()


class AmortisedFlow(ABC):
    """``steps`` steps that share a form and have no weights: all parameters come with the call.

    A subclass gives ``numbers``, how many a step takes, and ``step``.
    """

    def __init__(self, size: int, steps: int) -> None:
        self.size, self.steps = size, steps

    @property
    @abstractmethod
    def numbers(self) -> int:
        """How many numbers an image's encoder has to give for one step."""

    @abstractmethod
    def step(self, z: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """One step of ``z`` (*samples, batch, d), given its ``numbers`` (batch, numbers): the output and log |det|."""

    def __call__(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The output (*samples, batch, d) and the log-determinant (*samples, batch) for a ``context`` (batch, steps *
        numbers)."""
        log_determinant = z.new_zeros(z.shape[:-1])
        for numbers in context.unflatten(-1, (self.steps, self.numbers)).unbind(-2) if self.steps else ():
            z, change = self.step(z, numbers)
            log_determinant = log_determinant + change
        return z, log_determinant

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Raises ``NotImplementedError`` for one step or more: these have no inverse in closed form."""
        if self.steps:
            raise NotImplementedError(f"{type(self).__name__} has no inverse in closed form")
        return z, z.new_zeros(z.shape[:-1])


class PlanarFlow(AmortisedFlow):
    """f(z) = z + u^ tanh(w.z + b),   det = 1 + (1 - tanh^2(w.z + b)) w.u^   (Rezende & Mohamed 2015, eqs. 10-12).

    f is invertible if w.u^ > -1. ``constrained`` makes it so (their appendix A.1):

        u^ = u + (m(w.u) - w.u) w / |w|^2,   m(a) = -1 + log(1 + e^a),   hence w.u^ = m(w.u)

    Otherwise u^ = u: a step may fold space onto itself, and then log q0 - log |det| is not the density of its output.
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
        # 1 + (1 - h^2) w.u^ as a sum of positive terms, which cannot cancel.
        determinant = h.square() + (1 - h.square()) * one_plus_wu
        return z + u_hat * h, log_of_positive(determinant).squeeze(-1)


def constrained_u(u: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """u^ (*batch, d), which is ``u`` moved along ``w`` until w.u^ = m(w.u), and 1 + w.u^ > 0 (*batch, 1)."""
    wu = (w * u).sum(-1, keepdim=True)
    squared_norm = w.square().sum(-1, keepdim=True)
    # m is not defined at w = 0, where the step is a shift and any u will do: no division by 0 there.
    divisor = squared_norm.clamp(min=1e-12)
    u_hat = u + (F.softplus(wu) - 1 - wu) * w / divisor
    moved = squared_norm / divisor
    return u_hat, moved * F.softplus(wu) + (1 - moved) * (1 + wu)


class RadialFlow(AmortisedFlow):
    """f(z) = z + beta^ h (z - z0),   h = 1 / (alpha + r),   r = |z - z0|   (Rezende & Mohamed 2015, eq. 14).

        det = (1 + beta^ h)^(d - 1) (1 + beta^ h + beta^ h' r),   h' = -1 / (alpha + r)^2

    alpha = softplus(.) > 0, and beta^ = -alpha + softplus(beta) > -alpha makes f invertible (their appendix A.1).
    """

    @property
    def numbers(self) -> int:
        return self.size + 2

    def step(self, z: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        z0, alpha, beta = numbers.split([self.size, 1, 1], dim=-1)
        alpha, excess = F.softplus(alpha), F.softplus(beta)
        from_centre = z - z0
        r = torch.linalg.vector_norm(from_centre, dim=-1, keepdim=True)
        # With excess = beta^ + alpha, both factors are sums of positive terms:
        # 1 + beta^ h = (r + excess) / (alpha + r),
        # 1 + beta^ h + beta^ h' r = (r^2 + 2 alpha r + alpha excess) / (alpha + r)^2.
        across = log_of_positive(r + excess) - log_of_positive(alpha + r)
        along = log_of_positive(r.square() + 2 * alpha * r + alpha * excess) - 2 * log_of_positive(alpha + r)
        log_determinant = (self.size - 1) * across + along
        return z + (excess - alpha) / (alpha + r) * from_centre, log_determinant.squeeze(-1)

"""How a normal's standard deviation is made from what a network returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..options import one_of

# Below this, softplus(a) = e^a to the precision of float32, and its logarithm is a.
SMALL = -20.0


def log_softplus(a: Tensor) -> Tensor:
    """log log(1 + e^a), elementwise, finite where e^a underflows."""
    return torch.where(a < SMALL, a, F.softplus(a.clamp(min=SMALL)).log())


# Option -> log sigma of the number a that a network returns.
DEVIATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": lambda a: a / 2,  # sigma^2 = e^a
    "exp_deviation": lambda a: a,  # sigma = e^a
    "softplus": log_softplus,  # sigma = log(1 + e^a)
    "softplus_variance": lambda a: log_softplus(a) / 2,  # sigma^2 = log(1 + e^a)
}


class Deviation:
    """log sigma (...) of the numbers a (...) that a network returns, by one of :data:`DEVIATIONS`; ``bounds`` hold
    sigma^2 between two values, beyond which it has no gradient."""

    def __init__(self, kind: str = "exp", bounds: Sequence[float] | None = None) -> None:
        self.kind = kind
        self.limits = None if bounds is None else tuple(0.5 * math.log(bound) for bound in bounds)

    def __call__(self, a: Tensor) -> Tensor:
        log_sigma = DEVIATIONS[self.kind](a)
        return log_sigma if self.limits is None else log_sigma.clamp(*self.limits)


def check_deviation(kind: str, bounds: Sequence[float] | None) -> None:
    """Raise ``ValueError`` unless :class:`Deviation` can make it."""
    one_of("variant.deviation", kind, DEVIATIONS)
    if bounds is not None and not (len(bounds) == 2 and 0 < bounds[0] < bounds[1] < math.inf):
        raise ValueError(f"variant.variance_bounds must be [LOW, HIGH] with 0 < LOW < HIGH, got {list(bounds)}")

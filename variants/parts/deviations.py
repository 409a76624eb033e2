"""Maps from a network's output to the standard deviation of a normal distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..options import one_of

# Below this value, softplus(a) = e^a in float32 precision, and log softplus(a) = a.
SMALL = -20.0


def log_softplus(a: Tensor) -> Tensor:
    """log log(1 + e^a), elementwise, finite even if e^a underflows."""
    return torch.where(a < SMALL, a, F.softplus(a.clamp(min=SMALL)).log())


# Name -> log sigma as a function of a network's output a.
DEVIATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": lambda a: a / 2,  # sigma^2 = e^a
    "exp_deviation": lambda a: a,  # sigma = e^a
    "softplus": log_softplus,  # sigma = log(1 + e^a)
    "softplus_variance": lambda a: log_softplus(a) / 2,  # sigma^2 = log(1 + e^a)
}


class Deviation:
    """Map a network's output a (...) to log sigma (...) by one of :data:`DEVIATIONS`. ``bounds`` clamp sigma^2 between
    two values; outside them the gradient is zero."""

    def __init__(self, kind: str = "exp", bounds: Sequence[float] | None = None) -> None:
        self.kind = kind
        self.limits = None if bounds is None else tuple(0.5 * math.log(bound) for bound in bounds)

    def __call__(self, a: Tensor) -> Tensor:
        log_sigma = DEVIATIONS[self.kind](a)
        return log_sigma if self.limits is None else log_sigma.clamp(*self.limits)


def check_deviation(kind: str, bounds: Sequence[float] | None) -> None:
    """Raise ``ValueError`` unless :class:`Deviation` supports this ``kind`` and these ``bounds``."""
    one_of("variant.deviation", kind, DEVIATIONS)
    if bounds is not None and not (len(bounds) == 2 and 0 < bounds[0] < bounds[1] < math.inf):
        raise ValueError(f"variant.variance_bounds must be [LOW, HIGH] with 0 < LOW < HIGH, got {list(bounds)}")

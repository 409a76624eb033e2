"""What the latent code does."""

from __future__ import annotations

from torch import Tensor

ACTIVE_VARIANCE = 0.01


def active_units(means: Tensor) -> int:
    """Latent dimensions u in which the posterior means (n, latent) vary over images: Var_x(E_q[u]) > 0.01 (Burda et al.
    2016, section 5.2)."""
    return int((means.double().var(0) > ACTIVE_VARIANCE).sum())

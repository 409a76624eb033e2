"""Separate measures of fidelity and diversity from nearest neighbours: precision, recall, density and coverage."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Manifold(NamedTuple):
    """``precision`` and ``recall`` (Kynkäänniemi et al. 2019, eqs. 1-2); ``density`` and ``coverage`` (Naeem et al.
    2020, eqs. 3-4)."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(real: Tensor, fake: Tensor, neighbours: int) -> Manifold:
    """All four measures of features (n, d) and (m, d).

    The manifold of a set is the union of balls around its points. The radius of a ball is the distance to the
    ``neighbours``-th nearest neighbour of the point in the same set. Raises ``ValueError`` for sets that are too small.
    """
    if min(len(real), len(fake)) <= neighbours:
        raise ValueError(f"{neighbours} nearest neighbours need more images than that, got {len(real)} and {len(fake)}")
    across = torch.cdist(real, fake)
    real_radii, fake_radii = _radii(real, neighbours), _radii(fake, neighbours)
    inside_real = across <= real_radii[:, None]
    inside_fake = across <= fake_radii[None, :]
    return Manifold(
        precision=float(inside_real.any(0).double().mean()),
        recall=float(inside_fake.any(1).double().mean()),
        density=float(inside_real.double().sum(0).mean() / neighbours),
        coverage=float((across.min(1).values <= real_radii).double().mean()),
    )


def _radii(points: Tensor, neighbours: int) -> Tensor:
    # The nearest neighbour of a point is the point itself, hence + 1.
    return torch.cdist(points, points).kthvalue(neighbours + 1, dim=1).values

"""The Fréchet distance between normal distributions fitted to two sets of features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Statistics:
    """Mean (d,) and covariance (d, d) of ``count`` features, float64."""

    mean: Tensor
    covariance: Tensor
    count: int


def statistics(features: Tensor) -> Statistics:
    """Mean and unbiased covariance (divisor n - 1) of ``features`` (n, d). Raises ``ValueError`` if n < 2."""
    if len(features) < 2:
        raise ValueError(f"a covariance needs two features or more, got {len(features)}")
    values = features.double()
    mean = values.mean(0)
    centred = values - mean
    return Statistics(mean, centred.T @ centred / (len(values) - 1), len(values))


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Dowson & Landau 1982; Heusel et al. 2017, eq. 6).

    The trace of the matrix root is computed as the sum of the roots of the eigenvalues of the symmetric
    C_a^(1/2) C_b C_a^(1/2). It is real and non-negative by construction. A general matrix root need not be either if a
    covariance is nearly singular.
    """
    root_a = _symmetric_root(a.covariance)
    eigenvalues = torch.linalg.eigvalsh(root_a @ b.covariance @ root_a)
    trace_of_root = eigenvalues.clamp(min=0).sqrt().sum()
    difference = (a.mean - b.mean).square().sum()
    return float(difference + a.covariance.trace() + b.covariance.trace() - 2 * trace_of_root)


def _symmetric_root(matrix: Tensor) -> Tensor:
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    return (vectors * eigenvalues.clamp(min=0).sqrt()) @ vectors.T

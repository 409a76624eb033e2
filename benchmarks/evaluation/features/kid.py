"""Kernel inception distance: an unbiased estimate and its standard error."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK = 500


def polynomial_kernel(a: Tensor, b: Tensor) -> Tensor:
    """The kernel (a b / d + 1)^3 (n, m) of features (n, d) and (m, d) (Binkowski et al. 2018, section 4)."""
    return (a @ b.T / a.shape[1] + 1) ** 3


def unbiased_mmd(a: Tensor, b: Tensor) -> Tensor:
    """Unbiased estimate of MMD^2 from two samples (n, d) and (m, d). It can be negative."""
    n, m = len(a), len(b)
    within_a, within_b = polynomial_kernel(a, a), polynomial_kernel(b, b)
    return (
        (within_a.sum() - within_a.trace()) / (n * (n - 1))
        + (within_b.sum() - within_b.trace()) / (m * (m - 1))
        - 2 * polynomial_kernel(a, b).mean()
    )


def kid(a: Tensor, b: Tensor, block: int = BLOCK) -> tuple[float, float]:
    """KID of features (n, d) and (m, d), and its standard error.

    The KID is the mean over disjoint blocks of ``block`` features of each set. With fewer than two blocks, the standard
    error is infinite.
    """
    count = max(1, min(len(a), len(b)) // block)
    size = min(block, len(a), len(b))
    values = torch.stack(
        [
            unbiased_mmd(x.double(), y.double())
            for x, y in zip(a.split(size)[:count], b.split(size)[:count], strict=True)
        ]
    )
    error = float(values.std() / math.sqrt(count)) if count > 1 else math.inf
    return float(values.mean()), error

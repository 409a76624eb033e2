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

    The KID is the mean over disjoint random blocks of ``block`` features of each set (Binkowski et al. 2018, section
    4). With fewer than two blocks, the standard error is infinite.

    Blocks in the order of the images would add the spread of the blocks to the distance where the order of a test set
    is not random: the first half of MNIST's has other writers than the second. Each set has its own order, so that
    few images of a conditional model are in the block of the test image whose condition they were given: such pairs
    are dependent and bias the estimate.
    """
    count = max(1, min(len(a), len(b)) // block)
    size = min(block, len(a), len(b))
    a, b = (x[torch.randperm(len(x), generator=torch.Generator().manual_seed(i))] for i, x in enumerate((a, b)))
    values = torch.stack(
        [
            unbiased_mmd(x.double(), y.double())
            for x, y in zip(a.split(size)[:count], b.split(size)[:count], strict=True)
        ]
    )
    error = float(values.std() / math.sqrt(count)) if count > 1 else math.inf
    return float(values.mean()), error

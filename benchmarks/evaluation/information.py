"""Mutual information of latent vectors and images, and the divergence of the aggregate posterior from the prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Number of draws evaluated under one batch of posteriors at a time. With batches of 500, the (1000, 500) matrix takes
# 4 MB and stays in the cache.
BLOCK = 1000


def information(log_q: Tensor, log_aggregate: Tensor, log_prior: Tensor) -> tuple[float, float]:
    """Mutual information I(x; z) and KL(q(z) || p(z)) under the aggregate posterior of n images, both in nats.

    For z_i drawn from q(z|x_i), each (n,): ``log_q``, log q(z_i|x_i); ``log_aggregate``, log q(z_i); ``log_prior``,
    log p(z_i). The aggregate posterior is estimated from the same images (see :func:`densities`), so I(x; z) cannot
    exceed log n. The divergence is estimated as the mean KL(q(z|x) || p(z)) minus I(x; z), which is then an upper bound
    (Hoffman & Johnson 2016; Chen et al. 2018, section C.1).
    """
    mutual = (log_q - log_aggregate).mean()
    marginal = (log_aggregate - log_prior.double()).mean()
    return float(mutual), float(marginal)


def densities(posteriors: Sequence[Any], z: Tensor) -> tuple[Tensor, Tensor]:
    """log q(z_i|x_i) and log q(z_i) = logsumexp_j log q(z_i|x_j) - log n, each (n,), float64, for draws ``z``
    (n, latent), one from each of the n distributions that ``posteriors`` hold in batches.

    Both are computed from the same matrix of all pairs, so that rounding cannot raise I(x; z) above log n. Only a block
    of the matrix is in memory at a time: ``BLOCK`` draws under one batch of distributions.
    """
    own = z.new_empty(len(z), dtype=torch.float64)
    total = z.new_full((len(z),), -math.inf, dtype=torch.float64)
    first = 0
    for q in posteriors:
        last = first + q.batch_shape[0]
        for start in range(0, len(z), BLOCK):
            rows = slice(start, min(start + BLOCK, len(z)))
            log_q = pairwise_log_prob(q, z[rows])
            total[rows] = torch.logaddexp(total[rows], log_q.logsumexp(1))
            # The draws of this block that were made from this batch of distributions.
            low, high = max(first, start), min(last, rows.stop)
            if low < high:
                own[low:high] = torch.diagonal(log_q[low - start : high - start, low - first : high - first])
        first = last
    return own, total - math.log(len(z))


def pairwise_log_prob(q: Any, z: Tensor) -> Tensor:
    """Log-density of every ``z`` (n, latent) under each of a batch of m distributions: (n, m), float64."""
    if has_pairwise_log_prob(q):
        return q.pairwise_log_prob(z)
    # Inverts a flow once for every pair.
    return torch.stack([q.log_prob(one.expand(*q.batch_shape, -1)) for one in z]).double()


def has_pairwise_log_prob(q: Any) -> bool:
    """Whether ``q`` computes all pairs at once. torch's own distributions lack the attribute, which counts as False."""
    return getattr(q, "has_pairwise_log_prob", False)

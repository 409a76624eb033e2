"""What latent vectors know of the image: mutual information, and the aggregate posterior against the prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Draws held against one batch of posteriors at a time: pairs of 1,000 and 500 are 4 MB, which stay in the cache.
BLOCK = 1000


def information(log_q: Tensor, log_aggregate: Tensor, log_prior: Tensor) -> tuple[float, float]:
    """Mutual information I(x; z) and KL(q(z) || p(z)) under the aggregate posterior of n images, both in nats.

    For z_i drawn from q(z|x_i), each (n,): ``log_q``, log q(z_i|x_i); ``log_aggregate``, log q(z_i); ``log_prior``,
    log p(z_i). The aggregate is estimated from the same images (see :func:`densities`), so that I(x; z) cannot exceed
    log n, and the divergence, which is what I(x; z) leaves of the mean KL(q(z|x) || p(z)), is then an upper bound
    (Hoffman & Johnson 2016; Chen et al. 2018, section C.1).
    """
    mutual = (log_q - log_aggregate).mean()
    marginal = (log_aggregate - log_prior.double()).mean()
    return float(mutual), float(marginal)


def densities(posteriors: Sequence[Any], z: Tensor) -> tuple[Tensor, Tensor]:
    """log q(z_i|x_i) and log q(z_i) = logsumexp_j log q(z_i|x_j) - log n, each (n,), float64, for draws ``z``
    (n, latent), one from each of the n distributions that ``posteriors`` hold in batches.

    Both come from one matrix of all pairs, so that rounding cannot lift I(x; z) above log n. No more of it than
    ``BLOCK`` draws under one batch is held at a time.
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
            # The draws of this block that are this batch's own.
            low, high = max(first, start), min(last, rows.stop)
            if low < high:
                own[low:high] = torch.diagonal(log_q[low - start : high - start, low - first : high - first])
        first = last
    return own, total - math.log(len(z))


def pairwise_log_prob(q: Any, z: Tensor) -> Tensor:
    """log-density of every ``z`` (n, latent) under each of a batch of m distributions: (n, m), float64."""
    if has_pairwise_log_prob(q):
        return q.pairwise_log_prob(z)
    # A flow is inverted once a pair.
    return torch.stack([q.log_prob(one.expand(*q.batch_shape, -1)) for one in z]).double()


def has_pairwise_log_prob(q: Any) -> bool:
    """Whether all pairs are one matrix product; a distribution of torch's own does not say."""
    return getattr(q, "has_pairwise_log_prob", False)

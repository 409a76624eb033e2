"""ELBO and importance-sampled log-likelihood: both from one array of log-weights."""

from __future__ import annotations

import math

from torch import Tensor


def elbo(log_w: Tensor) -> Tensor:
    """ELBO of each image in nats (batch,), the mean over samples of log-weights ``log_w`` (samples, batch)."""
    return log_w.double().mean(0)


def log_likelihood(log_w: Tensor) -> Tensor:
    """log p(x) of each image in nats (batch,), from below: logsumexp_k log w_k - log K (Burda et al. 2016, eq. 8)."""
    return log_w.double().logsumexp(0) - math.log(len(log_w))


def standard_error(values: Tensor) -> float:
    """Standard error of the mean of ``values`` (n,) over images; infinite for one image."""
    if len(values) < 2:
        return math.inf
    return float(values.double().std() / math.sqrt(len(values)))

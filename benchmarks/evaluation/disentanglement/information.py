"""Scores from the mutual information of each dimension of a code with each factor: MIG and modularity."""

from __future__ import annotations

import numpy as np

# Number of bins of equal width over the range of a dimension (Ridgeway & Mozer 2018; Locatello et al. 2019).
BINS = 20
# A dimension is active if its variance over images exceeds this number (Burda et al. 2016), or this fraction of the
# largest variance of a dimension: codes of a model without a prior have no fixed scale.
ACTIVE_VARIANCE = 0.01


def active(codes: np.ndarray) -> np.ndarray:
    """Which dimensions of codes (n, d) are active, bool (d,). The others are left out of every score.

    The mean of a posterior that is close to the prior still has traces of the image. In a draw they are lost in the
    noise, so the decoder cannot use them.
    """
    # The variance of equal numbers can be a rounding error above 0.
    variances = np.where(np.ptp(codes, axis=0) > 0, codes.var(0), 0)
    return variances > min(ACTIVE_VARIANCE, ACTIVE_VARIANCE * variances.max(initial=0))


def discretised(codes: np.ndarray) -> np.ndarray:
    """The bin of each entry of codes (n, d), int64 (n, d).

    Each dimension has :data:`BINS` bins of equal width from its smallest to its largest value.
    """
    low, width = codes.min(0), np.ptp(codes, axis=0)
    shares = (codes - low) / np.where(width > 0, width, 1)
    return np.minimum((shares * BINS).astype(np.int64), BINS - 1)


def entropies(values: np.ndarray) -> np.ndarray:
    """Entropies H(v_k) in nats of the columns of integers (n, factors)."""
    return np.array([_entropy(np.bincount(column)) for column in values.T])


def mutual_information(codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """I(z_i; v_k) in nats, (d, factors), of binned codes (n, d) and integers (n, factors).

    The probabilities are the relative frequencies among the images.
    """
    bins = discretised(codes)
    of_codes, of_factors, size = entropies(bins), entropies(values), int(values.max()) + 1
    joint = np.array(
        [[_entropy(np.bincount(z * size + v, minlength=BINS * size)) for v in values.T] for z in bins.T]
    ).reshape(bins.shape[1], values.shape[1])
    # For independent variables, rounding errors can make the difference negative.
    return np.maximum(of_codes[:, None] + of_factors[None, :] - joint, 0)


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def mutual_information_gap(information: np.ndarray, entropy: np.ndarray) -> float:
    """MIG from I(z_i; v_k) (d, factors) and H(v_k) (factors,), both in nats (Chen et al. 2018, eq. 6):

        1/K sum_k  (I(z_j(k); v_k) - max_{j != j(k)} I(z_j; v_k)) / H(v_k),   j(k) = argmax_j I(z_j; v_k)

    For a code with one dimension, the maximum over the other dimensions is taken as 0.

    References:
        Chen, Li, Grosse & Duvenaud, *Isolating Sources of Disentanglement in VAEs*, NeurIPS 2018.
        https://arxiv.org/abs/1802.04942

    Deviations:
        1. I is estimated from binned posterior means, as in Locatello et al. (2019), not from the densities q(z_j|x).
           It is therefore also defined for a code without a density.
    """
    ordered = np.sort(np.vstack([information, np.zeros_like(entropy)]), axis=0)
    return float(((ordered[-1] - ordered[-2]) / entropy).mean())


def modularity(information: np.ndarray) -> float:
    """Modularity (Ridgeway & Mozer 2018) of I(z_i; v_k) (d, factors): 1 if each dimension is about one factor only.

        1 - mean_i  sum_k (m_ik - t_ik)^2 / (theta_i^2 (K - 1)),   m = I,  theta_i = max_k m_ik,
        t_ik = theta_i where k is the factor of that maximum, else 0

    A dimension without information about any factor is left out. If there is no other dimension, the result is 0. For a
    single factor, it is otherwise 1.

    References:
        Ridgeway & Mozer, *Learning Deep Disentangled Embeddings with the F-Statistic Loss*, NeurIPS 2018.
        https://arxiv.org/abs/1802.05312
    """
    kept = information[information.max(1, initial=0) > 0]
    if not len(kept):
        return 0.0
    theta = kept.max(1, keepdims=True)
    rest = np.sort(kept / theta, axis=1)[:, :-1]
    return float(1 - (rest**2).sum(1).mean() / max(1, rest.shape[1]))

"""Scores from the mutual information of each dimension of a code with each factor: MIG and modularity."""

from __future__ import annotations

import numpy as np

# Of equal width, over the range of a dimension, as in Ridgeway & Mozer (2018) and Locatello et al. (2019).
BINS = 20
# A dimension is in use if it varies by more than this over images (Burda et al. 2016), or than this share of what the
# one varies by that varies most: codes of a model without a prior have no scale of their own.
ACTIVE_VARIANCE = 0.01


def active(codes: np.ndarray) -> np.ndarray:
    """Which dimensions of codes (n, d) are in use, bool (d,). The others are left out of every score: in the mean of a
    posterior that is nearly the prior something of an image is left, which no draw, and so no decoder, can tell."""
    variances = codes.var(0)
    return variances > min(ACTIVE_VARIANCE, ACTIVE_VARIANCE * variances.max(initial=0))


def discretised(codes: np.ndarray) -> np.ndarray:
    """The bin of every number of codes (n, d), int64 (n, d): :data:`BINS` of equal width from the smallest to the
    largest of its dimension."""
    low, width = codes.min(0), np.ptp(codes, axis=0)
    shares = (codes - low) / np.where(width > 0, width, 1)
    return np.minimum((shares * BINS).astype(np.int64), BINS - 1)


def entropies(values: np.ndarray) -> np.ndarray:
    """H(v_k) in nats of every column of whole numbers (n, factors)."""
    return np.array([_entropy(np.bincount(column)) for column in values.T])


def mutual_information(codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """I(z_i; v_k) in nats, (d, factors), of the bins of codes (n, d) and whole numbers (n, factors), by their shares
    among the images."""
    bins = discretised(codes)
    of_codes, of_factors, size = entropies(bins), entropies(values), int(values.max()) + 1
    joint = np.array(
        [[_entropy(np.bincount(z * size + v, minlength=BINS * size)) for v in values.T] for z in bins.T]
    ).reshape(bins.shape[1], values.shape[1])
    # Of independent ones, rounding may leave less than nothing.
    return np.maximum(of_codes[:, None] + of_factors[None, :] - joint, 0)


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def mutual_information_gap(information: np.ndarray, entropy: np.ndarray) -> float:
    """MIG of I(z_i; v_k) (d, factors) and H(v_k) (factors,), both in nats (Chen et al. 2018, eq. 6):

        1/K sum_k  (I(z_j(k); v_k) - max_{j != j(k)} I(z_j; v_k)) / H(v_k),   j(k) = argmax_j I(z_j; v_k)

    A code of one dimension has no second one to tell it from, and its gap is the whole.

    References:
        Chen, Li, Grosse & Duvenaud, *Isolating Sources of Disentanglement in VAEs*, NeurIPS 2018.
        https://arxiv.org/abs/1802.04942

    Deviations:
        1. I is estimated from posterior means in bins, as in Locatello et al. (2019), not from the densities q(z_j|x):
           it is then defined for a code without a density, too.
    """
    ordered = np.sort(np.vstack([information, np.zeros_like(entropy)]), axis=0)
    return float(((ordered[-1] - ordered[-2]) / entropy).mean())


def modularity(information: np.ndarray) -> float:
    """Modularity of I(z_i; v_k) (d, factors): whether a dimension knows of one factor alone (Ridgeway & Mozer 2018):

        1 - mean_i  sum_k (m_ik - t_ik)^2 / (theta_i^2 (K - 1)),   m = I,  theta_i = max_k m_ik,
        t_ik = theta_i where k is the factor of that maximum, else 0

    A dimension that knows of nothing has no modularity and is left out; 0 where all do, and for a single factor 1.

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

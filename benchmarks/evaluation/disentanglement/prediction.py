"""Scores from predictors of factors from codes: DCI and SAP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.tree import DecisionTreeClassifier


class Part(NamedTuple):
    """A part of the images: ``codes`` (n, d), and ``values`` (n, factors), the index of each factor's value."""

    codes: np.ndarray
    values: np.ndarray


class DCI(NamedTuple):
    """The three scores of :func:`dci`, and the ``importance`` R (d, factors) of each dimension for each factor."""

    disentanglement: float
    completeness: float
    informativeness: float
    importance: np.ndarray


def dci(fitted: Part, scored: Part, ordered: Sequence[bool], seed: int) -> DCI:
    """Disentanglement, completeness and informativeness (Eastwood & Williams 2018).

    Gradient-boosted trees predict each factor from the whole code. They are fitted on one part of the images and scored
    on another. R_ik is the importance of dimension i for factor k; the columns of R sum to 1.

        D = sum_i rho_i (1 - H_K(P_i.)),   P_ik = R_ik / sum_k R_ik,   rho_i = sum_k R_ik / sum_ik R_ik
        C = mean_k (1 - H_d(P_.k)),        P_ik = R_ik / sum_i R_ik
        I = mean_k max(0, 1 - error_k / error of the best constant prediction)

    H_b is the entropy to the base b, where b is the number of factors K or of dimensions d. The error is the mean
    squared error for an ordered factor, and the fraction of wrong classes for any other factor.

    References:
        Eastwood & Williams, *A Framework for the Quantitative Evaluation of Disentangled Representations*, ICLR 2018.
        https://openreview.net/forum?id=By-7dz-AZ
        Locatello et al., *Challenging Common Assumptions in the Unsupervised Learning of Disentangled Representations*,
        ICML 2019, appendix C: gradient-boosted trees. https://arxiv.org/abs/1811.12359

    Deviations:
        1. Ordered factors are predicted by a regression, as in Eastwood & Williams, not as classes.
        2. I is the fraction of the error that is explained, not an error or an accuracy. It is 0 for a code of noise
           and 1 for a perfect prediction, for every kind of factor.
    """
    importances, explained = [], []
    for k, is_ordered in enumerate(ordered):
        make = GradientBoostingRegressor if is_ordered else GradientBoostingClassifier
        trees = make(random_state=seed).fit(fitted.codes, fitted.values[:, k])
        importances.append(trees.feature_importances_)
        truth, constant = scored.values[:, k], _constant(fitted.values[:, k], is_ordered)
        error, plain = (_error(truth, found, is_ordered) for found in (trees.predict(scored.codes), constant))
        explained.append(max(0.0, 1 - error / plain) if plain else 0.0)
    R = np.stack(importances, 1)
    total = R.sum()
    if not total:
        return DCI(0.0, 0.0, float(np.mean(explained)), R)
    D = float((R.sum(1) / total * (1 - _relative_entropy(R))).sum())
    C = float((1 - _relative_entropy(R.T)).mean())
    return DCI(D, C, float(np.mean(explained)), R)


def _constant(values: np.ndarray, is_ordered: bool) -> float:
    return float(values.mean()) if is_ordered else float(np.bincount(values).argmax())


def _error(truth: np.ndarray, found: np.ndarray | float, is_ordered: bool) -> float:
    return float(((truth - found) ** 2).mean() if is_ordered else (truth != found).mean())


def _relative_entropy(rows: np.ndarray) -> np.ndarray:
    """The entropy of each row, normalised to sum to 1, divided by the largest possible entropy.

    It is 1 for a row of zeros, and 0 if rows have a single entry.
    """
    sums = rows.sum(1, keepdims=True)
    shares = np.divide(rows, sums, out=np.full_like(rows, 1 / rows.shape[1]), where=sums > 0)
    terms = shares * np.log(np.where(shares > 0, shares, 1))
    return -terms.sum(1) / np.log(rows.shape[1]) if rows.shape[1] > 1 else np.zeros(len(rows))


def separated_attribute_predictability(fitted: Part, scored: Part, ordered: Sequence[bool]) -> float:
    """SAP (Kumar et al. 2018): the difference between the two best scores S_ik of a dimension i for factor k.

    The result is the mean over factors. For an ordered factor, S_ik is the squared correlation with z_i. For any other
    factor, S_ik is the balanced accuracy of thresholds on z_i that predict its value, rescaled so that chance level is
    0 and the maximum 1. A factor with V values has at most V - 1 thresholds. They are fitted on one part of the images
    and scored on another.

    References:
        Kumar, Sattigeri & Balakrishnan, *Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations*, ICLR 2018. https://arxiv.org/abs/1711.00848

    Deviations:
        1. The accuracy is measured from chance level, so that both kinds of factors have scores from 0 to 1.
    """
    gaps = []
    for k, is_ordered in enumerate(ordered):
        values = fitted.values[:, k], scored.values[:, k]
        found = [
            _squared_correlation(z, values[0]) if is_ordered else _told_apart(z, other, *values)
            for z, other in zip(fitted.codes.T, scored.codes.T, strict=True)
        ]
        best = sorted([*found, 0.0], reverse=True)
        gaps.append(best[0] - best[1])
    return float(np.mean(gaps))


def _squared_correlation(z: np.ndarray, values: np.ndarray) -> float:
    covariance = np.cov(z, values)
    scale = covariance[0, 0] * covariance[1, 1]
    return float(covariance[0, 1] ** 2 / scale) if scale > 0 else 0.0


def _told_apart(z: np.ndarray, other: np.ndarray, values: np.ndarray, truth: np.ndarray) -> float:
    """Balanced accuracy on ``other`` of thresholds that are fitted on ``z``, rescaled so that chance level is 0."""
    # With one feature, the state decides nothing; without it, the caller's random numbers would be used.
    thresholds = DecisionTreeClassifier(
        max_leaf_nodes=max(2, len(np.unique(values))), class_weight="balanced", random_state=0
    )
    found = thresholds.fit(z[:, None], values).predict(other[:, None])
    there = np.unique(truth)
    if len(there) < 2:
        return 0.0
    accuracy = float(np.mean([(found[truth == value] == value).mean() for value in there]))
    return max(0.0, (accuracy - 1 / len(there)) / (1 - 1 / len(there)))

"""Scores from how well factors are predicted from codes: DCI and SAP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.tree import DecisionTreeClassifier


class Part(NamedTuple):
    """``codes`` (n, d) and which value of each factor their images have, ``values`` (n, factors)."""

    codes: np.ndarray
    values: np.ndarray


class DCI(NamedTuple):
    """The three scores of :func:`dci`, and the ``importance`` R of each dimension for each factor (d, factors)."""

    disentanglement: float
    completeness: float
    informativeness: float
    importance: np.ndarray


def dci(fitted: Part, scored: Part, ordered: Sequence[bool], seed: int) -> DCI:
    """Disentanglement, completeness and informativeness (Eastwood & Williams 2018). Gradient-boosted trees
    predict every factor from the whole code, fitted on one part of the images and scored on another; R_ik is the
    importance of dimension i for factor k, of which the columns sum to 1.

        D = sum_i rho_i (1 - H_K(P_i.)),   P_ik = R_ik / sum_k R_ik,   rho_i = sum_k R_ik / sum_ik R_ik
        C = mean_k (1 - H_d(P_.k)),        P_ik = R_ik / sum_i R_ik
        I = mean_k max(0, 1 - error_k / error of the best constant prediction)

    H_b is the entropy to the base b, the number of factors K or of dimensions d. The error of an ordered factor is the
    mean square, of another one the share of wrong classes.

    References:
        Eastwood & Williams, *A Framework for the Quantitative Evaluation of Disentangled Representations*, ICLR 2018.
        https://openreview.net/forum?id=By-7dz-AZ
        Locatello et al., *Challenging Common Assumptions in the Unsupervised Learning of Disentangled Representations*,
        ICML 2019, appendix C: gradient-boosted trees. https://arxiv.org/abs/1811.12359

    Deviations:
        1. Ordered factors are predicted by a regression, as in Eastwood & Williams, not as classes.
        2. I is a share of the error that is explained, not an error or an accuracy: 0 for a code of noise and 1 for one
           that says all, whatever the factor.
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
    """The entropy of each row, taken as shares, over the largest that it can have; 1 for a row of zeros, 0 for rows of
    one number."""
    sums = rows.sum(1, keepdims=True)
    shares = np.divide(rows, sums, out=np.full_like(rows, 1 / rows.shape[1]), where=sums > 0)
    terms = shares * np.log(np.where(shares > 0, shares, 1))
    return -terms.sum(1) / np.log(rows.shape[1]) if rows.shape[1] > 1 else np.zeros(len(rows))


def separated_attribute_predictability(fitted: Part, scored: Part, ordered: Sequence[bool]) -> float:
    """SAP (Kumar et al. 2018): how much better a factor is predicted from the one dimension that predicts it
    best than from the next best, the mean over factors. Of an ordered factor S_ik is the squared correlation with z_i,
    of another one how well thresholds on z_i tell its values, one fewer than there are of these: the balanced accuracy
    on other images than those they are fitted on, between chance (0) and 1.

    References:
        Kumar, Sattigeri & Balakrishnan, *Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations*, ICLR 2018. https://arxiv.org/abs/1711.00848

    Deviations:
        1. The accuracy is taken from chance, so that both kinds of factors have scores from 0 to 1.
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
    """The balanced accuracy on ``other`` of thresholds that are fitted on ``z``, from chance."""
    thresholds = DecisionTreeClassifier(max_leaf_nodes=max(2, len(np.unique(values))), class_weight="balanced")
    found = thresholds.fit(z[:, None], values).predict(other[:, None])
    there = np.unique(truth)
    if len(there) < 2:
        return 0.0
    accuracy = float(np.mean([(found[truth == value] == value).mean() for value in there]))
    return max(0.0, (accuracy - 1 / len(there)) / (1 - 1 / len(there)))

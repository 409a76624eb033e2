"""Measures of a representation: classifiers on posterior means, active units, and a density of codes for sampling."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor

NEIGHBOURS = 10
ACTIVE_VARIANCE = 0.01


def knn_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Accuracy on ``test`` (m, d) of a 10-nearest-neighbour classifier on ``train`` (n, d), with labels (m,), (n,)."""
    neighbours = min(NEIGHBOURS, len(train))
    classifier = KNeighborsClassifier(neighbours, algorithm="brute").fit(train.numpy(), train_labels.numpy())
    return float(classifier.score(test.numpy(), test_labels.numpy()))


def linear_probe_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Accuracy on ``test`` (m, d) of a logistic regression fitted on standardised ``train`` (n, d)."""
    scaler = StandardScaler().fit(train.numpy())
    probe = LogisticRegression(max_iter=300, tol=1e-3, C=1.0).fit(scaler.transform(train.numpy()), train_labels.numpy())
    return float(probe.score(scaler.transform(test.numpy()), test_labels.numpy()))


def active_units(means: Tensor, scaled: bool = True) -> int:
    """The number of active units: latent dimensions u with Var_x(E_q[u]) > 0.01 (Burda et al. 2016, section 5.2).

    ``means`` (n, latent): the posterior means of n images. If ``scaled`` is false, no prior fixes the scale of the
    codes, and the threshold is 0.01 times the largest variance.
    """
    variances = means.double().var(0)
    return int((variances > ACTIVE_VARIANCE * (1 if scaled else variances.max())).sum())


def fit_mixture(codes: Tensor, components: int, seed: int) -> GaussianMixture:
    """Fit a mixture of Gaussians with full covariances to latent vectors (n, d)."""
    mixture = GaussianMixture(components, reg_covar=1e-4, max_iter=50, random_state=seed)
    with warnings.catch_warnings():
        # The number of iterations is a fixed budget, the same for every variant.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(codes.double().cpu().numpy())


def subset(count: int, size: int, seed: int) -> Tensor:
    """Sorted indices of ``size`` out of ``count`` images, drawn with ``seed``; all indices if ``size`` >= ``count``."""
    if size >= count:
        return torch.arange(count)
    return torch.from_numpy(np.sort(np.random.RandomState(seed).permutation(count)[:size]))

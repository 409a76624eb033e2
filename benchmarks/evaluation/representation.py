"""What a representation is good for: classifiers on posterior means, information, and the aggregate posterior."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor

NEIGHBOURS = 10


def knn_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Accuracy on ``test`` (m, d) of the vote of the 10 nearest of ``train`` (n, d), with labels (n,) and (m,)."""
    neighbours = min(NEIGHBOURS, len(train))
    classifier = KNeighborsClassifier(neighbours, algorithm="brute").fit(train.numpy(), train_labels.numpy())
    return float(classifier.score(test.numpy(), test_labels.numpy()))


def linear_probe_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Accuracy on ``test`` (m, d) of a logistic regression fitted on standardised ``train`` (n, d)."""
    scaler = StandardScaler().fit(train.numpy())
    probe = LogisticRegression(max_iter=300, tol=1e-3, C=1.0).fit(scaler.transform(train.numpy()), train_labels.numpy())
    return float(probe.score(scaler.transform(test.numpy()), test_labels.numpy()))


def information(log_q: Tensor, log_prior: Tensor) -> tuple[float, float]:
    """Mutual information I(x; z) and KL(q(z) || p(z)) under the aggregate posterior of n images, both in nats.

    ``log_q`` (n, n): log q(z_i | x_j), z_i drawn from q(z|x_i). ``log_prior`` (n,): log p(z_i). The aggregate is
    estimated from the same images, log q(z_i) = logsumexp_j log q(z_i|x_j) - log n, so I(x; z) cannot exceed log n
    (Hoffman & Johnson 2016; Chen et al. 2018, section C.1). The two sum to the mean KL(q(z|x) || p(z)).
    """
    n = len(log_q)
    log_aggregate = log_q.double().logsumexp(1) - math.log(n)
    mutual = (torch.diagonal(log_q).double() - log_aggregate).mean()
    marginal = (log_aggregate - log_prior.double()).mean()
    return float(mutual), float(marginal)


def subset(count: int, size: int, seed: int) -> Tensor:
    """Indices of ``size`` of ``count`` images, by a fixed draw, in order; all of them where there are no more."""
    if size >= count:
        return torch.arange(count)
    return torch.from_numpy(np.sort(np.random.RandomState(seed).permutation(count)[:size]))

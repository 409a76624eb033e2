"""Clusters of codes, and their agreement with classes."""

from __future__ import annotations

import torch
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from benchmarks.evaluation.discrete import category_accuracy


def clusters(codes: Tensor, count: int, starts: int, seed: int) -> Tensor:
    """The cluster (n,) of each code (n, d), by k-means with ``count`` clusters.

    The result is the best of ``starts`` k-means++ initialisations by the sum of squared distances.
    """
    found = KMeans(count, n_init=starts, random_state=seed).fit_predict(codes.cpu().double().numpy())
    return torch.from_numpy(found).long()


def agreement(found: Tensor, labels: Tensor) -> dict[str, float]:
    """Agreement of clusters (n,) with classes (n,).

    "accuracy" is under the best one-to-one assignment. "nmi" is the mutual information divided by the arithmetic mean
    of both entropies.
    """
    labels = labels.cpu()
    return {
        "accuracy": category_accuracy(found, labels),
        "nmi": float(normalized_mutual_info_score(labels.numpy(), found.numpy())),
    }

"""Clusters of codes, and how well they agree with classes."""

from __future__ import annotations

import torch
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from benchmarks.evaluation.discrete import category_accuracy


def clusters(codes: Tensor, count: int, starts: int, seed: int) -> Tensor:
    """The cluster (n,) of every code (n, d) by k-means with ``count`` clusters, the best of ``starts`` k-means++ starts
    by the sum of squared distances."""
    found = KMeans(count, n_init=starts, random_state=seed).fit_predict(codes.cpu().double().numpy())
    return torch.from_numpy(found).long()


def agreement(found: Tensor, labels: Tensor) -> dict[str, float]:
    """How well clusters (n,) agree with classes (n,): "accuracy" under the best one-to-one assignment, and "nmi",
    mutual information over the arithmetic mean of both entropies."""
    labels = labels.cpu()
    return {
        "accuracy": category_accuracy(found, labels),
        "nmi": float(normalized_mutual_info_score(labels.numpy(), found.numpy())),
    }

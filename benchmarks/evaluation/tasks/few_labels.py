"""Accuracy of classifiers on codes that are given few labels."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.evaluation.representation import linear_probe_accuracy

DRAWS = 10
# Test images whose distances to all labelled ones are in memory at once.
BATCH = 2000


def balanced_draws(labels: Tensor, count: int) -> list[Tensor]:
    """Ten draws of ``count`` images, each as indices (count,) into ``labels`` (n,), with the seeds 0 to 9. A draw has
    equally many images of every class; what does not divide evenly goes to classes drawn at random.

    Raises ``ValueError`` where there are too few images, in all or of one class.
    """
    of_class = [np.flatnonzero(labels.numpy() == name) for name in labels.unique().tolist()]
    each, rest = divmod(count, len(of_class))
    if count > len(labels):
        raise ValueError(f"{count:,} labels are more than the {len(labels):,} training images that were looked at")
    if each == 0:
        raise ValueError(f"{count:,} labels are fewer than the {len(of_class):,} classes")
    most, smallest = each + (rest > 0), min(map(len, of_class))
    if smallest < most:
        raise ValueError(f"{count:,} labels need {most:,} images of each class, and of one there are {smallest:,}")
    draws = []
    for seed in range(DRAWS):
        random = np.random.RandomState(seed)
        sizes = np.full(len(of_class), each)
        sizes[random.permutation(len(of_class))[:rest]] += 1
        rows = [random.permutation(own)[:size] for own, size in zip(of_class, sizes, strict=True)]
        draws.append(torch.from_numpy(np.concatenate(rows)))
    return draws


def nearest_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, neighbours: int) -> float:
    """Accuracy on ``test`` (m, d) of the vote of the ``neighbours`` nearest of ``train`` (n, d), with labels (n,) and
    (m,); the lower class where votes are equal."""
    # Squared distances less a constant of each test image. Centred, so that the difference loses few digits.
    centre = train.mean(0)
    train = train - centre
    votes_of = F.one_hot(train_labels).float()
    squares, right = train.square().sum(1), 0
    for part, truth in zip(test.split(BATCH), test_labels.split(BATCH), strict=True):
        distances = torch.addmm(squares, part - centre, train.T, alpha=-2)
        nearest = distances.topk(neighbours, largest=False).indices
        right += int((votes_of[nearest].sum(1).argmax(1) == truth).sum())
    return right / len(test)


def few_labels_accuracy(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, draws: Sequence[Tensor], neighbours: int
) -> tuple[float, float]:
    """Accuracies on ``test`` (m, d) of a logistic regression and of the vote of the nearest neighbours, fitted on the
    images of ``train`` (n, d) in one of the ``draws`` with their labels and nothing else; the means over draws."""
    linear, nearest = [], []
    for rows in draws:
        labelled = train[rows], train_labels[rows], test, test_labels
        linear.append(linear_probe_accuracy(*labelled))
        nearest.append(nearest_accuracy(*labelled, neighbours))
    return fmean(linear), fmean(nearest)

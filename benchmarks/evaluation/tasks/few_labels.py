"""Accuracy of classifiers that are fitted on the codes of few labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.evaluation.representation import linear_probe_accuracy

DRAWS = 10
# Number of test images whose distances to all labelled images are in memory at once.
BATCH = 2000


def balanced_draws(labels: Tensor, count: int) -> list[Tensor]:
    """Ten draws of ``count`` images, with seeds 0 to 9, each as indices (count,) into ``labels`` (n,).

    A draw has the same number of images of every class. If ``count`` is not divisible by the number of classes, the
    remaining images are of classes drawn at random, one image each. Raises ``ValueError`` if there are too few images,
    in total or of one class, or if ``count`` is smaller than the number of classes.
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
    """Accuracy on ``test`` (m, d), labels (m,), of a nearest-neighbour classifier on ``train`` (n, d), labels (n,).

    The ``neighbours`` nearest images vote. In a tie, the lower class wins.
    """
    # ``distances`` are squared distances minus a constant per test image. Centring the codes limits rounding errors.
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
    """Accuracies on ``test`` (m, d) of a logistic regression and a nearest-neighbour classifier, averaged over draws.

    For each of the ``draws``, both are fitted only on its images of ``train`` (n, d) and their labels.
    """
    linear, nearest = [], []
    for rows in draws:
        labelled = train[rows], train_labels[rows], test, test_labels
        linear.append(linear_probe_accuracy(*labelled))
        nearest.append(nearest_accuracy(*labelled, neighbours))
    return fmean(linear), fmean(nearest)

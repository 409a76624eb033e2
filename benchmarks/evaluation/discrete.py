"""Measures of discrete latent variables."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def code_perplexity(codes: Tensor) -> float:
    """Exponential of the entropy of a discrete variable's values over images, averaged over variables.

    ``codes``: int64 (n, variables). If all positions share a codebook, this is the effective number of codebook vectors
    that are used at a position.
    """
    perplexities = []
    for variable in codes.T:
        p = torch.bincount(variable).double() / len(variable)
        perplexities.append(torch.special.entr(p).sum().exp())
    return float(torch.stack(perplexities).mean())


def category_accuracy(categories: Tensor, labels: Tensor) -> float:
    """Unsupervised clustering accuracy.

    This is the fraction of images whose category (n,) matches their label (n,) under the best one-to-one assignment of
    categories to classes (found by the Hungarian method).
    """
    size = int(max(categories.max(), labels.max())) + 1
    table = torch.bincount(categories * size + labels, minlength=size * size).reshape(size, size).numpy()
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(np.sum(table[rows, columns]) / len(labels))

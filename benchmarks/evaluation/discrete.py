"""What discrete latent variables do."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def code_perplexity(codes: Tensor) -> float:
    """exp of the entropy of a discrete variable's usage over images, averaged over variables: ``codes`` int64
    (n, variables). For a codebook shared by positions, how many of its vectors are in use at a position."""
    perplexities = []
    for variable in codes.T:
        p = torch.bincount(variable).double() / len(variable)
        perplexities.append(torch.special.entr(p).sum().exp())
    return float(torch.stack(perplexities).mean())


def category_accuracy(categories: Tensor, labels: Tensor) -> float:
    """Unsupervised clustering accuracy: the share of images whose category (n,) is that of their label (n,) under the
    best one-to-one assignment of categories to classes (the Hungarian method)."""
    size = int(max(categories.max(), labels.max())) + 1
    table = torch.bincount(categories * size + labels, minlength=size * size).reshape(size, size).numpy()
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(np.sum(table[rows, columns]) / len(labels))

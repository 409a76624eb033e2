"""All disentanglement scores of a code, over random splits."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.data import Factors
from benchmarks.evaluation.disentanglement.information import (
    active,
    entropies,
    modularity,
    mutual_information,
    mutual_information_gap,
)
from benchmarks.evaluation.disentanglement.intervention import beta_vae_score, factor_vae_score
from benchmarks.evaluation.disentanglement.prediction import Part, dci, separated_attribute_predictability
from benchmarks.progress.report import counted_off
from variants import Variant

RANDOM_SPLITS = 5
# Maximum number of images in each half. Boosted trees take a second per factor and split for 5,000 images.
MOST_IMAGES = 5000
FEWEST_IMAGES = 20


@dataclass(frozen=True)
class Disentanglement:
    """Disentanglement scores of a code.

    ``values``: name of a score -> its value in each split. ``images``: the number of images in each half of a
    split. ``factors``: the names of the scored factors, which are those with more than one value in every half.
    ``dimensions``: the number of active dimensions of the code; only these are scored.
    """

    values: Mapping[str, tuple[float, ...]]
    images: int
    factors: tuple[str, ...]
    dimensions: int

    @property
    def means(self) -> dict[str, float]:
        """Name of a score -> its mean over splits."""
        return {name: statistics.fmean(values) for name, values in self.values.items()}

    @property
    def spreads(self) -> dict[str, float]:
        """Name of a score -> its standard deviation over splits; 0 for a single split."""
        return {name: statistics.stdev(values) if len(values) > 1 else 0.0 for name, values in self.values.items()}


def scores(codes: Tensor, factors: Factors, splits: int = RANDOM_SPLITS, seed: int = 0) -> Disentanglement:
    """Compute all scores of codes (n, d).

    Each split divides the images into two random halves. Mutual information is estimated on the first half. Predictors
    and votes are fitted on the first half and scored on the second. The standard deviation of a statistic over random
    halves is about its standard error with all images. Dimensions that are not active (see :func:`active`) are left
    out.

    Raises ``ValueError`` for codes that are not finite or do not vary, for too few images, and if no factor varies.
    """
    z, which = codes.double().cpu().numpy(), factors.values.numpy()
    if len(z) != len(which):
        raise ValueError(f"there are {len(z):,} codes and the factors of {len(which):,} images")
    if len(z) < FEWEST_IMAGES:
        raise ValueError(f"{len(z)} images are too few: {FEWEST_IMAGES} are needed")
    if not np.isfinite(z).all():
        raise ValueError("codes are not finite")
    if not (in_use := active(z)).any():
        raise ValueError("no dimension of the code is in use: it is the same for all images")
    z = z[:, in_use]
    size = min(len(z) // 2, MOST_IMAGES)
    draws = [np.random.RandomState(seed + split).permutation(len(z)) for split in range(splits)]
    halves = [(rows[:size], rows[-size:]) for rows in draws]
    # With few images, a half may contain only one value of a factor.
    varying = np.array([all(len(np.unique(v[rows])) > 1 for pair in halves for rows in pair) for v in which.T])
    if not varying.any():
        raise ValueError("no factor has more than one value among these images")
    kinds = [kind for kind, varies in zip(factors.kinds, varying, strict=True) if varies]
    which, ordered = which[:, varying], [kind.is_ordered for kind in kinds]
    found: dict[str, list[float]] = {}
    for split, pair in enumerate(counted_off(halves, splits, "splits")):
        fitted, scored = (Part(z[rows], which[rows]) for rows in pair)
        for name, value in _once(fitted, scored, ordered, seed + split).items():
            found.setdefault(name, []).append(value)
    values = {name: tuple(values) for name, values in found.items()}
    return Disentanglement(values, size, tuple(kind.name for kind in kinds), z.shape[1])


def _once(fitted: Part, scored: Part, ordered: list[bool], seed: int) -> dict[str, float]:
    information = mutual_information(*fitted)
    trees, random = dci(fitted, scored, ordered, seed), np.random.RandomState(seed)
    return {
        "mig": mutual_information_gap(information, entropies(fitted.values)),
        "dci_disentanglement": trees.disentanglement,
        "dci_completeness": trees.completeness,
        "dci_informativeness": trees.informativeness,
        "sap": separated_attribute_predictability(fitted, scored, ordered),
        "beta_vae_score": beta_vae_score(fitted, scored, random),
        "factor_vae_score": factor_vae_score(fitted, scored, random),
        "modularity": modularity(information),
    }


def codes_of(variant: Variant, x: Tensor) -> Tensor:
    """The code (batch, d) of images for the scores.

    It has the posterior means of the continuous latent dimensions, and a column with the most probable value of each
    discrete variable.
    """
    means, discrete = variant.latent_means(x), variant.discrete_code(x)
    return means if discrete is None else torch.cat([means, discrete.to(means)], dim=1)


def shares_of_entropy(codes: Tensor, factors: Factors) -> Tensor:
    """I(z_i; v_k) / H(v_k), (d, factors), from all codes (n, d).

    It is 0 for a factor with a single value, and for a dimension that is not active.
    """
    z, which = codes.double().cpu().numpy(), factors.values.numpy()
    entropy = entropies(which)
    shares = mutual_information(z, which) / np.where(entropy > 0, entropy, np.inf)
    return torch.from_numpy(shares * active(z)[:, None])

"""What a few seeds can say: intervals for a mean, and which differences between variants are more than noise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

LEVEL = 0.95
# With fewer seeds in common, no difference is called real.
FEWEST_SEEDS = 3
RESAMPLES = 10_000
# All resamples are listed up to so many seeds: 5 ** 5 = 3125.
MOST_LISTED = 5


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95% interval for the mean of independent values; None for fewer than two.

    t with n - 1 degrees of freedom times the standard error: at three seeds 4.3 standard errors, not 2.
    """
    n = len(values)
    if n < 2:
        return None
    mean = float(np.mean(values))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean - half, mean + half


def bootstrap_interval(differences: Sequence[float]) -> tuple[float, float]:
    """95% percentile interval of the mean of paired differences, resampled with replacement.

    Every resample is listed where they are few; above that, ``RESAMPLES`` are drawn from a fixed seed, so that the same
    differences always give the same interval.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if n <= MOST_LISTED:
        rows = np.array(list(itertools.product(range(n), repeat=n)))
    else:
        rows = np.random.default_rng(0).integers(0, n, size=(RESAMPLES, n))
    low, high = np.quantile(values[rows].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def differ(a: Mapping[int, float], b: Mapping[int, float]) -> bool:
    """Whether two variants' values (seed -> value) differ by more than noise over the seeds they have in common.

    The paired bootstrap's interval of the mean difference must leave out zero, and so must Student's: over three seeds
    the bootstrap's is never wider than the three differences themselves and alone would call one pair in four of equals
    different.
    """
    differences = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
    if len(differences) < FEWEST_SEEDS:
        return False
    student = interval(differences)
    assert student is not None
    return all(low > 0 or high < 0 for low, high in (bootstrap_interval(differences), student))


def shared_ranks(values: Sequence[Mapping[int, float]], better: str) -> list[int] | None:
    """The rank of each variant: one more than the number of variants that are better by more than noise.

    ``values``: seed -> value for each; ``better`` is "higher" or "lower". Those that seeds cannot tell from any better
    one share rank 1. None where no two of them have ``FEWEST_SEEDS`` seeds in common: then nothing can be told.
    """
    pairs = list(itertools.combinations(range(len(values)), 2))
    if not any(len(values[i].keys() & values[j].keys()) >= FEWEST_SEEDS for i, j in pairs):
        return None
    sign = 1 if better == "higher" else -1
    ranks = [1] * len(values)
    for i, j in pairs:
        if differ(values[i], values[j]):
            seeds = values[i].keys() & values[j].keys()
            gap = sign * sum(values[i][seed] - values[j][seed] for seed in seeds)
            ranks[j if gap > 0 else i] += 1
    return ranks

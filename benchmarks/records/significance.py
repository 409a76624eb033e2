"""What a few seeds can say: intervals for a mean, and which differences between variants are more than noise."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy import stats

LEVEL = 0.95
# With fewer seeds in common, no difference is called real.
FEWEST_SEEDS = 3


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95% interval for the mean of independent values; None for fewer than two.

    t with n - 1 degrees of freedom times the standard error: at three seeds 4.3 standard errors, not 2.
    """
    n = len(values)
    if n < 2:
        return None
    mean = float(np.mean(values))
    half = _quantile(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean - half, mean + half


@functools.cache
def _quantile(freedom: int) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, freedom))


def differ(a: Mapping[int, float], b: Mapping[int, float]) -> bool:
    """Whether two variants' values (seed -> value) differ by more than noise over the seeds they have in common.

    True where Student's 95% interval of the mean paired difference leaves out zero: the paired t-test at 5%. Pairs are
    tested one at a time, with no correction for the number of pairs.
    """
    differences = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
    ends = interval(differences) if len(differences) >= FEWEST_SEEDS else None
    return ends is not None and (ends[0] > 0 or ends[1] < 0)


def shared_ranks(values: Sequence[Mapping[int, float]], better: str) -> list[int] | None:
    """The rank of each variant: one more than the number of variants that are better by more than noise.

    ``values``: seed -> value for each; ``better`` is "higher" or "lower". Those that seeds cannot tell from any better
    one share rank 1. None where no two of them have ``FEWEST_SEEDS`` seeds in common: then nothing can be told.
    """
    if not _some_pair_shares_seeds(values):
        return None
    sign = 1 if better == "higher" else -1
    ranks = np.ones(len(values), dtype=int)
    # A column a seed, missing ones are nan: each variant is compared with all after it at once. One pair at a time, a
    # thousand variants would take minutes.
    seeds = sorted({seed for by_seed in values for seed in by_seed})
    numbers = np.array([[by_seed.get(seed, math.nan) for seed in seeds] for by_seed in values])
    for i in range(len(values) - 1):
        shared = ~np.isnan(numbers[i])
        gaps = sign * (numbers[i, shared] - numbers[i + 1 :, shared])
        above, below = _beyond_noise(gaps)
        ranks[i] += int(below.sum())
        ranks[i + 1 :] += above
    return [int(rank) for rank in ranks]


def _some_pair_shares_seeds(values: Sequence[Mapping[int, float]]) -> bool:
    """Whether any two have ``FEWEST_SEEDS`` seeds in common. Most variants have the same seeds: sets are compared."""
    counts = Counter(frozenset(by_seed) for by_seed in values)
    if any(len(seeds) >= FEWEST_SEEDS and count > 1 for seeds, count in counts.items()):
        return True
    return any(len(one & other) >= FEWEST_SEEDS for one, other in combinations(counts, 2))


def _beyond_noise(gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each line of paired differences (nan: no pair), whether Student's interval of its mean lies above zero, and
    whether it lies below."""
    count = (~np.isnan(gaps)).sum(axis=1)
    above, below = np.zeros(len(gaps), dtype=bool), np.zeros(len(gaps), dtype=bool)
    for n in np.unique(count[count >= FEWEST_SEEDS]):
        lines = np.flatnonzero(count == n)
        pairs = gaps[lines]
        pairs = pairs[~np.isnan(pairs)].reshape(len(lines), n)
        mean = pairs.mean(axis=1)
        half = _quantile(int(n) - 1) * pairs.std(axis=1, ddof=1) / math.sqrt(n)
        above[lines], below[lines] = mean - half > 0, mean + half < 0
    return above, below

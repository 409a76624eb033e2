"""Statistics over a few seeds: intervals for a mean, and differences between variants that are more than noise."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy import stats

LEVEL = 0.95
# With fewer seeds in common, two variants cannot be tested: they are neither different nor alike.
FEWEST_SEEDS = 3


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95% interval for the mean of independent values; None for fewer than two.

    Its half width is the quantile of t with n - 1 degrees of freedom times the standard error: at three seeds 4.3
    standard errors, not 2.
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
    """Whether two variants' values (seed -> value) differ by more than noise over the seeds that they have in common.

    True if Student's 95% interval of the mean paired difference excludes zero, which is the paired t-test at 5%. There
    is no correction for the number of pairs of variants that are tested.
    """
    differences = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
    ends = interval(differences) if testable(a, b) else None
    return ends is not None and (ends[0] > 0 or ends[1] < 0)


def testable(a: Mapping[int, float], b: Mapping[int, float]) -> bool:
    """Whether two variants have enough seeds in common for a test."""
    return len(a.keys() & b.keys()) >= FEWEST_SEEDS


def shared_ranks(values: Sequence[Mapping[int, float]], better: str) -> list[int | None] | None:
    """Competition ranks (1, 2, 2, 4): variants share a rank if the seeds show no difference.

    Variants are ranked in the order of their means. A variant that does not differ from the best variant of the
    preceding group shares that group's rank. Otherwise it begins a new group, and its position is its rank. Groups with
    whose best variant it has too few seeds in common for a test are skipped, and groups without a rank if another is
    left. If there is no other group, it begins a group without a rank (None).

    ``values``: seed -> value for each variant; ``better`` is "higher" or "lower". Returns None if no two variants have
    ``FEWEST_SEEDS`` seeds in common, because no difference can be tested then.
    """
    if not _some_pair_shares_seeds(values):
        return None
    sign = -1 if better == "higher" else 1
    means = [float(np.mean(list(by_seed.values()))) for by_seed in values]
    ranks: list[int | None] = [1] * len(values)
    best_of_groups: list[int] = []
    for place, i in enumerate(sorted(range(len(values)), key=lambda i: sign * means[i]), 1):
        preceding = [j for j in reversed(best_of_groups) if testable(values[j], values[i])]
        best = min(preceding, key=lambda j: ranks[j] is None, default=None)
        if best is not None and not differ(values[best], values[i]):
            ranks[i] = ranks[best]
        else:
            ranks[i] = None if best is None and best_of_groups else place
            best_of_groups.append(i)
    return ranks


def _some_pair_shares_seeds(values: Sequence[Mapping[int, float]]) -> bool:
    """Whether any two have ``FEWEST_SEEDS`` seeds in common.

    Most variants have the same seeds, so only distinct sets of seeds are compared.
    """
    counts = Counter(frozenset(by_seed) for by_seed in values)
    if any(len(seeds) >= FEWEST_SEEDS and count > 1 for seeds, count in counts.items()):
        return True
    return any(len(one & other) >= FEWEST_SEEDS for one, other in combinations(counts, 2))

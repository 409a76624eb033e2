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

"""Learning-rate schedules, which are pure functions of progress."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

# Burda et al. (2016), section 5: 3^i epochs at 10^(-i/7) times the initial learning rate, i = 0 .. 7.
_BURDA_STAGES = [3**i for i in range(8)]
_BURDA_ENDS = [end / sum(_BURDA_STAGES) for end in accumulate(_BURDA_STAGES)]


def learning_rate_factor(
    schedule: str, progress: float, warmup: float = 0.0, milestones: Sequence[float] = (), gamma: float = 1.0
) -> float:
    """The factor of the learning rate at ``progress`` in [0, 1).

    ``schedule``: "constant"; "cosine", half a period from 1 to 0; "burda", the eight stages of Burda et al. (2016),
    scaled to the budget; "multi_step", ``gamma`` to the power of the number of ``milestones`` reached, where milestones
    are increasing values of progress. During the first fraction ``warmup`` of the budget, the factor is also multiplied
    by a linear rise from 0 to 1.
    """
    rise = min(1.0, progress / warmup) if warmup > 0 else 1.0
    if schedule == "constant":
        return rise
    if schedule == "cosine":
        return rise * 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "burda":
        stage = min(bisect_right(_BURDA_ENDS, progress), len(_BURDA_STAGES) - 1)
        return rise * 10 ** (-stage / 7)
    if schedule == "multi_step":
        return rise * gamma ** bisect_right(milestones, progress)
    raise ValueError(f"unknown schedule {schedule!r}")

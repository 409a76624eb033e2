"""How well a score separates outliers from test images. Every score is higher for what looks more like an outlier."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.stats import rankdata
from torch import Tensor

# Maximum number of points of an ROC curve that is written to a file.
POINTS = 100


def squared_errors(x: Tensor, reconstructions: Tensor) -> Tensor:
    """Squared error of each image (n,), summed over pixel channels, float64."""
    return (x - reconstructions).double().square().flatten(1).sum(1)


def auroc(inside: Tensor, outliers: Tensor) -> float:
    """Area under the ROC curve (see :func:`roc`), from the scores ``inside`` (n,) of images and ``outliers`` (m,).

    It equals the fraction of pairs of an image and an outlier in which the outlier has the higher score. A tie counts
    one half. The result is NaN if any score is NaN.
    """
    n, m = len(inside), len(outliers)
    # The Mann-Whitney U statistic from ranks. Equal scores have their mean rank.
    ranks = rankdata(torch.cat([inside, outliers]).cpu().double().numpy())[n:]
    return float((ranks.sum() - m * (m + 1) / 2) / (n * m))


def roc(inside: Tensor, outliers: Tensor) -> Tensor:
    """ROC curve (k, 2) of false-positive and true-positive rates at decreasing thresholds, from (0, 0) to (1, 1).

    The points are the corners of the curve, or an evenly spaced subset if there are more than :data:`POINTS`. Scores
    may be infinite, but not NaN.
    """
    scores = torch.cat([inside, outliers]).cpu().double()
    is_outlier = torch.cat([torch.zeros(len(inside)), torch.ones(len(outliers))]).double()
    order = scores.argsort(descending=True, stable=True)
    scores, is_outlier = scores[order], is_outlier[order]
    # Images with equal scores pass a threshold together.
    last = torch.cat([scores[1:] != scores[:-1], torch.tensor([True])])
    true, false = is_outlier.cumsum(0)[last], (1 - is_outlier).cumsum(0)[last]
    start = torch.zeros(1, dtype=torch.double)
    counts = torch.stack([torch.cat([start, false]), torch.cat([start, true])], dim=1)
    steps = counts.diff(dim=0)
    turns = steps[1:, 0] * steps[:-1, 1] != steps[1:, 1] * steps[:-1, 0]
    end = torch.tensor([True])
    corners = counts[torch.cat([end, turns, end])]
    if len(corners) > POINTS:
        corners = corners[torch.linspace(0, len(corners) - 1, POINTS).round().long()]
    return corners / torch.tensor([len(inside), len(outliers)])


def curve_table(curves: Sequence[tuple[str, str, Tensor]]) -> str:
    """CSV text of curves from :func:`roc`, each given as (setting, score, curve)."""
    lines = ["setting,score,false_positive_rate,true_positive_rate"]
    for setting, score, points in curves:
        lines += [f"{setting},{score},{false:.4f},{true:.4f}" for false, true in points.tolist()]
    return "\n".join(lines) + "\n"

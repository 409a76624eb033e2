"""Scores from sets of images in which one factor has one value and the others vary: those of beta-VAE and FactorVAE."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks.evaluation.disentanglement.prediction import Part

# Images, or pairs of them, in which a factor is held, as in Locatello et al. (2019), appendix C; and how many such sets
# a classifier is fitted on, half of theirs, and scored on, as many.
HELD = 64
SETS = 5000


class Sets:
    """Draws of images of a :class:`Part` that share the value of one factor."""

    def __init__(self, values: np.ndarray, random: np.random.RandomState) -> None:
        self.values, self.random = values, random
        self._order = np.argsort(values, axis=0, kind="stable")
        counts = [np.bincount(column) for column in values.T]
        self._sizes = counts
        self._starts = [np.concatenate([[0], np.cumsum(count)[:-1]]) for count in counts]

    def draw(self, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Which factor is held (count,), any with the same probability, and rows (count, size) of images with one value
        of it: that of an image drawn at random."""
        factors = self.random.randint(0, self.values.shape[1], count)
        rows = np.empty((count, size), np.int64)
        for k in range(self.values.shape[1]):
            own = np.flatnonzero(factors == k)
            value = self.values[self.random.randint(0, len(self.values), len(own)), k]
            places = self.random.random_sample((len(own), size)) * self._sizes[k][value][:, None]
            rows[own] = self._order[self._starts[k][value][:, None] + places.astype(np.int64), k]
        return factors, rows


def beta_vae_score(fitted: Part, scored: Part, random: np.random.RandomState) -> float:
    """The score of Higgins et al. (2017, section 3): the accuracy of a linear classifier that tells which factor is
    equal in pairs of images from

        1/L sum_l |z(x_1l) - z(x_2l)|

    over the dimensions. Chance is one over the number of factors, and a rotated code can score nearly as high as a
    perfect one.

    References:
        Higgins et al., *beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework*, ICLR 2017.
        https://openreview.net/forum?id=Sy2fzU9gl

    Deviations:
        1. Both images of a pair are drawn among those with one value of the factor: the others vary as they do there.
        2. A logistic regression on standardised differences.
    """

    def differences(part: Part) -> tuple[np.ndarray, np.ndarray]:
        factors, rows = Sets(part.values, random).draw(SETS, 2 * HELD)
        found = [np.abs(part.codes[some[:, :HELD]] - part.codes[some[:, HELD:]]).mean(1) for some in np.split(rows, 10)]
        return np.concatenate(found), factors

    if fitted.values.shape[1] == 1:
        return 1.0
    (inputs, factors), (others, truth) = differences(fitted), differences(scored)
    scaler = StandardScaler().fit(inputs)
    classifier = LogisticRegression(max_iter=300, tol=1e-3).fit(scaler.transform(inputs), factors)
    return float(classifier.score(scaler.transform(others), truth))


def factor_vae_score(fitted: Part, scored: Part, random: np.random.RandomState) -> float:
    """The score of Kim & Mnih (2018, section 4): with one factor held, the dimension that varies least, divided by its
    standard deviation over all images, votes for that factor; the accuracy of the majority of votes of each dimension,
    on other images than those they are counted on. Chance is one over the number of factors.

    References:
        Kim & Mnih, *Disentangling by Factorising*, ICML 2018. https://arxiv.org/abs/1802.05983
    """
    scale = fitted.codes.std(0)

    def votes(part: Part) -> np.ndarray:
        codes, count = part.codes / scale, part.values.shape[1]
        factors, rows = Sets(part.values, random).draw(SETS, HELD)
        least = np.concatenate([codes[some].var(1).argmin(1) for some in np.split(rows, 10)])
        return np.bincount(least * count + factors, minlength=codes.shape[1] * count).reshape(-1, count)

    majority, counts = votes(fitted).argmax(1), votes(scored)
    return float(counts[np.arange(len(counts)), majority].sum() / counts.sum())

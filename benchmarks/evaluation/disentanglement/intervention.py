"""Scores from sets of images in which one factor is fixed and the others vary: the beta-VAE and FactorVAE scores."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks.evaluation.disentanglement.prediction import Part

# Number of images, or of pairs of images, in a set with one factor fixed, as in Locatello et al. (2019), appendix C.
HELD = 64
# Number of such sets that a classifier is fitted on, half as many as there, and number of sets that it is scored on.
SETS = 5000


class Sets:
    """Draws sets of images of a :class:`Part` that share the value of one factor."""

    def __init__(self, values: np.ndarray, random: np.random.RandomState) -> None:
        self.values, self.random = values, random
        self._order = np.argsort(values, axis=0, kind="stable")
        counts = [np.bincount(column) for column in values.T]
        self._sizes = counts
        self._starts = [np.concatenate([[0], np.cumsum(count)[:-1]]) for count in counts]

    def draw(self, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw ``count`` fixed factors (count,), uniformly, and rows (count, size) of images that share their values.

        The value of a fixed factor is that of an image drawn at random.
        """
        factors = self.random.randint(0, self.values.shape[1], count)
        rows = np.empty((count, size), np.int64)
        for k in range(self.values.shape[1]):
            own = np.flatnonzero(factors == k)
            value = self.values[self.random.randint(0, len(self.values), len(own)), k]
            places = self.random.random_sample((len(own), size)) * self._sizes[k][value][:, None]
            rows[own] = self._order[self._starts[k][value][:, None] + places.astype(np.int64), k]
        return factors, rows


def beta_vae_score(fitted: Part, scored: Part, random: np.random.RandomState) -> float:
    """The beta-VAE score of Higgins et al. (2017, section 3).

    It is the accuracy of a linear classifier that predicts which factor is equal in L pairs of images from the vector

        1/L sum_l |z(x_1l) - z(x_2l)|

    Chance level is one over the number of factors. A rotated code can score nearly as high as a perfect one.

    References:
        Higgins et al., *beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework*, ICLR 2017.
        https://openreview.net/forum?id=Sy2fzU9gl

    Deviations:
        1. The images of all pairs in a set are drawn from those with one value of the factor, so the other factors vary
           as they do among these images.
        2. The classifier is a logistic regression on standardised differences.
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
    """The FactorVAE score of Kim & Mnih (2018, section 4).

    In each set of images with one factor fixed, the dimension with the smallest variance votes for that factor; each
    dimension is first divided by its standard deviation over all images. The majority vote of each dimension is found
    on the images ``fitted``. The score is its accuracy on the images ``scored``. Chance level is one over the number of
    factors.

    References:
        Kim & Mnih, *Disentangling by Factorising*, ICML 2018. https://arxiv.org/abs/1802.05983
    """
    scale = fitted.codes.std(0)
    # A dimension that does not vary among these images has no scale. It can be in use all the same, if it varies among
    # the others.
    varies = scale > 0
    if not varies.any():
        return 1 / fitted.values.shape[1]

    def votes(part: Part) -> np.ndarray:
        codes, count = part.codes[:, varies] / scale[varies], part.values.shape[1]
        factors, rows = Sets(part.values, random).draw(SETS, HELD)
        least = np.concatenate([codes[some].var(1).argmin(1) for some in np.split(rows, 10)])
        return np.bincount(least * count + factors, minlength=codes.shape[1] * count).reshape(-1, count)

    majority, counts = votes(fitted).argmax(1), votes(scored)
    return float(counts[np.arange(len(counts)), majority].sum() / counts.sum())

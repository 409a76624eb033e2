"""A model that the tests of the library share, and the images it was trained on."""

import pytest
from sklearn.datasets import load_digits

from benchmarks import fit

COUNT = 200


@pytest.fixture(scope="session")
def digits():
    """Images (n, 8, 8) as floats in [0, 1], and their labels, as scikit-learn gives them."""
    found = load_digits()
    return found.images[:COUNT] / 16, found.target[:COUNT]


@pytest.fixture(scope="session")
def images(digits):
    return digits[0]


@pytest.fixture(scope="session")
def labels(digits):
    return digits[1]


@pytest.fixture(scope="session")
def trained(images, labels):
    """A function that trains a variant on the images, once for given options. Tests must not modify its result."""
    made = {}

    def train(variant="vae", **options):
        options = {"epochs": 2, "latent_size": 2, "network.hidden": [16], "progress": False} | options
        key = (variant, repr(options))
        if key not in made:
            made[key] = fit(variant, images, labels, **options)
        return made[key]

    return train


@pytest.fixture(scope="session")
def run(trained):
    return trained(observation="bernoulli")

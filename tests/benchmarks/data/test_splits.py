"""A data set without splits: every image is used for training and for testing."""

from pathlib import Path

import pytest
import torch

from benchmarks.config import compose
from benchmarks.data import load
from benchmarks.errors import UserError


def digits(*overrides):
    return load(compose("ae", "digits", "smoke", 0, overrides).dataset, Path("unused"))


def test_without_splits_every_image_is_in_each_of_them_once():
    split, whole = digits(), digits("dataset.no_split=true")
    parts = (split.train, split.validation, split.test)
    for part in (whole.train, whole.validation, whole.test):
        assert torch.equal(part.images, torch.cat([one.images for one in parts]))
        assert torch.equal(part.labels, torch.cat([one.labels for one in parts]))
    assert split.sha256 != whole.sha256
    assert whole.title.endswith("all images trained on and tested on")


def test_training_on_validation_images_too_has_no_effect_beside_it():
    with pytest.raises(UserError, match=r"train_on_validation has no effect with dataset\.no_split=true"):
        compose("ae", "mnist", "smoke", 0, ["dataset.no_split=true", "dataset.train_on_validation=true"])

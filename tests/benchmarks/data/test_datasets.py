"""Data sets: splits, shapes, and configurations that are refused."""

import os
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from benchmarks.config import choices, compose
from benchmarks.data import DatasetConfig, load
from benchmarks.data.dataset import SOURCE_OPTIONS
from benchmarks.data.loading import LOADERS
from benchmarks.data.readers.idx_images import FASHION_MNIST_SHA256, MNIST_SHA256, load_mnist
from benchmarks.errors import UserError


def config_of(name, *overrides):
    return compose("vae", name, "smoke", 0, overrides).dataset


def test_digits_are_split_once_and_for_all_without_overlap():
    data = load(config_of("digits"), Path("unused"))
    assert (len(data.train), len(data.validation), len(data.test)) == (1297, 200, 300)
    assert data.shape == (1, 8, 8)
    everything = torch.cat([split.images for split in (data.train, data.validation, data.test)])
    # Rounding recovers each of the 17 levels: a byte is off by at most 0.5, which is less than half a level.
    levels = (everything.reshape(1797, 64).double() * 16 / 255).round().int().tolist()
    assert sorted(levels) == sorted(load_digits().data.astype(int).tolist())
    assert load(config_of("digits"), Path("unused")).sha256 == data.sha256


def test_training_on_validation_adds_its_images_and_keeps_the_test_images():
    apart = load(config_of("digits"), Path("unused"))
    joined = load(config_of("digits", "dataset.train_on_validation=true"), Path("unused"))
    assert torch.equal(joined.train.images, torch.cat([apart.train.images, apart.validation.images]))
    assert torch.equal(joined.train.labels, torch.cat([apart.train.labels, apart.validation.labels]))
    assert torch.equal(joined.validation.images, apart.validation.images)
    assert torch.equal(joined.test.images, apart.test.images)


def test_every_board_in_conf_has_a_loader_and_its_own_name():
    for name in choices("dataset"):
        config = config_of(name)
        assert config.name == name
        assert config.source in LOADERS
        assert config.title
    assert set(LOADERS) == set(SOURCE_OPTIONS)


def test_grey_pixels_are_refused_to_a_bernoulli_model_with_the_reason():
    with pytest.raises(ValueError, match="needs binary pixels"):
        DatasetConfig(observation="bernoulli", binarise="none")
    with pytest.raises(ValueError, match=r"needs dataset\.observation=bernoulli"):
        DatasetConfig(observation="discretised_logistic", binarise="dynamic")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset.source=mnits", "did you mean 'mnist'"),
        ("dataset.binarise=dinamic", "did you mean 'dynamic'"),
        ("dataset.observation=bernouli", "did you mean 'bernoulli'"),
        ("dataset.crop=140", "dataset.crop=140 has no effect with source 'mnist', only with celeba"),
        ("dataset.pat=x", "did you mean 'dataset.path'"),
        ("dataset.loss=cross_entropy", "the cross-entropy is the likelihood already"),
        ("dataset.output=linear", "output 'linear' needs an observation model with a scale, got 'bernoulli'"),
    ],
)
def test_an_impossible_option_is_refused_when_the_configuration_is_composed(override, message):
    with pytest.raises(UserError, match=message):
        config_of("mnist", override)


def test_a_source_that_does_not_exist_is_refused_by_the_loader():
    with pytest.raises(UserError, match=r"unknown dataset\.source ''"):
        load(DatasetConfig(observation="bernoulli", binarise="dynamic"), Path("unused"))


def test_a_damaged_mnist_file_is_refused_by_name_and_never_loaded(tmp_path, monkeypatch):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in MNIST_SHA256:
        (raw / name).write_bytes(b"\0\0\x08\x01\0\0\0\x01\x07")
    # Only the data root is searched: the test must not use the network.
    monkeypatch.setattr("benchmarks.data.readers.idx_images.torchvision_download", lambda name: dict)
    monkeypatch.setattr("benchmarks.data.readers.idx_images.mnist_wheel", dict)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.* damaged") as caught:
        load_mnist(config_of("mnist"), tmp_path)
    assert "t10k-labels-idx1-ubyte" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "folder", "digests"),
    [("mnist", "MNIST", MNIST_SHA256), ("fashion_mnist", "FashionMNIST", FASHION_MNIST_SHA256)],
)
def test_the_official_splits_are_complete(name, folder, digests):
    root = Path(os.environ.get("VAE_DATA_ROOT") or ".data")
    if not all((root / folder / "raw" / file).exists() for file in digests):
        pytest.skip(f"{name} is not under {root} (make data DATASETS={name}, or set VAE_DATA_ROOT)")
    data = load(config_of(name), root)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [50_000, 10_000, 10_000]
    assert data.shape == (1, 28, 28)
    assert data.train.labels.bincount().sum() == 50_000
    assert set(data.test.labels.tolist()) == set(range(10))
    if name == "mnist":
        # The first labels of the official files.
        assert data.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
        assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]

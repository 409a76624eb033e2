"""Resizing of images: the interpolation, and data sets with another image size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.config import compose
from benchmarks.data import load
from benchmarks.data.resizing import at_side, resized
from benchmarks.errors import UserError
from benchmarks.sweep.cell import run_cell
from tests.benchmarks.cells import configuration, digits, setting


@pytest.mark.parametrize("size", [(32, 32), (14, 14), (7, 21), (28, 28)])
def test_images_are_resized_as_by_pillow(size):
    images = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8)
    found = resized(images, size)
    assert found.shape == (5, 1, *size)
    assert found.dtype == torch.uint8
    for image, ours in zip(images[:, 0], found[:, 0], strict=True):
        theirs = Image.fromarray(image.numpy()).resize(size[::-1], Image.Resampling.BILINEAR)
        assert np.abs(np.asarray(theirs).astype(int) - ours.numpy().astype(int)).max() <= 1


def test_parts_of_a_large_set_are_resized_like_the_whole(monkeypatch):
    images = digits().test.images
    whole = resized(images, (12, 12))
    monkeypatch.setattr("benchmarks.data.resizing._AT_ONCE", 7)
    assert torch.equal(resized(images, (12, 12)), whole)


def test_a_resized_data_set_is_another_data_set_whose_title_says_so():
    plain, config = digits(), configuration("vae", 0, "dataset.image_size=12").dataset
    data = load(config, Path("unused"))
    assert data.shape == config.shape == (1, 12, 12)
    assert data.title == f"{plain.title}, resized to 12x12"
    assert data.sha256 != plain.sha256
    assert data.sha256 != at_side(plain, 13).sha256
    for split in ("train", "validation", "test"):
        assert torch.equal(getattr(data, split).images, resized(getattr(plain, split).images, (12, 12)))
        assert torch.equal(getattr(data, split).labels, getattr(plain, split).labels)


def test_images_that_have_the_size_already_stay_the_same_data_set():
    plain = digits()
    assert at_side(plain, 8) is plain


def test_a_size_is_resized_to_before_zeros_are_added():
    config = configuration("vae", 0, "dataset.image_size=12", "dataset.pad=16").dataset
    data = load(config, Path("unused"))
    assert data.shape == config.shape == (1, 16, 16)
    assert data.unpadded.shape == (1, 12, 12)


def test_a_class_that_is_left_out_is_resized_too():
    data = load(configuration("vae", 0, "dataset.image_size=12", "dataset.left_out=3").dataset, Path("unused"))
    assert data.left_out.images.shape[1:] == (1, 12, 12)


def test_a_size_that_no_image_can_have_is_refused_before_anything_is_loaded():
    with pytest.raises(UserError, match=r"dataset\.image_size must be between 4 and 1024, got 2"):
        compose("vae", "mnist", "smoke", 0, ["dataset.image_size=2"])


def test_a_run_on_resized_images_has_a_judge_of_its_own(tmp_path):
    config = configuration("vae", 0, "dataset.image_size=12")
    record = run_cell(config, load(config.dataset, Path("unused")), setting(tmp_path))
    assert record.status == "ok"
    assert record.details["data_title"].endswith("resized to 12x12")
    assert record.metrics["fid_features"] > 0

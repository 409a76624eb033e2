"""Values and shapes of images and labels: read as intended, or refused with the remedy."""

import numpy as np
import pytest
import torch

import variants
from benchmarks.config import TrainingConfig
from benchmarks.data import DatasetConfig, check_training_images
from benchmarks.data.values import as_images, as_labels
from benchmarks.errors import UserError
from benchmarks.training.loop import train

BYTES = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 5), dtype=np.uint8)
MASKS = BYTES % 2


@pytest.mark.parametrize(
    "array",
    [
        BYTES,
        BYTES.transpose(0, 2, 3, 1),
        np.asfortranarray(BYTES),
        BYTES.astype(np.int64),
        BYTES.astype(">i2"),
        BYTES.astype(np.float32),
        BYTES / 255,
        (BYTES / 255).astype(np.float32),
        (BYTES / 255).astype(np.float16),
    ],
    ids=["bytes", "channels last", "Fortran", "int64", "big-endian", "float bytes", "unit", "unit32", "unit16"],
)
def test_every_lossless_form_of_the_same_images_is_read_as_the_same_bytes(array):
    assert torch.equal(as_images(array, "x"), torch.from_numpy(BYTES))


@pytest.mark.parametrize("kind", [np.uint8, bool, np.int32, np.float32, np.float64])
def test_masks_of_zero_and_one_are_black_and_white_whatever_their_type(kind, caplog):
    found = as_images(MASKS.astype(kind), "x")
    assert torch.equal(found, torch.from_numpy(MASKS) * 255)
    # Integers do not show their range, so the interpretation is a guess, and a message says so.
    assert ("treated as masks" in caplog.text) == (kind in (np.uint8, np.int32))


def test_three_axes_are_grey_images():
    assert torch.equal(as_images(BYTES[:, 0], "x"), torch.from_numpy(BYTES[:, :1]))


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, np.float64])
def test_nearly_black_images_are_named_whatever_their_type(kind, caplog):
    as_images((BYTES // 16).astype(kind), "x")
    assert "no pixel is above 15 of 255" in caplog.text


def test_floats_in_the_unit_interval_may_be_nearly_black_but_are_no_masks(caplog):
    assert torch.equal(as_images(MASKS / 255, "x"), torch.from_numpy(MASKS))
    assert "no pixel is above 1 of 255" in caplog.text


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.random.default_rng(0).random((9, 4, 4)), r"not whole levels of 255; save .images \* 255.\.round"),
        (BYTES / 2 + 0.25, r"save images\.round"),
        (BYTES / 127.5 - 1, r"from -1 to 1; .*\(images \+ 1\) \* 127\.5"),
        (BYTES.astype(int) * 256, "int64 images with values from 0 to"),
        (BYTES.astype(np.int16) - 1, "int16 images with values from -1 to"),
        (np.where(BYTES == 7, np.nan, 1.0), "values that are NaN or infinite"),
        (BYTES.astype(complex), "complex128 images; expected bytes"),
        (BYTES.astype(str), "images; expected bytes"),
        (np.zeros_like(BYTES), "every pixel in x is 0"),
        (np.zeros(BYTES.shape), "every pixel in x is 0"),
        (np.zeros(BYTES.shape, bool), "every pixel in x is 0"),
        (np.zeros((20, 784), np.uint8), r"images.reshape\(-1, 28, 28\)"),
        (np.zeros((20, 8, 8, 4), np.uint8), "transparency"),
        (np.zeros((20, 2, 4, 4), np.uint8), r"shape \(20, 2, 4, 4\)"),
        (np.zeros((20, 3, 9, 1), np.uint8), "first or last"),
        (np.zeros((0, 4, 4), np.uint8), r"shape \(0, 4, 4\)"),
        (np.uint8(3), r"shape \(\)"),
    ],
)
def test_what_cannot_be_read_without_a_guess_is_refused_with_the_mend(array, message):
    with pytest.raises(UserError, match=message):
        as_images(np.asarray(array), "x")


CLASSES = np.arange(20) % 4


@pytest.mark.parametrize(
    "labels",
    [CLASSES, CLASSES[:, None], CLASSES.astype(np.uint8), CLASSES.astype(float), np.eye(4, dtype=int)[CLASSES]],
    ids=["(n,)", "(n, 1)", "bytes", "whole floats", "one-hot"],
)
def test_every_form_of_classes_gives_the_same_labels(labels):
    assert torch.equal(as_labels(labels, 20, "x"), torch.from_numpy(CLASSES))


def test_booleans_are_two_classes_or_attributes():
    assert as_labels(CLASSES > 1, 20, "x").tolist() == (CLASSES > 1).astype(int).tolist()
    attributes = np.stack([CLASSES > 1, CLASSES > 2], 1)
    assert as_labels(attributes, 20, "x").tolist() == attributes.astype(int).tolist()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full(20, 2**62), r"go up to 4611686018427387904, .*np\.unique"),
        (np.full(20, 2**64 - 1, np.uint64), "go up to 18446744073709551615"),
        (np.full(20, 20), "go up to 20, but there are 20 images"),
        (np.full(20, -1), "whole numbers from 0"),
        (np.where(CLASSES > 1, 1, -1), r"\(labels > 0\)\.astype\(int\)"),
        (np.full(20, 0.5), "whole numbers from 0"),
        (np.full(20, np.nan), "whole numbers from 0"),
        (np.array(["rose"] * 20), "whole numbers from 0"),
        (np.zeros((20, 2, 2), int), "whole numbers from 0"),
        (np.zeros((20, 0), int), "whole numbers from 0"),
        (np.full((20, 2), 7), "attributes of x go up to 7"),
        (np.zeros(19, int), "20 images and 19 labels"),
    ],
)
def test_labels_that_are_neither_classes_nor_attributes_are_refused(labels, message):
    with pytest.raises(UserError, match=message):
        as_labels(labels, 20, "x")


IMAGES = torch.from_numpy(BYTES)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES / 255, None, r"torch\.float32; .*\(images \* 255\)\.round\(\)\.to\(torch\.uint8\)"),
        (IMAGES > 9, None, r"torch\.bool; .*images\.to\(torch\.uint8\) \* 255"),
        (BYTES, None, "torch.from_numpy"),
        (IMAGES.permute(0, 2, 3, 1), None, r"images\.permute\(0, 3, 1, 2\)"),
        (IMAGES[:, :1], None, r"shape \(20, 1, 4, 5\); the variant was built for \(n, 3, 4, 5\)"),
        (IMAGES[:0], None, r"shape \(0, 3, 4, 5\)"),
        (IMAGES % 2, None, r"images \* 255"),
        (IMAGES, torch.zeros(19, dtype=torch.long), "20 training images and 19 labels"),
        (IMAGES, torch.zeros(20), r"labels\.long\(\)"),
        (IMAGES, torch.zeros(20, 1, dtype=torch.long), r"labels\.squeeze\(1\)"),
    ],
)
def test_tensors_that_training_would_misread_are_refused_with_the_mend(images, labels, message):
    with pytest.raises(UserError, match=message):
        check_training_images(images, labels, (3, 4, 5))


def test_grey_images_without_an_axis_of_channels_are_refused_with_the_mend():
    with pytest.raises(UserError, match=r"\(n, 1, 4, 5\): images\.unsqueeze\(1\)"):
        check_training_images(IMAGES[:, 0], None, (1, 4, 5))


def test_one_bright_pixel_among_many_masks_makes_them_images():
    images = torch.zeros(10_000, 1, 2, 2, dtype=torch.uint8)
    check_training_images(images, None, (1, 2, 2))
    images[-2, 0, 1, 1] = 1
    with pytest.raises(UserError, match="only the bytes 0 and 1"):
        check_training_images(images, None, (1, 2, 2))
    images[-1, 0, 1, 1] = 2
    check_training_images(images, None, (1, 2, 2))


def test_train_refuses_floats_before_the_first_step():
    model = variants.build("vae", image_shape=(1, 8, 8), network="mlp")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    data = DatasetConfig(observation="bernoulli", binarise="dynamic")
    with pytest.raises(UserError, match=r"training images are torch\.float32"):
        train(model, torch.rand(16, 1, 8, 8), data, TrainingConfig(epochs=1), seed=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

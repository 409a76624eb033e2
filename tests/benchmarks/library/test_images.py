"""Images and labels have the same meaning in every form in which a user may pass them."""

import logging

import numpy as np
import pytest
import torch

from benchmarks import load_images
from benchmarks.errors import UserError
from benchmarks.library.images import code_tensor, image_bytes, label_tensor, pixel_values, training_labels

BYTES = np.random.RandomState(0).randint(0, 256, (5, 3, 8, 6), dtype=np.uint8)
BYTES[0, 0, 0, :2] = 0, 255


@pytest.mark.parametrize(
    "same",
    [
        BYTES, BYTES.transpose(0, 2, 3, 1), BYTES / 255, (BYTES / 255).astype(np.float32), BYTES.astype(np.float64),
        BYTES.astype(np.int64), torch.tensor(BYTES), torch.tensor(BYTES).float() / 255,
        (torch.tensor(BYTES).float() / 255).requires_grad_(), BYTES / 255 + (BYTES < 255) * 0.4 / 255,
    ],
)  # fmt: skip
def test_one_image_is_the_same_bytes_in_every_form(same):
    assert torch.equal(image_bytes(same), torch.tensor(BYTES))


def test_half_precision_floats_are_rounded_to_the_nearest_level():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(image_bytes((levels.float() / 255).half()), levels)
    # bfloat16 has 8 significant bits: near white, its rounding error is half a level.
    found = image_bytes((levels.float() / 255).bfloat16()).int() - levels.int()
    assert found.abs().max() <= 1


def test_truth_values_masks_and_floats_of_0_and_1_are_black_and_white(caplog):
    mask = BYTES[:, 0] > 127
    white = torch.tensor(mask)[:, None] * 255
    for same in (mask, mask.astype(np.float32), torch.tensor(mask)):
        assert torch.equal(image_bytes(same), white.to(torch.uint8))
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert torch.equal(image_bytes(mask.astype(np.uint8)), white.to(torch.uint8))
    assert "treated as masks" in caplog.text


def test_dark_floats_are_dark_images_and_black_ones_black():
    assert int(image_bytes(np.full((2, 4, 4), 1 / 255)).max()) == 1
    for dtype in (float, np.uint8, bool, np.int64, np.uint16):
        assert not image_bytes(np.zeros((2, 4, 4), dtype=dtype)).any()


def test_codes_of_any_number_type_are_taken():
    codes = np.arange(6.0).reshape(3, 2)
    for dtype in (">f4", "<f8", ">i8", np.longdouble, np.int32):
        assert code_tensor(codes.astype(dtype)).tolist() == codes.tolist()


def test_what_a_decoder_returns_is_used_as_it_is_and_other_forms_as_bytes():
    returned = torch.randn(5, 3, 8, 6)
    assert torch.equal(pixel_values(returned), returned)
    torch.testing.assert_close(pixel_values(returned[0].numpy(), (3, 8, 6)), returned[:1])
    for same in (BYTES, BYTES.astype(np.float64), BYTES // 255, BYTES > 9):
        assert torch.equal(pixel_values(same), image_bytes(same).float() / 255)
    for wrong, message in ((returned * 100, "holds float32 images"), (returned * np.nan, "NaN")):
        with pytest.raises(UserError, match=message):
            pixel_values(wrong)
    with pytest.raises(UserError, match=r"\(n, 1, 8, 6\) is needed"):
        pixel_values(returned, (1, 8, 6))


def test_one_image_alone_is_a_batch_of_one_where_its_shape_is_known():
    assert image_bytes(BYTES[0], (3, 8, 6)).shape == (1, 3, 8, 6)
    assert image_bytes(BYTES[0, :1], (1, 8, 6)).shape == (1, 1, 8, 6)
    assert image_bytes(BYTES[0, 0], (1, 8, 6)).shape == (1, 1, 8, 6)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (BYTES, r"images have shape \(5, 3, 8, 6\); \(n, 1, 8, 6\) is needed"),
        (BYTES[:, 0, :4], r"images have shape \(5, 4, 6\); \(n, 1, 8, 6\) is needed"),
        (BYTES[:, 0] - 300.5, r"expected bytes 0\.\.255, or floats in \[0, 1\]"),
        (BYTES.astype(complex)[:, 0], r"holds complex128 images"),
        ("images", r"images are a str; a tensor or a NumPy array is needed"),
        (None, r"images are a NoneType"),
        (torch.tensor(BYTES[:, 0]).to_sparse(), r"images are a sparse tensor; a dense one is needed: \.to_dense\(\)"),
    ],
)
def test_other_shapes_and_values_are_refused(images, message):
    with pytest.raises(UserError, match=message):
        image_bytes(images, (1, 8, 6))


def test_labels_may_be_columns_truth_values_or_whole_floats():
    for same in ([2, 0], [[2], [0]], [2.0, 0.0]):
        assert label_tensor(np.array(same), 2).tolist() == [2, 0]
    assert label_tensor(torch.tensor([True, False]), 2).tolist() == [1, 0]
    assert label_tensor(np.array([[1, 0], [1, 1]]), 2).tolist() == [[1, 0], [1, 1]]
    for wrong in ([0.5, 1], [-1, 1], [1, 2, 3], [[[1]], [[2]]], [1, np.nan], [1, np.inf], [1, 10**12], ["1", "2"]):
        for convert in (label_tensor, training_labels):
            with pytest.raises(UserError, match="labels of images"):
                convert(np.array(wrong), 2)


def test_one_hot_rows_are_classes_as_in_a_file_and_other_rows_attributes():
    for convert in (label_tensor, training_labels):
        assert convert(np.array([[0, 0, 1], [1, 0, 0], [1, 0, 0]]), 3).tolist() == [2, 0, 0]
        assert convert(np.array([[0, 1, 1], [1, 0, 0]]), 2).tolist() == [[0, 1, 1], [1, 0, 0]]
        with pytest.raises(UserError, match="attributes of images go up to 2"):
            convert(np.array([[2, 0], [0, 1]]), 2)


def test_classes_of_training_images_are_fewer_than_the_images_and_of_others_within_their_limit():
    assert label_tensor(np.array([9, 3]), 2).tolist() == [9, 3]
    with pytest.raises(UserError, match="labels of train_images go up to 9, but there are 2 images"):
        training_labels(np.array([9, 3]), 2, "train_images")
    largest = np.array([1, 2**64 - 1], dtype=np.uint64)
    with pytest.raises(UserError, match="whole numbers from 0 to 24999, got 18446744073709551615"):
        label_tensor(largest, 2)
    with pytest.raises(UserError, match="go up to 18446744073709551615"):
        training_labels(largest, 2)
    with pytest.raises(UserError, match="labels of images must be whole numbers from 0 to 2, got 3"):
        label_tensor(np.array([0, 3]), 2, classes=3)


def test_images_of_a_data_set_are_those_of_its_split():
    train, labels = load_images("digits")
    assert (train.dtype, len(train)) == (torch.uint8, len(labels))
    test, _ = load_images("digits", "test")
    assert len(train) > len(test)
    with pytest.raises(UserError, match="unknown split 'tests'; did you mean 'test'"):
        load_images("digits", "tests")
    with pytest.raises(UserError, match="unknown data set 'digit'"):
        load_images("digit")

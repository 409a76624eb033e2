"""The conditions of conditional models, and when they are refused."""

import pytest
import torch

from benchmarks.config import compose
from benchmarks.data import (
    DatasetConfig,
    Split,
    batches,
    condition_shape,
    hide_given,
    missing,
    observe_condition,
    scored,
)
from benchmarks.data.dataset import Dataset
from benchmarks.errors import UserError
from benchmarks.sweep.cell import build
from benchmarks.training.steps.eager import Step


def data(labels, shape=(1, 4, 4)):
    images = torch.zeros(4, *shape, dtype=torch.uint8)
    split = Split(images, labels)
    return Dataset("flowers", "flowers", split, split, split, "0", 3)


def test_the_condition_label_is_the_class_as_a_one_hot_vector():
    config, labels = DatasetConfig(binarise="dynamic", condition="label"), torch.tensor([2, 0, 1, 0])
    shape = condition_shape(data(labels), config)
    assert shape == (3,)
    found = observe_condition(torch.zeros(4, 1, 4, 4), labels, config, shape)
    assert found.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert found.dtype == torch.float32


def test_without_a_condition_there_is_none():
    config = DatasetConfig(binarise="dynamic")
    assert condition_shape(data(torch.tensor([0, 1, 2, 0])), config) is None
    assert observe_condition(torch.zeros(4, 1, 4, 4), torch.tensor([0, 1, 2, 0]), config, None) is None


@pytest.mark.parametrize("labels", [None, torch.zeros(4, 40, dtype=torch.long)])
def test_a_condition_that_the_data_do_not_have_is_refused(labels):
    with pytest.raises(UserError, match=r"dataset\.condition=label needs one class label per image, but flowers has"):
        condition_shape(data(labels), DatasetConfig(binarise="dynamic", condition="label"))


def test_an_unknown_condition_is_refused_with_the_nearest_one():
    with pytest.raises(UserError, match="did you mean 'label'"):
        compose("vae", "digits", "smoke", 0, ["dataset.condition=labels"])


def test_a_condition_that_the_variant_ignores_is_refused():
    with pytest.raises(UserError, match=r"dataset\.condition=label has no effect on vae"):
        compose("vae", "digits", "smoke", 0, ["dataset.condition=label"])


def test_an_option_that_came_later_moves_no_run_id():
    config = compose("vae", "digits", "smoke", 0)
    assert "condition" not in config.resolved()["dataset"]
    assert config.run_id == "digits-vae-smoke-s0-621a4925"


def test_batches_keep_images_and_conditions_together():
    images, condition = torch.arange(5), torch.arange(5) * 10
    parts = list(batches(images, condition, 2))
    assert [part.tolist() for part, _ in parts] == [[0, 1], [2, 3], [4]]
    assert [given.tolist() for _, given in parts] == [[0, 10], [20, 30], [40]]
    assert [given for _, given in batches(images, None, 3)] == [None, None]


def quadrants(number):
    return DatasetConfig(binarise="dynamic", condition=f"quadrants-{number}")


@pytest.mark.parametrize(
    ("number", "given"),
    [
        (1, [[0, 0], [1, 0]]),
        (2, [[1, 0], [1, 0]]),
        (3, [[1, 1], [1, 0]]),
    ],
)
def test_quadrants_are_the_given_pixels_and_a_mask(number, given):
    config, x = quadrants(number), torch.rand(5, 3, 4, 6) + 0.1
    shape = condition_shape(data(None, (3, 4, 6)), config)
    assert shape == (4, 4, 6)
    found = observe_condition(x, None, config, shape)
    mask = torch.tensor(given).float().repeat_interleave(2, 0).repeat_interleave(3, 1)
    assert torch.equal(found[:, 3], mask.expand(5, -1, -1))
    assert torch.equal(found[:, :3], x * mask)


def test_what_is_given_what_is_missing_and_what_is_scored_agree():
    x = torch.rand(2, 3, 4, 4)
    for number, pixels in ((1, 12), (2, 8), (3, 4)):
        condition = observe_condition(x, None, quadrants(number), (4, 4, 4))
        assert missing(x, condition).sum().item() == 2 * pixels
        assert scored(x, condition) == 3 * pixels
        hidden = hide_given(x, condition)
        assert (hidden == 1).sum() == 2 * 3 * (16 - pixels)
        assert torch.equal(hidden[missing(x, condition).expand_as(x)], x[missing(x, condition).expand_as(x)])
    for unconditional in (None, torch.eye(3)[:2]):
        assert scored(x, unconditional) == 48
        assert torch.equal(hide_given(x, unconditional), x)


@pytest.mark.parametrize("shape", [(1, 5, 4), (1, 4, 7)])
def test_quadrants_of_images_with_an_odd_side_are_refused_when_they_are_loaded(shape):
    with pytest.raises(UserError, match=rf"needs images with even sides, but flowers has {shape[1]}x{shape[2]}"):
        condition_shape(data(None, shape), quadrants(2))


def test_quadrants_of_an_odd_image_size_are_refused_before_anything_is_loaded():
    with pytest.raises(UserError, match=r"dataset\.condition=quadrants-1 needs an even image_size, got 31"):
        compose("cvae", "celeba", "smoke", 0, ["dataset.condition=quadrants-1", "dataset.image_size=31"])


def test_a_training_batchs_condition_is_cut_out_of_the_very_draw_that_is_scored():
    config = compose("cvae", "digits", "smoke", 0, ["dataset.condition=quadrants-3", "dataset.binarise=dynamic",
                                                   "dataset.observation=bernoulli", "network.hidden=[4]"])  # fmt: skip
    images = torch.full((6, 1, 8, 8), 128, dtype=torch.uint8)
    variant = build(config, (1, 8, 8), (2, 8, 8))
    step = Step(variant, images, config.dataset, config.training, torch.device("cpu"))
    batch = step._batch(torch.arange(6))
    assert batch.condition.shape == (6, 2, 8, 8)
    assert 0 < batch.images.mean() < 1
    assert torch.equal(batch.condition[:, :1], batch.images * batch.condition[:, 1:])

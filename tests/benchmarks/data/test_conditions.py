"""What conditional models are given beside an image, and when that is refused."""

import pytest
import torch

from benchmarks.config import compose
from benchmarks.data import DatasetConfig, Split, batches, condition_shape, observe_condition
from benchmarks.data.dataset import Dataset
from benchmarks.errors import UserError


def data(labels):
    images = torch.zeros(4, 1, 4, 4, dtype=torch.uint8)
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
    with pytest.raises(UserError, match=r"dataset\.condition=label needs one class label an image, and flowers has"):
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

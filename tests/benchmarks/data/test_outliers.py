"""A class left out of training, images of another data set in this one's shape, and options that are refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.config import compose
from benchmarks.data import Dataset, Split, in_shape, load
from benchmarks.data.outliers import keep_only, leave_out
from benchmarks.data.readers import idx_images
from benchmarks.errors import UserError
from benchmarks.evaluation.judges.shipped import shipped

SPLITS = ("train", "validation", "test")


def digits(*overrides):
    return load(compose("vae", "digits", "smoke", 0, overrides).dataset, Path("unused"))


def flowers(train, test=None, classes=3):
    """A data set with these labels, in which all pixels of an image equal its (first) label."""

    def split(labels):
        values = torch.tensor(labels)
        images = values if values.dim() == 1 else values[:, 0]
        return Split(images.to(torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4), values)

    return Dataset("flowers", "Flowers", split(train), split(train), split(test or train), "0", classes)


def test_a_class_that_is_left_out_is_in_no_split_and_all_others_stay_in_their_order():
    whole, without = digits(), digits("dataset.left_out=3")
    for name in SPLITS:
        before, after = getattr(whole, name), getattr(without, name)
        others = before.labels != 3
        assert 0 < others.sum() < len(before)
        assert torch.equal(after.images, before.images[others])
        assert torch.equal(after.labels, before.labels[others])
    assert torch.equal(without.left_out.images, whole.test.images[whole.test.labels == 3])
    assert without.title == "scikit-learn digits, 8x8, binarised, without class 3"
    assert whole.left_out is None
    assert without.classes == whole.classes == 10


def test_only_normal_classes_are_in_a_split_and_all_others_are_outliers():
    whole, normal = digits(), digits("dataset.normal_classes=[0,3]")
    for name in SPLITS:
        before, after = getattr(whole, name), getattr(normal, name)
        inside = (before.labels == 0) | (before.labels == 3)
        assert torch.equal(after.images, before.images[inside])
        assert torch.equal(after.labels, before.labels[inside])
    others = (whole.test.labels != 0) & (whole.test.labels != 3)
    assert torch.equal(normal.left_out.images, whole.test.images[others])
    assert normal.title == "scikit-learn digits, 8x8, binarised, classes 0, 3 only"
    assert len({whole.sha256, normal.sha256, digits("dataset.normal_classes=[0]").sha256}) == 3


def test_all_classes_but_one_are_what_leaving_out_that_one_leaves():
    three = flowers([0, 1, 2, 1, 0, 2])
    one_way, other_way = leave_out(three, 1), keep_only(three, [0, 2])
    assert torch.equal(one_way.train.images, other_way.train.images)
    assert torch.equal(one_way.left_out.images, other_way.left_out.images)


@pytest.mark.parametrize(
    ("data", "normal", "message"),
    [
        (flowers([0, 1, 2]), [3], r"dataset\.normal_classes=\[3\] is not a class of flowers: its classes are 0 to 2"),
        (flowers([0, 0], [0, 1]), [1], r"normal_classes=\[1\]: flowers has no training images of that class"),
        (flowers([0, 1, 2]), [0, 1, 2], r"normal_classes=\[0,1,2\] leaves out nothing of flowers"),
    ],
)
def test_normal_classes_that_cannot_be_are_refused_in_one_line(data, normal, message):
    with pytest.raises(UserError, match=message) as caught:
        keep_only(data, normal)
    assert "\n" not in str(caught.value)


def test_no_split_depends_on_the_images_that_are_left_out():
    whole, without = digits(), digits("dataset.left_out=3")
    noise = {}
    for name in SPLITS:
        split = getattr(whole, name)
        images = split.images.clone()
        images[split.labels == 3] = torch.randint(256, (8, 8), dtype=torch.uint8)
        noise[name] = Split(images, split.labels)
    altered = leave_out(replace(whole, **noise), 3)
    for name in SPLITS:
        assert torch.equal(getattr(altered, name).images, getattr(without, name).images)
    assert not torch.equal(altered.left_out.images, without.left_out.images)


def test_nothing_made_from_all_classes_serves_data_without_one():
    digests = [digits(*left_out).sha256 for left_out in ((), ("dataset.left_out=3",), ("dataset.left_out=4",))]
    assert len(set(digests)) == 3
    for role in ("judge", "teacher"):
        assert shipped(role, digests[0])
        assert not any(shipped(role, digest) for digest in digests[1:])


@pytest.mark.parametrize(
    ("data", "left_out", "message"),
    [
        (flowers([0, 1, 2]), 3, r"dataset\.left_out=3 is not a class of flowers: its classes are 0 to 2"),
        (flowers([0, 0], [0, 1]), 1, r"dataset\.left_out=1: flowers has no training images of that class"),
        (flowers([0, 1], [0, 0]), 1, r"dataset\.left_out=1: flowers has no test images of that class"),
        (flowers([1, 1], [0, 1]), 1, r"dataset\.left_out=1 leaves flowers without training images"),
        (flowers([[0, 1]]), 1, "needs one class label per image, but flowers has several labels per image"),
    ],
)
def test_a_class_that_cannot_be_left_out_is_refused_in_one_line(data, left_out, message):
    with pytest.raises(UserError, match=message) as caught:
        leave_out(data, left_out)
    assert "\n" not in str(caught.value)


def test_data_without_labels_have_no_class_to_leave_out():
    images = Split(torch.zeros(4, 1, 4, 4, dtype=torch.uint8), None)
    with pytest.raises(UserError, match="needs one class label per image, but plain has no labels"):
        leave_out(Dataset("plain", "Plain", images, images, images, "0"), 0)


@pytest.mark.parametrize(
    ("dataset", "override", "message"),
    [
        ("mnist", "dataset.left_out=10", r"dataset\.left_out=10 is not a class of mnist: its classes are 0 to 9"),
        ("digits", "dataset.left_out=-1", r"dataset\.left_out must be 0 or above, got -1"),
        ("digits", "dataset.left_out=three", r"dataset\.left_out must be a whole number or null, got 'three'"),
        ("mnist", "dataset.normal_classes=[10]", r"dataset\.normal_classes=10 is not a class of mnist"),
        ("digits", "dataset.normal_classes=[1,0]", r"must be one or more classes in rising order, got \[1, 0\]"),
        ("digits", "dataset.normal_classes=[]", r"must be one or more classes in rising order, got \[\]"),
        (
            "digits",
            "dataset.normal_classes=[0,1,2,3,4,5,6,7,8,9]",
            "leaves out nothing: these are all classes of digits",
        ),
        ("digits", "dataset.normal_classes=0", r"dataset\.normal_classes must be a list of whole numbers"),
        ("celeba", "dataset.left_out=0", r"dataset\.left_out=0 needs classes, but celeba has attributes"),
        ("digits", "dataset.outliers=minst", r"unknown dataset\.outliers 'minst'; did you mean 'mnist'"),
        ("mnist", "dataset.outliers=mnist_grey", r"dataset\.outliers=mnist_grey has the same images as mnist"),
    ],
)
def test_an_option_that_cannot_be_is_refused_when_the_configuration_is_composed(dataset, override, message):
    with pytest.raises(UserError, match=message):
        compose("vae", dataset, "smoke", 0, [override])


def test_outliers_of_conditional_models_are_refused_since_they_would_be_ignored():
    with pytest.raises(UserError, match=r"dataset\.outliers must stay default, got mnist: images given a condition"):
        compose("cvae", "digits", "smoke", 0, ["dataset.condition=label", "dataset.outliers=mnist"])


def test_only_options_that_are_set_move_the_run_id():
    assert compose("vae", "digits", "smoke", 0).run_id == "digits-vae-smoke-s0-621a4925"
    moved = {
        compose("vae", "digits", "smoke", 0, [override]).run_id
        for override in ("dataset.outliers=none", "dataset.outliers=fashion_mnist", "dataset.left_out=0")
    }
    assert len(moved) == 3
    assert "digits-vae-smoke-s0-621a4925" not in moved


@pytest.mark.parametrize(
    ("dataset", "other"),
    [("mnist", "fashion_mnist"), ("mnist_grey", "fashion_mnist"), ("fashion_mnist", "mnist"),
     ("fashion_mnist_binary", "mnist"), ("celeba", "fashion_mnist"), ("digits", "mnist")],
)  # fmt: skip
def test_every_data_set_of_the_suite_has_another_by_default(dataset, other):
    assert compose("vae", dataset, "smoke", 0).dataset.outlier_name == other
    assert compose("vae", dataset, "smoke", 0, ["dataset.outliers=none"]).dataset.outlier_name is None


def test_images_take_the_shape_of_another_data_set():
    grey = torch.randint(256, (5, 1, 28, 28), dtype=torch.uint8)
    assert torch.equal(in_shape(grey, (1, 28, 28)), grey)
    small = in_shape(grey, (3, 8, 8))
    assert small.shape == (5, 3, 8, 8)
    assert small.dtype == torch.uint8
    assert torch.equal(small[:, 0], small[:, 2])
    # Resizing is antialiased: a fine grid becomes its mean and does not lose every other line.
    grid = (torch.arange(32) % 2 * 200).to(torch.uint8).expand(1, 1, 32, 32)
    assert (in_shape(grid, (1, 8, 8)).int() - 100).abs()[..., 1:-1].max() <= 1
    flat = torch.full((1, 1, 28, 28), 77, dtype=torch.uint8)
    assert (in_shape(flat, (3, 64, 64)) == 77).all()
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [9, 9, 9]], dtype=torch.uint8)[:, :, None, None]
    assert in_shape(colours.expand(-1, -1, 4, 4), (1, 4, 4))[:, 0, 0, 0].tolist() == [76, 150, 9]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_without_download_nothing_is_fetched_and_no_folder_made(name, tmp_path, monkeypatch):
    def fetched(*names):
        raise AssertionError("fetched")

    for source in ("torchvision_download", "mnist_wheel", "fashion_mnist_package"):
        monkeypatch.setattr(idx_images, source, (lambda name: fetched) if source == "torchvision_download" else fetched)
    config = compose("vae", name, "smoke", 0).dataset
    with pytest.raises(UserError, match="Could not obtain"):
        load(config, tmp_path, download=False)
    assert not list(tmp_path.iterdir())
    # By default, the same call tries every source.
    with pytest.raises(UserError, match="fetched"):
        load(config, tmp_path)

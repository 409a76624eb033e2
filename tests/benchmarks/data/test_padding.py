"""Zero padding of images: its position, what includes it and what excludes it."""

from pathlib import Path

import pytest
import torch

from benchmarks.config import compose
from benchmarks.data import DatasetConfig, cropped, load, observe_evaluation, scored
from benchmarks.data.padding import padded
from benchmarks.environment import threads
from benchmarks.errors import UserError
from benchmarks.evaluation.features.spaces import judge_space
from benchmarks.sweep import runner
from benchmarks.sweep.cell import build
from benchmarks.sweep.locks import LockedError
from benchmarks.sweep.outliers import outlier_sets
from tests.benchmarks.cells import CPU, configuration, digits, setting

GREY = ("dataset.observation=discretised_logistic", "dataset.binarise=none")


@pytest.mark.parametrize(("side", "before", "after"), [(12, 2, 2), (11, 1, 2), (8, 0, 0)])
def test_padded_pixels_are_zeros_and_the_others_stay_as_they_were(side, before, after):
    plain = digits()
    data = padded(plain, side)
    assert data.shape == (1, side, side)
    for split in ("train", "validation", "test"):
        images, inside = getattr(data, split).images, getattr(plain, split).images
        assert images.dtype == torch.uint8
        assert torch.equal(images[..., before : side - after, before : side - after], inside)
        assert images.sum(dtype=torch.int64) == inside.sum(dtype=torch.int64)
        assert torch.equal(cropped(images, 8, 8), inside)
        assert torch.equal(getattr(data, split).labels, getattr(plain, split).labels)


def test_padded_data_are_other_data_and_know_what_they_were():
    plain = digits()
    data = load(configuration("vae", 0, "dataset.pad=12").dataset, Path("unused"))
    assert data.shape == (1, 12, 12)
    assert data.unpadded.sha256 == plain.sha256 != data.sha256
    assert padded(plain, 12).sha256 == data.sha256 != padded(plain, 13).sha256
    assert configuration("vae", 0, "dataset.pad=12").dataset.shape == (1, 12, 12)
    assert "pad" not in configuration().resolved()["dataset"]


def test_a_class_that_is_left_out_has_zeros_around_its_images_too():
    config = configuration("vae", 0, "dataset.pad=12", "dataset.left_out=3").dataset
    data = load(config, Path("unused"))
    assert data.left_out.images.shape[1:] == (1, 12, 12)
    assert torch.equal(cropped(data.left_out.images, 8, 8), data.unpadded.left_out.images)
    assert 3 not in data.train.labels
    found = outlier_sets(config, data, Path("unused"), CPU)["class"]
    assert torch.equal((found.x * 255).round().byte() > 0, observe_evaluation(data.left_out.images, config) > 0)


def test_outliers_of_another_data_set_have_zeros_where_these_images_have_them(monkeypatch):
    other = load(DatasetConfig(name="digits", source="digits", observation="discretised_logistic"), Path("unused"))
    monkeypatch.setattr("benchmarks.sweep.outliers.load", lambda *arguments, **options: other)
    config = configuration("vae", 0, *GREY, "dataset.pad=12").dataset
    found = outlier_sets(config, padded(digits(), 12), Path("unused"), CPU)["dataset"]
    assert found.x.shape[1:] == (1, 12, 12)
    inside = cropped(found.x, 8, 8)
    assert torch.equal((inside * 255).round().byte(), other.test.images[: len(inside)])
    assert found.x.sum().item() == pytest.approx(inside.sum().item(), rel=1e-5)


def test_the_data_set_s_own_judge_sees_the_images_without_the_zeros(tmp_path):
    plain, data = digits(), padded(digits(), 12)
    first, second = (judge_space(of, tmp_path, CPU, 20) for of in (plain, data))
    assert first.facts["judge_digest"] == second.facts["judge_digest"]
    assert torch.equal(first.reference, second.reference)
    noise = torch.rand(5, 1, 12, 12)
    assert torch.equal(second(noise), first(cropped(noise, 8, 8)))


def test_likelihoods_and_bits_per_dimension_count_padded_pixels():
    config = configuration("vae", 0, *GREY, "dataset.pad=10")
    data = load(config.dataset, Path("unused"))
    model = build(config, data.shape)
    x = observe_evaluation(data.test.images, config.dataset, 5)
    assert scored(x, None) == 100
    z = torch.zeros(5, 4)
    before = model.likelihood(z).log_prob(x)
    # The model now shows white in a corner that is zero in every image.
    model.decoder[-2].bias.data[0] += 20
    assert (model.likelihood(z).log_prob(x) < before - 1).all()


def test_images_that_are_larger_are_refused():
    with pytest.raises(UserError, match=r"dataset\.pad must be between 28 and 1024, got 20"):
        compose("vae", "mnist", "smoke", 0, ["dataset.pad=20"])
    with pytest.raises(UserError, match=r"dataset\.pad=6 is smaller than the images of digits, 8x8"):
        padded(digits(), 6)
    with pytest.raises(UserError, match=r"dataset\.condition=quadrants-1 needs an even pad, got 33"):
        compose("cvae", "mnist", "smoke", 0, ["dataset.condition=quadrants-1", "dataset.pad=33"])


def test_cells_of_one_data_set_with_other_images_each_get_their_own(tmp_path, monkeypatch):
    """The runs share a process, which loads images once for all runs with the same images."""
    seen = {}

    def look(config, setting, load, retry):
        seen[config.run_id] = load()
        raise LockedError("only looked at")

    monkeypatch.setattr(runner, "run_once", look)
    cells = [
        configuration(), configuration("iwae"), configuration("vae", 0, *GREY),
        configuration("vae", 0, "dataset.pad=12"), configuration("vae", 0, "dataset.train_on_validation=true"),
    ]  # fmt: skip
    with threads(1):
        runner.run(cells, setting(tmp_path), jobs=1)
    plain, other, observed, larger, more = (seen[cell.run_id] for cell in cells)
    assert plain is other is observed
    assert larger.shape == (1, 12, 12)
    assert len(more.train) == len(plain.train) + len(plain.validation)


def test_how_images_are_observed_does_not_decide_which_are_loaded():
    plain = DatasetConfig(name="mine", source="digits", binarise="dynamic")
    assert plain.images == DatasetConfig(name="mine", source="digits", binarise="fixed", title="Mine").images
    assert plain.images != DatasetConfig(name="mine", source="digits", binarise="dynamic", pad=12).images

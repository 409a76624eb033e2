"""The outliers of a run: their sources, their AUROCs, and that their errors do not affect other metrics."""

import numpy as np
import pytest
import torch

from benchmarks.config import compose
from benchmarks.data import load, observe_evaluation
from benchmarks.errors import UserError
from benchmarks.records.record import read_missing_data, write_missing_data
from benchmarks.reporting import write_reports
from benchmarks.sweep import cell, launchers, outliers, runner
from benchmarks.sweep.cell import run_cell, run_once
from benchmarks.sweep.fetch import fetch
from benchmarks.sweep.outliers import download_outliers, outlier_sets

from ..cells import CPU, configuration, digits, run, setting

OF_DATASET = [f"outliers_dataset_auroc_{score}" for score in ("mse", "elbo", "log_likelihood")]
OF_CLASS = [name.replace("dataset", "class") for name in OF_DATASET]


@pytest.fixture
def of_user(tmp_path, monkeypatch):
    """A function that adds a user's own data set: of a file with images in ``tmp_path``, with one more option."""

    def add(name, file, option):
        folder = tmp_path / "conf" / "dataset"
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(
            f"name: {name}\nsource: array\npath: {tmp_path / file}\ntitle: {name}\n{option}\n"
            "observation: discretised_logistic\n"
        )
        monkeypatch.setenv("VAE_CONF_PATH", str(tmp_path / "conf"))

    return add


@pytest.fixture
def noise(tmp_path, of_user):
    """A user's own data set, "noise", with 30 RGB images, 10 of which are test images."""
    np.save(tmp_path / "noise.npy", np.random.RandomState(0).randint(0, 256, (30, 12, 12, 3)).astype(np.uint8))
    of_user("noise", "noise.npy", "test_share: 0.3333")


@pytest.fixture
def unjudged(monkeypatch):
    """Skip the judge: none is shipped for data with a left-out class, and training one takes a while."""

    def none(*args):
        raise ValueError("no judge")

    monkeypatch.setattr(cell, "judge_space", none)


def test_a_run_tells_its_test_images_from_those_of_another_data_set(tmp_path, noise):
    config = configuration("vae", 0, "dataset.outliers=noise")
    record = run_cell(config, digits(), setting(tmp_path / "r"))
    # Uniform noise is so different from digits that even a model trained for a few epochs detects it.
    assert all(record.metrics[name] > 0.9 for name in OF_DATASET)
    details = record.details["outliers_dataset"]
    assert details.pop("sha256")
    assert details == {"dataset": "noise", "outliers": 10, "test_images": 200}
    lines = (tmp_path / "r" / "runs" / config.run_id / "roc.csv").read_text().splitlines()
    assert lines[0] == "setting,score,false_positive_rate,true_positive_rate"
    assert {tuple(line.split(",")[:2]) for line in lines[1:]} == {
        ("dataset", score) for score in ("mse", "elbo", "log_likelihood")
    }
    write_reports(tmp_path / "r", tmp_path / "reports")
    page = (tmp_path / "reports" / "digits.md").read_text()
    assert "| outliers           | test images of noise " in page
    assert "![Outliers](figures/digits-smoke-outliers.png)" in page


def test_outliers_are_the_other_test_images_in_shape_and_binarised_alike(noise, tmp_path):
    config, data = configuration("vae", 0, "dataset.outliers=noise").dataset, digits()
    found = outlier_sets(config, data, tmp_path, CPU)["dataset"]
    other = load(compose("vae", "noise", "smoke", 0).dataset, tmp_path)
    assert found.x.shape == (10, 1, 8, 8)
    assert set(found.x.unique().tolist()) == {0, 1}
    assert found.facts["sha256"] == other.sha256
    grey = configuration("vae", 0, "dataset.outliers=noise", "dataset.observation=gaussian", "dataset.binarise=none")
    seen = outlier_sets(grey.dataset, data, tmp_path, CPU)["dataset"].x
    expected = torch.nn.functional.interpolate(
        (other.test.images.float() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True).round(),
        (8, 8), mode="bilinear", antialias=True,
    )  # fmt: skip
    assert torch.equal(seen, expected.round() / 255)


def test_a_run_tells_its_test_images_from_a_class_it_never_saw(tmp_path, unjudged):
    config = configuration("vae", 0, "dataset.left_out=6", "dataset.outliers=none")
    data = load(config.dataset, tmp_path)
    record = run_cell(config, data, setting(tmp_path / "r"))
    assert all(0 <= record.metrics[name] <= 1 for name in OF_CLASS)
    assert {record.not_applicable[name] for name in OF_DATASET} == {"dataset.outliers is none"}
    count = int((digits().test.labels == 6).sum())
    assert record.details["outliers_class"] == {"class": 6, "outliers": count, "test_images": 200}
    assert record.details["data_title"].endswith("without class 6")
    shown = outlier_sets(config.dataset, data, tmp_path, CPU)["class"].x
    assert torch.equal(shown, observe_evaluation(digits().test.images[digits().test.labels == 6], config.dataset))


def test_no_other_metric_depends_on_the_images_that_are_left_out(tmp_path, unjudged):
    config = configuration("ae", 0, "dataset.left_out=6", "dataset.outliers=none")
    data = load(config.dataset, tmp_path)
    first = run_cell(config, data, setting(tmp_path / "a"))
    data.left_out.images.copy_(torch.randint(256, data.left_out.images.shape, dtype=torch.uint8))
    second = run_cell(config, data, setting(tmp_path / "b"))
    changed = {name for name, value in first.metrics.items() if second.metrics[name] != value}
    assert changed == {OF_CLASS[0]}


def test_other_data_that_are_not_there_are_a_short_reason(tmp_path):
    record = run(tmp_path)
    reason = "the data set mnist could not be loaded: run make data DATASETS=mnist"
    assert {record.not_applicable[name] for name in OF_DATASET} == {reason}
    reason = "no class was left out of training: set dataset.left_out"
    assert {record.not_applicable[name] for name in OF_CLASS} == {reason}
    assert record.status == "ok"
    assert "failed_steps" not in record.details


def test_a_users_own_images_have_no_other_data_set_unless_one_is_named(noise, tmp_path):
    config = compose("vae", "noise", "smoke", 0).dataset
    found = outlier_sets(config, load(config, tmp_path), tmp_path, CPU)
    assert found["dataset"] == "no other data set was named: set dataset.outliers"


def test_other_data_that_fail_cost_the_outliers_and_nothing_else(tmp_path, monkeypatch):
    def broken(*args, **options):
        raise OSError("the disk fails")

    monkeypatch.setattr(outliers, "load", broken)
    record = run(tmp_path)
    assert record.status == "ok"
    assert "elbo" in record.metrics
    assert {record.not_applicable[name] for name in OF_DATASET} == {"no outliers were given"}
    assert record.details["failed_steps"]["outliers"]["reason"] == "failed: OSError: the disk fails"


def test_a_sweep_downloads_other_data_for_data_that_are_downloaded_themselves_and_lives_without(tmp_path, monkeypatch):
    asked = []

    def load_(config, root, download=True):
        asked.append((config.name, download))
        raise UserError("no network")

    monkeypatch.setattr(outliers, "load", load_)
    for name in ("digits", "celeba", "mnist", "fashion_mnist"):
        download_outliers(compose("vae", name, "smoke", 0).dataset, tmp_path)
    assert asked == [("fashion_mnist", True), ("fashion_mnist", True), ("mnist", True)]
    download_outliers(compose("vae", "mnist", "smoke", 0, ["dataset.outliers=none"]).dataset, tmp_path)
    assert len(asked) == 3
    seen = []
    monkeypatch.setattr(runner, "download_outliers", lambda config, root: seen.append((config.name, root)))
    runner.run([configuration()], setting(tmp_path))
    assert [name for name, _ in seen] == ["digits"]


@pytest.fixture
def with_classes(tmp_path, of_user):
    """A user's own data set, "letters", with a condition."""
    images = np.random.RandomState(0).randint(0, 256, (30, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "letters.npz", images=images, labels=np.arange(30) % 3)
    of_user("letters", "letters.npz", "condition: label")


def test_a_data_set_with_a_condition_can_be_fetched_and_be_the_outliers_of_another(tmp_path, with_classes):
    assert fetch(["letters"]) == 0
    config = configuration("vae", 0, "dataset.outliers=letters").dataset
    assert outlier_sets(config, digits(), tmp_path, CPU)["dataset"].facts["dataset"] == "letters"


@pytest.fixture
def asked(monkeypatch):
    """The outliers that a sweep downloads."""
    found = []
    monkeypatch.setattr(runner, "download_outliers", lambda config, root: found.append(config.outlier_name))
    return found


def test_a_sweep_downloads_every_outlier_data_set_of_cells_with_the_same_images(tmp_path, asked):
    cells = [configuration("vae", 0, f"dataset.outliers={name}") for name in ("default", "fashion_mnist", "none")]
    runner.run(cells, setting(tmp_path), jobs=1)
    assert asked == ["mnist", "fashion_mnist", None]


def test_a_launcher_has_the_outliers_downloaded_and_the_note_of_missing_data_follows_its_records(
    tmp_path, asked, monkeypatch
):
    def launched(cells, at, *others):
        yield from ((cell, run_once(cell, at, load_for_jobs)) for cell in cells)

    def load_for_jobs():
        if missing:
            raise UserError("no network")
        return digits()

    monkeypatch.setattr(launchers, "launch", launched)
    write_missing_data(tmp_path, {"mnist": "no network"}, [])
    missing = True
    runner.run_on("processes", [configuration()], setting(tmp_path), False, [])
    assert read_missing_data(tmp_path) == {"digits": "no network", "mnist": "no network"}
    missing = False
    runner.run_on("processes", [configuration("vae", 1)], setting(tmp_path), False, [])
    assert read_missing_data(tmp_path) == {"mnist": "no network"}
    assert asked == ["mnist", "mnist"]

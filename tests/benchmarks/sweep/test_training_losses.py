"""Runs that train a loss on grey pixels instead of the likelihood (``dataset.loss``)."""

import csv

import pytest

from benchmarks.config import compose
from benchmarks.errors import UserError
from benchmarks.records.record import HISTORY_FILE
from benchmarks.reporting.board import protocol
from benchmarks.reporting.rows import sections
from tests.benchmarks.cells import configuration, run, setting

GREY = ("dataset.observation=discretised_logistic", "dataset.binarise=none")
FEW = tuple(f"evaluation.{option}={count}" for option, count in
            {"importance_samples": 4, "images": 60, "generated_images": 40, "probe_images": 60}.items())  # fmt: skip
SHORT = ("training.select=validation", "training.validation_images=50", *FEW)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs"), "vae", 0, *GREY, *SHORT, "dataset.loss=cross_entropy")


def test_its_objective_is_the_cross_entropy_and_its_likelihood_that_of_the_fitted_model(record):
    assert record.status == "ok", record.error
    # Digits have 64 grey pixels. The cross-entropy is at least the entropy of the pixels, and a model that has learned
    # nothing has log 2 nats per pixel.
    assert 15 < record.metrics["objective"] < 64 * 0.6931
    # The uniform distribution has 8 bits per pixel. With a scale that is not fitted, the result would be above 8.
    assert 3 < record.metrics["elbo_bits_per_dim"] < 8
    assert record.config["dataset"]["loss"] == "cross_entropy"


def test_epochs_are_compared_by_the_negative_objective(record, tmp_path):
    record = run(tmp_path, "vae", 0, *GREY, *SHORT, "dataset.loss=squared_error", "dataset.output=linear")
    folder = setting(tmp_path).results / "runs" / record.run_id
    rows = list(csv.DictReader((folder / HISTORY_FILE).read_text().splitlines()))
    scores = [float(row["validation_negative_objective"]) for row in rows]
    assert len(scores) == 3
    assert all(score < 0 for score in scores)
    # Both are the sum of squared errors and KL, but for different images and draws.
    assert record.metrics["objective"] == pytest.approx(-max(scores), rel=0.2)


def test_a_board_says_that_the_objective_is_no_likelihood(record):
    (section,) = sections([record])
    assert "cross entropy on grey pixels instead of the likelihood" in protocol(section)
    (plain,) = sections([record.__class__(**vars(record) | {"config": configuration().resolved()})])
    assert "training loss" not in protocol(plain)


def test_options_that_are_not_set_leave_the_configuration_as_it_was():
    plain, asked = configuration(), configuration("vae", 0, *GREY, "dataset.loss=cross_entropy")
    assert not {"loss", "loss_weight", "output"} & plain.resolved()["dataset"].keys()
    assert asked.run_id != configuration("vae", 0, *GREY).run_id


def test_an_autoencoder_of_cross_entropy_is_refused_linear_outputs():
    with pytest.raises(UserError, match=r"variant\.loss=cross_entropy needs pixels between 0 and 1"):
        compose("denoising_ae", "mnist_grey", "smoke", 0, ["dataset.output=linear"])
    compose("denoising_ae", "mnist_grey", "smoke", 0, ["dataset.output=linear", "variant.loss=squared_error"])


def test_validation_scores_are_those_of_the_observation_model_that_the_run_would_end_with(tmp_path):
    """log-cosh does not train the scale of its likelihood. With the initial scale, the ELBO would be far too low."""
    overrides = ("training.validation_samples=4", "training.measure_at=[3]", *FEW)
    record = run(tmp_path, "logcosh_vae", 0, *overrides)
    folder = setting(tmp_path).results / "runs" / record.run_id
    (*_, last) = csv.DictReader((folder / HISTORY_FILE).read_text().splitlines())
    assert float(last["validation_elbo"]) == pytest.approx(record.metrics["elbo"], rel=0.05)
    # Measurements during training also use a fitted scale, which training itself does not use.
    assert record.details["measured"]["elbo@3"] == pytest.approx(record.metrics["elbo"], rel=0.02)

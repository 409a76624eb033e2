"""Variants in a user's own folder are trained, evaluated and shown on a board without any change to the suite."""

import os
import subprocess
import sys

import pytest

from benchmarks.records.record import read_records

from ...variants.outside import FOLDER, OUTSIDE

NAMES = {cls.name: cls for cls in OUTSIDE}
SMALL = ("network.hidden=[16]", "network.latent_size=4", "training.epochs=1", "evaluation.importance_samples=5")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The records by variant, and the folder of reports, after a sweep over all these variants."""
    folder = tmp_path_factory.mktemp("outside")
    results, reports = folder / "results", folder / "reports"
    environment = os.environ | {"VAE_VARIANTS_PATH": str(FOLDER)}
    for conditional in (False, True):
        names = [name for name, cls in NAMES.items() if cls.conditional == conditional]
        given = ["dataset.condition=label"] if conditional else []
        command = [
            sys.executable, "-m", "benchmarks", "bench", "--variants", ",".join(names), "--datasets", "digits",
            "--profile", "smoke", "--jobs", "1", "--results", str(results), "--reports", str(reports), *SMALL, *given,
        ]  # fmt: skip
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return {record.variant: record for record in read_records(results)[0]}, reports


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_is_evaluated_and_has_a_row_on_the_board(name, swept):
    records, reports = swept
    assert records[name].status == "ok"
    conditional = records[name].config["dataset"].get("condition", "none") != "none"
    assert {"mse", "ssim", *(() if conditional else ("active_units",))} <= records[name].metrics.keys()
    assert name in (reports / "digits.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_bound_unless_it_says_why_not(name, swept):
    records, _ = swept
    if "elbo" in records[name].not_applicable:
        assert name in ("dropping_ae", "adversarial_ae", "tied_ae")
    else:
        assert records[name].metrics["elbo"] <= records[name].metrics["log_likelihood"]


def test_a_model_without_a_prior_is_sampled_by_the_mixture_alone(swept):
    records, _ = swept
    metrics, reasons = records["dropping_ae"].metrics, records["dropping_ae"].not_applicable
    assert "fid_features_gmm" in metrics
    assert reasons["fid_features"] == "an autoencoder has no prior over its codes"


def test_a_model_given_the_class_is_not_probed_for_it(swept):
    records, _ = swept
    assert records["by_class"].not_applicable["linear_probe_accuracy"] == "the model is given a condition"
    assert "fid_features" in records["by_class"].metrics


def test_a_model_with_two_levels_has_no_mutual_information(swept):
    records, _ = swept
    assert "mutual_information" in records["two_levels"].not_applicable
    assert "log_likelihood" in records["two_levels"].metrics

"""Estimates of the time of runs from records."""

from dataclasses import replace

import pytest

from benchmarks.records.record import Record
from benchmarks.sweep import estimate
from benchmarks.sweep.estimate import Estimates

from ..cells import configuration


def record(variant="vae", profile="smoke", train=100.0, rest=30.0, epochs=3, device="here", **changes):
    config = configuration(variant)
    resolved = config.resolved()
    resolved["training"]["epochs"] = epochs
    return replace(
        Record(
            run_id="run", status="ok", variant=variant, dataset="digits", profile=profile, seed=0, config=resolved,
            finished="2026-01-01T00:00:00+00:00", timing={"train_seconds": train, "total_seconds": train + rest},
            importance_samples=config.evaluation.importance_samples, environment={"device": device},
        ),
        **changes,
    )  # fmt: skip


def test_it_is_the_median_of_records_of_the_same_variant_and_profile():
    records = [record(train=seconds) for seconds in (10.0, 100.0, 40.0)] + [record("iwae", train=1000.0)]
    found = Estimates(records).of(configuration("vae"))
    assert (found.train, found.rest, found.records) == (40.0, 30.0, 3)


def test_more_epochs_are_more_training_and_no_more_evaluation():
    found = Estimates([record(epochs=3)]).of(configuration("vae", 0, "training.epochs=12"))
    assert (found.train, found.rest, found.total) == (400.0, 30.0, 430.0)


@pytest.mark.parametrize(
    ("records", "total"),
    [
        # Records of other variants are enough if there is none of the variant itself.
        ([record("iwae"), record("beta_vae", rest=50.0)], 140.0),
        # The same profile has priority over the same variant, and both over other records of the data set.
        ([record(profile="quick", train=7.0), record("iwae", train=70.0)], 100.0),
        ([record(profile="quick", train=7.0, rest=0.0), record("iwae", profile="paper", train=70.0)], 7.0),
        ([record("iwae", profile="paper", train=70.0, rest=0.0)], 70.0),
    ],
)
def test_without_a_record_of_its_own_the_most_similar_ones_count(records, total):
    assert Estimates(records).of(configuration("vae")).total == total


def test_another_profile_evaluates_with_other_numbers_of_samples():
    k = configuration("vae").evaluation.importance_samples
    found = Estimates([record(profile="quick", importance_samples=10 * k)]).of(configuration("vae"))
    assert found.rest == pytest.approx(3.0)


def test_more_importance_samples_in_the_same_profile_are_a_longer_evaluation():
    k = configuration("vae").evaluation.importance_samples
    found = Estimates([record()]).of(configuration("vae", 0, f"evaluation.importance_samples={2 * k}"))
    assert (found.train, found.rest) == (100.0, 60.0)


def test_records_of_this_device_count_before_those_of_others():
    records = [record("iwae", train=70.0), record("vae", train=1.0, device="another")]
    assert Estimates(records, "here").of(configuration("vae")).train == 70.0
    assert Estimates(records, "a third").of(configuration("vae")).train == 1.0


FAILED = {"status": "failed", "error": dict.fromkeys(("type", "message", "traceback"), "x")}


@pytest.mark.parametrize("changes", [{"dataset": "mnist"}, FAILED, {"timing": {"train_seconds": 1.0}}])
def test_other_data_failed_runs_and_runs_without_a_time_say_nothing(changes):
    assert Estimates([replace(record(), **changes)]).of(configuration("vae")) is None


def test_records_are_read_once_for_all_runs_of_a_kind_and_again_after_another_record(monkeypatch):
    read, scaled = [], estimate._scaled

    def noting(config, record):
        read.append(record)
        return scaled(config, record)

    monkeypatch.setattr(estimate, "_scaled", noting)
    estimates = Estimates([record(seed=seed) for seed in range(5)])
    assert {estimates.of(configuration("vae", seed)).records for seed in range(20)} == {5}
    assert len(read) == 5
    estimates.add(record(train=200.0))
    assert estimates.of(configuration("vae")).records == 6
    estimates.add(record("iwae", train=200.0))
    assert estimates.of(configuration("vae")).records == 6

"""A user's own family may enter anything: this can lose its own metrics, never the record of a trained run."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.evaluation.evaluate import Evaluation, _measure
from benchmarks.records.catalogue import Family, Metric
from tests.benchmarks.reporting.test_reports import record


def measured(compute):
    metrics = {name: Metric(name, "", None, "") for name in ("one", "two")}
    context = SimpleNamespace(variant=SimpleNamespace(observation=SimpleNamespace(binary=True)), seed=0)
    result = Evaluation()
    _measure(Family("own", "Own", 90, metrics, compute), context, result, short_of_memory=False)
    # Make a record, as a run does: one refused field would lose all others.
    record("vae", 0, result.metrics, not_applicable=result.not_applicable, warnings=result.warnings)
    return result


@pytest.mark.parametrize(
    "value", ["12", None, torch.ones(2), 10**5000, object()], ids=["text", "None", "two", "huge", "object"]
)
def test_what_is_no_number_is_not_applicable_and_the_rest_is_kept(value):
    def compute(context, result):
        result.metrics |= {"one": 1.0, "two": value}

    result = measured(compute)
    assert result.metrics == {"one": 1.0}
    assert result.not_applicable["two"].startswith("failed: ValueError: two is not a number but a")
    assert "metrics of own" in result.failed


def test_scalars_of_numpy_and_torch_are_numbers_and_infinite_ones_have_a_reason():
    def compute(context, result):
        result.metrics |= {"one": torch.tensor(2.5), "two": np.float32("inf")}

    result = measured(compute)
    assert result.metrics == {"one": 2.5}
    assert type(result.metrics["one"]) is float
    assert "not finite" in result.not_applicable["two"]
    assert not result.failed


def test_a_metric_that_is_both_a_number_and_not_applicable_is_not_applicable():
    def compute(context, result):
        result.metrics["one"] = 1.0
        result.not_applicable |= {"one": "no bound", "two": ""}

    result = measured(compute)
    assert result.metrics == {}
    assert result.not_applicable == {"one": "no bound", "two": "no reason given"}
    assert "both a number and not applicable" in result.failed["metrics of own"]["reason"]


def test_warnings_and_reasons_of_another_type_become_text():
    def compute(context, result):
        result.warnings.append(3)
        result.not_applicable |= {"one": 4, "two": ValueError("none")}

    result = measured(compute)
    assert (result.warnings, result.not_applicable) == (["3"], {"one": "4", "two": "none"})


def test_a_family_that_ends_the_process_fails_alone():
    def compute(context, result):
        raise SystemExit(3)

    assert measured(compute).not_applicable == dict.fromkeys(("one", "two"), "failed: SystemExit: 3")


@pytest.mark.parametrize("name", ["history.csv", "codes.csv", "../up.csv", "record.json", ".csv"])
def test_a_table_that_would_replace_another_file_of_the_run_is_left_out_and_named(name):
    def compute(context, result):
        result.metrics |= {"one": 1.0, "two": 2.0}
        result.tables |= {name: "a\n1\n", "own.csv": "b\n2\n"}

    result = measured(compute)
    assert result.tables == {"own.csv": "b\n2\n"}
    assert result.metrics == {"one": 1.0, "two": 2.0}
    assert repr(name) in result.failed["metrics of own"]["reason"]


def test_a_metric_that_its_family_forgets_has_a_reason():
    found = measured(lambda context, result: result.add("one", 1.0))
    assert found.metrics == {"one": 1.0}
    assert found.not_applicable == {"two": "family 'own' entered neither a number nor a reason"}


def test_a_table_goes_beside_the_record_unless_its_name_is_anothers():
    def compute(context, result):
        result.metrics |= {"one": 1.0, "two": 2.0}
        result.tables |= dict.fromkeys(("mine.csv", "codes.csv", "history.csv", "record.json", "../x.csv"), "a\n1\n")

    result = measured(compute)
    assert result.tables == {"mine.csv": "a\n1\n"}
    assert result.metrics == {"one": 1.0, "two": 2.0}
    assert "'../x.csv' cannot be the name of a table" in result.failed["metrics of own"]["reason"]

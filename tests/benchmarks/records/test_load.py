"""Records of runs on a busy machine."""

import pytest

from benchmarks.environment import load_per_core
from benchmarks.records.load import highest_load, load_details, was_busy
from benchmarks.records.record import RecordError

from ..cells import run
from ..reporting.test_reports import record


@pytest.mark.parametrize(
    ("start", "end", "own", "busy"),
    [
        # The run uses two threads on two cores, and other work of the run adds a little.
        (0.1, 1.1, 1.0, False),
        (0.1, 1.6, 1.0, True),
        # The machine was busy before the run began, and its processes may have continued.
        (1.6, 1.0, 1.0, True),
        # The run uses one thread on two cores, and nothing else computes.
        (0.0, 0.5, 0.5, False),
        (0.0, 1.0, 0.5, True),
        (None, None, 0.5, False),
        (None, 2.0, 0.5, True),
    ],
)
def test_a_machine_is_busy_when_more_computes_than_the_run_itself(start, end, own, busy):
    assert was_busy(record(details=load_details(start, end, own))) is busy


def test_a_record_that_says_nothing_is_not_called_busy():
    assert not was_busy(record())


def test_the_highest_of_both_loads_is_told():
    assert highest_load(record(details=load_details(1.614, 1.2, 1.0))) == (1.61, 1.0)


def test_every_run_records_the_load(tmp_path, monkeypatch):
    loads = iter([0.25, 9.0])
    monkeypatch.setattr("benchmarks.sweep.cell.load_per_core", lambda: next(loads))
    found = run(tmp_path)
    assert found.details["load"] | {"own": 0} == {"start": 0.25, "end": 9.0, "own": 0}
    assert 0 < found.details["load"]["own"] <= 1
    assert was_busy(found)


def test_the_load_of_this_machine_is_a_number():
    load = load_per_core()
    assert load is None or load >= 0


def test_a_load_that_is_no_number_is_refused():
    with pytest.raises(RecordError, match="load"):
        record(details={"load": {"start": "much"}})

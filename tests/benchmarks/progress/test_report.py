"""Reports of the current activity of a process."""

import pytest

from benchmarks.progress import report
from benchmarks.progress.report import Status, counted_off, doing, duration, has_listener, listening


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-3, "0 s"), (0.4, "0 s"), (45.4, "45 s"), (59.6, "1 min"), (60, "1 min"), (130, "2 min 10 s"),
        (3600, "1 h"), (4800.2, "1 h 20 min"), (90000, "1 d 1 h"), (86400 * 3, "3 d"),
    ],
)  # fmt: skip
def test_a_duration_has_at_most_two_units(seconds, expected):
    assert duration(seconds) == expected


def test_what_is_done_is_reported_inside_and_what_the_block_around_it_does_afterwards():
    heard = []
    with listening(heard.append), doing("evaluating"):
        with doing("evaluating: likelihood"):
            pass
        with pytest.raises(ValueError, match="lost"), doing("drawing pictures"):
            raise ValueError("lost")
    assert [status.doing for status in heard] == [
        "evaluating", "evaluating: likelihood", "evaluating", "drawing pictures", "evaluating",
    ]  # fmt: skip


def test_counts_are_those_of_the_parts_that_are_done(monkeypatch):
    monkeypatch.setattr(report, "INTERVAL", 0)
    heard = []
    with listening(heard.append), doing("evaluating: likelihood"):
        assert list(counted_off([[1, 2, 3], [4, 5]], 5, "images", len)) == [[1, 2, 3], [4, 5]]
    counts = [status.text for status in heard if status.total]
    assert counts == ["evaluating: likelihood, 0/5 images", "evaluating: likelihood, 3/5 images"]
    assert heard[-1].done == 3


def test_a_count_keeps_the_time_left_of_what_it_is_a_part_of(monkeypatch):
    monkeypatch.setattr(report, "INTERVAL", 0)
    heard = []
    with listening(heard.append):
        report.report(Status("epoch 1/2, validation", left=7.0))
        list(counted_off(range(2), 2, "images"))
    assert {status.left for status in heard} == {7.0}


def test_a_million_counts_are_few_reports():
    heard = []
    with listening(heard.append), doing("counting"):
        for _ in counted_off(range(1_000_000), 1_000_000, "steps"):
            pass
    assert len(heard) <= 20


def test_without_a_listener_nothing_is_counted():
    assert not has_listener()
    with doing("anything"):
        assert list(counted_off(range(3), 3, "steps")) == [0, 1, 2]
    report.report(Status("anything"))

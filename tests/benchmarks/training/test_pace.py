"""The reported speed of training and time left, with a clock that the tests control."""

import io
import sys
from types import SimpleNamespace

import pytest

from benchmarks.progress.report import listening
from benchmarks.training import pace
from benchmarks.training.pace import Pace


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_steps_images_per_second_and_the_time_left_are_counted_on_the_host(clock):
    heard = []
    with listening(heard.append):
        counting = Pace(epochs=3, steps=10, batch=50, done=0, show=True)
        for epoch in range(2):
            for step in range(1, 11):
                clock.now += 2.0
                counting.step(epoch, step)
            counting.validating(epoch)
            clock.now += 5.0
            counting.epoch(epoch, {"loss": 98.314, "images_per_second": 25.0})
        counting.close()
    first, last = heard[0], heard[-3]
    # One step took 2 s, and 29 steps are left.
    assert (first.doing, first.done, first.total, first.unit, first.left) == ("epoch 1/3", 1, 10, "steps", 58.0)
    # 20 steps and a validation took 45 s, and ten steps are left.
    assert (last.doing, last.done, last.left) == ("epoch 2/3", 10, 22.5)
    assert last.notes == ("25 images/s", "loss 98.31")
    assert (heard[-2].doing, heard[-1].doing, heard[-1].left) == ("epoch 2/3, validation", "trained", None)


def test_a_resumed_run_is_timed_by_its_own_steps_alone(clock):
    heard = []
    with listening(heard.append):
        counting = Pace(epochs=4, steps=10, batch=50, done=2, show=True)
        clock.now += 1.0
        counting.step(2, 1)
    assert (heard[0].doing, heard[0].left) == ("epoch 3/4", 19.0)


def test_a_budget_that_ends_within_an_epoch_is_counted_to_its_end(clock, monkeypatch):
    heard = []
    with listening(heard.append):
        counting = Pace(epochs=2, steps=10, batch=50, done=0, show=True, total=13)
        for epoch, steps in ((0, 10), (1, 3)):
            for step in range(1, steps + 1):
                clock.now += 1.0
                counting.step(epoch, step)
        counting.validating(1)
    assert [(status.done, status.total, status.left) for status in (heard[0], *heard[-2:])] == [
        (1, 10, 12.0), (3, 3, 0.0), (0, 0, 0.0),
    ]  # fmt: skip
    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = Pace(epochs=2, steps=10, batch=50, done=0, show=True, total=13)
    for epoch in range(2):
        bar.epoch(epoch, {"loss": 1.0, "images_per_second": 1.0})
    assert bar.bar.n == bar.bar.total == 13
    bar.close()


def test_fast_steps_are_reported_twice_a_second(clock):
    heard = []
    with listening(heard.append):
        counting = Pace(epochs=1, steps=10_000, batch=50, done=0, show=True)
        for step in range(1, 10_001):
            clock.now += 0.001
            counting.step(0, step)
    assert 15 <= len(heard) <= 20


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_where_nobody_listens_a_bar_is_shown_on_a_terminal(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with listening(lambda status: None):
        assert Pace(epochs=1, steps=4, batch=50, done=0, show=True).bar.disable
    assert Pace(epochs=1, steps=4, batch=50, done=0, show=False).bar.disable
    counting = Pace(epochs=1, steps=4, batch=50, done=0, show=True)
    clock.now += 1.0
    counting.step(0, 3)
    assert counting.bar.n == 3
    counting.epoch(0, {"loss": 98.314, "images_per_second": 5230.4, "validation_elbo": -97.5})
    assert counting.bar.n == 4
    assert "loss=98.31, images/s=5,230, validation_elbo=-97.50" in sys.stderr.getvalue()
    counting.close()

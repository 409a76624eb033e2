"""The picture of trade-offs and its caption name what is drawn, and what makes times hard to compare."""

import dataclasses

import pytest

from benchmarks.records.catalogue import CATALOGUE
from benchmarks.reporting import figures
from benchmarks.reporting.marks import times
from benchmarks.reporting.pages import _trade_offs
from benchmarks.reporting.rows import sections

from .test_reports import record

TIMED = [("train_seconds", "log_likelihood")]
BOTH = [("log_likelihood", "fid_features"), *TIMED]


def section_of(*metrics, **others):
    names = ("vae", "iwae", "ae")
    (section,) = sections([record(name, 0, m, **others) for name, m in zip(names, metrics, strict=False)])
    return section


def caption(section, pairs):
    return _trade_offs(section, section.rows, figures.trade_offs(section, section.rows, pairs))


def test_the_caption_names_the_panels_that_are_drawn():
    likelihoods = [{"log_likelihood": value} for value in (-90.0, -91.0)]
    section = section_of(*likelihoods)
    assert caption(section, BOTH).startswith("Likelihood against training time; means over seeds, ")
    both = section_of(*(metrics | {"fid_features": 9.0} for metrics in likelihoods))
    assert caption(both, BOTH).startswith("Sample quality against likelihood, and likelihood against training time; ")
    untimed = caption(both, BOTH[:1])
    assert "times" not in untimed


@pytest.mark.parametrize("busy", [False, True])
def test_the_caption_says_of_times_on_a_busy_machine_that_their_order_is_uncertain(busy):
    section = section_of({"log_likelihood": -90.0}, {"log_likelihood": -91.0}, details={"busy": busy})
    assert any(row.is_busy for row in section.rows) == busy
    assert (times.UNCERTAIN in caption(section, TIMED)) == busy


def test_without_a_better_direction_there_is_no_front(monkeypatch):
    section = section_of({"log_likelihood": -90.0}, {"log_likelihood": -91.0})

    def on_front():
        (drawn,) = figures.trade_offs(section, section.rows, TIMED)
        return [is_on_front for _, _, is_on_front in drawn.marks.values()]

    assert any(on_front())
    assert figures._axis_label(section, "log_likelihood") == "log p(x) (nats/image), higher is better"
    undirected = dataclasses.replace(CATALOGUE["log_likelihood"], better=None)
    monkeypatch.setattr(figures, "CATALOGUE", dict(CATALOGUE) | {"log_likelihood": undirected})
    assert not any(on_front())
    assert figures._axis_label(section, "log_likelihood") == "log p(x) (nats/image)"

"""Smoke runs of every variant with ten seeds: none fails or diverges, and all metrics are finite."""

import math

import pytest

import variants
from benchmarks.config import compose
from benchmarks.sweep import runner as sweep

from ..cells import setting


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_seeds_of_every_variant_end_well_with_finite_numbers(tmp_path):
    names = [name for name in variants.names() if variants.lookup(name).__module__.startswith("variants.")]
    given = {name: ["dataset.condition=label"] if variants.lookup(name).conditional else [] for name in names}
    cells = [compose(name, "digits", "smoke", seed, given[name]) for name in names for seed in range(10)]
    summary = sweep.run(cells, setting(tmp_path))
    assert [(record.run_id, record.error) for record in summary.failed] == []
    assert len(summary.ran) == 10 * len(names)
    assert all(math.isfinite(value) for record in summary.ran for value in record.metrics.values())

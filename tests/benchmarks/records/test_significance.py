"""Intervals against their definitions, and ranks that do not depend on noise."""

import math
import statistics as plain

import numpy as np
import pytest
from scipy import stats

from benchmarks.records.significance import differ, interval, shared_ranks


def of(values):
    return dict(enumerate(values))


def test_students_interval_of_three_values():
    low, high = interval([1.0, 2.0, 4.0])
    # With 2 degrees of freedom, the quantile at p = 0.975 is sqrt(2) (2p - 1) / sqrt(1 - (2p - 1)^2).
    t = math.sqrt(2) * 0.95 / math.sqrt(1 - 0.95**2)
    half = t * plain.stdev([1, 2, 4]) / math.sqrt(3)
    assert (low, high) == pytest.approx((7 / 3 - half, 7 / 3 + half))
    assert interval([1.0]) is None


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(5.0, 2.0, size=(4000, 3))
    covered = np.mean([low <= 5.0 <= high for low, high in map(interval, draws)])
    assert covered == pytest.approx(0.95, abs=0.012)


def test_two_differ_where_the_paired_t_test_rejects_at_five_percent_in_either_order():
    generator = np.random.default_rng(2)
    decisions = []
    for _ in range(1000):
        n = int(generator.integers(3, 11))
        a = generator.normal(size=n)
        b = a + generator.normal(generator.normal(), 1.0, size=n)
        rejected = bool(stats.ttest_rel(a, b).pvalue < 0.05)
        assert differ(of(a), of(b)) is differ(of(b), of(a)) is rejected
        decisions.append(rejected)
    # Both decisions occur often enough to be tested.
    assert 0.2 < np.mean(decisions) < 0.8


def test_equal_values_and_fewer_than_three_common_seeds_never_differ():
    generator = np.random.default_rng(3)
    for n in range(11):
        values = of(generator.normal(0.0, 10.0 ** generator.integers(-6, 7), size=n).tolist())
        assert not differ(values, values)
        others = {seed: value + 1e9 for seed, value in values.items()}
        common = dict(list(others.items())[:2])
        assert not differ(values, common)
        assert not differ(values, common | {100: 0.0, 101: 0.0})
        # Three common seeds are enough for a shift that is the same for every seed.
        assert differ(values, others) is (n >= 3)


def test_equals_are_seldom_called_different_even_over_three_seeds():
    noise = np.random.default_rng(0).normal(size=(2000, 2, 3))
    called = np.mean([differ(of(a), of(b)) for a, b in noise])
    assert called < 0.06


def test_a_difference_is_paired_over_seeds():
    # The values vary much more between seeds than between variants.
    seeds = [-95.0, -97.0, -93.0]
    assert differ(of(seeds), of([value - 0.5 + 0.01 * i for i, value in enumerate(seeds)]))
    assert not differ(of(seeds), of(seeds))
    assert not differ({0: 1.0, 1: 1.0, 2: 1.0}, {3: 5.0, 4: 5.0, 5: 5.0})
    assert not differ(of([1.0, 1.1]), of([9.0, 9.1]))


def test_variants_that_seeds_cannot_tell_apart_share_a_rank():
    good, same, worse = of([-90.0, -90.4, -90.2]), of([-90.3, -90.1, -90.2]), of([-95.0, -95.2, -95.3])
    assert shared_ranks([worse, good, same], "higher") == [3, 1, 1]
    assert shared_ranks([worse, good, same], "lower") == [1, 2, 2]


def test_variants_without_three_common_seeds_share_no_rank():
    best, odd, worse = of([-90.0, -90.4, -90.2]), {2: -90.3, 3: -90.5, 4: -90.4}, of([-95.0, -95.2, -95.3])
    assert shared_ranks([worse, best, odd], "higher") == [3, 1, None]
    # A variant that cannot be tested against the best one takes no rank from the others.
    assert shared_ranks([best, {seed: value + 9 for seed, value in odd.items()}, worse, worse], "higher") == [
        None, 1, 3, 3,
    ]  # fmt: skip
    assert shared_ranks([best, {seed: value + 0.1 for seed, value in best.items()}, odd], "higher") == [2, 1, None]
    # A variant with the seeds of both is ranked by the one with a rank.
    others, both = dict.fromkeys((3, 4, 5), -90.5), dict.fromkeys(range(6), -95.0)
    assert shared_ranks([best, others, both], "higher") == [1, None, 3]


def test_too_few_seeds_give_no_ranks():
    assert shared_ranks([of([1.0]), of([2.0])], "higher") is None
    assert shared_ranks([of([1.0, 2.0]), of([2.0, 3.0])], "higher") is None


def test_ranks_are_competition_ranks_of_groups_that_differ_from_their_best():
    """1, 2, 2, 4: only a shared rank leaves a gap, and the order of the variants does not matter."""
    generator = np.random.default_rng(0)
    shared = 0
    for better, sign in (("higher", 1), ("lower", -1)):
        for _ in range(50):
            values = [of(generator.normal(generator.integers(4), 0.2, size=3).tolist()) for _ in range(8)]
            ranks = shared_ranks(values, better)
            order = sorted(range(8), key=lambda i: -sign * plain.fmean(values[i].values()))
            ordered = [ranks[i] for i in order]
            assert ordered == sorted(ordered)
            for place, i in enumerate(order, 1):
                best = order[ranks[i] - 1]
                assert ranks[i] == place or not differ(values[best], values[i])
                assert ranks[i] != place or place == 1 or differ(values[order[ordered[place - 2] - 1]], values[i])
            shared += len(set(ranks)) < 8
    assert shared > 10

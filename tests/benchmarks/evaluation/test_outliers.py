"""Outliers: the area under the curve against enumerations, the sign of scores, and nothing fitted on outliers."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from benchmarks.config import EvaluationConfig
from benchmarks.evaluation import evaluate as evaluation
from benchmarks.evaluation.evaluate import Context, EvaluationData, Outliers, evaluate
from benchmarks.evaluation.families import outliers as family
from benchmarks.evaluation.tasks import outliers
from benchmarks.evaluation.tasks.outliers import auroc, curve_table, roc, squared_errors

from .test_families import measured

NAMES = [f"outliers_{setting}_auroc_{score}" for setting in family.SETTINGS for score in family.SCORES]
OF_DATASET = NAMES[:3]


def scores(n, m, levels=None):
    """Overlapping scores of ``n`` images and ``m`` outliers; with ``levels``, they are rounded so that ties occur."""
    inside, outside = torch.randn(n).double(), torch.randn(m).double() + 0.7
    return (inside, outside) if levels is None else ((inside * levels).round(), (outside * levels).round())


def by_scikit_learn(inside, outside):
    return roc_auc_score([0] * len(inside) + [1] * len(outside), torch.cat([inside, outside]))


@pytest.mark.parametrize("levels", [None, 5, 1])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (300, 200), (40, 333)])
def test_the_area_is_scikit_learns(n, m, levels):
    inside, outside = scores(n, m, levels)
    assert auroc(inside, outside) == pytest.approx(by_scikit_learn(inside, outside), abs=1e-12)


def test_the_area_is_the_share_of_pairs_with_ties_counted_half():
    inside, outside = torch.tensor([1.0, 2.0, 2.0, 5.0]), torch.tensor([2.0, 2.0, 4.0, 0.0, 5.0])
    pairs = [(b > a) + 0.5 * (b == a) for a, b in itertools.product(inside.tolist(), outside.tolist())]
    assert auroc(inside, outside) == pytest.approx(sum(pairs) / 20, abs=1e-15)
    assert auroc(torch.zeros(3), torch.zeros(7)) == 0.5


@pytest.mark.parametrize("levels", [None, 2])
def test_exchanging_images_and_outliers_gives_one_minus_the_area(levels):
    inside, outside = scores(50, 70, levels)
    assert auroc(inside, outside) > 0.6
    assert auroc(outside, inside) == pytest.approx(1 - auroc(inside, outside), abs=1e-12)


def test_separated_scores_have_an_area_of_one_infinite_ones_rank_and_others_have_none():
    assert auroc(torch.arange(5.0), torch.arange(5.0, 8.0)) == 1
    assert auroc(torch.tensor([0.0, 1.0]), torch.tensor([math.inf, 2.0])) == 1
    assert math.isnan(auroc(torch.tensor([0.0, 1.0]), torch.tensor([math.nan, 2.0])))


@pytest.mark.parametrize("levels", [None, 3])
def test_the_curve_is_scikit_learns_at_its_corners_and_its_area_the_area(levels):
    inside, outside = scores(30, 20, levels)
    false, true, _ = roc_curve([0] * 30 + [1] * 20, torch.cat([inside, outside]), drop_intermediate=False)
    curve, points = roc(inside, outside), torch.from_numpy(np.stack([false, true], axis=1))
    assert len(curve) < len(points)
    assert (curve[:, None] - points).abs().sum(2).min(1).values.max() < 1e-12
    # No three consecutive points of the curve are on a line.
    a, b = curve.diff(dim=0)[:-1], curve.diff(dim=0)[1:]
    assert (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs().min() > 1e-6
    assert torch.trapezoid(curve[:, 1], curve[:, 0]).item() == pytest.approx(auroc(inside, outside), abs=1e-12)


def test_a_long_curve_keeps_its_ends_and_its_area():
    inside, outside = scores(2000, 3000)
    curve = roc(inside, outside)
    assert len(curve) == outliers.POINTS
    assert curve[0].tolist() == [0, 0]
    assert curve[-1].tolist() == [1, 1]
    assert (curve.diff(dim=0) >= 0).all()
    assert torch.trapezoid(curve[:, 1], curve[:, 0]).item() == pytest.approx(auroc(inside, outside), abs=2e-3)
    assert roc(torch.zeros(4), torch.ones(3)).tolist() == [[0, 0], [0, 1], [1, 1]]


def test_the_squared_error_is_of_each_image():
    x = torch.tensor([[[[0.0, 1.0]]], [[[1.0, 1.0]]]])
    assert squared_errors(x, torch.zeros_like(x)).tolist() == [1, 2]


def test_the_table_names_setting_and_score_on_every_line():
    header, *lines = curve_table([("dataset", "mse", torch.tensor([[0.0, 0.0], [1 / 3, 1.0]]))]).splitlines()
    assert header == "setting,score,false_positive_rate,true_positive_rate"
    assert lines == ["dataset,mse,0.0000,0.0000", "dataset,mse,0.3333,1.0000"]


def dark_and_bright(count):
    """Binary images with about a tenth of their pixels set, and others with about nine tenths."""
    dark = (torch.rand(count, 1, 8, 8) < 0.1).float()
    return dark, 1 - (torch.rand(count + 7, 1, 8, 8) < 0.1).float()


def of_dark_images(samples=3):
    """The first arguments of evaluate(), with a model of one dark image.

    Its posterior is its prior, and every reconstruction and every p(x|z) is the dark image, whatever z.
    """
    variant, data, _ = measured()
    variant.decoder[-2].weight.data.zero_()
    # The biases are random so that no two images have equal scores.
    variant.decoder[-2].bias.data = -1 - 2 * torch.rand(64)
    variant.encoder[-1].weight.data.zero_()
    variant.encoder[-1].bias.data.zero_()
    return variant, data, EvaluationConfig(importance_samples=samples, generated_images=8, information_images=12)


def found_with(x, outside, model=None, **changes):
    variant, data, config = model or of_dark_images()
    sets = {"dataset": Outliers(outside, {"dataset": "bright"}), "class": "none left out"}
    data = EvaluationData(x, None, data.probe, None, data.spaces, outliers=sets, **changes)
    return evaluate(variant, data, config, 0)


def test_every_score_is_higher_for_outliers_and_exchanging_the_sets_turns_it_round():
    dark, bright = dark_and_bright(30)
    found, exchanged = found_with(dark, bright), found_with(bright, dark)
    for name in OF_DATASET:
        assert found.metrics[name] == 1, name
        assert exchanged.metrics[name] == 0, name
    assert {found.not_applicable[name] for name in NAMES[3:]} == {"none left out"}
    assert found.details["outliers_dataset"] == {"dataset": "bright", "test_images": 30, "outliers": 30}
    assert "dataset,mse,0.0000,1.0000" in found.tables["roc.csv"].splitlines()
    assert "class," not in found.tables["roc.csv"]


def test_no_other_number_sees_the_outliers_and_no_score_those_beside_it():
    dark, bright = dark_and_bright(40)
    mixed = torch.cat([dark[:20], bright[:20]])
    usual, bright = dark[20:30], bright[20:]
    one, other = found_with(mixed, bright), found_with(mixed, usual)
    variant, data, config = of_dark_images()
    none = evaluate(variant, EvaluationData(mixed, None, data.probe, None, data.spaces), config, 0)
    rest = [{k: v for k, v in found.metrics.items() if k not in NAMES} for found in (one, other, none)]
    assert rest[0] == rest[1] == rest[2]
    assert one.metrics[OF_DATASET[0]] > other.metrics[OF_DATASET[0]]
    # The area for two sets of outliers together is the mean of their areas, weighted by their sizes.
    together = found_with(mixed, torch.cat([bright, usual]))
    share = len(bright) / (len(bright) + len(usual))
    for name in OF_DATASET:
        expected = share * one.metrics[name] + (1 - share) * other.metrics[name]
        assert together.metrics[name] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("size", "decodes"), [(500, 10_000), (7, 11), (16, 3)])
def test_ragged_batches_give_the_same_areas(size, decodes, monkeypatch):
    dark, bright = dark_and_bright(33)
    x, outside = torch.cat([dark[:20], bright[:13]]), torch.cat([dark[20:], bright[13:]])
    whole = found_with(x, outside).metrics
    monkeypatch.setattr(evaluation, "BATCH", size)
    variant, data, config = of_dark_images()
    parts = found_with(x, outside, (variant, data, replace(config, decodes=decodes))).metrics
    for name in OF_DATASET:
        assert 0.1 < whole[name] < 0.9
        assert parts[name] == pytest.approx(whole[name], abs=1e-12)


def test_only_the_first_of_each_are_looked_at(monkeypatch):
    monkeypatch.setattr(family, "IMAGES", 20)
    dark, bright = dark_and_bright(30)
    found = found_with(torch.cat([dark[:20], bright[:10]]), torch.cat([bright[:20], dark[20:]]))
    assert [found.metrics[name] for name in OF_DATASET] == [1, 1, 1]
    assert found.details["outliers_dataset"] == {"dataset": "bright", "test_images": 20, "outliers": 20}
    # At most as many outliers as test images are used.
    assert found_with(dark[:5], bright).details["outliers_dataset"]["outliers"] == 5


def test_areas_of_images_and_their_own_copies_are_one_half():
    dark, bright = dark_and_bright(20)
    x = torch.cat([dark, bright])
    found = found_with(x, x.flip(0)).metrics
    assert found[OF_DATASET[0]] == 0.5
    # The score of an image may differ in its last digit between batches.
    for name in OF_DATASET[1:]:
        assert found[name] == pytest.approx(0.5, abs=0.5 / len(x))


def test_reconstructions_of_outliers_that_are_not_finite_cost_their_area_alone():
    dark, bright = dark_and_bright(20)
    variant, data, config = of_dark_images()
    reconstruct = variant.reconstruct
    variant.reconstruct = lambda x, condition=None: reconstruct(x) if x.mean() < 0.5 else torch.full_like(x, math.nan)
    found = found_with(dark, bright, (variant, data, config))
    assert found.not_applicable[OF_DATASET[0]] == "the score of 20 of 40 images is not a number"
    assert found.metrics[OF_DATASET[1]] == 1
    assert "dataset,mse" not in found.tables["roc.csv"]
    assert not found.failed


def test_what_a_model_or_the_data_lack_is_the_reason():
    _, data, config = of_dark_images()
    dark, bright = dark_and_bright(10)
    for name, needs in (("ae", "prior"), ("wae_mmd", "posterior_density")):
        variant, _, _ = measured(name)
        found = found_with(dark, bright, (variant, data, config))
        assert OF_DATASET[0] in found.metrics
        for metric in OF_DATASET[1:]:
            assert found.not_applicable[metric] == variant.unavailable()[needs]
    found = evaluate(*measured(), seed=0)
    assert {found.not_applicable[name] for name in NAMES} == {"no outliers were given"}
    assert "roc.csv" not in found.tables


def test_likelihoods_are_computed_once_for_both_families_from_the_stream_of_the_first():
    dark, bright = dark_and_bright(20)
    variant, data, config = measured()
    encoded = []
    variant.encoder.register_forward_hook(lambda module, inputs, output: encoded.append(len(output)))
    without = evaluate(variant, EvaluationData(dark, None, dark, None, data.spaces), config, 0)
    before = len(encoded)
    encoded.clear()
    found = found_with(dark, bright, (variant, data, config))
    # Outliers are encoded once for reconstructions and once for likelihoods; test images as often as before.
    assert len(encoded) == before + 2
    assert found.metrics["log_likelihood"] == without.metrics["log_likelihood"]
    assert found.metrics["elbo"] == without.metrics["elbo"]


@pytest.mark.parametrize("shared", ["likelihoods", "samples"])
def test_what_families_share_does_not_depend_on_which_of_them_asks_first(shared):
    variant, data, config = measured()
    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found = getattr(Context(variant, data, config, 0), shared)
        drawn.append(found["elbo"] if shared == "likelihoods" else found)
    assert torch.equal(*drawn)
    found = getattr(Context(variant, data, config, 1), shared)
    assert not torch.equal(found["elbo"] if shared == "likelihoods" else found, drawn[0])

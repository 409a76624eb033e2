"""Scores of codes with known answers: the factors themselves, a rotation of them, and noise."""

import itertools
import math

import numpy as np
import pytest
import torch

import variants
from benchmarks.config import EvaluationConfig
from benchmarks.data import Factor, Factors
from benchmarks.evaluation.disentanglement.information import (
    active,
    discretised,
    entropies,
    modularity,
    mutual_information,
    mutual_information_gap,
)
from benchmarks.evaluation.disentanglement.intervention import Sets, beta_vae_score, factor_vae_score
from benchmarks.evaluation.disentanglement.prediction import Part, dci, separated_attribute_predictability
from benchmarks.evaluation.disentanglement.scores import codes_of, scores, shares_of_entropy
from benchmarks.evaluation.evaluate import EvaluationData, evaluate
from variants.parts.networks import MLP
from variants.parts.observations import observation_model

# Three factors with 3, 4 and 5 values. The values of the first one, shape, are unordered.
SIZES = (3, 4, 5)
ORDERED = (False, True, True)
KINDS = (
    Factor("shape", ("square", "ellipse", "heart")),
    *(Factor(f"factor {size}", tuple(map(float, range(size)))) for size in SIZES[1:]),
)
# Every combination occurs equally often, so the factors are exactly independent.
GRID = np.array(list(itertools.product(*map(range, SIZES))) * 10)
NAMES = ("mig", "sap", "dci_disentanglement", "dci_completeness", "dci_informativeness", "modularity")
RANDOM = ("beta_vae_score", "factor_vae_score")


@pytest.fixture(autouse=True)
def fewer_sets(monkeypatch):
    monkeypatch.setattr("benchmarks.evaluation.disentanglement.intervention.SETS", 1000)


def perfect(values=GRID):
    """The factors themselves, each standardised, and a dimension that is always 0."""
    codes = (values - values.mean(0)) / values.std(0)
    return np.concatenate([codes, np.zeros((len(values), 1))], 1)


def rotated(values=GRID, seed=3):
    codes = perfect(values)[:, : len(SIZES)]
    turn, _ = np.linalg.qr(np.random.RandomState(seed).randn(len(SIZES), len(SIZES)))
    return codes @ turn


def noise(count):
    return np.random.RandomState(0).randn(count, 4)


def all_scores(codes, values=GRID, seed=0):
    """Every score, fitted and scored on the whole grid, whose factors are exactly independent."""
    part, random = Part(codes[:, active(codes)], values), np.random.RandomState(seed)
    information = mutual_information(*part)
    trees = dci(part, part, ORDERED, seed)
    return {
        "mig": mutual_information_gap(information, entropies(values)),
        "modularity": modularity(information),
        "sap": separated_attribute_predictability(part, part, ORDERED),
        "dci_disentanglement": trees.disentanglement,
        "dci_completeness": trees.completeness,
        "dci_informativeness": trees.informativeness,
        "beta_vae_score": beta_vae_score(part, part, random),
        "factor_vae_score": factor_vae_score(part, part, random),
    }


def test_the_factors_themselves_score_one():
    found = all_scores(perfect())
    for name in ("mig", "modularity", "sap", "factor_vae_score", "beta_vae_score"):
        assert found[name] == pytest.approx(1, abs=1e-9), name
    for name in ("dci_disentanglement", "dci_completeness", "dci_informativeness"):
        assert found[name] == pytest.approx(1, abs=1e-3), name


def test_a_dimension_that_is_constant_in_one_half_has_no_vote_and_makes_no_number_infinite():
    codes = perfect()
    constant, varying = np.zeros((len(codes), 1)), np.arange(len(codes))[:, None] % 2
    fitted = Part(np.concatenate([constant, codes], axis=1), GRID)
    scored = Part(np.concatenate([varying, codes], axis=1), GRID)
    with np.errstate(all="raise"):
        assert factor_vae_score(fitted, scored, np.random.RandomState(0)) == 1
        nothing = Part(constant, GRID)
        assert factor_vae_score(nothing, scored, np.random.RandomState(0)) == 1 / GRID.shape[1]


def test_a_rotation_of_them_scores_less_and_says_as_much():
    found = all_scores(rotated())
    for name in ("mig", "sap", "dci_disentanglement", "dci_completeness", "modularity"):
        assert found[name] < 0.8, name
    assert found["factor_vae_score"] < 0.95
    # Trees nevertheless predict the factors of the images that they are fitted on.
    assert found["dci_informativeness"] > 0.95


def test_noise_scores_about_zero_or_chance():
    values = np.random.RandomState(1).randint(0, SIZES, (3000, 3))
    codes = torch.from_numpy(noise(3000))
    found = scores(codes, Factors(KINDS, torch.from_numpy(values)), splits=1).means
    for name in ("mig", "sap", "dci_disentanglement", "dci_completeness", "dci_informativeness"):
        assert found[name] < 0.05, name
    for name in RANDOM:
        assert found[name] == pytest.approx(1 / 3, abs=0.05), name


@pytest.mark.parametrize("make", [perfect, rotated])
def test_permuted_dimensions_and_flipped_signs_change_nothing(make):
    codes = make()
    order = [2, 0, 1, *range(3, codes.shape[1])]
    signs = np.array([-1, 1, -1, 1][: codes.shape[1]])
    before, after = all_scores(codes), all_scores(codes[:, order] * signs)
    # Trees break ties by the order of dimensions, and a logistic regression stops at a slightly different point.
    tolerance = {"beta_vae_score": 2e-3} | dict.fromkeys(
        ("dci_disentanglement", "dci_completeness", "dci_informativeness"), 0.02
    )
    for name, value in before.items():
        assert after[name] == pytest.approx(value, abs=tolerance.get(name, 1e-9)), name


def test_a_code_of_another_scale_scores_the_same():
    codes, scaled = rotated(), rotated() * [0.2, 10, 3]
    before, after = all_scores(codes), all_scores(scaled)
    for name, value in before.items():
        assert after[name] == pytest.approx(value, abs=0.02), name


def test_mutual_information_is_that_of_the_table_of_counts():
    z = np.array([0.0, 0.0, 1.0, 1.0, 0.0, 1.0])[:, None]
    v = np.array([0, 0, 1, 1, 1, 0])[:, None]
    # The table has two cells of 2 / 6 and two of 1 / 6, and its margins are one half.
    expected = 2 * (2 / 6) * math.log((2 / 6) / 0.25) + 2 * (1 / 6) * math.log((1 / 6) / 0.25)
    assert mutual_information(z, v)[0, 0] == pytest.approx(expected, rel=1e-12)
    assert entropies(v)[0] == pytest.approx(math.log(2), rel=1e-12)


def test_the_rounding_error_of_a_constant_is_not_an_active_dimension():
    constant = np.full((1000, 2), 0.1)
    assert (constant.var(0) > 0).any()
    assert not active(constant).any()


def test_scores_do_not_draw_from_the_callers_random_numbers():
    part = Part(GRID.astype(float), GRID)
    before = np.random.get_state()[2]
    separated_attribute_predictability(part, part, ORDERED)
    assert np.random.get_state()[2] == before


def test_there_are_twenty_bins_of_equal_widths_and_a_constant_has_one():
    z = np.linspace(-2, 2, 1000)
    bins = discretised(np.stack([z, np.zeros(1000)], 1))
    assert np.bincount(bins[:, 0]).tolist() == [50] * 20
    assert (bins[:, 1] == 0).all()


def test_dimensions_are_active_above_a_variance_of_a_hundredth_or_of_a_hundredth_of_the_largest():
    signs = np.array([-1.0, 1.0])[:, None]
    assert active(signs * np.sqrt([4, 0.0101, 0.0099])).tolist() == [True, True, False]
    assert active(signs * np.sqrt([0.1, 0.00101, 0.00099])).tolist() == [True, True, False]


def test_the_gap_is_to_the_second_best_dimension_over_the_factors_entropy():
    information = np.array([[0.9, 0.1], [0.3, 0.2], [0.0, 0.5]])
    entropy = np.array([1.0, 0.5])
    assert mutual_information_gap(information, entropy) == pytest.approx(((0.9 - 0.3) / 1 + (0.5 - 0.2) / 0.5) / 2)
    assert mutual_information_gap(information[:1], entropy) == pytest.approx((0.9 + 0.1 / 0.5) / 2)


def test_modularity_is_one_minus_the_mean_deviation_from_a_template():
    information = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 3.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    # Deviations: (1/2)^2 / 2 in the first dimension, 0 in the second, 1 in the third. The fourth has no
    # information and does not count.
    assert modularity(information) == pytest.approx(1 - (0.25 / 2 + 0 + 1) / 3)
    assert modularity(information[3:]) == 0
    assert modularity(information[:, :1]) == 1


def test_dci_weighs_dimensions_by_importance_and_takes_entropies_to_the_right_base():
    """Two dimensions and three factors, so that the bases of the logarithms differ.

    One dimension encodes the first factor, the other the second and third.
    """
    values = GRID
    codes = np.stack([values[:, 0], values[:, 1] * 5 + values[:, 2]], 1).astype(float)
    found = dci(Part(codes, values), Part(codes, values), ORDERED, 0)
    assert found.importance == pytest.approx(np.array([[1, 0, 0], [0, 1, 1]]), abs=1e-6)
    # The second dimension encodes two factors equally: its entropy to base 3 is log 2 / log 3, and it has two
    # thirds of the importance.
    assert found.disentanglement == pytest.approx(1 / 3 + 2 / 3 * (1 - math.log(2) / math.log(3)), abs=1e-5)
    assert found.completeness == pytest.approx(1, abs=1e-6)


def test_informativeness_is_of_other_images_than_the_trees_are_fitted_on():
    values = np.random.RandomState(1).randint(0, SIZES, (300, 3))
    codes = noise(300)
    seen, other = Part(codes[:150], values[:150]), Part(codes[150:], values[150:])
    assert dci(seen, seen, ORDERED, 0).informativeness > 0.5
    assert dci(seen, other, ORDERED, 0).informativeness < 0.05


def test_sap_of_an_ordered_factor_is_a_gap_of_squared_correlations():
    v = np.random.RandomState(0).randint(0, 5, 2000)
    codes = np.stack([v + np.random.RandomState(s).randn(2000) * s for s in (1, 2, 3)], 1)
    squared = sorted((np.corrcoef(z, v)[0, 1] ** 2 for z in codes.T), reverse=True)
    part = Part(codes, v[:, None])
    assert separated_attribute_predictability(part, part, [True]) == pytest.approx(squared[0] - squared[1], rel=1e-9)


def test_sap_of_classes_is_from_chance():
    v = np.repeat([0, 1, 2], 100)
    z = np.where(v == 2, 1.0, 0.0)  # finds only the third class: balanced accuracy 2/3, half way from chance to 1
    alone = Part(z[:, None], v[:, None])
    assert separated_attribute_predictability(alone, alone, [False]) == pytest.approx(0.5)
    twice = Part(np.stack([z, z], 1), v[:, None])
    assert separated_attribute_predictability(twice, twice, [False]) == 0


def test_sets_hold_one_value_and_let_the_others_vary():
    sets = Sets(GRID, np.random.RandomState(0))
    factors, rows = sets.draw(600, 30)
    assert np.bincount(factors).min() > 150
    for k in range(3):
        held = GRID[rows[factors == k]]
        assert (held[:, :, k] == held[:, :1, k]).all()
        for other in {0, 1, 2} - {k}:
            share = np.bincount(held[:, :, other].ravel(), minlength=SIZES[other]) / held[:, :, other].size
            assert share == pytest.approx(np.full(SIZES[other], 1 / SIZES[other]), abs=0.02)
        assert np.bincount(held[:, 0, k]).min() > 0


def test_dimensions_out_of_use_change_no_score():
    """The mean of a collapsed posterior still depends slightly on the image, and would score if it were scaled up."""
    codes = rotated()
    collapsed = np.concatenate([1e-3 * perfect(), codes], 1)
    assert active(collapsed).tolist() == [False] * 4 + [True] * 3
    assert all_scores(collapsed) == all_scores(codes)
    found = scores(torch.from_numpy(collapsed), factors(), 1)
    assert found.dimensions == 3
    assert found.values == scores(torch.from_numpy(codes), factors(), 1).values
    # All dimensions of small codes are in use if they vary equally.
    assert active(1e-3 * codes).all()


def factors(values=GRID, kinds=KINDS):
    return Factors(kinds, torch.from_numpy(values))


def test_splits_differ_and_are_the_same_at_every_call():
    codes = torch.from_numpy(rotated())
    first, again = scores(codes, factors(), 2), scores(codes, factors(), 2)
    assert first.values == again.values
    assert first.images == len(GRID) // 2
    assert first.factors == ("shape", "factor 4", "factor 5")
    assert set(first.values) == {*NAMES, *RANDOM}
    assert first.spreads["mig"] > 0
    assert first.means["mig"] == pytest.approx(sum(first.values["mig"]) / 2)
    assert scores(codes, factors(), 1, seed=1).values["mig"][0] == first.values["mig"][1]
    assert set(scores(codes, factors(), 1).spreads.values()) == {0.0}


@pytest.mark.parametrize(
    ("codes", "values", "message"),
    [
        (rotated() * np.nan, GRID, "codes are not finite"),
        (rotated()[:10], GRID[:10], "10 images are too few: 20 are needed"),
        (np.ones_like(GRID, dtype=float), GRID, "no dimension of the code is in use"),
        (rotated()[:-1], GRID, "there are 599 codes and the factors of 600 images"),
        (rotated(), np.zeros_like(GRID), "no factor has more than one value"),
    ],
)
def test_what_cannot_be_scored_says_why(codes, values, message):
    with pytest.raises(ValueError, match=message):
        scores(torch.from_numpy(codes), factors(values), 1)


def test_a_factor_with_one_value_among_the_images_is_left_out():
    values = GRID.copy()
    values[:, 1] = 2
    assert scores(torch.from_numpy(perfect(GRID)), factors(values), 1).factors == ("shape", "factor 5")


def test_shares_of_entropy_are_one_where_a_dimension_is_the_factor():
    found = shares_of_entropy(torch.from_numpy(perfect()), factors())
    expected = torch.eye(4, 3, dtype=torch.float64)
    assert torch.allclose(found, expected, atol=1e-9)


def small(name, **options):
    cls = variants.lookup(name)
    observation = observation_model("bernoulli", (1, 4, 4), trained=cls.trains_observation)
    return cls(cls.Config(**options), (1, 4, 4), MLP(latent_size=3, hidden=[8], grid_size=2), observation).eval()


def evaluated(name, known=True):
    x = (torch.rand(len(GRID), 1, 4, 4) < 0.5).float()
    data = EvaluationData(x, None, x[:0], None, {}, factors=factors() if known else None)
    return evaluate(small(name), data, EvaluationConfig(importance_samples=2, generated_images=2), seed=0)


def test_the_family_enters_means_and_the_record_says_of_how_many_images_and_their_spread(monkeypatch):
    monkeypatch.setattr("benchmarks.evaluation.disentanglement.scores.RANDOM_SPLITS", 2)
    found = evaluated("vae")
    assert {*NAMES, *RANDOM} <= found.metrics.keys()
    details = found.details["disentanglement"]
    assert details["images"] == 300
    assert details["restarts"] == 2
    assert details["factors"] == ["shape", "factor 4", "factor 5"]
    assert details["spread"].keys() == {*NAMES, *RANDOM}


def test_data_without_known_factors_and_models_of_discrete_codes_have_the_reason():
    assert evaluated("vae", known=False).not_applicable["mig"] == "the factors of variation are not known"
    reason = small("vq_vae").unavailable()["continuous_latent"]
    assert evaluated("vq_vae").not_applicable["mig"] == reason


def test_a_discrete_variable_beside_continuous_ones_is_one_dimension_of_the_code():
    model, x = small("joint_vae", continuous=2, categories=4), (torch.rand(5, 1, 4, 4) < 0.5).float()
    codes = codes_of(model, x)
    assert codes.shape == (5, 3)
    assert torch.equal(codes[:, 2].long(), model.discrete_code(x)[:, 0])

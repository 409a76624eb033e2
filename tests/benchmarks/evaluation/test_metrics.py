"""Every metric in a case with a known answer, and over one batch as over many with a smaller last one."""

import math
import re

import numpy as np
import pytest
import torch
from pytorch_fid.fid_score import calculate_frechet_distance
from scipy.signal import convolve2d
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

import variants
from benchmarks.evaluation import information as evaluation_information
from benchmarks.evaluation import reconstruction
from benchmarks.evaluation.discrete import category_accuracy, code_perplexity
from benchmarks.evaluation.families.sample_quality import NEIGHBOURS
from benchmarks.evaluation.features.frechet import frechet_distance, statistics
from benchmarks.evaluation.features.kid import kid, unbiased_mmd
from benchmarks.evaluation.features.manifold import manifold
from benchmarks.evaluation.information import densities, information
from benchmarks.evaluation.likelihood import elbo, log_likelihood, standard_error
from benchmarks.evaluation.reconstruction import feature_distance, ms_ssim, mse, psnr, ssim
from benchmarks.evaluation.representation import active_units, knn_accuracy, linear_probe_accuracy, subset
from benchmarks.records.catalogue import CATALOGUE
from variants.parts.distributions import DiagonalNormal, Distribution, StandardNormal

from ...variants.models import small

# Likelihood


def test_both_likelihoods_come_from_one_array_over_its_first_axis():
    log_w = torch.tensor([[0.0, 1.0], [2.0, 1.0], [1.0, 4.0]])  # 3 samples of 2 images
    assert elbo(log_w).tolist() == [1.0, 2.0]
    expected = [math.log((1 + math.e**2 + math.e) / 3), math.log((math.e + math.e + math.e**4) / 3)]
    assert log_likelihood(log_w).tolist() == pytest.approx(expected, rel=1e-12)


def test_equal_weights_give_the_weight_whatever_k():
    for K in (1, 2, 1000):
        assert log_likelihood(torch.full((K, 1), -90.0)).item() == pytest.approx(-90, abs=1e-9)


def test_the_standard_error_is_over_images():
    assert standard_error(torch.tensor([1.0, 2.0, 3.0, 4.0])) == pytest.approx(np.std([1, 2, 3, 4], ddof=1) / 2)
    assert standard_error(torch.tensor([1.0])) == math.inf


# Fréchet distance


def test_the_distance_of_two_gaussians_with_commuting_covariances_is_its_closed_form():
    d, n = 4, 200_000
    scales = torch.tensor([1.0, 2.0, 0.5, 3.0])
    a = torch.randn(n, d) * scales
    b = torch.randn(n, d) * 2 + 1
    expected = d + ((scales - 2) ** 2).sum().item()
    assert frechet_distance(statistics(a), statistics(b)) == pytest.approx(expected, rel=0.02)


def test_the_distance_is_pytorch_fids():
    mix = torch.randn(64, 64)
    a, b = torch.randn(500, 64) @ mix, torch.randn(400, 64) + 0.3
    ours = frechet_distance(statistics(a), statistics(b))
    moments = [(np.mean(f.numpy(), 0), np.cov(f.double().numpy(), rowvar=False)) for f in (a, b)]
    assert ours == pytest.approx(calculate_frechet_distance(*moments[0], *moments[1]), rel=1e-3)


def test_fewer_images_than_dimensions_still_give_a_finite_distance_and_none_to_itself():
    a, b = statistics(torch.randn(10, 50)), statistics(torch.randn(12, 50) + 1)
    assert math.isfinite(frechet_distance(a, b))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-4)
    with pytest.raises(ValueError, match="needs two features or more, got 1"):
        statistics(torch.randn(1, 5))


# KID


def test_kid_is_unbiased_at_equal_distributions_and_positive_at_shifted_ones():
    values = torch.stack([unbiased_mmd(torch.randn(60, 8).double(), torch.randn(60, 8).double()) for _ in range(200)])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(200)
    value, error = kid(torch.randn(2000, 8), torch.randn(2000, 8) + 0.5)
    assert value > 10 * error > 0


def test_kid_of_a_sorted_test_set_is_that_of_the_shuffled_one():
    """Blocks of consecutive images would add the spread of the blocks to the distance: 1.5 here."""
    drift = torch.rand(4000, 1) * 2 - 1
    value, error = kid(torch.randn(2000, 8) + drift[:2000], torch.randn(2000, 8) + drift[2000:].sort(0).values)
    assert abs(value) < 4 * error < 0.5


def test_kid_of_images_that_resemble_the_test_images_at_their_places_is_not_biased():
    """So do those of a conditional model. In blocks of pairs the distance would be -0.033, here in blocks with one pair
    in twenty."""
    conditions = torch.randn(10_000, 8)
    value, error = kid(conditions + 0.1 * torch.randn(10_000, 8), conditions + 0.1 * torch.randn(10_000, 8))
    assert abs(value) < 0.033 / 20 + 4 * error < 0.01


def test_kid_with_a_linear_shift_is_its_double_sum():
    a, b = torch.randn(5, 3).double(), torch.randn(4, 3).double()

    def k(x, y):
        return (float(x @ y) / 3 + 1) ** 3

    within = sum(k(a[i], a[j]) for i in range(5) for j in range(5) if i != j) / 20
    within += sum(k(b[i], b[j]) for i in range(4) for j in range(4) if i != j) / 12
    across = sum(k(x, y) for x in a for y in b) / 20
    assert unbiased_mmd(a, b).item() == pytest.approx(within - 2 * across)


# Precision, recall, density, coverage


def test_a_copy_of_the_data_has_everything_and_far_away_images_nothing():
    real = torch.randn(300, 6)
    same = manifold(real, real.clone(), NEIGHBOURS)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    assert manifold(real, real + 100, NEIGHBOURS) == (0, 0, 0, 0)


def test_one_mode_of_two_has_precision_without_recall():
    left, right = torch.randn(200, 4), torch.randn(200, 4) + 50
    found = manifold(torch.cat([left, right]), torch.randn(400, 4), NEIGHBOURS)
    assert found.precision > 0.9
    assert found.recall < 0.6
    assert found.coverage < 0.55


def test_density_and_coverage_of_equal_distributions_are_near_their_expectations():
    found = manifold(torch.randn(1500, 8), torch.randn(1500, 8), NEIGHBOURS)
    assert found.density == pytest.approx(1, abs=0.1)
    assert found.coverage == pytest.approx(1 - 2**-5, abs=0.03)


def test_too_few_images_for_the_neighbours_are_refused():
    with pytest.raises(ValueError, match="5 nearest neighbours need more images"):
        manifold(torch.randn(5, 2), torch.randn(50, 2), NEIGHBOURS)


# Reconstruction


def test_errors_of_a_constant_shift_are_known():
    x = torch.full((3, 1, 16, 16), 0.5)
    assert mse(x, x + 0.1) == pytest.approx(0.01)
    assert psnr(x, x + 0.1) == pytest.approx(20)
    assert psnr(x, x) == pytest.approx(100)


def gaussian_window(size, sigma):
    weights = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
    window = np.outer(weights, weights)
    return window / window.sum()


def ssim_by_scipy(x, y, window):
    """Wang et al. (2004), eq. 13, at every position of the window inside one image."""

    def mean(values):
        return convolve2d(values, window, mode="valid")

    m_x, m_y = mean(x), mean(y)
    v_x, v_y, c = mean(x * x) - m_x**2, mean(y * y) - m_y**2, mean(x * y) - m_x * m_y
    return np.mean(
        (2 * m_x * m_y + 0.01**2) * (2 * c + 0.03**2) / ((m_x**2 + m_y**2 + 0.01**2) * (v_x + v_y + 0.03**2))
    )


@pytest.mark.parametrize(("height", "width", "size"), [(28, 28, 11), (16, 13, 11), (8, 8, 7), (9, 20, 9), (3, 3, 3)])
def test_ssim_is_wangs_with_a_gaussian_window_and_not_with_a_box(height, width, size):
    x = torch.rand(3, 2, height, width, dtype=torch.float64)
    y = (x + 0.2 * torch.randn_like(x)).clamp(0, 1)
    pairs = list(zip(x.flatten(0, 1).numpy(), y.flatten(0, 1).numpy(), strict=True))
    gaussian = np.mean([ssim_by_scipy(a, b, gaussian_window(size, 1.5 * size / 11)) for a, b in pairs])
    box = np.mean([ssim_by_scipy(a, b, np.full((size, size), 1 / size**2)) for a, b in pairs])
    assert ssim(x, y) == pytest.approx(gaussian, abs=1e-9)
    assert abs(gaussian - box) > 1e-3


def test_ssim_is_one_for_equal_images_and_needs_a_window():
    x = torch.rand(4, 1, 28, 28)
    assert ssim(x, x) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="images of 3 pixels"):
        ssim(torch.rand(1, 1, 2, 9), torch.rand(1, 1, 2, 9))


def test_ms_ssim_is_defined_from_176_pixels_where_the_last_scale_holds_one_window():
    x = torch.rand(1, 1, 176, 180)
    assert ms_ssim(x, x) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="176 pixels"):
        ms_ssim(x[..., :175], x[..., :175])
    with pytest.raises(ValueError, match="image width must be larger"):
        multiscale_structural_similarity_index_measure(x[..., :175], x[..., :175], data_range=1.0)


def test_a_ragged_last_batch_changes_nothing(monkeypatch):
    x, y = torch.rand(11, 1, 16, 16), torch.rand(11, 1, 16, 16)
    whole = ssim(x, y)
    monkeypatch.setattr(reconstruction, "BATCH", 4)
    assert ssim(x, y) == pytest.approx(whole, rel=1e-6)


def test_feature_distance_is_a_root_mean_square():
    assert feature_distance(torch.zeros(2, 4), torch.full((2, 4), 3.0)) == pytest.approx(3)


# Representation


def test_classifiers_find_separated_classes_and_nothing_in_noise():
    labels = torch.arange(3).repeat(100)
    for features, low, high in ((torch.eye(3)[labels] * 10, 0.98, 1), (torch.zeros(300, 3), 0.2, 0.5)):
        values = features + torch.randn(300, 3)
        for accuracy in (knn_accuracy, linear_probe_accuracy):
            assert low <= accuracy(values[:150], labels[:150], values[150:], labels[150:]) <= high


def test_the_linear_probe_scales_training_and_test_codes_alike():
    labels = torch.arange(40) % 2
    codes = 1000 + 0.01 * labels[:, None] + 0.001 * torch.randn(40, 1, generator=torch.Generator().manual_seed(0))
    assert linear_probe_accuracy(codes[:20], labels[:20], codes[20:], labels[20:]) == 1


def standard_posteriors(means, size):
    """Unit normals at ``means`` (n, d), in batches of ``size``."""
    return [DiagonalNormal(part, torch.zeros_like(part)) for part in means.split(size)]


@pytest.mark.parametrize("size", [64, 10])
def test_information_of_separate_and_of_equal_posteriors(size):
    n, d = 64, 2
    # The posteriors are far apart, so each code identifies its image.
    centres = 100 * torch.arange(n, dtype=torch.double)[:, None].expand(n, d)
    for spread_out in (True, False):
        mean = centres if spread_out else torch.zeros(n, d, dtype=torch.double)
        z = mean + torch.randn(n, d)
        log_prior = StandardNormal(d, like=z).log_prob(z)
        log_q, log_aggregate = densities(standard_posteriors(mean, size), z)
        mutual, marginal = information(log_q, log_aggregate, log_prior)
        assert mutual == pytest.approx(math.log(n) if spread_out else 0, abs=1e-6)
        assert mutual <= math.log(n) + 1e-12
        if not spread_out:
            assert marginal == pytest.approx(0, abs=1e-6)
        assert mutual + marginal == pytest.approx((log_q - log_prior).mean().item())


class Rotated(Distribution):
    """A distribution that does not compute all pairs at once, such as a flow."""

    def __init__(self, base):
        self.base = base
        super().__init__(base.batch_shape, base.event_shape)

    def log_prob(self, value):
        return self.base.log_prob(value.flip(-1))


@pytest.mark.parametrize("kind", [lambda q: q, Rotated])
def test_densities_in_blocks_are_those_of_the_loop_over_all_pairs(kind, monkeypatch):
    monkeypatch.setattr(evaluation_information, "BLOCK", 5)
    loc, log_scale = torch.randn(23, 4, dtype=torch.double), torch.randn(23, 4, dtype=torch.double)
    z = torch.randn(23, 4, dtype=torch.double)
    parts = zip(loc.split(7), log_scale.split(7), strict=True)
    log_q, log_aggregate = densities([kind(DiagonalNormal(*part)) for part in parts], z)
    whole = kind(DiagonalNormal(loc, log_scale))
    pairs = torch.stack([whole.log_prob(one.expand_as(z)) for one in z])
    assert torch.allclose(log_q, pairs.diagonal(), rtol=1e-11)
    assert torch.allclose(log_aggregate, pairs.exp().mean(1).log(), rtol=1e-11)


def test_active_units_vary_over_images():
    means = torch.randn(1000, 3) * torch.tensor([1.0, 0.05, 0.2])
    assert active_units(means) == 2


def test_active_units_without_a_prior_do_not_depend_on_the_scale_of_the_code():
    means = torch.randn(1000, 3) * torch.tensor([1.0, 0.05, 0.2])
    for scale in (100, 1, 0.01):
        assert active_units(scale * means, scaled=False) == 2


def test_code_perplexity_counts_values_in_use():
    uniform = torch.arange(8).repeat(10)[:, None]
    assert code_perplexity(uniform) == pytest.approx(8)
    assert code_perplexity(torch.cat([uniform, torch.zeros_like(uniform)], 1)) == pytest.approx(4.5)


def test_category_accuracy_is_blind_to_names():
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    assert category_accuracy(torch.tensor([2, 2, 0, 0, 1, 1]), labels) == 1
    assert category_accuracy(torch.tensor([5, 5, 5, 5, 5, 5]), labels) == pytest.approx(1 / 3)


def test_subsets_are_fixed_and_within_bounds():
    assert torch.equal(subset(100, 10, 0), subset(100, 10, 0))
    assert len(subset(100, 10, 0).unique()) == 10
    assert torch.equal(subset(5, 10, 0), torch.arange(5))


def test_every_standard_error_in_the_catalogue_is_in_the_catalogue():
    for metric in CATALOGUE.values():
        assert metric.standard_error is None or metric.standard_error in CATALOGUE


def test_a_reason_that_points_to_a_metric_names_one_as_its_column_does():
    models = [small(name) for name in variants.names() if variants.lookup(name).__module__.startswith("variants.")]
    named = [seen for model in models for reason in model.unavailable().values()
             for seen in re.findall(r"\bsee (.+)", reason)]  # fmt: skip
    assert len(named) >= 2
    assert set(named) <= {metric.label for metric in CATALOGUE.values()}

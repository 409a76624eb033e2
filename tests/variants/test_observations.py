"""Observation models: each is a normalised distribution over pixels, whatever its parameters."""

import math
from itertools import pairwise

import pytest
import torch
from scipy import integrate, stats

from variants.parts.observations import (
    OBSERVATION_MODELS,
    BernoulliImage,
    CalibratedBernoulliImage,
    CompletedImage,
    ContinuousBernoulliImage,
    DiscretisedLogisticImage,
    LogCoshImage,
    NormalImage,
    log_sinhc,
    observation_model,
)

# All 256 levels of one pixel, as a batch of 256 images.
LEVELS = (torch.arange(256, dtype=torch.float64) / 255).reshape(256, 1, 1, 1)


def one_pixel(value):
    return torch.tensor(value, dtype=torch.float64).reshape(1, 1, 1, 1)


def test_bernoulli_pixels_sum_to_one_over_all_images():
    images = torch.tensor([[(i >> b) & 1 for b in range(4)] for i in range(16)], dtype=torch.float64).view(16, 1, 2, 2)
    p = BernoulliImage(torch.randn(1, 2, 2, dtype=torch.float64) * 3)
    assert p.log_prob(images).exp().sum() == pytest.approx(1)


@pytest.mark.parametrize("scale", [1e-3, 3, 300])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 5), (1, 28, 28), (3, 5, 7), (3, 64, 64)])
def test_the_bernoulli_mass_and_its_gradient_are_the_cross_entropys(shape, scale):
    x = torch.rand(2, *shape, dtype=torch.float64).round()
    logits = (scale * torch.randn(3, 2, *shape, dtype=torch.float64)).requires_grad_()
    of_image = BernoulliImage(logits).log_prob(x)
    expected = -torch.nn.functional.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
    assert torch.allclose(of_image, expected.sum((-3, -2, -1)), rtol=1e-12)
    single = BernoulliImage(logits.float()).log_prob(x.float())
    assert torch.allclose(single.double(), of_image, rtol=1e-5, atol=1e-3)
    # Each image has its own weight, so that a gradient for the wrong image would be noticed.
    weights = torch.rand(3, 2, dtype=torch.float64)
    own, other = (
        torch.autograd.grad((w * weights).sum(), logits, retain_graph=True)[0]
        for w in (of_image, expected.sum((-3, -2, -1)))
    )
    assert torch.allclose(own, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("logit", [-200.0, -5.0, -0.6, -0.4, -1e-3, 0.0, 0.49, 0.51, 7.0, 500.0])
def test_continuous_bernoulli_masses_sum_to_one_over_the_256_levels(logit):
    d = ContinuousBernoulliImage(one_pixel(logit))
    assert d.log_prob(LEVELS).exp().sum().item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("logit", [-5.0, -0.3, 0.3, 7.0])
def test_a_continuous_bernoulli_mass_is_torchs_density_integrated_over_its_interval(logit):
    density = torch.distributions.ContinuousBernoulli(logits=torch.tensor(logit).double(), validate_args=False)
    for byte in (0, 100, 255):
        edges = torch.tensor([byte / 256, (byte + 1) / 256], dtype=torch.float64)
        expected = (density.cdf(edges[1]) - density.cdf(edges[0])).item()
        mass = ContinuousBernoulliImage(one_pixel(logit)).log_prob(one_pixel(byte / 255)).exp().item()
        assert mass == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("log_scale", [-7.0, -4.0, -2.5, 0.0, 2.0])
@pytest.mark.parametrize("location", [0.0, 0.123, 0.5, 1.0])
def test_discretised_logistic_masses_sum_to_one_over_the_256_levels(location, log_scale):
    d = DiscretisedLogisticImage(one_pixel(location), torch.tensor(log_scale).double())
    assert d.log_prob(LEVELS).exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_the_discretised_logistic_stays_bounded_and_finite_as_its_scale_vanishes():
    x = torch.full((1, 1, 2, 2), 128 / 255)
    for log_scale in (-5.0, -10.0, -20.0):
        log_scale = torch.tensor(log_scale, requires_grad=True)
        log_p = DiscretisedLogisticImage(x, log_scale).log_prob(x)
        assert log_p.item() <= 0
        assert torch.autograd.grad(log_p.sum(), log_scale)[0].isfinite()


def test_a_discretised_logistic_mass_is_the_cdfs_difference_over_its_bin():
    location, scale = 0.4, 0.05
    d = DiscretisedLogisticImage(one_pixel(location), torch.tensor(scale, dtype=torch.float64).log())
    for byte in (1, 90, 254):
        cdf = stats.logistic(location, scale).cdf
        expected = cdf((byte + 0.5) / 255) - cdf((byte - 0.5) / 255)
        assert d.log_prob(one_pixel(byte / 255)).exp().item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", [NormalImage, LogCoshImage])
@pytest.mark.parametrize("scale", [0.02, 0.3])
def test_densities_integrate_to_one(kind, scale):
    d = kind(one_pixel(0.4), torch.tensor(scale, dtype=torch.float64).log())
    # Integrate over pieces of the line, so that the quadrature finds the peak.
    edges = [0.4 + scale * t for t in (-80, -20, -5, -1, 0, 1, 5, 20, 80)]
    total = sum(integrate.quad(lambda y: d.log_density(one_pixel(y)).exp().item(), a, b)[0] for a, b in pairwise(edges))
    assert total == pytest.approx(1, abs=1e-6)


def test_the_log_cosh_density_is_the_log_cosh_loss_up_to_its_constant():
    # Chen et al. 2019, eq. 9, with s = 1: -log p = (1/a) log cosh(a t) + log Z.
    a, y = LogCoshImage.sharpness, torch.linspace(-2, 2, 9).double().reshape(9, 1, 1, 1)
    d = LogCoshImage(one_pixel(0.0), torch.tensor(0.0).double())
    log_Z = math.log(integrate.quad(lambda t: math.cosh(a * t) ** (-1 / a), -60, 60, points=[-1, 0, 1])[0])
    expected = -torch.log(torch.cosh(a * y)) / a - log_Z
    assert torch.allclose(d.log_density(y), expected, atol=1e-8)


def test_a_normal_pixel_is_bounded_by_the_mass_of_its_level_and_meets_it_where_the_density_is_flat():
    byte = one_pixel(100 / 255)
    for scale, gap in ((0.3, 1e-4), (0.002, 10.0)):
        d = NormalImage(one_pixel(0.38), torch.tensor(scale, dtype=torch.float64).log())
        drawn = d.log_prob(byte.expand(20_000, 1, 1, 1))
        cdf = stats.norm(0.38, scale).cdf
        exact = math.log(cdf(101 / 256) - cdf(100 / 256))
        assert drawn.mean().item() < exact + 5 * drawn.std().item() / 20_000**0.5
        assert exact - drawn.mean().item() < gap


def test_every_draw_of_z_has_a_dequantisation_of_its_own():
    """With one for all draws, importance-sampled likelihoods would depend on how many draws are decoded at a time."""
    d = NormalImage(one_pixel(0.38).expand(100_000, 1, 1, 1), torch.tensor(0.002, dtype=torch.float64).log())
    drawn = d.log_prob(one_pixel(100 / 255))
    cdf = stats.norm(0.38, 0.002).cdf
    exact = math.log(cdf(101 / 256) - cdf(100 / 256))
    assert drawn.logsumexp(0).item() - math.log(100_000) == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize("name", [name for name, model in OBSERVATION_MODELS.items() if not model.binary])
def test_the_expected_mass_over_the_levels_is_at_most_one(name):
    # The reported bits/dim must bound a code length: the sum over levels of exp(E log p) is at most 1.
    torch.manual_seed(0)
    d = observation_model(name, (1, 1, 1)).double()(one_pixel(0.7))
    mean_log_mass = torch.stack([d.log_prob(LEVELS) for _ in range(50)]).mean(0)
    assert mean_log_mass.exp().sum().item() <= 1 + 1e-3


@pytest.mark.parametrize("logit", [-40.0, -3.0, -0.3, 0.3, 3.0, 40.0])
def test_the_continuous_bernoulli_mean_is_the_mean_of_its_masses(logit):
    d = ContinuousBernoulliImage(one_pixel(logit))
    mean = (d.log_prob(LEVELS).exp() * LEVELS.flatten()).sum().item()
    # The two differ by the curvature of the density within a level.
    assert d.mean.item() == pytest.approx(mean, abs=2e-3)


@pytest.mark.parametrize("kind", [NormalImage, LogCoshImage])
def test_the_mean_of_a_dequantised_image_at_the_centre_of_a_level_is_that_level(kind):
    centres = (torch.arange(256, dtype=torch.float64).reshape(256, 1, 1, 1) + 0.5) / 256
    assert torch.allclose(kind(centres, torch.tensor(-2.0).double()).mean, LEVELS, atol=1e-12)
    outside = kind(one_pixel(-0.3), torch.tensor(-2.0).double()).mean, kind(one_pixel(1.2), torch.tensor(-2.0)).mean
    assert [mean.item() for mean in outside] == [0, 1]


@pytest.mark.parametrize(("location", "scale"), [(0.4, 0.01), (0.0, 0.05), (1.0, 0.2)])
def test_draws_of_discretised_logistic_pixels_have_their_masses(location, scale):
    torch.manual_seed(0)
    d = DiscretisedLogisticImage(one_pixel(location), torch.tensor(scale, dtype=torch.float64).log())
    levels = d.sample((200_000,)).flatten() * 255
    assert torch.equal(levels, levels.round())
    frequencies = torch.bincount(levels.long(), minlength=256) / 200_000
    masses = d.log_prob(LEVELS).exp()
    assert ((frequencies - masses).abs() <= 5 * (masses / 200_000).sqrt() + 1e-4).all()


def test_draws_of_bernoulli_pixels_have_their_probabilities_calibrated_ones_those_of_the_calibration():
    torch.manual_seed(0)
    logits, decoded = torch.tensor([[[-2.0, 0.0, 3.0]]]), torch.tensor([[[1.0, 1.0, 1.0]]])
    for d in (BernoulliImage(logits), CalibratedBernoulliImage(logits, decoded)):
        drawn = d.sample((50_000,))
        assert drawn.shape == (50_000, 1, 1, 3)
        assert drawn.unique().tolist() == [0, 1]
        assert torch.allclose(drawn.mean(0), logits.sigmoid(), atol=0.012)


def test_a_completed_image_draws_the_missing_pixels_alone():
    torch.manual_seed(0)
    given = torch.tensor([[[[0.25, 0.75, 0.5, 0.5]]]])
    missing = torch.tensor([[[[False, False, True, True]]]])
    d = CompletedImage(BernoulliImage(torch.tensor([[[[9.0, -9.0, 9.0, -9.0]]]])), given, missing)
    drawn = d.sample((500,))
    assert drawn.shape == (500, 1, 1, 1, 4)
    assert (drawn[..., :2] == given[..., :2]).all()
    assert (drawn[..., 2].mean(), drawn[..., 3].mean()) == pytest.approx((1, 0), abs=0.02)


@pytest.mark.parametrize("name", sorted(OBSERVATION_MODELS))
def test_log_prob_is_summed_over_pixels_and_channels_for_any_batch_before_them(name):
    torch.manual_seed(0)
    model = observation_model(name, (3, 4, 5))
    x = (torch.rand(2, 3, 4, 5) < 0.5).float()
    d = model(torch.randn(6, 2, 3, 4, 5))
    assert d.log_prob(x).shape == (6, 2)
    assert d.mean.shape == (6, 2, 3, 4, 5)
    assert d.mean.min() >= 0
    assert d.mean.max() <= 1


@pytest.mark.parametrize("name", sorted(OBSERVATION_MODELS))
def test_autocast_does_not_round_a_likelihood(name):
    output, x = torch.randn(4, 1, 28, 28), (torch.rand(4, 1, 28, 28) < 0.5).float()
    d = observation_model(name, (1, 28, 28))(output)
    torch.manual_seed(0)
    expected = d.log_prob(x)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(d.log_prob(x), expected)


@pytest.mark.parametrize("name", sorted(OBSERVATION_MODELS))
@pytest.mark.parametrize("output", [-1e4, -20.0, 0.0, 20.0, 1e4])
def test_values_and_gradients_stay_finite_for_extreme_outputs(name, output):
    logits = torch.full((1, 3, 2, 2), output, requires_grad=True)
    model = observation_model(name, (3, 2, 2))
    d = model(logits)
    for x in (torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)):
        (gradient,) = torch.autograd.grad(d.log_prob(x).sum() + d.mean.sum(), logits, retain_graph=True)
        assert d.log_prob(x).isfinite().all()
        assert gradient.isfinite().all()


def test_the_scale_is_learned_or_fixed_and_only_where_there_is_one():
    learned, fixed = observation_model("gaussian", (3, 4, 4)), observation_model("gaussian", (3, 4, 4), scale=0.1)
    assert [p.shape for p in learned.parameters()] == [(3, 1, 1)]
    assert list(fixed.parameters()) == []
    assert fixed.log_scale.exp().flatten().tolist() == pytest.approx([0.1] * 3)
    with pytest.raises(ValueError, match="'bernoulli' has no scale"):
        observation_model("bernoulli", (1, 4, 4), scale=0.1)
    with pytest.raises(ValueError, match="scale must be above 0"):
        observation_model("gaussian", (1, 4, 4), scale=0.0)
    with pytest.raises(ValueError, match="did you mean 'gaussian'"):
        observation_model("gausian", (1, 4, 4))


def test_log_sinhc_equals_its_definition_and_does_not_overflow():
    u = torch.tensor([-3.0, -0.3, -0.2, 0.2, 0.3, 1.0, 10.0], dtype=torch.float64)
    assert torch.allclose(log_sinhc(u), (torch.sinh(u) / u).log(), atol=1e-8)
    large = torch.tensor([1e4, -1e4])
    assert torch.allclose(log_sinhc(large), torch.tensor(1e4 - math.log(2e4)))

"""The components of variants, against closed forms, loops and autograd Jacobians."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import beta as beta_function
from torch.autograd.functional import jacobian

import variants
from variants.dip_vae import covariance, dip_penalty
from variants.gumbel_vae import temperature
from variants.options import unknown
from variants.parts.autoregressive import AutoregressivePrior, PixelCNN
from variants.parts.discrepancies import SCALES, mmd
from variants.parts.distributions import DiagonalNormal
from variants.parts.flows import IAF, MADE, FlowPosterior, IAFStep
from variants.parts.observations import log_cosh

from .models import batch, binary_images, small

# MMD


def mmd_by_loops(x, y):
    def k(a, b):
        squared = sum((i - j) ** 2 for i, j in zip(a, b, strict=True))
        return sum(2 * len(a) * s / (2 * len(a) * s + squared) for s in SCALES)

    n, m = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def test_mmd_is_the_triple_loop():
    x, y = torch.randn(7, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64) + 0.5
    assert mmd(x, y).item() == pytest.approx(mmd_by_loops(x.tolist(), y.tolist()), rel=1e-10)


def test_the_mmd_of_one_sample_is_zero_with_a_gradient_of_zero():
    one = torch.rand(1, 3, requires_grad=True)
    value = mmd(one, torch.rand(1, 3))
    value.backward()
    assert value == 0
    assert (one.grad == 0).all()
    assert mmd(torch.rand(4, 3), torch.rand(1, 3)) == 0


def test_mmd_is_unbiased_at_zero_on_equal_distributions_and_positive_on_shifted_ones():
    values = torch.stack([mmd(torch.randn(50, 8), torch.randn(50, 8)) for _ in range(300)])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(300)
    assert mmd(torch.randn(500, 8), torch.randn(500, 8) + 1).item() > 20 * values.std()


# DIP-VAE


def test_the_covariance_is_numpys_over_the_batch():
    means = torch.randn(40, 3, dtype=torch.float64) * torch.tensor([1.0, 2.0, 3.0]) + 5
    assert np.allclose(covariance(means), np.cov(means.numpy(), rowvar=False, bias=True))


def test_the_dip_penalty_vanishes_at_the_identity_and_is_its_formula_elsewhere():
    assert dip_penalty(torch.eye(4), 3.0, 5.0) == 0
    cov = torch.tensor([[1.5, 0.2], [0.2, 0.7]])
    assert dip_penalty(cov, 3.0, 5.0).item() == pytest.approx(3 * 2 * 0.04 + 5 * (0.25 + 0.09))


def test_types_i_and_ii_are_apart_by_the_mean_posterior_variance():
    x = binary_images(9, dtype=torch.float64)
    first, second = (small("dip_vae", dtype=torch.float64, form=form) for form in ("i", "ii"))
    second.load_state_dict(first.state_dict())
    q = first.posterior(x)
    cov = covariance(q.mean)
    terms = [model.loss(batch(x), torch.tensor(0.0)).terms["dip"].item() for model in (first, second)]
    assert terms[0] == pytest.approx(dip_penalty(cov, 10, 10).item())
    variances = (2 * q.log_scale).exp().mean(0)
    assert terms[1] == pytest.approx(dip_penalty(cov + torch.diag(variances), 10, 10).item())


# log-cosh


def test_log_cosh_is_its_definition_where_that_is_finite_and_linear_where_it_overflows():
    u = torch.linspace(-20, 20, 201, dtype=torch.float64)
    assert torch.allclose(log_cosh(u), torch.cosh(u).log(), atol=1e-12)
    far = torch.tensor([1e4, -1e4], requires_grad=True)
    assert torch.allclose(log_cosh(far), torch.full((2,), 1e4 - math.log(2)))
    assert torch.autograd.grad(log_cosh(far).sum(), far)[0].tolist() == [1, -1]


@pytest.mark.parametrize("a", [0.5, 1.0, 10.0])
def test_the_normalising_constant_of_sech_to_the_1_over_a(a):
    integral, _ = quad(
        lambda t: math.exp(-log_cosh(torch.tensor(a * t, dtype=torch.float64)).item() / a), -60, 60, limit=500
    )
    assert integral == pytest.approx(beta_function(1 / (2 * a), 0.5) / a, rel=1e-6)


# Gumbel-softmax


def test_the_temperature_falls_with_progress_to_its_floor():
    at = [temperature(torch.tensor(p), 1.0, 0.5).item() for p in (0.0, 0.5, 1.0)]
    assert at == pytest.approx([1.0, math.exp(-0.5), 0.5])


# Flows


@pytest.mark.parametrize("size", [1, 2, 5])
def test_made_sees_only_earlier_dimensions_and_all_of_the_context(size):
    made = MADE(size, hidden=16, context=3).double()
    z, context = torch.randn(size, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    for output in range(2):
        J = jacobian(lambda value, output=output: made(value, context)[output], z)
        assert torch.equal(J.triu(), torch.zeros_like(J))
        if size > 1:
            assert (J.tril(-1)[1:].abs().sum(-1) > 0).all()
    # The first dimension has no earlier one. It depends on the context through its bias alone.
    J = jacobian(lambda value: made(z, value)[0], context)
    assert (J[1:].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize(("size", "hidden"), [(4, 12), (4, 2), (6, 13), (1, 3)])
def test_the_log_determinant_is_autograds_and_the_inverse_inverts(steps, size, hidden):
    flow = IAF(size, steps, hidden, context=3).double()
    z, context = torch.randn(size, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    output, log_determinant = flow(z, context)
    J = jacobian(lambda value: flow(value, context)[0], z)
    assert log_determinant.item() == pytest.approx(torch.linalg.slogdet(J).logabsdet.item(), abs=1e-10)
    back, log_determinant_of_back = flow.inverse(output, context)
    assert torch.allclose(back, z, atol=1e-9)
    assert log_determinant_of_back.item() == pytest.approx(log_determinant.item(), abs=1e-9)
    # The Jacobian of the inverse is the inverse of the Jacobian.
    inverted = jacobian(lambda value: flow.inverse(value, context)[0], output)
    assert torch.allclose(inverted @ J, torch.eye(size, dtype=torch.float64), atol=1e-9)


def test_the_order_of_dimensions_is_reversed_between_steps():
    flow = IAF(3, 2, hidden=12, context=2).double()
    z, context = torch.randn(3, dtype=torch.float64), torch.randn(2, dtype=torch.float64)
    J = jacobian(lambda value: flow(value, context)[0], z)
    # The Jacobian of one step is triangular; that of two steps with a reversal between them has entries on both sides.
    assert J.triu(1).abs().sum() > 0
    assert J.tril(-1).abs().sum() > 0


def test_the_flow_posterior_integrates_to_one_and_knows_its_own_draws():
    flow = IAF(1, 2, hidden=8, context=2).double()
    context = torch.randn(1, 2, dtype=torch.float64)
    q = FlowPosterior(DiagonalNormal(torch.zeros(1, 1).double(), torch.zeros(1, 1).double()), flow, context)
    grid = torch.linspace(-12, 12, 4001, dtype=torch.float64).view(-1, 1, 1)
    density = q.log_prob(grid).exp().flatten()
    assert torch.trapezoid(density, grid.flatten()).item() == pytest.approx(1, abs=1e-6)
    z, log_q = q.rsample_with_log_prob((9,))
    assert torch.allclose(q.log_prob(z), log_q)


def test_a_step_under_autocast_knows_the_determinant_of_what_it_does():
    torch.manual_seed(0)
    step, z, context = IAFStep(8, 32, 4), torch.randn(50, 8), torch.randn(50, 4)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        m, s = step.made(z, context)
        output, log_determinant = step(z, context)
    assert m.dtype == s.dtype == output.dtype == log_determinant.dtype == torch.float32
    sigma = (s + step.forget_bias).double().sigmoid()
    assert torch.allclose(output.double(), sigma * z + (1 - sigma) * m, atol=1e-6)
    assert torch.allclose(log_determinant.double(), sigma.log().sum(-1), atol=1e-5)


def test_a_step_of_a_network_that_returns_zero_keeps_most_of_its_input():
    """Kingma et al. 2016, section 4: a bias between 1 and 2; here 2, so that sigma = sigmoid(2) = 0.88."""
    step, z = IAFStep(3, 8, 2), torch.randn(5, 3)
    for parameter in step.parameters():
        parameter.data.zero_()
    output, _ = step(z, torch.randn(5, 2))
    assert torch.allclose(output, z / (1 + math.exp(-2)), atol=1e-6)


def test_the_scale_of_a_step_is_bounded():
    step = IAFStep(3, 8, 2)
    _, log_determinant = step(1e6 * torch.randn(100, 3), torch.randn(100, 2))
    assert (log_determinant <= 0).all()


# VQ-VAE


def test_the_pixelcnn_is_causal_in_raster_order_and_sums_to_one():
    network = PixelCNN(3, channels=6, layers=2).double()
    embedded = torch.randn(1, 6, 3, 3, dtype=torch.float64)

    def logits(values):
        hidden = network.first(values)
        for layer in network.residual:
            hidden = hidden + layer(hidden.relu())
        return network.head(hidden.relu())[0].sum(0).flatten()

    J = jacobian(logits, embedded)[:, 0].sum(1).flatten(1)
    assert torch.equal(J.triu(), torch.zeros_like(J))
    assert J[4, 3] != 0
    small_prior = AutoregressivePrior(PixelCNN(3, 4, 1).double(), (2, 2))
    values = torch.cartesian_prod(*[torch.arange(3)] * 4)
    log_p = small_prior.log_prob(values).detach()
    assert log_p.exp().sum() == pytest.approx(1)
    draws = small_prior.sample((20_000,))
    index = (draws * torch.tensor([27, 9, 3, 1])).sum(-1)
    frequency = torch.bincount(index, minlength=81) / 20_000
    assert torch.allclose(frequency.double(), log_p.exp(), atol=0.01)


def test_codes_are_the_nearest_vectors_and_the_decoder_gradient_is_copied_to_the_encoder():
    model = small("vq_vae", dtype=torch.float64)
    x = binary_images(5, dtype=torch.float64)
    z_e = model.encode(x)
    distances = torch.cdist(z_e, model.codebook.expand(5, -1, -1))
    assert torch.equal(model.nearest(z_e), distances.argmin(-1))
    z_e = z_e.detach().requires_grad_()
    e = model.codebook[model.nearest(z_e)]
    through = torch.autograd.grad(model._decode_vectors(z_e + (e - z_e).detach()).square().sum(), z_e)[0]
    e = e.detach().requires_grad_()
    assert torch.allclose(through, torch.autograd.grad(model._decode_vectors(e).square().sum(), e)[0])


def test_the_vq_loss_is_its_formula_summed_over_an_image():
    model = small("vq_vae", dtype=torch.float64, codebook="gradient", commitment=0.5)
    x = binary_images(5, dtype=torch.float64)
    loss, terms = model.loss(batch(x), torch.tensor(0.0))
    z_e, codes = model.encode(x), model.discrete_code(x)
    distance = (z_e - model.codebook[codes]).square().flatten(1).sum(-1)
    r = -model.likelihood(codes).log_prob(x)
    assert torch.allclose(terms["reconstruction"], r)
    assert loss["model"].item() == pytest.approx((r + 1.5 * distance).mean().item(), rel=1e-12)


def test_the_codebook_averages_move_to_the_mean_of_what_chose_them_and_dead_codes_are_revived():
    model = small("vq_vae", codes=4, decay=0.0, revive_below=0.5)
    vectors = torch.tensor([[1.0, 0, 0], [3.0, 0, 0], [0, 5.0, 0]])
    model._last = (vectors, torch.tensor([2, 2, 0]))
    model.after_step()
    assert torch.allclose(model.codebook[2], torch.tensor([2.0, 0, 0]), atol=1e-3)
    assert torch.allclose(model.codebook[0], torch.tensor([0, 5.0, 0]), atol=1e-3)
    for dead in (1, 3):
        assert (model.codebook[dead] == vectors).all(-1).any()
    # A revived code counts as used as often as codes are on average: 3 vectors for 4 codes.
    assert model.counts.tolist() == pytest.approx([1, 0.75, 2, 0.75])
    # Its sum belongs to it: with the next batch, it moves from where it was revived.
    model.config.decay, revived = 0.9, model.codebook[1].clone()
    model._last = (vectors, torch.tensor([2, 2, 0]))
    model.after_step()
    assert torch.allclose(model.codebook[1], revived, atol=1e-3)


def test_under_a_uniform_prior_the_kl_is_the_log_of_the_number_of_codes():
    model = small("vq_vae", dtype=torch.float64)
    for parameter in model.pixelcnn.parameters():
        parameter.data.zero_()
    kl = model.loss(batch(binary_images(3, dtype=torch.float64)), torch.tensor(0.0)).by_group["prior"]
    assert kl.item() == pytest.approx(4 * math.log(8))


def test_the_prior_learns_on_codes_that_carry_no_gradient():
    model, x = small("vq_vae"), binary_images(4)
    model.loss(batch(x), torch.tensor(0.0)).by_group["prior"].backward()
    assert all(p.grad is None for name, p in model.named_parameters() if not name.startswith("pixelcnn"))


# WAE and DFC


def test_the_wae_loss_is_a_summed_squared_error_and_a_weighted_mmd():
    model = small("wae_mmd", dtype=torch.float64, mmd_weight=7.0)
    x = binary_images(6, dtype=torch.float64)
    loss, terms = model.loss(batch(x), torch.tensor(0.0))
    expected = (x - model.reconstruct(x)).square().sum() / 6
    assert loss.item() == pytest.approx((expected + 7 * terms["mmd"]).item(), rel=1e-12)
    assert "posterior_density" in model.unavailable()
    assert small("wae_mmd", encoder="gaussian").unavailable() == {}


def test_the_teacher_of_dfc_stays_frozen_and_in_evaluation_mode():
    teacher = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    wrapped = type("Maps", (torch.nn.Module,), {"forward": lambda self, x: [self.body(x)]})()
    wrapped.body = teacher
    model = small("dfc_vae")
    model.use_teacher(wrapped)
    model.train()
    wrapped.train()
    before = teacher[1].running_mean.clone()
    model.loss(batch(binary_images(4)), torch.tensor(0.0)).value.backward()
    assert torch.equal(teacher[1].running_mean, before)
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert not any(key.startswith("_teacher") for key in model.state_dict())


# Registration and configuration


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("beta_vae", {"beta": -1.0}, "variant.beta must be 0 or above, got -1"),
        ("beta_vae", {"form": "capasity"}, "did you mean 'capacity'"),
        ("iwae", {"samples": 0}, "variant.samples must be above 0, got 0"),
        ("info_vae", {"alpha": -3.0, "scale": 1.0}, "weight of the MMD, must be 0 or above"),
        ("info_vae", {"alpha": 2.0}, "variant.alpha must be 1 or below"),
        ("gumbel_vae", {"categories": 1}, "variant.categories must be 2 or above"),
        ("joint_vae", {"rise": 0.0}, "variant.rise must be between 0.001 and 1, got 0.0"),
        ("vq_vae", {"codebook": "sgd"}, "unknown variant.codebook 'sgd'"),
        ("logcosh_vae", {"sharpness": float("nan")}, "variant.sharpness must be above 0, got nan"),
    ],
)
def test_impossible_values_are_refused_in_one_line(name, options, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")) as refusal:
        variants.build(name, (1, 4, 4), **options)
    assert "\n" not in str(refusal.value)


def test_an_unknown_name_or_option_gets_the_nearest_match():
    with pytest.raises(ValueError, match="did you mean 'beta_vae'"):
        variants.build("betavae", (1, 4, 4))
    with pytest.raises(ValueError, match="did you mean 'beta'"):
        variants.build("beta_vae", (1, 4, 4), betta=3)


def test_shapes_may_be_any_sequence_of_whole_numbers_from_1():
    assert variants.build("vae", [1, 4, 4]).image_shape == (1, 4, 4)
    assert variants.build("vae", torch.zeros(2, 1, 4, 4).shape[1:]).image_shape == (1, 4, 4)
    for shape in ((4, 4), (1, 4, 0), (1, 4.0, 4), 16, "1,4,4", None):
        with pytest.raises(
            ValueError, match=r"image_shape must be \(channels, height, width\), whole numbers from 1, got"
        ):
            variants.build("vae", shape)
    for shape in ((), (0,), 3):
        with pytest.raises(ValueError, match="condition_shape must be a shape such as"):
            variants.build("cvae", (1, 4, 4), condition_shape=shape)


def test_of_very_many_names_an_error_gives_the_nearest_and_counts_the_others():
    names = [f"run-{number:03}" for number in range(200)]
    message = str(unknown("run id", "run-1999", names))
    assert "did you mean 'run-199'?" in message
    assert message.endswith(" and 195 others)")
    assert message.count("run-") == 7
    assert str(unknown("run id", "?", names[:2])) == "unknown run id '?' (allowed: run-000, run-001)"


def test_a_taken_name_is_refused():
    with pytest.raises(ValueError, match="'vae' is already registered"):
        variants.register("vae")(type("Other", (variants.Variant,), {}))

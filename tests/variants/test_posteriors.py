"""Variants with another posterior or bound than the VAE: their limits, their mathematics and their log p(x)."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.autograd.functional import jacobian
from torch.distributions import MultivariateNormal, kl_divergence

import variants
from benchmarks.training.steps.eager import backward
from variants.fullcov_vae import FullCovarianceConfig, FullCovarianceVAE
from variants.parts.conditional import ConditionalNormal
from variants.parts.distributions import DiagonalNormal, StandardNormal
from variants.parts.full_normal import FullNormal
from variants.parts.networks import Linear
from variants.parts.planar import PlanarFlow, RadialFlow, constrained_u
from variants.structured_vae import product

from .models import batch, binary_images, small
from .test_oracles import NOISE, FixedGaussian

NOW = torch.tensor(0.7, dtype=torch.float64)


def double(name, **options):
    return small(name, dtype=torch.float64, **options)


def replay(model, x, progress=NOW, seed=11):
    """Compute the loss and the gradients of all groups, with random numbers from ``seed``, and return the loss."""
    model.zero_grad()
    torch.manual_seed(seed)
    loss = model.loss(batch(x), progress)
    backward(loss.by_group, model.parameter_groups())
    return loss


def give_encoder(model, vae):
    """Copy the decoder and the encoder to ``vae``, except the encoder's last outputs, which ``vae`` does not have."""
    vae.decoder.load_state_dict(model.decoder.state_dict())
    given = model.encoder.state_dict()
    own = vae.encoder.state_dict()
    vae.encoder.load_state_dict({key: given[key][: len(value)] for key, value in own.items()})


def assert_same_training(model, vae, x):
    """Equal losses, and equal gradients of the parameters that both have."""
    assert replay(model, x).value.item() == pytest.approx(replay(vae, x).value.item(), rel=1e-12)
    theirs = dict(model.named_parameters())
    for key, parameter in vae.named_parameters():
        assert torch.allclose(theirs[key].grad[: len(parameter)], parameter.grad, rtol=1e-9, atol=1e-12), key


# All variants


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("flow_vae", {}),
        ("flow_vae", {"flow": "radial"}),
        ("auxiliary_vae", {}),
        ("structured_vae", {}),
        ("structured_vae", {"rectified": False}),
    ],
)
@torch.no_grad()
def test_samples_have_the_mean_that_the_importance_estimate_of_all_images_gives(name, options):
    """Samples come from the model whose log p(x) is reported: neither leaves out an auxiliary variable or a level."""
    model = double(name, shape=(1, 2, 2), **options)
    # Make the model far from uniform, and the posterior so close to the prior that few draws are enough.
    for parameter in model.encoder.parameters():
        parameter.mul_(0.3)
    for parameter in model.decoder.parameters():
        parameter.add_(0.5 * torch.randn_like(parameter))
    if name == "auxiliary_vae":
        for last in (model.posterior_of_z.last, model.auxiliary_model.last):
            last.weight.add_(0.3 * torch.randn_like(last.weight))
    if name == "structured_vae":
        list(model.encoder.children())[-1].bias.view(3, 2, 3)[1:, 1] = 3.0  # wide messages
        for prior in model.priors:
            prior.last.bias[:3] += 1.0
    x = torch.tensor([[(i >> bit) & 1 for bit in range(4)] for i in range(16)], dtype=torch.float64).view(16, 1, 2, 2)
    log_w = model.log_weights(x, model.posterior(x), 20_000).value
    p = (log_w.logsumexp(0) - math.log(len(log_w))).exp()
    assert p.sum().item() == pytest.approx(1, abs=0.03)
    expected = (p[:, None] * x.flatten(1)).sum(0)
    assert (expected - 0.5).abs().max() > 0.1
    assert torch.allclose(model.sample(20_000).mean(0).flatten(), expected, atol=0.03)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("flow_vae", {"flow": "sylvester"}, "unknown variant.flow 'sylvester'"),
        ("flow_vae", {"flow": "radial", "constrained": False}, "variant.constrained must stay True"),
        ("flow_vae", {"steps": -1}, "variant.steps must be 0 or above"),
        ("flow_vae", {"annealing": 1.5}, "variant.annealing must be between 0 and 1"),
        ("flow_vae", {"analytic_kl": False}, "variant.analytic_kl must stay True"),
        ("miwae", {"form": "ciwa"}, "did you mean 'ciwae'"),
        ("miwae", {"outer": 0}, "variant.outer must be above 0"),
        ("miwae", {"beta": 0.2}, "variant.beta must stay 0.5"),
        ("miwae", {"form": "ciwae", "beta": 1.2}, "variant.beta must be between 0 and 1"),
        ("miwae", {"analytic_kl": False}, "variant.analytic_kl must stay True"),
        ("auxiliary_vae", {"auxiliary": 0}, "variant.auxiliary must be above 0"),
        ("auxiliary_vae", {"analytic_kl": False}, "variant.analytic_kl must stay True"),
        ("structured_vae", {"levels": 0}, "variant.levels must be above 0"),
        ("structured_vae", {"hidden": 0}, "variant.hidden must be above 0"),
        ("structured_vae", {"kl_warmup": 1.5}, "variant.kl_warmup must be between 0 and 1"),
        ("iaf_vae", {"hidden": 14, "steps": 1}, "variant.hidden must be at least network.latent_size - 1 = 31"),
    ],
)
def test_impossible_options_are_refused_in_one_line(name, options, message):
    with pytest.raises(ValueError, match=message) as refusal:
        variants.build(name, (1, 4, 4), **options)
    assert "\n" not in str(refusal.value)


# Full covariance


def full_normal(count=4, size=3):
    draws = [torch.randn(count, *shape, dtype=torch.float64) for shape in ((size,), (size,), (size, size))]
    return FullNormal(draws[0], 0.5 * draws[1], draws[2])


def as_torchs(q):
    return MultivariateNormal(q.loc, scale_tril=q.scale_tril)


@pytest.mark.parametrize("analytic_kl", [True, False])
def test_without_entries_below_the_diagonal_full_covariance_is_the_vae(analytic_kl):
    model, vae = (double(name, analytic_kl=analytic_kl, samples=2) for name in ("fullcov_vae", "vae"))
    for parameter in model.entries.parameters():
        parameter.data.zero_()
    give_encoder(model, vae)
    assert_same_training(model, vae, binary_images(6, dtype=torch.float64))


def test_full_covariance_has_the_factor_mask_times_entries_plus_the_deviations():
    x = binary_images(5, dtype=torch.float64)
    model = double("fullcov_vae")
    output = model.encoder(x)
    entries = model.entries(output[:, 6:]).reshape(5, 3, 3) / 3
    mask = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0]])
    L = mask * entries + torch.diag_embed((output[:, 3:6] / 2).exp())
    q = model.posterior(x)
    assert torch.allclose(q.mean, output[:, :3])
    assert torch.allclose(q.covariance_matrix, L @ L.mT)
    assert torch.allclose(q.variance, torch.diagonal(L @ L.mT, dim1=-2, dim2=-1))


def test_without_features_the_entries_below_the_diagonal_are_the_encoders_last_outputs_row_by_row():
    x = binary_images(5, dtype=torch.float64)
    model = double("fullcov_vae", features=0)
    output = model.encoder(x)
    assert output.shape == (5, 3 + 3 + 3)
    a, b, c = output[:, 6:].unbind(-1)
    zero = torch.zeros_like(a)
    entries = torch.stack([zero, zero, zero, a, zero, zero, b, c, zero], -1).unflatten(-1, (3, 3))
    L = entries + torch.diag_embed((output[:, 3:6] / 2).exp())
    q = model.posterior(x)
    assert torch.equal(q.scale_tril, L)
    q.scale_tril.sum().backward()
    assert all(p.grad is not None for p in model.encoder.parameters())


def test_the_full_normal_is_torchs_at_its_draws_elsewhere_and_in_all_pairs():
    q = full_normal()
    z, log_q = q.rsample_with_log_prob((7,))
    assert torch.allclose(log_q, as_torchs(q).log_prob(z))
    elsewhere = torch.randn(7, 4, 3, dtype=torch.float64)
    assert torch.allclose(q.log_prob(elsewhere), as_torchs(q).log_prob(elsewhere))
    pairs = q.pairwise_log_prob(elsewhere[:, 0])
    assert torch.allclose(pairs, as_torchs(q).log_prob(elsewhere[:, :1].expand(-1, 4, -1)))
    draws = q.rsample((20_000,))[:, 0]
    assert torch.allclose(torch.cov(draws.T), q.covariance_matrix[0], atol=0.1, rtol=0.05)


def test_a_draw_under_autocast_is_the_one_that_its_density_belongs_to():
    q = FullNormal(*(torch.randn(4, *shape) for shape in ((3,), (3,), (3, 3))))
    with torch.autocast("cpu", torch.bfloat16):
        z, log_q = q.rsample_with_log_prob((7,))
    assert z.dtype == torch.float32
    assert torch.allclose(q.log_prob(z), log_q, atol=1e-3)


def test_the_closed_kl_of_a_full_normal_is_torchs_and_the_mean_over_draws():
    q, p = full_normal(), StandardNormal(3, like=torch.zeros((), dtype=torch.float64))
    kl = kl_divergence(q, p)
    other = MultivariateNormal(torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64))
    assert torch.allclose(kl, kl_divergence(as_torchs(q), other))
    z, log_q = q.rsample_with_log_prob((50_000,))
    assert torch.allclose((log_q - p.log_prob(z)).mean(0), kl, rtol=0.02)


@torch.no_grad()
def test_the_bound_of_full_covariance_reaches_log_p_of_a_linear_gaussian_model():
    """Probabilistic PCA: log p(x) and the posterior are known, and a linear encoder can represent the posterior."""
    config = FullCovarianceConfig(analytic_kl=False, features=1)
    model = FullCovarianceVAE(config, (1, 3, 3), Linear(latent_size=2), FixedGaussian()).double()
    W, mean = model.decoder[0].weight.mul_(2), model.decoder[0].bias
    p = MultivariateNormal(mean, W @ W.T + NOISE**2 * torch.eye(9, dtype=torch.float64))
    x = p.sample((20,))
    covariance = (torch.eye(2, dtype=torch.float64) + W.T @ W / NOISE**2).inverse()
    to_loc = covariance @ W.T / NOISE**2
    L = torch.linalg.cholesky(covariance)
    assert L[1, 0].abs() > 0.01

    linear = model.encoder[1]
    linear.weight.copy_(torch.cat([to_loc, torch.zeros(3, 9, dtype=torch.float64)]))
    linear.bias.copy_(torch.cat([-to_loc @ mean, 2 * L.diagonal().log(), torch.zeros(1, dtype=torch.float64)]))
    model.entries.bias.copy_(2 * L.flatten())
    images, exact = x.reshape(20, 1, 3, 3), p.log_prob(x)
    weights = model.log_weights(images, model.posterior(images), 7).value
    assert torch.allclose(weights, exact.expand(7, 20), atol=1e-9)
    assert model.loss(batch(images), NOW).value.item() == pytest.approx(-exact.mean().item(), abs=1e-9)


# Planar and radial flows

FLOWS = {
    "planar": lambda size, steps: PlanarFlow(size, steps),
    "free": lambda size, steps: PlanarFlow(size, steps, constrained=False),
    "radial": lambda size, steps: RadialFlow(size, steps),
}


@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.parametrize(("size", "steps", "scale"), [(1, 1, 1.0), (2, 3, 1.0), (5, 2, 3.0), (4, 1, 0.0)])
def test_the_log_determinant_of_a_flow_is_autograds(kind, size, steps, scale):
    flow = FLOWS[kind](size, steps)
    for _ in range(5):
        z = torch.randn(size, dtype=torch.float64)
        context = scale * torch.randn(steps * flow.numbers, dtype=torch.float64)
        _, log_determinant = flow(z, context)
        J = jacobian(lambda value, context=context: flow(value, context)[0], z)
        assert log_determinant.item() == pytest.approx(torch.linalg.slogdet(J).logabsdet.item(), abs=1e-9)


def test_the_constrained_u_is_appendix_a1_and_keeps_every_planar_step_invertible():
    w = torch.randn(500, 4, dtype=torch.float64) * torch.logspace(-2, 1, 500, dtype=torch.float64)[:, None]
    u = torch.randn(500, 4, dtype=torch.float64) * 3
    u_hat, one_plus_wu = constrained_u(u, w)
    for i in range(500):
        a = (w[i] @ u[i]).item()
        m = -1 + math.log1p(math.exp(a))
        assert torch.allclose(u_hat[i], u[i] + (m - a) * w[i] / w[i].norm() ** 2, rtol=1e-9)
    assert ((w * u).sum(-1) < -1).any()
    assert torch.allclose(1 + (w * u_hat).sum(-1), one_plus_wu[:, 0], atol=1e-9)
    assert (one_plus_wu > 0).all()


def test_a_constrained_step_is_monotone_in_one_dimension_where_the_free_one_folds():
    grid = torch.linspace(-3, 3, 1001, dtype=torch.float64).view(-1, 1)
    numbers = torch.tensor([-3.0, 2.0, 0.0], dtype=torch.float64)  # w u = -6
    assert (PlanarFlow(1, 1)(grid, numbers)[0].diff(dim=0) > 0).all()
    assert (PlanarFlow(1, 1, constrained=False)(grid, numbers)[0].diff(dim=0) < 0).any()
    for beta in (-5.0, 0.0, 5.0):
        numbers = torch.tensor([0.3, -1.0, beta], dtype=torch.float64)
        assert (RadialFlow(1, 1)(grid, numbers)[0].diff(dim=0) > 0).all()


def test_a_radial_step_is_its_formula_with_alpha_above_zero_and_beta_above_minus_alpha():
    z, numbers = torch.randn(9, 6, 3, dtype=torch.float64), 3 * torch.randn(6, 5, dtype=torch.float64)
    z0, alpha = numbers[:, :3], numbers[:, 3].exp().log1p()
    beta = -alpha + numbers[:, 4].exp().log1p()
    r = (z - z0).norm(dim=-1)
    h = 1 / (alpha + r)
    derivative = -1 / (alpha + r) ** 2
    output, log_determinant = RadialFlow(3, 1)(z, numbers)
    assert torch.allclose(output, z + (beta * h)[..., None] * (z - z0))
    assert torch.allclose(log_determinant, ((1 + beta * h) ** 2 * (1 + beta * h + beta * derivative * r)).log())


@pytest.mark.parametrize("kind", FLOWS)
def test_extreme_parameters_leave_the_log_determinant_and_its_gradient_finite(kind):
    flow = FLOWS[kind](3, 1)
    for scale in (0.0, 1e-8, 1e2):
        context = (scale * torch.randn(50, flow.numbers)).requires_grad_()
        output, log_determinant = flow(torch.randn(50, 3), context)
        assert log_determinant.isfinite().all()
        gradient = torch.autograd.grad(output.sum() + log_determinant.sum(), context)[0]
        assert gradient.isfinite().all()


@pytest.mark.parametrize("options", [{"steps": 0}, {"flow": "radial"}, {"constrained": False}, {}])
def test_no_steps_and_steps_that_do_nothing_are_the_vae_without_the_closed_kl(options):
    model = double("flow_vae", samples=2, **options)
    last = list(model.encoder.children())[-1]
    for parameter in last.parameters():
        parameter.data[6:] = 0
    vae = double("vae", samples=2, analytic_kl=False)
    give_encoder(model, vae)
    x = binary_images(6, dtype=torch.float64)
    if options.get("steps") == 0:
        assert_same_training(model, vae, x)
    assert replay(model, x).value.item() == pytest.approx(replay(vae, x).value.item(), rel=1e-12)


def test_every_image_has_a_flow_of_its_own():
    model, x = double("flow_vae"), binary_images(4, dtype=torch.float64)
    q = model.posterior(x)
    assert q.context.shape == (4, 2 * 7)
    assert (q.context[0] != q.context[1]).all()
    z0 = torch.randn(5, 4, 3, dtype=torch.float64)
    changed = q.context.clone()
    changed[1] += 1
    same = (model.flow(z0, q.context)[0] == model.flow(z0, changed)[0]).all(-1).all(0)
    assert same.tolist() == [True, False, True, True]


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.2, 1.0])
def test_annealing_weighs_the_joint_and_not_the_posterior(progress):
    model, x = double("flow_vae", annealing=0.2), binary_images(5, dtype=torch.float64)
    value = replay(model, x, torch.tensor(progress, dtype=torch.float64), seed=3).value
    torch.manual_seed(3)
    parts = model.log_weights(x, model.posterior(x), 1)
    B = min(1, 0.01 + 0.99 * progress / 0.2)
    expected = parts.log_posterior - B * (parts.log_likelihood + parts.log_prior)
    assert value.item() == pytest.approx(expected.mean().item(), rel=1e-12)


def test_a_flow_without_an_inverse_says_so():
    model, x = double("flow_vae"), binary_images(2, dtype=torch.float64)
    assert "density_elsewhere" in model.unavailable()
    q = model.posterior(x)
    with pytest.raises(NotImplementedError, match="PlanarFlow has no inverse"):
        q.log_prob(q.rsample())
    none = double("flow_vae", steps=0)
    assert none.unavailable() == {}
    z, log_q = none.posterior(x).rsample_with_log_prob((3,))
    assert torch.allclose(none.posterior(x).log_prob(z), log_q)


# MIWAE, CIWAE, PIWAE


def log_mean_exp(values):
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values) / len(values))


def expected_bounds(model, x, M, K, seed):
    """The ELBO, MIWAE and IWAE bounds, averaged over images, by plain loops over the draws of the loss."""
    torch.manual_seed(seed)
    log_w = model.log_weights(x, model.posterior(x), M * K).value.tolist()
    images = list(zip(*log_w, strict=True))
    elbo = sum(sum(w) / (M * K) for w in images) / len(images)
    multiple = sum(sum(log_mean_exp(w[m * K : (m + 1) * K]) for m in range(M)) / M for w in images) / len(images)
    single = sum(log_mean_exp(w) for w in images) / len(images)
    return elbo, multiple, single


@pytest.mark.parametrize(("M", "K"), [(2, 5), (4, 3)])
def test_miwae_ciwae_and_piwae_are_their_formulas_where_m_is_not_k(M, K):
    x = binary_images(6, dtype=torch.float64)
    models = {form: double("miwae", form=form, outer=M, samples=K) for form in ("miwae", "piwae")}
    models["ciwae"] = double("miwae", form="ciwae", outer=M, samples=K, beta=0.3)
    for model in models.values():
        model.load_state_dict(models["miwae"].state_dict())
    elbo, multiple, single = expected_bounds(models["miwae"], x, M, K, seed=4)
    assert elbo < multiple < single
    assert replay(models["miwae"], x, seed=4).value.item() == pytest.approx(-multiple, rel=1e-12)
    assert replay(models["ciwae"], x, seed=4).value.item() == pytest.approx(-0.3 * elbo - 0.7 * single, rel=1e-12)
    values = {name: value.item() for name, value in replay(models["piwae"], x, seed=4).value.items()}
    assert values == pytest.approx({"model": -single, "encoder": -multiple}, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "name", "others"),
    [
        ({"outer": 1, "samples": 5}, "iwae", {"samples": 5}),
        ({"outer": 5, "samples": 1}, "vae", {"samples": 5, "analytic_kl": False}),
        ({"form": "ciwae", "beta": 0.0, "outer": 2, "samples": 3}, "iwae", {"samples": 6}),
        ({"form": "ciwae", "beta": 1.0, "outer": 2, "samples": 3}, "vae", {"samples": 6, "analytic_kl": False}),
        ({"form": "piwae", "outer": 1, "samples": 4}, "iwae", {"samples": 4}),
    ],
)
def test_at_this_setting_miwae_is_the_iwae_or_the_vae_of_as_many_draws(options, name, others):
    x = binary_images(7, dtype=torch.float64)
    model, other = double("miwae", **options), double(name, **others)
    other.load_state_dict(model.state_dict())
    found, expected = replay(model, x).by_group, replay(other, x).value.item()
    assert [value.item() for value in found.values()] == pytest.approx([expected] * len(found), rel=1e-12)
    theirs = dict(other.named_parameters())
    for key, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, theirs[key].grad, rtol=1e-9, atol=1e-12), key


def test_piwae_trains_the_encoder_by_miwae_and_the_decoder_by_iwae_from_one_forward_pass():
    x = binary_images(5, dtype=torch.float64)
    piwae = double("miwae", form="piwae", outer=2, samples=3)
    miwae, iwae = double("miwae", outer=2, samples=3), double("iwae", samples=6)
    for other in (miwae, iwae):
        other.load_state_dict(piwae.state_dict())
        replay(other, x)
    rows = []
    for body in (piwae.encoder, piwae.decoder):
        body.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    replay(piwae, x)
    assert rows == [5, 2 * 3 * 5]
    for own, other in ((piwae.encoder, miwae.encoder), (piwae.decoder, iwae.decoder)):
        for parameter, theirs in zip(own.parameters(), other.parameters(), strict=True):
            assert torch.allclose(parameter.grad, theirs.grad, rtol=1e-9, atol=1e-12)
    # The gradients of the two bounds differ, so the agreement above is no accident.
    first, theirs = (next(model.encoder.parameters()).grad for model in (piwae, iwae))
    assert not torch.allclose(first, theirs, rtol=1e-3)


# Auxiliary variable


def auxiliary_vae(**options):
    """A small auxiliary VAE in which the densities of a and z depend on each other, as after some training."""
    model = double("auxiliary_vae", **options)
    for last in (model.posterior_of_z.last, model.auxiliary_model.last):
        torch.nn.init.normal_(last.weight)
    return model


def test_the_auxiliary_bound_is_its_formula():
    model, x = auxiliary_vae(samples=3), binary_images(5, dtype=torch.float64)
    loss = replay(model, x, seed=2)
    torch.manual_seed(2)
    q = model.posterior(x)
    a, z, _ = q.joint((3,))
    given_a = q.given(a)
    normal = torch.distributions.Normal
    log_q_a = normal(q.auxiliary.loc, q.auxiliary.log_scale.exp()).log_prob(a).sum(-1)
    log_q_z = normal(given_a.loc, given_a.log_scale.exp()).log_prob(z).sum(-1)
    back = model.auxiliary_given(x, z)
    log_p_a = normal(back.loc, back.log_scale.exp()).log_prob(a).sum(-1)
    log_p_x = -F.binary_cross_entropy_with_logits(model.decode(z), x.expand(3, -1, -1, -1, -1), reduction="none")
    log_p = log_p_x.flatten(2).sum(-1) + normal(0.0, 1.0).log_prob(z).sum(-1)
    assert loss.value.item() == pytest.approx((log_q_a + log_q_z - log_p - log_p_a).mean().item(), rel=1e-12)


def test_the_decoder_does_not_see_the_auxiliary_variable_and_the_posterior_does(monkeypatch):
    model, x = auxiliary_vae(), binary_images(5, dtype=torch.float64)
    q = model.posterior(x)
    first = q.joint((4,))
    monkeypatch.setattr(q, "joint", lambda shape: first)
    before = model.log_weights(x, q, 4)
    monkeypatch.setattr(q, "joint", lambda shape: first._replace(a=first.a + 1))
    after = model.log_weights(x, q, 4)
    assert torch.equal(before.log_likelihood, after.log_likelihood)
    assert (before.log_prior != after.log_prior).all()
    J = jacobian(lambda a: q.given(a).loc.sum(0), first.a[0])
    assert (J.abs().sum((0, 2)) > 0).all()


def test_training_of_the_auxiliary_vae_begins_where_neither_a_nor_z_says_anything_of_the_other():
    model, x = double("auxiliary_vae"), binary_images(5, dtype=torch.float64)
    q = model.posterior(x)
    a, z = torch.randn(4, 5, 2, dtype=torch.float64), torch.randn(4, 5, 3, dtype=torch.float64)
    for found, base in ((q.given(a), q.base), (model.auxiliary_given(x, z), None)):
        assert torch.equal(found.loc, found.loc[:1].expand_as(found.loc))
        assert base is None or torch.equal(torch.cat([found.loc[0], 2 * found.log_scale[0]], dim=-1), base)
    # Training changes this.
    replay(model, x)
    assert model.posterior_of_z.last.weight.grad.abs().sum() > 0
    assert model.auxiliary_model.last.weight.grad.abs().sum() > 0


def test_an_auxiliary_variable_that_tells_nothing_leaves_the_weights_of_the_vae():
    model, x = double("auxiliary_vae"), binary_images(6, dtype=torch.float64)
    # q(a|x) and p(a|x, z) are one fixed normal, and q(z|a, x) does not depend on a.
    fixed = torch.randn(4, dtype=torch.float64)
    last = list(model.encoder.children())[-1]
    last.weight.data[:4], last.bias.data[:4] = 0, fixed
    last = list(model.auxiliary_encoder.children())[-1]
    last.weight.data[:4], last.bias.data[:4] = 0, fixed
    weights = model.log_weights(x, model.posterior(x), 3)
    q = model.posterior(x).given(torch.zeros(6, 2, dtype=torch.float64))
    expected = model.likelihood(weights.z).log_prob(x) + model.prior().log_prob(weights.z) - q.log_prob(weights.z)
    assert torch.allclose(weights.value, expected, rtol=1e-12)


# Hierarchy


@pytest.mark.parametrize("analytic_kl", [True, False])
def test_one_level_without_rectified_units_is_the_vae(analytic_kl):
    model = double("structured_vae", levels=1, rectified=False, analytic_kl=analytic_kl, samples=2)
    vae = double("vae", analytic_kl=analytic_kl, samples=2)
    vae.load_state_dict(model.state_dict())
    assert_same_training(model, vae, binary_images(6, dtype=torch.float64))


def test_the_product_of_two_normals_is_their_product_on_a_grid():
    p, message = (DiagonalNormal(*torch.randn(2, 1, dtype=torch.float64).unbind(0)) for _ in range(2))
    grid = torch.linspace(-15, 15, 20_001, dtype=torch.float64).unsqueeze(-1)
    log_density = p.log_prob(grid) + message.log_prob(grid)
    normalised = log_density - torch.trapezoid(log_density.exp(), grid[:, 0]).log()
    assert torch.allclose(product(p, message).log_prob(grid), normalised, atol=1e-8)
    precisions = [1 / d.variance for d in (product(p, message), p, message)]
    assert torch.allclose(precisions[0], precisions[1] + precisions[2])


def test_a_product_with_a_very_narrow_or_wide_normal_is_finite():
    p = DiagonalNormal(torch.ones(1), torch.zeros(1))
    for log_scale in (-60.0, 60.0):
        q = product(p, DiagonalNormal(torch.full((1,), 3.0), torch.full((1,), log_scale)))
        assert q.log_scale.isfinite().all()
        assert q.loc.item() == pytest.approx(3.0 if log_scale < 0 else 1.0)


def test_every_level_is_the_prior_given_the_level_above_times_a_message_of_the_image():
    model, x = double("structured_vae", levels=3), binary_images(4, dtype=torch.float64)
    levels = model.draw_levels(model.posterior(x), 5)
    outputs = model.encoder(x).split(6, dim=-1)
    for above, level, prior, output in zip(levels, levels[1:], model.priors, outputs[1:], strict=False):
        p = prior((1 + above.u).clamp(min=0))
        message_precision = (-output[:, 3:]).exp()
        precision = 1 / p.variance + message_precision
        assert torch.allclose(level.p.loc, p.loc)
        assert torch.allclose(level.q.variance, 1 / precision)
        assert torch.allclose(level.q.loc, (p.loc / p.variance + output[:, :3] * message_precision) / precision)
        # The draws at the level above differ, and so does the distribution at this level: it is no mean field.
        assert (level.q.loc.std(0) > 0).all()


def test_messages_that_say_nothing_leave_the_prior_and_no_kl():
    model, x = double("structured_vae", levels=3), binary_images(4, dtype=torch.float64)
    last = list(model.encoder.children())[-1]
    last.weight.data[6:], last.bias.data[6:] = 0, 60.0
    terms = replay(model, x).terms
    assert terms["kl_3"].min() > 0
    assert max(terms["kl_1"].max(), terms["kl_2"].max()) < 1e-9


def test_the_closed_kl_of_all_levels_is_the_mean_over_draws():
    model, x = double("structured_vae", samples=5_000), binary_images(3, dtype=torch.float64)
    closed = replay(model, x, seed=1).terms
    assert torch.allclose(closed["kl"], closed["kl_1"] + closed["kl_2"] + closed["kl_3"])
    model.config.analytic_kl = False
    drawn = replay(model, x, seed=1).terms
    assert torch.allclose(closed["kl"], drawn["kl"], rtol=0.05)
    assert torch.allclose(closed["reconstruction"], drawn["reconstruction"])


@torch.no_grad()
def test_codes_from_the_prior_are_those_of_the_lowest_level():
    """The mean of the lowest level is -1 here, and that of the top level is 0."""
    model = double("structured_vae", levels=2, rectified=False)
    last = model.priors[0].last
    last.weight.zero_()
    last.bias[:3], last.bias[3:] = -1.0, -4.0
    codes = model.sample_latent(2_000)
    assert codes.mean().item() == pytest.approx(-1, abs=0.02)
    assert codes.std().item() == pytest.approx(math.exp(-2), abs=0.01)


def test_rectified_units_pass_on_what_is_above_minus_one_and_nothing_else():
    model, x = double("structured_vae"), binary_images(8, dtype=torch.float64)
    u = torch.randn(8, 3, dtype=torch.float64)
    below = torch.where(u < -1, 5 * u, u)
    assert (u < -1).any()
    assert torch.equal(model.decode(u), model.decode(below))
    z = model.represent(x)
    assert torch.equal(z, (1 + model.posterior(x).mean).clamp(min=0))
    plain = double("structured_vae", rectified=False)
    assert not torch.equal(plain.decode(u), plain.decode(below))
    assert torch.equal(plain.represent(x), plain.posterior(x).mean)


def test_the_kl_of_a_hierarchy_counts_in_proportion_to_progress_until_the_warm_up_is_over():
    model, x = double("structured_vae", kl_warmup=0.2), binary_images(4, dtype=torch.float64)
    for progress, weight in ((0.0, 0.0), (0.05, 0.25), (0.2, 1.0), (1.0, 1.0)):
        loss = replay(model, x, progress=torch.tensor(progress, dtype=torch.float64))
        expected = (loss.terms["reconstruction"] + weight * loss.terms["kl"]).mean()
        assert loss.value.item() == pytest.approx(expected.item(), rel=1e-12)
    without = double("structured_vae", kl_warmup=0.0)
    loss = replay(without, x, progress=torch.tensor(0.0, dtype=torch.float64))
    assert loss.value.item() == pytest.approx((loss.terms["reconstruction"] + loss.terms["kl"]).mean().item())


def test_a_conditional_normal_broadcasts_its_inputs():
    network = ConditionalNormal([2, 3], hidden=4, outputs=5).double()
    many, one = torch.randn(7, 6, 2, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    q = network(many, one)
    assert q.loc.shape == (7, 6, 5)
    assert torch.allclose(q.loc[3, 2], network(many[3, 2], one[2]).loc)

"""Every loss equals its paper's formula, written a second time, and trains what the paper trains."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import variants
from variants.dip_vae import covariance
from variants.parts.discrepancies import mmd
from variants.parts.networks import Linear

from .models import Layers, batch, binary_images, small

NOW = torch.tensor(0.3, dtype=torch.float64)
# Published forms of variants other than their defaults.
OTHER_FORMS = [
    ("beta_vae", {"form": "capacity"}),
    ("dip_vae", {"form": "i"}),
    ("gumbel_vae", {"straight_through": True}),
    ("gumbel_vae", {"samples": 3}),
    ("iwae", {"gradient": "doubly_reparameterised"}),
    ("info_vae", {"alpha": 1.0, "scale": 5.0}),
    ("joint_vae", {"samples": 3}),
    ("vae", {"analytic_kl": False, "samples": 3}),
    ("vq_vae", {"codebook": "gradient"}),
    ("wae_mmd", {"encoder": "gaussian"}),
]


def replayed(model, x, draw):
    """The loss, its terms, and the result of ``draw(q)`` with the same seed."""
    torch.manual_seed(8)
    loss, terms = model.loss(batch(x), NOW)
    torch.manual_seed(8)
    return loss, terms, draw(model.posterior(x))


def nats_apart(model, x, z):
    return -model.likelihood(z).log_prob(x)


def test_beta_weighs_the_kl():
    model, x = small("beta_vae", dtype=torch.float64, beta=2.5), binary_images(6, dtype=torch.float64)
    loss, terms, z = replayed(model, x, lambda q: q.rsample())
    assert loss.item() == pytest.approx((nats_apart(model, x, z) + 2.5 * terms["kl"]).mean().item(), rel=1e-12)


def test_logcosh_sums_over_pixels_and_divides_by_its_sharpness():
    model = small("logcosh_vae", dtype=torch.float64, sharpness=3.0, beta=0.5)
    x = binary_images(6, dtype=torch.float64)
    loss, terms, z = replayed(model, x, lambda q: q.rsample())
    error = (x - model.likelihood(z).mean).detach().numpy()
    expected = np.log(np.cosh(3 * error)).sum((1, 2, 3)) / 3 + 0.5 * terms["kl"].detach().numpy()
    assert loss.item() == pytest.approx(expected.mean(), rel=1e-12)


def test_dfc_is_half_the_mean_squared_difference_of_every_layer_times_the_pixels():
    model = small("dfc_vae", dtype=torch.float64, feature_weight=0.7, kl_weight=0.3)
    teacher, x = Layers().double(), binary_images(6, dtype=torch.float64)
    model.use_teacher(teacher)
    loss, terms, z = replayed(model, x, lambda q: q.rsample())
    x_hat = model.likelihood(z).mean
    layers = [F.mse_loss(a, b) for a, b in zip(teacher(x_hat), teacher(x), strict=True)]
    expected = 0.7 * (16 / 2) * sum(layers) + 0.3 * terms["kl"].mean()
    assert len(layers) == 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("straight_through", [False, True])
def test_gumbel_decodes_a_draw_at_the_temperature_of_the_moment(straight_through):
    model = small("gumbel_vae", dtype=torch.float64, rate=2.0, straight_through=straight_through)
    x = binary_images(6, dtype=torch.float64)
    # The temperature is exp(-2 * 0.3), which is above its minimum of 0.5.
    loss, terms, y = replayed(model, x, lambda q: q.relaxed_sample(0.5488116360940264, straight_through))
    probabilities = model.posterior(x).mean.unflatten(-1, (3, 4))
    kl = (probabilities * (4 * probabilities).log()).sum((-1, -2))
    assert torch.allclose(terms["kl"], kl)
    assert loss.item() == pytest.approx((nats_apart(model, x, y) + kl).mean().item(), rel=1e-12)
    values = y.unique()
    assert (values.tolist() == [0, 1]) == straight_through


def test_joint_decodes_a_normal_and_a_relaxed_category_and_reports_both():
    model = small("joint_vae", dtype=torch.float64, temperature=0.4)
    x = binary_images(6, dtype=torch.float64)

    def draw(q):
        # The category is drawn first, as in the model.
        c = q.parts[1].relaxed_sample(0.4, False)
        return torch.cat([q.parts[0].rsample(), c], dim=-1)

    _, terms, z = replayed(model, x, draw)
    assert torch.allclose(terms["reconstruction"], nats_apart(model, x, z))
    assert torch.allclose(terms["kl"], terms["kl_z"] + terms["kl_c"])
    normal, category = model.posterior(x).parts
    assert torch.equal(model.latent_means(x), normal.loc)
    assert torch.equal(model.discrete_code(x), category.logits.argmax(-1))
    assert torch.equal(F.one_hot(model.discrete_code(x), 10).flatten(1).double(), category.mode)


def test_dip_weighs_the_off_diagonal_and_the_diagonal_apart():
    model = small("dip_vae", dtype=torch.float64, form="i", off_diagonal=3.0, diagonal=5.0)
    x = binary_images(7, dtype=torch.float64)
    loss, terms, z = replayed(model, x, lambda q: q.rsample())
    cov = np.cov(model.posterior(x).mean.detach().numpy(), rowvar=False, bias=True)
    outside = cov - np.diag(np.diag(cov))
    penalty = 3 * (outside**2).sum() + 5 * ((np.diag(cov) - 1) ** 2).sum()
    assert loss.item() == pytest.approx((nats_apart(model, x, z) + terms["kl"]).mean().item() + penalty, rel=1e-12)


def test_without_the_closed_form_the_kl_is_the_mean_over_the_draws():
    model = small("vae", dtype=torch.float64, analytic_kl=False, samples=5)
    x = binary_images(6, dtype=torch.float64)
    _, terms, z = replayed(model, x, lambda q: q.rsample((5,)))
    log_q, log_p = model.posterior(x).log_prob(z), model.prior().log_prob(z)
    assert torch.allclose(terms["kl"], (log_q - log_p).sum(0) / 5)


@pytest.mark.parametrize("name", ["gumbel_vae", "joint_vae"])
def test_several_relaxed_draws_are_averaged(name):
    model = small(name, dtype=torch.float64, samples=3)
    x = binary_images(6, dtype=torch.float64)

    def draw(q):
        if name == "gumbel_vae":
            return q.relaxed_sample(0.7408182206817179, False, (3,))  # exp(-0.3)
        c = q.parts[1].relaxed_sample(model.config.temperature, False, (3,))
        return torch.cat([q.parts[0].rsample((3,)), c], dim=-1)

    _, terms, z = replayed(model, x, draw)
    assert torch.allclose(terms["reconstruction"], sum(nats_apart(model, x, one) for one in z) / 3)


def test_the_second_half_of_the_encoder_is_the_log_variance():
    x = binary_images(4, dtype=torch.float64)
    model = small("vae", dtype=torch.float64)
    assert torch.allclose(model.posterior(x).variance, model.encoder(x)[:, 3:].exp())
    model = small("iaf_vae", dtype=torch.float64)
    assert torch.allclose(model.posterior(x).base.variance, model.encoder(x)[:, 3:6].exp())
    model = small("joint_vae", dtype=torch.float64)
    assert torch.allclose(model.posterior(x).parts[0].variance, model.encoder(x)[:, 10:20].exp())


def test_info_vae_weighs_its_kl_and_its_mmd():
    model = small("info_vae", dtype=torch.float64, alpha=0.25, scale=4.0)
    x = binary_images(6, dtype=torch.float64)
    loss, terms, (z, prior) = replayed(model, x, lambda q: (q.rsample(), model.prior().sample((6,))))
    expected = (nats_apart(model, x, z) + 0.75 * terms["kl"]).mean() + 3.25 * mmd(z, prior)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)


def test_a_gaussian_wae_decodes_a_draw():
    model = small("wae_mmd", dtype=torch.float64, encoder="gaussian", mmd_weight=2.0)
    x = binary_images(6, dtype=torch.float64)
    loss, _, (z, prior) = replayed(model, x, lambda q: (q.rsample(), model.prior().sample((6,))))
    squared = (x - model.likelihood(z).mean).square().sum() / 6
    assert loss.item() == pytest.approx((squared + 2 * mmd(z, prior)).item(), rel=1e-12)


def test_a_gaussian_wae_of_linear_networks_decodes_an_affine_map():
    model = small("wae_mmd", encoder="gaussian", network=Linear(latent_size=3))
    z = torch.randn(3, 5, 3)
    apart = model.image(z[0] + z[1] - z[2]) - (model.image(z[0]) + model.image(z[1]) - model.image(z[2]))
    assert apart.abs().max() < 1e-5
    assert model.image(100 * z[0]).abs().max() > 1


@torch.no_grad()
def test_autocast_rounds_neither_the_choice_of_a_code_nor_a_covariance():
    model, z_e = small("vq_vae"), 3 + 0.25 * torch.randn(64, 4, 16)
    model.codebook.copy_(3 + 0.25 * torch.randn_like(model.codebook))
    z_e = z_e[..., : model.codebook.shape[1]]
    codes, matrix = model.nearest(z_e), covariance(z_e[:, 0])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.nearest(z_e), codes)
        assert torch.equal(covariance(z_e[:, 0]), matrix)


def test_vq_gradients_stop_where_the_paper_stops_them():
    model = small("vq_vae", dtype=torch.float64, codebook="gradient", commitment=0.5)
    x = binary_images(5, dtype=torch.float64)
    model.loss(batch(x), NOW).by_group["model"].backward()

    z_e, codes = model.encode(x), model.discrete_code(x)
    e = model.codebook.detach()[codes].requires_grad_()
    r = -model.observation(model._decode_vectors(e)).log_prob(x)
    # z_e gets the decoder's gradient at e and is pulled to e; e is pulled to z_e and gets no gradient of the decoder.
    from_decoder = torch.autograd.grad(r.mean(), e)[0]
    pull = (z_e - e).detach()
    parameters = list(model.encoder.parameters())
    expected = torch.autograd.grad(z_e, parameters, from_decoder + 2 * 0.5 * pull / 5)
    for parameter, gradient in zip(parameters, expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-12)
    codebook = torch.zeros_like(model.codebook).index_add(0, codes.flatten(), -2 * pull.flatten(0, 1) / 5)
    assert torch.allclose(model.codebook.grad, codebook, atol=1e-12)


@pytest.mark.parametrize(("name", "options"), OTHER_FORMS)
def test_every_published_form_is_finite_and_trains_every_parameter(name, options):
    model, x = small(name, **options), binary_images(6)
    groups = model.parameter_groups()
    for group, loss in model.loss(batch(x), NOW.float()).by_group.items():
        gradients = torch.autograd.grad(loss, groups[group].parameters, allow_unused=True, retain_graph=True)
        assert loss.isfinite()
        assert all(g is not None and g.isfinite().all() for g in gradients)


@pytest.mark.parametrize(("name", "options"), [(name, {}) for name in variants.names()] + OTHER_FORMS)
def test_a_loss_can_be_read_without_gradients(name, options):
    model, x = small(name, **options), binary_images(6)
    torch.manual_seed(2)
    expected = model.loss(batch(x), NOW.float()).value
    torch.manual_seed(2)
    with torch.no_grad():
        assert model.loss(batch(x), NOW.float()).value == expected


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gumbel_vae", {"analytic_kl": False}),
        ("joint_vae", {"analytic_kl": False}),
        ("iwae", {"analytic_kl": False}),
        ("iaf_vae", {"analytic_kl": False}),
        ("beta_vae", {"beta": float("inf")}),
        ("logcosh_vae", {"sharpness": float("inf")}),
        ("vq_vae", {"samples": 2}),
        ("wae_mmd", {"samples": 2}),
        ("info_vae", {"scale": float("nan")}),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(name, options):
    with pytest.raises(ValueError, match="must"):
        variants.build(name, (1, 4, 4), **options)

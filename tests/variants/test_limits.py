"""Settings at which a variant equals another one: the same seed gives the same draws, loss and gradients."""

import math

import pytest
import torch

from .models import batch, binary_images, small

NOW = torch.tensor(0.7, dtype=torch.float64)


def loss_and_gradients(model, x):
    torch.manual_seed(11)
    value = model.loss(batch(x), NOW).value
    value.backward()
    return value, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("name", "options", "vae_options"),
    [
        ("beta_vae", {"beta": 1.0}, {}),
        ("iwae", {"samples": 1}, {"analytic_kl": False}),
        ("info_vae", {"alpha": 0.0, "scale": 1.0}, {}),
        ("dip_vae", {"off_diagonal": 0.0, "diagonal": 0.0}, {}),
        ("dip_vae", {"form": "i", "off_diagonal": 0.0, "diagonal": 0.0}, {}),
    ],
)
def test_at_this_setting_it_is_the_vae(name, options, vae_options):
    x = binary_images(6, dtype=torch.float64)
    vae = small("vae", dtype=torch.float64, **vae_options)
    other = small(name, dtype=torch.float64, **options)
    other.load_state_dict(vae.state_dict())
    expected, expected_gradients = loss_and_gradients(vae, x)
    found, gradients = loss_and_gradients(other, x)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    assert gradients.keys() == expected_gradients.keys()
    for key, gradient in gradients.items():
        assert torch.allclose(gradient, expected_gradients[key], rtol=1e-9, atol=1e-12), key


@pytest.mark.parametrize(
    ("name", "options", "plain"),
    [
        ("denoising_ae", {"strength": 0.0, "corruption": "gaussian", "loss": "squared_error"}, {}),
        ("denoising_ae", {"strength": 0.0, "corruption": "masking"}, {"loss": "cross_entropy"}),
        ("denoising_ae", {"strength": 0.0, "corruption": "salt_and_pepper"}, {"loss": "cross_entropy"}),
        ("sparse_ae", {"k": 3}, {}),
        ("sparse_ae", {"form": "l1", "l1_weight": 0.0}, {}),
        ("sparse_ae", {"form": "kl", "kl_weight": 0.0, "units": "sigmoid"}, {"units": "sigmoid"}),
        ("contractive_ae", {"contraction": 0.0}, {"loss": "cross_entropy"}),
        ("contractive_ae", {"contraction": 0.0, "jacobian": "exact", "loss": "squared_error"}, {}),
        ("swae", {"sw_weight": 0.0}, {}),
        ("rae", {"code_weight": 0.0, "form": "none"}, {}),
        ("rae", {"code_weight": 0.0, "l2_weight": 0.0}, {}),
        ("rae", {"code_weight": 0.0, "form": "gradient_penalty", "gradient_weight": 0.0}, {}),
    ],
)
def test_at_this_setting_it_is_the_plain_autoencoder_to_the_last_bit_and_draw(name, options, plain):
    x = binary_images(6, dtype=torch.float64)
    ae, other = small("ae", dtype=torch.float64, **plain), small(name, dtype=torch.float64, **options)
    other.load_state_dict(ae.state_dict())
    expected, expected_gradients = loss_and_gradients(ae, x)
    state = torch.get_rng_state()
    found, gradients = loss_and_gradients(other, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.item() == expected.item()
    assert gradients.keys() == expected_gradients.keys()
    for key, gradient in gradients.items():
        assert torch.equal(gradient, expected_gradients[key]), key
    assert torch.equal(other.eval().reconstruct(x), ae.eval().reconstruct(x))


def test_an_identity_flow_is_the_vae_without_the_closed_kl():
    x = binary_images(6, dtype=torch.float64)
    # One step, because two steps have a reversal of the dimensions between them.
    iaf = small("iaf_vae", dtype=torch.float64, steps=1)
    vae = small("vae", dtype=torch.float64, analytic_kl=False)
    for step in iaf.flow.steps:
        step.made.last.weight.data.zero_()
        step.made.last.bias.data.fill_(0)
        step.forget_bias = 1e3  # sigma = 1
    # The outputs for the context come last, so the VAE's encoder is the flow's encoder without them.
    vae.decoder.load_state_dict(iaf.decoder.state_dict())
    own = vae.encoder.state_dict()
    vae.encoder.load_state_dict({key: iaf.encoder.state_dict()[key][: len(value)] for key, value in own.items()})
    torch.manual_seed(2)
    expected = vae.loss(batch(x), NOW).value
    torch.manual_seed(2)
    assert iaf.loss(batch(x), NOW).value.item() == pytest.approx(expected.item(), rel=1e-12)


def test_info_vae_with_alpha_one_has_no_kl():
    x = binary_images(6, dtype=torch.float64)
    model = small("info_vae", dtype=torch.float64, alpha=1.0, scale=5.0)
    loss, terms = model.loss(batch(x), NOW)
    assert loss.item() == pytest.approx((terms["reconstruction"].mean() + 5 * terms["mmd"]).item(), rel=1e-12)


def test_beta_vae_capacity_follows_progress_not_calls():
    x = binary_images(6, dtype=torch.float64)
    model = small("beta_vae", dtype=torch.float64, form="capacity", gamma=2.0, capacity=10.0)
    for progress in (0.0, 0.5, 1.0):
        loss, terms = model.loss(batch(x), torch.tensor(progress, dtype=torch.float64))
        expected = (terms["reconstruction"] + 2 * (terms["kl"] - 10 * progress).abs()).mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-12)


def test_joint_vae_pulls_each_kl_to_its_own_capacity():
    x = binary_images(6, dtype=torch.float64)
    model = small("joint_vae", dtype=torch.float64, gamma=3.0, capacity_z=4.0, capacity_c=1.0, rise=1.0)
    loss, terms = model.loss(batch(x), NOW)
    penalty = 3 * ((terms["kl_z"].mean() - 2.8).abs() + (terms["kl_c"].mean() - 0.7).abs())
    assert loss.item() == pytest.approx((terms["reconstruction"].mean() + penalty).item(), rel=1e-12)


def test_in_joint_vae_one_kl_above_its_capacity_does_not_pay_for_the_other_below():
    x = binary_images(6, dtype=torch.float64)
    model = small("joint_vae", dtype=torch.float64, gamma=3.0, capacity_z=0.0, capacity_c=1.0, rise=1.0)
    loss, terms = model.loss(batch(x), NOW)
    above, below = terms["kl_z"].mean(), 0.7 - terms["kl_c"].mean()
    assert min(above, below) > 0
    assert loss.item() == pytest.approx((terms["reconstruction"].mean() + 3 * (above + below)).item(), rel=1e-12)


def test_joint_vae_capacities_rise_at_one_rate_until_the_category_holds_no_more():
    model = small("joint_vae", capacity_z=5.0, capacity_c=5.0, rise=0.25)
    log_categories = math.log(model.config.categories)
    for progress, expected_z, expected_c in (
        (0.0, 0.0, 0.0),
        (0.05, 1.0, 1.0),
        (0.2, 4.0, log_categories),
        (0.25, 5.0, log_categories),
        (1.0, 5.0, log_categories),
    ):
        C_z, C_c = model.capacities(torch.tensor(progress))
        assert (C_z.item(), C_c.item()) == pytest.approx((expected_z, expected_c))


def test_more_draws_inside_the_elbo_are_its_mean():
    x = binary_images(3, dtype=torch.float64)
    model = small("vae", dtype=torch.float64, samples=4)
    torch.manual_seed(5)
    loss, terms = model.loss(batch(x), NOW)
    torch.manual_seed(5)
    q = model.posterior(x)
    z = q.rsample((4,))
    r = torch.stack([-model.likelihood(draw).log_prob(x) for draw in z]).mean(0)
    assert torch.allclose(terms["reconstruction"], r)
    assert loss.item() == pytest.approx((r + terms["kl"]).mean().item(), rel=1e-12)

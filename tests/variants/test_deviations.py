"""How the output of a network becomes the standard deviation of a normal."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import MultivariateNormal, Normal, kl_divergence

import variants
from benchmarks.config import compose
from benchmarks.errors import UserError
from variants.parts.deviations import DEVIATIONS, Deviation, log_softplus
from variants.parts.distributions import StandardNormal
from variants.parts.flows import IAF

from .models import batch, binary_images, small

NOW = torch.tensor(0.5, dtype=torch.float64)
# sigma as a function of a network's output a, as papers and scripts write it.
SIGMA = {
    "exp": lambda a: (a / 2).exp(),
    "exp_deviation": lambda a: a.exp(),
    "softplus": F.softplus,
    "softplus_variance": lambda a: F.softplus(a).sqrt(),
}


@pytest.mark.parametrize("kind", DEVIATIONS)
def test_sigma_is_the_function_that_its_name_says(kind):
    a = torch.linspace(-15, 15, 61, dtype=torch.float64)
    assert torch.allclose(Deviation(kind)(a).exp(), SIGMA[kind](a), rtol=1e-9)


def test_the_logarithm_of_softplus_is_finite_and_exact_far_from_zero():
    a = torch.tensor([-1e4, -200.0, -30.0, 0.0, 30.0, 200.0])
    found = log_softplus(a.requires_grad_())
    # log log(1 + e^a) is a - e^a / 2 for small a, and log a for large.
    assert found[:3].tolist() == [-1e4, -200.0, -30.0]
    assert found[3].item() == pytest.approx(math.log(math.log(2)), rel=1e-6)
    assert found[4:].tolist() == pytest.approx([math.log(30), math.log(200)], rel=1e-6)
    (slope,) = torch.autograd.grad(found.sum(), a)
    expected = a.sigmoid() / F.softplus(a)
    assert torch.allclose(slope[2:], expected[2:], rtol=1e-4)
    assert slope[:2].tolist() == [1, 1]


@pytest.mark.parametrize("kind", DEVIATIONS)
def test_bounds_hold_the_variance_and_have_no_gradient_beyond(kind):
    a = torch.tensor([-300.0, 0.3, 300.0], dtype=torch.float64, requires_grad=True)
    log_sigma = Deviation(kind, [1e-4, 5.0])(a)
    variance = (2 * log_sigma).exp()
    assert variance.tolist() == pytest.approx([1e-4, SIGMA[kind](a)[1].item() ** 2, 5.0], rel=1e-12)
    (slope,) = torch.autograd.grad(log_sigma.sum(), a)
    assert slope[0] == slope[2] == 0
    assert slope[1] > 0


@pytest.mark.parametrize("kind", DEVIATIONS)
def test_the_kl_and_the_density_are_those_of_torchs_normal_with_that_deviation(kind):
    vae, x = small("vae", dtype=torch.float64, deviation=kind, variance_bounds=[0.01, 4.0]), binary_images(6).double()
    loc, a = vae.encoder(x).chunk(2, -1)
    expected = Normal(loc, SIGMA[kind](a).clamp(0.1, 2.0))
    q = vae.posterior(x)
    z = q.sample()
    assert torch.allclose(q.log_prob(z), expected.log_prob(z).sum(-1), rtol=1e-10)
    kl = kl_divergence(expected, Normal(torch.zeros_like(loc), torch.ones_like(loc))).sum(-1)
    assert torch.allclose(kl_divergence(q, StandardNormal(3, like=x)), kl, rtol=1e-10)


def test_a_full_covariance_has_the_deviations_on_its_diagonal():
    vae, x = small("fullcov_vae", dtype=torch.float64, deviation="softplus"), binary_images(5).double()
    loc, a, h = vae.encoder(x).tensor_split([3, 6], -1)
    scale_tril = (vae.entries(h) / 3).unflatten(-1, (3, 3)).tril(-1) + F.softplus(a).diag_embed()
    expected = MultivariateNormal(loc, scale_tril=scale_tril)
    q = vae.posterior(x)
    z = q.sample()
    assert torch.allclose(q.log_prob(z), expected.log_prob(z), rtol=1e-9)
    standard = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    kl = kl_divergence(q, StandardNormal(3, like=x))
    assert torch.allclose(kl, kl_divergence(expected, standard.expand((5,))), rtol=1e-9)


# Variants in which networks give the parameters of all normals, and variants without such normals.
WITH = [
    "vae", "iwae", "flow_vae", "iaf_vae", "fullcov_vae", "joint_vae", "structured_vae", "auxiliary_vae", "cvae",
    "beta_tcvae", "factor_vae", "vamp_vae",
]  # fmt: skip
WITHOUT = ["ae", "swae", "sparse_ae", "rae", "wae_mmd", "vq_vae", "gumbel_vae"]


@pytest.mark.parametrize("name", WITH)
def test_every_gaussian_variant_has_the_option_and_its_bounds(name):
    """Bounds that leave one value fix all deviations, so the losses depend on the means alone."""
    x = binary_images(6)
    torch.manual_seed(1)
    free = small(name)
    torch.manual_seed(1)
    held = small(name, deviation="softplus", variance_bounds=[1.0, 1.0 + 1e-6])
    torch.manual_seed(1)
    same = small(name, deviation="exp", variance_bounds=[1.0, 1.0 + 1e-6])
    values = []
    for model in (free, held, same):
        torch.manual_seed(2)
        values.append(model.loss(batch(x), NOW.float()).by_group["model"].item())
    assert values[1] == pytest.approx(values[2], rel=1e-4)
    assert values[0] != pytest.approx(values[1], rel=1e-4)


@pytest.mark.parametrize("name", WITHOUT)
def test_variants_without_a_normal_refuse_the_options(name):
    for options, message in (
        ({"deviation": "softplus"}, "deviation"),
        ({"variance_bounds": [0.1, 1]}, "variance_bounds"),
    ):
        with pytest.raises(ValueError, match=rf"variant\.{message} must stay .* no network of it returns a deviation"):
            small(name, **options)
    small("wae_mmd", encoder="gaussian", deviation="softplus")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("variant.deviation=softplas", "did you mean 'softplus'"),
        ("variant.variance_bounds=[1]", r"variant\.variance_bounds must be \[LOW, HIGH\]"),
        ("variant.variance_bounds=[0,1]", r"must be \[LOW, HIGH\] with 0 < LOW < HIGH, got \[0.0, 1.0\]"),
        ("variant.variance_bounds=[2,1]", r"with 0 < LOW < HIGH"),
    ],
)
def test_impossible_deviations_are_refused_when_composed(override, message):
    with pytest.raises(UserError, match=message):
        compose("vae", "digits", "smoke", 0, [override])


def test_deviations_that_are_not_set_are_not_in_the_configuration():
    plain = compose("vae", "digits", "smoke", 0)
    assert not {"deviation", "variance_bounds"} & plain.resolved()["variant"].keys()
    asked = compose("vae", "digits", "smoke", 0, ["variant.deviation=softplus", "variant.variance_bounds=[1e-4,5]"])
    assert asked.resolved()["variant"]["variance_bounds"] == [1e-4, 5.0]
    assert asked.run_id != plain.run_id


# The activation of a flow, and the initial codebook


@pytest.mark.parametrize("activation", ["elu", "relu", "leaky_relu 0.2"])
def test_a_flow_with_another_activation_is_invertible_and_its_determinant_that_of_autograd(activation):
    flow = IAF(4, 2, 11, 3, activation).double()
    z, context = torch.randn(5, 4).double(), torch.randn(5, 3).double()
    out, log_determinant = flow(z, context)
    back, other = flow.inverse(out, context)
    assert torch.allclose(back, z, atol=1e-9)
    assert torch.allclose(other, log_determinant, atol=1e-9)
    for i in range(5):
        jacobian = torch.autograd.functional.jacobian(lambda one, i=i: flow(one[None], context[i : i + 1])[0][0], z[i])
        assert log_determinant[i].item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), rel=1e-8)


def test_the_flow_of_altosaar_s_script_has_its_masks_two_hidden_layers_and_its_activation():
    """784-256-256-384, of which 128 numbers are the context; two blocks of MADE 128-256-256-256."""
    config = compose(
        "iaf_vae", "mnist", "paper", 0,
        ["network.latent_size=128", "network.hidden=[256,256]", "network.activation=relu",
         "network.initialisation=torch", "variant.hidden=256", "variant.context=128", "variant.activation=relu",
         "variant.deviation=softplus"],
    )  # fmt: skip
    model = variants.build("iaf_vae", (1, 28, 28), config.network, **vars(config.variant))
    assert sum(p.numel() for p in model.encoder.parameters()) == 784 * 256 + 256 + 256 * 257 + 384 * 257
    made = model.flow.steps[0].made
    assert [tuple(m.weight.shape) for m in (made.first, made.second, made.last)] == [(256, 128), (256, 256), (256, 256)]
    assert type(made.activation) is torch.nn.ReLU
    assert len(model.flow.steps) == 2


def test_codes_may_begin_uniform_between_limits():
    model = small("vq_vae", codebook="gradient", initial_codes="uniform -0.05 0.05", codes=500)
    assert 0.049 < model.codebook.abs().max() <= 0.05
    torch.manual_seed(1)
    first = small("vq_vae").codebook
    torch.manual_seed(1)
    plain = small("vq_vae", initial_codes="normal").codebook
    assert torch.equal(first, plain)
    with pytest.raises(ValueError, match=r"unknown variant\.initial_codes 'uniforme 0 1'.*did you mean"):
        small("vq_vae", initial_codes="uniforme 0 1")
    with pytest.raises(ValueError, match=r"variant\.initial_codes must be written 'uniform LOW HIGH'"):
        small("vq_vae", initial_codes="uniform 1")
    with pytest.raises(ValueError, match=r"unknown variant\.activation 'rleu'; did you mean"):
        small("iaf_vae", activation="rleu")

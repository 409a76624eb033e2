"""VampPrior: the prior is the mean of the posteriors of the pseudo-inputs, and nothing else changes."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

import variants
from benchmarks.evaluation.likelihood import log_likelihood_of
from variants.parts.distributions import DiagonalNormal, EqualMixture
from variants.parts.networks import Conv

from .models import batch, binary_images, small

NOW = torch.tensor(0.7, dtype=torch.float64)


def double(name="vamp_vae", **options):
    return small(name, dtype=torch.float64, **options)


def torchs(components):
    parts = Independent(Normal(components.loc, components.log_scale.exp()), 1)
    return MixtureSameFamily(Categorical(logits=torch.zeros(len(components.loc)).double()), parts)


@torch.no_grad()
def test_the_mixture_is_torchs_and_its_draws_have_its_moments():
    components = DiagonalNormal(3 * torch.randn(5, 2).double(), 0.3 * torch.randn(5, 2).double())
    mixture, reference = EqualMixture(components), torchs(components)
    z = reference.sample((3, 4))
    assert torch.allclose(mixture.log_prob(z), reference.log_prob(z), rtol=1e-10)
    assert torch.allclose(mixture.mean, reference.mean)
    draws = mixture.sample((200_000,))
    assert torch.allclose(draws.mean(0), reference.mean, atol=0.05)
    assert torch.allclose(draws.var(0), reference.variance, rtol=0.03)


@torch.no_grad()
def test_the_prior_is_the_mean_of_the_posteriors_of_the_clamped_pseudo_inputs():
    model = double(components=6)
    model.pseudo_inputs.copy_(torch.randn(6, 1, 4, 4))
    u = model.pseudo_inputs.clamp(0, 1)
    assert (u != model.pseudo_inputs).any()
    z = torch.randn(7, 3).double()
    each = torch.stack([model.posterior(one[None]).log_prob(z) for one in u])
    assert torch.allclose(model.prior().log_prob(z), each.exp().mean(0).log(), rtol=1e-10)


def test_the_loss_is_that_of_the_vae_if_the_posteriors_of_pseudo_inputs_are_standard_normal():
    """With an encoder whose outputs are zero both priors and both posteriors are N(0, I)."""
    values = []
    for name, options in (("vamp_vae", {"samples": 3}), ("vae", {"samples": 3, "analytic_kl": False})):
        torch.manual_seed(0)
        model = double(name, **options)
        for parameter in model.encoder.parameters():
            parameter.data.zero_()
        torch.manual_seed(1)
        values.append(model.loss(batch(binary_images(5).double()), NOW).value.item())
    assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_the_prior_has_a_gradient_in_the_encoder_and_in_the_pseudo_inputs():
    model = double()
    learned = [*model.encoder.parameters(), model.pseudo_inputs]
    gradients = torch.autograd.grad(model.prior().log_prob(torch.randn(5, 3).double()).mean(), learned)
    assert all(gradient.abs().max() > 1e-6 for gradient in gradients)


@torch.no_grad()
def test_the_kl_is_the_mutual_information_if_the_pseudo_inputs_are_all_images():
    """The KL is then between 0 and log K, and log K if the posteriors do not overlap."""
    x = torch.eye(16).view(16, 1, 4, 4).double()
    model = double(components=16, samples=4000)
    model.pseudo_inputs.copy_(x)
    for scale in (1, 1000):
        last = list(model.encoder.children())[-1]
        last.weight[:3] *= scale
        last.weight[3:], last.bias[3:] = 0, 0
        kl = model.loss(batch(x), NOW).terms["kl"].mean().item()
        assert -0.02 < kl < math.log(16) + 1e-9
    assert kl == pytest.approx(math.log(16), abs=0.02)


@torch.no_grad()
def test_log_p_of_all_images_sums_to_one():
    model = double(shape=(1, 2, 2), components=3)
    model.pseudo_inputs.copy_(torch.rand(3, 1, 2, 2))
    for parameter in model.decoder.parameters():
        parameter.add_(0.5 * torch.randn_like(parameter))
    x = torch.tensor([[(i >> bit) & 1 for bit in range(4)] for i in range(16)], dtype=torch.float64).view(16, 1, 2, 2)
    p = log_likelihood_of(model, x, samples=20_000).exp()
    assert p.sum().item() == pytest.approx(1, abs=0.02)
    assert torch.allclose(model.sample(20_000).mean(0).flatten(), (p[:, None] * x.flatten(1)).sum(0), atol=0.03)


def test_batch_normalisation_uses_running_averages_for_pseudo_inputs_and_keeps_them():
    network = Conv(latent_size=3, width=4)
    model = double(shape=(1, 8, 8), network=network)
    model.train()
    for _ in range(3):
        model.posterior(torch.rand(6, 1, 8, 8).double())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    z = torch.randn(5, 3).double()
    training = model.prior().log_prob(z)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    next(module for module in model.encoder.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    model.prior()
    assert [module.training for module in model.encoder.modules()].count(False) == 1  # a frozen layer stays frozen
    assert torch.equal(model.eval().prior().log_prob(z), training)
    assert not any(module.training for module in model.modules())


def test_a_training_step_encodes_the_pseudo_inputs_once():
    model, sizes = double(samples=2), []
    model.encoder.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    model.loss(batch(binary_images(5).double()), NOW)
    assert sizes == [5, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": 0}, "variant.components must be above 0"),
        ({"start_mean": -0.05}, "variant.start_mean must be between 0 and 1"),
        ({"start_deviation": 0.0}, "variant.start_deviation must be above 0"),
        ({"analytic_kl": False}, "variant.analytic_kl must stay True"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        variants.build("vamp_vae", (1, 4, 4), **options)


def test_pseudo_inputs_start_at_the_given_mean_and_deviation():
    w = small("vamp_vae", components=500, start_mean=0.3, start_deviation=0.02).pseudo_inputs
    assert w.shape == (500, 1, 4, 4)
    assert w.mean().item() == pytest.approx(0.3, abs=1e-3)
    assert w.std().item() == pytest.approx(0.02, rel=0.05)

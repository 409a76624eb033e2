"""Observation models of decoders trained with another loss are fitted by maximum likelihood."""

import pytest
import torch

from benchmarks.evaluation.likelihood import per_image
from benchmarks.training.calibration import fit_observation
from variants.logcosh_vae import LogCoshConfig, LogCoshVAE
from variants.parts.networks import MLP
from variants.parts.observations import Bernoulli, CalibratedBernoulli, observation_model

SHAPE = (1, 8, 8)


class Constant(torch.nn.Module):
    """A decoder with the same output for every image."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, z):
        return self.logits.expand(len(z), *self.logits.shape)


def badly_scaled(slope, offset):
    """A model whose decoder outputs ``slope * logits + offset``, and images drawn with the true ``logits``."""
    logits = torch.linspace(-2, 2, 64).reshape(SHAPE)
    observation = observation_model("bernoulli", SHAPE, trained=False)
    model = LogCoshVAE(LogCoshConfig(), SHAPE, MLP(latent_size=2, hidden=[4]), observation)
    model.decoder = Constant(slope * logits + offset)
    return model, torch.bernoulli(logits.sigmoid().expand(4000, *SHAPE))


def test_a_slope_and_an_offset_of_the_logits_are_found():
    model, x = badly_scaled(3.0, 1.0)
    fit_observation(model, x)
    assert model.observation.slope.item() == pytest.approx(1 / 3, abs=0.01)
    assert model.observation.offset.item() == pytest.approx(-1 / 3, abs=0.03)


def test_the_fit_is_where_the_likelihood_has_no_slope_and_never_below_where_it_began():
    model, x = badly_scaled(3.0, 1.0)
    before = per_image(model, x[:500], 1, 500, ("distortion",))["distortion"].mean()
    fit_observation(model, x)
    assert per_image(model, x[:500], 1, 500, ("distortion",))["distortion"].mean() < before
    loss = -model.likelihood(torch.zeros(len(x), 2)).log_prob(x).mean()
    for gradient in torch.autograd.grad(loss, list(model.observation.parameters())):
        assert gradient.abs() < 0.02


def test_the_mean_image_stays_the_one_that_the_loss_saw():
    model, x = badly_scaled(3.0, 1.0)
    before = model.reconstruct(x[:4])
    fit_observation(model, x)
    assert torch.equal(model.reconstruct(x[:4]), before)


def test_before_the_fit_it_is_the_bernoulli_model():
    x, output = (torch.rand(5, *SHAPE) < 0.5).float(), torch.randn(5, *SHAPE)
    assert torch.equal(CalibratedBernoulli()(output).log_prob(x), Bernoulli()(output).log_prob(x))
    assert torch.equal(CalibratedBernoulli()(output).mean, Bernoulli()(output).mean)


def test_a_variant_that_trains_its_observation_model_has_the_plain_one():
    assert type(observation_model("bernoulli", SHAPE)) is Bernoulli
    assert type(observation_model("bernoulli", SHAPE, trained=False)) is CalibratedBernoulli


def test_calibration_leaves_the_stream_of_random_numbers_alone():
    model, x = badly_scaled(3.0, 1.0)
    torch.manual_seed(4)
    fit_observation(model, x[:50])
    first = torch.rand(3)
    torch.manual_seed(4)
    # The fit only draws samples of the posterior.
    model.posterior(x[:50]).sample()
    assert torch.equal(torch.rand(3), first)

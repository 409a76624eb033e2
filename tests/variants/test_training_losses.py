"""Losses of grey pixels that are trained in place of the likelihood, and outputs that are pixels themselves."""

import math

import pytest
import torch
import torch.nn.functional as F

import variants
from benchmarks.evaluation.objective import mean_objective
from benchmarks.training.calibration import fit_observation
from variants import Batch
from variants.parts.distributions import StandardNormal
from variants.parts.networks import MLP, Linear
from variants.parts.observations import OBSERVATION_MODELS, Scaled, check_observation, observation_model

from .models import SHAPE, batch

NOW = torch.tensor(1.0, dtype=torch.float64)
SCALED = [name for name, model in OBSERVATION_MODELS.items() if issubclass(model, Scaled)]


def model(name="vae", loss="cross_entropy", observation="discretised_logistic", network=None, **options):
    cls = variants.lookup(name)
    given = {key: options.pop(key) for key in ("loss_weight", "output") if key in options}
    chosen = observation_model(observation, SHAPE, trained=cls.trains_observation, loss=loss, **given)
    network = network or MLP(latent_size=3, hidden=[8], grid_size=2)
    condition = (3,) if cls.conditional else None
    return cls(cls.Config(**cls.small | options), SHAPE, network, chosen, condition).double()


def grey(count=6):
    return (torch.rand(count, *SHAPE) * 255).round().double() / 255


@pytest.mark.parametrize("observation", SCALED)
@pytest.mark.parametrize("samples", [1, 3])
def test_the_trained_reconstruction_is_torchs_cross_entropy_summed_over_pixels(observation, samples):
    vae, x = model(observation=observation, samples=samples), grey()
    torch.manual_seed(3)
    loss, terms = vae.objective(batch(x), NOW)
    torch.manual_seed(3)
    q = vae.posterior(x)
    logits = vae.decode(q.rsample(torch.Size([samples])))
    r = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum((-3, -2, -1)).mean(0)
    kl = torch.distributions.kl_divergence(q, StandardNormal(3, like=x))
    assert torch.allclose(terms["reconstruction"], r, rtol=1e-12)
    assert loss.item() == pytest.approx((r + kl).mean().item(), rel=1e-12)


@pytest.mark.parametrize("output", ["sigmoid", "linear"])
def test_the_trained_reconstruction_is_the_weighted_sum_of_squares(output):
    vae, x = model(loss="squared_error", loss_weight=2.5, output=output), grey()
    torch.manual_seed(3)
    terms = vae.objective(batch(x), NOW).terms
    torch.manual_seed(3)
    decoded = vae.decode(vae.posterior(x).rsample(torch.Size([1])))
    shown = decoded if output == "linear" else decoded.sigmoid()
    expected = 2.5 * (x - shown).square().sum((-3, -2, -1)).mean(0)
    assert torch.allclose(terms["reconstruction"], expected, rtol=1e-12)


@pytest.mark.parametrize(
    "name",
    ["iwae", "miwae", "vq_vae", "gumbel_vae", "joint_vae", "structured_vae", "beta_tcvae", "factor_vae"],
)
def test_every_variant_that_trains_the_likelihood_trains_the_loss_in_its_place(name):
    """With the same draws, the losses differ in their reconstruction but not in their KL, and no scale is trained."""
    x = grey()
    one = model(name)
    torch.manual_seed(3)
    found = one.objective(batch(x), NOW)
    torch.manual_seed(3)
    plain = one.loss(batch(x), NOW)
    assert not torch.allclose(found.terms["reconstruction"], plain.terms["reconstruction"])
    if "kl" in found.terms:
        assert torch.allclose(found.terms["kl"], plain.terms["kl"])
    trained = {id(p) for group in one.parameter_groups().values() for p in group.parameters}
    assert not trained & {id(p) for p in one.observation.parameters()}
    assert not one.trains_observation
    assert type(one).trains_observation


@pytest.mark.parametrize("name", ["logcosh_vae", "ae", "wae_mmd"])
def test_a_variant_with_a_loss_of_its_own_keeps_it(name):
    x = grey()
    asked, plain = model(name), model(name, loss="likelihood")
    plain.load_state_dict(asked.state_dict())
    for one in (asked, plain):
        torch.manual_seed(3)
        one.value = one.objective(batch(x), NOW).value.item()
    assert asked.value == plain.value


def test_evaluation_never_sees_the_training_loss():
    vae, x = model(), grey()
    plain = model(loss="likelihood")
    plain.encoder, plain.decoder = vae.encoder, vae.decoder
    torch.manual_seed(3)
    found = vae.log_weights(x, vae.posterior(x), 4).value
    torch.manual_seed(3)
    assert torch.equal(found, plain.log_weights(x, plain.posterior(x), 4).value)
    assert torch.equal(vae.reconstruct(x), vae.decode(vae.posterior(x).mean).sigmoid())
    with pytest.raises(RuntimeError, match="broken"), vae.observation.in_training():
        raise RuntimeError("broken")
    z = torch.zeros(6, 3).double()
    assert torch.equal(vae.likelihood(z).log_prob(x), plain.likelihood(z).log_prob(x))


def test_given_pixels_are_not_in_the_trained_loss():
    cls, x = variants.lookup("cvae"), grey()
    observation = observation_model("discretised_logistic", SHAPE, loss="cross_entropy")
    one = cls(cls.Config(features=6), SHAPE, MLP(latent_size=3, hidden=[8]), observation, (2, 4, 4)).double()
    mask = torch.zeros(6, 1, 4, 4).double()
    mask[..., :2] = 1
    condition = torch.cat([x * mask, mask], 1)
    torch.manual_seed(3)
    terms = one.objective(Batch(x, condition), NOW).terms
    torch.manual_seed(3)
    z = one.posterior(x, condition=condition).rsample(torch.Size([1]))
    logits = one.decode(z, condition=condition)[0]
    each = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    assert torch.allclose(terms["reconstruction"], each[..., 2:].sum((-3, -2, -1)), rtol=1e-12)


def test_the_scale_is_fitted_after_training_around_what_the_decoder_shows():
    """For grey pixels with logistic noise around one image, the fit finds its scale and does not change the mean."""
    vae = model(network=Linear(latent_size=1))
    logits = torch.linspace(-1, 1, 16).double().reshape(SHAPE)
    vae.decoder[0].weight.data.zero_()
    vae.decoder[0].bias.data.copy_(logits.flatten())
    noise = torch.logit(torch.rand(600, *SHAPE).double().clamp(1e-6, 1 - 1e-6)) * 0.05
    x = ((logits.sigmoid() + noise) * 255).round().clamp(0, 255) / 255
    before = vae.reconstruct(x[:2])
    fit_observation(vae, x)
    assert vae.observation.model.log_scale.exp().item() == pytest.approx(0.05, rel=0.05)
    assert torch.equal(vae.reconstruct(x[:2]), before)


def test_the_mean_objective_is_the_same_over_ragged_batches():
    vae, x = model(), grey(230)
    vae.encoder[-1].weight.data[3:] = 0
    vae.encoder[-1].bias.data[3:] = -60
    expected = vae.objective(Batch(x), NOW).value.item()
    assert mean_objective(vae, x) == pytest.approx(expected, rel=1e-6)


def test_an_autoencoder_of_linear_outputs_shows_the_output_itself():
    x = grey()
    for observation in SCALED:
        one = model("ae", loss="likelihood", output="linear", observation=observation)
        output = one.decoder(one.posterior(x).mean)
        assert torch.equal(one.reconstruct(x), output)
        assert output.min() < 0
        expected = (x - output).square().sum((-3, -2, -1)).mean().item()
        assert one.objective(batch(x), NOW).value.item() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(one.likelihood(one.posterior(x).mean).location, output)


def test_pixels_around_a_location_outside_of_the_range_have_a_mass_that_sums_to_1():
    image = observation_model("discretised_logistic", (1, 1, 1), output="linear").double()
    levels = (torch.arange(256).double() / 255).reshape(256, 1, 1, 1)
    for location in (-0.3, 0.5, 1.1):
        mass = image(torch.full((1, 1, 1), location).double()).log_prob(levels).exp()
        assert mass.sum().item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "bernoulli", "loss": "cross_entropy"}, "the cross-entropy is the likelihood already"),
        ({"name": "continuous_bernoulli", "loss": "squared_error"}, "needs an observation model with a scale"),
        ({"name": "gaussian", "loss": "cross_entropi"}, "did you mean 'cross_entropy'"),
        ({"name": "gaussian", "loss_weight": 2.0}, "loss_weight must stay 1"),
        ({"name": "gaussian", "loss": "squared_error", "loss_weight": 0.0}, "loss_weight must be above 0"),
        ({"name": "gaussian", "loss": "squared_error", "loss_weight": math.inf}, "loss_weight must be finite"),
        ({"name": "gaussian", "output": "liner"}, "did you mean 'linear'"),
        ({"name": "bernoulli", "output": "linear"}, "output 'linear' needs an observation model with a scale"),
        ({"name": "gaussian", "output": "linear", "loss": "cross_entropy"}, "needs pixels between 0 and 1"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        check_observation(**({"scale": None} | options))

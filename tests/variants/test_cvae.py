"""Conditional VAE: a learned prior, and a likelihood of the missing pixels alone."""

import math

import pytest
import torch
from torch.distributions import kl_divergence

import variants
from variants import Batch
from variants.parts.networks import MLP, Conv
from variants.parts.observations import OBSERVATION_MODELS, CompletedImage, observation_model

from .models import batch, binary_images, small

SHAPE = (1, 4, 4)
NOW = torch.tensor(0.5, dtype=torch.float64)


def given_quadrants(x, rows, columns):
    """The condition that shows ``x`` at ``rows`` and ``columns``."""
    mask = torch.zeros_like(x[:, :1])
    mask[..., rows, columns] = 1
    return torch.cat([x * mask, mask], 1)


def left_half(x):
    return given_quadrants(x, slice(None), slice(0, x.shape[-1] // 2))


def completing(shape=SHAPE, observation="bernoulli", dtype=torch.float64, network=None):
    cls = variants.lookup("cvae")
    network = network or MLP(latent_size=2, hidden=[8], activation="tanh")
    channels, height, width = shape
    condition = (channels + 1, height, width)
    model = cls(cls.Config(**cls.small), shape, network, observation_model(observation, shape), condition)
    return model.to(dtype)


def speaking(model):
    """``model`` with random weights in its heads, whose outputs then depend on the inputs, as after some training."""
    for head in (model.prior_head, model.posterior_head):
        torch.nn.init.normal_(head[-1].weight)
    return model


def test_training_begins_with_a_standard_normal_prior_and_a_posterior_of_the_image_alone():
    model, x, condition = small("cvae"), binary_images(3), torch.eye(3)
    p, q = model.prior(condition), model.posterior(x, condition)
    assert torch.equal(p.loc, torch.zeros(3, 3))
    assert torch.equal(p.log_scale, torch.zeros(3, 3))
    other = model.posterior(x, condition.roll(1, 0))
    assert torch.equal(q.loc, other.loc)
    assert (q.loc != 0).all()
    # Training changes this.
    model.loss(batch(x), NOW.float()).value.backward()
    for head in (model.prior_head, model.posterior_head):
        assert head[-1].weight.grad.abs().max() > 0


def test_the_loss_is_the_elbo_with_the_prior_given_the_condition():
    x, model = binary_images(6, dtype=torch.float64), speaking(small("cvae", dtype=torch.float64))
    data = batch(x)
    torch.manual_seed(4)
    loss = model.loss(data, NOW).value
    torch.manual_seed(4)
    q, p = model.posterior(x, data.condition), model.prior(data.condition)
    z = q.rsample((1,))
    log_likelihood = model.likelihood(z, data.condition).log_prob(x).mean(0)
    assert loss.item() == pytest.approx((kl_divergence(q, p) - log_likelihood).mean().item(), rel=1e-12)


def test_the_prior_is_learned_and_differs_between_conditions():
    model = speaking(small("cvae"))
    p = model.prior(torch.eye(3))
    assert p.batch_shape == (3,)
    assert (p.loc[0] - p.loc[1]).abs().max() > 1e-3
    model.loss(batch(binary_images(6)), NOW.float()).value.backward()
    for name, parameter in model.prior_head.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_posterior_and_decoder_see_the_condition():
    model, x = speaking(small("cvae")), binary_images(1)
    one, other = torch.eye(3)[:1], torch.eye(3)[1:2]
    assert not torch.equal(model.posterior(x, one).mean, model.posterior(x, other).mean)
    z = torch.zeros(1, 3)
    assert not torch.equal(model.decode(z, one), model.decode(z, other))


@pytest.mark.parametrize("observation", [name for name in OBSERVATION_MODELS if name != "gaussian"])
def test_given_pixels_are_not_scored(observation, monkeypatch):
    """The log-likelihood is that of the missing pixels, whatever the given pixels and the outputs for them are."""
    monkeypatch.setattr(torch, "rand_like", lambda like: torch.full_like(like, 0.3))
    output, x = torch.randn(2, 5, *SHAPE).double(), binary_images(5, dtype=torch.float64)
    model = observation_model(observation, SHAPE).double()
    condition = left_half(x)
    missing = condition[:, -1:] < 0.5
    log_prob = CompletedImage(model(output), condition[:, :-1], missing).log_prob(x)
    assert log_prob.shape == (2, 5)
    # This is the log-likelihood of images that consist of the missing half alone.
    expected = model(output[..., 2:]).log_prob(x[..., 2:])
    assert torch.allclose(log_prob, expected, rtol=1e-12)
    disturbed = torch.where(missing, output, output + 7)
    assert torch.equal(log_prob, CompletedImage(model(disturbed), condition[:, :-1], missing).log_prob(1 * x))


@pytest.mark.parametrize("observation", list(OBSERVATION_MODELS))
def test_pixels_log_probabilities_sum_to_the_images(observation, monkeypatch):
    monkeypatch.setattr(torch, "rand_like", lambda like: torch.full_like(like, 0.3))
    p = observation_model(observation, SHAPE).double()(3 * torch.randn(2, 5, *SHAPE).double())
    x = binary_images(5, dtype=torch.float64)
    assert p.pixel_log_prob(x).shape == (2, 5, *SHAPE)
    assert torch.allclose(p.pixel_log_prob(x).sum((-3, -2, -1)), p.log_prob(x), rtol=1e-12)


def test_means_and_samples_show_the_given_pixels():
    model, x = completing(dtype=torch.float32), binary_images(5)
    condition = left_half(x)
    for images in (model.sample(5, condition=condition), model.reconstruct(x, condition=condition)):
        assert torch.equal(images[..., :2], x[..., :2])
        assert not torch.equal(images[..., 2:], x[..., 2:])
    draws = model.likelihood(torch.zeros(5, 2), condition).sample((3,))
    assert draws.shape == (3, 5, *SHAPE)
    assert torch.equal(draws[..., :2], x[..., :2].expand(3, -1, -1, -1, -1))


@torch.no_grad()
def test_the_likelihood_of_all_completions_sums_to_one():
    """p(missing|given) sums to 1 over the 4 images with one left half of 2x2 pixels, by draws of the prior and of q."""
    model = speaking(completing((1, 2, 2)))
    right = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]).double()
    x = torch.ones(4, 1, 2, 2).double()
    x[:, 0, :, 1] = right
    condition = left_half(x)
    q = model.posterior(x, condition)
    log_w = model.log_weights(x, q, 20_000, condition=condition).value
    with_q = log_w.logsumexp(0) - math.log(20_000)
    z = model.prior(condition).sample((20_000,))
    by_prior = model.likelihood(z, condition).log_prob(x).logsumexp(0) - math.log(20_000)
    assert with_q.exp().sum().item() == pytest.approx(1, abs=0.03)
    assert by_prior.exp().sum().item() == pytest.approx(1, abs=0.03)
    assert torch.allclose(with_q, by_prior, atol=0.05)
    assert (log_w.mean(0) <= with_q).all()


def test_what_stands_at_missing_pixels_does_not_reach_the_prior():
    model, x = speaking(completing(dtype=torch.float32)), binary_images(5)
    other = x.clone()
    other[..., 2:] = 1 - other[..., 2:]
    assert torch.equal(model.prior(left_half(x)).loc, model.prior(left_half(other)).loc)


@pytest.mark.parametrize("network", [MLP(latent_size=2, hidden=[8]), Conv(latent_size=2, width=4)], ids=["mlp", "conv"])
def test_it_learns_to_complete_images(network):
    """The missing half repeats the given half, so the prior, which sees only the given half, can predict it."""
    shape = (1, 8, 8)
    model = completing(shape, dtype=torch.float32, network=network)
    half = torch.eye(8, 4)[torch.arange(16) % 8].reshape(16, 1, 1, 4).expand(16, 1, 8, 4)
    x = torch.cat([half, half], -1).contiguous()
    condition = left_half(x)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(80):
        optimiser.zero_grad()
        model.loss(Batch(x, condition, None, 16), NOW.float()).value.backward()
        optimiser.step()
    model.eval()
    error = (model.sample(16, condition=condition) - x)[..., 4:]
    assert error.abs().mean() < 0.05


def test_gradients_of_a_completion_agree_with_finite_differences():
    model, x = speaking(completing()), binary_images(4, dtype=torch.float64)
    data = Batch(x, left_half(x), None, 100)

    def loss():
        torch.manual_seed(5)
        return model.loss(data, NOW).value

    parameters = dict(model.named_parameters())
    for (name, parameter), gradient in zip(
        parameters.items(), torch.autograd.grad(loss(), list(parameters.values())), strict=True
    ):
        flat, index = parameter.data.view(-1), parameter.numel() // 2
        original, sides = flat[index].item(), []
        for shift in (1e-6, -1e-6):
            flat[index] = original + shift
            sides.append(loss().item())
        flat[index] = original
        difference = (sides[0] - sides[1]) / 2e-6
        assert gradient.reshape(-1)[index].item() == pytest.approx(difference, rel=1e-4, abs=1e-6), name


def test_without_a_condition_it_is_refused():
    with pytest.raises(ValueError, match="cvae needs the condition of its images"):
        small("cvae").prior()


# Separate networks, and a guess


def separate(dtype=torch.float64, shape=SHAPE, network=None, **options):
    cls = variants.lookup("cvae")
    network = network or MLP(latent_size=2, hidden=[8], activation="tanh")
    observation = observation_model("discretised_logistic", shape, loss="cross_entropy")
    config = cls.Config(networks="separate", **options)
    return cls(config, shape, network, observation, (shape[0] + 1, *shape[1:])).to(dtype)


def test_separate_networks_have_the_parameters_of_the_pyro_example():
    network = MLP(latent_size=200, hidden=[500, 500], activation="relu", initialisation="torch")
    model = separate(torch.float32, (1, 28, 28), network, guess=0.5, deviation="exp_deviation", analytic_kl=False)
    count = {
        name: sum(p.numel() for p in getattr(model, name).parameters())
        for name in ("prior_encoder", "encoder", "decoder", "guess")
    }
    assert count == {"prior_encoder": 843_400, "encoder": 843_400, "decoder": 743_784, "guess": 1_035_784}


def test_a_separate_prior_sees_the_given_pixels_and_the_guess_of_the_others_alone():
    model, x = separate(guess=0.5), torch.rand(5, *SHAPE).double()
    other = x.clone()
    other[..., 2:] = torch.rand(5, 1, 4, 2)
    condition, same = left_half(x), left_half(other)
    assert torch.equal(model.prior(condition).loc, model.prior(same).loc)
    masked = x.clone()
    masked[..., 2:] = -1
    guessed = torch.cat([x[..., :2], model.guess(masked).sigmoid()[..., 2:]], -1)
    loc, a = model.prior_encoder(guessed).chunk(2, -1)
    assert torch.allclose(model.prior(condition).loc, loc)
    assert torch.allclose(model.prior(condition).log_scale, a / 2)
    plain = separate()
    assert torch.allclose(plain.prior(condition).loc, plain.prior_encoder(masked).chunk(2, -1)[0])


def test_a_separate_posterior_sees_the_image_and_the_decoder_z_alone():
    model, x = separate(), torch.rand(5, *SHAPE).double()
    condition, z = left_half(x), torch.randn(5, 2).double()
    assert torch.equal(model.posterior(x, condition=condition).loc, model.encoder(x).chunk(2, -1)[0])
    assert torch.equal(model.decode(z, condition=condition), model.decoder(z))


def test_the_guess_learns_the_cross_entropy_of_missing_pixels_until_it_is_frozen():
    model, x = separate(guess=0.4), torch.rand(5, *SHAPE).double()
    data = Batch(x, left_half(x))
    masked = x.clone()
    masked[..., 2:] = -1
    p = model.guess(masked).sigmoid()[..., 2:]
    expected = torch.nn.functional.binary_cross_entropy(p, x[..., 2:], reduction="sum") / 5
    loss = model.objective(data, torch.tensor(0.0).double())
    assert loss.value["guess"].item() == pytest.approx(expected.item(), rel=1e-12)
    assert loss.terms["guess"].mean().item() == pytest.approx(expected.item(), rel=1e-12)
    groups = model.parameter_groups()
    assert {id(p) for p in groups["guess"].parameters} == {id(p) for p in model.guess.parameters()}
    assert (groups["guess"].until, groups["model"].until) == (0.4, 1.0)
    # The model's loss has no gradient for the guess, and no parameter of the guess is in the model's group.
    assert all(
        g is None for g in torch.autograd.grad(loss.value["model"], groups["guess"].parameters, allow_unused=True)
    )
    assert not {id(p) for p in groups["model"].parameters} & {id(p) for p in groups["guess"].parameters}


def test_what_separate_networks_do_not_go_with_is_refused():
    with pytest.raises(ValueError, match=r"needs a condition that shows a part of the pixels, such as"):
        small("cvae", features=64, networks="separate")
    with pytest.raises(ValueError, match=r"variant\.guess must stay 0\.0"):
        small("cvae", guess=0.5)
    with pytest.raises(ValueError, match=r"variant\.features must stay 64"):
        small("cvae", networks="separate")
    with pytest.raises(ValueError, match=r"did you mean 'separate'"):
        small("cvae", networks="seperate")


def test_a_guess_with_batch_normalisation_is_refused():
    cls, shape = variants.lookup("cvae"), (1, 8, 8)
    config = cls.Config(networks="separate", guess=0.5)
    observation = observation_model("bernoulli", shape)
    with pytest.raises(ValueError, match="needs a network without batch normalisation"):
        cls(config, shape, Conv(latent_size=2, width=4), observation, (2, 8, 8))
    cls(config, shape, Conv(latent_size=2, width=4, normalisation="none"), observation, (2, 8, 8))

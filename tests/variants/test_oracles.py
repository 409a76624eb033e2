"""Models with known log p(x): evaluation must report this number or a lower bound on it."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

import variants
from benchmarks.evaluation.likelihood import elbo, log_likelihood
from variants import LogWeights, Variant
from variants.iwae import IWAE, IWAEConfig
from variants.parts.distributions import LOG_2PI
from variants.parts.networks import Linear
from variants.parts.observations import Image, ObservationModel

from .models import batch, binary_images, small

NOISE = 0.5


class GaussianPixels(Image):
    """Normal pixels with one fixed standard deviation."""

    def __init__(self, mean):
        self._mean = mean
        super().__init__(mean.shape)

    @property
    def mean(self):
        return self._mean

    def log_prob(self, value):
        squared = ((value - self._mean) / NOISE).square().flatten(-3).sum(-1)
        return -0.5 * squared - math.prod(self.event_shape) * (math.log(NOISE) + 0.5 * LOG_2PI)


class FixedGaussian(ObservationModel):
    def forward(self, output):
        return GaussianPixels(output)


@pytest.fixture
def linear_gaussian():
    """Probabilistic PCA (Tipping & Bishop 1999), its data, and log p(x) of each image in closed form."""
    model = Variant(variants.VariantConfig(), (1, 3, 3), Linear(latent_size=2), FixedGaussian()).double()
    W, mean = model.decoder[0].weight.detach(), model.decoder[0].bias.detach()
    W.mul_(2)
    covariance = W @ W.T + NOISE**2 * torch.eye(9, dtype=torch.float64)
    x = MultivariateNormal(mean, covariance).sample((20,))
    exact = MultivariateNormal(mean, covariance).log_prob(x)
    return model, x.reshape(20, 1, 3, 3), exact


def exact_posterior(model, x):
    W, mean = model.decoder[0].weight.detach(), model.decoder[0].bias.detach()
    precision = torch.eye(2, dtype=torch.float64) + W.T @ W / NOISE**2
    covariance = precision.inverse()
    loc = (x.flatten(1) - mean) @ W @ covariance / NOISE**2
    return MultivariateNormal(loc, covariance, validate_args=False)


def test_with_the_exact_posterior_every_weight_is_the_log_likelihood(linear_gaussian):
    model, x, exact = linear_gaussian
    log_w = model.log_weights(x, exact_posterior(model, x), 7).value
    assert torch.allclose(log_w, exact.expand(7, 20), atol=1e-9)
    assert torch.allclose(elbo(log_w), exact, atol=1e-9)
    assert torch.allclose(log_likelihood(log_w), exact, atol=1e-9)


def set_encoder_near_the_posterior(model):
    """Set the exact posterior mean, and deviations 1.5 times the conditional deviations of the exact posterior."""
    W, mean = model.decoder[0].weight.detach(), model.decoder[0].bias.detach()
    precision = torch.eye(2, dtype=torch.float64) + W.T @ W / NOISE**2
    to_loc = precision.inverse() @ W.T / NOISE**2
    linear = model.encoder[1]
    linear.weight.data = torch.cat([to_loc, torch.zeros_like(to_loc)])
    log_variance = 2 * math.log(1.5) - precision.diagonal().log()
    linear.bias.data = torch.cat([-to_loc @ mean, log_variance])


def test_the_importance_estimate_rises_with_k_to_the_exact_value_and_stays_below(linear_gaussian):
    model, x, exact = linear_gaussian
    set_encoder_near_the_posterior(model)
    with torch.no_grad():
        log_w = model.log_weights(x, model.posterior(x), 20_000).value
    means = [
        torch.stack([log_likelihood(chunk) for chunk in log_w.split(K)]).mean(0).mean() for K in (1, 10, 100, 5_000)
    ]
    assert means == sorted(means)
    assert means[-1] <= exact.mean() + 0.01
    assert torch.allclose(log_likelihood(log_w), exact, atol=0.02)
    assert means[0] < exact.mean() - 0.1
    assert means[0] == pytest.approx(elbo(log_w).mean().item())


def test_the_iwae_loss_is_logsumexp_minus_log_k_in_float64(linear_gaussian):
    model, x, _ = linear_gaussian
    # There are more samples than images, so a reduction over the wrong axis would change the value.
    iwae = IWAE(IWAEConfig(samples=31), (1, 3, 3), Linear(latent_size=2), FixedGaussian()).double()
    iwae.load_state_dict(model.state_dict())
    torch.manual_seed(3)
    value = iwae.loss(batch(x), torch.tensor(0.0)).value
    torch.manual_seed(3)
    weights = iwae.log_weights(x, iwae.posterior(x), 31).value.detach()
    expected = [math.log(sum(math.exp(w - max(c)) for w in c) / 31) + max(c) for c in weights.T.tolist()]
    assert value.item() == pytest.approx(-sum(expected) / 20, rel=1e-12)


def test_both_iwae_gradients_have_the_same_expectation(linear_gaussian):
    model, x, _ = linear_gaussian
    # Far from the posterior, one weight and its square are nearly 1, and both estimators would agree by accident.
    set_encoder_near_the_posterior(model)

    def gradient(form, seed):
        iwae = IWAE(IWAEConfig(samples=3, gradient=form), (1, 3, 3), Linear(latent_size=2), FixedGaussian()).double()
        iwae.load_state_dict(model.state_dict())
        torch.manual_seed(seed)
        many = x[:2].repeat(20_000, 1, 1, 1)
        iwae.loss(batch(many), torch.tensor(0.0)).value.backward()
        return iwae.encoder[1].bias.grad.clone(), iwae.decoder[0].weight.grad.clone()

    for standard, doubly in zip(gradient("standard", 1), gradient("doubly_reparameterised", 2), strict=True):
        assert torch.allclose(standard, doubly, atol=0.12 * standard.abs().max().item())


def test_the_doubly_reparameterised_encoder_gradient_carries_squared_weights_along_the_draws_alone():
    x = binary_images(5, dtype=torch.float64)
    model = small("iwae", dtype=torch.float64, gradient="doubly_reparameterised", samples=4)
    torch.manual_seed(6)
    model.loss(batch(x), torch.tensor(0.0)).value.backward()

    torch.manual_seed(6)
    q = model.posterior(x)
    z = q.rsample((4,))
    at = z.detach().requires_grad_()
    log_w = model.likelihood(at).log_prob(x) + model.prior().log_prob(at) - q.detach().log_prob(at)
    weights = (log_w.detach() - log_w.detach().logsumexp(0)).exp()
    # Tucker et al. (2019), eq. 8, for minus the bound, averaged over five images.
    along_z = torch.autograd.grad(log_w.sum(), at, retain_graph=True)[0]
    encoder, decoder = list(model.encoder.parameters()), list(model.decoder.parameters())
    expected = torch.autograd.grad(z, encoder, -weights.square().unsqueeze(-1) * along_z / 5)
    expected += torch.autograd.grad(-(weights * log_w).sum(0).mean(), decoder)
    for parameter, gradient in zip(encoder + decoder, expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-12)


def test_the_value_of_the_doubly_reparameterised_loss_is_the_bound():
    x = binary_images(5, dtype=torch.float64)
    standard, doubly = (small("iwae", dtype=torch.float64, gradient=g) for g in ("standard", "doubly_reparameterised"))
    doubly.load_state_dict(standard.state_dict())
    torch.manual_seed(1)
    first = standard.loss(batch(x), torch.tensor(0.0)).value
    torch.manual_seed(1)
    assert doubly.loss(batch(x), torch.tensor(0.0)).value.item() == pytest.approx(first.item(), rel=1e-12)


def test_gumbel_evaluation_converges_to_the_enumerated_log_likelihood():
    model = small("gumbel_vae", variables=2, categories=3, dtype=torch.float64)
    x = binary_images(4, dtype=torch.float64)
    codes = torch.eye(3, dtype=torch.float64)
    z = torch.stack([torch.cat([codes[i], codes[j]]) for i in range(3) for j in range(3)])
    with torch.no_grad():
        joint = (
            torch.stack([model.likelihood(z).log_prob(image) for image in x], 1) + model.prior().log_prob(z)[:, None]
        )
        exact = joint.logsumexp(0)
        log_w = model.log_weights(x, model.posterior(x), 20_000).value
    assert model.prior().log_prob(z).exp().sum() == pytest.approx(1)
    assert torch.allclose(log_likelihood(log_w), exact, atol=0.02)
    assert (elbo(log_w) <= exact).all()
    q = model.posterior(x)
    # The ELBO by enumeration, with the probabilities of the posterior.
    log_q = torch.stack([q.log_prob(code.expand(4, -1)) for code in z])
    assert torch.allclose(elbo(log_w), (log_q.exp() * (joint - log_q)).sum(0), atol=0.05)


def test_the_vq_bound_is_the_joint_at_its_code_and_below_the_enumerated_log_likelihood():
    model = small("vq_vae", dtype=torch.float64, codes=3)
    x = binary_images(4, dtype=torch.float64)
    z = torch.cartesian_prod(*[torch.arange(3)] * 4)
    with torch.no_grad():
        log_prior = model.prior().log_prob(z)
        joint = torch.stack([model.likelihood(z).log_prob(image) for image in x], 1) + log_prior[:, None]
        log_w = model.log_weights(x, model.posterior(x), 5).value
    assert log_prior.exp().sum() == pytest.approx(1)
    assert (log_w <= joint.logsumexp(0)).all()
    codes = model.discrete_code(x)
    chosen = (codes[:, None] == z[None]).all(-1).long().argmax(1)
    assert torch.allclose(log_w, joint[chosen, torch.arange(4)].expand(5, 4))


def test_log_weights_hold_their_parts():
    parts = LogWeights(torch.tensor([[1.0]]), torch.tensor([[2.0]]), torch.tensor([[4.0]]), torch.zeros(1, 1, 2))
    assert parts.value.item() == -1

"""FactorVAE: the inputs of its critic, the estimate of its critic, and the parameters that each loss trains."""

import math

import pytest
import torch

from benchmarks.config import TrainingConfig
from benchmarks.data import DatasetConfig
from benchmarks.training.steps.eager import Step, backward
from variants.factor_vae import FactorVAEConfig, permuted
from variants.parts.networks import MLP

from .models import batch, binary_images, small

HALF = torch.tensor(0.5)


def seen_by_the_critic(model, z):
    """The inputs of the critic, one for each of its calls, in its own loss on draws ``z``."""
    given = []
    hook = model.critic.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    model.critic_loss(z)
    hook.remove()
    return given


def test_its_loss_is_the_vaes_and_gamma_times_the_critics_log_ratio():
    model, x = small("factor_vae", gamma=3.0, dtype=torch.float64), binary_images(6, dtype=torch.float64)
    torch.manual_seed(4)
    loss = model.loss(batch(x), HALF)
    torch.manual_seed(4)
    q = model.posterior(x)
    z = q.rsample((1,))
    kl = 0.5 * (q.mean**2 + q.variance - 1 - q.variance.log()).sum(-1)
    D = model.critic(z).sigmoid()
    expected = -model.likelihood(z).log_prob(x)[0] + kl + 3 * (D.log() - (1 - D).log())[0, :, 0]
    assert loss.value["model"].item() == pytest.approx(expected.mean().item(), rel=1e-12)
    # The permutations are drawn after z.
    product = model.critic(permuted(z[:, 3:])).sigmoid()
    expected = -0.5 * D[:, :3].log().mean() - 0.5 * (1 - product).log().mean()
    assert loss.value["critic"].item() == pytest.approx(expected.item(), rel=1e-12)


def test_without_a_weight_it_is_the_vae():
    x = binary_images(6, dtype=torch.float64)
    model, vae = small("factor_vae", gamma=0.0, dtype=torch.float64), small("vae", dtype=torch.float64)
    vae.load_state_dict({key: value for key, value in model.state_dict().items() if not key.startswith("critic")})
    torch.manual_seed(2)
    found = model.loss(batch(x), HALF).value["model"]
    torch.manual_seed(2)
    expected = vae.loss(batch(x), HALF).value
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    parameters = list(vae.encoder.parameters())
    gradients = torch.autograd.grad(found, list(model.encoder.parameters()))
    for gradient, wanted in zip(gradients, torch.autograd.grad(expected, parameters), strict=True):
        assert torch.allclose(gradient, wanted, rtol=1e-9, atol=1e-12)


def test_the_critic_is_never_shown_images_both_as_they_are_and_permuted():
    """Otherwise both samples would hold the same values in every dimension and would not be independent."""
    z = torch.arange(2 * 9 * 3.0).reshape(2, 9, 3)
    joint, product = seen_by_the_critic(small("factor_vae"), z)
    assert torch.equal(joint, z[:, :5])
    assert set(product.flatten().tolist()) == set(z[:, 5:].flatten().tolist())
    assert not set(joint.flatten().tolist()) & set(product.flatten().tolist())


def test_every_dimension_is_permuted_by_itself_and_keeps_its_values():
    torch.manual_seed(0)
    z = torch.arange(4000.0)[:, None].expand(-1, 3).contiguous()
    found = permuted(z)
    for column in found.T:
        assert torch.equal(column.sort().values, z[:, 0])
    correlations = torch.corrcoef(found.T) - torch.eye(3)
    # With one permutation for all dimensions, the correlations would be 1.
    assert correlations.abs().max() < 0.08
    assert (found[:, 0] != z[:, 0]).float().mean() > 0.99
    # Each of several draws has its own permutations.
    assert not torch.equal(*permuted(z[None].expand(2, -1, -1)))


def test_the_critics_loss_stops_before_the_encoder_and_the_models_does_not():
    model, x = small("factor_vae"), binary_images(8)
    values = model.loss(batch(x), HALF).value
    encoder = list(model.encoder.parameters())
    assert set(torch.autograd.grad(values["critic"], encoder, allow_unused=True, retain_graph=True)) == {None}
    found = {}
    for gamma in (0.0, 50.0):
        model.config.gamma = gamma
        torch.manual_seed(3)
        found[gamma] = torch.autograd.grad(model.loss(batch(x), HALF).value["model"], encoder)
    torch.manual_seed(3)
    expected = torch.autograd.grad(model.log_ratio(model.forward_pass(batch(x), HALF).z).mean(), encoder)
    for plain, weighed, gradient in zip(found[0.0], found[50.0], expected, strict=True):
        assert torch.allclose(weighed - plain, 50 * gradient, atol=1e-5)
    assert any(gradient.abs().sum() > 0 for gradient in expected)


def test_the_models_loss_does_not_train_the_critic():
    """Otherwise the critic would learn to call all codes independent."""
    model, x = small("factor_vae", gamma=100.0), binary_images(8)
    torch.manual_seed(3)
    values = model.loss(batch(x), HALF).value
    critic = list(model.critic.parameters())
    expected = torch.autograd.grad(values["critic"], critic, retain_graph=True)
    backward(values, model.parameter_groups())
    for parameter, gradient in zip(critic, expected, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_the_critic_estimates_with_weights_from_before_it_learns_from_the_batch():
    """The model's first step is the same whether the critic learns or not."""
    moved = {}
    for rate in (1e-9, 1.0):
        torch.manual_seed(0)
        model = small("factor_vae", critic_learning_rate=rate, gamma=50.0)
        images = (binary_images(8) * 255).to(torch.uint8)
        before = [parameter.detach().clone() for parameter in model.critic.parameters()]
        step = Step(model, images, DatasetConfig(binarise="dynamic"), TrainingConfig(), torch.device("cpu"))
        step(torch.arange(8), torch.tensor(0.0), 1.0, 0.0)
        moved[rate] = [parameter.detach().clone() for parameter in model.encoder.parameters()]
        change = max((now - then).abs().max() for now, then in zip(model.critic.parameters(), before, strict=True))
        assert (change > 0.1) == (rate == 1.0)
    for slow, fast in zip(*moved.values(), strict=True):
        assert torch.equal(slow, fast)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_a_critic_that_has_learned_estimates_the_total_correlation(correlation):
    """The total correlation of two normals with correlation rho is -log(1 - rho^2) / 2."""
    torch.manual_seed(0)
    model = small("factor_vae", network=MLP(latent_size=2, hidden=[8]), critic_hidden=[32, 32])
    optimiser = torch.optim.Adam(model.critic.parameters(), 3e-3)

    def draws(count):
        z = torch.randn(1, count, 2)
        z[..., 1] = correlation * z[..., 0] + math.sqrt(1 - correlation**2) * z[..., 1]
        return z

    for _ in range(400):
        optimiser.zero_grad()
        model.critic_loss(draws(1000)).backward()
        optimiser.step()
    with torch.no_grad():
        found = model.log_ratio(draws(20_000)).mean().item()
    assert found == pytest.approx(-0.5 * math.log(1 - correlation**2), abs=0.08)


def test_a_critic_that_knows_nothing_has_the_loss_of_a_coin():
    model = small("factor_vae")
    for parameter in model.critic.parameters():
        parameter.data.zero_()
    assert model.critic_loss(torch.randn(1, 10, 3)).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"critic_hidden": []}, "must have one width or more"),
        ({"critic_hidden": [8, 0]}, r"variant\.critic_hidden must be above 0, got 0"),
        ({"gamma": -1.0}, r"variant\.gamma must be 0 or above"),
        ({"critic_learning_rate": 0.0}, r"variant\.critic_learning_rate must be above 0"),
    ],
)
def test_an_impossible_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FactorVAEConfig(**options)


@pytest.mark.parametrize(("rate", "expected"), [(None, {}), (1e-5, {"learning_rate": 1e-5})])
def test_the_critic_has_the_papers_adam_and_the_models_rate_unless_it_has_its_own(rate, expected):
    """Kim & Mnih 2018, appendix A: Adam with beta1 = 0.5 and beta2 = 0.9."""
    critic = small("factor_vae", critic_learning_rate=rate).parameter_groups()["critic"]
    assert critic.optimiser == {"optimiser": "adam", "beta1": 0.5, "beta2": 0.9} | expected

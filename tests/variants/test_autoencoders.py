"""Autoencoders without a bound: their losses, the limits of these losses, and what training converges to."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.linalg import subspace_angles
from scipy.stats import wasserstein_distance
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import variants
from benchmarks.conf_files import choices
from benchmarks.config import compose
from benchmarks.errors import UserError
from variants.parts.discrepancies import random_directions, sliced_wasserstein, wasserstein
from variants.parts.networks import MLP, Conv, Linear
from variants.sparse_ae import bernoulli_kl

from .models import batch, binary_images, small

NOW = torch.tensor(0.3, dtype=torch.float64)


# Plain


@pytest.mark.parametrize("observation", ["bernoulli", "gaussian", "discretised_logistic"])
def test_a_linear_autoencoder_converges_to_the_principal_components_and_their_error(observation):
    images = torch.tensor(load_digits().data / 16)[::3]
    x = images.reshape(-1, 1, 8, 8)
    model = variants.build("ae", (1, 8, 8), Linear(latent_size=4), observation).double()
    trained = [*model.encoder.parameters(), *model.decoder.parameters()]
    optimiser = torch.optim.LBFGS(trained, max_iter=400, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        value = model.loss(batch(x), NOW).value
        value.backward()
        return value

    optimiser.step(closure)
    pca = PCA(4, svd_solver="full").fit(images.numpy())
    error = np.square(images.numpy() - pca.inverse_transform(pca.transform(images.numpy()))).sum(1).mean()
    assert (model.reconstruct(x) - x).square().sum().item() / len(x) == pytest.approx(error, rel=1e-3)
    angles = subspace_angles(model.decoder[0].weight.detach().numpy(), pca.components_.T)
    assert angles.max() < 0.01


def test_the_likelihood_of_a_linear_autoencoder_is_around_its_reconstruction():
    x = binary_images(5, dtype=torch.float64)
    model = small("ae", network=Linear(latent_size=3), dtype=torch.float64)
    model.decoder[0].weight.data.mul_(0.2)
    model.decoder[0].bias.data.fill_(0.5)
    z = model.posterior(x).mean
    shown = model.reconstruct(x)
    assert ((shown > 0.01) & (shown < 0.99)).all()
    assert torch.allclose(model.likelihood(z).mean, shown, atol=1e-12)


def test_both_reconstruction_losses_are_sums_over_pixels():
    x = binary_images(6, dtype=torch.float64)
    for observation in ("bernoulli", "gaussian"):
        squared = small("ae", dtype=torch.float64, observation=observation)
        value = squared.loss(batch(x), NOW).value.item()
        assert value == pytest.approx((squared.reconstruct(x) - x).square().sum().item() / 6, rel=1e-12)
        entropy = small("ae", dtype=torch.float64, observation=observation, loss="cross_entropy")
        grey = torch.rand_like(x)
        value = entropy.loss(batch(grey), NOW).value.item()
        expected = F.binary_cross_entropy(entropy.reconstruct(grey), grey, reduction="sum").item() / 6
        assert value == pytest.approx(expected, rel=1e-12)


def test_under_cross_entropy_a_linear_decoder_s_output_is_the_logit():
    x = binary_images(6, dtype=torch.float64)
    model = small("ae", network=Linear(latent_size=3), dtype=torch.float64, loss="cross_entropy")
    model.decoder[0].bias.data.mul_(100)
    logits = model.decoder(model.represent(x))
    expected = F.binary_cross_entropy_with_logits(logits, x, reduction="sum").item() / 6
    assert model.loss(batch(x), NOW).value.item() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(model.reconstruct(x), logits.sigmoid())


def test_sigmoid_units_lie_between_0_and_1():
    x = binary_images(6)
    linear, sigmoid = small("ae"), small("ae", units="sigmoid")
    sigmoid.load_state_dict(linear.state_dict())
    assert torch.allclose(sigmoid.represent(x), linear.represent(x).sigmoid())


# Denoising


def pixels_seen(corruption, strength, x):
    """What the encoder receives for ``x``."""
    return small("denoising_ae", corruption=corruption, strength=strength).corrupt(x)


def test_masking_sets_pixels_to_zero_with_the_given_probability():
    x = torch.rand(500, 1, 10, 10) * 0.8 + 0.1
    seen = pixels_seen("masking", 0.3, x)
    changed = seen != x
    assert (seen[changed] == 0).all()
    assert changed.float().mean().item() == pytest.approx(0.3, abs=0.01)


def test_salt_and_pepper_are_equally_many():
    x = torch.rand(500, 1, 10, 10) * 0.8 + 0.1
    seen = pixels_seen("salt_and_pepper", 0.3, x)
    assert (seen == 1).float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert (seen == 0).float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert ((seen == x) | (seen == 0) | (seen == 1)).all()


def test_gaussian_noise_has_the_given_deviation_around_the_image():
    x = torch.rand(500, 1, 10, 10)
    noise = pixels_seen("gaussian", 0.7, x) - x
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(0.7, abs=0.02)


def test_corruption_is_drawn_anew_for_every_image_and_step():
    x = torch.ones(1, 1, 8, 8).expand(2, 1, 8, 8)
    first, second = pixels_seen("masking", 0.5, x)
    assert not torch.equal(first, second)
    assert not torch.equal(first, pixels_seen("masking", 0.5, x)[0])


def test_the_denoising_loss_compares_with_the_clean_image():
    x = binary_images(6, dtype=torch.float64)
    model = small("denoising_ae", dtype=torch.float64, strength=0.5, loss="squared_error")
    torch.manual_seed(4)
    value = model.loss(batch(x), NOW).value
    torch.manual_seed(4)
    seen = model.corrupt(x)
    assert not torch.equal(seen, x)
    expected = (model.reconstruct(seen) - x).square().sum() / 6
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)


def test_codes_are_of_the_image_as_it_is_given():
    x = binary_images(6)
    model = small("denoising_ae", strength=0.9)
    assert torch.equal(model.represent(x), model.encoder(x))


# Sparse


def test_exactly_k_units_are_active_in_training_and_alpha_k_in_evaluation():
    x = torch.rand(50, 1, 4, 4)
    model = small("sparse_ae", network=MLP(latent_size=20, hidden=[8]), k=5, alpha=2.0)
    assert ((model.represent(x) != 0).sum(-1) == 5).all()
    assert ((model.eval().represent(x) != 0).sum(-1) == 10).all()


def test_the_units_kept_are_the_largest_not_the_largest_in_size():
    x = torch.rand(50, 1, 4, 4)
    model = small("sparse_ae", network=MLP(latent_size=6, hidden=[8]), k=2)
    h, kept = model.encoder(x), model.represent(x)
    assert torch.equal(kept.sum(-1), h.sort(-1).values[:, -2:].sum(-1))
    # Among the other units are negative ones with larger absolute values.
    assert (h.min(-1).values.abs() > h.sort(-1).values[:, -2].abs()).any()


def test_gradients_flow_through_the_kept_units_alone():
    x = torch.rand(1, 1, 4, 4)
    model = small("sparse_ae", network=MLP(latent_size=6, hidden=[8]), k=2)
    model.loss(batch(x), NOW).value.backward()
    active = model.represent(x)[0] != 0
    assert torch.equal(model.encoder[-1].bias.grad != 0, active)


@pytest.mark.parametrize("options", [{}, {"form": "l1"}])
def test_sparse_losses_without_batch_statistics_are_the_mean_over_halves(options):
    x = binary_images(6, dtype=torch.float64)
    model = small("sparse_ae", dtype=torch.float64, **options)
    halves = [model.loss(batch(half), NOW).value for half in x.chunk(2)]
    assert model.loss(batch(x), NOW).value.item() == pytest.approx(sum(halves).item() / 2, rel=1e-12)


def test_the_l1_penalty_is_lambda_times_the_sum_over_units():
    x = binary_images(6, dtype=torch.float64)
    model = small("sparse_ae", dtype=torch.float64, form="l1", l1_weight=0.7)
    value = model.loss(batch(x), NOW).value.item()
    error = (model.reconstruct(x) - x).square().sum().item()
    assert value == pytest.approx((error + 0.7 * model.represent(x).abs().sum().item()) / 6, rel=1e-12)


def test_the_activation_penalty_is_that_of_the_batch_mean_once():
    x = binary_images(6, dtype=torch.float64)
    model = small("sparse_ae", dtype=torch.float64, form="kl", units="sigmoid", kl_weight=2.0, rho=0.2)
    value = model.loss(batch(x), NOW).value.item()
    mean = model.represent(x).mean(0).numpy()
    kl = (0.2 * np.log(0.2 / mean) + 0.8 * np.log(0.8 / (1 - mean))).sum()
    error = (model.reconstruct(x) - x).square().sum().item()
    assert value == pytest.approx(error / 6 + 2 * kl, rel=1e-12)


def test_the_activation_kl_is_zero_at_rho_and_finite_for_dead_units():
    assert bernoulli_kl(0.1, torch.tensor(0.1, dtype=torch.float64)).item() == pytest.approx(0, abs=1e-12)
    assert bernoulli_kl(0.1, torch.tensor([0.0, 1.0])).isfinite().all()


def test_more_units_kept_than_there_are_is_refused_when_composed_and_when_built():
    with pytest.raises(UserError, match=r"variant\.k must not exceed network\.latent_size, 10, got 11"):
        compose("sparse_ae", "digits", "smoke", 0, ["network.latent_size=10", "variant.k=11"])
    with pytest.raises(ValueError, match=r"variant\.alpha \* k must not exceed network\.latent_size, 3, got 4"):
        variants.build("sparse_ae", (1, 4, 4), MLP(latent_size=3), k=2, alpha=2.0)
    assert compose("sparse_ae", "digits", "smoke", 0, ["network.latent_size=10", "variant.k=10"]).variant.k == 10


def test_a_code_may_be_larger_than_the_image():
    model = small("sparse_ae", network=MLP(latent_size=40, hidden=[8]), k=4)
    assert model.reconstruct(binary_images(3)).shape == (3, 1, 4, 4)


# Contractive

DEEP = MLP(latent_size=3, hidden=[7, 6], activation="relu")


def jacobian_norms(model, x):
    """|dh/dx|_F^2 by torch's Jacobian, image by image."""

    def code(image):
        return model.units(image.unsqueeze(0))[0]

    rows = [torch.autograd.functional.jacobian(code, image) for image in x]
    return torch.stack([row.square().sum() for row in rows])


@pytest.mark.parametrize("units", ["sigmoid", "linear"])
@pytest.mark.parametrize("network", [Linear(latent_size=3), MLP(latent_size=3, hidden=[]), DEEP], ids=repr)
def test_the_exact_penalty_is_the_norm_of_the_jacobian(network, units):
    x = torch.rand(5, 1, 4, 4, dtype=torch.float64)
    model = small("contractive_ae", network=network, dtype=torch.float64, jacobian="exact", units=units)
    assert torch.allclose(model.squared_jacobian(x), jacobian_norms(model, x), rtol=1e-9)


@pytest.mark.parametrize("units", ["sigmoid", "linear"])
def test_the_mean_of_the_estimate_is_the_exact_norm(units):
    x = torch.rand(2, 1, 4, 4, dtype=torch.float64)
    model = small("contractive_ae", network=DEEP, dtype=torch.float64, units=units)
    draws = 20_000
    estimates = model.squared_jacobian(x.repeat(draws, 1, 1, 1)).detach().unflatten(0, (draws, 2))
    error = estimates.std(0) / draws**0.5
    assert (error > 0).all()
    assert ((estimates.mean(0) - jacobian_norms(model, x)).abs() < 4 * error).all()


def assert_finite_differences(value, weight, indices):
    """The gradient of ``value()`` agrees with central differences at these entries of ``weight``."""
    (gradient,) = torch.autograd.grad(value(), weight)
    for index in indices:
        flat, sides = weight.data.view(-1), []
        for shift in (1e-6, -2e-6):
            flat[index] += shift
            sides.append(value().item())
        flat[index] += 1e-6
        assert gradient.view(-1)[index].item() == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("network", [Linear(latent_size=3), DEEP], ids=repr)
@pytest.mark.parametrize("jacobian", ["exact", "estimate"])
def test_the_gradient_of_the_penalty_alone_agrees_with_finite_differences(network, jacobian):
    x = torch.rand(4, 1, 4, 4, dtype=torch.float64)
    model = small("contractive_ae", network=network, dtype=torch.float64, jacobian=jacobian, units="sigmoid")

    def penalty():
        torch.manual_seed(2)
        return model.squared_jacobian(x).mean()

    weight = model.encoder[1].weight
    assert_finite_differences(penalty, weight, (3, 20))
    assert torch.autograd.grad(penalty(), weight)[0].abs().max() > 0


def test_the_contractive_loss_adds_lambda_times_the_mean_norm():
    x = binary_images(6, dtype=torch.float64)
    model = small("contractive_ae", dtype=torch.float64, jacobian="exact", contraction=0.7)
    value = model.loss(batch(x), NOW).value.item()
    entropy = F.binary_cross_entropy(model.reconstruct(x), x, reduction="sum").item()
    assert value == pytest.approx((entropy + 0.7 * jacobian_norms(model, x).sum().item()) / 6, rel=1e-12)


def test_under_batch_normalisation_the_jacobian_is_the_encoder_s_in_evaluation():
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    model = small("contractive_ae", (1, 8, 8), torch.float64, Conv(latent_size=2, width=4), jacobian="exact").train()
    norms = model.squared_jacobian(x)
    assert model.encoder.training
    assert all(module.training for module in model.modules())
    assert torch.allclose(norms, jacobian_norms(model.eval(), x))


# Regularised


def decoder_jacobian_norms(model, z):
    """|dG/dz|_F^2 by torch's Jacobian, code by code."""
    rows = [torch.autograd.functional.jacobian(lambda code: model.image(code.unsqueeze(0))[0], code) for code in z]
    return torch.stack([row.square().sum() for row in rows])


def test_the_regularised_loss_adds_half_the_squared_code_and_the_squared_weights():
    x = binary_images(6, dtype=torch.float64)
    model = small("rae", dtype=torch.float64, code_weight=0.7, l2_weight=0.3)
    error = (model.reconstruct(x) - x).square().sum() / 6
    codes = model.represent(x).square().sum() / 6 / 2
    layers = [module for module in model.decoder.modules() if isinstance(module, torch.nn.Linear)]
    weights = sum(layer.weight.square().sum() for layer in layers)
    assert len(layers) == 2
    expected = error + 0.7 * codes + 0.3 * weights
    assert model.loss(batch(x), NOW).value.item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_squared_weights_are_weight_decay_of_the_decoder():
    x = binary_images(6, dtype=torch.float64)
    gradients = []
    for weight in (0.0, 0.3):
        torch.manual_seed(1)
        model = small("rae", dtype=torch.float64, l2_weight=weight)
        model.loss(batch(x), NOW).value.backward()
        trained = [*model.encoder.parameters(), *model.decoder.parameters()]
        gradients.append([parameter.grad for parameter in trained])
    decayed = {id(module.weight) for module in model.decoder.modules() if isinstance(module, torch.nn.Linear)}
    for without, with_decay, parameter in zip(*gradients, trained, strict=True):
        expected = without + (0.6 * parameter.detach() if id(parameter) in decayed else 0)
        assert torch.allclose(with_decay, expected, rtol=1e-10, atol=1e-14)


def test_the_mean_of_the_decoder_s_estimate_over_all_signs_is_the_exact_norm(monkeypatch):
    z = torch.randn(2, 3, dtype=torch.float64)
    model = small("rae", (1, 2, 2), torch.float64, DEEP, form="gradient_penalty")
    estimates = []
    for number in range(2**4):
        # Numbers below one half become the sign +1.
        signs = torch.tensor([(number >> bit) % 2 for bit in range(4)], dtype=torch.float64).reshape(1, 2, 2)
        monkeypatch.setattr(torch, "rand_like", lambda image, signs=signs: signs.expand_as(image))
        estimates.append(model.squared_jacobian(z).detach())
    assert torch.allclose(torch.stack(estimates).mean(0), decoder_jacobian_norms(model, z), rtol=1e-10)
    assert torch.stack(estimates).std(0).min() > 0


def test_the_gradient_penalty_trains_decoder_and_encoder():
    x = binary_images(5, dtype=torch.float64)
    model = small("rae", dtype=torch.float64, form="gradient_penalty")

    def penalty():
        torch.manual_seed(2)
        return model.squared_jacobian(model.posterior(x).mean).mean()

    for weight in (model.encoder[1].weight, model.decoder[0].weight):
        assert_finite_differences(penalty, weight, (3,))
        assert torch.autograd.grad(penalty(), weight)[0].view(-1)[3].abs() > 0


def test_the_gradient_penalty_has_its_weight_in_the_loss():
    x = binary_images(5, dtype=torch.float64)
    model = small("rae", dtype=torch.float64, form="gradient_penalty", code_weight=0.0, gradient_weight=0.2)
    torch.manual_seed(3)
    value = model.loss(batch(x), NOW).value.item()
    torch.manual_seed(3)
    penalty = model.squared_jacobian(model.represent(x)).mean().item()
    error = (model.reconstruct(x) - x).square().sum().item() / 5
    assert value == pytest.approx(error + 0.2 * penalty, rel=1e-12)


def test_under_batch_normalisation_the_jacobian_is_the_decoder_s_in_evaluation():
    shape = (1, 16, 16)
    model = small("rae", shape, torch.float64, Conv(latent_size=2, width=4), form="gradient_penalty").train()
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in model.decoder.modules())
    # The running averages do not have their first values any more.
    model.loss(batch(binary_images(6, shape, torch.float64)), NOW)
    z = torch.randn(3, 2, dtype=torch.float64)
    torch.manual_seed(5)
    norms = model.squared_jacobian(z)
    assert all(module.training for module in model.modules())
    torch.manual_seed(5)
    assert torch.allclose(norms, model.eval().squared_jacobian(z), rtol=1e-12)


@pytest.mark.parametrize("form", ["l2", "gradient_penalty", "none"])
def test_the_regularised_loss_of_a_batch_is_the_mean_over_its_halves(form, monkeypatch):
    model, x = small("rae", dtype=torch.float64, form=form), binary_images(6, dtype=torch.float64)
    monkeypatch.setattr(torch, "rand_like", lambda like: torch.full_like(like, 0.3))
    halves = [model.loss(batch(half), NOW).value for half in x.chunk(2)]
    assert torch.allclose(model.loss(batch(x), NOW).value, torch.stack(halves).mean(), rtol=1e-12)


def test_every_code_has_its_own_random_signs():
    z = torch.zeros(50, 3, dtype=torch.float64)
    assert len(small("rae", dtype=torch.float64, form="gradient_penalty").squared_jacobian(z).unique()) > 10


@pytest.mark.parametrize(("name", "options"), [("rae", {"form": "gradient_penalty"}), ("contractive_ae", {})])
def test_a_loss_with_a_jacobian_is_the_same_without_gradients(name, options):
    x, model = binary_images(5, dtype=torch.float64), small(name, dtype=torch.float64, **options)
    torch.manual_seed(3)
    expected = model.loss(batch(x), NOW).value
    torch.manual_seed(3)
    with torch.no_grad():
        value = model.loss(batch(x), NOW).value
    assert value.item() == expected.item()
    assert not value.requires_grad


# Sliced Wasserstein


def test_in_one_dimension_the_sliced_distance_is_the_exact_one():
    x, y = torch.randn(200, 1, dtype=torch.float64), 2 * torch.rand(200, 1, dtype=torch.float64) - 0.3
    found = sliced_wasserstein(x, y, random_directions(7, x), p=1)
    assert found.item() == pytest.approx(wasserstein_distance(x[:, 0].numpy(), y[:, 0].numpy()), rel=1e-12)


def test_the_second_order_distance_of_normal_samples_is_its_closed_form():
    """W_2^2 of N(m, s^2) and N(0, 1) is m^2 + (s - 1)^2.

    This is exact if one sample has mean 0 and variance 1 and the other is s times this sample plus m.
    """
    x = torch.randn(300, dtype=torch.float64)
    x = (x - x.mean()) / x.std(correction=0)
    shuffled = x[torch.randperm(300)]
    assert wasserstein(3 * x + 0.5, shuffled).item() == pytest.approx(0.5**2 + 2**2, rel=1e-12)


def test_the_sliced_distance_of_a_shift_is_its_squared_length_over_the_dimensions():
    x = torch.randn(10, 4, dtype=torch.float64)
    shift = torch.tensor([1.0, -2.0, 0.0, 2.0], dtype=torch.float64)
    directions = random_directions(50_000, x)
    assert torch.allclose(directions.norm(dim=-1), torch.ones(50_000, dtype=torch.float64))
    # E <theta, shift>^2 = |shift|^2 / d
    assert sliced_wasserstein(x + shift, x, directions).item() == pytest.approx(9 / 4, rel=0.02)


def test_the_swae_loss_is_the_squared_error_and_lambda_times_the_distance():
    x = binary_images(6, dtype=torch.float64)
    model = small("swae", dtype=torch.float64, sw_weight=3.0, projections=5)
    torch.manual_seed(4)
    value = model.loss(batch(x), NOW).value.item()
    torch.manual_seed(4)
    z, drawn, theta = (model.represent(x).numpy(), model.prior().sample((6,)).numpy(), torch.randn(5, 3, dtype=x.dtype))
    theta = (theta / theta.norm(dim=-1, keepdim=True)).numpy()
    pairs = [np.sort(z @ direction) - np.sort(drawn @ direction) for direction in theta]
    error = (model.reconstruct(x) - x).square().sum().item() / 6
    assert value == pytest.approx(error + 3 * np.square(pairs).mean(), rel=1e-12)


def test_directions_and_prior_draws_are_fresh_at_every_step():
    model, x = small("swae"), binary_images(6)
    first, second = (model.loss(batch(x), NOW).terms["sliced_wasserstein"] for _ in range(2))
    assert first != second


def test_samples_are_what_the_decoder_makes_of_codes_also_where_it_is_affine():
    model = small("swae", network=Linear(latent_size=3), dtype=torch.float64)
    torch.manual_seed(0)
    samples = model.sample(20)
    torch.manual_seed(0)
    codes = model.sample_latent(20)
    assert torch.equal(samples, model.image(codes))
    # An affine function is not bounded, and the mean of an observation model is.
    assert not torch.allclose(samples, model.likelihood(codes).mean)


# Options


def test_default_weights_are_for_errors_summed_over_pixels():
    """The weight of SWAE is the number of pixel channels. Ng weighs his penalty by 3 against half the squared error.
    Ghosh et al. have 1e-4 times the mean square of 16 or 64 codes and 1e-7 times the sum of squared weights, beside the
    mean error of 32x32 grey or 64x64 colour pixels."""
    for dataset in choices("dataset"):
        config = compose("swae", dataset, "smoke", 0)
        assert config.variant.sw_weight == np.prod(config.dataset.shape), dataset
    assert variants.lookup("sparse_ae").Config(form="kl", units="sigmoid").kl_weight == 3 * 2
    mnist, celeba = (compose("rae", dataset, "smoke", 0).variant for dataset in ("mnist", "celeba"))
    assert mnist.code_weight == pytest.approx(2 * 1e-4 * 32**2 / 16)
    assert celeba.code_weight == pytest.approx(2 * 1e-4 * 3 * 64**2 / 64)
    assert mnist.l2_weight == pytest.approx(1e-7 * 32**2, rel=0.03)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ae", {"loss": "mse"}, "unknown variant.loss 'mse'"),
        ("ae", {"samples": 2}, "variant.samples must stay 1"),
        ("denoising_ae", {"strength": 1.5}, "variant.strength must be between 0 and 1, got 1.5"),
        ("denoising_ae", {"strength": -0.1, "corruption": "salt_and_pepper"}, "must be between 0 and 1, got -0.1"),
        ("denoising_ae", {"strength": -0.1, "corruption": "gaussian"}, "variant.strength must be 0 or above"),
        ("denoising_ae", {"corruption": "salt_pepper"}, "did you mean 'salt_and_pepper'"),
        ("sparse_ae", {"k": 0}, "variant.k must be above 0, got 0"),
        ("sparse_ae", {"alpha": 0.5}, "variant.alpha must be 1 or above, got 0.5"),
        ("sparse_ae", {"form": "l1", "k": 2}, "variant.k must stay None, got 2: it belongs to variant.form=k"),
        ("sparse_ae", {"l1_weight": 3.0}, "variant.l1_weight must stay 0.1, got 3.0: it belongs to variant.form=l1"),
        ("rae", {"form": "gradient"}, "did you mean 'gradient_penalty'"),
        ("rae", {"code_weight": -1.0}, "variant.code_weight must be 0 or above"),
        ("rae", {"l2_weight": -1.0}, "variant.l2_weight must be 0 or above"),
        (
            "rae",
            {"form": "none", "l2_weight": 0.1},
            "variant.l2_weight must stay 0.0001, got 0.1: it belongs to variant",
        ),
        ("rae", {"gradient_weight": 0.5}, "must stay 0.01, got 0.5: it belongs to variant.form=gradient_penalty"),
        ("sparse_ae", {"form": "kl"}, "variant.form=kl needs variant.units=sigmoid, got linear"),
        ("sparse_ae", {"units": "sigmoid"}, "variant.form=k keeps linear units"),
        ("sparse_ae", {"form": "kl", "units": "sigmoid", "rho": 1.0}, "variant.rho must be above 0 and below 1"),
        ("contractive_ae", {"contraction": -1.0}, "variant.contraction must be 0 or above, got -1"),
        ("contractive_ae", {"jacobian": "exakt"}, "did you mean 'exact'"),
        ("swae", {"sw_weight": -1.0}, "variant.sw_weight must be 0 or above"),
        ("swae", {"projections": 0}, "variant.projections must be above 0, got 0"),
    ],
)
def test_impossible_options_are_refused_in_one_line(name, options, message):
    with pytest.raises(ValueError, match=message) as refusal:
        variants.build(name, (1, 4, 4), **options)
    assert "\n" not in str(refusal.value)


def test_images_too_small_for_a_variant_are_refused_when_composed(monkeypatch):
    monkeypatch.setattr(variants.lookup("ae"), "smallest_side", 9)
    with pytest.raises(UserError, match="AE needs images of 9 pixels a side or more, got 8"):
        compose("ae", "digits", "smoke", 0)
    assert compose("ae", "mnist", "smoke", 0).dataset.side == 28

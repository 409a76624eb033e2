"""The contract: what must hold for every registered variant in every form that its options give it."""

import dataclasses
from typing import Any, NamedTuple

import pytest
import torch

import variants
from benchmarks.training.checkpoint import Checkpoints, Progress, Trained, copied
from benchmarks.training.identity import Identity
from benchmarks.training.steps.eager import backward
from variants import Variant
from variants.parts.observations import OBSERVATION_MODELS

from .models import batch, binary_images, small, smallest_shape
from .outside import OUTSIDE


class Form(NamedTuple):
    """A variant with options that select another model, estimator or loss than its defaults."""

    cls: type[Variant]
    options: dict[str, Any] = {}

    def __str__(self):
        return "-".join([self.cls.name, *(f"{key}={value}" for key, value in self.options.items())])

    def __call__(self, **more):
        return small(self.cls, **self.options | more)

    def images(self, count, dtype=torch.float32):
        return binary_images(count, smallest_shape(self.cls), dtype)

    def condition(self, count, dtype=torch.float32):
        """The condition of ``count`` images; None for an unconditional variant."""
        return batch(self.images(count, dtype)).condition if self.cls.conditional else None


def forms(cls):
    return [Form(cls), *(Form(cls, options) for options in cls.forms)]


FORMS = [form for cls in [*map(variants.lookup, variants.names()), *OUTSIDE] for form in forms(cls)]
pytestmark = pytest.mark.parametrize("form", FORMS, ids=str)
HALF = torch.tensor(0.5)


def gradients(model, x, progress=HALF):
    """The loss, and the gradient of each group's value for its parameters; None for a parameter in no group."""
    loss, groups = model.loss(batch(x), progress), model.parameter_groups()
    found = dict.fromkeys(model.parameters())
    for name, value in loss.by_group.items():
        parameters = groups[name].parameters
        found |= zip(
            parameters, torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True), strict=True
        )
    return loss, found


def test_losses_are_finite_and_their_terms_are_per_image_or_named_batch_statistics(form):
    model = form()
    value, terms = model.loss(batch(form.images(6)), HALF)
    for scalar in value.values() if isinstance(value, dict) else [value]:
        assert scalar.shape == ()
        assert scalar.isfinite()
    for key, term in terms.items():
        assert term.shape == (() if key in model.batch_statistics else (6,)), key


@pytest.mark.parametrize("observation", ["bernoulli", "gaussian"])
def test_every_parameter_gets_a_gradient_from_the_loss_of_exactly_one_group(form, observation):
    model = form(observation=observation)  # a normal has a parameter of its own, the scale
    loss, found = gradients(model, form.images(6))
    groups = model.parameter_groups()
    assert loss.by_group.keys() == groups.keys()
    trained = [id(p) for group in groups.values() for p in group.parameters]
    assert len(trained) == len(set(trained))
    untrained = set() if model.trains_observation else {id(p) for p in model.observation.parameters()}
    for key, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in untrained:
            assert found[parameter] is not None, key
            assert found[parameter].isfinite().all(), key


def test_the_seed_fixes_initial_weights_and_losses(form):
    x = form.images(6)

    def run():
        torch.manual_seed(7)
        model = form()
        return model.state_dict(), model.loss(batch(x), HALF).by_group

    (first, losses), (second, again) = run(), run()
    assert losses == again
    for key in first:
        assert torch.equal(first[key], second[key]), key


def test_a_state_dict_carries_the_whole_model(form):
    model, x, condition = form(), form.images(6), form.condition(6)
    torch.manual_seed(99)
    other = form()
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.reconstruct(x, condition=condition), other.reconstruct(x, condition=condition))
    if "prior" in model.unavailable():
        return
    torch.manual_seed(3)
    first = model.sample(6, condition=condition)
    torch.manual_seed(3)
    assert torch.equal(first, other.sample(6, condition=condition))


def test_it_goes_on_from_its_checkpoint_and_its_weights_as_if_undisturbed(form, tmp_path):
    def trained(model, optimisers, steps):
        for step in steps:
            torch.manual_seed(step)
            loss = model.loss(batch(x), HALF).by_group
            for optimiser in optimisers.values():
                optimiser.zero_grad()
            backward(loss, model.parameter_groups())
            for optimiser in optimisers.values():
                optimiser.step()
            model.after_step()

    def optimisers_of(model):
        return {name: torch.optim.Adam(group.parameters) for name, group in model.parameter_groups().items()}

    x, kept = form.images(6), Checkpoints(tmp_path, Identity("configuration", "code", "data"), torch.device("cpu"))
    torch.manual_seed(1)
    model = form()
    teacher = getattr(model, "_teacher", None)
    optimisers = optimisers_of(model)
    trained(model, optimisers, range(2))
    kept.save(model, optimisers, copied(model.state_dict()), Progress(epoch=1))
    trained(model, optimisers, range(2, 4))
    kept.save_weights(model, Trained(Progress(epoch=2), True, {}))
    torch.manual_seed(2)
    resumed, evaluated, best = form(), form(), {}
    if teacher is not None:
        resumed._teacher = teacher
    optimisers = optimisers_of(resumed)
    assert kept.restore(resumed, optimisers, best).epoch == 1
    assert best.keys() == resumed.state_dict().keys()
    trained(resumed, optimisers, range(2, 4))
    assert kept.load_weights(evaluated) is not None
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[key]), key
        assert torch.equal(tensor, evaluated.state_dict()[key]), key


def test_the_loss_of_a_batch_of_one_is_finite_and_so_are_its_gradients(form):
    """The last batch of an epoch may hold one image."""
    loss, found = gradients(form(), form.images(1))
    assert all(value.isfinite() for value in loss.by_group.values())
    assert all(gradient.isfinite().all() for gradient in found.values() if gradient is not None)


def flat(shape):
    """A shape given as numbers or as one sequence, for functions such as ``torch.randn`` that take both."""
    return shape if all(isinstance(size, int) for size in shape) else shape[0]


def test_the_loss_of_a_batch_is_the_mean_over_its_halves(form, monkeypatch):
    model, x = form(dtype=torch.float64), form.images(6, dtype=torch.float64)
    if model.batch_statistics:
        pytest.skip(f"the loss has batch statistics: {', '.join(model.batch_statistics)}")
    # All images get equal draws, so that each half has the same draws alone and within the whole batch. torch's own
    # distributions draw by the methods of tensors.
    for name in ("randn", "rand"):
        monkeypatch.setattr(torch, name, lambda *shape, **options: torch.full(torch.Size(flat(shape)), 0.3, **options))
    for name in ("randn_like", "rand_like"):
        monkeypatch.setattr(torch, name, lambda like, **options: torch.full_like(like, 0.3, **options))
    monkeypatch.setattr(torch, "bernoulli", lambda p: (p > 0.3).to(p))
    monkeypatch.setattr(torch.Tensor, "normal_", lambda self, mean=0, std=1: self.fill_(mean + 0.3 * std))
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, low=0, high=1: self.fill_(low + 0.3 * (high - low)))
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda self, rate=1: self.fill_(0.7 / rate))
    whole = model.loss(batch(x), HALF).by_group
    halves = [model.loss(batch(half), HALF).by_group for half in x.chunk(2)]
    for name, value in whole.items():
        assert torch.allclose(value, torch.stack([half[name] for half in halves]).mean(), rtol=1e-12)


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_gradients_agree_with_finite_differences(form, progress):
    model, x = form(dtype=torch.float64), form.images(4, dtype=torch.float64)
    at = torch.tensor(progress, dtype=torch.float64)
    groups = {id(p): name for name, group in model.parameter_groups().items() for p in group.parameters}

    def losses():
        torch.manual_seed(5)
        return model.loss(batch(x), at).by_group

    torch.manual_seed(5)
    _, found = gradients(model, x, at)
    for key, parameter in model.named_parameters():
        if key.startswith(model.estimates_gradient()) or id(parameter) not in groups:
            continue
        flat = parameter.data.view(-1)
        index = len(flat) // 2
        original = flat[index].item()
        sides = []
        for shift in (1e-6, -1e-6):
            flat[index] = original + shift
            sides.append(losses()[groups[id(parameter)]].item())
        flat[index] = original
        gradient = 0.0 if found[parameter] is None else found[parameter].reshape(-1)[index].item()
        assert gradient == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-4, abs=1e-6), key


def test_it_overfits_eight_images(form):
    # With 64 pixels, informative codes lower the loss in spite of their KL, whatever the weight of the KL.
    side = max(8, form.cls.smallest_side)
    model, x = form(shape=(1, side, side)), binary_images(8, (1, side, side))
    groups = model.parameter_groups()
    optimisers = {name: torch.optim.Adam(group.parameters, 2e-2) for name, group in groups.items()}
    condition = form.condition(8)
    before = (model.reconstruct(x, condition=condition) - x).square().mean()
    for i in range(150):
        loss = model.loss(batch(x), torch.tensor(i / 150))
        for optimiser in optimisers.values():
            optimiser.zero_grad()
        backward(loss.by_group, groups)
        for optimiser in optimisers.values():
            optimiser.step()
        model.after_step()
    # Reconstructing every image as the mean image would reach 0.85 times the error before.
    assert (model.reconstruct(x, condition=condition) - x).square().mean() < 0.8 * before


def test_reconstruction_and_representation_are_deterministic(form):
    model, x, condition = form(), form.images(5), form.condition(5)
    assert torch.equal(model.reconstruct(x, condition=condition), model.reconstruct(x, condition=condition))
    assert torch.equal(model.represent(x, condition=condition), model.represent(x, condition=condition))
    assert model.reconstruct(x, condition=condition).shape == x.shape
    assert model.represent(x, condition=condition).shape[0] == 5
    if "prior" in model.unavailable():
        with pytest.raises(ValueError, match="has no samples"):
            model.sample(5)
    else:
        assert model.sample(5, condition=condition).shape == x.shape


# Limits in which a variant is a simpler one. Options of the part that is left out have no effect there: a sweep that
# reaches the limit does not have to reset them.
LIMITS = ({"steps": 0}, {"levels": 1}, {"levels": 1, "rectified": False}, {"alpha": 1.0})


def other_values(form, option, /):
    """Values to try for an option of ``form``, other than its value there."""
    value = getattr(form().config, option)
    if isinstance(value, str):
        with pytest.raises(ValueError, match="allowed: ") as refused:
            form(**{option: "?"})
        allowed = str(refused.value).partition("(allowed: ")[2].removesuffix(")").split(", ")
        return [name.replace("LOW HIGH", "-0.5 0.5") for name in allowed if name != value]
    if value is None:
        return [[0.5, 0.6]] if option == "variance_bounds" else [2]
    if isinstance(value, list):
        return [value + value[-1:], value[:-1]]
    tried = [not value] if isinstance(value, bool) else [2 * value, value + 1, value // 2, 0.5]
    return [other for other in tried if other != value and (type(other) is type(value) or isinstance(value, float))]


def behaviour(form, /, **options):
    """Numbers that show what ``options`` do: losses and weights of two steps of training, and outputs of evaluation.

    Each call of the model has the same random numbers, so that an option has no effect if it only uses up some."""
    torch.manual_seed(1)
    x, condition = form.images(6, torch.float64), form.condition(6, torch.float64)
    torch.manual_seed(2)
    model = form(dtype=torch.float64, **options)
    groups, found = model.parameter_groups(), []
    for progress in (0.2, 1.0):
        torch.manual_seed(3)
        loss = model.loss(batch(x), torch.tensor(progress, dtype=torch.float64)).by_group
        backward(loss, groups)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0 if parameter.grad is None else 0.01 * parameter.grad
        torch.manual_seed(4)
        model.after_step()
        found += loss.values()
    found += model.state_dict().values()
    model.eval()
    found.append(model.reconstruct(x, condition=condition))
    if "prior" not in model.unavailable():
        torch.manual_seed(5)
        found.append(model.sample(6, condition=condition))
    settings = [(group.optimiser, group.until) for group in groups.values()]
    return settings, [tensor.tolist() for tensor in found]


def test_every_option_has_an_effect_or_is_refused(form):
    if form.options in LIMITS:
        pytest.skip("a limit")
    plain = behaviour(form)
    assert behaviour(form) == plain
    for option in (field.name for field in dataclasses.fields(form.cls.Config)):
        accepted, refusals = [], []
        for value in other_values(form, option):
            try:
                accepted.append(behaviour(form, **{option: value}))
            except ValueError as refused:
                refusals.append(str(refused))
        if accepted:
            assert any(other != plain for other in accepted), f"{option} has no effect"
        else:
            assert refusals, f"no other value of {option} was tried"


def test_schedules_do_not_advance_by_being_called(form):
    model, x = form(), form.images(5)
    torch.manual_seed(1)
    first = model.loss(batch(x), HALF).by_group
    model.reconstruct(x, condition=form.condition(5))
    torch.manual_seed(1)
    assert model.loss(batch(x), HALF).by_group == first


def has_bound(model):
    return not model.unavailable().keys() & {"prior", "posterior_density"}


def test_it_runs_under_every_observation_model(form):
    x, condition = form.images(4), form.condition(4)
    for observation in OBSERVATION_MODELS:
        model = form(observation=observation)
        assert all(value.isfinite() for value in model.loss(batch(x), HALF).by_group.values())
        if has_bound(model):
            q = model.posterior(x, condition=condition)
            assert model.log_weights(x, q, 3, condition=condition).value.shape == (3, 4)


def log_mean(draw, tolerance=0.01):
    """log E[w] and its standard error, both (images,), and all log-weights that were drawn, (draws, images).

    ``draw(count)`` returns log-weights (count, images). The number of draws is doubled until the standard error is
    below ``tolerance`` or there are 2**17 draws.
    """
    log_w = draw(4_096)
    while True:
        weights = (log_w - log_w.max(0).values).exp()
        error = weights.std(0) / weights.mean(0) / len(weights) ** 0.5
        if error.max() < tolerance or len(log_w) >= 2**17:
            return log_w.logsumexp(0) - torch.tensor(float(len(log_w))).log(), error, log_w
        log_w = torch.cat([log_w, draw(len(log_w))])


@torch.no_grad()
def test_the_bound_stays_below_the_exact_log_likelihood_of_all_images(form):
    """Over the 16 binary images of 2x2 pixels, exp(log p(x)) sums to 1, and the exponential of a bound to less."""
    if form.cls.smallest_side > 2:
        pytest.skip("needs larger images")
    model = form(shape=(1, 2, 2), dtype=torch.float64)
    if not has_bound(model):
        pytest.skip("no density")
    images = torch.tensor([[(i >> bit) & 1 for bit in range(4)] for i in range(16)], dtype=torch.float64)
    x = images.reshape(16, 1, 2, 2)
    condition = batch(x[:1]).condition.expand(16, -1) if form.cls.conditional else None
    q = model.posterior(x, condition=condition)
    log_w = model.log_weights(x, q, 4_096, condition=condition).value
    elbo = log_w.mean(0)
    assert elbo.exp().sum() < 1
    if log_w.std(0).max() < 1e-9:  # identical draws from a point mass: the bound does not tighten
        return
    if "density_elsewhere" in model.unavailable():
        estimate, error, log_w = log_mean(lambda count: model.log_weights(x, q, count, condition=condition).value)
        # If a few draws carry all the weight, their spread does not estimate the error.
        if (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp().min() > 500:
            assert estimate.exp().sum() == pytest.approx(1, abs=4 * error.max().item() + 1e-6)
        return

    prior = model.prior(condition=condition[:1] if condition is not None else None)

    def by_prior(count):
        z = prior.sample((count,)).reshape(count, -1)
        likelihood = model.likelihood(z, condition=condition[0] if condition is not None else None)
        return z, torch.stack([likelihood.log_prob(image) for image in x], dim=1)

    def by_both(count):
        # The weights are p(x|z) p(z) / ((q(z|x) + p(z)) / 2), each the mean over a draw of q and a draw of the prior.
        # With draws of q alone, the weights p(x|z) p(z) / q(z|x) may have infinite variance in a correct model, if the
        # prior has wider tails than q. The weights here are at most 2 p(x|z). Their mean is p(x) only if the draws of q
        # follow its density.
        own = model.log_weights(x, q, count, condition=condition)
        z, log_likelihood = by_prior(count)
        log_prior = prior.log_prob(z[:, None] if prior.batch_shape else z).reshape(-1, 1)
        log_q = q.log_prob(z[:, None].expand(-1, len(x), -1))
        halves = [
            own.log_likelihood + own.log_prior - torch.logaddexp(own.log_prior, own.log_posterior),
            log_likelihood + log_prior - torch.logaddexp(log_prior, log_q),
        ]
        return torch.logaddexp(*halves)

    exact, spread, _ = log_mean(lambda count: by_prior(count)[1], tolerance=0.005)
    assert exact.exp().sum() == pytest.approx(1, abs=4 * spread.max().item() + 1e-6)
    assert (elbo <= exact + 4 * spread + 1e-6).all()
    estimate, error, _ = log_mean(by_both, tolerance=0.005)
    assert ((estimate - exact).abs() <= 5 * (error + spread) + 1e-6).all()

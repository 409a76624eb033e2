"""Optimisers and learning rates agree with formulas in float64; options without effect on an optimiser are refused."""

import math

import pytest
import torch

from benchmarks.config import OPTIMISERS, TrainingConfig, compose
from benchmarks.errors import UserError
from benchmarks.training.optimisers import CAPTURABLE, group_settings, make_optimiser
from benchmarks.training.schedules import learning_rate_factor
from variants import ParameterGroup

START, GRADIENTS = 0.7, (0.5, -0.2, 0.3)


def moved(gradients=GRADIENTS, **options):
    """The value of a weight that starts at START, after one step for each gradient."""
    weight = torch.nn.Parameter(torch.tensor([START], dtype=torch.float64))
    optimiser = make_optimiser(TrainingConfig(learning_rate=0.1, **options), [weight])
    for gradient in gradients:
        weight.grad = torch.full_like(weight, gradient)
        optimiser.step()
    return weight.item()


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_rmsprop_divides_by_the_root_mean_square_or_centred_by_the_deviation(centred, momentum):
    smoothing, epsilon = 0.9, 1e-3
    w, square, mean, velocity = START, 0.0, 0.0, 0.0
    for g in GRADIENTS:
        square = smoothing * square + (1 - smoothing) * g**2
        mean = smoothing * mean + (1 - smoothing) * g
        scale = math.sqrt(square - mean**2 if centred else square) + epsilon
        velocity = momentum * velocity + g / scale
        w -= 0.1 * velocity
    found = moved(optimiser="rmsprop", smoothing=smoothing, epsilon=epsilon, centred=centred, momentum=momentum)
    assert found == pytest.approx(w, rel=1e-12)


def test_adagrad_divides_by_the_root_of_the_sum_of_squares():
    w, total = START, 0.0
    for g in GRADIENTS:
        total += g**2
        w -= 0.1 * g / (math.sqrt(total) + 1e-4)
    assert moved(optimiser="adagrad", epsilon=1e-4) == pytest.approx(w, rel=1e-12)


def test_adadelta_steps_by_the_ratio_of_averaged_steps_and_gradients():
    """Zeiler 2012, Algorithm 1, with the step multiplied by the learning rate."""
    smoothing, epsilon = 0.9, 1e-3
    w, square, moves = START, 0.0, 0.0
    for g in GRADIENTS:
        square = smoothing * square + (1 - smoothing) * g**2
        move = math.sqrt(moves + epsilon) / math.sqrt(square + epsilon) * g
        moves = smoothing * moves + (1 - smoothing) * move**2
        w -= 0.1 * move
    found = moved(optimiser="adadelta", smoothing=smoothing, epsilon=epsilon)
    assert found == pytest.approx(w, rel=1e-12)


def test_momentum_of_gradient_descent_keeps_a_share_of_the_last_move():
    w, velocity = START, 0.0
    for g in GRADIENTS:
        velocity = 0.9 * velocity + g
        w -= 0.1 * velocity
    assert moved(optimiser="sgd", momentum=0.9) == pytest.approx(w, rel=1e-12)
    assert moved(optimiser="sgd") == pytest.approx(START - 0.1 * sum(GRADIENTS), rel=1e-12)


def test_weight_decay_is_a_part_of_the_gradient_but_for_adamw():
    # The gradient consists only of the decay term 0.01 START. Adam's first step has the size of the learning rate.
    assert moved([0.0], optimiser="adam", weight_decay=0.01) == pytest.approx(START - 0.1, rel=1e-5)
    assert moved([0.0], optimiser="adamw", weight_decay=0.01) == pytest.approx(START * (1 - 0.1 * 0.01), rel=1e-12)
    assert moved([0.0], optimiser="sgd", weight_decay=0.01) == pytest.approx(START * (1 - 0.1 * 0.01), rel=1e-12)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_option_that_the_optimiser_does_not_have_is_refused_when_composed(name):
    values = {"beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3, "smoothing": 0.9, "centred": True, "momentum": 0.5}
    for option, value in values.items():
        override = [f"training.optimiser={name}", f"training.{option}={value}"]
        if option in OPTIMISERS[name]:
            changed = moved(optimiser=name, **{option: value})
            assert changed != moved(optimiser=name), option
            compose("vae", "digits", "smoke", 0, override)
            continue
        with pytest.raises(UserError, match=rf"^training\.{option} must stay .*: {name} has no such option$"):
            compose("vae", "digits", "smoke", 0, override)


def test_a_group_with_an_optimiser_of_its_own_has_those_of_the_runs_options_that_it_knows():
    run = TrainingConfig(optimiser="rmsprop", momentum=0.9, centred=True, epsilon=1e-4)
    for name, expected in {"sgd": {"momentum": 0.9}, "adam": {"epsilon": 1e-4}, "adagrad": {"epsilon": 1e-4}}.items():
        assert group_settings(run, ParameterGroup([], {"optimiser": name})) == TrainingConfig(
            optimiser=name, **expected
        )
    with pytest.raises(ValueError, match=r"training\.beta1 must stay 0\.9, got 0\.5: sgd has no such option"):
        group_settings(run, ParameterGroup([], {"optimiser": "sgd", "beta1": 0.5}))


@pytest.mark.parametrize("name", CAPTURABLE)
def test_a_captured_optimiser_keeps_its_rate_on_the_device(name):
    weight = torch.nn.Parameter(torch.zeros(1))
    (group,) = make_optimiser(TrainingConfig(optimiser=name), [weight], captured=True).param_groups
    assert group["capturable"]
    assert isinstance(group["lr"], torch.Tensor)


def test_a_rate_of_milestones_falls_at_each_and_stays_between_them():
    milestones, gamma, epochs = [200, 350, 500], 10 ** (-1 / 5), 600
    shares = [epoch / epochs for epoch in milestones]

    def factor(epoch, warmup=0.0):
        return learning_rate_factor("multi_step", epoch / epochs, warmup, shares, gamma)

    assert [factor(epoch) for epoch in (0, 199.999, 200, 349.999, 350, 499.999, 500, 599.999)] == pytest.approx(
        [1, 1, gamma, gamma, gamma**2, gamma**2, gamma**3, gamma**3], rel=1e-15
    )
    assert factor(270, warmup=0.9) == pytest.approx(gamma * 0.5)

"""Parameter groups: several losses from one forward pass, each with its own parameters and optimiser settings."""

from itertools import pairwise

import pytest
import torch

from benchmarks.config import TrainingConfig
from benchmarks.data import DatasetConfig
from benchmarks.training.optimisers import group_settings, make_optimiser
from benchmarks.training.steps.captured import CapturedStep
from benchmarks.training.steps.eager import Step, backward
from variants import Loss, ParameterGroup, Variant

from ...variants.models import small
from .test_steps import Rerun

DATA = DatasetConfig(binarise="dynamic")


class TwoLosses(Variant):
    """A variant whose second loss also depends on the encoder, but must not train it."""

    passes = 0

    def build(self, network):
        super().build(network)
        self.head = torch.nn.Linear(self.latent_size, 1)

    def loss(self, batch, progress):
        step = self.forward_pass(batch, progress)
        type(self).passes += 1
        return Loss({"model": -step.log_likelihood.mean(), "head": self.head(step.z).square().mean()}, step.terms)

    def parameter_groups(self):
        settings = {"learning_rate": 0.5, "optimiser": "sgd", "gradient_clip": 0.25}
        return self.model_and(head=ParameterGroup(list(self.head.parameters()), settings))


def one_step(variant):
    images = torch.randint(256, (8, 1, 4, 4), dtype=torch.uint8)
    step = Step(variant, images, DATA, TrainingConfig(batch_size=8, learning_rate=0.01), torch.device("cpu"))
    step(torch.arange(8), torch.tensor(0.0), 0.5, 0.0)
    return step


class HeadRests(TwoLosses):
    def parameter_groups(self):
        return self.model_and(head=ParameterGroup(list(self.head.parameters()), until=0.5))


@pytest.mark.parametrize("captured", [False, True])
def test_a_group_whose_time_is_over_stays_as_it_is(captured):
    """After ``until``, the optimiser must not step: Adam's moments and weight decay would still change the weights."""
    images = torch.randint(256, (50, 1, 4, 4), dtype=torch.uint8)
    config = TrainingConfig(batch_size=4, weight_decay=0.1)

    def trained(make):
        torch.manual_seed(0)
        variant = small(HeadRests)
        step, weights = make(variant, images, DATA, config, torch.device("cpu")), []
        # Twelve full batches, and a smaller last one.
        for number, rows in enumerate(torch.arange(50).split(4)):
            # The seventh step begins at exactly half of the budget, when the group's time is over.
            step(rows, torch.tensor(0.0), 1.0, min(number / 12, 0.99))
            weights.append((variant.head.weight.clone(), next(variant.decoder.parameters()).clone()))
        return weights, step.means()

    weights, means = trained(lambda *arguments: CapturedStep(*arguments, graph=Rerun) if captured else Step(*arguments))
    for number, ((head, decoder), (later_head, later_decoder)) in enumerate(pairwise(weights), start=1):
        assert torch.equal(head, later_head) == (number >= 6)
        assert not torch.equal(decoder, later_decoder)
    # Means include all steps of the epoch, before and after the group ends.
    _, expected = trained(Step)
    assert means == pytest.approx(expected, rel=1e-5)


class Clipped(TwoLosses):
    def parameter_groups(self):
        settings = {"gradient_clip": 1e-9}
        return self.model_and(head=ParameterGroup(list(self.head.parameters()), settings))


def test_a_groups_clip_leaves_the_gradients_of_the_others_alone():
    def gradients(kind):
        torch.manual_seed(0)
        variant = small(kind)
        torch.manual_seed(1)
        one_step(variant)
        return variant

    clipped, plain = gradients(Clipped), gradients(TwoLosses)
    assert clipped.head.weight.grad.norm() <= 1e-9
    for own, other in zip(clipped.decoder.parameters(), plain.decoder.parameters(), strict=True):
        assert own.grad.norm() > 1e-6
        assert torch.equal(own.grad, other.grad)


class Counting(Variant):
    """Keeps what a training step says of the size of the training split."""

    def loss(self, batch, progress):
        self.told = batch.training_images
        return super().loss(batch, progress)


def test_a_batch_knows_the_size_of_the_training_split_and_not_its_own():
    variant = small(Counting)
    images = torch.randint(256, (50, 1, 4, 4), dtype=torch.uint8)
    step = Step(variant, images, DATA, TrainingConfig(batch_size=8), torch.device("cpu"))
    step(torch.arange(8), torch.tensor(0.0), 1.0, 0.0)
    assert variant.told == 50


@pytest.mark.parametrize("until", [0.0, -0.5, 52.0, float("nan")])
def test_a_group_learns_for_a_fraction_of_training(until):
    with pytest.raises(ValueError, match="until a fraction of training above 0 and at most 1"):
        ParameterGroup([], until=until)


def test_a_groups_gradient_is_that_of_its_own_loss_alone():
    model = small(TwoLosses)
    images = (torch.rand(6, 1, 4, 4) < 0.5).float()
    from ...variants.models import batch

    torch.manual_seed(1)
    loss, groups = model.loss(batch(images), torch.tensor(0.0)), model.parameter_groups()
    backward(loss.by_group, groups)
    torch.manual_seed(1)
    again = model.loss(batch(images), torch.tensor(0.0)).by_group
    for name, group in groups.items():
        expected = torch.autograd.grad(again[name], group.parameters, allow_unused=True, retain_graph=True)
        for parameter, gradient in zip(group.parameters, expected, strict=True):
            assert (parameter.grad is None) == (gradient is None)
            assert gradient is None or torch.allclose(parameter.grad, gradient)
    leaked = torch.autograd.grad(again["head"], list(model.encoder.parameters()), retain_graph=True)
    assert any(gradient.abs().sum() > 0 for gradient in leaked)


def test_one_forward_pass_serves_all_groups():
    TwoLosses.passes = 0
    one_step(small(TwoLosses))
    assert TwoLosses.passes == 1


def test_every_group_has_its_own_optimiser_rate_and_clip():
    model = small(TwoLosses)
    before = [p.detach().clone() for p in model.head.parameters()]
    step = one_step(model)
    assert isinstance(step.optimisers["head"], torch.optim.SGD)
    assert isinstance(step.optimisers["model"], torch.optim.Adam)
    assert step.optimisers["head"].param_groups[0]["lr"] == 0.5 * 0.5
    assert step.optimisers["model"].param_groups[0]["lr"] == 0.01 * 0.5
    moved = torch.cat([(now - then).flatten() for now, then in zip(model.head.parameters(), before, strict=True)])
    # SGD changes weights by the learning rate times the gradient, whose norm is clipped to 0.25.
    assert 0 < moved.norm() <= 0.25 * 0.25 + 1e-6


def test_a_setting_that_a_group_cannot_have_is_refused():
    group = ParameterGroup([torch.nn.Parameter(torch.zeros(1))], {"learningrate": 1.0})
    with pytest.raises(ValueError, match="did you mean 'learning_rate'"):
        group_settings(TrainingConfig(), group)
    with pytest.raises(ValueError, match=r"training\.learning_rate must be above 0"):
        group_settings(TrainingConfig(), ParameterGroup([], {"learning_rate": -1.0}))


def test_a_loss_without_a_value_for_every_group_is_refused():
    class Forgetful(TwoLosses):
        def loss(self, batch, progress):
            return Loss(super().loss(batch, progress).by_group["model"])

    with pytest.raises(
        ValueError, match=r"the loss has values for \['model'\], the parameter groups are \['head', 'model'\]"
    ):
        one_step(small(Forgetful))


def test_a_group_without_settings_of_its_own_has_the_configurations():
    settings = group_settings(TrainingConfig(learning_rate=0.3), ParameterGroup([]))
    assert settings == TrainingConfig(learning_rate=0.3)
    assert make_optimiser(settings, [torch.nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"] == 0.3

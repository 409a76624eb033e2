"""A compiled training step gives the same results as an eager one, for every variant in every form.

Recording the operations of a step is the part that can fail for a variant, and it needs no compiler. Most tests
therefore run the recorded operations without compiling them. The slow tests compile.
"""

import random

import pytest
import torch

import variants
from benchmarks.config import TrainingConfig, compose, from_plain
from benchmarks.data import DatasetConfig
from benchmarks.errors import UserError
from benchmarks.sweep.cell import build
from benchmarks.training.budget import budget_of, worth_compiling
from benchmarks.training.checkpoint import Checkpoints
from benchmarks.training.loop import train
from benchmarks.training.steps import compiled, make_step
from benchmarks.training.steps.compiled import CompiledStep
from benchmarks.training.steps.eager import Step
from variants import Variant
from variants.parts.networks import Conv

from ...variants.models import CLASSES, small
from ...variants.outside import OUTSIDE
from ..cells import checkpoints, configuration, digits, run

CPU = torch.device("cpu")
BINARY = DatasetConfig(observation="bernoulli", binarise="dynamic")
GREY = DatasetConfig(observation="discretised_logistic")
STEPS, BATCH = 100, 20
FORMS = [
    pytest.param(
        cls,
        options,
        id="-".join([cls.name, *(f"{key}={value}" for key, value in options.items())]),
        # The ordinary tests run one form of each variant.
        marks=pytest.mark.slow if options else (),
    )
    for cls in [*map(variants.lookup, variants.names()), *OUTSIDE]
    for options in ({}, *cls.forms)
    # mixture_prior is left out: it trains eagerly, as torch's mixture distribution checks the values of its arguments.
    if cls.name != "mixture_prior"
]


@pytest.fixture
def recorded(monkeypatch):
    """Run the recorded operations instead of compiled code."""
    monkeypatch.setattr(compiled, "compiled_by_torch", lambda operations: operations)


def losses(make, model, data=BINARY, steps=STEPS, **settings):
    """The losses of ``steps`` training steps, and the step object. The last batch of each epoch is smaller."""
    generator = torch.Generator().manual_seed(0)
    count = 5 * BATCH + 7
    images = torch.randint(0, 256, (count, *model.image_shape), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % CLASSES
    config = TrainingConfig(batch_size=BATCH, learning_rate=1e-3, **settings)
    if type(model).conditional:
        data = DatasetConfig(**vars(data) | {"condition": "label"})
    step = make(model, images, data, config, CPU, labels)
    progress, found = torch.linspace(0, 1, steps), []
    torch.manual_seed(1)
    model.train()
    while len(found) < steps:
        for rows in torch.arange(count).split(BATCH)[: steps - len(found)]:
            step.begin()
            step(rows, progress[len(found)], 1.0, 0.0)
            found.append(sum(value for key, value in step.means().items() if key.startswith("loss_")))
    return found, step


def assert_equal_losses(new, **settings):
    """Assert that for equal models, the compiled step gives the losses (rtol 1e-5) and the weights of the eager one."""
    found = []
    for kind in (CompiledStep, Step):
        torch.manual_seed(0)
        model = new()
        values, step = losses(kind, model, **settings)
        assert step.compiled == (kind is not Step), step.refusal
        found.append((values, model.state_dict()))
    (values, weights), (wanted, wanted_weights) = found
    # An MMD is a difference of sums of up to 14, and fp32 rounds each sum with a relative error of 2e-7.
    rounding = 2e-7 * 14 * getattr(model.config, "mmd_weight", 0)
    assert values == pytest.approx(wanted, rel=1e-5, abs=rounding)
    for name, weight in wanted_weights.items():
        assert torch.allclose(weights[name].double(), weight.double(), rtol=1e-3, atol=1e-4), name


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(("cls", "options"), FORMS)
def test_the_recorded_step_has_the_losses_of_the_eager_one(cls, options):
    assert_equal_losses(lambda: small(cls, **options), steps=24)


@pytest.mark.usefixtures("recorded")
def test_the_recorded_step_clips_gradients_schedules_terms_and_keeps_running_averages():
    def new():
        return small("beta_vae", (1, 8, 8), network=Conv(latent_size=2, width=2, normalisation="batch"))

    assert_equal_losses(new, steps=24, gradient_clip=1.0)


def test_a_compiled_step_has_the_losses_of_the_eager_one():
    assert_equal_losses(lambda: small("vae"))


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "options"), FORMS)
def test_every_variant_compiled_has_the_losses_of_the_eager_one(cls, options):
    assert_equal_losses(lambda: small(cls, **options))


def test_a_run_whose_recorded_steps_are_interrupted_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path, monkeypatch, recorded
):
    interrupted_and_whole(tmp_path, monkeypatch)


@pytest.mark.slow
def test_a_compiled_run_that_is_interrupted_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, monkeypatch):
    interrupted_and_whole(tmp_path, monkeypatch)


def interrupted_and_whole(tmp_path, monkeypatch):
    config = TrainingConfig(epochs=3, batch_size=300, compile="on")

    def trained(folder):
        model = build(configuration("vq_vae"), (1, 8, 8))
        done = train(model, digits().train.images, configuration().dataset, config, 0, None, checkpoints(folder), False)
        assert done.compiled
        return model.state_dict(), done

    whole, _ = trained(tmp_path / "whole")
    monkeypatch.setenv("VAE_CHECKPOINT_SECONDS", "0")
    save = Checkpoints.save

    def save_then_die(self, model, optimisers, best, done):
        save(self, model, optimisers, best, done)
        if done.epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "interrupted")
    monkeypatch.setattr(Checkpoints, "save", save)
    resumed, done = trained(tmp_path / "interrupted")
    assert done.resumed == [1]
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())


def test_a_record_says_whether_its_steps_were_compiled_and_why_not(tmp_path, monkeypatch):
    eager = run(tmp_path)
    assert "compiled" not in eager.details
    assert "compile" not in eager.config["training"]
    auto = run(tmp_path, "vae", 0, "training.compile=auto")
    assert auto.run_id != eager.run_id
    assert auto.details["compiled"] is False
    assert auto.metrics == eager.metrics
    monkeypatch.setattr(compiled.Differentiated, "__init__", lambda *arguments: 1 / 0)
    refused = run(tmp_path, "vae", 0, "training.compile=on")
    assert refused.run_id not in (auto.run_id, eager.run_id)
    assert refused.details["compiled"] is False
    why = "vae trains eagerly, because it could not be compiled: division by zero"
    assert refused.warnings == [*eager.warnings, why]
    assert refused.metrics == eager.metrics


def test_auto_compiles_where_the_budget_is_long_by_steps_batch_and_parameters_alone():
    model = small("vae")
    images = torch.zeros(1000, 1, 4, 4, dtype=torch.uint8)

    def kind(**settings):
        config = TrainingConfig(batch_size=10, **settings)
        budget = budget_of(config, len(images))
        return type(make_step(model, images, BINARY, config, budget, CPU))

    assert kind(compile="auto", epochs=20) is Step
    assert kind(compile="auto", epochs=4000) is CompiledStep
    assert kind(compile="auto", steps=400_000) is CompiledStep
    assert kind(compile="off", epochs=4000) is Step
    assert kind(compile="on", epochs=20) is CompiledStep
    budget = budget_of(TrainingConfig(epochs=20, batch_size=10), len(images))
    assert not worth_compiling(budget, 10, 10**3)
    assert worth_compiling(budget, 10, 10**10)


def test_on_and_off_in_a_yaml_file_are_what_they_say():
    assert TrainingConfig(compile="True") == TrainingConfig(compile="on")
    config = compose("vae", "digits", "smoke", 0).resolved()
    for written, meant in ((True, {"compile": "on"}), (False, {}), ("auto", {"compile": "auto"})):
        read = from_plain(config | {"training": config["training"] | {"compile": written}})
        assert read.resolved()["training"] == config["training"] | meant
    with pytest.raises(UserError, match=r"unknown training\.compile 'always'"):
        compose("vae", "digits", "smoke", 0, ["training.compile=always"])


class Uneven(Variant):
    """A variant whose loss depends on a random number of Python, different in each step."""

    name = "uneven"

    def regulariser(self, step):
        return random.random() * step.kl


class Counting(Variant):
    name = "counting"
    seen = 0

    def regulariser(self, step):
        self.seen += 1
        return step.kl


class Asking(Variant):
    name = "asking"

    def regulariser(self, step):
        return step.kl if step.progress > 0.5 else 0 * step.kl


class Replacing(Variant):
    name = "replacing"

    def build(self, network):
        super().build(network)
        self.register_buffer("average", torch.zeros(()))

    def regulariser(self, step):
        self.average = 0.9 * self.average + 0.1 * step.kl.detach().mean()
        return step.kl - self.average


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("cls", "why"),
    [
        (Uneven, "compiled and eager numbers differ"),
        (Counting, "its loss sets Counting.seen, which is no tensor"),
        (Asking, "its loss reads the value of a tensor, as `if` and `.item()` do"),
        (Replacing, "its loss sets the buffer average instead of changing it"),
    ],
)
def test_a_loss_that_python_decides_anew_is_trained_eagerly_and_named(cls, why, caplog):
    random.seed(0)
    torch.manual_seed(0)
    values, step = losses(CompiledStep, small(cls), steps=8)
    assert not step.compiled
    assert step.refusal.startswith(f"{cls.name} trains eagerly, because it could not be compiled: ")
    assert why in step.refusal
    assert "\n" not in step.refusal
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [step.refusal]
    if cls is not Uneven:
        torch.manual_seed(0)
        assert values == losses(Step, small(cls), steps=8)[0]

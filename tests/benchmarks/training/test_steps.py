"""A captured training step gives the same results as an eager one.

On a CPU, a stand-in for the CUDA graph runs the recorded function again. It shows that everything that changes between
steps is passed through static tensors. Tests of real CUDA graphs need a GPU.
"""

import contextlib
import types
from dataclasses import replace

import pytest
import torch

import variants
from benchmarks.config import TrainingConfig
from benchmarks.data import DatasetConfig
from benchmarks.training.budget import budget_of
from benchmarks.training.schedules import learning_rate_factor
from benchmarks.training.steps import captured, kind_of_step
from benchmarks.training.steps.captured import CapturedStep, CUDAGraph
from benchmarks.training.steps.compiled import CompiledStep
from benchmarks.training.steps.eager import Step
from variants.parts.networks import MLP

from ...variants.models import CLASSES, Layers, small

BINARY = DatasetConfig(observation="bernoulli", binarise="dynamic")
CPU = torch.device("cpu")
STEPS = 100
# These variants cover what steps do: schedules, several samples, two optimisers, and moving averages of a codebook.
NAMES = ("vae", "iwae", "gumbel_vae", "joint_vae", "vq_vae", "iaf_vae", "cvae", "dfc_vae")


class Rerun:
    """A stand-in for a CUDA graph: it runs the recorded function at every replay. Capturing computes nothing."""

    captures = 0

    def __init__(self, stream):
        assert stream is None

    def capture(self, work):
        type(self).captures += 1
        self.work = work

    def replay(self):
        self.work()


def images(count=230, device=CPU):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, 8, 8), generator=generator, dtype=torch.uint8).to(device)


def trained(make, name, config, device=CPU):
    """Weights and epoch means after 100 steps of 50 images each; the last batch of every epoch has 30 images."""
    torch.manual_seed(0)
    variant = small(name, (1, 8, 8), network=MLP(latent_size=4, hidden=[16], grid_size=2)).to(device)
    if variant.needs_teacher:
        variant.use_teacher(Layers().to(device))
    variant.train()
    given = images(device=device)
    labels = torch.arange(len(given), device=device) % CLASSES
    data = replace(BINARY, condition="label") if variant.condition_shape else BINARY
    step = make(variant, given, data, config, device, labels)
    progress = torch.linspace(0, 1, STEPS, device=device)
    done, means = 0, []
    while done < STEPS:
        torch.manual_seed(done)
        step.begin()
        for rows in torch.randperm(len(given), device=device).split(config.batch_size):
            factor = config.learning_rate * learning_rate_factor("cosine", done / STEPS)
            step(rows, progress[done], factor, done / STEPS)
            done += 1
        means.append(step.means())
    return variant.state_dict(), means


def agree(found, expected, tolerance):
    (weights, means), (wanted_weights, wanted_means) = found, expected
    for key, value in wanted_weights.items():
        assert torch.allclose(weights[key].double(), value.double(), rtol=tolerance, atol=tolerance), key
    for mean, wanted in zip(means, wanted_means, strict=True):
        assert mean == pytest.approx(wanted, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_captured_step_ends_with_the_weights_and_means_of_an_eager_one(name):
    config = TrainingConfig(batch_size=50, gradient_clip=5.0)
    Rerun.captures = 0
    captured = trained(lambda *arguments: CapturedStep(*arguments, graph=Rerun), name, config)
    assert Rerun.captures == 1
    agree(captured, trained(Step, name, config), 1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_graph_on_the_gpu_holds_rmsprop_with_a_rate_that_falls(momentum):
    config = TrainingConfig(batch_size=50, optimiser="rmsprop", centred=True, momentum=momentum, learning_rate=1e-2)
    device = torch.device("cuda")
    captured = trained(lambda *arguments: CapturedStep(*arguments, graph=CUDAGraph), "vae", config, device)
    agree(captured, trained(Step, "vae", config, device), 1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", variants.names())
def test_a_graph_on_the_gpu_ends_with_the_weights_and_means_of_an_eager_step(name):
    config, device = TrainingConfig(batch_size=50), torch.device("cuda")
    captured = trained(lambda *arguments: CapturedStep(*arguments, graph=CUDAGraph), name, config, device)
    agree(captured, trained(Step, name, config, device), 1e-5)


class Impossible(Rerun):
    def capture(self, work):
        raise RuntimeError("not permitted while a stream is captured\nand more lines")


@contextlib.contextmanager
def waiting(device, watched):
    yield ["called a synchronizing CUDA operation"] if watched else []


@pytest.mark.parametrize("why", ["not permitted while a stream is captured", "its step waits for the GPU"])
def test_what_no_graph_can_hold_is_trained_eagerly_and_said(why, monkeypatch, caplog):
    if "waits" in why:
        monkeypatch.setattr(captured, "_waits", waiting)
    refused = []

    def make(*arguments):
        refused.append(CapturedStep(*arguments, graph=Impossible))
        return refused[0]

    config = TrainingConfig(batch_size=50)
    agree(trained(make, "vae", config), trained(Step, "vae", config), 1e-5)
    assert refused[0].refusal == f"vae trains without a CUDA graph: {why}"
    assert [record.message for record in caplog.records] == [refused[0].refusal]


def test_a_rate_that_was_recorded_as_a_number_would_be_noticed():
    class Frozen(CapturedStep):
        def _run(self, rows, progress, rates):
            return super()._run(rows, progress.clone() if self._graph is None else progress, {"model": 1e-3})

    config = TrainingConfig(batch_size=50)
    frozen = trained(lambda *arguments: Frozen(*arguments, graph=Rerun), "vae", config)
    with pytest.raises(AssertionError):
        agree(frozen, trained(Step, "vae", config), 1e-5)


@pytest.mark.parametrize("captured", [False, True])
def test_means_are_of_the_epoch_so_far_and_another_epoch_begins_without_them(captured):
    variant = variants.build("vae", (1, 8, 8), MLP(latent_size=4, hidden=[16]))
    arguments = (variant, images(), BINARY, TrainingConfig(batch_size=50), CPU)
    step = CapturedStep(*arguments, graph=Rerun) if captured else Step(*arguments)
    noted, loss = [], variant.loss

    def noting(batch, progress):
        result = loss(batch, progress)
        noted.append((len(batch.images), result.value.item()))
        return result

    variant.loss = noting
    for _ in range(3):
        noted.clear()
        step.begin()
        for rows in torch.arange(230).split(50):
            step(rows, torch.tensor(0.5), 1.0, 0.0)
            expected = sum(count * value for count, value in noted) / sum(count for count, _ in noted)
            # Read twice, because reading must not reset the means.
            assert [step.means()["loss_model"] for _ in range(2)] == pytest.approx([expected] * 2, rel=1e-5)


@pytest.mark.parametrize(
    ("images_on", "optimiser", "compiled", "variable", "expected"),
    [
        ("cuda", "adam", "off", None, CapturedStep),
        ("cuda", "adam", "off", "0", Step),
        ("cuda", "adagrad", "off", None, Step),
        ("cuda", "adam", "on", None, CompiledStep),
        ("cpu", "adam", "off", "1", Step),
    ],
)
def test_steps_on_a_gpu_are_captured_where_they_can_be(monkeypatch, images_on, optimiser, compiled, variable, expected):
    if variable is not None:
        monkeypatch.setenv("VAE_CAPTURE", variable)
    given = types.SimpleNamespace(device=torch.device(images_on))
    variant = variants.build("vae", (1, 8, 8), MLP(latent_size=4, hidden=[16]))
    config = TrainingConfig(optimiser=optimiser, compile=compiled)
    assert kind_of_step(variant, given, config, budget_of(config, 230), torch.device("cuda")) is expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_that_waits_for_the_gpu_is_not_captured_and_says_so(caplog):
    device, config = torch.device("cuda"), TrainingConfig(batch_size=50)
    variant = variants.build("vae", (1, 8, 8), MLP(latent_size=4, hidden=[16])).to(device)
    variant.after_step = lambda: next(variant.parameters()).sum().item()
    step = CapturedStep(variant, images(device=device), BINARY, config, device)
    for _ in range(3):
        step.begin()
        for rows in torch.arange(230, device=device).split(50):
            step(rows, torch.tensor(0.5, device=device), 1.0, 0.0)
    assert step.refusal.endswith("its step waits for the GPU")
    assert step.means()["loss_model"] > 0
    assert len(caplog.records) == 1

"""One step of training: eagerly, or as one CUDA graph that is replayed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from benchmarks.config import TrainingConfig
from benchmarks.data import DatasetConfig, observe_condition, observe_training
from benchmarks.training.optimisers import CAPTURABLE, group_settings, make_optimiser
from benchmarks.variables import switch
from variants import Batch, ParameterGroup, Variant

log = logging.getLogger(__name__)

# Steps before a capture, which make the optimiser's state and let libraries choose their kernels.
WARM_UP = 3


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """bf16 autocast, or nothing."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


class Step:
    """A batch through the model, every group of parameters through its optimiser, and the terms of the loss gathered
    for the epoch's end.

    ``images``: all training images, uint8, and their ``labels``; ``device``: where the variant lies.
    """

    captured = False

    def __init__(
        self,
        variant: Variant,
        images: Tensor,
        dataset: DatasetConfig,
        config: TrainingConfig,
        device: torch.device,
        labels: Tensor | None = None,
    ) -> None:
        self.variant, self.images, self.labels = variant, images, labels
        self.dataset, self.config, self.device = dataset, config, device
        self.groups: dict[str, ParameterGroup] = variant.parameter_groups()
        self.settings = {name: group_settings(config, group) for name, group in self.groups.items()}
        self.optimisers = {
            name: make_optimiser(self.settings[name], group.parameters, self.captured)
            for name, group in self.groups.items()
        }
        # One value an image, kept on the device until the epoch ends. In one array a term, made once: small tensors
        # kept from every step would pin the heap between large ones, 1.4 MB a step on 64x64 images.
        self._terms: dict[str, Tensor] = {}
        self._seen = 0

    def __call__(self, rows: Tensor, progress: Tensor, factor: float) -> None:
        """Train on images ``rows`` (batch,), at ``progress`` (), a fraction of the budget, with ``factor`` times every
        group's learning rate."""
        self._gather(self._run(rows, progress, self._rates(factor)), len(rows))

    def means(self) -> dict[str, float]:
        """The mean of every term over the images of this epoch so far: where the host waits for the device."""
        return {key: float(values[: self._seen].mean()) for key, values in self._terms.items()}

    def begin(self) -> None:
        """Forget the terms: another epoch begins."""
        self._seen = 0

    def _rates(self, factor: float) -> dict[str, float]:
        return {name: settings.learning_rate * factor for name, settings in self.settings.items()}

    def _gather(self, terms: dict[str, Tensor], count: int) -> None:
        for key, term in terms.items():
            if key not in self._terms:
                self._terms[key] = term.new_empty(len(self.images))
            self._terms[key][self._seen : self._seen + count] = term
        self._seen += count

    def _run(self, rows: Tensor, progress: Tensor, rates: Mapping[str, float | Tensor]) -> dict[str, Tensor]:
        """The step itself: nothing here asks the device for a value."""
        with autocast(self.config.precision, self.device):
            loss = self.variant.objective(self._batch(rows), progress)
        values = loss.by_group
        if values.keys() != self.groups.keys():
            raise ValueError(
                f"the loss has values for {sorted(values)}, the parameter groups are {sorted(self.groups)}"
            )
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        backward(values, self.groups)
        for name, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = rates[name]
            clip = self.settings[name].gradient_clip
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(self.groups[name].parameters, clip)
            optimiser.step()
        self.variant.after_step()
        gathered = {f"loss_{name}": value.detach() for name, value in values.items()}
        return gathered | {name: term.detach() for name, term in loss.terms.items()}

    def _batch(self, rows: Tensor) -> Batch:
        images = self.images[rows].to(self.device)
        labels = None if self.labels is None else self.labels[rows].to(self.device)
        x = observe_training(images, self.dataset)
        condition = observe_condition(x, labels, self.dataset, self.variant.condition_shape)
        return Batch(x, condition, labels, len(self.images))


def backward(values: Mapping[str, Tensor], groups: Mapping[str, ParameterGroup]) -> None:
    """Add to the parameters of every group the gradient of that group's loss, and of no other's: what leads from one
    loss to another group's parameters stays out of their gradient."""
    if len(values) == 1:
        for value in values.values():
            value.backward()
        return
    for number, (name, value) in enumerate(values.items()):
        value.backward(inputs=groups[name].parameters, retain_graph=number < len(values) - 1)


class Graph(Protocol):
    """What records a function's work on the device, and does it again."""

    def capture(self, work: Callable[[], None]) -> None: ...

    def replay(self) -> None: ...


class CUDAGraph:
    """A graph of CUDA kernels. Random numbers go on from where the generator is at every replay."""

    def __init__(self) -> None:
        self.graph = torch.cuda.CUDAGraph()

    def capture(self, work: Callable[[], None]) -> None:
        with torch.cuda.graph(self.graph):
            work()

    def replay(self) -> None:
        self.graph.replay()


class CapturedStep(Step):
    """The same step, optimisers and all, recorded once and replayed: one launch instead of a few hundred.

    What changes from step to step is copied into tensors that stay where they are: rows, progress and learning rates.
    Batches of another size, the last of an epoch, run eagerly.
    """

    captured = True

    def __init__(
        self,
        variant: Variant,
        images: Tensor,
        dataset: DatasetConfig,
        config: TrainingConfig,
        device: torch.device,
        labels: Tensor | None = None,
        graph: Callable[[], Graph] = CUDAGraph,
    ) -> None:
        super().__init__(variant, images, dataset, config, device, labels)
        self._new_graph = graph
        self._graph: Graph | None = None
        self._warm = 0
        self._rows = torch.zeros(config.batch_size, dtype=torch.long, device=device)
        self._progress = torch.zeros((), device=device)
        self._device_rates = {name: torch.zeros((), device=device) for name in self.groups}
        self._sums: dict[str, Tensor] = {}
        self._replayed = 0

    def __call__(self, rows: Tensor, progress: Tensor, factor: float) -> None:
        self._progress.copy_(progress)
        for name, rate in self._rates(factor).items():
            self._device_rates[name].fill_(rate)
        if len(rows) != len(self._rows) or self._warm < WARM_UP:
            self._warm += len(rows) == len(self._rows)
            with _side_stream(self.device):
                self._gather(self._run(rows, self._progress, self._device_rates), len(rows))
            return
        self._rows.copy_(rows)
        if self._graph is None:
            self._sums = {key: torch.zeros((), device=self.device) for key in self._terms}
            self._graph = self._new_graph()
            self._graph.capture(self._work)
        self._graph.replay()
        self._replayed += 1

    def means(self) -> dict[str, float]:
        images = self._seen + self._replayed * len(self._rows)
        return {
            key: (float(values[: self._seen].sum()) + float(self._sums.get(key, 0.0))) / images
            for key, values in self._terms.items()
        }

    def begin(self) -> None:
        super().begin()
        for total in self._sums.values():
            total.zero_()
        self._replayed = 0

    def _work(self) -> None:
        for key, term in self._run(self._rows, self._progress, self._device_rates).items():
            self._sums[key].add_(term.expand(len(self._rows)).sum())


@contextlib.contextmanager
def _side_stream(device: torch.device) -> Iterator[None]:
    """Away from the default stream, where a capture's warm-up may not be."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)


def make_step(
    variant: Variant,
    images: Tensor,
    dataset: DatasetConfig,
    config: TrainingConfig,
    device: torch.device,
    labels: Tensor | None = None,
) -> Step:
    """The step for this device: captured where ``VAE_CAPTURE=1`` asks for it, the images are on a GPU, and the
    optimisers can be."""
    optimisers = {group_settings(config, group).optimiser for group in variant.parameter_groups().values()}
    wanted = switch("VAE_CAPTURE")
    if wanted and images.device.type == "cuda" and optimisers <= set(CAPTURABLE):
        return CapturedStep(variant, images, dataset, config, device, labels)
    if wanted:
        log.warning("VAE_CAPTURE has no effect: it needs training images on a GPU and one of %s", ", ".join(CAPTURABLE))
    return Step(variant, images, dataset, config, device, labels)

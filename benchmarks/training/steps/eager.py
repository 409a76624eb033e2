"""One eager training step, the base of the other kinds of steps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.config import TrainingConfig
from benchmarks.data import DatasetConfig, observe_condition, observe_training
from benchmarks.training.optimisers import group_settings, make_optimiser
from variants import Batch, Loss, ParameterGroup, Variant


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """A context with bf16 autocast for "bf16", without effect for other precisions."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


class Terms(NamedTuple):
    """The parts of a loss that are averaged over an epoch: the loss of every group, and the terms. ``values`` has the
    shape (names, batch)."""

    names: tuple[str, ...]
    values: Tensor


class Step:
    """A training step: computes the loss of a batch and its gradients, updates every group of parameters with its
    optimiser, and stores the terms of the loss until the end of the epoch.

    ``images`` (uint8) and ``labels`` are those of the whole training set. ``device`` is the device of the variant.
    """

    captured = False
    # One line that says why a step is not compiled or captured although it should be.
    refusal = ""

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
        # Values of every term and image, kept on the device until the epoch ends. One preallocated tensor is used,
        # because small tensors kept from every step would fragment the heap: 1.4 MB per step on 64x64 images.
        self._names: tuple[str, ...] = ()
        self._values = torch.empty(0)
        self._seen = 0

    @property
    def compiled(self) -> bool:
        """Whether steps are compiled."""
        return False

    def __call__(self, rows: Tensor, progress: Tensor, factor: float, done: float) -> None:
        """Train on the images with indices ``rows`` (batch,). ``progress`` () is a fraction of the budget, and
        ``factor`` multiplies the learning rate of every group. ``done`` is the fraction of the steps before this one,
        which decides which groups still learn."""
        self._gather(self._run(rows, progress, self._rates(factor, done)), len(rows))

    def means(self) -> dict[str, float]:
        """The mean of every term over the images of this epoch so far. This synchronises with the device."""
        means = self._values[:, : self._seen].mean(1).tolist()
        return dict(zip(self._names, means, strict=True))

    def begin(self) -> None:
        """Begin a new epoch: discard the stored terms."""
        self._seen = 0

    def _rates(self, factor: float, done: float) -> dict[str, float]:
        """The learning rates of the groups that still learn."""
        return {
            name: settings.learning_rate * factor
            for name, settings in self.settings.items()
            if done < self.groups[name].until
        }

    def _gather(self, terms: Terms, count: int) -> None:
        if not self._names:
            self._names = terms.names
            self._values = terms.values.new_empty(len(self._names), len(self.images))
        elif self._names != terms.names:
            raise ValueError(f"the loss had the terms {', '.join(self._names)}, and now {', '.join(terms.names)}")
        self._values[:, self._seen : self._seen + count] = terms.values
        self._seen += count

    def _run(self, rows: Tensor, progress: Tensor, rates: Mapping[str, float | Tensor]) -> Terms:
        """Run the step for the groups in ``rates``, without reading a value from the device."""
        terms = self._differentiate(self._batch(rows), progress)
        for name, rate in rates.items():
            optimiser = self.optimisers[name]
            for group in optimiser.param_groups:
                group["lr"] = rate
            clip = self.settings[name].gradient_clip
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(self.groups[name].parameters, clip)
            optimiser.step()
        self.variant.after_step()
        return terms

    def _differentiate(self, batch: Batch, progress: Tensor) -> Terms:
        """Set the gradients of the parameters to those of a batch's loss, and return the terms to store."""
        loss = self._loss(self.variant.objective, batch, progress)
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        backward(loss.by_group, self.groups)
        return gathered(loss, len(batch.images))

    def _loss(self, objective: Callable[[Batch, Tensor], Loss], batch: Batch, progress: Tensor) -> Loss:
        """The ``objective`` of a batch. Raises ``ValueError`` unless it has one scalar for each group of parameters."""
        with autocast(self.config.precision, self.device):
            loss = objective(batch, progress)
        if loss.by_group.keys() != self.groups.keys():
            raise ValueError(
                f"the loss has values for {sorted(loss.by_group)}, the parameter groups are {sorted(self.groups)}"
            )
        for value in loss.by_group.values():
            if value.dim():
                raise ValueError(f"the loss of {name_of(self.variant)} must be a scalar, got {tuple(value.shape)}")
        return loss

    def _batch(self, rows: Tensor) -> Batch:
        # index_select takes a quarter of the time of indexing with [].
        images = self.images.index_select(0, rows).to(self.device)
        labels = None if self.labels is None else self.labels.index_select(0, rows).to(self.device)
        x = observe_training(images, self.dataset)
        condition = observe_condition(x, labels, self.dataset, self.variant.condition_shape)
        return Batch(x, condition, labels, len(self.images))


def name_of(variant: Variant) -> str:
    """The registered name of a variant, or the name of its class if it is not registered."""
    return getattr(variant, "name", type(variant).__name__)


def gathered(loss: Loss, count: int) -> Terms:
    """The terms of a loss on ``count`` images. A scalar is repeated for every image."""
    found = {f"loss_{name}": value for name, value in loss.by_group.items()} | dict(loss.terms)
    return Terms(tuple(found), torch.stack([value.detach().expand(count) for value in found.values()]))


def backward(values: Mapping[str, Tensor], groups: Mapping[str, ParameterGroup]) -> None:
    """Add to the gradients of every group's parameters the gradient of that group's own loss. Gradients of a loss with
    respect to the parameters of other groups are not computed."""
    if len(values) == 1:
        for value in values.values():
            value.backward()
        return
    for number, (name, value) in enumerate(values.items()):
        value.backward(inputs=groups[name].parameters, retain_graph=number < len(values) - 1)

"""A training step that computes the loss and its gradients in one compiled function."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.progress.report import doing
from benchmarks.seeding import kept_random_state
from benchmarks.training.steps.eager import Step, Terms, gathered, name_of
from variants import Batch, Loss, ParameterGroup, Variant

log = logging.getLogger(__name__)

OPTIONS: dict[str, Any] = {
    # Draw the same random numbers as the eager step, in the same order.
    "fallback_random": True,
    # Compile in this process: a sweep already runs one process per core.
    "compile_threads": 1,
    # Call the kernels from C++ and skip the guards, because every call has tensors of the same types and shapes. This
    # makes a small step 8% shorter.
    "cpp_wrapper": True,
    "guard_filter_fn": torch.compiler.skip_all_guards_unsafe,
}
# Largest relative difference between the compiled and the eager results on a batch. Compiled code sums in another order
# and rounds bf16 products at other places.
TOLERANCES = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 1e-1}

Function = Callable[..., list[Tensor]]
Objective = Callable[[Batch, Tensor], Loss]
# A module and the name of one of its attributes.
Place = tuple[nn.Module, str]


class NotCompiledError(RuntimeError):
    """The loss cannot be compiled; the message says why, in one line."""


def compiled_by_torch(recorded: nn.Module) -> Function:
    """Compile the ``recorded`` operations into one function."""
    function: Function = torch.compile(recorded, fullgraph=True, dynamic=False, options=OPTIONS)
    return function


class CompiledStep(Step):
    """The eager step with a compiled forward and backward pass.

    The operations of the first full batch are recorded, including the backward pass, and compiled. Control flow of the
    loss in Python is therefore fixed for all steps. Variants allow this, because their schedules depend on
    ``progress``, which is a tensor. The compiled results are compared with eager ones before they are used. If they
    differ, or if compilation fails, all steps are eager and ``refusal`` says why. A smaller last batch of an epoch is
    always eager.
    """

    _function: Differentiated | None = None

    @property
    def compiled(self) -> bool:
        return self._function is not None

    def _differentiate(self, batch: Batch, progress: Tensor) -> Terms:
        whole = len(batch.images) == min(self.config.batch_size, len(self.images))
        if whole and self._function is None and not self.refusal:
            with doing("compiling the training step"):
                self._compile(batch, progress)
        if not whole or self._function is None:
            return super()._differentiate(batch, progress)
        return self._function(batch, progress)

    def _compile(self, batch: Batch, progress: Tensor) -> None:
        """Compile the step on a batch, or store the reason for a failure in ``refusal``. The random state and the model
        do not change."""
        try:
            with kept_random_state(self.device):
                function = Differentiated(self.variant, self.groups, self._loss, batch, progress)
            # The compiled function must also be correct at another point of training than where it was recorded.
            for point in (progress, torch.full_like(progress, 0.5)):
                self._compare(function, batch, point)
        except Exception as error:
            self.refusal = (
                f"{name_of(self.variant)} trains eagerly, because it could not be compiled: {_one_line(error)}"
            )
            log.warning("%s", self.refusal)
        else:
            self._function = function

    def _compare(self, function: Differentiated, batch: Batch, progress: Tensor) -> None:
        """Raise :class:`NotCompiledError` if terms, gradients or buffers differ from those of the eager step."""
        buffers = {name: buffer.clone() for name, buffer in self.variant.named_buffers()}
        attributes = _attributes(self.variant)
        found = []
        for differentiate in (super()._differentiate, function):
            with kept_random_state(self.device):
                terms = differentiate(batch, progress)
            gradients = [
                p.grad.flatten() for group in self.groups.values() for p in group.parameters if p.grad is not None
            ]
            found.append({
                **dict(zip(terms.names, terms.values, strict=True)),
                "the gradient": torch.cat(gradients),
                **{name: buffer.clone() for name, buffer in self.variant.named_buffers()},
            })  # fmt: skip
            with torch.no_grad():
                for name, buffer in self.variant.named_buffers():
                    buffer.copy_(buffers[name])
            _restore(self.variant, attributes)
        eager, compiled = found
        for name, wanted in eager.items():
            difference = (compiled[name].double() - wanted.double()).norm()
            # Written as `not <=` so that a NaN is refused too.
            if not difference <= TOLERANCES[self.config.precision] * wanted.double().norm() + 1e-6:
                raise NotCompiledError(f"compiled and eager numbers differ ({name}, by {difference:.2g})")


class Differentiated:
    """A compiled version of :meth:`Step._differentiate`: a function of the model's tensors, a batch and progress. All
    batches must have the size of the batch that it is recorded on.

    ``loss`` is called with an objective, a batch and progress. If compilation fails, :class:`NotCompiledError` or an
    exception of torch is raised.
    """

    def __init__(
        self,
        variant: Variant,
        groups: Mapping[str, ParameterGroup],
        loss: Callable[[Objective, Batch, Tensor], Loss],
        batch: Batch,
        progress: Tensor,
    ) -> None:
        # Imported here because it imports SymPy, which is slow.
        from torch.fx.experimental.proxy_tensor import make_fx

        self._variant, self._groups, self._loss = variant, groups, loss
        self._training_images = batch.training_images
        parameters = list(variant.parameters())
        self._number = {id(parameter): number for number, parameter in enumerate(parameters)}
        self._trained = [parameter.requires_grad for parameter in parameters]
        # Detached tensors share memory with the parameters, so they follow the in-place updates of the optimisers.
        self._parameters = [parameter.detach() for parameter in parameters]
        self._buffers = [_place(variant, name) for name, _ in variant.named_buffers()]
        # Description of the results, in their order. Filled by `_results` during recording.
        self._names: tuple[str, ...] = ()
        self._with_gradient: list[nn.Parameter] = []
        self._left: list[Left] = []
        # Recording also executes the operations, so it works on copies.
        own = [tensor.clone() for tensor in self._tensors()]
        given = own, batch.images, batch.condition, batch.labels, progress
        self._compiled = compiled_by_torch(make_fx(lambda *tensors: self._results(*tensors))(*given))

    def __call__(self, batch: Batch, progress: Tensor) -> Terms:
        with torch.no_grad():
            results = iter(self._compiled(self._tensors(), batch.images, batch.condition, batch.labels, progress))
        terms = Terms(self._names, next(results))
        for group in self._groups.values():
            for parameter in group.parameters:
                parameter.grad = None
        for parameter in self._with_gradient:
            parameter.grad = next(results)
        for left in self._left:
            left.set(results)
        return terms

    def _tensors(self) -> list[Tensor]:
        # Buffers are looked up on every call, because a step may have replaced one.
        return [*self._parameters, *(getattr(module, name) for module, name in self._buffers)]

    def _results(
        self, tensors: list[Tensor], images: Tensor, condition: Tensor | None, labels: Tensor | None, progress: Tensor
    ) -> list[Tensor]:
        """Return terms, gradients and the attributes that the loss sets on the model for ``after_step``, as a function
        of the arguments."""
        count = len(self._parameters)
        parameters = [
            tensor.detach().requires_grad_(trained)
            for tensor, trained in zip(tensors[:count], self._trained, strict=True)
        ]
        in_place_of = self._named(parameters, tensors[count:])
        given, before = dict(in_place_of), _attributes(self._variant)
        objective, batch = _Objective(self._variant), Batch(images, condition, labels, self._training_images)
        try:
            with torch.enable_grad():
                loss = self._loss(
                    lambda *of: functional_call(objective, in_place_of, of, tie_weights=False), batch, progress
                )
                terms, gradients = gathered(loss, len(images)), self._gradients(loss, parameters)
            after = _attributes(self._variant)
            self._left = [Left(at, after[at]) for at in after if at not in before or after[at] is not before[at]]
        finally:
            _restore(self._variant, before)
        for name, tensor in in_place_of.items():
            if tensor is not given[name]:
                raise NotCompiledError(f"its loss sets the buffer {name.partition('.')[2]} instead of changing it")
        self._names = terms.names
        self._with_gradient = [parameter for parameter, _ in gradients]
        return [terms.values, *(gradient for _, gradient in gradients), *(t for left in self._left for t in left)]

    def _named(self, parameters: Sequence[Tensor], buffers: Sequence[Tensor]) -> dict[str, Tensor]:
        """Map the names of the variant's tensors in :class:`_Objective` to the given ``parameters`` and ``buffers``. A
        module with two names appears once. A parameter that two modules share appears under both names."""
        numbers = {id(getattr(*at)): number for number, at in enumerate(self._buffers)}
        found = {}
        for path, module in self._variant.named_modules(prefix="variant"):
            for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
                found[f"{path}.{name}"] = parameters[self._number[id(parameter)]]
            for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
                found[f"{path}.{name}"] = buffers[numbers[id(buffer)]]
        return found

    def _gradients(self, loss: Loss, tensors: Sequence[Tensor]) -> list[tuple[nn.Parameter, Tensor]]:
        """The gradient of every group's loss with respect to the parameters of that group, as in
        :func:`benchmarks.training.steps.eager.backward`."""
        values, found = loss.by_group, []
        for number, (name, value) in enumerate(values.items()):
            parameters = self._groups[name].parameters
            gradients = torch.autograd.grad(
                value,
                [tensors[self._number[id(parameter)]] for parameter in parameters],
                retain_graph=number < len(values) - 1,
                allow_unused=True,
            )
            found += [
                # Use the memory layout of the parameter, as backward() does: optimisers expect it.
                (parameter, torch.empty_like(parameter).copy_(gradient))
                if gradient.stride() != parameter.stride()
                else (parameter, gradient)
                for parameter, gradient in zip(parameters, gradients, strict=True)
                if gradient is not None
            ]
        return found


class _Objective(nn.Module):
    """A module whose forward is the variant's objective, so that ``functional_call`` can replace its tensors."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant

    def forward(self, batch: Batch, progress: Tensor) -> Loss:
        return self.variant.objective(batch, progress)


class Left:
    """An attribute that the loss sets on a module: a tensor, or a list or tuple of tensors."""

    def __init__(self, at: Place, value: Any) -> None:
        self.module, self.name = at
        self.kind = type(value)
        self.tensors: Sequence[Any] = value if self.kind in (tuple, list) else [value]
        if not all(isinstance(tensor, Tensor) for tensor in self.tensors):
            raise NotCompiledError(f"its loss sets {type(self.module).__name__}.{self.name}, which is no tensor")

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensors)

    def set(self, results: Iterator[Tensor]) -> None:
        """Set the attribute to the next tensors of ``results``."""
        tensors = [next(results) for _ in self.tensors]
        setattr(self.module, self.name, self.kind(tensors) if self.kind in (tuple, list) else tensors[0])


def _attributes(variant: Variant) -> dict[Place, Any]:
    """All attributes of a variant's modules, with their values."""
    return {(module, name): value for module in variant.modules() for name, value in vars(module).items()}


def _restore(variant: Variant, attributes: Mapping[Place, Any]) -> None:
    for module, name in _attributes(variant).keys() - attributes.keys():
        delattr(module, name)
    for (module, name), value in attributes.items():
        if getattr(module, name) is not value:
            setattr(module, name, value)


def _place(variant: Variant, name: str) -> Place:
    """The module that holds the buffer ``name``, and the buffer's name in that module."""
    path, _, own = name.rpartition(".")
    return variant.get_submodule(path), own


def _one_line(error: Exception) -> str:
    text = str(error)
    # torch's own message has several lines.
    if "_local_scalar_dense" in text:
        return "its loss reads the value of a tensor, as `if` and `.item()` do"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]

"""The length of a run in steps, and the steps after which it is validated and measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.config import TrainingConfig
from benchmarks.errors import UserError

# Seconds on one core: fixed cost of a step, and cost of a floating-point operation in matrix products.
_SECONDS_PER_STEP = 1e-3
_SECONDS_PER_OPERATION = 1e-11
# Smallest estimated training time at which "auto" compiles. Compiling takes about 15 seconds and makes a step a sixth
# to a third shorter.
_WORTH_SECONDS = 150


@dataclass(frozen=True)
class Budget:
    """The budget of a configuration on one training set, in steps. ``milestones`` of the learning rate are fractions of
    the budget. ``measured`` maps steps to the numbers in ``training.measure_at``, which may be epochs."""

    steps: int
    steps_per_epoch: int
    validated_every: int
    milestones: tuple[float, ...]
    measured: dict[int, int]

    def validates_after(self, step: int) -> bool:
        """Whether a validation is due after ``step`` steps."""
        return step > 0 and (step % self.validated_every == 0 or step == self.steps)


def budget_of(config: TrainingConfig, images: int) -> Budget:
    """The budget for a training set of ``images`` images.

    Raises :class:`UserError` for options in epochs that a budget in steps does not reach, or in steps that a budget in
    epochs does not reach: they would have no effect. The configuration cannot know this without the number of images.
    """
    steps_per_epoch = math.ceil(images / config.batch_size)
    steps, unit = (config.epochs * steps_per_epoch, steps_per_epoch) if config.steps is None else (config.steps, 1)
    epochs = f"the {steps / steps_per_epoch:g} epochs of the budget ({steps:,} steps)"
    if config.milestones and config.milestones[-1] * steps_per_epoch >= steps:
        raise UserError(f"training.milestones must be below {epochs}, got {config.milestones}")
    if config.validate_every > 1 and config.validate_every * steps_per_epoch > steps:
        raise UserError(f"training.validate_every must be at most {epochs}, got {config.validate_every}")
    if config.validate_every_steps is not None and config.validate_every_steps > steps:
        raise UserError(
            f"training.validate_every_steps must be at most the {steps:,} steps of the budget, "
            f"got {config.validate_every_steps}"
        )
    return Budget(
        steps,
        steps_per_epoch,
        validated_every=config.validate_every_steps or config.validate_every * steps_per_epoch,
        # Computed with the same division as progress, so that a milestone takes effect at exactly its step.
        milestones=tuple(point * steps_per_epoch / steps for point in config.milestones or ()),
        measured={point * unit: point for point in config.measure_at or ()},
    )


def worth_compiling(budget: Budget, batch_size: int, parameters: int) -> bool:
    """Whether training is long enough for compilation to pay off. The estimate depends only on the budget, the batch
    size and the number of parameters, so that it is the same on every machine. It assumes that every parameter is used
    once per image."""
    # One multiplication and one addition in the forward pass, and twice as many in the backward pass.
    operations = 6 * parameters * batch_size
    return budget.steps * (_SECONDS_PER_STEP + operations * _SECONDS_PER_OPERATION) >= _WORTH_SECONDS

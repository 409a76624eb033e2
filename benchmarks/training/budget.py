"""How long a run trains, and after which steps it is validated and measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.config import TrainingConfig

# Of one core: seconds of a step of any size, and of a floating-point operation in matrix products.
_SECONDS_PER_STEP = 1e-3
_SECONDS_PER_OPERATION = 1e-11
# Compiling takes about a quarter of a minute, and a sixth to a third of a step is gained by it.
_WORTH_SECONDS = 150


@dataclass(frozen=True)
class Budget:
    """A configuration's budget in steps on one training set. ``milestones``: of the learning rate, as progress.
    ``measured``: step -> the configuration's name for it, which may count epochs."""

    steps: int
    steps_per_epoch: int
    validated_every: int
    milestones: tuple[float, ...]
    measured: dict[int, int]

    def validates_after(self, step: int) -> bool:
        """Whether there is a validation after so many steps."""
        return step > 0 and (step % self.validated_every == 0 or step == self.steps)


def budget_of(config: TrainingConfig, images: int) -> Budget:
    """The budget on so many training images."""
    steps_per_epoch = math.ceil(images / config.batch_size)
    steps, unit = (config.epochs * steps_per_epoch, steps_per_epoch) if config.steps is None else (config.steps, 1)
    return Budget(
        steps,
        steps_per_epoch,
        validated_every=config.validate_every_steps or config.validate_every * steps_per_epoch,
        # Divided as progress is, so that a milestone is reached at its very step.
        milestones=tuple(point * steps_per_epoch / steps for point in config.milestones or ()),
        measured={point * unit: point for point in config.measure_at or ()},
    )


def worth_compiling(budget: Budget, batch_size: int, parameters: int) -> bool:
    """Whether a budget takes so long that compiling its step pays: by its size alone, so that it is the same on every
    machine. A layer's every parameter is taken to be used once an image."""
    # A product and a sum forward, and twice that backward.
    operations = 6 * parameters * batch_size
    return budget.steps * (_SECONDS_PER_STEP + operations * _SECONDS_PER_OPERATION) >= _WORTH_SECONDS

"""Observes a run while it trains: validation, selection of the best weights, and measurements during training."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from benchmarks.config import TrainingConfig
from benchmarks.errors import UserError
from benchmarks.seeding import kept_random_state
from benchmarks.training.budget import Budget
from benchmarks.training.checkpoint import Progress, copied
from variants import Variant

# Computes named numbers of a model with its current weights.
Numbers = Callable[[Variant], dict[str, float]]


class Watch:
    """Validates and measures the model after the steps that the budget names.

    ``best`` is a copy of the weights with the best validation score, or empty if the configuration does not select
    weights by validation. Raises ``UserError`` if the configuration needs ``validate`` or ``measure`` and it is None.
    """

    def __init__(
        self,
        variant: Variant,
        config: TrainingConfig,
        budget: Budget,
        validate: Numbers | None,
        measure: Numbers | None,
    ) -> None:
        if config.select == "validation" and validate is None:
            raise UserError("training.select=validation needs validation images: the argument validate")
        if budget.measured and measure is None:
            raise UserError("training.measure_at needs the argument measure")
        self.variant, self.config, self.budget = variant, config, budget
        self.validate, self.measure = validate, measure
        self.best: dict[str, Tensor] = {}

    def due(self, step: int) -> bool:
        """Whether a validation or a measurement is due after ``step`` steps."""
        return self._validates(step) or step in self.budget.measured

    def out_of_patience(self, done: Progress) -> bool:
        """Whether training must end because the last ``training.patience`` validations brought no improvement."""
        return self.config.patience is not None and done.no_better >= self.config.patience

    def look(self, done: Progress, means: Mapping[str, float]) -> dict[str, float]:
        """Run what is due after ``done.step`` steps and store the results in ``done``.

        ``means`` are the means of the loss terms over the epoch so far. Returns the validation scores, or an empty
        dictionary if no validation was due. The random state is restored, so that training is not affected.
        """
        with kept_random_state(next(self.variant.parameters()).device):
            point, validates = self.budget.measured.get(done.step), self._validates(done.step)
            scores = {} if self.validate is None else self.validate(self.variant)
            if validates and self.config.select == "validation":
                self._compare(next(iter(scores.values())), done)
            if point is not None and self.measure is not None:
                numbers = self.measure(self.variant) | scores
                if done.step and done.step % self.budget.steps_per_epoch == 0:
                    numbers |= {f"training_{key}": value for key, value in means.items()}
                done.measured |= {f"{name}@{point}": value for name, value in numbers.items()}
        self.variant.train()
        return scores if validates else {}

    def _validates(self, step: int) -> bool:
        return self.validate is not None and self.budget.validates_after(step)

    def _compare(self, score: float, done: Progress) -> None:
        if score > done.best_score:
            done.best_score, done.best_step, done.no_better = score, done.step, 0
            self.best = copied(self.variant.state_dict())
        else:
            done.no_better += 1

"""What is seen of a run while it trains: validations, the best weights so far, and numbers at points in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from benchmarks.config import TrainingConfig
from benchmarks.errors import UserError
from benchmarks.training.budget import Budget
from benchmarks.training.checkpoint import Progress, copied
from variants import Variant

# Named numbers of a model as it is.
Numbers = Callable[[Variant], dict[str, float]]


class Watch:
    """Looks at the weights after the steps that the budget names. ``best``: a copy of those with the best validation,
    empty where the configuration does not select by it.

    Raises ``UserError`` for a configuration that needs a function that is not given.
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
        """Whether there is anything to look at after so many steps."""
        return self._validates(step) or step in self.budget.measured

    def out_of_patience(self, done: Progress) -> bool:
        """Whether as many validations as the configuration allows were no better than the best."""
        return self.config.patience is not None and done.no_better >= self.config.patience

    def look(self, done: Progress, means: Mapping[str, float]) -> dict[str, float]:
        """Do what is due after ``done.step`` steps, and note it in ``done``; the scores, if it was a validation.
        ``means``: of the loss's terms over the epoch so far.

        Training goes on as if nobody had looked: its random stream is put back.
        """
        device = next(self.variant.parameters()).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
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

"""The training objective of a variant, measured on test images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from benchmarks.records.catalogue import Family, Metric, register

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import Context, Evaluation


def compute(context: Context, result: Evaluation) -> None:
    from benchmarks.data import scored
    from benchmarks.evaluation.objective import mean_terms
    from benchmarks.records.numbers import PIXELS, TERMS

    data = context.data
    try:
        objective, terms = mean_terms(context.variant, data.x, data.condition, data.training_images, data.labels)
    except ValueError as error:
        result.not_applicable["objective"] = str(error)
        return
    result.add("objective", objective)
    result.details[TERMS] = {name: value for name, value in terms.items() if math.isfinite(value)}
    # Some sources report the objective divided by this number.
    result.details[PIXELS] = scored(data.x, data.condition)


register(
    Family(
        name="objective",
        title="Training objective",
        order=80,
        compute=compute,
        sentence="The training loss of each variant on test images. Losses of different variants cannot be compared, "
        "and they are not likelihoods. A loss may contain a large constant, which the page of its variant explains.",
        metrics={
            "objective": Metric(
                "objective", "loss/image", None,
                "the variant's training loss on test images, in evaluation mode, with the weights that schedules have "
                "at the end of training",
            ),
        },
    )
)  # fmt: skip

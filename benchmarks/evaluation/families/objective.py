"""What a variant's training minimises, measured on test images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.records.catalogue import Family, Metric, register

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import Context, Evaluation

# Small enough for variants that decode many draws of an image.
BATCH = 100


def compute(context: Context, result: Evaluation) -> None:
    import torch

    from benchmarks.data import batches, scored
    from benchmarks.records.numbers import PIXELS
    from variants import Batch

    variant, data = context.variant, context.data
    progress = torch.ones((), device=data.x.device)
    total = 0.0
    for x, condition in batches(data.x, data.condition, BATCH):
        try:
            loss = variant.loss(Batch(x, condition, training_images=data.training_images), progress)
        except ValueError as error:
            result.not_applicable["objective"] = str(error)
            return
        total += float(loss.by_group["model"]) * len(x)
    result.add("objective", total / len(data.x))
    # What some sources divide it by.
    result.details[PIXELS] = scored(data.x, data.condition)


register(
    Family(
        name="objective",
        title="Training objective",
        order=80,
        compute=compute,
        sentence="Each variant's own loss on test images. Losses of two variants do not compare, and none of them is a "
        "likelihood.",
        metrics={
            "objective": Metric(
                "objective", "loss/image", None,
                "the variant's own training loss on test images at the end of its schedules, in evaluation mode",
            ),
        },
    )
)  # fmt: skip

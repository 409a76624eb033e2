"""What a variant's training minimises, on any images."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.data import batches
from variants import Batch, Variant

# Small enough for variants that decode many draws of an image.
BATCH = 100


def mean_objective(
    variant: Variant, x: Tensor, condition: Tensor | None = None, training_images: int | None = None
) -> float:
    """The variant's own loss per image on ``x`` (n, channels, height, width) at progress 1, in the mode that it is in;
    that of the group "model" where there are several. Raises ``ValueError`` where it lacks what its loss needs."""
    return mean_terms(variant, x, condition, training_images)[0]


@torch.no_grad()
def mean_terms(
    variant: Variant, x: Tensor, condition: Tensor | None = None, training_images: int | None = None
) -> tuple[float, dict[str, float]]:
    """:func:`mean_objective`, and the mean of each term that the loss names, of a batch's statistic over batches."""
    progress = torch.ones((), device=x.device)
    total, terms = 0.0, dict[str, float]()
    for part, given in batches(x, condition, BATCH):
        loss = variant.objective(Batch(part, given, training_images=training_images), progress)
        total += float(loss.by_group["model"]) * len(part)
        for name, term in loss.terms.items():
            terms[name] = terms.get(name, 0.0) + float(term.mean()) * len(part)
    return total / len(x), {name: value / len(x) for name, value in terms.items()}

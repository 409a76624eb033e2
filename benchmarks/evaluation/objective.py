"""The training objective of a variant, evaluated on any images."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.data import batches
from variants import Batch, Variant

# Small, because some variants decode many draws per image.
BATCH = 100


def mean_objective(
    variant: Variant, x: Tensor, condition: Tensor | None = None, training_images: int | None = None
) -> float:
    """The variant's own loss per image on ``x`` (n, channels, height, width), at training progress 1.

    If there are several parameter groups, it is the loss of the group "model". The mode of the variant (training or
    evaluation) is not changed. Raises ``ValueError`` if something that the loss needs is missing.
    """
    return mean_terms(variant, x, condition, training_images)[0]


@torch.no_grad()
def mean_terms(
    variant: Variant, x: Tensor, condition: Tensor | None = None, training_images: int | None = None
) -> tuple[float, dict[str, float]]:
    """The :func:`mean_objective`, and the mean of each named term of the loss over images.

    A term that is a batch statistic is averaged over batches, weighted by their sizes.
    """
    progress = torch.ones((), device=x.device)
    total, terms = 0.0, dict[str, float]()
    for part, given in batches(x, condition, BATCH):
        loss = variant.objective(Batch(part, given, training_images=training_images), progress)
        total += float(loss.by_group["model"]) * len(part)
        for name, term in loss.terms.items():
            terms[name] = terms.get(name, 0.0) + float(term.mean()) * len(part)
    return total / len(x), {name: value / len(x) for name, value in terms.items()}

"""What a variant's training minimises, on any images."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.data import batches
from variants import Batch, Variant

# Small enough for variants that decode many draws of an image.
BATCH = 100


@torch.no_grad()
def mean_objective(
    variant: Variant, x: Tensor, condition: Tensor | None = None, training_images: int | None = None
) -> float:
    """The variant's own loss per image on ``x`` (n, channels, height, width) at progress 1, in the mode that it is in;
    that of the group "model" where there are several. Raises ``ValueError`` where it lacks what its loss needs."""
    progress = torch.ones((), device=x.device)
    total = 0.0
    for part, given in batches(x, condition, BATCH):
        loss = variant.loss(Batch(part, given, training_images=training_images), progress)
        total += float(loss.by_group["model"]) * len(part)
    return total / len(x)

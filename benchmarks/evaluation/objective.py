"""The training objective of a variant, evaluated on any images."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.data import batches
from variants import Batch, Variant

# Small, because some variants decode many draws per image.
BATCH = 100


def mean_objective(
    variant: Variant,
    x: Tensor,
    condition: Tensor | None = None,
    training_images: int | None = None,
    labels: Tensor | None = None,
) -> float:
    """The variant's own loss per image on ``x`` (n, channels, height, width), at training progress 1.

    ``labels`` (n, ...) are those of the images, on any device. If there are several parameter groups, it is the loss of
    the group "model", or the sum over groups if no group has this name. The mode of the variant (training or
    evaluation) is not changed. Raises ``ValueError`` if something that the loss needs is missing.
    """
    return mean_terms(variant, x, condition, training_images, labels)[0]


@torch.no_grad()
def mean_terms(
    variant: Variant,
    x: Tensor,
    condition: Tensor | None = None,
    training_images: int | None = None,
    labels: Tensor | None = None,
) -> tuple[float, dict[str, float]]:
    """The :func:`mean_objective`, and the mean of each named term of the loss over images.

    A term that is a batch statistic is averaged over batches, weighted by their sizes.
    """
    progress = torch.ones((), device=x.device)
    total, terms, seen = 0.0, dict[str, float](), 0
    for part, given in batches(x, condition, BATCH):
        of_part = None if labels is None else labels[seen : seen + len(part)].to(x.device)
        loss = variant.objective(Batch(part, given, of_part, training_images), progress)
        groups = loss.by_group
        value = groups["model"] if "model" in groups else sum(groups.values())
        total += float(value) * len(part)
        seen += len(part)
        for name, term in loss.terms.items():
            terms[name] = terms.get(name, 0.0) + float(term.mean()) * len(part)
    return total / len(x), {name: value / len(x) for name, value in terms.items()}

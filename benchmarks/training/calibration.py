"""Fit an observation model's own parameters after training, for variants whose loss does not train them.

Their likelihoods are then those of the best observation model for their decoder, and comparable with those of other
variants.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.data import batches
from benchmarks.data.conditions import scored
from benchmarks.seeding import kept_random_state
from variants import Variant

BATCH = 500


def fit_observation(variant: Variant, x: Tensor, condition: Tensor | None = None, steps: int = 60) -> None:
    """Maximise E_q log p(x|z) over the observation model's own parameters, in place, on training images ``x`` (n,
    channels, height, width) and their ``condition``.

    Uses one posterior sample per image and L-BFGS on all images at once. Pixels that the condition shows are left out,
    because the decoder was not trained on them and its error there says nothing about the scale.
    """
    parameters = list(variant.observation.parameters())
    if not parameters:
        return
    variant.eval()
    with torch.no_grad():
        parts = list(batches(x, condition, BATCH))
        outputs = [_decoded(variant, *part) for part in parts]
    pixels = len(x) * scored(x, condition)
    optimiser = torch.optim.LBFGS(parameters, max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        total = torch.zeros((), device=x.device)
        # Every evaluation uses the same dequantisation noise, so that the line search sees a smooth function.
        with kept_random_state(x.device):
            torch.manual_seed(0)
            for output, (batch, given) in zip(outputs, parts, strict=True):
                loss = -variant.observed(output, given).log_prob(batch).sum() / pixels
                loss.backward()
                total += loss.detach()
        return total

    optimiser.step(closure)


def _decoded(variant: Variant, x: Tensor, condition: Tensor | None) -> Tensor:
    return variant.decode(variant.posterior(x, condition=condition).sample(), condition=condition)
